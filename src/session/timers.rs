//! The agent's own timers: what the agent has scheduled for itself, and when each timer is due.
//!
//! A turn that ends while a timer is set is not the end of the task: the CLI starts a turn by itself when the timer fires.
//! The CLI keeps wakeups and watches in its memory alone. It sets the other timers of a conversation again when it
//! resumes that conversation, except for single ones that came due meanwhile.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::journal::Entry;
use super::message::{Message, TimerChange, TimerKind, shown};
use super::words::TIMERS_LOST;

/// Time after its due time in which a timer may still fire. A single timer that is later than this does not fire any
/// more.
const LATE_MAX: SignedDuration = SignedDuration::from_mins(5);

/// Time before its due time at which a timer may fire, since two clocks are compared.
const EARLY_MAX: SignedDuration = SignedDuration::from_secs(5);

/// Most timers that one message lists.
const LISTED_MAX: usize = 20;

/// One timer that is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timer {
    kind: TimerKind,
    /// The time at which it is due next, or ends; absent when that is not known.
    due: Option<Timestamp>,
    repeats: bool,
    schedule: Option<String>,
    /// What the agent wants to be reminded of.
    purpose: String,
}

impl Timer {
    /// The timer as a person reads it.
    fn describe(&self) -> String {
        let mut text = self.kind.name().to_owned();
        match (&self.schedule, self.due) {
            (Some(schedule), _) if self.repeats => drop(write!(text, ", {schedule}")),
            (_, Some(due)) if self.kind == TimerKind::Watch => drop(write!(text, " until {}", shown(due))),
            (_, Some(due)) => drop(write!(text, " for {}", shown(due))),
            (_, None) => {}
        }
        if !self.purpose.is_empty() {
            let _ = write!(text, " ({})", self.purpose);
        }
        text
    }
}

/// A fold of the journal: the timers that are set, and those that went with an agent process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timers {
    /// The timers that are set, by their ids.
    set: BTreeMap<String, Timer>,
    /// Timers that went with an agent process, and about which no later agent has finished a turn.
    gone: BTreeMap<String, Timer>,
    /// The start of the latest attempt.
    attempt_at: Option<Timestamp>,
    /// The time since which the session waits for timers, over all that fired meanwhile.
    waiting_since: Option<Timestamp>,
}

impl Timers {
    /// Takes the next record into account. `call` is the tool call that the record belongs to, as one line.
    pub fn take(&mut self, entry: &Entry, at: Timestamp, call: Option<&str>) {
        match entry {
            Entry::AttemptStarted(_) => self.begin_attempt(at),
            // A new conversation has no timers.
            Entry::ContextRebuilt(_) => self.gone.append(&mut self.set),
            Entry::TaskRefined(_) => *self = Self::default(),
            Entry::SessionResumed(_) => self.waiting_since = None,
            Entry::AgentMessage(said) => self.take_message(&said.message, at, call),
            _ => {}
        }
    }

    /// True if no timer is set.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// The session waits for its timers from `at`, if it did not before.
    pub fn wait_from(&mut self, at: Timestamp) {
        self.waiting_since.get_or_insert(at);
    }

