//! Following a session on behalf of a call: progress while it runs, its questions to whoever can answer, up to its end.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rmcp::RoleServer;
use rmcp::model::ElicitResult;
use rmcp::service::{RequestContext, ServiceError};
use tokio::time::Instant;

use super::call_state::CallState;
use super::caller::{Era, McpCaller};
use super::forms::{self, AskingSession, FormReply};
use super::level::Level;
use super::log;
use super::narrate::{AfterItem, Narrator};
use super::progress::{Progress, Scale};
use super::services::Services;
use crate::runtime::CallError;
use crate::runtime::feed::{FeedItem, FeedReader};
use crate::session::id::{QuestionId, Seq};
use crate::session::question::Question;
use crate::session::summary::Summary;

/// How a call's following of a session ended.
#[derive(Debug)]
pub(super) enum FollowEnd {
    /// The session has ended.
    Ended,
    /// These questions wait, and this call cannot have them answered while it runs.
    Asked(Vec<Question>),
    /// The time that the caller gave is over.
    TimeUp,
    /// The caller cancelled the call, or left.
    Left,
    /// The stream broke off: the daemon is stopping.
    CutOff,
}

/// What a call does about questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Questions {
    /// Shows the caller a form, where it can.
    Ask,
    /// Stops at them.
    StopAt,
}

/// What is to be followed, and how far.
#[derive(Clone, Copy, Debug)]
pub(super) struct FollowPlan<'a> {
    /// The tool that was called.
    pub(super) tool: &'a str,
    /// Where the call stands.
    pub(super) state: CallState,
    /// What is done about questions.
    pub(super) questions: Questions,
    /// How long at most; none for as long as it takes.
    pub(super) wait: Option<Duration>,
}

/// How a following ended, and what was told.
pub(super) struct Followed {
    /// The reason for the end.
    pub(super) stop: FollowEnd,
    /// The text that was told.
    pub(super) told: Narrator,
    /// How far the caller's progress is.
    pub(super) scale: Scale,
}

/// A call that follows a session.
struct Following<'a> {
    services: &'a Services,
    context: &'a RequestContext<RoleServer>,
    caller: &'a McpCaller,
    what: FollowPlan<'a>,
    reader: FeedReader,
    narrator: Narrator,
    progress: Progress,
    /// The last record when the stream began: questions are looked at from there on.
    head: Option<Seq>,
    open: BTreeMap<QuestionId, Question>,
    /// Who asks, in words for a form.
    asker: AskingSession,
    /// The form that the caller's person has before him.
    asking: Option<(QuestionId, BoxFuture<'a, Result<ElicitResult, ServiceError>>)>,
    /// Questions that the person put off: they wait for whoever answers them elsewhere.
    put_off: Vec<QuestionId>,
}

/// Follows a session until there is a reason to stop.
pub(super) async fn follow(
    services: &Services,
    context: &RequestContext<RoleServer>,
    caller: &McpCaller,
    what: FollowPlan<'_>,
) -> Result<Followed, CallError> {
    let reader = services
        .handle
        .stream(what.state.session, what.state.told.begins_after())
        .await?;
    let summary = services.handle.get(what.state.session).await?;
    let mut following = Following {
        services,
        context,
        caller,
        what,
        reader,
        narrator: Narrator::again(what.state.told),
        progress: Progress::of(context, &services.limits, what.state.scale),
        head: None,
        open: open_questions(&summary),
        asker: AskingSession::of(&summary),
        asking: None,
        put_off: Vec::new(),
    };
    let stop = following.run().await;
    // Whatever was not told yet is told before the result.
    if following.narrator.has_news() && !matches!(stop, FollowEnd::Left | FollowEnd::CutOff) {
        following.tell().await;
    }
    Ok(Followed {
        stop,
        scale: following.progress.scale(),
        told: following.narrator,
    })
}

impl<'a> Following<'a> {
    async fn run(&mut self) -> FollowEnd {
        // A look at a session that does not wait has its answer at once.
        if self.what.wait != Some(Duration::ZERO)
            && let Some(bookmark) = self
                .what
                .state
                .bookmark(self.services, self.context, self.caller, self.what.tool)
        {
            log::tell_bookmark(self.context, bookmark).await;
        }
        let first = format!("session_id {}", self.what.state.session);
        self.tell_of(&first).await;
        if self.what.questions == Questions::Ask && !self.what.state.is_announced {
            let told =
                format!("{first}: should this call end early, the session goes on; get_execution waits for its end");
            log::send_unasked(&self.services.levels, self.context, self.caller, &told).await;
        }
        let deadline = self.what.wait.map(|wait| Instant::now() + wait);
        loop {
            if let Some(stop) = self.look_at_questions() {
                return stop;
            }
            let due = self.progress.due(self.narrator.has_news());
            tokio::select! {
                biased;
                () = self.context.ct.cancelled() => return self.left(),
                () = until(deadline), if self.has_caught_up() => return FollowEnd::TimeUp,
                () = tokio::time::sleep_until(due) => self.tell().await,
                filled = filled(&mut self.asking) => {
                    if let Some(stop) = self.take_reply(filled).await {
                        return stop;
                    }
                }
                item = self.reader.next() => {
                    let Some(item) = item else { return FollowEnd::CutOff };
                    if self.take(&item).await {
                        return FollowEnd::Ended;
                    }
                }
            }
        }
    }

