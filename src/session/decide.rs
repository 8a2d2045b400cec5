//! What follows an event, and what somebody wants of a session: pure and total.
//!
//! [`decide()`] answers an [`Event`] with journal entries and effects, or with a reason why not. The next state is
//! never computed beside the journal: it is [`Lifecycle::apply`] of those entries, the same fold that runs when a
//! daemon starts. Effects are carried out only when the entries are on disk.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use self::clarifying::after_analysis;
pub use self::decision::{Decision, DecisionContext, Effect};
use self::decision::{change, ended, queued, stop_sentence};
pub use self::event::{CutAt, Denied, Event, GivenAnswer, Resumption, Wish};
use crate::session::clarify::{Analysis, Clarify};
use crate::session::id::{Attempt, Seq};
use crate::session::journal::{
    AttemptEnd, AttemptStart, Control, Entry, Input, Resumed, RetryScheduled, StateChange, Text,
};
use crate::session::message::InputState;
use crate::session::outcome::{Cause, Ending, Outcome, StopFor};
use crate::session::restart::{QUOTA_UNKNOWN_DELAY, RestartVerdict, api_delay, crash_delay};
use crate::session::state::{Lifecycle, State, StateName};

/// Decides what follows an event.
///
/// Events of an attempt that is not the current one are late and change nothing. Errors if the event is a wish that is
/// refused.
pub fn decide(life: &Lifecycle, event: &Event, context: &DecisionContext<'_>) -> Result<Decision, Denied> {
    Ok(match event {
        Event::SlotFree { fresh, checkpoint } => start(life, *fresh, *checkpoint),
        Event::AgentUp { attempt } => agent_up(life, *attempt),
        Event::AttemptEnded { attempt, end, analysis } => {
            attempt_ended(life, *attempt, end, analysis.as_deref(), context)
        }
        Event::AskForTrust { question } => trusting::ask(life, question),
        Event::RetryDue { attempt } => retry_due(life, *attempt),
        Event::TimeUp => time_up(life),
        Event::NobodyAnswered { question_id } => answering::by_policy(life, *question_id, context),
        Event::Wish(Wish::Answer(given)) => answering::answer(life, given, context)?,
        Event::Wish(Wish::Cancel { by }) => cancel(life, by)?,
        Event::Wish(Wish::Resume(resumption)) => resume(life, resumption, context)?,
    })
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
    context: &DecisionContext<'_>,
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
            Some(_) | None => after_ending(life, end, context),
        },
    };
    decision.entries.insert(0, Entry::AttemptEnded(end.clone()));
    decision
}

fn after_ending(life: &Lifecycle, end: &AttemptEnd, context: &DecisionContext<'_>) -> Decision {
    let DecisionContext {
        policy, now, jitter, ..
    } = *context;
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
                RestartVerdict::Restart { in_window } => {
                    wait(life, later(now, crash_delay(in_window, jitter)), &sentence)
                }
                RestartVerdict::BudgetSpent if policy.restarts_max == 0 => failed(Cause::Crashed),
                RestartVerdict::BudgetSpent => {
                    let why = format!("{sentence}, and its restart budget is used up");
                    ended(life, Outcome::Failed { cause: Cause::Parked }, &why)
                }
                RestartVerdict::Poison => {
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
        State::WaitingRetry { .. } if attempt == life.attempt => queued(life, "the wait is over"),
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

fn resume(life: &Lifecycle, resumption: &Resumption, context: &DecisionContext<'_>) -> Result<Decision, Denied> {
    match &life.state {
        State::Ended {
            outcome: Outcome::Completed,
        } => return Err(Denied::Completed),
        State::Ended { .. } => {}
        live @ (State::Queued
        | State::Starting
        | State::Running
        | State::Asking
        | State::WaitingRetry { .. }
        | State::Stopping { .. }) => return Err(Denied::StillLive(live.name())),
    }
    let Resumption {
        by,
        instruction,
        at,
        limits: new,
    } = resumption;
    let spent = context.summary.usage.cost_usd;
    let limits = context.summary.limits_in_force(context.request).renewed(*new, spent)?;
    // Cut back, a session has no right that it did not have at that point.
    let narrowed = |at: &CutAt| at.now.terms.narrowed_to(&at.then.terms, context.request.asked_mode());
    let resumed = Resumed {
        by: by.clone(),
        instruction: instruction.clone(),
        at: at.as_ref().map(|at| at.seq),
        message: at.as_ref().map(|at| at.message),
        terms: at.as_ref().map(|at| Box::new(narrowed(at))),
        limits: Some(limits),
    };
    let notices = [at.as_ref().and_then(|at| at.notice.clone()), limits.granted(spent)];
    let notices = notices.into_iter().flatten().map(|text| Entry::Notice(Text { text }));
    // Without an instruction the agent goes on with what was cut short, or is asked to when it is greeted.
    let input = instruction.clone().map(|text| {
        Entry::Input(Input {
            uuid: context.fresh,
            state: InputState::Sent,
            text: Some(text),
        })
    });
    let mut decision = queued(life, &format!("resumed by {by}"));
    // Behind `session.resumed`, which clears what the new message must not be cleared with.
    let told = std::iter::once(Entry::SessionResumed(resumed))
        .chain(notices)
        .chain(input);
    decision.entries.splice(0..0, told);
    Ok(decision)
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

/// `now + delay`, or the end of time where that does not exist.
fn later(now: Timestamp, delay: SignedDuration) -> Timestamp {
    now.checked_add(delay).unwrap_or(Timestamp::MAX)
}

mod answering;
mod clarifying;
mod decision;
mod event;
#[cfg(test)]
mod stories;
mod trusting;
#[cfg(test)]
mod walk;
