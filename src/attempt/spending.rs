//! Cost and tokens of a turn that has not ended. The agent reports them only at the turn's end, and a killed one reports
//! nothing. So the attempt asks it for its count behind each model call, and from time to time while subagents work. It
//! journals what was added since the last count.

use std::time::Duration;

use super::{Attempt, Moment};
use crate::agent::wire::control::ControlRequest;
use crate::session::journal::Entry;
use crate::session::message::{Message, Usage};
use crate::session::summary::Summary;

/// What was used, ahead of the journal by what is not acknowledged yet.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    usage: Usage,
    /// What of it results have told.
    settled: Usage,
    /// What the agent counted when it was asked last. Where its count began is not known: a copy goes on with that of
    /// the original, and the successor of a killed agent begins anew.
    count: Option<Usage>,
    /// The agent has ever said what it counts.
    is_served: bool,
    /// When it was asked amid a turn, from the beginning of the attempt.
    asked: Option<Duration>,
    /// The agent was asked and has not answered.
    is_pending: bool,
    /// A model call has ended since it was asked.
    is_behind: bool,
}

impl Meter {
    pub(super) fn new(summary: &Summary) -> Self {
        Self {
            usage: summary.usage,
            settled: summary.settled.unwrap_or(summary.usage),
            count: None,
            is_served: false,
            asked: None,
            is_pending: false,
            is_behind: false,
        }
    }

    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// Takes the agent's count; what was used by now, if that is more than is known.
    fn read(&mut self, count: Usage) -> Option<Usage> {
        (self.is_served, self.is_pending) = (true, false);
        let more = count.since(self.count.replace(count)?);
        self.usage = self.usage.plus(more);
        (more != Usage::default()).then_some(self.usage)
    }

    /// Takes an entry into account before it is journalled; what was used by now, if less than that was told amid the
    /// turn, so that whoever adds up results is set right.
    pub(super) fn take(&mut self, entry: &Entry) -> Option<Usage> {
        let Entry::AgentMessage(said) = entry else { return None };
        let Message::TurnEnded(end) = &said.message else {
            return None;
        };
        let was_told = self.usage != self.settled;
        self.settled = end.used_after(self.settled);
        self.usage = self.settled;
        // The next count is compared with one that is asked for behind this result.
        (self.count, self.asked) = (None, None);
        was_told.then_some(self.usage)
    }

    /// The agent does not know the question.
    pub(super) fn refused(&mut self) {
        (self.is_pending, self.is_behind) = (false, false);
    }

    /// True if it is time to ask amid a turn. An agent that does not know the question is asked once a turn.
    fn is_due(&mut self, interval: Duration, now: Moment) -> bool {
        let has_passed = |asked: Duration| now.running.saturating_sub(asked) >= interval;
        let is_due = self.asked.is_none_or(|asked| self.is_served && has_passed(asked));
        if is_due {
            self.asked = Some(now.running);
        }
        is_due
    }
}

impl Attempt {
    /// Asks the agent what it counts, as the beginning of what it will spend.
    pub(super) fn ask_for_count(&mut self) {
        (self.meter.is_pending, self.meter.is_behind) = (true, false);
        self.request(ControlRequest::GetUsage);
    }

    /// Asks again behind a step of the work, if this time has passed; for a daemon that has come back this is the first time.
    pub(super) fn ask_for_count_after(&mut self, interval: Duration) {
        if self.state.is_working() && self.meter.is_due(interval, self.now) {
            self.ask_for_count();
        }
    }

    /// Asks again behind a model call, or behind the answer that is still to come.
    pub(super) fn ask_for_count_of_call(&mut self) {
        if self.meter.is_pending {
            self.meter.is_behind = true;
        } else {
            self.ask_for_count_after(Duration::ZERO);
        }
    }

    pub(super) fn take_count(&mut self, count: Usage) {
        if let Some(usage) = self.meter.read(count) {
            self.intake.batch.push(Entry::Usage(usage));
        }
        if std::mem::take(&mut self.meter.is_behind) {
            self.ask_for_count_after(Duration::ZERO);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::session::id::SessionId;
    use crate::session::message::TurnEnd;
    use crate::session::samples::{created, said};

    fn usd(cost_usd: f64) -> Usage {
        Usage {
            cost_usd,
            ..Usage::default()
        }
    }

    fn summary() -> Summary {
        Summary::new(SessionId::new(), &created("tidy up"), Timestamp::UNIX_EPOCH)
    }

    fn turn_ended(spent: f64) -> Entry {
        let end = TurnEnd {
            spent: Some(usd(spent)),
            ..TurnEnd::default()
        };
        said(Message::TurnEnded(Box::new(end)))
    }

    #[test]
    fn what_is_told_amid_a_turn_and_at_its_end_is_counted_once() {
        let (mut meter, mut journal) = (Meter::new(&summary()), summary());
        let journals = |journal: &mut Summary, entry: Entry| journal.apply(&entry, Timestamp::UNIX_EPOCH);
        // The count of a copy begins with that of the original.
        assert_eq!(meter.read(usd(8.0)), None);
        for (count, usage) in [(8.5, Some(0.5)), (8.5, None), (9.0, Some(1.0))] {
            let read = meter.read(usd(count));
            assert_eq!(read, usage.map(usd));
            read.into_iter()
                .for_each(|usage| journals(&mut journal, Entry::Usage(usage)));
        }
        let end = turn_ended(1.25);
        assert_eq!(meter.take(&end), Some(usd(1.25)), "the result has all of it");
        journals(&mut journal, end);
        assert_eq!(journal.usage, usd(1.25));
        journals(&mut journal, Entry::Usage(usd(1.25)));
        assert_eq!(meter.read(usd(9.5)), None, "it counts from there");
        let read = meter.read(usd(9.75)).expect("there is more");
        journals(&mut journal, Entry::Usage(read));
        assert_eq!((journal.usage, meter.usage()), (usd(1.5), usd(1.5)));
        // The next daemon goes on with what the journal has.
        let mut next = Meter::new(&journal);
        let end = turn_ended(0.5);
        assert_eq!(next.take(&end), Some(usd(1.75)));
        journals(&mut journal, end);
        assert_eq!(journal.usage, usd(1.75));
    }

    #[test]
    fn a_turn_of_which_nothing_was_told_needs_no_more_than_its_result() {
        let mut meter = Meter::new(&summary());
        assert_eq!(meter.read(usd(0.0)), None);
        assert_eq!(meter.take(&turn_ended(0.5)), None);
        assert_eq!(meter.usage(), usd(0.5));
    }
}
