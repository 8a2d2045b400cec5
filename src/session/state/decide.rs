//! What follows an event: the decisions of the state machine, and nothing else.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::clarifying::{after_analysis, answer};
use super::{Lifecycle, State, StateName, name_of_outcome, trusting};
use crate::session::clarify::{Analysis, Clarify};
use crate::session::id::{Attempt, Seq};
use crate::session::journal::{
    Answered, AttemptEnd, AttemptStart, Control, Entry, Input, Resumed, RetryScheduled, SessionEnd, StateChange, Text,
};
use crate::session::outcome::{Cause, Ending, Outcome, StopFor};
use crate::session::question::Question;
use crate::session::restart::{QUOTA_UNKNOWN_DELAY, RestartPolicy, Verdict, api_delay, crash_delay};

/// What can happen to a session.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A slot is free for the head of the queue.
    SlotFree {
        /// The id of the conversation, should a new one have to begin.
        fresh: Uuid,
        /// The record of the last checkpoint.
        checkpoint: Option<Seq>,
    },
    /// The agent of this attempt has said its first word.
    AgentUp {
        /// The attempt.
        attempt: Attempt,
    },
    /// The attempt is over; its agent and what it left behind are gone, and all it wrote is journalled.
    AttemptEnded {
        /// The attempt.
        attempt: Attempt,
        /// How it ended.
        end: AttemptEnd,
        /// What it says, where it was to find out whether the task is clear.
        analysis: Option<Box<Analysis>>,
    },
    /// Somebody answers our own question about the task.
    Answer {
        /// The answer.
        answered: Answered,
        /// The task as it was asked for.
        task: String,
        /// The id of the next message.
        uuid: Uuid,
    },
    /// A session is to start with something that nobody has trusted.
    AskForTrust {
        /// What a person is asked.
        question: Question,
    },
    /// Somebody answers our own question about that.
    AnswerForTrust {
        /// The answer.
        answered: Answered,
        /// What is told where the session goes on without it.
        notice: String,
    },
    /// The wait before the next attempt is over.
    RetryDue {
        /// The attempt before the wait.
        attempt: Attempt,
    },
    /// Somebody cancels the session.
    Cancel {
        /// Who, in words for a person.
        by: String,
    },
    /// The session's active time is used up.
    TimeUp,
    /// Somebody resumes the ended session.
    Resume {
        /// Who does, and from where.
        resumed: Resumed,
        /// What the agent is told besides what it would be told anyway.
        input: Option<Input>,
        /// What the person should know about it.
        notices: Vec<Text>,
    },
}

/// What is to be done once the entries are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Wait for a slot, behind those who wait already.
    Enqueue,
    /// Start an execution for the attempt that was just recorded.
    Start(Attempt),
    /// End the agent of this attempt.
    Stop(Attempt),
}

/// The answer to an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// What is written down, in one append.
    pub entries: Vec<Entry>,
    /// What is done afterwards.
    pub effects: Vec<Effect>,
}

/// Why a wish cannot be granted; each says what could be done instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It has ended, and not by being cancelled.
    #[error("the session has already ended: {}", .0.name())]
    AlreadyEnded(Outcome),
    /// It has not ended.
    #[error("the session is still {0}")]
    StillLive(StateName),
    /// It was completed.
    #[error("the session is completed")]
    Completed,
}

/// Decides what follows an event. `jitter`, from 0 to 1, spreads the delays of restarts.
///
/// Events of an attempt that is not the current one are late and change nothing.
pub fn decide(
    life: &Lifecycle,
    event: &Event,
    policy: &RestartPolicy,
    now: Timestamp,
    jitter: f64,
) -> Result<Decision, Denied> {
    match event {
        Event::SlotFree { fresh, checkpoint } => Ok(start(life, *fresh, *checkpoint)),
        Event::AgentUp { attempt } => Ok(agent_up(life, *attempt)),
        Event::AttemptEnded { attempt, end, analysis } => {
            let analysis = analysis.as_deref();
            Ok(attempt_ended(
                life,
                *attempt,
                end,
                analysis,
                &Surroundings { policy, now, jitter },
            ))
        }
        Event::Answer { answered, task, uuid } => Ok(answer(life, answered, task, *uuid)),
        Event::AskForTrust { question } => Ok(trusting::ask(life, question)),
        Event::AnswerForTrust { answered, notice } => Ok(trusting::answer(life, answered, notice)),
        Event::RetryDue { attempt } => Ok(retry_due(life, *attempt)),
        Event::Cancel { by } => cancel(life, by),
        Event::TimeUp => Ok(time_up(life)),
        Event::Resume {
            resumed,
            input,
            notices,
        } => {
            let mut decision = resume(life, resumed)?;
            let told = notices.iter().cloned().map(Entry::Notice);
            let told: Vec<_> = told.chain(input.iter().cloned().map(Entry::Input)).collect();
            // Behind `session.resumed`, which clears what the new message must not be cleared with.
            decision.entries.splice(1..1, told);
            Ok(decision)
        }
    }
}

