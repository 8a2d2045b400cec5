//! Limits of a session: turns, money and time at work, and what becomes of them when it is resumed.
//!
//! Turns and time are counted from the last resume. Money is counted over the whole session.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::amounts::{duration, usd};

/// Limits of a session; a field without a value is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = SessionLimits)]
pub struct Limits {
    /// Maximum model calls since the last resume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<u32>,
    /// Maximum cost of the whole session in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_budget_usd: Option<f64>,
    /// Maximum time at work since the last resume, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
}

/// What counts against limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Used {
    /// Model calls.
    pub turns: u32,
    /// Cost in US dollars.
    pub cost_usd: f64,
    /// Time at work, in milliseconds.
    pub active_ms: u64,
}

/// A resume without money left to spend.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "the session has used {} of its budget of {}: give a total of more than {} as max_budget_usd",
    usd(*spent), usd(*budget), usd(*spent)
)]
pub struct BudgetSpent {
    /// Cost of the whole session in US dollars.
    pub spent: f64,
    /// The budget that would be in force, in US dollars.
    pub budget: f64,
}

impl Limits {
    /// The limits after a resume that gives `new` ones; each that it does not give stays as it is. Errors if the session
    /// has `spent` its budget, in US dollars.
    pub fn renewed(self, new: Self, spent: f64) -> Result<Self, BudgetSpent> {
        let limits = Self {
            max_turns: new.max_turns.or(self.max_turns),
            max_budget_usd: new.max_budget_usd.or(self.max_budget_usd),
            timeout_seconds: new.timeout_seconds.or(self.timeout_seconds),
        };
        match limits.max_budget_usd {
            Some(budget) if budget <= spent => Err(BudgetSpent { spent, budget }),
            Some(_) | None => Ok(limits),
        }
    }

