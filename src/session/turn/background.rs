//! Background tasks of an agent: shells and subagents that go on beside its turns.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::session::message::{BackgroundTask, TaskKind};

/// Background tasks that live, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct BackgroundWork {
    #[serde(rename = "background")]
    kinds: BTreeMap<String, TaskKind>,
    #[serde(default, rename = "described")]
    descriptions: BTreeMap<String, String>,
}

impl BackgroundWork {
    /// Exactly these tasks.
    pub(super) fn of(tasks: &[BackgroundTask]) -> Self {
        let mut background = Self::default();
        for BackgroundTask {
            task_id,
            task,
            description,
        } in tasks
        {
            background.begin(task_id, *task, description);
        }
        background
    }

    pub(super) fn begin(&mut self, task_id: &str, kind: TaskKind, description: &str) {
        self.kinds.insert(task_id.to_owned(), kind);
        self.descriptions.insert(task_id.to_owned(), description.to_owned());
    }

    /// Removes a task. Returns false if it was not in the background.
    pub(super) fn end(&mut self, task_id: &str) -> bool {
        self.descriptions.remove(task_id);
        self.kinds.remove(task_id).is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    pub(super) fn has_only_shells(&self) -> bool {
        self.kinds.values().all(|kind| *kind == TaskKind::Shell)
    }

    /// Each task with its description and its id.
    pub(super) fn described(&self) -> impl Iterator<Item = String> {
        self.kinds.keys().map(|id| match self.descriptions.get(id) {
            Some(description) if !description.is_empty() => format!("{description} ({id})"),
            Some(_) | None => id.clone(),
        })
    }
}
