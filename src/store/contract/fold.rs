//! The claim that ties summaries to records: whatever is written, a summary is the fold of its journal.

use std::sync::Arc;

use jiff::SignedDuration;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::entries::{
    agent_text, append, asked, at, attempt_ended, checkpoint, delivered, ended, input, question_answered, resumed,
    started, state, task_refined, turn_ended, usage, withdrawn,
};
use super::{Place, answered, journal, new_session, summary};
use crate::session::journal::{Entry, Record};
use crate::session::outcome::Ending;
use crate::session::state::StateName;
use crate::session::summary::Summary;
use crate::store::StoredRecord;

pub(in crate::store) fn the_summary_is_the_fold_of_the_records<P: Place>(place: &P) {
    let appends = prop::collection::vec((prop::collection::vec(any_entry(), 0..4), any::<bool>()), 1..12);
    let config = Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&appends, |appends| {
        check_fold(place, appends);
        Ok(())
    });
    outcome.unwrap();
}

/// Writes the appends to a new session, one after the other and all at once, and holds what the store says of it
/// against the fold.
fn check_fold(place: &impl Place, appends: Vec<(Vec<Sketch>, bool)>) {
    let store = place.open(Arc::new(()));
    let id = new_session(&*store);
    let (mut attempt, mut offset) = (0, 0);
    let mut waiting = Vec::new();
    for (n, (sketches, spans)) in appends.into_iter().enumerate() {
        let given = attempt;
        let entries: Vec<_> = sketches.into_iter().map(|sketch| sketch.entry(&mut attempt)).collect();
        let span = (spans && given == attempt).then_some((offset, offset + 10));
        offset = if given == attempt {
            span.map_or(offset, |(_, through)| through)
        } else {
            0
        };
        let mut append = append(id, given, span, entries);
        append.at = at() + SignedDuration::from_millis(n as i64);
        waiting.push(store.append(append));
    }
    let last = waiting
        .into_iter()
        .map(|waiting| answered(waiting).unwrap())
        .last()
        .unwrap();

    let records: Vec<_> = journal(&*store, id).into_iter().map(record).collect();
    let mut folded = Summary::fold(&records).unwrap();
    folded.through_offset = offset;
    assert_eq!(summary(&*store, id), folded);
    assert_eq!(*last.summary, folded);
    store.close();
}

fn record(stored: StoredRecord) -> Record {
    Record {
        entry: stored.entry().unwrap().clone(),
        id: stored.id,
        session_id: stored.session_id,
        seq: stored.seq,
        attempt: stored.attempt,
        at: stored.at,
    }
}

/// An entry, but for the number of an attempt that starts.
#[derive(Clone, Debug)]
enum Sketch {
    NextAttempt,
    Entry(Box<Entry>),
}

impl Sketch {
    fn entry(self, attempt: &mut u32) -> Entry {
        match self {
            Self::NextAttempt => {
                *attempt += 1;
                started(*attempt)
            }
            Self::Entry(entry) => *entry,
        }
    }
}

fn any_entry() -> impl Strategy<Value = Sketch> {
    let number = 0..4_u32;
    let entry = prop_oneof![
        (number.clone(), "\\PC{0,20}").prop_map(|(n, text)| input(n, &text)),
        "\\PC{0,20}".prop_map(|text| agent_text(&text)),
        number.clone().prop_map(checkpoint),
        (number.clone(), 0.0..1e3_f64).prop_map(|(n, cost)| turn_ended(n, cost)),
        (number.clone(), 0.0..1e3_f64).prop_map(|(n, cost)| usage(n, cost)),
        number.clone().prop_map(asked),
        number.clone().prop_map(question_answered),
        "\\PC{0,20}".prop_map(|task| task_refined(&task)),
        number.clone().prop_map(delivered),
        number.prop_map(withdrawn),
        prop::sample::select(vec![
            StateName::Queued,
            StateName::Starting,
            StateName::Running,
            StateName::Asking,
            StateName::WaitingRetry
        ])
        .prop_map(state),
        prop::sample::select(vec![
            Ending::Crashed,
            Ending::Quota { resets_at: Some(at()) },
            Ending::Finished
        ])
        .prop_map(attempt_ended),
        Just(ended()),
        Just(resumed()),
    ];
    prop_oneof![1 => Just(Sketch::NextAttempt), 9 => entry.prop_map(|entry| Sketch::Entry(Box::new(entry)))]
}
