//! What every store promises about lists: filters, pages, and keys of callers.

use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::entries::{agent_text, append, at, created, ended, started};
use super::removal::gone;
use super::{Place, answered, new_session, write};
use crate::session::id::SessionId;
use crate::session::journal::{Created, Entry};
use crate::session::message::{Message, TurnEnd};
use crate::session::request::{Claim, Request};
use crate::session::shown::Shown;
use crate::store::{Filter, PAGE_BYTES_MAX, Store, StoreRefusal};

fn session(store: &dyn Store, name: &str, cwd: &str, created_at: Timestamp) -> SessionId {
    let session_id = SessionId::new();
    let request = Request {
        task: format!("the task of {name}"),
        cwd: cwd.into(),
        name: Some(name.to_owned()),
        ..Request::default()
    };
    let created = Created { request, ..created() };
    answered(store.create(session_id, created, created_at)).unwrap();
    session_id
}

/// The end of a turn, as the agent says it, with this text.
fn turn_ended(result: &str) -> Entry {
    let Entry::AgentMessage(mut said) = agent_text("x") else {
        panic!("an agent's text is a message of the agent")
    };
    said.message = Message::TurnEnded(Box::new(TurnEnd {
        result: result.to_owned(),
        ..TurnEnd::default()
    }));
    Entry::AgentMessage(said)
}

fn found(store: &dyn Store, filter: &Filter) -> Vec<SessionId> {
    let found = store.find(filter, None, usize::MAX).unwrap();
    for summary in &found {
        assert!(filter.fits(summary), "{filter:?}");
    }
    found.iter().map(|summary| summary.session_id).collect()
}

pub(in crate::store) fn sessions_are_found_by_what_is_looked_for(place: &impl Place) {
    let store = place.open(Arc::new(()));
    let later = |hours| at() + SignedDuration::from_hours(hours);
    let old = session(&*store, "Old \u{c4}rger", "/w/a", at());
    let middle = session(&*store, "100% sure", "/w/ab", later(1));
    let new = session(&*store, "new", "/w/a/b", later(2));
    write(
        &*store,
        append(old, 0, None, vec![started(1), turn_ended("It WORKED"), ended()]),
    );

    let filter = Filter::default;
    assert_eq!(found(&*store, &filter()), [new, middle, old]);
    let states = |states: &[Shown]| Filter {
        states: states.to_vec(),
        ..filter()
    };
    assert_eq!(found(&*store, &states(&[Shown::Completed])), [old]);
    assert_eq!(found(&*store, &states(&[Shown::Queued])), [new, middle]);
    assert_eq!(
        found(&*store, &states(&[Shown::Completed, Shown::Queued])),
        [new, middle, old]
    );
    assert_eq!(found(&*store, &states(&[Shown::Failed])), []);
    let named = |name: &str| Filter {
        name: Some(name.to_owned()),
        ..filter()
    };
    assert_eq!(found(&*store, &named("new")), [new]);
    for other in ["NEW", "ne", "new ", "", "%"] {
        assert_eq!(
            found(&*store, &named(other)),
            [],
            "{other:?} is no session's whole name"
        );
    }
    let directory = |directory: &str| Filter {
        directory: Some(Path::new(directory).to_owned()),
        ..filter()
    };
    assert_eq!(
        found(&*store, &directory("/w/a")),
        [new, old],
        "itself and below, not beside"
    );
    assert_eq!(found(&*store, &directory("/w/a/")), [new, old]);
    assert_eq!(found(&*store, &directory("/")), [new, middle, old]);
    assert_eq!(found(&*store, &directory("/w/%")), []);
    let dates = |since, until| Filter {
        since,
        until,
        ..filter()
    };
    assert_eq!(found(&*store, &dates(Some(later(1)), None)), [new, middle]);
    assert_eq!(found(&*store, &dates(None, Some(later(1)))), [old]);
    assert_eq!(found(&*store, &dates(Some(later(1)), Some(later(2)))), [middle]);
    let search = |search: &str| Filter {
        search: Some(search.to_owned()),
        ..filter()
    };
    assert_eq!(found(&*store, &search("\u{e4}RGER")), [old], "in any case of letters");
    assert_eq!(found(&*store, &search("it worked")), [old], "in results");
    assert_eq!(found(&*store, &search("task of new")), [new]);
    assert_eq!(found(&*store, &search("%")), [middle], "as it is, not as a pattern");
    assert_eq!(found(&*store, &search("  ")), [new, middle, old]);
    let all_at_once = Filter {
        search: Some("task".to_owned()),
        ..directory("/w/a")
    };
    assert_eq!(found(&*store, &all_at_once), [new, old]);
}

