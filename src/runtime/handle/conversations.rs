//! Calls about conversations: checkpoints, resuming by hand, copies, taking over and giving back.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use uuid::Uuid;

use super::{Handle, blocking, directories, intake};
use crate::agent::transcript;
use crate::runtime::execution::{agent_environment, daemon_environment};
use crate::runtime::messages::CheckOwner;
use crate::runtime::new_session::{EnvironmentBase, NewSession};
use crate::runtime::refusal::CallError;
use crate::runtime::settings::RuntimeSettings;
use crate::runtime::terms;
use crate::session::checkpoint::Checkpoint;
use crate::session::decide::{CutAt, Denied, Resumption, Wish};
use crate::session::excerpt;
use crate::session::id::{Seq, SessionId};
use crate::session::journal::Entry;
use crate::session::limits::Limits;
use crate::session::outcome::Outcome;
use crate::session::request::{
    Claim, InvalidRequest, NAME_CHARS_MAX, Origin, OriginHow, Request, TASK_BYTES_MAX, check_limits,
};
use crate::session::summary::Effective;
use crate::session::summary::Summary;
use crate::session::telling::{Telling, Topic, tell};
use crate::session::words::CONTINUE;
use crate::store::{Journal, StoreError, StoredRecord};

/// How many earlier checkpoints are tried where the last message of one never reached the transcript.
const CHECKPOINTS_TRIED: usize = 50;

/// Maximum number of messages that are read to name the step before a checkpoint.
const STEP_MESSAGES: usize = 8;

/// Maximum length of the words for a step that was text, in characters.
const STEP_CHARS_MAX: usize = 200;

/// What a copy of a session is to do.
#[derive(Clone, Debug, Default)]
pub struct Fork {
    /// What its agent is told; none to go on.
    pub instruction: Option<String>,
    /// The record of the checkpoint up to which the conversation is copied; none for all of it.
    pub at: Option<Seq>,
    /// What a person calls it.
    pub name: Option<String>,
    /// The caller's key, as in [`NewSession`].
    pub claim: Option<Claim>,
    /// The session whose agent asks, as in [`NewSession`].
    pub asker: Option<SessionId>,
}

/// How an ended session goes on.
#[derive(Clone, Debug, Default)]
pub struct Going {
    /// What its agent is told; none to go on.
    pub instruction: Option<String>,
    /// The record of the checkpoint at which its conversation is cut; none for its end.
    pub at: Option<Seq>,
    /// New limits; each that is not given stays as it is.
    pub limits: Limits,
}

/// Where a conversation can be gone on with by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// The agent's own id of it.
    pub agent_session_id: Uuid,
    /// The directory to do it in.
    pub cwd: PathBuf,
    /// Where the agent kept its files, if the session's environment names the place: without it the conversation is not
    /// found.
    pub configuration: Option<String>,
}

