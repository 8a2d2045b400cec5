//! The agent's own timers, as the results of its timer tools and the frames of a timer that fires tell of them.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::session::message::Message;
use crate::session::timers::{TimerChange, TimerKind};

/// The tools with which the CLI lets an agent schedule itself.
pub const TIMER_TOOLS: [&str; 5] = ["ScheduleWakeup", "CronCreate", "CronDelete", "CronList", "Monitor"];

/// The result of ScheduleWakeup.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wakeup {
    scheduled_for: f64,
    #[serde(rename = "clampedDelaySeconds")]
    _delay: f64,
    #[serde(default)]
    stopped: bool,
}

/// The result of CronCreate.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Job {
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
struct Monitor {
    task_id: String,
    timeout_ms: f64,
    persistent: bool,
}

/// The result of CronDelete.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deleted {
    id: String,
}

/// The change of timers that a tool's result tells of. `result` is its form for programs, which names no tool: the tools
/// are told apart by its fields.
pub(super) fn change(message: &Message, result: &Value) -> Option<TimerChange> {
    let Message::ToolResult {
        tool_use_id,
        is_error: false,
        ..
    } = message
    else {
        return None;
    };
    let set = |timer, id: String| TimerChange::Set {
        tool_use_id: tool_use_id.clone(),
        timer,
        id,
        due: None,
        lasts_ms: None,
        repeats: false,
        schedule: None,
    };
    if let Ok(wakeup) = Wakeup::deserialize(result) {
        let id = TimerChange::WAKEUP.to_owned();
        if wakeup.stopped {
            return Some(TimerChange::Cancelled { id });
        }
        let mut change = set(TimerKind::Wakeup, id);
        if let TimerChange::Set { due, .. } = &mut change {
            *due = time(wakeup.scheduled_for);
        }
        return Some(change);
    }
    if let Ok(job) = Job::deserialize(result) {
        let mut change = set(TimerKind::Job, job.id);
        if let TimerChange::Set {
            due, repeats, schedule, ..
        } = &mut change
        {
            (*due, *repeats, *schedule) = (time(job.next_fire_at), job.recurring, job.human_schedule);
        }
        return Some(change);
    }
    if let Ok(monitor) = Monitor::deserialize(result) {
        let mut change = set(TimerKind::Watch, monitor.task_id);
        if let TimerChange::Set { lasts_ms, .. } = &mut change {
            *lasts_ms = (!monitor.persistent).then_some(monitor.timeout_ms as u64);
        }
        return Some(change);
    }
    let deleted = Deleted::deserialize(result).ok()?;
    Some(TimerChange::Cancelled { id: deleted.id })
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