    /// All calls are cancelled when the daemon stops, too.
    fn left(&self) -> FollowEnd {
        if *self.services.stopping.borrow() {
            FollowEnd::CutOff
        } else {
            FollowEnd::Left
        }
    }

    /// Takes an item; answers whether it is the session's end.
    async fn take(&mut self, item: &FeedItem) -> bool {
        if let FeedItem::Hello(hello) = item {
            self.head = Some(Seq(hello.head));
        }
        match self.narrator.take(item) {
            AfterItem::Nothing => {}
            AfterItem::Asked(question) => {
                self.log(Level::Notice, &question.kind.headline()).await;
                self.open.insert(question.question_id, *question);
            }
            AfterItem::Settled(id) => {
                self.open.remove(&id);
                if self.asking.as_ref().is_some_and(|(asked, _)| *asked == id) {
                    // Somebody was quicker.
                    self.asking = None;
                }
            }
            // An end that was not the last word: the session was resumed.
            AfterItem::Ended => return self.has_caught_up(),
        }
        if let FeedItem::Record(record) = item
            && !self.narrator.was_told(record)
        {
            let kind = String::from_utf8_lossy(&record.kind);
            if matches!(&*kind, "session.state" | "notice" | "retry.scheduled") {
                self.log(Level::Info, &String::from_utf8_lossy(&record.json)).await;
            }
        }
        false
    }

    fn has_caught_up(&self) -> bool {
        self.head.is_some_and(|head| self.narrator.after >= head)
    }

    /// Asks the next question, or stops for those that cannot be asked here.
    fn look_at_questions(&mut self) -> Option<FollowEnd> {
        if !self.has_caught_up() || self.open.is_empty() || self.asking.is_some() {
            return None;
        }
        let is_asked_here = self.what.questions == Questions::Ask && self.caller.can_fill_forms;
        if !is_asked_here || self.caller.era == Era::Stateless {
            return Some(FollowEnd::Asked(self.open.values().cloned().collect()));
        }
        match self
            .open
            .values()
            .find(|question| !self.put_off.contains(&question.question_id))
        {
            Some(question) => {
                let asking = self.context.peer.create_elicitation(forms::form(&self.asker, question));
                self.asking = Some((question.question_id, asking.boxed()));
                None
            }
            None => Some(FollowEnd::Asked(self.open.values().cloned().collect())),
        }
    }

    async fn take_reply(&mut self, filled: Result<ElicitResult, ServiceError>) -> Option<FollowEnd> {
        let (id, _) = self.asking.take()?;
        let question = self.open.get(&id)?.clone();
        let reply = match filled {
            Ok(result) => forms::reply(&question, &result),
            Err(error) => {
                tracing::debug!(%error, "a client cannot ask its person");
                Ok(FormReply::Later)
            }
        };
        match reply {
            Ok(FormReply::Answer(answer)) => {
                // An answer that came too late changes nothing: the stream tells who was quicker.
                if let Err(error) = self
                    .services
                    .answer(self.caller, self.what.state.session, id, answer)
                    .await
                {
                    tracing::debug!(%error, "an answer was not taken");
                }
                self.open.remove(&id);
            }
            // A form that is filled in wrongly is shown again.
            Err(mismatch) => self.log(Level::Warning, &mismatch.to_string()).await,
            Ok(FormReply::Later) => self.put_off.push(id),
        }
        None
    }

    async fn tell(&mut self) {
        let news = self.narrator.news();
        self.tell_of(&news).await;
    }

    async fn tell_of(&mut self, news: &str) {
        let (what, told) = (self.what, self.narrator.told());
        let (services, context, caller) = (self.services, self.context, self.caller);
        let bookmark = |scale| {
            let state = CallState {
                told,
                scale,
                ..what.state
            };
            state.bookmark(services, context, caller, what.tool)
        };
        let sent = self.progress.send(news, self.narrator.todo(), bookmark);
        tokio::select! {
            () = sent => {}
            () = context.ct.cancelled() => {}
        }
    }

    async fn log(&mut self, level: Level, text: &str) {
        log::send(&self.services.levels, self.context, self.caller, level, text).await;
    }
}

/// The questions that wait: those asked before the stream begins are not told in it.
pub(super) fn open_questions(summary: &Summary) -> BTreeMap<QuestionId, Question> {
    let waiting = summary.questions.values().filter(|waiting| waiting.answer.is_none());
    waiting
        .map(|waiting| (waiting.question.question_id, waiting.question.clone()))
        .collect()
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn filled<T>(asking: &mut Option<(QuestionId, BoxFuture<'_, T>)>) -> T {
    match asking {
        Some((_, asking)) => asking.await,
        None => std::future::pending().await,
    }
}