    /// The time at which the next timer is due, if it is known.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.set.values().filter_map(|timer| timer.due).min()
    }

    /// The time at which the wait ends whatever happens: `limit` after it began, or when no timer can fire any more.
    pub fn wait_ends(&self, limit: SignedDuration) -> Option<Timestamp> {
        let after = |at: Timestamp, by| at.checked_add(by).unwrap_or(Timestamp::MAX);
        let bound = after(self.waiting_since?, limit);
        let last = self.set.values().map(|timer| match timer.due {
            Some(due) if !timer.repeats => after(due, LATE_MAX),
            Some(_) | None => Timestamp::MAX,
        });
        last.max().map(|last| last.min(bound))
    }

    /// The timers that are set, each as a person reads it.
    pub fn described(&self) -> Vec<String> {
        self.set.values().map(Timer::describe).collect()
    }

    /// The tool call whose result sets a timer with this record.
    pub fn call_of(entry: &Entry) -> Option<&str> {
        match entry {
            Entry::AgentMessage(said) => match &said.message {
                Message::Timer(TimerChange::Set { tool_use_id, .. }) => Some(tool_use_id),
                _ => None,
            },
            _ => None,
        }
    }

    /// What a new agent has to be told about the timers of the one before. `is_lost` says that it has a new conversation.
    pub fn tell(&self, is_lost: bool) -> Option<String> {
        let mut gone: Vec<_> = self.gone.values().collect();
        let mut kept: Vec<_> = self.set.values().collect();
        if is_lost {
            gone.append(&mut kept);
        }
        if gone.is_empty() && kept.is_empty() {
            return None;
        }
        let came_due = |timer: &&Timer| timer.due.is_some_and(|due| self.attempt_at.is_some_and(|at| due <= at));
        let (due, lost): (Vec<_>, Vec<_>) = gone.into_iter().partition(came_due);
        let mut told = format!("{TIMERS_LOST}.");
        let parts = [
            ("These came due while no agent ran", due),
            ("These are lost and will not fire", lost),
            (
                "These are still set and fire by themselves, so do not set them again",
                kept,
            ),
        ];
        for (words, timers) in parts {
            if !timers.is_empty() {
                let _ = write!(told, "\n\n{words}:\n\n{}", listed(&timers));
            }
        }
        told +=
            "\nDo now what came due, and set again what you still need. If there is nothing to do now, end your turn.";
        Some(told)
    }

    fn begin_attempt(&mut self, at: Timestamp) {
        self.attempt_at = Some(at);
        for (id, mut timer) in std::mem::take(&mut self.set) {
            let is_past = timer.due.is_some_and(|due| due <= at);
            if timer.kind != TimerKind::Job || (is_past && !timer.repeats) {
                self.gone.insert(id, timer);
            } else {
                timer.due = timer.due.filter(|_| !is_past);
                self.set.insert(id, timer);
            }
        }
    }

    fn take_message(&mut self, message: &Message, at: Timestamp, call: Option<&str>) {
        match message {
            Message::Timer(change) => self.change(change, at, call.unwrap_or_default()),
            Message::TaskEnded { task_id, .. } => drop(self.set.remove(task_id)),
            Message::BackgroundTasks { tasks } => {
                let lives = |id: &str| tasks.iter().any(|task| task.task_id == id);
                self.set.retain(|id, timer| timer.kind != TimerKind::Watch || lives(id));
            }
            Message::TurnEnded(end) if end.is_of_turn() && !end.answers.is_empty() => self.gone.clear(),
            _ => {}
        }
    }

    fn change(&mut self, change: &TimerChange, at: Timestamp, call: &str) {
        match change {
            TimerChange::Set {
                timer,
                id,
                due,
                lasts_ms,
                repeats,
                schedule,
                ..
            } => {
                let lasts = lasts_ms.and_then(|ms| i64::try_from(ms).ok());
                let ends = lasts.and_then(|ms| at.checked_add(SignedDuration::from_millis(ms)).ok());
                let timer = Timer {
                    kind: *timer,
                    due: due.or(ends),
                    repeats: *repeats,
                    schedule: schedule.clone(),
                    purpose: call.split_once(": ").map_or(call, |(_, purpose)| purpose).to_owned(),
                };
                self.set.insert(id.clone(), timer);
            }
            TimerChange::Cancelled { id } => drop(self.set.remove(id)),
            TimerChange::Fired {
                timer: TimerKind::Wakeup,
                due,
            } => {
                // A turn before it may have set a newer one, which is still to come.
                let set = self.set.get(TimerChange::WAKEUP).and_then(|timer| timer.due);
                if due.is_none() || set <= *due {
                    self.set.remove(TimerChange::WAKEUP);
                }
            }
            TimerChange::Fired { .. } => self.fire_job(at),
        }
    }

    /// The CLI does not say which job fires: it is the one that was due first.
    fn fire_job(&mut self, at: Timestamp) {
        let latest = at.checked_add(EARLY_MAX).unwrap_or(at);
        let jobs = self.set.iter_mut().filter(|(_, timer)| timer.kind == TimerKind::Job);
        let due = jobs.filter_map(|(id, timer)| Some((timer.due.filter(|due| *due <= latest)?, id.clone(), timer)));
        let Some((_, id, timer)) = due.min_by(|one, other| one.0.cmp(&other.0)) else {
            return;
        };
        timer.due = None;
        if !timer.repeats {
            self.set.remove(&id);
        }
    }
}

