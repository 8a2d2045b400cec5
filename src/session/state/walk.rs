//! An exhaustive walk: every event of a small alphabet on every state that can be reached, the promises asserted on
//! each edge.

use std::collections::{HashSet, VecDeque};
use std::fmt;

use jiff::Timestamp;
use uuid::Uuid;

use self::alphabet::{alphabet, answers_for_trust, for_trust, found_in_project};
use super::*;
use crate::session::clarify::Clarify;
use crate::session::id::{Attempt, QuestionId};
use crate::session::journal::{AttemptEnd, Entry, Input, Resumed};
use crate::session::message::{InputState, TurnEnd};
use crate::session::outcome::{Cause, Ending, Outcome, StopFor};
use crate::session::restart::{RestartPolicy, Restarts};
use crate::session::samples::{good_turn, said, turn_ended};

mod alphabet;

/// A session as the walk sees it, with what the outside world would know.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Node {
    life: Lifecycle,
    /// Attempts whose agent may be alive.
    live: Vec<Attempt>,
    /// It was cancelled and not resumed since.
    cancelled: bool,
    /// When there were charged endings since the start or the last resume, in steps of the clock.
    charged: Vec<i64>,
    /// Steps of the clock.
    ticks: i64,
    /// The question about the task or the project that waits for its answer.
    asked: Option<QuestionId>,
    /// How often `task.refined` was recorded.
    refined: u32,
}

const TICKS_MAX: i64 = 12;

pub(super) fn policy() -> RestartPolicy {
    RestartPolicy {
        restarts_max: 2,
        restart_period_seconds: 40,
        restarts_total_max: 3,
        resume_after_quota: true,
    }
}

pub(super) fn now(ticks: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + ticks * 10).unwrap()
}

pub(super) fn end(ending: Ending) -> AttemptEnd {
    AttemptEnd {
        ending,
        exit: None,
        open_tool: None,
        leftovers: vec![],
        answers_written: None,
        cut_off: Vec::new(),
    }
}

pub(super) fn resume() -> Event {
    let resumed = Resumed {
        by: "a person".into(),
        instruction: None,
        at: None,
        message: None,
        terms: None,
        limits: None,
    };
    let input = Input {
        uuid: Uuid::from_u128(9),
        state: InputState::Sent,
        text: Some("go on".into()),
    };
    Event::Resume {
        resumed,
        input: Some(input),
        notices: vec![],
    }
}

fn check_edge(before: &Node, event: &Event, decision: &Decision, after: &mut Node) {
    let context = format_args!("{event:?} on {:?} gave {decision:?}", before.life);
    if let Event::AttemptEnded { attempt, end, .. } = event
        && before.live.contains(attempt)
        && !decision.entries.is_empty()
    {
        after.live.retain(|live| live != attempt);
        after.charged.extend(end.ending.is_charged().then_some(before.ticks));
    }
    for entry in &decision.entries {
        if let Entry::SessionResumed(_) = entry {
            (after.cancelled, after.charged) = (false, vec![]);
        }
        if let Entry::AttemptStarted(start) = entry {
            assert_eq!(
                start.attempt,
                before.life.attempt.next(),
                "attempts are numbered without gaps: {context}"
            );
            assert_eq!(
                start.resumed_from.is_some(),
                before.life.agent_session_id.is_some(),
                "only a conversation that goes on goes on from a checkpoint: {context}"
            );
        }
    }
    for effect in &decision.effects {
        if let Effect::Start(attempt) = effect {
            assert!(after.live.is_empty(), "never two live attempts: {context}");
            after.live.push(*attempt);
        }
    }
    after.cancelled |= matches!(event, Event::Cancel { .. })
        && decision.entries.iter().any(|entry| matches!(entry, Entry::Control(_)));
    let ended_now = decision
        .entries
        .iter()
        .filter(|entry| matches!(entry, Entry::SessionEnded(_)))
        .count();
    let was_live = before.life.state.outcome().is_none();
    let is_ended = after.life.state.outcome().is_some();
    assert_eq!(
        ended_now,
        usize::from(was_live && is_ended),
        "each end is recorded once: {context}"
    );
    assert_eq!(
        after.life.state.has_agent(),
        !after.live.is_empty(),
        "the state knows of every agent: {context}"
    );
    check_budget(before, event, after, context);
    check_goes_on(before, event, decision, after, context);
    check_promises(before, event, after, context);
    check_clarifying(before, event, decision, after, context);
    check_trust(before, event, decision, after, context);
}