pub(in crate::store) fn pages_of_sessions_stay_where_they_are(place: &impl Place) {
    let store = place.open(Arc::new(()));
    let ids: Vec<_> = (0..7).map(|_| new_session(&*store)).collect();
    let mut before = None;
    let mut seen = Vec::new();
    loop {
        let page = store.find(&Filter::default(), before, 3).unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.session_id);
        seen.extend(page.iter().map(|summary| summary.session_id));
        new_session(&*store);
    }
    assert_eq!(seen, ids.into_iter().rev().collect::<Vec<_>>());
    assert_eq!(store.find(&Filter::default(), None, 0).unwrap(), []);
}

/// A session that the agent of another asked for.
pub(in crate::store) fn new_child(store: &dyn Store, parent: SessionId) -> SessionId {
    let session_id = SessionId::new();
    let mut created = created();
    created.request.parent = Some(parent);
    answered(store.create(session_id, created, at())).unwrap();
    session_id
}

pub(in crate::store) fn sessions_are_found_by_the_one_whose_agent_asked_for_them(place: &impl Place) {
    let store = place.open(Arc::new(()));
    let (parent, stranger) = (new_session(&*store), new_session(&*store));
    let children: Vec<_> = (0..3).map(|_| new_child(&*store, parent)).collect();
    let grandchild = new_child(&*store, children[0]);
    write(&*store, append(children[1], 0, None, vec![started(1), ended()]));
    let of = |parent| Filter {
        parent: Some(parent),
        ..Filter::default()
    };
    assert_eq!(found(&*store, &of(parent)), [children[2], children[1], children[0]]);
    assert_eq!(found(&*store, &of(children[0])), [grandchild]);
    assert_eq!(found(&*store, &of(stranger)), []);
    let page = store.find(&of(parent), Some(children[2]), 1).unwrap();
    assert_eq!(
        page.iter().map(|summary| summary.session_id).collect::<Vec<_>>(),
        [children[1]]
    );
    gone(store.remove(children[1])).unwrap();
    assert_eq!(found(&*store, &of(parent)), [children[2], children[0]]);
    store.close();
    let store = place.open(Arc::new(()));
    assert_eq!(found(&*store, &of(parent)), [children[2], children[0]]);
}

pub(in crate::store) fn a_long_result_is_searched_whole(place: &impl Place) {
    let store = place.open(Arc::new(()));
    let id = session(&*store, "long", "/w", at());
    let result = format!("{} needle", "x ".repeat(10_000));
    assert!(result.len() < PAGE_BYTES_MAX);
    write(&*store, append(id, 0, None, vec![started(1), turn_ended(&result)]));
    let search = Filter {
        search: Some("NEEDLE".to_owned()),
        ..Filter::default()
    };
    assert_eq!(found(&*store, &search), [id]);
}

pub(in crate::store) fn a_key_of_a_caller_is_used_once(place: &impl Place) {
    let store = place.open(Arc::new(()));
    let under = |caller: &str, key: &str| Created {
        claim: Some(Claim {
            caller: caller.to_owned(),
            key: key.to_owned(),
            digest: "d".to_owned(),
        }),
        ..created()
    };
    let ids: Vec<_> = (0..4).map(|_| SessionId::new()).collect();
    // All of them are on their way before the first is answered.
    let waiting = [("me", "k"), ("me", "k"), ("you", "k"), ("me", "l")]
        .iter()
        .zip(&ids)
        .map(|((caller, key), id)| store.create(*id, under(caller, key), at()))
        .collect::<Vec<_>>();
    let results: Vec<_> = waiting.into_iter().map(|waiting| answered(waiting).err()).collect();
    assert_eq!(results, [None, Some(StoreRefusal::KeyTaken(ids[0]).into()), None, None]);
    assert_eq!(store.summary(ids[1]).unwrap(), None, "nothing of it was written");
    write(&*store, append(ids[0], 0, None, vec![started(1), ended()]));
    store.close();

    let store = place.open(Arc::new(()));
    let again = answered(store.create(SessionId::new(), under("me", "k"), at()));
    assert_eq!(again.unwrap_err(), StoreRefusal::KeyTaken(ids[0]).into());
    assert_eq!(store.claimed("me", "k").unwrap(), Some(ids[0]));
    assert_eq!(store.claimed("you", "k").unwrap(), Some(ids[2]));
    assert_eq!(store.claimed("you", "l").unwrap(), None);
}
