//! The agent's own file of a conversation: where it is, and what stands in it.
//!
//! Each line is an entry with a `uuid`: that of our message, or of the line that the agent has printed. It follows the
//! output after 20 to 200 ms. A message that was taken into a running turn stands in an entry whose `attachment` is a
//! `queued_command` with our id as its `source_uuid`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use uuid::Uuid;

use crate::disk::regular;

/// The variable of an agent's environment that says where it keeps its files.
pub const CONFIGURATION: &str = "CLAUDE_CONFIG_DIR";

/// What a transcript says of the messages that it was asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TranscriptMatches {
    /// Those that are entries of the conversation.
    pub entries: BTreeSet<Uuid>,
    /// Those that were taken into a running turn.
    pub folded_in: BTreeSet<Uuid>,
}

#[derive(Deserialize)]
struct TranscriptEntry {
    uuid: Option<String>,
    #[serde(default, rename = "isSidechain")]
    is_of_subagent: bool,
    attachment: Option<Attachment>,
}

#[derive(Deserialize)]
struct Attachment {
    #[serde(rename = "type")]
    kind: Option<String>,
    source_uuid: Option<String>,
}

/// The file of a conversation, under the configuration of an agent with this environment that works in this directory.
/// There is none until some time after its first message, and resuming one without a file is an error. A place that
/// cannot be looked at is no place without a file.
pub fn find(
    environment: &BTreeMap<String, String>,
    directory: &Path,
    conversation: Uuid,
) -> io::Result<Option<PathBuf>> {
    let Some(configuration) = configuration(environment, directory) else {
        return Ok(None);
    };
    let projects = match std::fs::read_dir(configuration.join("projects")) {
        Ok(projects) => projects,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let name = format!("{conversation}.jsonl");
    for project in projects {
        let path = project?.path().join(&name);
        if path.is_file() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Minimum number of hexadecimal digits in a prefix of a conversation's id.
const PREFIX_DIGITS_MIN: usize = 4;

/// True for the beginning of a conversation's id, or for a whole one.
pub fn is_prefix(text: &str) -> bool {
    let is_in_place = |(place, byte): (usize, u8)| match place {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    (PREFIX_DIGITS_MIN..=36).contains(&text.len()) && text.bytes().enumerate().all(is_in_place)
}

/// The conversations whose ids begin with `prefix`, under the configuration of an agent with this environment that works
/// in this directory; in the order of their ids.
pub fn beginning_with(
    environment: &BTreeMap<String, String>,
    directory: &Path,
    prefix: &str,
) -> io::Result<BTreeSet<Uuid>> {
    let prefix = prefix.to_lowercase();
    let mut found = BTreeSet::new();
    let Some(configuration) = configuration(environment, directory) else {
        return Ok(found);
    };
    let projects = match std::fs::read_dir(configuration.join("projects")) {
        Ok(projects) => projects,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for project in projects {
        let Ok(files) = std::fs::read_dir(project?.path()) else {
            // A file beside the projects is none of them.
            continue;
        };
        for file in files {
            let name = file?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
            found.extend(
                id.filter(|id| id.starts_with(&prefix))
                    .and_then(|id| Uuid::try_parse(id).ok()),
            );
        }
    }
    Ok(found)
}

/// Where an agent with this environment that works in this directory keeps its files. A path that begins nowhere begins
/// there, also one that is empty (measured).
pub fn configuration(environment: &BTreeMap<String, String>, directory: &Path) -> Option<PathBuf> {
    let own = environment.get(CONFIGURATION).map(PathBuf::from);
    let home = || environment.get("HOME").filter(|home| !home.is_empty());
    let configuration = own.or_else(|| Some(Path::new(home()?).join(".claude")));
    configuration.map(|configuration| directory.join(configuration))
}

/// The directory that a conversation was held in, as its first entries say.
pub fn directory(path: &Path) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Place {
        cwd: Option<PathBuf>,
    }
    let lines = BufReader::new(regular::open(path).ok()?).lines();
    let places = lines
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_str::<Place>(&line).ok());
    places.filter_map(|place| place.cwd).find(|cwd| cwd.is_absolute())
}

/// Looks for messages in a transcript. Lines that name none of them are not parsed, since some are large.
pub fn look(path: &Path, wanted: &BTreeSet<Uuid>) -> io::Result<TranscriptMatches> {
    let mut seen = TranscriptMatches::default();
    if wanted.is_empty() {
        return Ok(seen);
    }
    let wanted: Vec<(Uuid, String)> = wanted.iter().map(|uuid| (*uuid, uuid.to_string())).collect();
    let mut lines = BufReader::with_capacity(256 * 1024, regular::open(path)?);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        let mut named = wanted
            .iter()
            .filter(|(_, name)| text.contains(name.as_str()))
            .peekable();
        // A torn last line is no entry, to the agent neither.
        if named.peek().is_some()
            && let Ok(entry) = serde_json::from_str::<TranscriptEntry>(&text)
        {
            named.for_each(|(uuid, name)| seen.note(&entry, *uuid, name));
        }
        line.clear();
    }
    Ok(seen)
}

impl TranscriptMatches {
    fn note(&mut self, entry: &TranscriptEntry, uuid: Uuid, name: &str) {
        if entry.uuid.as_deref() == Some(name) && !entry.is_of_subagent {
            self.entries.insert(uuid);
        }
        let queued = entry
            .attachment
            .as_ref()
            .filter(|attachment| attachment.kind.as_deref() == Some("queued_command"));
        if queued.is_some_and(|queued| queued.source_uuid.as_deref() == Some(name)) {
            self.folded_in.insert(uuid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, text: &str) -> PathBuf {
        let path = dir.join("t.jsonl");
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_conversation_that_was_never_written_down_is_found_missing() {
        let home = tempfile::tempdir().unwrap();
        let env = [("HOME".to_owned(), home.path().to_string_lossy().into_owned())].into();
        let id = Uuid::from_u128(5);
        let work = Path::new("/project");
        assert_eq!(find(&env, work, id).unwrap(), None);
        let project = home.path().join(".claude/projects/-work");
        std::fs::create_dir_all(&project).unwrap();
        std::fs::write(project.join(format!("{id}.jsonl")), "{}\n").unwrap();
        assert!(find(&env, work, id).unwrap().is_some());
    }

    #[test]
    fn a_conversation_is_found_by_the_beginning_of_its_id() {
        let home = tempfile::tempdir().unwrap();
        let env = [("HOME".to_owned(), home.path().to_string_lossy().into_owned())].into();
        let work = Path::new("/project");
        let first: Uuid = "ab120000-0000-4000-8000-000000000001".parse().unwrap();
        let other: Uuid = "ab120000-0000-4000-8000-000000000002".parse().unwrap();
        assert!(
            beginning_with(&env, work, "ab12").unwrap().is_empty(),
            "there is no such folder"
        );
        let project = home.path().join(".claude/projects/-work");
        std::fs::create_dir_all(&project).unwrap();
        for name in [
            format!("{first}.jsonl"),
            format!("{other}.jsonl"),
            "ab12.txt".to_owned(),
        ] {
            std::fs::write(project.join(name), "{}\n").unwrap();
        }
        assert_eq!(beginning_with(&env, work, "AB12").unwrap(), [first, other].into());
        assert_eq!(beginning_with(&env, work, &other.to_string()).unwrap(), [other].into());
        for (text, is_one) in [
            ("ab12", true),
            ("ab1", false),
            ("ab120000-0", true),
            ("ab120000-g", false),
            ("-ab1", false),
        ] {
            assert_eq!(is_prefix(text), is_one, "{text}");
        }
    }

    #[test]
    fn a_configuration_that_is_named_from_nowhere_is_in_the_agents_directory() {
        let kept = |own: &str| {
            let env = [("CLAUDE_CONFIG_DIR", own), ("HOME", "/me")];
            let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            configuration(&env, Path::new("/project"))
        };
        assert_eq!(kept("own"), Some("/project/own".into()));
        assert_eq!(kept(""), Some("/project".into()));
        assert_eq!(kept("/own"), Some("/own".into()));
    }

    #[test]
    fn conversations_that_cannot_be_looked_for_are_not_missing() {
        let home = tempfile::tempdir().unwrap();
        let env = [(
            "CLAUDE_CONFIG_DIR".to_owned(),
            home.path().to_string_lossy().into_owned(),
        )]
        .into();
        std::fs::write(home.path().join("projects"), "no directory").unwrap();
        assert!(find(&env, Path::new("/project"), Uuid::from_u128(5)).is_err());
    }

    #[test]
    fn entries_and_folded_messages_are_told_apart_from_mere_mentions() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b, c, d, e] = [1, 2, 3, 4, 5].map(Uuid::from_u128);
        let text = format!(
            "{{\"type\":\"user\",\"uuid\":\"{a}\",\"message\":{{\"content\":\"{c}\"}}}}\n\
             {{\"type\":\"attachment\",\"uuid\":\"x\",\"attachment\":{{\"type\":\"queued_command\",\"source_uuid\":\"{b}\"}}}}\n\
             {{\"type\":\"assistant\",\"uuid\":\"{d}\",\"isSidechain\":true}}\n\
             {{\"type\":\"assistant\",\"uuid\":\"{e}\""
        );
        let seen = look(&write(dir.path(), &text), &[a, b, c, d, e].into()).unwrap();
        assert_eq!(seen.entries, [a].into());
        assert_eq!(seen.folded_in, [b].into());
    }

    #[test]
    fn the_directory_of_a_conversation_is_found_behind_entries_without_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(
            dir.path(),
            "{\"type\":\"queue-operation\"}\n{\"type\":\"user\",\"cwd\":\"/project/here\"}\n",
        );
        assert_eq!(directory(&path), Some("/project/here".into()));
        assert_eq!(directory(&write(dir.path(), "{}\n")), None);
    }
}
