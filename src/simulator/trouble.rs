//! Steps in which something goes wrong, and those by which a test holds the simulator at a place.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::children;
use super::frames::{self, Ending};
use super::script::{Act, Crash, CrashPlace, Death};
use super::session::{Cut, Simulator};
use super::transcript::Record;
use super::turn::Turn;

/// How often an awaited file is looked for: at first, and at most.
const FILE_POLL: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// While a usage limit is waited for, the CLI says so this often.
const LIMIT_RETRY: Duration = Duration::from_secs(30);

/// The CLI's own back-off and its number of tries, without and with CLAUDE_CODE_RETRY_WATCHDOG.
const RETRY_FIRST_MS: u64 = 600;
const RETRY_LAST_MS: u64 = 36_000;
const RETRIES: u64 = 10;
const RETRIES_WATCHDOG: u64 = 300;

impl Simulator {
    /// A step that takes no time. One that fails says so on stderr and is done.
    pub(super) fn act(&mut self, turn: &mut Turn, act: &Act) {
        let done = match act {
            Act::Touch(path) => std::fs::File::create(path).map(drop),
            Act::Leave(command) => children::leave(command, &self.session),
            Act::Stderr(text) => {
                eprintln!("{text}");
                Ok(())
            }
            Act::Garbage => {
                self.output.line(b"{\"type\":\"assistant\",\"mess age\n", None);
                self.output.flush();
                Ok(())
            }
            Act::Unknown => {
                self.send(json!({"type": "of_a_later_version", "detail": {"nested": [1, 2, 3]}}));
                Ok(())
            }
            Act::Linger => {
                self.linger.past_sigterm();
                Ok(())
            }
            Act::LingerTerm => {
                self.linger.past_end_session();
                Ok(())
            }
            Act::Crash(crash) => {
                self.crash(turn, crash);
                Ok(())
            }
        };
        if let Err(error) = done {
            eprintln!("failed to {act:?}: {error}");
        }
    }

    pub(super) fn wait_file(&mut self, path: &Path) -> Result<(), Cut> {
        let (mut pause, longest) = FILE_POLL;
        while !path.exists() {
            self.listen_once(Some(pause))?;
            pause = (pause * 2).min(longest);
        }
        Ok(())
    }

    fn crash(&mut self, turn: &mut Turn, crash: &Crash) {
        if crash.once && self.transcript.crashed_before(&turn.script, turn.step) {
            return;
        }
        match crash.place {
            CrashPlace::BetweenSteps => {}
            CrashPlace::MidText => self.begin_text(turn),
            CrashPlace::MidTool => drop(self.open_tool(turn, "Bash", &json!({"command": "true"}))),
            CrashPlace::Unsaved => self.transcript.forget(),
        }
        match crash.by {
            Death::Signal(signal) => children::die_by(signal),
            Death::Code(code) => std::process::exit(code),
        }
    }

    pub(super) fn api_retry(&mut self, count: u64, apart: Duration) -> Result<(), Cut> {
        for attempt in 1..=count {
            self.send(frames::api_retry(
                attempt,
                self.retries_max(),
                whole_ms(apart),
                Some(500),
                "server_error",
            ));
            self.listen_until(Some(Instant::now() + apart))?;
        }
        Ok(())
    }

    pub(super) fn not_signed_in(&mut self) -> Result<(), Cut> {
        let mut delay_ms = RETRY_FIRST_MS;
        for attempt in 1..=RETRIES {
            self.send(frames::api_retry(
                attempt,
                self.retries_max(),
                delay_ms,
                Some(401),
                "authentication_failed",
            ));
            self.listen_until(Some(Instant::now() + Duration::from_millis(delay_ms)))?;
            delay_ms = (delay_ms * 2).min(RETRY_LAST_MS);
        }
        let text = "Please run /login · API Error: 401 authentication_error".to_owned();
        Err(Cut::ended(Ending::api_error(text, Some(401), "authentication_failed")))
    }

    /// The limit's end is kept in the transcript, so that a later process waits for the same one.
    pub(super) fn usage_limit(&mut self, turn: &mut Turn, time: Duration) -> Result<(), Cut> {
        let resets_at = turn
            .resets_at
            .unwrap_or_else(|| now().saturating_add(time).as_secs() + 1);
        if until(resets_at).is_zero() {
            return Ok(());
        }
        self.transcript.append(
            "simulator",
            None,
            &Record::ResetsAt { seconds: resets_at },
            &Value::Null,
        );
        self.send(frames::rate_limit(resets_at));
        if !self.environment.retry_watchdog {
            let text = format!("You've hit your 5-hour limit · resets at {resets_at}");
            return Err(Cut::ended(Ending::usage_limit(text)));
        }
        for attempt in 1.. {
            let left = until(resets_at);
            if left.is_zero() {
                break;
            }
            self.send(frames::api_retry(
                attempt,
                RETRIES_WATCHDOG,
                whole_ms(left),
                Some(429),
                "rate_limit",
            ));
            self.listen_until(Some(Instant::now() + left.min(LIMIT_RETRY)))?;
        }
        Ok(())
    }

    fn retries_max(&self) -> u64 {
        if self.environment.retry_watchdog {
            RETRIES_WATCHDOG
        } else {
            RETRIES
        }
    }
}

fn now() -> Duration {
    // A clock before 1970 is as good as no limit.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn until(seconds: u64) -> Duration {
    Duration::from_secs(seconds).saturating_sub(now())
}

fn whole_ms(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}
