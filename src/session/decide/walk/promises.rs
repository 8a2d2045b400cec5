//! Promises of the state machine about what people are asked, and about where an edge leads.

use super::alphabet::{answers_for_trust, by_person};
use super::*;

/// Promises about a task that is clarified before it is run.
pub(super) fn check_clarifying(
    before: &Node,
    event: &Event,
    decision: &Decision,
    after: &mut Node,
    context: fmt::Arguments<'_>,
) {
    for entry in &decision.entries {
        match entry {
            Entry::QuestionAsked(question) => {
                assert_eq!(after.asked, None, "one question at a time: {context}");
                after.asked = Some(question.question_id);
            }
            Entry::QuestionAnswered(answered) if answered.question_id == OF_AGENT => after.take_answer(context),
            Entry::QuestionAnswered(answered) => {
                assert_eq!(
                    after.asked.take(),
                    Some(answered.question_id),
                    "only what is asked is answered: {context}"
                );
            }
            Entry::SessionEnded(_) => (after.asked, after.of_agent) = (None, None),
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
    check_answered(before, event, decision, after, context);
}

/// An answer to a question of the session itself is followed by work.
fn check_answered(before: &Node, event: &Event, decision: &Decision, after: &Node, context: fmt::Arguments<'_>) {
    if let (true, Some(_)) = (is_answer(event), before.asked)
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
pub(super) fn check_trust(
    before: &Node,
    event: &Event,
    decision: &Decision,
    after: &Node,
    context: fmt::Arguments<'_>,
) {
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
            is.is_open() || is_answer(event) || found_in_directory(event),
            "only an answer decides: {context}"
        ),
    }
    if was != is && is == Trust::Run {
        let answer = answers_for_trust()
            .into_iter()
            .next()
            .map(|run| by_person(QuestionId(1), run));
        assert_eq!(Some(event), answer.as_ref(), "only one answer lets it start: {context}");
    }
    let is_told = decision.entries.iter().any(|entry| matches!(entry, Entry::Notice(_)));
    assert!(
        was == is || is != Trust::Without || is_told || after.life.state.outcome().is_some(),
        "what does not start is told: {context}"
    );
}

/// Promises about where an edge leads.
pub(super) fn check_promises(before: &Node, event: &Event, after: &Node, context: fmt::Arguments<'_>) {
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
            let is_wanted = matches!(event, Event::Wish(Wish::Cancel { .. } | Wish::Answer(_)));
            assert!(
                is_wanted || has_stopped(StopFor::Cancelled) || keeps(Outcome::Cancelled),
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