/// A charged ending is followed by a restart only within the budget, in all and in its window.
fn check_budget(before: &Node, event: &Event, after: &Node, context: fmt::Arguments<'_>) {
    let policy = policy();
    let is_charged = matches!(event, Event::AttemptEnded { end, .. } if end.ending.is_charged());
    if !is_charged || !matches!(after.life.state, State::WaitingRetry { .. }) {
        return;
    }
    let window = i64::from(policy.restart_period_seconds);
    let recent = after
        .charged
        .iter()
        .filter(|ticks| now(before.ticks).as_second() - now(**ticks).as_second() < window);
    let (recent, total) = (recent.count(), after.charged.len());
    assert!(
        recent <= policy.restarts_max as usize && total <= policy.restarts_total_max as usize,
        "no restart past the budget: {context}"
    );
}

/// Whatever state a session comes into, something follows of which it is left again; what is late changes nothing.
fn check_goes_on(before: &Node, event: &Event, decision: &Decision, after: &Node, context: fmt::Arguments<'_>) {
    let of_attempt = match event {
        Event::AgentUp { attempt } | Event::RetryDue { attempt } | Event::AttemptEnded { attempt, .. } => {
            Some(*attempt)
        }
        Event::SlotFree { .. }
        | Event::Answer { .. }
        | Event::AskForTrust { .. }
        | Event::AnswerForTrust { .. }
        | Event::Cancel { .. }
        | Event::TimeUp
        | Event::Resume { .. } => None,
    };
    if of_attempt.is_some_and(|attempt| attempt != before.life.attempt) {
        assert_eq!(
            *decision,
            Decision::default(),
            "what is late changes nothing: {context}"
        );
    }
    let is_change = before.life.state != after.life.state;
    let expected = match &after.life.state {
        _ if !is_change => vec![],
        State::Queued => vec![Effect::Enqueue],
        State::Starting => vec![Effect::Start(after.life.attempt)],
        State::WaitingRetry { at } => {
            assert!(*at > now(before.ticks), "a wait ends later than now: {context}");
            vec![]
        }
        State::Stopping { .. } => vec![Effect::Stop(after.life.attempt)],
        State::Running | State::Asking | State::Ended { .. } => vec![],
    };
    assert_eq!(decision.effects, expected, "a session goes on: {context}");
    if let Event::Cancel { .. } = event {
        let is_recorded = matches!(decision.entries.first(), Some(Entry::Control(_)));
        assert_eq!(is_recorded, is_change, "who cancelled is recorded: {context}");
        assert!(
            matches!(after.life.state, State::Stopping { .. } | State::Ended { .. }),
            "a cancel that is accepted is carried out: {context}"
        );
    }
    if let (Event::TimeUp, true) = (event, is_change) {
        let stop_for = StopFor::TimedOut;
        let is_told = match &after.life.state {
            State::Stopping { stop_for: told } => *told == stop_for,
            state => state.outcome() == Some(stop_for.outcome()),
        };
        assert!(is_told, "a session whose time is up is told so: {context}");
    }
    if let Event::Resume { .. } = event {
        assert_eq!(
            after.life.restarts,
            Restarts::default(),
            "its budget is a new one: {context}"
        );
        assert!(
            matches!(decision.entries[..], [Entry::SessionResumed(_), Entry::Input(_), ..]),
            "what clears messages stands before those that are to stay: {context}"
        );
    }
}

