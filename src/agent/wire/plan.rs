//! Where an agent's plan is: the request to approve it is empty, so it is remembered when it is written.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use crate::session::message::Message;

/// How much of a plan is shown, in bytes.
const PLAN_BYTES_MAX: u64 = 256 * 1024;

/// The plan that an agent has written last, until it asks for its approval.
#[derive(Clone, Debug, Default)]
pub struct PlanDraft {
    /// What the call itself says.
    text: Option<String>,
    /// The file that it was written into.
    file: Option<PathBuf>,
}

impl PlanDraft {
    /// Takes a message into account.
    pub fn note(&mut self, message: &Message) {
        let Message::ToolUse { name, input, .. } = message else {
            return;
        };
        let text = |field: &str| input.get(field).and_then(Value::as_str);
        match name.as_str() {
            "ExitPlanMode" => self.text = text("plan").map(str::to_owned),
            "Write" | "Edit" | "MultiEdit" => {
                let written = text("file_path").map(PathBuf::from);
                self.file = written.filter(|path| is_plan(path)).or(self.file.take());
            }
            _ => {}
        }
    }

    /// The plan, if it is known. Reads its file where the call does not say it.
    pub fn plan(&mut self) -> Option<String> {
        self.text.take().or_else(|| read(self.file.as_deref()?))
    }
}

/// The CLI keeps plans as Markdown in a folder of this name.
fn is_plan(path: &Path) -> bool {
    let folder = path.parent().and_then(Path::file_name);
    let is_straight = path.is_absolute() && !path.components().any(|part| part == Component::ParentDir);
    is_straight && folder == Some("plans".as_ref()) && path.extension() == Some("md".as_ref())
}

/// The file's beginning; none where it is no file, as a pipe that nobody writes would never end.
fn read(path: &Path) -> Option<String> {
    if !path.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path)
        .ok()?
        .take(PLAN_BYTES_MAX)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned()).filter(|plan| !plan.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn note(draft: &mut PlanDraft, name: &str, input: Value) {
        draft.note(&Message::ToolUse {
            message_id: "m".into(),
            block: 0,
            tool_use_id: "t".into(),
            name: name.into(),
            input,
            parent: None,
            called_at: None,
        });
    }

    #[test]
    fn the_plan_is_what_the_call_says_else_the_file_that_was_written_last() {
        let folder = tempfile::tempdir().unwrap();
        let plans = folder.path().join("plans");
        std::fs::create_dir(&plans).unwrap();
        let file = plans.join("calm-sea.md");
        std::fs::write(&file, "# Step one").unwrap();
        let mut draft = PlanDraft::default();
        assert_eq!(draft.plan(), None);
        note(&mut draft, "Write", json!({"file_path": file, "content": "# Step"}));
        note(
            &mut draft,
            "Write",
            json!({"file_path": "/srv/notes.md", "content": "x"}),
        );
        note(&mut draft, "ExitPlanMode", json!({}));
        assert_eq!(draft.plan().as_deref(), Some("# Step one"));
        note(&mut draft, "ExitPlanMode", json!({"plan": "go"}));
        assert_eq!(draft.plan().as_deref(), Some("go"));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(draft.plan(), None);
    }

    #[test]
    fn only_a_plan_is_read_for_one() {
        for path in ["/h/.claude/plans/a.md", "/plans/b.md"] {
            assert!(is_plan(Path::new(path)), "{path}");
        }
        for path in [
            "plans/a.md",
            "/h/plans/../secret/plans/a.md",
            "/h/plans/key",
            "/h/a.md",
            "",
        ] {
            assert!(!is_plan(Path::new(path)), "{path}");
        }
    }
}
