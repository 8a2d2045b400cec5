//! What can happen next in the walk: the usual order, and what leaves it.

use super::{Host, World};
use crate::attempt::AttemptTimer;
use crate::session::summary::Waiting;

const TIMERS: [AttemptTimer; 8] = [
    AttemptTimer::Reach,
    AttemptTimer::Inputs,
    AttemptTimer::Clocks,
    AttemptTimer::Host,
    AttemptTimer::Shells,
    AttemptTimer::Term,
    AttemptTimer::Kill,
    AttemptTimer::Leave,
];

/// Something that happens.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::attempt::walk) enum Event {
    /// A daemon takes up the attempt.
    Begin,
    /// The store commits the append that it was handed first.
    Commit,
    /// An acknowledgement arrives: the first one, or the last one.
    Acknowledge { is_last: bool },
    /// The attempt hears of a person's answer.
    News,
    /// The host writes a line to the agent.
    Write,
    /// The host refuses to.
    Refuse,
    /// The attempt hears what the host has said.
    Say,
    /// The host stands still from now on, and so does the link.
    Freeze,
    /// It hears it again.
    SayAgain,
    /// Bytes come: a line, a part of one, more than one, all, or once more what came last.
    Bytes(Chunk),
    /// What the attempt has asked for first is done.
    Done,
    /// It is done otherwise than usual.
    DoneOtherwise,
    /// A person answers the agent's question.
    Answer,
    /// A timer runs out, or seems to.
    Tick(AttemptTimer),
    /// The link is lost.
    LoseLink,
    /// The agent ends by nothing but KILL from now on.
    Deafen,
    /// The agent dies.
    Kill,
    /// The daemon dies, and another one begins.
    Die,
    /// The session is cancelled.
    Stop,
    /// A state of the journal is told that is long past.
    OldNews,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::attempt::walk) enum Chunk {
    Line,
    Half,
    More,
    All,
    Again,
}

impl World {
    /// What happens next when nothing is out of order; none when the attempt has left.
    pub(in crate::attempt::walk) fn usual(&self) -> Option<Event> {
        if self.has_left {
            return None;
        }
        let enabled = self.enabled();
        enabled.into_iter().next().or_else(|| {
            let next = self.timers.iter().min_by_key(|(_, at)| **at);
            Some(Event::Tick(
                *next
                    .unwrap_or_else(|| panic!("it waits for nothing: {}", self.story()))
                    .0,
            ))
        })
    }

    /// What can happen without a fault, in the usual order.
    fn enabled(&self) -> Vec<Event> {
        let host = self.host.as_ref();
        let is_known = |waiting: &Waiting| waiting.answer.is_none();
        let asks = self.summary.questions.values().any(is_known) && self.agent.exit.is_none();
        chosen([
            (!self.has_begun, Event::Begin),
            (!self.queue.is_empty(), Event::Commit),
            (!self.acknowledgements.is_empty(), Event::Acknowledge { is_last: false }),
            (self.news.is_some(), Event::News),
            (host.is_some_and(Host::can_write), Event::Write),
            (host.is_some_and(Host::can_say), Event::Say),
            (self.next_bytes(Chunk::Line).is_some(), Event::Bytes(Chunk::Line)),
            (!self.asked_for.is_empty(), Event::Done),
            (host.is_some_and(|host| host.is_leaving), Event::LoseLink),
            (asks && self.end.is_none(), Event::Answer),
        ])
    }

    /// Faults that can happen now.
    pub(in crate::attempt::walk) fn faults(&self) -> Vec<Event> {
        let host = self.host.as_ref();
        chosen([
            (host.is_some_and(Host::can_write), Event::Refuse),
            (host.is_some_and(|host| !host.is_still), Event::Freeze),
            (!self.asked_for.is_empty(), Event::DoneOtherwise),
            // Before what is on its way to the disk is there.
            (!self.asked_for.is_empty() && !self.queue.is_empty(), Event::Done),
            (host.is_some(), Event::LoseLink),
            (self.agent.exit.is_none(), Event::Kill),
            (self.agent.exit.is_none() && !self.agent.is_deaf, Event::Deafen),
            (self.end.is_none() && self.has_begun, Event::Die),
            (!self.is_stopped && self.has_begun, Event::Stop),
        ])
    }

    /// What can happen late, early, in parts or twice.
    pub(in crate::attempt::walk) fn detours(&self) -> Vec<Event> {
        if !self.has_begun {
            return Vec::new();
        }
        let host = self.host.as_ref();
        let has_bytes = self.next_bytes(Chunk::Line).is_some();
        let others = chosen([
            (self.acknowledgements.len() > 1, Event::Acknowledge { is_last: true }),
            (host.is_some() && self.last_message.is_some(), Event::SayAgain),
            (has_bytes, Event::Bytes(Chunk::Half)),
            (has_bytes, Event::Bytes(Chunk::More)),
            (has_bytes, Event::Bytes(Chunk::All)),
            (host.is_some() && self.last_bytes.is_some(), Event::Bytes(Chunk::Again)),
            (true, Event::OldNews),
        ]);
        let ticks = TIMERS.into_iter().map(Event::Tick);
        let usual = self.usual();
        let all = self.enabled().into_iter().chain(others).chain(ticks);
        all.filter(|event| Some(event) != usual.as_ref()).collect()
    }
}

fn chosen<const N: usize>(events: [(bool, Event); N]) -> Vec<Event> {
    let possible = events.into_iter().filter(|(is_possible, _)| *is_possible);
    possible.map(|(_, event)| event).collect()
}