/// What decides about restarts besides the session itself.
struct Surroundings<'a> {
    policy: &'a RestartPolicy,
    now: Timestamp,
    jitter: f64,
}

fn start(life: &Lifecycle, fresh: Uuid, checkpoint: Option<Seq>) -> Decision {
    // A person says first whether it may start what it brings.
    if life.state != State::Queued || life.trust.is_open() {
        return Decision::default();
    }
    let attempt = life.attempt.next();
    let started = AttemptStart {
        attempt,
        agent_session_id: life.agent_session_id.unwrap_or(fresh),
        resumed_from: life.agent_session_id.and(checkpoint),
    };
    let entries = vec![
        change(life, StateName::Starting, "a slot is free"),
        Entry::AttemptStarted(started),
    ];
    Decision {
        entries,
        effects: vec![Effect::Start(attempt)],
    }
}

fn agent_up(life: &Lifecycle, attempt: Attempt) -> Decision {
    if life.state != State::Starting || attempt != life.attempt {
        return Decision::default();
    }
    Decision {
        entries: vec![change(life, StateName::Running, "the agent answers")],
        effects: vec![],
    }
}

fn attempt_ended(
    life: &Lifecycle,
    attempt: Attempt,
    end: &AttemptEnd,
    analysis: Option<&Analysis>,
    around: &Surroundings<'_>,
) -> Decision {
    if attempt != life.attempt || !life.state.has_agent() {
        return Decision::default();
    }
    let mut decision = match life.state {
        State::Stopping { stop_for } => {
            let sentence = stop_sentence(stop_for).to_owned() + &told_cut_off(end);
            ended(life, stop_for.outcome(), &sentence)
        }
        State::Queued
        | State::Starting
        | State::Running
        | State::Asking
        | State::WaitingRetry { .. }
        | State::Ended { .. } => match analysis {
            Some(analysis) if end.ending == Ending::Finished && life.clarify == Clarify::Analysing => {
                after_analysis(life, analysis)
            }
            Some(_) | None => after_ending(life, end, around),
        },
    };
    decision.entries.insert(0, Entry::AttemptEnded(end.clone()));
    decision
}

fn after_ending(life: &Lifecycle, end: &AttemptEnd, around: &Surroundings<'_>) -> Decision {
    let Surroundings { policy, now, jitter } = *around;
    let sentence = sentence_about(end);
    let failed = |cause| ended(life, Outcome::Failed { cause }, &sentence);
    match &end.ending {
        Ending::Finished => match &life.last_end {
            // Only a slash command ran since the session was resumed, so the task stands where it stood.
            Some(last) => ended(life, last.outcome, &last.summary),
            None => ended(life, Outcome::Completed, &sentence),
        },
        Ending::Refused { cause, .. } => failed(*cause),
        Ending::NotSignedIn { until: Some(until), .. } if *until > now => {
            let in_row = life.restarts.clone().count_uncharged();
            wait(life, later(now, api_delay(in_row, jitter)).min(*until), &sentence)
        }
        Ending::NotSignedIn { .. } => failed(Cause::Auth),
        Ending::NotStarted { .. } => failed(Cause::NotStarted),
        Ending::Untrusted { project } => trusting::found(life, project, &sentence),
        Ending::Quota { .. } if !policy.resume_after_quota => failed(Cause::Quota),
        Ending::Quota { resets_at } => {
            let known = resets_at.filter(|at| *at > now);
            wait(life, known.unwrap_or(later(now, QUOTA_UNKNOWN_DELAY)), &sentence)
        }
        Ending::ApiDown { .. } => {
            let in_row = life.restarts.clone().count_uncharged();
            wait(life, later(now, api_delay(in_row, jitter)), &sentence)
        }
        Ending::Crashed | Ending::Panicked | Ending::Stalled | Ending::LostContext { .. } | Ending::Stopped => {
            // The fold counts the ending when it is journalled; it is judged as counted.
            let mut restarts = life.restarts.clone();
            restarts.count_charged(end.ending.name(), end.open_tool.as_deref(), now);
            match restarts.verdict(policy, now) {
                Verdict::Restart { in_window } => wait(life, later(now, crash_delay(in_window, jitter)), &sentence),
                Verdict::BudgetSpent if policy.restarts_max == 0 => failed(Cause::Crashed),
                Verdict::BudgetSpent => {
                    let why = format!("{sentence}, and its restart budget is used up");
                    ended(life, Outcome::Failed { cause: Cause::Parked }, &why)
                }
                Verdict::Poison => {
                    let tool = end.open_tool.as_deref().unwrap_or_default();
                    let why = format!("{sentence} twice at the same tool call ({tool})");
                    ended(life, Outcome::Failed { cause: Cause::Parked }, &why)
                }
            }
        }
    }
}

/// How an attempt ended, for a person. Of an agent that died nothing is known but how its process did.
fn sentence_about(end: &AttemptEnd) -> String {
    match &end.exit {
        Some(exit) if end.ending == Ending::Crashed => format!("{} ({exit})", end.ending),
        Some(_) | None => end.ending.to_string() + &told_cut_off(end),
    }
}

