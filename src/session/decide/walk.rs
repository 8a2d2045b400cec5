//! An exhaustive walk: every event of a small alphabet on every state that can be reached, the promises asserted on
//! each edge.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fmt;

use jiff::Timestamp;
use uuid::Uuid;

use self::alphabet::{OF_AGENT, alphabet, found_in_project, is_narrow_yes};
use self::asking::OfAgent;
use self::promises::{check_clarifying, check_promises, check_trust};
use super::*;
use crate::session::clarify::Clarify;
use crate::session::id::{Attempt, QuestionId};
use crate::session::journal::{AttemptEnd, Entry};
use crate::session::limits::Limits;
use crate::session::message::TurnEnd;
use crate::session::outcome::{Cause, Ending, Outcome, StopFor};
use crate::session::request::{OnQuestion, Request};
use crate::session::restart::{RestartPolicy, Restarts};
use crate::session::samples::{good_turn, said, turn_ended};
use crate::session::summary::Summary;
use crate::session::trust::Trust;

mod alphabet;
mod asking;
mod promises;

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
    /// The question of an agent.
    of_agent: Option<OfAgent>,
}

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
    Event::Wish(Wish::Resume(Box::new(Resumption {
        by: "a person".into(),
        instruction: Some("go on".into()),
        at: None,
        limits: Limits::default(),
    })))
}

pub(super) fn cancel() -> Event {
    Event::Wish(Wish::Cancel { by: "a person".into() })
}

/// Decides about a session of which nothing but its lifecycle matters.
pub(super) fn decided(
    life: &Lifecycle,
    event: &Event,
    policy: &RestartPolicy,
    now: Timestamp,
    jitter: f64,
) -> Result<Decision, Denied> {
    let (request, answering) = (Request::default(), BTreeSet::new());
    let context = DecisionContext {
        policy,
        now,
        jitter,
        fresh: Uuid::from_u128(8),
        request: &request,
        summary: &asking::session(&request),
        answering: &answering,
        check_length: |_, _, _| Ok(()),
    };
    decide(life, event, &context)
}

fn answers_agent(decision: &Decision) -> bool {
    let mut entries = decision.entries.iter();
    entries.any(|entry| matches!(entry, Entry::QuestionAnswered(answered) if answered.question_id == OF_AGENT))
}

fn is_answer(event: &Event) -> bool {
    matches!(event, Event::Wish(Wish::Answer(_)) | Event::NobodyAnswered { .. })
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
    after.cancelled |= matches!(event, Event::Wish(Wish::Cancel { .. }))
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
        | Event::AskForTrust { .. }
        | Event::TimeUp
        | Event::NobodyAnswered { .. }
        | Event::Wish(_) => None,
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
        _ if answers_agent(decision) && after.life.state.has_agent() => vec![Effect::Deliver(after.life.attempt)],
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
    if let Event::Wish(Wish::Cancel { .. }) = event {
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
    if let Event::Wish(Wish::Resume(_)) = event {
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

/// What a walk begins with.
#[derive(Clone, Copy, Default)]
struct Beginning {
    clarify: Clarify,
    trust: Trust,
    /// Attempts find things in the directory that nobody has trusted.
    finds: bool,
    /// Agents ask a question.
    asks: bool,
    /// Steps of the clock until which the walk goes on.
    ticks_max: i64,
    on_question: OnQuestion,
}

const WHOLE: Beginning = Beginning {
    clarify: Clarify::Unasked,
    trust: Trust::Unasked,
    finds: false,
    asks: false,
    ticks_max: 12,
    on_question: OnQuestion::Wait,
};

#[test]
fn every_edge_keeps_the_promises() {
    let names = walk_from(WHOLE);
    assert_eq!(names.len(), 9, "the walk reaches every state but one: {names:?}");
    assert!(
        !names.contains(&StateName::Asking),
        "nobody is asked who did not want it"
    );
    for (clarify, trust, finds, on_question) in [
        (Clarify::Analysing, Trust::Unasked, false, OnQuestion::FirstOption),
        (Clarify::Unasked, Trust::Unasked, true, OnQuestion::Wait),
        (Clarify::Unasked, Trust::Due, true, OnQuestion::Allow),
        (Clarify::Analysing, Trust::Due, false, OnQuestion::Deny),
    ] {
        let names = walk_from(Beginning {
            clarify,
            trust,
            finds,
            on_question,
            ..WHOLE
        });
        assert_eq!(names.len(), 10, "the walk reaches every state: {names:?}");
    }
}

#[test]
fn every_edge_of_a_session_whose_agents_ask_keeps_the_promises() {
    for on_question in [
        OnQuestion::Wait,
        OnQuestion::Deny,
        OnQuestion::FirstOption,
        OnQuestion::Allow,
    ] {
        walk_from(Beginning {
            asks: true,
            ticks_max: 7,
            on_question,
            ..WHOLE
        });
    }
}

/// Walks over all that can be reached and returns the states that were seen.
fn walk_from(beginning: Beginning) -> HashSet<StateName> {
    let request = Request {
        task: "tidy up".into(),
        on_question: beginning.on_question,
        ..Request::default()
    };
    let session = asking::session(&request);
    let first = Node::beginning(beginning);
    let mut seen = HashSet::from([first.clone()]);
    let mut queue = VecDeque::from([first]);
    let mut names = HashSet::new();
    while let Some(node) = queue.pop_front() {
        names.insert(node.life.state.name());
        let others = after_work(&node).into_iter();
        let others = others.chain(node.told_by_agent().into_iter().filter(|_| beginning.asks));
        let others: Vec<_> = others.filter(|after| seen.insert(after.clone())).collect();
        queue.extend(others);
        let found = found_in_project(&node.life).into_iter().filter(|_| beginning.finds);
        let summary = node.summary(&session);
        for event in alphabet(&node.life).into_iter().chain(found) {
            let Some(after) = follow(&node, &event, &summary, &request) else {
                continue;
            };
            if after.ticks <= beginning.ticks_max && seen.insert(after.clone()) {
                queue.push_back(after);
            }
        }
    }
    assert!(seen.len() > 500, "the walk is worth its name: {} nodes", seen.len());
    names
}

/// The node after an event, unless that is a wish that is refused.
fn follow(node: &Node, event: &Event, summary: &Summary, request: &Request) -> Option<Node> {
    let at = now(node.ticks);
    let context = DecisionContext {
        policy: &policy(),
        now: at,
        jitter: 0.5,
        fresh: Uuid::from_u128(8),
        request,
        summary,
        answering: &node.answering(),
        check_length: |_, _, _| Ok(()),
    };
    let decision = match decide(&node.life, event, &context) {
        Ok(decision) => decision,
        Err(denied) => {
            node.check_refusal(event, &denied);
            return None;
        }
    };
    assert!(
        !is_narrow_yes(event),
        "an agent lets no other do more than it may itself: {event:?}"
    );
    assert!(
        !matches!(event, Event::Wish(Wish::Answer(_))) || !decision.entries.is_empty(),
        "an answer that is taken is recorded: {event:?}"
    );
    let mut after = node.clone();
    for entry in &decision.entries {
        after.life.apply(entry, at);
    }
    check_edge(node, event, &decision, &mut after);
    after.ticks += i64::from(!decision.entries.is_empty());
    forget_cause(&mut after.life);
    Some(after)
}
