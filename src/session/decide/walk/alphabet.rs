//! The events that the walk tries on every state.

use uuid::Uuid;

use super::{Event, GivenAnswer, Wish, cancel, end, now, resume};
use crate::session::clarify::{Analysis, Clarify, Verdict};
use crate::session::id::{Attempt, QuestionId, Seq, SessionId};
use crate::session::kin::Rights;
use crate::session::outcome::{Cause, Ending};
use crate::session::question::Answer;
use crate::session::request::{OnQuestion, PermissionMode};
use crate::session::restart::Restarts;
use crate::session::state::Lifecycle;
use crate::session::trust::{CANCEL, Project, RUN, TrustDecision, WITHOUT};

/// The question of an agent.
pub(super) const OF_AGENT: QuestionId = QuestionId(9);

/// Everything that can happen, to the current attempt and to the one before it.
pub(super) fn alphabet(life: &Lifecycle) -> Vec<Event> {
    let not_signed_in = |until| Ending::NotSignedIn {
        message: String::new(),
        until,
    };
    let endings = [
        Ending::Finished,
        Ending::Refused {
            cause: Cause::MaxTurns,
            message: String::new(),
        },
        not_signed_in(None),
        not_signed_in(Some(now(6))),
        Ending::Quota { resets_at: None },
        Ending::Quota {
            resets_at: Some(now(-1)),
        },
        Ending::ApiDown { message: String::new() },
        Ending::Crashed,
        Ending::LostContext { message: String::new() },
        Ending::NotStarted { message: String::new() },
        Ending::Stopped,
    ];
    let mut events = vec![
        Event::SlotFree {
            fresh: Uuid::from_u128(7),
            checkpoint: Some(Seq(1)),
        },
        cancel(),
        Event::TimeUp,
        resume(),
    ];
    for attempt in [life.attempt, Attempt(life.attempt.0.saturating_sub(1))] {
        events.push(Event::AgentUp { attempt });
        events.push(Event::RetryDue { attempt });
        events.extend(endings.iter().map(|e| Event::AttemptEnded {
            attempt,
            end: end(e.clone()),
            analysis: analysis(life, None),
        }));
        events.extend([AMBIGUOUS, CLEAR].map(|verdict| Event::AttemptEnded {
            attempt,
            end: end(Ending::Finished),
            analysis: analysis(life, Some(verdict)),
        }));
    }
    for question_id in [QuestionId(1), QuestionId(2), OF_AGENT] {
        events.extend(answers().map(|answer| by_person(question_id, answer)));
        events.extend(answers_for_trust().map(|answer| by_person(question_id, answer)));
        events.extend(yes().map(|answer| by_agent(question_id, answer)));
        events.push(Event::NobodyAnswered { question_id });
    }
    events.push(Event::AskForTrust {
        question: project().question(QuestionId(1)),
    });
    events
}

/// Ends of an attempt that found something in the directory: to be asked about, and to be left out.
pub(super) fn found_in_project(life: &Lifecycle) -> [Event; 2] {
    [None, Some(TrustDecision::Without)].map(|decided| {
        let project = Box::new(Project { decided, ..project() });
        Event::AttemptEnded {
            attempt: life.attempt,
            end: end(Ending::Untrusted { project }),
            analysis: None,
        }
    })
}

pub(super) fn project() -> Project {
    Project {
        root: "/srv/repo".into(),
        digest: "d".into(),
        starts: vec!["hook SessionStart: ./x.sh".into()],
        decided: None,
        asked: None,
    }
}

/// Answers to the question about the project; the first one lets it start.
pub(super) fn answers_for_trust() -> [Answer; 5] {
    let choose = |label: &str| Answer::Choose {
        answers: [("Run it?".to_owned(), label.to_owned())].into(),
    };
    let deny = |interrupt| Answer::Deny {
        reason: None,
        interrupt,
    };
    [choose(RUN), choose(WITHOUT), choose(CANCEL), deny(false), deny(true)]
}

const AMBIGUOUS: &str =
    r#"{"ambiguous": true, "questions": [{"question": "Which?", "options": [{"label": "A"}, {"label": "B"}]}]}"#;
const CLEAR: &str = r#"{"ambiguous": false}"#;

/// The end of an analysis, as the supervisor reports it for a session that is being clarified.
fn analysis(life: &Lifecycle, verdict: Option<&str>) -> Option<Box<Analysis>> {
    let is_analysing = life.clarify == Clarify::Analysing;
    let asked = u32::from(life.restarts != Restarts::default());
    is_analysing.then(|| {
        Box::new(Analysis {
            verdict: Verdict::read(None, verdict),
            task: "tidy up".into(),
            question_id: QuestionId(1 + asked),
            uuid: Uuid::from_u128(8),
        })
    })
}

/// Answers to the questions about the task and of an agent.
fn answers() -> [Answer; 2] {
    let answers = [("Which?".to_owned(), "A".to_owned())].into();
    [Answer::Choose { answers }, Answer::allow()]
}

/// Answers by which something may run.
fn yes() -> [Answer; 2] {
    let [run, ..] = answers_for_trust();
    [run, Answer::allow()]
}

pub(super) fn by_person(question_id: QuestionId, answer: Answer) -> Event {
    Event::Wish(Wish::Answer(GivenAnswer {
        question_id,
        answer,
        by: "a person".into(),
        rights: None,
    }))
}

/// An agent that may do little gives an answer.
fn by_agent(question_id: QuestionId, answer: Answer) -> Event {
    let rights = Rights {
        session: SessionId::default(),
        mode: PermissionMode::Default,
        allowed_tools: Vec::new(),
        disallowed_tools: Vec::new(),
        directories: Vec::new(),
        on_question: OnQuestion::Wait,
        depth: 0,
        left_usd: None,
    };
    Event::Wish(Wish::Answer(GivenAnswer {
        question_id,
        answer,
        by: "an agent".into(),
        rights: Some(Box::new(rights)),
    }))
}

/// True if an agent that may do little lets something run.
pub(super) fn is_narrow_yes(event: &Event) -> bool {
    matches!(event, Event::Wish(Wish::Answer(given)) if given.rights.is_some())
}
