//! The terminal: text above, one status line below; or plain text into a pipe.
//!
//! While the status line is there, the last line of the text, when it has no line break yet, is drawn as part of it,
//! and printed for good once it is complete.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::session::visible;
use console::Term;
use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// How often the status line is drawn anew by itself.
const TICK: Duration = Duration::from_millis(250);

/// How many rows of an unfinished line are shown.
const OPEN_ROWS_MAX: usize = 3;

/// Where a followed session is shown.
pub(crate) struct Screen {
    /// The status line; none when standard error is no terminal.
    bar: Option<ProgressBar>,
    /// Standard output is a terminal too, so that text must make way for the status line.
    shares_terminal: bool,
    /// The unfinished last line of the text, when it is drawn with the status line.
    open_line: String,
    /// Text that waits while somebody is asked at the terminal.
    held: Option<String>,
    /// What the status line says, and since when its clock runs.
    status: String,
    began: Instant,
    /// There is a status line where standard error is a terminal.
    has_status: bool,
    /// Held for what its end does.
    _echo: Option<EchoOfKeys>,
}

/// The terminal as it was, with the echo of control keys turned off meanwhile: a `^C` in the status line, which reaches
/// to the edge, would begin another line, and leave the one above where it stands.
struct EchoOfKeys(Termios);

impl EchoOfKeys {
    /// Turns it off, where the terminal is ours to change: a process in the background would be stopped for that.
    fn off() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok().filter(|_| is_in_foreground())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHOCTL);
        tcsetattr(io::stdin(), OptionalActions::Now, &quiet).ok()?;
        Some(Self(before))
    }
}

impl Drop for EchoOfKeys {
    fn drop(&mut self) {
        if is_in_foreground() {
            // Nobody to tell when the terminal is gone.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
        }
    }
}

fn is_in_foreground() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
}

impl Screen {
    /// The screen of this process; `elapsed` is what the status line's clock begins with.
    pub(crate) fn new(elapsed: Duration) -> Self {
        let now = Instant::now();
        let bar = io::stderr().is_terminal().then(|| new_bar(elapsed, ""));
        let echo = bar.as_ref().and_then(|_| EchoOfKeys::off());
        Self {
            bar,
            shares_terminal: io::stdout().is_terminal(),
            open_line: String::new(),
            held: None,
            status: String::new(),
            began: now.checked_sub(elapsed).unwrap_or(now),
            has_status: true,
            _echo: echo,
        }
    }

    /// A screen that has no status line.
    pub(crate) fn without_status() -> Self {
        Self {
            bar: None,
            shares_terminal: false,
            open_line: String::new(),
            held: None,
            status: String::new(),
            began: Instant::now(),
            has_status: false,
            _echo: None,
        }
    }

    /// Prints text, which need not end with a line.
    pub(crate) fn write(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        if let Some(held) = &mut self.held {
            held.push_str(text);
            return Ok(());
        }
        let Some(bar) = self.bar.as_ref().filter(|_| self.shares_terminal) else {
            return print_styled(text);
        };
        self.open_line.push_str(text);
        let complete = self.open_line.rfind('\n').map_or(0, |end| end + 1);
        let lines: String = self.open_line.drain(..complete).collect();
        bar.set_prefix(tail_of_line(&self.open_line));
        if lines.is_empty() {
            Ok(())
        } else {
            bar.suspend(|| print_styled(&lines))
        }
    }

    /// Says something about the session, beside its text.
    pub(crate) fn note(&mut self, note: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprint(note)),
            None => eprint(note),
        }
    }

    /// Changes the status line.
    pub(crate) fn set_status(&mut self, status: &str) {
        status.clone_into(&mut self.status);
        if let Some(bar) = &self.bar {
            bar.set_message(status.to_owned());
        }
    }

    /// Leaves the terminal to a prompt: text waits until [`Screen::release`].
    pub(crate) fn hold(&mut self) -> io::Result<()> {
        self.finish_open_line()?;
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.held.get_or_insert_default();
        Ok(())
    }

    /// Takes the terminal back.
    pub(crate) fn release(&mut self) -> io::Result<()> {
        let Some(held) = self.held.take() else {
            return Ok(());
        };
        if self.has_status && io::stderr().is_terminal() {
            self.bar = Some(new_bar(self.began.elapsed(), &self.status));
        }
        self.write(&held)
    }

    /// Takes the status line away.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.release()?;
        self.finish_open_line()?;
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        Ok(())
    }

    fn finish_open_line(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.open_line);
        let Some(bar) = &self.bar else { return Ok(()) };
        bar.set_prefix("");
        // Clearing first: what is printed must stand where the status line stood.
        bar.suspend(|| {
            if line.is_empty() {
                Ok(())
            } else {
                print_styled(&(line + "\n"))
            }
        })
    }
}

/// Writes text to standard output. What is hidden in it is made visible: this is the way of all text to a terminal.
pub(crate) fn print(text: &str) -> io::Result<()> {
    print_styled(&visible::guard(text))
}

/// Writes JSON to standard output: to a terminal with escapes for what is hidden in it, elsewhere as it is.
pub(crate) fn print_json(json: &str) -> io::Result<()> {
    print_styled(&json_for_stdout(json))
}

/// JSON as standard output takes it.
pub(crate) fn json_for_stdout(json: &str) -> Cow<'_, str> {
    match io::stdout().is_terminal() {
        true => visible::json(json),
        false => Cow::Borrowed(json),
    }
}

/// Writes text to standard output that was made visible before it was given colours. A reader that went away is an
/// error, not a panic.
fn print_styled(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes a line to standard error, what is hidden in it made visible; there is nobody to tell when that fails.
pub(crate) fn eprint(line: &str) {
    let mut stderr = io::stderr().lock();
    let _ = writeln!(stderr, "{}", visible::guard(line));
}

fn new_bar(elapsed: Duration, status: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix}{spinner:.dim} {elapsed:.dim} · {msg:.dim}");
    let bar = ProgressBar::new_spinner().with_elapsed(elapsed);
    if let Ok(style) = style {
        bar.set_style(style.tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
    }
    bar.set_message(status.to_owned());
    bar.enable_steady_tick(TICK);
    bar
}

/// The end of an unfinished line, with its line break, that fits into a few rows.
fn tail_of_line(line: &str) -> String {
    if line.is_empty() {
        return String::new();
    }
    let columns = usize::from(Term::stderr().size().1).max(20);
    let chars_max = columns.saturating_mul(OPEN_ROWS_MAX) - 1;
    let skipped = line.chars().count().saturating_sub(chars_max);
    let mut tail: String = line.chars().skip(skipped).collect();
    tail.push('\n');
    tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_line_never_fills_the_screen() {
        assert_eq!(tail_of_line(""), "");
        assert_eq!(tail_of_line("abc"), "abc\n");
        let tail = tail_of_line(&"x".repeat(1_000_000));
        assert!(tail.len() < 10_000 && tail.ends_with("x\n"));
    }
}
