//! What the CLI starts by itself in a directory, and whether it is trusted there.
//!
//! Measured with 2.1.332, without a terminal: the CLI takes `.claude/settings.json` of the working directory;
//! `.claude/settings.local.json` of the working directory, of the top of its tree and of the main repository; and
//! `.mcp.json` of the working directory and of every directory above. It starts their hooks, helpers and MCP servers and
//! sets their variables without a question. With `--setting-sources=user` it takes none of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::transcript;
use crate::disk::regular;
use crate::session::hex::hex;

mod starts;

/// The longest settings file that is read, in bytes.
const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The most bytes of one file of the repository that count.
const NAMED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The most files of the repository that count.
const NAMED_FILES_MAX: usize = 500;

/// The most things that are told, each in a line; the others are counted.
const LINES_MAX: usize = 50;

/// A directory in which the CLI starts something by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartingDirectory {
    /// The root of the main repository, or the directory itself outside of one.
    pub root: PathBuf,
    /// A digest of everything that starts, and of the repository's files that it names.
    pub digest: String,
    /// Each thing that starts, in a line.
    pub starts: Vec<String>,
}

/// Where a directory lies.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Location {
    cwd: PathBuf,
    /// The top of the working tree; none outside a repository.
    top: Option<PathBuf>,
    /// The root by which the CLI knows it: that of the main repository.
    root: PathBuf,
}

/// What an agent with this environment starts by itself in `cwd`, a path without links. None if that is nothing.
pub fn look(cwd: &Path, environment: &BTreeMap<String, String>) -> Option<StartingDirectory> {
    let place = Location::of(cwd);
    let mut lines = BTreeSet::new();
    let mut digest = BTreeSet::new();
    let mut names = BTreeSet::new();
    for (label, path) in place.settings(environment) {
        match read_object(&path) {
            Ok(None) => {}
            Ok(Some(object)) => {
                for part in starts::of(label, &object) {
                    lines.extend(part.lines);
                    digest.insert(format!("{label}\0{}\0{}", part.name, part.value));
                    starts::each_text(&part.value, &mut |text| names.extend(place.named_in(text)));
                }
            }
            // The CLI may read it otherwise: what is not understood is not taken for nothing.
            Err(error) => {
                lines.insert(format!("{label}: it cannot be read here ({error})"));
                digest.insert(format!("{label}\0{}", of_file(&path).unwrap_or_default()));
            }
        }
    }
    if lines.is_empty() {
        return None;
    }
    for (name, path) in names.into_iter().take(NAMED_FILES_MAX) {
        digest.insert(format!("file\0{name}\0{}", of_file(&path).unwrap_or_default()));
    }
    let mut hash = Sha256::new();
    for item in digest {
        hash.update(Sha256::digest(item));
    }
    Some(StartingDirectory {
        root: place.root,
        digest: hex(&hash.finalize()),
        starts: told(lines),
    })
}

fn told(lines: BTreeSet<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(LINES_MAX);
    let rest = (more > 0).then(|| format!("… and {more} more"));
    lines.into_iter().take(LINES_MAX).chain(rest).collect()
}

/// Whether a person has trusted the directory in the CLI. Its own record is read and never written.
pub fn is_trusted(cwd: &Path, environment: &BTreeMap<String, String>) -> bool {
    let is_set = |name: &str| {
        environment
            .get(name)
            .is_some_and(|value| !value.is_empty() && value != "0")
    };
    if is_set("CLAUDE_CODE_IGNORE_PERSISTED_TRUST") {
        return false;
    }
    let Some(record) = record(cwd, environment) else {
        return false;
    };
    let is_accepted = |path: &Path| {
        let project = path.to_str().and_then(|path| record.get("projects")?.get(path));
        project.and_then(|project| project.get("hasTrustDialogAccepted")) == Some(&Value::Bool(true))
    };
    let place = Location::of(cwd);
    // A folder above counts, within a repository only as far as its top.
    let end = place.top.as_deref();
    let above = cwd
        .ancestors()
        .take_while(|path| end.is_none_or(|top| path.starts_with(top)));
    is_accepted(&place.root) || above.into_iter().any(is_accepted)
}

/// The CLI's record of what it knows about projects.
fn record(cwd: &Path, environment: &BTreeMap<String, String>) -> Option<Value> {
    let folder = transcript::configuration(environment, cwd)?;
    let beside = match environment.get(transcript::CONFIGURATION) {
        Some(_) => folder.clone(),
        None => folder.parent()?.to_owned(),
    };
    let read = |path: PathBuf| {
        regular::read_at_most(&path, FILE_BYTES_MAX)
            .ok()
            .filter(|text| !text.is_empty())
    };
    // An old place of the same file goes first.
    let text = read(folder.join(".config.json")).or_else(|| read(beside.join(".claude.json")))?;
    serde_json::from_slice(without_mark(&text)).ok()
}

