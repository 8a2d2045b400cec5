//! The agent's own timers, as the results of its timer tools and the frames of a timer that fires tell of them.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::session::message::Message;
use crate::session::message::{TimerChange, TimerKind};

/// The tools with which the CLI lets an agent schedule itself.
pub const TIMER_TOOLS: [&str; 5] = ["ScheduleWakeup", "CronCreate", "CronDelete", "CronList", "Monitor"];

/// The result of ScheduleWakeup.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wakeup {
    scheduled_for: f64,
    #[serde(rename = "clampedDelaySeconds")]
    _delay: f64,
    #[serde(default)]
    stopped: bool,
}

/// The result of CronCreate.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ScheduledJob {
    id: String,
    next_fire_at: f64,
    #[serde(default)]
    recurring: bool,
    #[serde(default)]
    human_schedule: Option<String>,
}

/// The result of Monitor.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Monitor {
    task_id: String,
    timeout_ms: f64,
    persistent: bool,
}

/// The result of CronDelete.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deleted {
    id: String,
}

/// What the form for programs of a tool's result tells of timers. It names no tool: the tools are told apart by its fields.
pub(super) enum ToldTimers {
    Wakeup(Wakeup),
    Job(ScheduledJob),
    Monitor(Monitor),
    Deleted(Deleted),
}

impl ToldTimers {
    /// Returns none if it tells of no timer.
    pub(super) fn of(result: &Value) -> Option<Self> {
        let wakeup = Wakeup::deserialize(result).map(Self::Wakeup);
        let job = |_| ScheduledJob::deserialize(result).map(Self::Job);
        let monitor = |_| Monitor::deserialize(result).map(Self::Monitor);
        let deleted = |_| Deleted::deserialize(result).map(Self::Deleted);
        wakeup.or_else(job).or_else(monitor).or_else(deleted).ok()
    }

    /// Returns the length of the texts in a change, in bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Wakeup(_) => 0,
            Self::Job(job) => job.id.len() + job.human_schedule.as_ref().map_or(0, String::len),
            Self::Monitor(monitor) => monitor.task_id.len(),
            Self::Deleted(deleted) => deleted.id.len(),
        }
    }

    /// The change of timers by a call that this is the result of. A call that has failed changes none.
    pub(super) fn change(&self, message: &Message) -> Option<TimerChange> {
        let Message::ToolResult {
            tool_use_id,
            is_error: false,
            ..
        } = message
        else {
            return None;
        };
        let set = |timer, id: &str, due, lasts_ms| TimerChange::Set {
            tool_use_id: tool_use_id.clone(),
            timer,
            id: id.to_owned(),
            due,
            lasts_ms,
            repeats: false,
            schedule: None,
        };
        Some(match self {
            Self::Wakeup(wakeup) if wakeup.stopped => TimerChange::Cancelled {
                id: TimerChange::WAKEUP.to_owned(),
            },
            Self::Wakeup(wakeup) => set(TimerKind::Wakeup, TimerChange::WAKEUP, time(wakeup.scheduled_for), None),
            Self::Job(job) => {
                let mut change = set(TimerKind::Job, &job.id, time(job.next_fire_at), None);
                if let TimerChange::Set { repeats, schedule, .. } = &mut change {
                    (*repeats, *schedule) = (job.recurring, job.human_schedule.clone());
                }
                change
            }
            Self::Monitor(monitor) => {
                let lasts_ms = (!monitor.persistent).then_some(monitor.timeout_ms as u64);
                set(TimerKind::Watch, &monitor.task_id, None, lasts_ms)
            }
            Self::Deleted(deleted) => TimerChange::Cancelled { id: deleted.id.clone() },
        })
    }
}

/// The fields by which the start of a turn says that a timer has begun it.
#[derive(Deserialize)]
pub(super) struct Fire {
    #[serde(default)]
    wakeup_source: Option<String>,
    #[serde(default)]
    scheduled_for: Option<f64>,
}

impl Fire {
    pub(super) fn change(&self) -> Option<TimerChange> {
        let timer = match self.wakeup_source.as_deref()? {
            "loop_wakeup" => TimerKind::Wakeup,
            _ => TimerKind::Job,
        };
        let due = self.scheduled_for.and_then(time);
        Some(TimerChange::Fired { timer, due })
    }
}

fn time(ms: f64) -> Option<Timestamp> {
    Timestamp::from_millisecond(ms as i64).ok()
}
