//! What to do about a refusal, in the words of the place where it is read: a terminal has commands, REST has routes, the
//! page has buttons, and a model over MCP has tools.
//!
//! Some things can be done in a terminal of the daemon's machine only. The other places say so.

use actix_web::HttpRequest;
use actix_web::http::header::{ACCEPT, AUTHORIZATION};

use super::CLIENT_HEADER;
use crate::runtime::{CallError, NotServed};
use crate::session::decide::Denied;
use crate::store::health::ROOM_BYTES_MIN;
use crate::store::{StoreError, StoreRefusal};

/// Where a refusal is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// A terminal, by our own command line.
    Terminal,
    /// A program that calls REST.
    Api,
    /// A browser.
    Page,
    /// A model, by its client of MCP.
    Mcp,
}

impl Audience {
    /// Every place.
    #[cfg(test)]
    pub(super) const ALL: [Self; 4] = [Self::Terminal, Self::Api, Self::Page, Self::Mcp];

    /// The place that a request comes from, as far as the request tells.
    pub(super) fn of(request: &HttpRequest) -> Self {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let is_browser = || {
            let wants_page = header(ACCEPT.as_str()).is_some_and(|accept| accept.contains("text/html"));
            wants_page && !request.headers().contains_key(AUTHORIZATION)
        };
        match (request.path(), header(CLIENT_HEADER)) {
            ("/mcp", _) => Self::Mcp,
            (_, Some("cli")) => Self::Terminal,
            (_, Some("page")) => Self::Page,
            _ if is_browser() => Self::Page,
            _ => Self::Api,
        }
    }
}