    /// One sentence about what a resumed session may use, given what it has `spent`, in US dollars; none where nothing
    /// is limited.
    pub fn granted(&self, spent: f64) -> Option<String> {
        let turns = self
            .max_turns
            .map(|turns| format!("{turns} more {}", if turns == 1 { "turn" } else { "turns" }));
        let time = self
            .timeout_seconds
            .map(|seconds| format!("{} more at work", in_words(seconds)));
        let money = self
            .max_budget_usd
            .map(|budget| format!("{} in all, of which {} is spent", usd(budget), usd(spent)));
        let parts: Vec<_> = [turns, time, money].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| format!("The session may now use {}.", parts.join(", ")))
    }

    /// What counts against each limit, such as `12 of 30 turns, $2.10 of $5.00`; none without limits.
    pub fn used(&self, used: &Used) -> Option<String> {
        let turns = self.max_turns.map(|most| format!("{} of {most} turns", used.turns));
        let money = self
            .max_budget_usd
            .map(|most| format!("{} of {}", usd(used.cost_usd), usd(most)));
        let time = self
            .timeout_seconds
            .map(|most| format!("{} of {} at work", in_words(used.active_ms / 1000), in_words(most)));
        let parts: Vec<_> = [turns, money, time].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// A time at work, such as `1 h 2 min`.
pub(super) fn in_words(seconds: u64) -> String {
    duration(SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::id::SessionId;
    use crate::session::journal::Resumed;
    use crate::session::journal::{Created, Entry};
    use crate::session::message::Usage;
    use crate::session::request::Request;
    use crate::session::summary::Summary;
    use jiff::Timestamp;

    const GIVEN: Limits = Limits {
        max_turns: Some(2),
        max_budget_usd: Some(1.0),
        timeout_seconds: Some(60),
    };

    fn request() -> Request {
        Request {
            task: "tidy up".into(),
            cwd: "/w".into(),
            max_turns: Some(2),
            max_budget_usd: Some(1.0),
            timeout_seconds: Some(60),
            ..Request::default()
        }
    }

    fn summary() -> Summary {
        let created = Created {
            request: request(),
            by: "a test".into(),
            claim: None,
            project: None,
        };
        Summary::new(SessionId::new(), &created, Timestamp::UNIX_EPOCH)
    }

    fn resume(summary: &mut Summary, limits: Option<Limits>) {
        let resumed = Resumed {
            limits,
            ..Resumed::default()
        };
        summary.apply(&Entry::SessionResumed(resumed), Timestamp::UNIX_EPOCH);
    }

    fn spend(summary: &mut Summary, cost_usd: f64) {
        let usage = Usage {
            cost_usd,
            ..Usage::default()
        };
        summary.apply(&Entry::Usage(usage), Timestamp::UNIX_EPOCH);
        summary.turns += 2;
    }

    #[test]
    fn what_a_resume_does_not_give_is_granted_again() {
        assert_eq!(GIVEN.renewed(Limits::default(), 0.5), Ok(GIVEN));
        let more = Limits {
            max_turns: Some(30),
            ..Limits::default()
        };
        let renewed = GIVEN.renewed(more, 0.5).unwrap();
        assert_eq!((renewed.max_turns, renewed.timeout_seconds), (Some(30), Some(60)));
        assert_eq!(Limits::default().renewed(Limits::default(), 9.0), Ok(Limits::default()));
    }

    #[test]
    fn a_budget_that_is_spent_has_to_be_raised_above_what_is_spent() {
        let to = |sum| Limits {
            max_budget_usd: sum,
            ..Limits::default()
        };
        for (sum, budget) in [(None, 1.0), (Some(0.5), 0.5), (Some(1.25), 1.25)] {
            assert_eq!(GIVEN.renewed(to(sum), 1.25), Err(BudgetSpent { spent: 1.25, budget }));
        }
        assert_eq!(GIVEN.renewed(to(Some(2.0)), 1.25).unwrap().max_budget_usd, Some(2.0));
        let said = GIVEN.renewed(to(None), 1.25).unwrap_err().to_string();
        assert!(
            said.contains("$1.25 of its budget of $1.00") && said.contains("max_budget_usd"),
            "{said}"
        );
    }

    #[test]
    fn what_is_granted_is_one_sentence() {
        let said = GIVEN.granted(0.25).unwrap();
        let expected =
            "The session may now use 2 more turns, 1 min more at work, $1.00 in all, of which $0.2500 is spent.";
        assert_eq!(said, expected);
        assert_eq!(Limits::default().granted(0.25), None);
    }

    #[test]
    fn turns_and_time_count_from_a_resume_and_money_over_all() {
        let mut summary = summary();
        assert_eq!(summary.limits_in_force(&Request::default()), GIVEN);
        spend(&mut summary, 0.75);
        let more = Limits {
            max_turns: Some(5),
            ..GIVEN
        };
        resume(&mut summary, Some(more));
        assert_eq!(summary.limits_in_force(&request()), more);
        let used = summary.used_until(Timestamp::UNIX_EPOCH);
        assert_eq!((used.turns, used.cost_usd), (0, 0.75));
        spend(&mut summary, 1.5);
        assert_eq!(
            summary.used_of_limits(Timestamp::UNIX_EPOCH).as_deref(),
            Some("2 of 5 turns, $1.50 of $1.00, 0 s of 1 min at work")
        );
    }

    #[test]
    fn a_resume_of_an_earlier_version_keeps_its_meaning() {
        let mut summary = summary();
        spend(&mut summary, 0.75);
        resume(&mut summary, None);
        let used = summary.used_until(Timestamp::UNIX_EPOCH);
        assert_eq!((used.turns, used.cost_usd), (0, 0.0), "its limits count anew");
        assert_eq!(summary.limits_in_force(&request()), GIVEN);
        let old = Entry::from_json("session.resumed", r#"{"by":"me"}"#).unwrap();
        let Entry::SessionResumed(old) = old else { panic!() };
        assert_eq!(old.limits, None);
    }

    #[test]
    fn a_row_of_an_earlier_version_has_the_limits_of_its_request() {
        let mut row = serde_json::to_value(summary()).unwrap();
        row.as_object_mut().unwrap().remove("limits");
        let summary: Summary = serde_json::from_value(row).unwrap();
        assert_eq!(summary.limits_in_force(&request()), GIVEN);
    }
}