fn listed(timers: &[&Timer]) -> String {
    let mut list = String::new();
    for timer in timers.iter().take(LISTED_MAX) {
        let _ = writeln!(list, "- {}", timer.describe());
    }
    if timers.len() > LISTED_MAX {
        let _ = writeln!(list, "- and {} more", timers.len() - LISTED_MAX);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::id::SessionId;
    use crate::session::journal::{CutOff, Why};
    use crate::session::message::{BackgroundTask, InputState, TaskKind};
    use crate::session::outcome::Ending;
    use crate::session::samples::{attempt_ended, attempt_started, created, good_turn, input, said, turn_ended};
    use crate::session::state::State;
    use crate::session::summary::{Summary, WaitingFor};
    use crate::session::turn::Standing;
    use uuid::Uuid;

    const OURS: Uuid = Uuid::from_u128(1);

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + 60 * minute).unwrap()
    }

    fn set(timer: TimerKind, id: &str, due: Option<i64>, repeats: bool) -> Entry {
        said(Message::Timer(TimerChange::Set {
            tool_use_id: "call".into(),
            timer,
            id: id.into(),
            due: due.map(at),
            lasts_ms: None,
            repeats,
            schedule: repeats.then(|| "every minute".into()),
        }))
    }

    fn fired(timer: TimerKind, due: Option<i64>) -> Entry {
        let due = due.map(at);
        said(Message::Timer(TimerChange::Fired { timer, due }))
    }

    fn after(entries: &[(i64, Entry)]) -> Timers {
        let mut timers = Timers::default();
        let call = Some("ScheduleWakeup: look at the build");
        entries
            .iter()
            .for_each(|(minute, entry)| timers.take(entry, at(*minute), call));
        timers
    }

    #[test]
    fn a_wakeup_is_replaced_and_only_the_one_that_is_set_fires() {
        let twice = [
            (0, set(TimerKind::Wakeup, TimerChange::WAKEUP, Some(5), false)),
            (1, set(TimerKind::Wakeup, TimerChange::WAKEUP, Some(9), false)),
        ];
        let mut timers = after(&twice);
        assert_eq!(
            timers.described(),
            ["wakeup for 2027-01-15 08:09:00 UTC (look at the build)"]
        );
        timers.take(&fired(TimerKind::Wakeup, Some(5)), at(5), None);
        assert_eq!(timers.next_due(), Some(at(9)), "a newer one is still to come");
        timers.take(&fired(TimerKind::Wakeup, Some(9)), at(9), None);
        assert!(timers.is_empty());
    }

    #[test]
    fn the_job_that_was_due_first_fires_and_one_that_repeats_stays() {
        let mut timers = after(&[
            (0, set(TimerKind::Job, "later", Some(9), false)),
            (0, set(TimerKind::Job, "again", Some(4), true)),
            (0, set(TimerKind::Job, "once", Some(3), false)),
        ]);
        for left in [2, 2, 2] {
            timers.take(&fired(TimerKind::Job, None), at(5), None);
            assert_eq!(timers.described().len(), left);
        }
        assert_eq!(timers.next_due(), Some(at(9)));
        let cancelled = |id: &str| said(Message::Timer(TimerChange::Cancelled { id: id.into() }));
        timers.take(&cancelled("again"), at(6), None);
        timers.take(&cancelled("of something else"), at(6), None);
        assert_eq!(timers.described().len(), 1);
    }

    #[test]
    fn a_watch_ends_with_its_task() {
        let watch = [(0, set(TimerKind::Watch, "b1", None, false))];
        let lives = |id: &str| {
            let (task_id, description) = (id.to_owned(), String::new());
            let task = BackgroundTask {
                task_id,
                task: TaskKind::Shell,
                description,
            };
            said(Message::BackgroundTasks { tasks: vec![task] })
        };
        let mut timers = after(&watch);
        timers.take(&lives("b1"), at(1), None);
        assert!(!timers.is_empty());
        timers.take(&lives("b2"), at(2), None);
        assert!(timers.is_empty());
    }

    #[test]
    fn the_wait_ends_at_its_limit_or_when_no_timer_can_fire_any_more() {
        let limit = SignedDuration::from_hours(24);
        let ends = |entries: &[(i64, Entry)]| {
            let mut timers = after(entries);
            assert_eq!(timers.wait_ends(limit), None, "it does not wait yet");
            timers.wait_from(at(1));
            timers.wait_from(at(100));
            timers.wait_ends(limit)
        };
        let once = (0, set(TimerKind::Job, "once", Some(10), false));
        let again = (0, set(TimerKind::Job, "again", Some(2), true));
        let far = (0, set(TimerKind::Job, "far", Some(10_000), false));
        assert_eq!(ends(std::slice::from_ref(&once)), Some(at(15)));
        assert_eq!(ends(&[once.clone(), again]), Some(at(1 + 24 * 60)));
        assert_eq!(ends(&[once, far]), Some(at(1 + 24 * 60)));
    }

    #[test]
    fn a_new_agent_is_told_what_is_lost_what_came_due_and_what_is_still_set() {
        let timers = after(&[
            (0, set(TimerKind::Wakeup, TimerChange::WAKEUP, Some(90), false)),
            (0, set(TimerKind::Job, "past", Some(5), false)),
            (0, set(TimerKind::Job, "again", Some(5), true)),
            (10, attempt_started(2)),
        ]);
        let told = timers.tell(false).unwrap();
        let parts: Vec<_> = told.split("These ").collect();
        assert_eq!(parts.len(), 4, "{told}");
        assert!(
            parts[1].starts_with("came due") && parts[1].contains("scheduled job for"),
            "{told}"
        );
        assert!(
            parts[2].starts_with("are lost") && parts[2].contains("wakeup for"),
            "{told}"
        );
        assert!(
            parts[3].starts_with("are still set") && parts[3].contains("every minute"),
            "{told}"
        );
        let without = timers.tell(true).unwrap();
        assert!(!without.contains("still set"), "{without}");
        let answered = turn_ended_for_us();
        let mut done = timers.clone();
        done.take(&answered, at(11), None);
        assert_eq!(done.tell(false).unwrap().matches("These ").count(), 1);
        let mut rebuilt = timers;
        rebuilt.take(&Entry::ContextRebuilt(Why { why: "lost".into() }), at(11), None);
        assert!(rebuilt.is_empty() && rebuilt.tell(false).is_some());
        assert_eq!(Timers::default().tell(true), None);
    }

    fn turn_ended_for_us() -> Entry {
        let mut end = good_turn();
        end.answers = vec![OURS];
        said(turn_ended(end))
    }

    fn waiting() -> Summary {
        let mut summary = Summary::new(SessionId::new(), &created("watch the build"), at(0));
        summary.lifecycle.state = State::Running;
        for entry in [
            input(OURS, InputState::Sent, Some("watch the build")),
            set(TimerKind::Wakeup, TimerChange::WAKEUP, Some(90), false),
            input(OURS, InputState::Completed, None),
            turn_ended_for_us(),
        ] {
            assert_eq!(summary.shown_state().name(), "running");
            summary.apply(&entry, at(1));
        }
        summary
    }

    #[test]
    fn a_session_whose_turn_has_ended_waits_for_its_timers_without_a_slot() {
        let mut summary = waiting();
        assert_eq!(summary.shown_state().name(), "waiting_timer");
        assert_eq!(summary.waits_until(), Some(at(90)));
        assert!(!summary.takes_slot() && summary.active_since.is_none());
        let gone = summary.work.ending_of_gone(summary.open(false));
        assert_eq!(gone, Ending::Crashed, "its timers go with it");
        summary.apply(&fired(TimerKind::Wakeup, Some(90)), at(90));
        assert_eq!(summary.shown_state().name(), "running");
        assert!(summary.takes_slot());
    }

    #[test]
    fn an_agent_whose_timers_were_cut_off_has_finished_though_its_daemon_died_meanwhile() {
        let mut summary = waiting();
        let what = summary.timers.described();
        summary.apply(&Entry::WorkCutOff(CutOff { what }), at(2));
        assert_eq!(
            summary.work.standing(summary.open(false)),
            Standing::Over(Ending::Finished)
        );
        assert_eq!(summary.work.ending_of_gone(summary.open(false)), Ending::Finished);
        summary.apply(&attempt_started(2), at(3));
        assert!(summary.cut_off.is_empty());
    }

    #[test]
    fn a_message_and_the_end_of_the_agent_end_the_wait() {
        let mut told = waiting();
        told.apply(&input(Uuid::from_u128(2), InputState::Sent, Some("stop")), at(2));
        assert_eq!(told.shown_state().name(), "running");
        let mut ended = waiting();
        ended.apply(&attempt_ended(Ending::Crashed), at(2));
        assert_eq!(ended.waiting_for, WaitingFor::Nothing);
    }

    #[test]
    fn a_summary_of_the_version_before_is_read_without_timers() {
        let mut json = serde_json::to_value(waiting()).unwrap();
        json["waiting_for"] = "nothing".into();
        let fields = json.as_object_mut().unwrap();
        assert!(fields.remove("timers").is_some());
        let work = fields["work"].as_object_mut().unwrap();
        assert!(work.remove("described").is_some());
        let read: Summary = serde_json::from_value(json).unwrap();
        assert!(read.timers.is_empty() && read.cut_off.is_empty());
        assert!(read.work.has_ended_well());
    }
}