/// The object in a settings file; none where there is no such file or nothing stands in it.
fn read_object(path: &Path) -> io::Result<Option<serde_json::Map<String, Value>>> {
    let text = match regular::read_at_most(path, FILE_BYTES_MAX) {
        Ok(text) => text,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    if text.trim_ascii().is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(without_mark(&text))?))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The text behind a byte order mark.
fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

fn of_file(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut file = regular::open(path)?.take(NAMED_BYTES_MAX);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            length => hash.update(&buffer[..length]),
        }
    }
}

impl Location {
    fn of(cwd: &Path) -> Self {
        let top = cwd
            .ancestors()
            .find(|path| path.join(".git").symlink_metadata().is_ok());
        let root = top.map(|top| main_root(top).unwrap_or_else(|| top.to_owned()));
        Self {
            cwd: cwd.to_owned(),
            top: top.map(Path::to_owned),
            root: root.unwrap_or_else(|| cwd.to_owned()),
        }
    }

    /// The files that the CLI takes its settings from, but for the user's own, each with what it is called.
    fn settings(&self, environment: &BTreeMap<String, String>) -> Vec<(&'static str, PathBuf)> {
        let of_user = transcript::configuration(environment, &self.cwd).map(|folder| folder.join("settings.json"));
        let of_user = of_user.and_then(|path| path.canonicalize().ok());
        let is_of_user = |path: &Path| of_user.is_some() && path.canonicalize().ok() == of_user;
        let shared = self.cwd.join(".claude/settings.json");
        let mut found = Vec::new();
        if !is_of_user(&shared) {
            found.push((".claude/settings.json", shared));
        }
        let local: BTreeSet<&Path> = [Some(self.cwd.as_path()), self.top.as_deref(), Some(&self.root)]
            .into_iter()
            .flatten()
            .collect();
        let local = local
            .into_iter()
            .map(|folder| folder.join(".claude/settings.local.json"));
        found.extend(local.map(|path| (".claude/settings.local.json", path)));
        found.extend(
            self.cwd
                .ancestors()
                .map(|folder| (".mcp.json", folder.join(".mcp.json"))),
        );
        found
    }

    /// The files of the project that a text may name, each by its name there.
    fn named_in(&self, text: &str) -> Vec<(String, PathBuf)> {
        let text = ["${CLAUDE_PROJECT_DIR}", "$CLAUDE_PROJECT_DIR"]
            .iter()
            .fold(text.to_owned(), |text, variable| {
                text.replace(variable, &self.cwd.to_string_lossy())
            });
        // Quotes may stand around a word or inside of one.
        let unquoted = text.replace(['"', '\'', '\\'], "");
        let words = [&*text, &*unquoted].into_iter().flat_map(words).chain([text.as_str()]);
        let places: Vec<&Path> = [Some(self.cwd.as_path()), self.top.as_deref()]
            .into_iter()
            .flatten()
            .collect();
        let file = |word: &str| {
            let path = places.iter().find_map(|place| {
                let path = place.join(word).canonicalize().ok()?;
                (fs::metadata(&path).is_ok_and(|file| file.is_file())).then_some(path)
            })?;
            let within = [self.top.as_deref().unwrap_or(&self.cwd), &self.root];
            let name = within.iter().find_map(|folder| path.strip_prefix(folder).ok())?;
            Some((name.to_string_lossy().into_owned(), path.clone()))
        };
        words.filter_map(file).collect()
    }
}

/// The words of a command, but for files that it writes to: those change with each run.
fn words(command: &str) -> Vec<&str> {
    let is_end = |c: char| c.is_whitespace() || "\"'`;|&()<>=,:".contains(c);
    let mut found = Vec::new();
    let mut is_written_to = false;
    for piece in command.split_inclusive(is_end) {
        let word = piece.trim_end_matches(is_end);
        if !word.is_empty() && !std::mem::take(&mut is_written_to) {
            found.push(word);
        }
        is_written_to |= piece.ends_with('>');
    }
    found
}

/// The root of the main repository whose linked working tree begins at `top`. The main repository has to know the tree:
/// what a directory says by itself makes it nobody else's.
fn main_root(top: &Path) -> Option<PathBuf> {
    let line = |path: &Path| {
        let text = String::from_utf8(regular::read_at_most(path, 8192).ok()?).ok()?;
        Some(text.trim_end_matches(['\n', '\r']).to_owned())
    };
    let marker = top.join(".git");
    let own = top
        .join(line(&marker)?.strip_prefix("gitdir:")?.trim_start())
        .canonicalize()
        .ok()?;
    let common = own.join(line(&own.join("commondir"))?).canonicalize().ok()?;
    let is_known = own.parent() == Some(&common.join("worktrees"))
        && own.join(line(&own.join("gitdir"))?).canonicalize().ok()? == marker.canonicalize().ok()?;
    let root = common
        .parent()
        .filter(|_| common.file_name().is_some_and(|name| name == ".git"));
    root.filter(|_| is_known).map(Path::to_owned)
}

#[cfg(test)]
mod tests;
