//! The session's file: what a later process needs to go on, kept where the CLI keeps it and with an entry per step.

use std::collections::HashSet;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::frames::{Spent, timestamp};

/// What an entry says to a simulator; the CLI's own fields beside it are for other readers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(super) enum Record {
    /// A turn begins.
    Begin {
        uuids: Vec<String>,
        script: String,
    },
    /// So many steps of the turn are done, and so much is spent in the session.
    Done {
        steps: usize,
        total: Spent,
    },
    /// The flood that is being written is out up to this line.
    Flooded {
        lines: u64,
    },
    /// The usage limit that is being waited for ends then.
    ResetsAt {
        seconds: u64,
    },
    /// The turn is over, however it ended.
    Finished,
    /// A background task runs.
    Task {
        id: String,
        tool_use_id: String,
        agent: bool,
    },
    TaskOver {
        id: String,
    },
    /// Everything after the entry with this uuid is undone.
    CutAt {
        uuid: String,
    },
}

/// What the entries add up to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Past {
    /// User messages that are not to be run again.
    pub(super) finished: HashSet<String>,
    pub(super) cut: Option<CutTurn>,
    pub(super) total: Spent,
    /// Background tasks that did not end.
    pub(super) tasks: Vec<PastTask>,
    pub(super) turns: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct PastTask {
    pub(super) id: String,
    pub(super) tool_use_id: String,
    pub(super) agent: bool,
}

/// A turn that was begun and not finished.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct CutTurn {
    pub(super) uuids: Vec<String>,
    pub(super) script: String,
    pub(super) done: usize,
    pub(super) flooded: u64,
    pub(super) resets_at: Option<u64>,
}

impl Past {
    fn fold(records: impl IntoIterator<Item = Record>) -> Self {
        let mut past = Self::default();
        for record in records {
            past.take(record);
        }
        past
    }

    fn take(&mut self, record: Record) {
        match record {
            Record::Begin { uuids, script } => {
                // A turn that goes on keeps what it has done; one that another turn follows is given up.
                let going_on = self.cut.take().filter(|cut| cut.uuids == uuids);
                self.turns += usize::from(going_on.is_none());
                self.cut = Some(CutTurn {
                    uuids,
                    script,
                    ..going_on.unwrap_or_default()
                });
            }
            Record::Done { steps, total } => {
                self.total = total;
                self.in_cut(|cut| {
                    *cut = CutTurn {
                        done: steps,
                        flooded: 0,
                        resets_at: None,
                        ..cut.clone()
                    }
                });
            }
            Record::Flooded { lines } => self.in_cut(|cut| cut.flooded = lines),
            Record::ResetsAt { seconds } => self.in_cut(|cut| cut.resets_at = Some(seconds)),
            Record::Finished => self
                .finished
                .extend(self.cut.take().into_iter().flat_map(|cut| cut.uuids)),
            Record::Task { id, tool_use_id, agent } => self.tasks.push(PastTask { id, tool_use_id, agent }),
            Record::TaskOver { id } => self.tasks.retain(|task| task.id != id),
            // Undone before the fold.
            Record::CutAt { .. } => {}
        }
    }

    fn in_cut(&mut self, change: impl FnOnce(&mut CutTurn)) {
        if let Some(cut) = &mut self.cut {
            change(cut);
        }
    }
}

/// The file of one session, open for appending once a turn has begun.
pub(super) struct Transcript {
    session: String,
    path: PathBuf,
    file: Option<File>,
    last_uuid: Option<String>,
}

impl Transcript {
    /// A session's file that may not exist yet.
    pub(super) fn new(projects: &Path, cwd: &str, session: &str) -> Self {
        let directory = projects.join(cwd.replace(['/', '.'], "-"));
        Self {
            session: session.to_owned(),
            path: directory.join(format!("{session}.jsonl")),
            file: None,
            last_uuid: None,
        }
    }

    /// The session's file wherever it is, for `--resume`; `None` where there is none.
    pub(super) fn find(projects: &Path, session: &str) -> Option<PathBuf> {
        let name = format!("{session}.jsonl");
        let directories = fs::read_dir(projects).ok()?;
        directories
            .filter_map(Result::ok)
            .map(|directory| directory.path().join(&name))
            .find(|path| path.exists())
    }

    pub(super) fn resume(path: PathBuf, session: &str) -> Self {
        Self {
            session: session.to_owned(),
            path,
            file: None,
            last_uuid: None,
        }
    }

