//! How long to wait before looking again: short after something happened, longer while nothing does.

use std::time::Duration;

/// A delay that grows up to a limit until it is reset.
#[derive(Debug)]
pub(super) struct Pace {
    shortest: Duration,
    longest: Duration,
    factor: u32,
    next: Duration,
}

impl Pace {
    /// A pace between two delays, beginning with the shorter.
    pub(super) const fn between(shortest: Duration, longest: Duration) -> Self {
        Self {
            shortest,
            longest,
            factor: 2,
            next: shortest,
        }
    }

    /// A pace that takes a short delay once and a long one from then on.
    pub(super) const fn once_then(short: Duration, long: Duration) -> Self {
        Self {
            shortest: short,
            longest: long,
            factor: u32::MAX,
            next: short,
        }
    }

    /// The delay before the next look; the one after it is longer.
    pub(super) fn step(&mut self) -> Duration {
        let now = self.next;
        self.next = now.saturating_mul(self.factor).min(self.longest);
        now
    }

    /// Something happened: begin with the shortest delay again.
    pub(super) fn reset(&mut self) {
        self.next = self.shortest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_doubles_to_its_limit_and_begins_again_when_reset() {
        let ms = Duration::from_millis;
        let mut pace = Pace::between(ms(2), ms(7));
        assert_eq!(
            [pace.step(), pace.step(), pace.step(), pace.step()],
            [ms(2), ms(4), ms(7), ms(7)]
        );
        pace.reset();
        assert_eq!(pace.step(), ms(2));
        let mut pace = Pace::once_then(ms(2), ms(8000));
        assert_eq!([pace.step(), pace.step(), pace.step()], [ms(2), ms(8000), ms(8000)]);
    }
}