/// Promises about a task that is clarified before it is run.
fn check_clarifying(before: &Node, event: &Event, decision: &Decision, after: &mut Node, context: fmt::Arguments<'_>) {
    for entry in &decision.entries {
        match entry {
            Entry::QuestionAsked(question) => {
                assert_eq!(after.asked, None, "one question at a time: {context}");
                after.asked = Some(question.question_id);
            }
            Entry::QuestionAnswered(answered) => {
                assert_eq!(
                    after.asked.take(),
                    Some(answered.question_id),
                    "only what is asked is answered: {context}"
                );
            }
            Entry::SessionEnded(_) => after.asked = None,
            Entry::TaskRefined(_) => {
                after.refined += 1;
                assert_eq!(
                    after.life.restarts, before.life.restarts,
                    "clarifying is no restart: {context}"
                );
                assert!(
                    decision.entries.iter().any(|entry| matches!(entry, Entry::Input(_))),
                    "whoever runs the task is told it: {context}"
                );
            }
            _ => {}
        }
    }
    let is_asking = after.life.state == State::Asking;
    assert_eq!(
        is_asking,
        after.asked.is_some(),
        "a person is asked in one state only: {context}"
    );
    assert_eq!(
        is_asking,
        is_asked(&after.life) && after.life.state.outcome().is_none(),
        "what is asked and the state agree: {context}"
    );
    assert!(
        !is_asking || after.live.is_empty(),
        "no agent works on an open question: {context}"
    );
    assert_eq!(
        after.refined,
        u32::from(after.life.clarify == Clarify::Settled),
        "a task is settled once, and stays settled: {context}"
    );
    let is_completed = after.life.state.outcome() == Some(Outcome::Completed);
    let is_clarifying = matches!(after.life.clarify, Clarify::Analysing | Clarify::Asking { .. });
    assert!(
        !(is_completed && is_clarifying),
        "an analysis is no completion: {context}"
    );
    if let (Event::Answer { .. } | Event::AnswerForTrust { .. }, Some(_)) = (event, before.asked)
        && !decision.entries.is_empty()
        && after.life.state.outcome().is_none()
    {
        assert_eq!(
            decision.effects,
            [Effect::Enqueue],
            "an answered task is run: {context}"
        );
    }
}

fn is_asked(life: &Lifecycle) -> bool {
    matches!(life.clarify, Clarify::Asking { .. }) || matches!(life.trust, Trust::Asking { .. })
}

/// Returns true if an attempt ended because of what it found in the directory.
fn found_in_directory(event: &Event) -> bool {
    matches!(event, Event::AttemptEnded { end, .. } if matches!(end.ending, Ending::Untrusted { .. }))
}

/// Promises about a project that nobody has trusted.
fn check_trust(before: &Node, event: &Event, decision: &Decision, after: &Node, context: fmt::Arguments<'_>) {
    let (was, is) = (before.life.trust, after.life.trust);
    let starts = |effect: &Effect| matches!(effect, Effect::Start(_));
    assert!(
        !is.is_open() || !decision.effects.iter().any(starts),
        "nothing starts before a person has said so: {context}"
    );
    match was {
        Trust::Unasked | Trust::Run | Trust::Without => assert!(
            is == was || found_in_directory(event),
            "a decision stays until something else is found: {context}"
        ),
        Trust::Due | Trust::Asking { .. } => assert!(
            is.is_open() || matches!(event, Event::AnswerForTrust { .. }) || found_in_directory(event),
            "only an answer decides: {context}"
        ),
    }
    if was != is && is == Trust::Run {
        let answer = answers_for_trust()
            .into_iter()
            .next()
            .map(|run| for_trust(QuestionId(1), run));
        assert_eq!(Some(event), answer.as_ref(), "only one answer lets it start: {context}");
    }
    let is_told = decision.entries.iter().any(|entry| matches!(entry, Entry::Notice(_)));
    assert!(
        was == is || is != Trust::Without || is_told || after.life.state.outcome().is_some(),
        "what does not start is told: {context}"
    );
}