/// Defines [`Remedy`] so that what can be done stands with its words in each place.
macro_rules! remedies {
    ($($(#[$doc:meta])* $variant:ident = $rows:expr;)*) => {
        /// What can be done about a refusal.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Remedy {
            $($(#[$doc])* $variant,)*
        }

        impl Remedy {
            /// Everything that can be done.
            #[cfg(test)]
            const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// What to do, in the words of a terminal, of REST, of the page, and of MCP.
            fn rows(self) -> [&'static str; 4] {
                match self {
                    $(Self::$variant => $rows,)*
                }
            }
        }
    };
}

remedies! {
    /// Have a person give a session the tools.
    GiveTools = [
        "a person gives them with `cc-executor run --with-executor`",
        "a person gives them with `executor_tools: true` when the session is created",
        "a person gives them when the run is started",
        "a person gives them: on the daemon's machine, `cc-executor run --with-executor`",
    ];
    /// Look which sessions there are.
    ListSessions = [
        "`cc-executor ls --all` lists them",
        "`GET /api/sessions` lists them",
        "\"History\" lists them",
        "list_executions with `all: true` lists them",
    ];
    /// Look which questions are open.
    ListQuestions = [
        "`cc-executor status` shows those that are open",
        "`GET /api/questions` lists those that are open",
        "it is answered or taken back: load the page again",
        "get_execution shows those that are open",
    ];
    /// Look which checkpoints there are.
    ListCheckpoints = [
        "`cc-executor checkpoints` lists them",
        "`GET /api/sessions/{id}/checkpoints` lists them",
        "\"Checkpoints\" beside the transcript lists them",
        "the resource resource://cc-executor/session/{session_id}/checkpoints lists them",
    ];
    /// Look which tokens there are.
    ListTokens = [
        "`cc-executor token ls` lists them",
        "`GET /api/tokens` lists them",
        "on the daemon's machine, `cc-executor token ls` lists them",
        "on the daemon's machine, `cc-executor token ls` lists them",
    ];
    /// Cancel the session, or wait for its end.
    EndIt = [
        "`cc-executor cancel` ends it, `cc-executor wait` waits for its end",
        "`POST /api/sessions/{id}/cancel` ends it, `GET /api/sessions/{id}/wait` waits for its end",
        "\"Cancel\" ends it; or wait for its end",
        "control_execution with `action: \"cancel\"` ends it, get_execution with wait_seconds waits for its end",
    ];
    /// Cancel the session that has the conversation.
    EndTheOther = [
        "end that one first, with `cc-executor cancel`",
        "end that one first, with `POST /api/sessions/{id}/cancel`",
        "end that one first, with \"Cancel\" on its page",
        "end that one first, with control_execution",
    ];
    /// Begin in a copy of a completed session.
    CopyIt = [
        "`cc-executor fork` goes on in a copy of it",
        "`POST /api/sessions/{id}/fork` goes on in a copy of it",
        "\"Fork\" goes on in a copy of it",
        "start another one with execute_with_streaming, and tell it what this one has done",
    ];
    /// Remove the session as a whole.
    RemoveIt = [
        "`cc-executor rm` removes it as a whole",
        "`DELETE /api/sessions/{id}` removes it as a whole",
        "on the daemon's machine, `cc-executor rm` removes it as a whole",
        "on the daemon's machine, `cc-executor rm` removes it as a whole",
    ];
    /// Look for damage.
    Examine = [
        "`cc-executor doctor` looks for damage",
        "`GET /api/doctor` looks for damage",
        "on the daemon's machine, `cc-executor doctor` looks for damage",
        "tell the user: on the daemon's machine, `cc-executor doctor` looks for damage",
    ];
    /// Save what can be read of a damaged journal.
    Salvage = [
        "stop the daemon and run `cc-executor doctor --rebuild`, which saves what can be read",
        "stop the daemon; then, on the daemon's machine, `cc-executor doctor --rebuild` saves what can be read",
        "stop the daemon; then, on the daemon's machine, `cc-executor doctor --rebuild` saves what can be read",
        "tell the user to stop the daemon; then, on the daemon's machine, `cc-executor doctor --rebuild` saves what can be read",
    ];
    /// Remove old sessions.
    Tidy = [
        "`cc-executor gc` removes what old sessions have left",
        "`POST /api/gc` removes what old sessions have left",
        "on the daemon's machine, `cc-executor gc` removes what old sessions have left",
        "tell the user: on the daemon's machine, `cc-executor gc` removes what old sessions have left",
    ];
    /// Give a token.
    SignIn = [
        "`cc-executor token` shows the machine's own",
        "send `Authorization: Bearer TOKEN`; on the daemon's machine, `cc-executor token` shows the token",
        "sign in in another tab of this browser, then try again here; what you typed stays",
        "send `Authorization: Bearer TOKEN`; on the daemon's machine, `cc-executor token` shows the token",
    ];
    /// Sign the browser in by a fresh link.
    OpenAgain = [
        "`cc-executor open` signs the browser in anew",
        "send `Authorization: Bearer TOKEN`; or, on the daemon's machine, `cc-executor open` signs the browser in anew",
        "on the daemon's machine, `cc-executor open` signs this browser in anew",
        "send `Authorization: Bearer TOKEN`; on the daemon's machine, `cc-executor token` shows the token",
    ];
}

impl Remedy {
    /// What to do, in the words of the place.
    pub(super) fn words(self, reader: Audience) -> &'static str {
        let [terminal, api, page, mcp] = self.rows();
        match reader {
            Audience::Terminal => terminal,
            Audience::Api => api,
            Audience::Page => page,
            Audience::Mcp => mcp,
        }
    }
}

/// What happened, without what to do about it.
pub(super) fn what(error: &CallError) -> String {
    match error {
        CallError::Refused(StoreRefusal::StillLive(id)) => format!("session {id} has not ended"),
        CallError::Store(store) => what_of_store(store),
        // Their texts end with that of the store.
        CallError::Delayed(store) | CallError::AnswerDelayed(_, store) => {
            error.to_string().replace(&store.to_string(), &what_of_store(store))
        }
        other => other.to_string(),
    }
}

/// A store is opened in a terminal: its own words are for one.
fn what_of_store(error: &StoreError) -> String {
    match error {
        StoreError::DiskFull { directory } => format!(
            "the disk is full: free at least {} MiB where {} is, and all goes on by itself; what was written is kept",
            ROOM_BYTES_MIN / (1024 * 1024),
            directory.display()
        ),
        StoreError::Damaged { file, why } => format!("the journal {} is damaged ({why})", file.display()),
        other => other.to_string(),
    }
}

/// What can be done about it, where that depends on the place.
pub(super) fn remedy(error: &CallError) -> Option<Remedy> {
    match error {
        CallError::NotServed(NotServed::NoTools(_)) => Some(Remedy::GiveTools),
        CallError::NoSuchSession(_) | CallError::Refused(StoreRefusal::NoSuchSession(_)) => Some(Remedy::ListSessions),
        CallError::Denied(Denied::NoSuchQuestion(_)) => Some(Remedy::ListQuestions),
        CallError::NoSuchCheckpoint(_) => Some(Remedy::ListCheckpoints),
        CallError::Owned { .. } => Some(Remedy::EndTheOther),
        CallError::Denied(Denied::StillLive(_)) | CallError::Refused(StoreRefusal::StillLive(_)) => Some(Remedy::EndIt),
        CallError::Denied(Denied::Completed) => Some(Remedy::CopyIt),
        CallError::NotJournalled(_) => Some(Remedy::RemoveIt),
        CallError::LeftAlone(_) => Some(Remedy::Examine),
        CallError::Delayed(store) | CallError::AnswerDelayed(_, store) | CallError::Store(store) => {
            remedy_of_store(store)
        }
        CallError::Refused(
            StoreRefusal::WrongAttempt { .. }
            | StoreRefusal::WrongOffset { .. }
            | StoreRefusal::SessionExists(_)
            | StoreRefusal::KeyTaken(_),
        )
        | CallError::AmbiguousId { .. }
        | CallError::AmbiguousName { .. }
        | CallError::InvalidRequest(_)
        | CallError::BadDirectory { .. }
        | CallError::DirectoryNotAllowed { .. }
        | CallError::NoConversation(_)
        | CallError::NotServed(_)
        | CallError::KeyMismatch { .. }
        | CallError::Denied(
            Denied::AlreadyEnded(_)
            | Denied::AlreadyAnswered(_)
            | Denied::BeingEnded
            | Denied::AnswerMismatch(_)
            | Denied::BudgetSpent(_)
            | Denied::Excess(_),
        )
        | CallError::InUse { .. }
        | CallError::FilesUnusable { .. }
        | CallError::FilesStay { .. }
        | CallError::QueueFull(_)
        | CallError::Stopping => None,
    }
}

fn remedy_of_store(error: &StoreError) -> Option<Remedy> {
    match error {
        StoreError::DiskFull { .. } => Some(Remedy::Tidy),
        StoreError::Damaged { .. } => Some(Remedy::Salvage),
        StoreError::FromTheFuture { .. }
        | StoreError::Unreadable { .. }
        | StoreError::Moved { .. }
        | StoreError::NetworkFileSystem { .. }
        | StoreError::Failed(_)
        | StoreError::Closed => None,
    }
}

/// What happened and what to do, for a model.
pub(super) fn told_to_model(error: &CallError) -> String {
    joined(&what(error), remedy(error), Audience::Mcp)
}

/// What happened, then what to do.
pub(super) fn joined(what: &str, remedy: Option<Remedy>, reader: Audience) -> String {
    match remedy {
        Some(remedy) => format!("{what}: {}", remedy.words(reader)),
        None => what.to_owned(),
    }
}

#[cfg(test)]
mod tests;