impl Handle {
    /// At most `limit` checkpoints of a session before the record `before`, the latest first.
    pub async fn checkpoints(
        &self,
        id: SessionId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<(StoredRecord, Checkpoint)>, CallError> {
        self.get(id).await?;
        let store = Arc::clone(&self.store);
        blocking(move || checkpoints(&*store, id, before, limit)).await?
    }

    /// For each of these records the step of the agent's work that came before it, in a few words, where one is known.
    pub async fn steps_before(&self, id: SessionId, records: Vec<Seq>) -> Result<Vec<Option<String>>, CallError> {
        let store = Arc::clone(&self.store);
        let looking = move || {
            let step = |seq: Seq| {
                Ok(step(&store.latest_of_kind(
                    id,
                    "agent.message",
                    Some(seq),
                    STEP_MESSAGES,
                )?))
            };
            records.into_iter().map(step).collect()
        };
        blocking(looking).await?
    }

    /// Goes on with an ended session; answered when that is on disk. Turns and time count anew, money over the whole
    /// session. The agent of session `asker`, where one asks, goes on with those that it has asked for, and they may have
    /// no more than its own session has by now.
    pub async fn resume(
        &self,
        asker: Option<SessionId>,
        id: SessionId,
        going: Going,
        by: String,
    ) -> Result<Arc<Summary>, CallError> {
        let Going {
            instruction,
            at,
            mut limits,
        } = going;
        let instruction = checked(instruction)?;
        check_limits(&limits)?;
        let summary = self.get(id).await?;
        refuse_unless_resumable(&summary)?;
        self.refuse_unless_allowed(&summary).await?;
        let _turn = self.turn_of(asker).await;
        if let Some(asker) = asker {
            limits = self.admit_resume(asker, &summary, limits).await?;
        }
        let at = match at {
            Some(at) => Some(self.find_cut(&summary, at, Branch::Current).await?.1),
            None => None,
        };
        let resumption = Resumption {
            by,
            instruction,
            at,
            limits,
        };
        self.want(id, Wish::Resume(Box::new(resumption))).await
    }

    /// Begins a session in a copy of another one's conversation, which stays as it is.
    pub async fn fork(&self, id: SessionId, fork: Fork, by: String) -> Result<Arc<Summary>, CallError> {
        let instruction = checked(fork.instruction)?;
        let summary = self.get(id).await?;
        if let Some(asker) = fork.asker {
            self.check_kin(asker, id).await?;
        }
        let before = self.terms_in_force(&summary).await?;
        let (agent_session_id, cut) = match fork.at {
            Some(at) => {
                let (conversation, cut) = self.find_cut(&summary, at, Branch::Any).await?;
                (conversation, Some(cut))
            }
            None => (self.living_conversation(&summary).await?, None),
        };
        let mut request = self.request_of(id).await?;
        request.set_limits(summary.limits_in_force(&request));
        let name = fork.name.unwrap_or_else(|| name_of_fork(&summary.name));
        request.name = Some(name.chars().take(NAME_CHARS_MAX).collect());
        request.task = instruction.unwrap_or_else(|| CONTINUE.to_owned());
        let then = cut.as_ref().map_or(&before, |cut| &cut.then);
        request = before
            .for_copy(then, &request)
            .applied_to(Cow::Owned(request))
            .into_owned();
        // What it was asked about is known to the copy.
        request.clarify = false;
        // It is nobody's but the one's who copies it: no other session waits for it. An agent's copy becomes its own.
        request.parent = None;
        request.origin = Some(Origin {
            session_id: Some(id),
            agent_session_id,
            message: cut.as_ref().map(|cut| cut.message),
            how: OriginHow::Fork,
        });
        let (copy, settings) = (SessionId::new(), Arc::clone(&self.settings));
        let passed = self.passed_on(&summary, fork.asker, &mut request).await?;
        let named = request.clone();
        if !blocking(move || intake::copy(&settings, &named, id, copy, passed)).await?? {
            // It has none, unless it was removed meanwhile: files go after all that says that there is a session.
            self.get(id).await?;
        }
        let new = NewSession {
            request,
            env: None,
            base: EnvironmentBase::Daemon,
            by,
            claim: fork.claim,
            asker: fork.asker,
        };
        self.begin(copy, new, cut.and_then(|cut| cut.notice)).await
    }

    /// Begins a session that goes on with a conversation begun outside, in the directory of the request or, where that
    /// is empty, in that of the conversation. `conversation` is the conversation's id or the beginning of it.
    pub async fn import(&self, conversation: String, mut new: NewSession) -> Result<Arc<Summary>, CallError> {
        let settings = Arc::clone(&self.settings);
        let mut env = new.environment().unwrap_or_else(daemon_environment);
        env.extend(settings.agent_env.clone());
        let cwd = new.request.cwd.clone();
        let looking = move || {
            let id = match conversation.parse() {
                Ok(id) => id,
                Err(_) => the_one(
                    &conversation,
                    &transcript::beginning_with(&env, &cwd, &conversation).map_err(unreadable)?,
                )?,
            };
            let path = transcript::find(&env, &cwd, id).map_err(unreadable)?;
            Ok::<_, CallError>((id, path.map(|path| transcript::directory(&path))))
        };
        let (agent_session_id, found) = blocking(looking).await??;
        let directory = found.ok_or(CallError::NoConversation(format!(
            "there is no transcript of {agent_session_id} under CLAUDE_CONFIG_DIR or HOME/.claude: is it the id of a \
             session of this user?"
        )))?;
        if new.request.cwd.as_os_str().is_empty() {
            new.request.cwd = directory.ok_or(CallError::NoConversation(format!(
                "the transcript of {agent_session_id} does not say in which directory it was held: give cwd"
            )))?;
        }
        if new.request.task.trim().is_empty() {
            new.request.task = CONTINUE.to_owned();
        }
        let short: String = agent_session_id.to_string().chars().take(8).collect();
        new.request.name.get_or_insert(format!("import of {short}"));
        new.request.origin = Some(Origin {
            session_id: None,
            agent_session_id,
            message: None,
            how: OriginHow::Import,
        });
        self.begin(SessionId::new(), new, None).await
    }

    /// Where a person can go on with an ended session's conversation by hand.
    pub async fn handover(&self, id: SessionId) -> Result<Handover, CallError> {
        let summary = self.get(id).await?;
        let state = &summary.lifecycle.state;
        if state.outcome().is_none() {
            return Err(Denied::StillLive(state.name()).into());
        }
        let agent_session_id = self.living_conversation(&summary).await?;
        let (session, conversation) = (id, agent_session_id);
        let owner = self.supervisor.send(CheckOwner { session, conversation }).await;
        owner.map_err(|_| CallError::Stopping)??;
        let (settings, has_asked) = (Arc::clone(&self.settings), summary.has_asked());
        let mut env = blocking(move || agent_environment(&settings, id, has_asked).map_err(unreadable)).await??;
        Ok(Handover {
            agent_session_id,
            cwd: summary.cwd.clone(),
            configuration: env.remove(transcript::CONFIGURATION),
        })
    }

    /// The session's conversation, where its transcript exists.
    async fn living_conversation(&self, summary: &Summary) -> Result<Uuid, CallError> {
        let id = summary.session_id;
        let none = || CallError::NoConversation(format!("session {} has no conversation", id.short()));
        let conversation = summary.lifecycle.agent_session_id.ok_or_else(none)?;
        let (settings, summary) = (Arc::clone(&self.settings), summary.clone());
        let found = blocking(move || transcript_of(&settings, &summary, conversation)).await??;
        found.map(|_| conversation).ok_or_else(|| gone(conversation))
    }

    async fn terms_in_force(&self, summary: &Summary) -> Result<Effective, CallError> {
        let (store, summary) = (Arc::clone(&self.store), summary.clone());
        blocking(move || Ok(terms::in_force(&*store, &summary)?.into_owned())).await?
    }

    /// The place where the conversation is cut for the checkpoint `at`: its last message, or that of an earlier one
    /// where it never reached the transcript.
    async fn find_cut(&self, summary: &Summary, at: Seq, branch: Branch) -> Result<(Uuid, CutAt), CallError> {
        let (store, settings) = (Arc::clone(&self.store), Arc::clone(&self.settings));
        let (id, current) = (summary.session_id, summary.lifecycle.agent_session_id);
        let summary = summary.clone();
        let finding = move || {
            let upto = checkpoints(&*store, id, Some(at.next()), CHECKPOINTS_TRIED)?;
            let Some((_, wanted)) = upto.first().filter(|(record, _)| record.seq == at) else {
                return Err(CallError::NoSuchCheckpoint(at));
            };
            let conversation = wanted.agent_session_id;
            if branch == Branch::Current && current != Some(conversation) {
                return Err(CallError::NoConversation(format!(
                    "checkpoint {at} is of a conversation that was given up: fork the session there"
                )));
            }
            let path = transcript_of(&settings, &summary, conversation)?.ok_or_else(|| gone(conversation))?;
            let same = upto
                .iter()
                .filter(|(_, checkpoint)| checkpoint.agent_session_id == conversation);
            let places: Vec<(Seq, Uuid)> = same
                .filter_map(|(record, checkpoint)| Some((record.seq, checkpoint.message?)))
                .collect();
            let messages: BTreeSet<Uuid> = places.iter().map(|(_, message)| *message).collect();
            let seen = transcript::look(&path, &messages).map_err(unreadable)?;
            let place = places.iter().find(|(_, message)| seen.entries.contains(message));
            let (seq, message) = *place.ok_or_else(|| {
                CallError::NoConversation(format!("nothing up to checkpoint {at} stands in the transcript"))
            })?;
            let notice = (seq != at).then(|| {
                format!("the last message of checkpoint {at} did not reach the transcript: cut at checkpoint {seq}")
            });
            let then = terms::at(&*store, id, seq)?.ok_or_else(|| CallError::NoSuchSession(id.to_string()))?;
            let now = terms::in_force(&*store, &summary)?.into_owned();
            let cut = CutAt {
                seq,
                message,
                notice,
                then,
                now,
            };
            Ok((conversation, cut))
        };
        blocking(finding).await?
    }

    /// The settings may have become stricter since the session was created. Whether the directory is there is seen when
    /// the agent starts.
    async fn refuse_unless_allowed(&self, summary: &Summary) -> Result<(), CallError> {
        let (settings, cwd) = (Arc::clone(&self.settings), summary.cwd.clone());
        let looked = blocking(move || directories::resolve_one(&settings.allowed_directories, &cwd)).await?;
        match looked {
            Err(refused @ CallError::DirectoryNotAllowed { .. }) => Err(refused),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// What was asked for when the session was created.
    pub(super) async fn request_of(&self, id: SessionId) -> Result<Request, CallError> {
        let store = Arc::clone(&self.store);
        let first = blocking(move || store.records(id, Seq::default(), 1)).await??;
        match first.first().map(StoredRecord::entry) {
            Some(Ok(Entry::SessionCreated(created))) => Ok(created.request.clone()),
            Some(Ok(_) | Err(_)) | None => Err(CallError::NoSuchSession(id.to_string())),
        }
    }
}

/// Which conversations of a session a checkpoint may be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Branch {
    /// The one a next attempt resumes.
    Current,
    /// Also one that was given up.
    Any,
}

/// An instruction that says something and is no longer than a task may be.
fn checked(instruction: Option<String>) -> Result<Option<String>, CallError> {
    let instruction = instruction.filter(|text| !text.trim().is_empty());
    match &instruction {
        Some(text) if text.len() > TASK_BYTES_MAX => Err(InvalidRequest::LongTask { bytes: text.len() }.into()),
        Some(_) | None => Ok(instruction),
    }
}

/// The name of a copy; a copy of a copy says so once.
fn name_of_fork(name: &str) -> String {
    const MARK: &str = "fork of ";
    let mut original = name;
    while let Some(rest) = original.strip_prefix(MARK) {
        original = rest;
    }
    format!("{MARK}{original}")
}

/// The only conversation whose id begins with `prefix`.
fn the_one(prefix: &str, found: &BTreeSet<Uuid>) -> Result<Uuid, CallError> {
    let mut found = found.iter();
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(*only),
        (None, _) => Err(CallError::NoConversation(format!(
            "no transcript under CLAUDE_CONFIG_DIR or HOME/.claude has a name that begins with {prefix}"
        ))),
        (Some(one), Some(other)) => Err(CallError::NoConversation(format!(
            "several conversations have an id that begins with {prefix}, such as {one} and {other}: give more digits"
        ))),
    }
}

/// The supervisor decides; this only spares looking at files for nothing.
fn refuse_unless_resumable(summary: &Summary) -> Result<(), Denied> {
    let state = &summary.lifecycle.state;
    match state.outcome() {
        None => Err(Denied::StillLive(state.name())),
        Some(Outcome::Completed) => Err(Denied::Completed),
        Some(Outcome::Failed { .. } | Outcome::Cancelled | Outcome::TimedOut) => Ok(()),
    }
}

fn checkpoints(
    store: &dyn Journal,
    id: SessionId,
    before: Option<Seq>,
    limit: usize,
) -> Result<Vec<(StoredRecord, Checkpoint)>, CallError> {
    let records = store.latest_of_kind(id, "checkpoint", before, limit)?;
    let read = |record: StoredRecord| {
        let checkpoint = match record.entry() {
            Ok(Entry::Checkpoint(checkpoint)) => checkpoint.clone(),
            Ok(_) | Err(_) => return None,
        };
        Some((record, checkpoint))
    };
    Ok(records.into_iter().filter_map(read).collect())
}

/// The last step that messages tell of; they come the latest first.
fn step(messages: &[StoredRecord]) -> Option<String> {
    let entries = messages.iter().filter_map(|record| record.entry().ok());
    let told: Vec<Telling<'_>> = entries.map(tell).collect();
    let call = |id| told.iter().find(|told| told.origin.call == Some(id));
    told.iter().find_map(|told| match (told.topic, told.origin.result_of) {
        (Topic::Result, Some(id)) => Some(call(id).map_or_else(
            || "a tool's result".to_owned(),
            |call| format!("{}: {}", call.label, call.line),
        )),
        (Topic::Said | Topic::CommandOutput, _) => first_line(&told.line),
        _ => None,
    })
}

fn first_line(text: &str) -> Option<String> {
    (!text.trim().is_empty()).then(|| excerpt::first_line(text, STEP_CHARS_MAX))
}

fn transcript_of(
    settings: &RuntimeSettings,
    summary: &Summary,
    conversation: Uuid,
) -> Result<Option<PathBuf>, CallError> {
    let env = agent_environment(settings, summary.session_id, summary.has_asked()).map_err(unreadable)?;
    transcript::find(&env, &summary.cwd, conversation).map_err(unreadable)
}

fn gone(conversation: Uuid) -> CallError {
    CallError::NoConversation(format!("the transcript of {conversation} is gone"))
}

fn unreadable(error: impl fmt::Display) -> CallError {
    StoreError::Failed(format!("the session's files cannot be used: {error}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_a_copy_is_called_a_copy_once() {
        assert_eq!(name_of_fork("tidy up"), "fork of tidy up");
        assert_eq!(name_of_fork("fork of tidy up"), "fork of tidy up");
        assert_eq!(
            name_of_fork("fork of fork of tidy up"),
            "fork of tidy up",
            "of an earlier version"
        );
    }

    #[test]
    fn a_prefix_means_one_conversation_or_says_why_not() {
        let [one, other] = [1, 2].map(Uuid::from_u128);
        assert_eq!(the_one("0000", &[one].into()).unwrap(), one);
        let told = |found: &[Uuid]| {
            the_one("0000", &found.iter().copied().collect())
                .unwrap_err()
                .to_string()
        };
        assert!(told(&[]).contains("0000"));
        assert!(told(&[one, other]).contains("give more digits"));
    }
}
