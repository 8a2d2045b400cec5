//! The events that the walk tries on every state.

use uuid::Uuid;

use super::{Event, Lifecycle, end, now, resume};
use crate::session::clarify::{Analysis, Clarify, Verdict};
use crate::session::id::{Attempt, QuestionId, Seq};
use crate::session::journal::Answered;
use crate::session::outcome::{Cause, Ending};
use crate::session::question::Answer;
use crate::session::restart::Restarts;
use crate::session::trust::{CANCEL, Decision, Project, RUN, WITHOUT};

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
        Event::Cancel { by: "a person".into() },
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
    for question_id in [QuestionId(1), QuestionId(2)] {
        events.extend(answers().map(|answer| settle(question_id, answer)));
        events.extend(answers_for_trust().map(|answer| for_trust(question_id, answer)));
    }
    events.push(Event::AskForTrust {
        question: project().question(QuestionId(1)),
    });
    events
}

/// Ends of an attempt that found something in the directory: to be asked about, and to be left out.
pub(super) fn found_in_project(life: &Lifecycle) -> [Event; 2] {
    [None, Some(Decision::Without)].map(|decided| {
        let project = Box::new(Project { decided, ..project() });
        Event::AttemptEnded {
            attempt: life.attempt,
            end: end(Ending::Untrusted { project }),
            analysis: None,
        }
    })
}

fn project() -> Project {
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

pub(super) fn for_trust(question_id: QuestionId, answer: Answer) -> Event {
    Event::AnswerForTrust {
        answered: Answered {
            question_id,
            answer,
            by: "a person".into(),
            granted: Vec::new(),
        },
        notice: project().told_without(),
    }
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

fn answers() -> [Answer; 3] {
    let deny = |interrupt| Answer::Deny {
        reason: None,
        interrupt,
    };
    let answers = [("Which?".to_owned(), "A".to_owned())].into();
    [Answer::Choose { answers }, deny(false), deny(true)]
}

fn settle(question_id: QuestionId, answer: Answer) -> Event {
    Event::Answer {
        answered: Answered {
            question_id,
            answer,
            by: "a person".into(),
            granted: Vec::new(),
        },
        task: "tidy up".into(),
        uuid: Uuid::from_u128(8),
    }
}