/// The work that was ended with the agent, as the end of a sentence.
fn told_cut_off(end: &AttemptEnd) -> String {
    if end.cut_off.is_empty() {
        return String::new();
    }
    format!("; this was still going on and was cut off: {}", end.cut_off.join(", "))
}

fn retry_due(life: &Lifecycle, attempt: Attempt) -> Decision {
    match life.state {
        State::WaitingRetry { .. } if attempt == life.attempt => Decision {
            entries: vec![change(life, StateName::Queued, "the wait is over")],
            effects: vec![Effect::Enqueue],
        },
        State::Queued
        | State::Starting
        | State::Running
        | State::Asking
        | State::WaitingRetry { .. }
        | State::Stopping { .. }
        | State::Ended { .. } => Decision::default(),
    }
}

fn cancel(life: &Lifecycle, by: &str) -> Result<Decision, Denied> {
    let control = Entry::Control(Control {
        action: "cancel".to_owned(),
        by: by.to_owned(),
    });
    let mut decision = match &life.state {
        State::Queued | State::Asking | State::WaitingRetry { .. } => {
            ended(life, Outcome::Cancelled, stop_sentence(StopFor::Cancelled))
        }
        State::Starting | State::Running => stop(life, StopFor::Cancelled),
        State::Stopping { .. }
        | State::Ended {
            outcome: Outcome::Cancelled,
        } => return Ok(Decision::default()),
        State::Ended { outcome } => return Err(Denied::AlreadyEnded(*outcome)),
    };
    decision.entries.insert(0, control);
    Ok(decision)
}

fn time_up(life: &Lifecycle) -> Decision {
    match &life.state {
        State::Queued | State::Asking | State::WaitingRetry { .. } => {
            ended(life, Outcome::TimedOut, stop_sentence(StopFor::TimedOut))
        }
        State::Starting | State::Running => stop(life, StopFor::TimedOut),
        State::Stopping { .. } | State::Ended { .. } => Decision::default(),
    }
}

fn resume(life: &Lifecycle, resumed: &Resumed) -> Result<Decision, Denied> {
    match &life.state {
        State::Ended {
            outcome: Outcome::Completed,
        } => Err(Denied::Completed),
        State::Ended { .. } => {
            let reason = format!("resumed by {}", resumed.by);
            let entries = vec![
                Entry::SessionResumed(resumed.clone()),
                change(life, StateName::Queued, &reason),
            ];
            Ok(Decision {
                entries,
                effects: vec![Effect::Enqueue],
            })
        }
        live @ (State::Queued
        | State::Starting
        | State::Running
        | State::Asking
        | State::WaitingRetry { .. }
        | State::Stopping { .. }) => Err(Denied::StillLive(live.name())),
    }
}

fn stop(life: &Lifecycle, stop_for: StopFor) -> Decision {
    let reason = stop_sentence(stop_for).to_owned();
    let to = StateName::Stopping;
    let entry = StateChange {
        from: life.state.name(),
        to,
        reason,
        until: None,
        stop_for: Some(stop_for),
    };
    Decision {
        entries: vec![Entry::SessionState(entry)],
        effects: vec![Effect::Stop(life.attempt)],
    }
}

fn wait(life: &Lifecycle, at: Timestamp, sentence: &str) -> Decision {
    let (from, to) = (life.state.name(), StateName::WaitingRetry);
    let waiting = StateChange {
        from,
        to,
        reason: sentence.to_owned(),
        until: Some(at),
        stop_for: None,
    };
    let scheduled = RetryScheduled {
        at,
        cause: sentence.to_owned(),
    };
    let entries = vec![Entry::RetryScheduled(scheduled), Entry::SessionState(waiting)];
    Decision {
        entries,
        // Deadlines are armed after every step, by the time in the state.
        effects: vec![],
    }
}

pub(super) fn ended(life: &Lifecycle, outcome: Outcome, sentence: &str) -> Decision {
    let end = SessionEnd {
        outcome,
        summary: sentence.to_owned(),
    };
    let entries = vec![
        change(life, name_of_outcome(outcome), sentence),
        Entry::SessionEnded(end),
    ];
    Decision {
        entries,
        effects: vec![],
    }
}

pub(super) fn change(life: &Lifecycle, to: StateName, reason: &str) -> Entry {
    let change = StateChange {
        from: life.state.name(),
        to,
        reason: reason.to_owned(),
        until: None,
        stop_for: None,
    };
    Entry::SessionState(change)
}

pub(super) fn stop_sentence(stop_for: StopFor) -> &'static str {
    match stop_for {
        StopFor::Cancelled => "the session was cancelled",
        StopFor::TimedOut => "the session's time is up",
    }
}

/// `now + delay`, or the end of time where that does not exist.
fn later(now: Timestamp, delay: SignedDuration) -> Timestamp {
    now.checked_add(delay).unwrap_or(Timestamp::MAX)
}
