//! The agent's stdin: lines written whole or not at all, because half a line kills an agent.
//!
//! The FIFO is grown to hold the line, and one non-blocking `write` is made when it is empty. The kernel copies such a
//! write under the pipe's lock without ever sleeping for room, so a reader sees all of it or nothing, and a host that
//! is killed meanwhile has written all of it or nothing. (Should the kernel itself run out of memory in the middle of
//! a copy, the rest is written first of all, before any other line.)
//!
//! The FIFO is grown only for a line that needs it: what a user's pipes may hold together is limited
//! (`/proc/sys/fs/pipe-user-pages-soft`), and almost every line fits the size that a pipe is born with.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::ioctl_fionread;
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};

use super::protocol::{FromHost, LINE_BYTES_MAX};

/// How many lines wait at most for the agent to read the one before.
const QUEUE_LINES_MAX: usize = 256;

/// The host's end of the FIFO, and the lines that wait.
pub(super) struct Stdin {
    /// Or why there is none.
    pipe: Result<File, String>,
    queue: VecDeque<WaitingLine>,
}

/// One line that waits, newline included.
struct WaitingLine {
    id: u64,
    bytes: Vec<u8>,
    /// How much of it stands in the pipe: 0, but for a write that the kernel cut.
    written: usize,
}

/// How a try to write the first line of the queue went.
enum Try {
    Done,
    NotNow,
    Refused(String),
}

impl Stdin {
    /// Opens the writing end only, so that writing to an agent that has closed its own is an error.
    pub(super) fn open(path: &Path) -> Self {
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let pipe = OpenOptions::new().write(true).custom_flags(flags).open(path);
        Self {
            pipe: pipe.map_err(|error| format!("the agent's stdin is closed: {error}")),
            queue: VecDeque::new(),
        }
    }

    /// The stdin of an agent that has ended.
    pub(super) fn closed() -> Self {
        Self {
            pipe: Err("the agent has ended".to_owned()),
            queue: VecDeque::new(),
        }
    }

    /// Takes a line to be written after those that wait, or refuses it.
    pub(super) fn push(&mut self, id: u64, line: String) -> Result<(), FromHost> {
        let refused = |error: String| Err(FromHost::Refused { id, error });
        if let Err(error) = &self.pipe {
            return refused(error.clone());
        }
        if line.contains('\n') {
            return refused("a line cannot hold a newline: send one line at a time".to_owned());
        }
        if line.len() >= LINE_BYTES_MAX {
            return refused(too_long(line.len(), LINE_BYTES_MAX));
        }
        if self.queue.len() >= QUEUE_LINES_MAX {
            return refused(format!(
                "{QUEUE_LINES_MAX} lines wait already: the agent does not read its stdin"
            ));
        }
        let mut bytes = line.into_bytes();
        bytes.push(b'\n');
        self.queue.push_back(WaitingLine { id, bytes, written: 0 });
        Ok(())
    }

    /// Writes as many lines as can be written now, and answers for each of them.
    pub(super) fn advance(&mut self) -> Vec<FromHost> {
        let mut answers = Vec::new();
        while let (Some(line), Ok(pipe)) = (self.queue.front_mut(), &mut self.pipe) {
            let id = line.id;
            match try_write(pipe, line) {
                Try::Done => answers.push(FromHost::Written { id }),
                Try::Refused(error) => answers.push(FromHost::Refused { id, error }),
                Try::NotNow => break,
            }
            self.queue.pop_front();
        }
        answers
    }

    /// Whether lines wait for the agent to read.
    pub(super) fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The agent has ended: refuses what waits, and everything from now on.
    pub(super) fn close(&mut self) -> Vec<FromHost> {
        let waiting = std::mem::replace(self, Self::closed()).queue;
        waiting
            .into_iter()
            .map(|line| FromHost::Refused {
                id: line.id,
                error: "the agent has ended".to_owned(),
            })
            .collect()
    }
}

