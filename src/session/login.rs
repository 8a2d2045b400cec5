//! A login that worked and is refused later in the session. It is tried again for a while before the session fails: an
//! API that is in trouble refuses good logins too, and the next try often succeeds.
//!
//! A login that never worked in the session is refused for good: the session fails at once.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::journal::{ClockJump, Entry};
use super::message::{ApiFault, Message};
use super::outcome::Ending;

/// A fold of the journal over all attempts of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Login {
    /// The model has answered in this session.
    #[serde(default)]
    pub(super) worked: bool,
    /// Time until which the refused login is tried again. None while the login is not refused.
    #[serde(default)]
    pub(super) until: Option<Timestamp>,
}

impl Login {
    /// Takes one journal entry into account.
    pub fn take(&mut self, entry: &Entry) {
        match entry {
            Entry::AgentMessage(said) => self.take_message(&said.message),
            Entry::AttemptEnded(end) => {
                if let Ending::NotSignedIn { until, .. } = &end.ending {
                    self.until = self.until.or(*until);
                }
            }
            Entry::ClockJumped(jump) => self.take_jump(jump),
            // A person has taken it up: the time to sign in begins anew.
            Entry::SessionResumed(_) => self.until = None,
            _ => {}
        }
    }

    /// Takes one message of the agent into account.
    pub fn take_message(&mut self, message: &Message) {
        match message {
            Message::Text { error: None, .. } | Message::Thinking { .. } | Message::ToolUse { .. } => {
                (self.worked, self.until) = (true, None);
            }
            Message::ApiRetry {
                login_until: Some(until),
                ..
            } => self.until = self.until.or(Some(*until)),
            // The API fails in another way: the login is not what it refuses.
            Message::ApiRetry { .. } => self.until = None,
            _ => {}
        }
    }

    /// Time until which a login that is refused at `now` is tried again, given that it is tried for `hold`. None if the
    /// login never worked.
    pub fn refused(&self, now: Timestamp, hold: SignedDuration) -> Option<Timestamp> {
        let fresh = || now.checked_add(hold).unwrap_or(Timestamp::MAX);
        self.worked.then(|| self.until.unwrap_or_else(fresh))
    }

    /// Time until which the login is tried again, while it is refused.
    pub fn held_until(&self) -> Option<Timestamp> {
        self.until
    }

    /// A sentence for a person about a login that is refused while the agent lives.
    pub(super) fn note(&self) -> String {
        let until = self.until.map(|until| format!(" until {until:.0}")).unwrap_or_default();
        format!("the login is refused; the agent tries it again{until}. If it has run out, run `claude` and log in")
    }

    /// Nothing was tried while the machine slept.
    fn take_jump(&mut self, jump: &ClockJump) {
        let by = SignedDuration::from_millis(jump.by_ms);
        self.until = self.until.map(|until| until.checked_add(by).unwrap_or(until));
    }
}

/// Returns true if the API refused the login and the CLI tries again.
pub fn is_refusal(message: &Message) -> bool {
    matches!(message, Message::ApiRetry { status, error, .. } if *status == Some(401) || *error == ApiFault::AuthenticationFailed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::journal::Resumed;
    use crate::session::samples::{attempt_ended, attempt_started, said, text};

    const HOLD: SignedDuration = SignedDuration::from_mins(5);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn retry(status: u16, error: ApiFault, login_until: Option<Timestamp>) -> Entry {
        said(Message::ApiRetry {
            retry: 1,
            retries_max: 300,
            delay_ms: 500,
            status: Some(status),
            error,
            login_until,
        })
    }

    fn refused(until: i64) -> Entry {
        retry(401, ApiFault::AuthenticationFailed, Some(at(until)))
    }

    fn after(entries: &[Entry]) -> Login {
        let mut login = Login::default();
        entries.iter().for_each(|entry| login.take(entry));
        login
    }

    fn worked() -> Entry {
        said(text("m", "I look."))
    }

    #[test]
    fn a_login_that_never_worked_is_not_held() {
        assert_eq!(after(&[]).refused(at(0), HOLD), None);
        assert_eq!(
            after(&[retry(401, ApiFault::AuthenticationFailed, None)]).refused(at(0), HOLD),
            None
        );
        let report = said(Message::Text {
            message_id: "m".into(),
            block: 0,
            text: "Not logged in".into(),
            parent: None,
            aborted: false,
            error: Some(ApiFault::AuthenticationFailed),
        });
        assert_eq!(
            after(&[report]).refused(at(0), HOLD),
            None,
            "it is no answer of the model"
        );
        assert_eq!(after(&[worked()]).refused(at(0), HOLD), Some(at(300)));
    }

    #[test]
    fn the_hold_goes_on_over_attempts_and_ends_with_an_answer_of_the_model() {
        let crashed = attempt_ended(Ending::Crashed);
        let held = [worked(), refused(300), crashed, attempt_started(2), refused(999)];
        let login = after(&held);
        assert_eq!(login.held_until(), Some(at(300)));
        assert_eq!(login.refused(at(100), HOLD), Some(at(300)), "it does not begin anew");
        let answered = [&held[..], &[worked()]].concat();
        assert_eq!(after(&answered).held_until(), None);
        assert_eq!(after(&answered).refused(at(1000), HOLD), Some(at(1300)));
        let given_up = attempt_ended(Ending::NotSignedIn {
            message: String::new(),
            until: Some(at(200)),
        });
        assert_eq!(after(&[worked(), given_up]).held_until(), Some(at(200)));
    }

    #[test]
    fn another_fault_of_the_api_and_a_resume_by_hand_end_the_hold() {
        let other = retry(500, ApiFault::ServerError, None);
        assert_eq!(after(&[worked(), refused(300), other]).held_until(), None);
        let resumed = Entry::SessionResumed(Resumed {
            by: "a test".into(),
            instruction: None,
            at: None,
            message: None,
            terms: None,
            limits: None,
        });
        let login = after(&[worked(), refused(300), resumed]);
        assert_eq!(login.refused(at(900), HOLD), Some(at(1200)));
    }

    #[test]
    fn the_time_that_the_machine_slept_is_not_part_of_the_hold() {
        let jump = Entry::ClockJumped(ClockJump {
            since: at(10),
            by_ms: 3_600_000,
        });
        assert_eq!(
            after(&[worked(), refused(300), jump]).held_until(),
            Some(at(3900)),
            "it has not tried meanwhile"
        );
    }
}
