//! How long to wait before looking again: short after something happened, doubling while nothing does.

use std::time::Duration;

/// A delay that doubles up to a limit until it is reset.
#[derive(Debug)]
pub(super) struct Pace {
    shortest: Duration,
    longest: Duration,
    next: Duration,
}

impl Pace {
    /// A pace between two delays, beginning with the shorter.
    pub(super) const fn between(shortest: Duration, longest: Duration) -> Self {
        Self {
            shortest,
            longest,
            next: shortest,
        }
    }

    /// The delay before the next look; the one after it is twice as long.
    pub(super) fn step(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(self.longest);
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
    }
}
