//! Calls that were refused: the first of a kind is written down at once, what follows is counted and written once a
//! minute. However often somebody knocks, the audit log grows slowly.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::entry::{AuditEntry, RefusalKind};

/// How long refusals of a kind are counted before the count is written.
pub(super) const COUNTED: Duration = Duration::from_secs(60);

/// The most kinds that are told apart at a time. What comes beyond is one kind.
const KINDS_MAX: usize = 512;

/// Refusals of the last minute.
#[derive(Default)]
pub(super) struct Refusals(Mutex<HashMap<RefusalKind, RefusalCount>>);

/// One kind.
struct RefusalCount {
    /// When an entry of the kind was last written.
    written: Instant,
    /// What was counted since; none if nothing was.
    waiting: Option<AuditEntry>,
}

impl Refusals {
    /// Takes a refusal; answers what is to be written now.
    pub(super) fn take(&self, entry: AuditEntry, now: Instant) -> Option<AuditEntry> {
        let mut all = self.lock();
        let mut kind = entry.kind();
        if all.len() >= KINDS_MAX && !all.contains_key(&kind) {
            kind = RefusalKind::default();
        }
        let Some(counted) = all.get_mut(&kind) else {
            let written = now;
            all.insert(kind, RefusalCount { written, waiting: None });
            return Some(entry);
        };
        let sum = match counted.waiting.take() {
            Some(before) => before.and(entry),
            None => entry,
        };
        if now.duration_since(counted.written) >= COUNTED {
            counted.written = now;
            return Some(sum);
        }
        counted.waiting = Some(sum);
        None
    }

    /// Answers the counts whose minute is over, and forgets kinds of which there was nothing.
    pub(super) fn due(&self, now: Instant) -> Vec<AuditEntry> {
        let mut due = Vec::new();
        self.lock().retain(|_, counted| {
            if now.duration_since(counted.written) < COUNTED {
                return true;
            }
            counted.written = now;
            let sum = counted.waiting.take();
            let is_kept = sum.is_some();
            due.extend(sum);
            is_kept
        });
        due
    }

    /// Answers all counts, whatever their time.
    pub(super) fn rest(&self) -> Vec<AuditEntry> {
        let all = std::mem::take(&mut *self.lock());
        all.into_values().filter_map(|counted| counted.waiting).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RefusalKind, RefusalCount>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::caller::{Caller, Face, Role};
    use super::super::entry::CallOutcome;
    use super::*;
    use serde_json::json;

    fn refused(route: &str, reason: &str) -> AuditEntry {
        AuditEntry::refused(None, Face::Api, "GET", route, reason)
    }

    #[test]
    fn the_first_is_written_at_once_and_the_rest_once_a_minute() {
        let (all, begin) = (Refusals::default(), Instant::now());
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        assert!(all.take(refused("/a", "unauthorized"), at(0)).is_some());
        for n in 0..1000 {
            let route = if n % 2 == 0 { "/a" } else { "/b" };
            assert!(all.take(refused(route, "unauthorized"), at(1)).is_none());
        }
        assert!(all.take(refused("/a", "wrong_token"), at(1)).is_some(), "another kind");
        assert!(all.due(at(59)).is_empty());
        let due = all.due(at(60));
        assert_eq!(due.len(), 1);
        let shown = serde_json::to_value(&due[0]).unwrap();
        assert_eq!((&shown["count"], &shown["route"]), (&json!(1000), &json!("(several)")));
        assert!(
            all.take(refused("/a", "unauthorized"), at(61)).is_none(),
            "the next minute has begun"
        );
        let late = all
            .take(refused("/a", "unauthorized"), at(130))
            .expect("its minute is over");
        assert_eq!(late.calls(), 2);
        assert!(
            all.due(at(1000)).is_empty() && all.lock().is_empty(),
            "what is over is forgotten"
        );
    }

    #[test]
    fn what_a_route_refuses_is_told_apart_by_its_route() {
        let (all, now) = (Refusals::default(), Instant::now());
        let ci = Caller::holding("ci", Role::Operator);
        let take = |route: &str| {
            all.take(
                AuditEntry::now(&ci, Face::Api, "POST", route, CallOutcome::Refused),
                now,
            )
        };
        assert!(take("/a").is_some() && take("/b").is_some());
        assert!(take("/a").is_none() && take("/b").is_none());
    }

    #[test]
    fn what_waits_at_the_end_is_not_lost() {
        let (all, now) = (Refusals::default(), Instant::now());
        for _ in 0..3 {
            all.take(refused("/a", "unauthorized"), now);
        }
        let rest = all.rest();
        assert_eq!((rest.len(), rest[0].calls()), (1, 2));
    }

    #[test]
    fn kinds_beyond_the_most_are_one() {
        let (all, now) = (Refusals::default(), Instant::now());
        let written = (0..2 * KINDS_MAX).filter(|n| all.take(refused("/a", &n.to_string()), now).is_some());
        assert_eq!(written.count(), KINDS_MAX + 1);
    }
}