/// Promises about where an edge leads.
fn check_promises(before: &Node, event: &Event, after: &Node, context: fmt::Arguments<'_>) {
    let was_live = before.life.state.outcome().is_none();
    if after.cancelled {
        let stays = match &after.life.state {
            State::Stopping { stop_for } => *stop_for == StopFor::Cancelled,
            State::Ended { outcome } => *outcome == Outcome::Cancelled,
            State::Queued | State::Starting | State::Running | State::Asking | State::WaitingRetry { .. } => false,
        };
        assert!(stays, "a cancelled session stays cancelled: {context}");
    }
    if matches!(
        after.life.state,
        State::Ended {
            outcome: Outcome::Completed
        }
    ) && was_live
    {
        assert!(
            is_finish(event) && before.life.last_end.is_none(),
            "nothing but a finish completes, and no session in which only a command ran since it ended: {context}"
        );
    }
    let last = before.life.last_end.as_ref().filter(|_| is_finish(event));
    let keeps = |outcome| last.is_some_and(|last| last.outcome == outcome);
    let has_stopped = |stop_for| before.life.state == State::Stopping { stop_for };
    match after.life.state.outcome().filter(|_| was_live) {
        Some(Outcome::Cancelled) => {
            let is_asked = matches!(
                event,
                Event::Cancel { .. } | Event::Answer { .. } | Event::AnswerForTrust { .. }
            );
            assert!(
                is_asked || has_stopped(StopFor::Cancelled) || keeps(Outcome::Cancelled),
                "nobody is told of a cancel that nobody asked for: {context}"
            );
        }
        Some(Outcome::TimedOut) => assert!(
            matches!(event, Event::TimeUp) || has_stopped(StopFor::TimedOut) || keeps(Outcome::TimedOut),
            "only time that is up times out: {context}"
        ),
        Some(Outcome::Completed | Outcome::Failed { .. }) | None => {}
    }
}

/// No edge depends on why a session failed before. States that differ in that alone are one, to keep the walk short.
fn forget_cause(life: &mut Lifecycle) {
    let Some(last) = &mut life.last_end else { return };
    last.summary.clear();
    if let Outcome::Failed { cause } = &mut last.outcome {
        *cause = Cause::AgentError;
    }
}

fn is_finish(event: &Event) -> bool {
    matches!(event, Event::AttemptEnded { end, .. } if end.ending == Ending::Finished)
}

/// The same session after a good turn of the model, where that makes a difference.
fn after_work(node: &Node) -> Option<Node> {
    if node.life.state != State::Running || node.life.last_end.is_none() {
        return None;
    }
    let mut after = node.clone();
    let turn = TurnEnd {
        turns: 1,
        ..good_turn()
    };
    after.life.apply(&said(turn_ended(turn)), now(node.ticks));
    Some(after)
}

#[test]
fn every_edge_keeps_the_promises() {
    let names = walk_from(Clarify::Unasked, Trust::Unasked, false);
    assert_eq!(names.len(), 9, "the walk reaches every state but one: {names:?}");
    assert!(
        !names.contains(&StateName::Asking),
        "nobody is asked who did not want it"
    );
    for (clarify, trust, finds) in [
        (Clarify::Analysing, Trust::Unasked, false),
        (Clarify::Unasked, Trust::Unasked, true),
        (Clarify::Unasked, Trust::Due, true),
        (Clarify::Analysing, Trust::Due, false),
    ] {
        let names = walk_from(clarify, trust, finds);
        assert_eq!(names.len(), 10, "the walk reaches every state: {names:?}");
    }
}

/// Walks over all that can be reached and returns the states that were seen. With `finds`, attempts find things in the
/// directory that nobody has trusted.
fn walk_from(clarify: Clarify, trust: Trust, finds: bool) -> HashSet<StateName> {
    let life = Lifecycle {
        clarify,
        trust,
        ..Lifecycle::default()
    };
    let first = Node {
        life,
        live: vec![],
        cancelled: false,
        charged: vec![],
        ticks: 0,
        asked: None,
        refined: 0,
    };
    let mut seen = HashSet::from([first.clone()]);
    let mut queue = VecDeque::from([first]);
    let mut names = HashSet::new();
    while let Some(node) = queue.pop_front() {
        names.insert(node.life.state.name());
        let worked = after_work(&node).filter(|after| seen.insert(after.clone()));
        queue.extend(worked);
        let found = found_in_project(&node.life).into_iter().filter(|_| finds);
        for event in alphabet(&node.life).into_iter().chain(found) {
            let at = now(node.ticks);
            let Ok(decision) = decide(&node.life, &event, &policy(), at, 0.5) else {
                continue;
            };
            let mut after = node.clone();
            for entry in &decision.entries {
                after.life.apply(entry, at);
            }
            check_edge(&node, &event, &decision, &mut after);
            after.ticks += i64::from(!decision.entries.is_empty());
            forget_cause(&mut after.life);
            if after.ticks <= TICKS_MAX && seen.insert(after.clone()) {
                queue.push_back(after);
            }
        }
    }
    assert!(seen.len() > 500, "the walk is worth its name: {} nodes", seen.len());
    names
}
