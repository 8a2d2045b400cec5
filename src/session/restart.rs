//! Restart budget, delays and poison: when a failed attempt is followed by another, and how soon.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// What an operator allows; all durations in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RestartPolicy {
    /// The most charged restarts within `restart_period_seconds`.
    pub restarts_max: u32,
    /// The sliding window of `restarts_max`.
    pub restart_period_seconds: u32,
    /// The most charged restarts of one session in all.
    pub restarts_total_max: u32,
    /// Whether a session that ran into a usage limit waits for its reset by itself.
    pub resume_after_quota: bool,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            restarts_max: 5,
            restart_period_seconds: 600,
            restarts_total_max: 20,
            resume_after_quota: true,
        }
    }
}

/// What is remembered of a session's restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Restarts {
    /// When charged endings happened, the latest last; only as many as a budget can ask for.
    charged_at: Vec<Timestamp>,
    /// Charged endings in all since the session was last resumed by hand.
    charged_total: u32,
    /// Endings in a row that were followed by a wait and not charged; sets their delay.
    uncharged_in_row: u32,
    /// Where the last charged ending struck: its name and the tool call that was open.
    last_place: Option<(String, String)>,
    /// How often in a row charged endings have struck there again.
    #[serde(default)]
    struck_again: u32,
}

/// The most charged endings whose times are kept; a larger `restarts_max` has the same effect.
pub const CHARGED_KEPT_MAX: usize = 100;

/// Whether to go on after a charged ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartVerdict {
    /// Restart after the delay of this many charged restarts in the window.
    Restart {
        /// How many are in the window, this one included.
        in_window: u32,
    },
    /// The budget is used up.
    BudgetSpent,
    /// The same ending at the same open tool call, twice in a row.
    Poison,
}

impl Restarts {
    /// Counts a charged ending at `now`, with the tool call that was open.
    pub fn count_charged(&mut self, ending: &str, open_tool: Option<&str>, now: Timestamp) {
        let place = open_tool.map(|tool| (ending.to_owned(), tool.to_owned()));
        self.struck_again = if place.is_some() && place == self.last_place {
            self.struck_again.saturating_add(1)
        } else {
            0
        };
        self.last_place = place;
        self.uncharged_in_row = 0;
        self.charged_total = self.charged_total.saturating_add(1);
        self.charged_at.push(now);
        if self.charged_at.len() > CHARGED_KEPT_MAX {
            self.charged_at.remove(0);
        }
    }

    /// Whether to go on after the charged ending that was counted last, at `now`.
    pub fn verdict(&self, policy: &RestartPolicy, now: Timestamp) -> RestartVerdict {
        if self.struck_again > 0 {
            return RestartVerdict::Poison;
        }
        let in_window = self.in_window(policy, now);
        if in_window > policy.restarts_max || self.charged_total > policy.restarts_total_max {
            return RestartVerdict::BudgetSpent;
        }
        RestartVerdict::Restart { in_window }
    }

    /// A tool call has succeeded: what struck at the same one before is not to be expected at it any more.
    pub fn note_passed(&mut self, tool: &str) {
        if self.last_place.as_ref().is_some_and(|(_, place)| place == tool) {
            self.last_place = None;
        }
    }

    /// Counts an ending that is not charged; answers how many came in a row, this one included.
    pub fn count_uncharged(&mut self) -> u32 {
        self.uncharged_in_row = self.uncharged_in_row.saturating_add(1);
        self.uncharged_in_row
    }

    /// A turn ended well: waits for the API start from the shortest delay again. The budget is not refilled.
    pub fn note_progress(&mut self) {
        self.uncharged_in_row = 0;
    }

    /// Charged endings within the policy's window before `now`.
    pub fn in_window(&self, policy: &RestartPolicy, now: Timestamp) -> u32 {
        let window = SignedDuration::from_secs(i64::from(policy.restart_period_seconds));
        let recent = self.charged_at.iter().filter(|at| now.duration_since(**at) < window);
        u32::try_from(recent.count()).unwrap_or(u32::MAX)
    }
}

/// How long to wait before the `n`-th restart in a row, n from 1, with full jitter: `jitter` times the ceiling,
/// `jitter` from 0 to 1.
///
/// The ceilings after a crash are 1, 2, 4, 8, 16, 32 and from then on 60 seconds.
pub fn crash_delay(n: u32, jitter: f64) -> SignedDuration {
    jittered(1, 60, n, jitter)
}

/// How long to wait before asking a failing API again, the `n`-th time in a row, n from 1, with full jitter above a
/// floor of a tenth of the ceiling.
///
/// The ceilings are 15, 30, 60, 120, 240, 480 and from then on 900 seconds.
pub fn api_delay(n: u32, jitter: f64) -> SignedDuration {
    jittered(15, 900, n, jitter.max(0.1))
}

