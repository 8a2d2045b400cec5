//! The chain of the audit log. Each line ends with a seal of the server's key over the line and the seal before it, and a
//! file beside the log has the last seal. So whoever has not the key cannot change, insert, drop or reorder a line unseen.
//! Who reads the key, which this machine's user can, seals anew what he likes.
//!
//! Lines of versions that sealed none stand before the first that is sealed, and are taken as they are.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use serde::Deserialize;

use super::key::ServerKey;
use crate::disk::regular;

/// What a line is sealed for.
const LINE: &str = "audit line";

/// What the end of the log is sealed for.
const HEAD: &str = "audit head";

/// Stands before the seal in a line.
const SEAL_FIELD: &str = ",\"seal\":\"";

/// Hexadecimal digits of a seal.
const SEAL_DIGITS: usize = 64;

/// The seal before the first.
const NO_SEAL: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The chain, to be gone on with.
pub(super) struct Chain {
    key: ServerKey,
    head: File,
    /// The number of the next line.
    next: u64,
    /// The seal of the last line.
    last: String,
}

/// The last line that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LastLine {
    pub(super) n: u64,
    pub(super) line: String,
}

/// What a line says of its place.
#[derive(Deserialize)]
struct Linkage {
    n: u64,
    /// The seal of the last line of the file before; in the first line of a file.
    after: Option<String>,
}

impl Chain {
    /// Goes on behind the `last` line. A chain whose end is not where it was goes on so that it shows.
    pub(super) fn open(path: &Path, key: ServerKey, is_new: bool, last: Option<&LastLine>) -> io::Result<Self> {
        let n = last.map_or(0, |last| last.n);
        let (next, seal) = match read_head(path, &key)? {
            _ if is_new => (n + 1, NO_SEAL.to_owned()),
            None => (n + 2, NO_SEAL.to_owned()),
            Some((at, seal)) => match last.and_then(|last| sealed(&last.line)) {
                // We were killed between the line and the head.
                Some((body, own)) if n == at + 1 && key.has_sealed(LINE, &[&seal, body], own) => {
                    (n + 1, own.to_owned())
                }
                Some(_) | None => (n.max(at) + 1, seal),
            },
        };
        let mut head = OpenOptions::new();
        let head = head.create(true).truncate(false).write(true).mode(0o600).open(path)?;
        let mut chain = Self {
            key,
            head,
            next,
            last: seal,
        };
        chain.keep()?;
        Ok(chain)
    }

    /// The number of the next line.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Returns an object of JSON with its seal; the first of a file also names the seal before it.
    pub(super) fn seal(&self, object: &str, is_first: bool) -> (String, String) {
        let mut body = object.strip_suffix('}').unwrap_or(object).to_owned();
        if is_first {
            body = format!("{body},\"after\":\"{}\"", self.last);
        }
        let seal = self.key.seal(LINE, &[&self.last, &body]);
        (format!("{body}{SEAL_FIELD}{seal}\"}}\n"), seal)
    }

    /// The line with this seal is written.
    pub(super) fn advance(&mut self, seal: String) -> io::Result<()> {
        self.last = seal;
        self.next += 1;
        self.keep()
    }

    /// In place: the file has the same length whatever it says.
    fn keep(&mut self) -> io::Result<()> {
        let n = format!("{:020}", self.next - 1);
        let seal = self.key.seal(HEAD, &[&n, &self.last]);
        self.head
            .write_all_at(format!("{n} {} {seal}\n", self.last).as_bytes(), 0)?;
        self.head.flush()
    }
}

/// Reads where the log ended: the number and the seal of its last line. None if there is nothing that the key has sealed.
fn read_head(path: &Path, key: &ServerKey) -> io::Result<Option<(u64, String)>> {
    let Some(bytes) = regular::if_there(regular::read(path))? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes);
    let words: Vec<&str> = text.split_whitespace().collect();
    let [n, last, seal] = words[..] else { return Ok(None) };
    let is_ours = key.has_sealed(HEAD, &[n, last], seal);
    Ok(n.parse().ok().filter(|_| is_ours).map(|n| (n, last.to_owned())))
}