    pub(super) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Reads what happened so far; after `keep_to`, if given, nothing did.
    pub(super) fn read(&mut self, keep_to: Option<&str>) -> io::Result<Past> {
        let text = String::from_utf8_lossy(&fs::read(&self.path)?).into_owned();
        let mut entries: Vec<(Option<String>, Record)> = Vec::new();
        // A torn last line is no entry, as with the CLI.
        for entry in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let Ok(record) = serde_json::from_value(entry["simulator"].clone()) else {
                continue;
            };
            match &record {
                Record::CutAt { uuid } => cut_at(&mut entries, uuid),
                Record::Begin { .. }
                | Record::Done { .. }
                | Record::Flooded { .. }
                | Record::ResetsAt { .. }
                | Record::Finished
                | Record::Task { .. }
                | Record::TaskOver { .. } => {
                    entries.push((entry["uuid"].as_str().map(str::to_owned), record));
                }
            }
        }
        if let Some(uuid) = keep_to {
            cut_at(&mut entries, uuid);
            self.append(
                "simulator",
                None,
                &Record::CutAt { uuid: uuid.to_owned() },
                &Value::Null,
            );
        }
        self.last_uuid = entries.iter().rev().find_map(|(uuid, _)| uuid.clone());
        if !text.is_empty() && !text.ends_with('\n') {
            self.write(b"\n")?;
        }
        Ok(Past::fold(entries.into_iter().map(|(_, record)| record)))
    }

    /// Adds an entry: `kind` and `uuid` as in the CLI's file, with the message that goes by that uuid.
    pub(super) fn append(&mut self, kind: &str, uuid: Option<&str>, record: &Record, message: &Value) {
        let mut entry = json!({
            "type": kind, "parentUuid": self.last_uuid, "sessionId": self.session,
            "timestamp": timestamp(), "simulator": record,
        });
        if let Some(uuid) = uuid {
            entry["uuid"] = json!(uuid);
            self.last_uuid = Some(uuid.to_owned());
        }
        if !message.is_null() {
            entry["message"] = message.clone();
        }
        let written = self.write(format!("{entry}\n").as_bytes());
        if let Err(error) = written {
            eprintln!("failed to write {}: {error}", self.path.display());
            std::process::exit(1);
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            if let Some(directory) = self.path.parent() {
                fs::create_dir_all(directory)?;
            }
            self.file = Some(File::options().append(true).create(true).open(&self.path)?);
        }
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(bytes))
    }

    /// Whether this step of this script has crashed before in this session; from now on it has. Kept beside the
    /// transcript, which a crash may take with it.
    pub(super) fn crashed_before(&self, script: &str, step: usize) -> bool {
        let mut hasher = DefaultHasher::new();
        (script, step).hash(&mut hasher);
        let mark = self.path.with_extension(format!("crashed-{:016x}", hasher.finish()));
        if mark.exists() {
            return true;
        }
        if let Err(error) = self
            .path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&mark, ""))
        {
            eprintln!("failed to write {}: {error}", mark.display());
        }
        false
    }

    /// As if the process had died before the first flush.
    pub(super) fn forget(&self) {
        let _ = fs::remove_file(&self.path);
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn cut_at(entries: &mut Vec<(Option<String>, Record)>, uuid: &str) {
    if let Some(last) = entries.iter().rposition(|(entry, _)| entry.as_deref() == Some(uuid)) {
        entries.truncate(last + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(uuid: &str) -> Record {
        Record::Begin {
            uuids: vec![uuid.to_owned()],
            script: "say a ;; say b".to_owned(),
        }
    }

    fn done(steps: usize) -> Record {
        Record::Done {
            steps,
            total: Spent {
                input: 1,
                output: 1,
                cost_usd: 0.5,
            },
        }
    }

    fn transcript(directory: &Path) -> Transcript {
        Transcript::new(directory, "/srv/me/my.project", "s")
    }

    #[test]
    fn a_cut_turn_is_known_up_to_its_last_finished_step() {
        let past = Past::fold([
            begin("a"),
            done(2),
            Record::Finished,
            begin("b"),
            Record::Flooded { lines: 9 },
            done(1),
        ]);
        assert_eq!(past.finished, HashSet::from(["a".to_owned()]));
        let cut = CutTurn {
            uuids: vec!["b".into()],
            script: "say a ;; say b".into(),
            done: 1,
            ..CutTurn::default()
        };
        assert_eq!(past.cut, Some(cut));
        assert_eq!((past.turns, past.total.cost_usd), (2, 0.5));
    }

    #[test]
    fn a_turn_that_goes_on_keeps_what_it_has_done() {
        let past = Past::fold([begin("a"), done(1), Record::Flooded { lines: 9 }, begin("a")]);
        assert_eq!(past.turns, 1);
        assert_eq!(past.cut.map(|cut| (cut.done, cut.flooded)), Some((1, 9)));
    }

    #[test]
    fn a_torn_last_line_is_tolerated_and_does_not_spoil_the_next_entry() {
        let directory = tempfile::tempdir().unwrap();
        let mut first = transcript(directory.path());
        first.append("user", Some("a"), &begin("a"), &Value::Null);
        first.write(br#"{"type":"assis"#).unwrap();
        let mut second = transcript(directory.path());
        assert_eq!(second.read(None).unwrap().cut.unwrap().done, 0);
        second.append("assistant", Some("m"), &done(1), &Value::Null);
        assert_eq!(transcript(directory.path()).read(None).unwrap().cut.unwrap().done, 1);
    }

    #[test]
    fn what_was_cut_off_stays_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = transcript(directory.path());
        writer.append("user", Some("a"), &begin("a"), &Value::Null);
        writer.append("assistant", Some("m1"), &done(1), &Value::Null);
        writer.append("assistant", Some("m2"), &done(2), &Value::Null);
        let done = |past: Past| past.cut.map(|cut| cut.done);
        assert_eq!(done(transcript(directory.path()).read(Some("m1")).unwrap()), Some(1));
        assert_eq!(done(transcript(directory.path()).read(None).unwrap()), Some(1));
    }

    #[test]
    fn a_session_is_found_in_any_directory() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = transcript(directory.path());
        writer.append("user", Some("a"), &begin("a"), &Value::Null);
        assert_eq!(Transcript::find(directory.path(), "s").as_deref(), Some(writer.path()));
        assert!(writer.path().ends_with("-srv-me-my-project/s.jsonl"));
        assert_eq!(Transcript::find(directory.path(), "t"), None);
    }
}