fn try_write(pipe: &mut File, line: &mut WaitingLine) -> Try {
    if line.written == 0 {
        match ioctl_fionread(&*pipe) {
            Ok(0) => {}
            Ok(_) => return Try::NotNow,
            Err(error) => return Try::Refused(format!("cannot ask the agent's stdin whether it is empty: {error}")),
        }
        if let Err(error) = make_room(pipe, line.bytes.len()) {
            return Try::Refused(error);
        }
    }
    match pipe.write(&line.bytes[line.written..]) {
        Ok(written) => line.written += written,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Try::NotNow,
        Err(error) => return Try::Refused(format!("the agent does not take its stdin: {error}")),
    }
    if line.written == line.bytes.len() {
        Try::Done
    } else {
        Try::NotNow
    }
}

/// Grows an empty pipe to hold a line.
fn make_room(pipe: &File, bytes: usize) -> Result<(), String> {
    let has =
        fcntl_getpipe_size(pipe).map_err(|error| format!("cannot ask for the size of the agent's stdin: {error}"))?;
    if has >= bytes {
        return Ok(());
    }
    match fcntl_setpipe_size(pipe, bytes) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "{} (growing the pipe: {})",
            too_long(bytes - 1, has),
            io::Error::from(error)
        )),
    }
}

fn too_long(bytes: usize, bytes_max: usize) -> String {
    let most = bytes_max - 1;
    format!(
        "the line is {bytes} bytes long and at most {most} can be written at once: put the text in a file and name it"
    )
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    /// A FIFO with its reading end held by the test.
    fn fifo() -> (tempfile::TempDir, File, Stdin) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stdin");
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        let agent = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let stdin = Stdin::open(&path);
        (directory, agent, stdin)
    }

    fn ids(answers: &[FromHost]) -> Vec<u64> {
        let id = |answer: &FromHost| match answer {
            FromHost::Written { id } => *id,
            other => panic!("not written: {other:?}"),
        };
        answers.iter().map(id).collect()
    }

    #[test]
    fn a_line_waits_until_the_one_before_is_read() {
        let (_directory, mut agent, mut stdin) = fifo();
        stdin.push(1, "one".to_owned()).unwrap();
        stdin.push(2, "two".to_owned()).unwrap();
        assert_eq!(ids(&stdin.advance()), [1]);
        assert!(stdin.advance().is_empty() && stdin.is_waiting());
        let mut read = [0; 64];
        assert_eq!(agent.read(&mut read).unwrap(), 4);
        assert_eq!(ids(&stdin.advance()), [2]);
        assert_eq!(agent.read(&mut read).unwrap(), 4);
        assert_eq!(&read[..4], b"two\n");
    }

    #[test]
    fn the_longest_line_is_taken_in_one_piece_and_a_longer_one_not_at_all() {
        let (_directory, agent, mut stdin) = fifo();
        stdin.push(1, "x".repeat(LINE_BYTES_MAX - 1)).unwrap();
        assert_eq!(ids(&stdin.advance()), [1]);
        assert_eq!(ioctl_fionread(&agent).unwrap(), LINE_BYTES_MAX as u64);
        assert!(stdin.push(2, "x".repeat(LINE_BYTES_MAX)).is_err());
    }

    #[test]
    fn a_full_queue_refuses_and_so_does_a_line_that_is_two() {
        let (_directory, _agent, mut stdin) = fifo();
        for id in 0..QUEUE_LINES_MAX as u64 {
            stdin.push(id, "waits".to_owned()).unwrap();
        }
        assert!(matches!(
            stdin.push(999, "more".to_owned()),
            Err(FromHost::Refused { id: 999, .. })
        ));
        let (_directory, _agent, mut stdin) = fifo();
        assert!(stdin.push(1, "a\nb".to_owned()).is_err());
    }

    #[test]
    fn what_waits_is_refused_when_the_agent_ends_and_so_is_what_comes_later() {
        let (_directory, _agent, mut stdin) = fifo();
        stdin.push(1, "one".to_owned()).unwrap();
        assert!(matches!(stdin.close()[..], [FromHost::Refused { id: 1, .. }]));
        assert!(stdin.push(2, "two".to_owned()).is_err());
    }

    #[test]
    fn a_stdin_that_nobody_reads_any_more_refuses() {
        let (_directory, agent, mut stdin) = fifo();
        drop(agent);
        stdin.push(1, "one".to_owned()).unwrap();
        assert!(matches!(stdin.advance()[..], [FromHost::Refused { id: 1, .. }]));
    }
}
