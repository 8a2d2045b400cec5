//! Stdout: whole lines, one write each, and the ledger that says which of them are out.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};
use serde_json::Value;

/// Lines of a flood are gathered up to this size and written together.
const BATCH_BYTES: usize = 64 * 1024;

/// The way out for every frame.
pub(super) struct Output {
    ledger: Option<File>,
    /// The line after which the process kills itself.
    fail_at: Option<u64>,
    pid: u32,
    line: u64,
    /// Whole lines that are not yet written, and their entries for the ledger.
    pending: Vec<u8>,
    entries: Vec<u8>,
    /// The reader is gone. As with the CLI that stops the printing, not the work.
    deaf: bool,
}

impl Output {
    pub(super) fn open(ledger: Option<&Path>, fail_at: Option<u64>) -> io::Result<Self> {
        let ledger = ledger
            .map(|path| File::options().append(true).create(true).open(path))
            .transpose()?;
        Ok(Self {
            ledger,
            fail_at,
            pid: std::process::id(),
            line: 0,
            pending: Vec::new(),
            entries: Vec::new(),
            deaf: false,
        })
    }

    /// Writes one frame as one line.
    pub(super) fn frame(&mut self, frame: &Value) {
        let mut line = frame.to_string().into_bytes();
        line.push(b'\n');
        self.line(&line, frame["uuid"].as_str());
        self.flush();
    }

    /// Takes one whole line, its newline included, to be written by `flush` or when a batch is full.
    pub(super) fn line(&mut self, line: &[u8], uuid: Option<&str>) {
        self.line += 1;
        self.pending.extend_from_slice(line);
        self.enter(line, uuid);
        if self.fail_at == Some(self.line) {
            self.flush();
            // Nothing runs after SIGKILL; were it refused, going on is all that is left.
            let _ = kill_process(getpid(), Signal::KILL);
        }
        if self.pending.len() >= BATCH_BYTES {
            self.flush();
        }
    }

    pub(super) fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        self.note_entries();
        if !self.deaf && write_whole(&self.pending).is_err() {
            self.deaf = true;
        }
        self.pending.clear();
        self.pending.shrink_to(BATCH_BYTES);
        if self.ledger.is_some() {
            self.entries = format!("written {} {}\n", self.pid, self.line).into_bytes();
            self.note_entries();
        }
    }

    fn enter(&mut self, line: &[u8], uuid: Option<&str>) {
        if self.ledger.is_none() {
            return;
        }
        let bytes = line.len();
        let (pid, number) = (self.pid, self.line);
        // Writing to a Vec cannot fail.
        let _ = match uuid {
            Some(uuid) => writeln!(self.entries, "begin {pid} {number} {uuid} {bytes}"),
            None => writeln!(
                self.entries,
                "begin {pid} {number} fnv1a:{:016x} {bytes}",
                fnv1a(trimmed(line))
            ),
        };
    }

    fn note_entries(&mut self) {
        let Some(ledger) = &mut self.ledger else { return };
        if let Err(error) = ledger.write_all(&self.entries) {
            eprintln!("failed to write the simulator's ledger: {error}");
            std::process::exit(1);
        }
        self.entries.clear();
    }
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// 64-bit FNV-1a, which a test can repeat in three lines.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// As few writes as the file takes: std's own stdout would divide a line at its buffer's end.
fn write_whole(mut bytes: &[u8]) -> io::Result<()> {
    let stdout: BorrowedFd<'_> = rustix::stdio::stdout();
    while !bytes.is_empty() {
        match rustix::io::write(stdout, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_writable(stdout)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn wait_writable(stdout: BorrowedFd<'_>) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], None)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_the_ledger_is_fnv1a() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