/// How long to wait for the reset of a usage limit whose time is not known: 5 minutes each time.
pub const QUOTA_UNKNOWN_DELAY: SignedDuration = SignedDuration::from_mins(5);

fn jittered(base_seconds: u32, ceiling_seconds: u32, n: u32, jitter: f64) -> SignedDuration {
    let doubled = base_seconds.saturating_mul(2u32.saturating_pow(n.saturating_sub(1)));
    let ceiling = f64::from(doubled.min(ceiling_seconds));
    SignedDuration::from_millis((ceiling * jitter.clamp(0.0, 1.0) * 1000.0) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn delays_double_up_to_their_ceiling() {
        let ceilings =
            |delay: fn(u32, f64) -> SignedDuration| (1..9).map(|n| delay(n, 1.0).as_secs()).collect::<Vec<_>>();
        assert_eq!(ceilings(crash_delay), [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(ceilings(api_delay), [15, 30, 60, 120, 240, 480, 900, 900]);
        assert_eq!(crash_delay(3, 0.0), SignedDuration::ZERO);
        assert_eq!(crash_delay(u32::MAX, 1.0).as_secs(), 60);
        assert_eq!(api_delay(1, 0.0).as_millis(), 1500, "an API is never asked at once");
    }

    #[test]
    fn where_more_is_allowed_than_is_kept_the_oldest_is_forgotten() {
        let policy = RestartPolicy {
            restarts_max: u32::MAX,
            restart_period_seconds: 10,
            restarts_total_max: u32::MAX,
            ..Default::default()
        };
        let mut restarts = Restarts::default();
        for second in 0..=CHARGED_KEPT_MAX as i64 {
            crash(&mut restarts, None, &policy, second);
        }
        assert_eq!(restarts.in_window(&policy, at(CHARGED_KEPT_MAX as i64)), 10);
    }

    /// Counts a crash at this second and judges it.
    fn crash(restarts: &mut Restarts, tool: Option<&str>, policy: &RestartPolicy, second: i64) -> RestartVerdict {
        restarts.count_charged("crashed", tool, at(second));
        restarts.verdict(policy, at(second))
    }

    #[test]
    fn the_window_slides_and_the_total_does_not() {
        let policy = RestartPolicy {
            restarts_max: 2,
            restart_period_seconds: 100,
            restarts_total_max: 3,
            ..Default::default()
        };
        let mut restarts = Restarts::default();
        assert_eq!(
            crash(&mut restarts, None, &policy, 0),
            RestartVerdict::Restart { in_window: 1 }
        );
        assert_eq!(
            crash(&mut restarts, None, &policy, 10),
            RestartVerdict::Restart { in_window: 2 }
        );
        let mut tight = restarts.clone();
        assert_eq!(crash(&mut tight, None, &policy, 20), RestartVerdict::BudgetSpent);
        assert_eq!(
            crash(&mut restarts, None, &policy, 110),
            RestartVerdict::Restart { in_window: 1 },
            "what is as long ago as the window has left it"
        );
        assert_eq!(
            crash(&mut restarts, None, &policy, 400),
            RestartVerdict::BudgetSpent,
            "three in all are spent"
        );
    }

    #[test]
    fn dying_twice_at_the_same_tool_call_is_poison() {
        let policy = RestartPolicy::default();
        let mut restarts = Restarts::default();
        assert_eq!(
            crash(&mut restarts, Some("Bash x"), &policy, 0),
            RestartVerdict::Restart { in_window: 1 }
        );
        let mut elsewhere = restarts.clone();
        assert_eq!(
            crash(&mut elsewhere, Some("Bash y"), &policy, 1),
            RestartVerdict::Restart { in_window: 2 }
        );
        let mut otherwise = restarts.clone();
        otherwise.count_charged("stalled", Some("Bash x"), at(1));
        assert_eq!(
            otherwise.verdict(&policy, at(1)),
            RestartVerdict::Restart { in_window: 2 }
        );
        assert_eq!(crash(&mut restarts, Some("Bash x"), &policy, 1), RestartVerdict::Poison);
    }

    #[test]
    fn a_tool_call_that_has_passed_since_is_no_poison() {
        let policy = RestartPolicy::default();
        let mut restarts = Restarts::default();
        crash(&mut restarts, Some("Bash x"), &policy, 0);
        restarts.note_passed("Bash x");
        let again = crash(&mut restarts, Some("Bash x"), &policy, 1);
        assert_eq!(again, RestartVerdict::Restart { in_window: 2 });
    }
}