/// The parts of a line with a seal: what is sealed, and the seal.
fn sealed(line: &str) -> Option<(&str, &str)> {
    let (rest, seal) = line.strip_suffix("\"}")?.rsplit_once(SEAL_FIELD)?;
    (seal.len() == SEAL_DIGITS).then_some((rest, seal))
}

/// Says how the log in these files stands, the older first; errors with what is wrong with it.
pub(super) fn verify(files: [&Path; 2], head: &Path, key: &ServerKey) -> io::Result<Result<String, String>> {
    // Before the lines: those of a daemon that runs may grow meanwhile.
    let Some((end, end_seal)) = read_head(head, key)? else {
        let told = format!("{} is missing or was changed, so lines may be missing", head.display());
        return Ok(Err(told));
    };
    let mut walk = Walk {
        key,
        end,
        end_seal: &end_seal,
        at: None,
        seen: 0,
        unsealed: 0,
        sealed: 0,
    };
    for (is_oldest, path) in [(true, files[0]), (false, files[1])] {
        let bytes = regular::if_there(regular::read(path))?.unwrap_or_default();
        for line in String::from_utf8_lossy(&bytes).lines() {
            if let Err(why) = walk.step(line, is_oldest) {
                return Ok(Err(format!("{}: {why}", path.display())));
            }
        }
    }
    Ok(walk.finish())
}

/// A walk along the lines.
struct Walk<'a> {
    key: &'a ServerKey,
    /// The number and seal of the last line, as the head has them.
    end: u64,
    end_seal: &'a str,
    /// The number and seal of the sealed line before.
    at: Option<(u64, String)>,
    /// The number of the line before, sealed or not.
    seen: u64,
    unsealed: u64,
    sealed: u64,
}

impl Walk<'_> {
    fn step(&mut self, line: &str, is_oldest: bool) -> Result<(), String> {
        // A line that a crash cut off was never sealed, and nothing is missing with it.
        let Ok(place) = serde_json::from_str::<Linkage>(line) else {
            return Ok(());
        };
        let Some((body, seal)) = sealed(line) else {
            (self.unsealed, self.seen) = (self.unsealed + 1, place.n);
            return match self.at {
                None => Ok(()),
                Some(_) => Err(format!("line {} is not sealed", place.n)),
            };
        };
        let expected = self.seen + 1;
        let before = match (&self.at, place.after.as_deref()) {
            (Some((_, seal)), _) if place.n == expected => seal,
            // What stood before the oldest file is gone, as it is meant to be.
            (None, Some(after)) if is_oldest && self.unsealed == 0 => after,
            // The first line that was ever sealed, in a file of its own or behind lines of an older version.
            (None, Some(NO_SEAL) | None) if place.n == expected => NO_SEAL,
            (Some(_) | None, _) => return Err(missing(expected, place.n)),
        };
        if !self.key.has_sealed(LINE, &[before, body], seal) {
            return Err(format!("line {} was changed, or lines before it are missing", place.n));
        }
        if place.n == self.end && seal != self.end_seal {
            return Err(format!("line {} is not the one that was written", place.n));
        }
        (self.sealed, self.seen) = (self.sealed + 1, place.n);
        self.at = Some((place.n, seal.to_owned()));
        Ok(())
    }

    fn finish(self) -> Result<String, String> {
        if self.seen < self.end {
            return Err(missing(self.seen + 1, self.end + 1));
        }
        if self.at.is_none() && self.end_seal != NO_SEAL {
            return Err("no line is sealed any more".to_owned());
        }
        let before = match self.unsealed {
            0 => String::new(),
            n => format!(", after {n} of an older version"),
        };
        Ok(format!("{} sealed lines{before}", self.sealed))
    }
}

/// Says which lines are missing before the line `next`.
fn missing(from: u64, next: u64) -> String {
    match next.saturating_sub(from) {
        0 | 1 => format!("line {from} is missing"),
        _ => format!("lines {from} to {} are missing", next - 1),
    }
}
