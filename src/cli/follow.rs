//! Follows a session's stream to its end, through daemons that go away and come back.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::LocalBoxStream;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::Client;
use super::exit::Failure;
use super::screen::eprint;
use super::sse::{Parser, SseEvent};
use super::view::{WireDelta, WireRecord};

/// A stream without a byte for so long is dead: the daemon writes a comment every 15 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The first wait before the daemon is looked for again; it doubles.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(100);

/// The longest such wait.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(2);

/// What a person is told when the daemon is gone. One that was killed is started again by nobody but its service.
pub(crate) const DAEMON_GONE: &str =
    "the daemon is gone, waiting for it (the session is not lost; `cc-executor serve` starts a daemon)";

/// What a person is told when it is back.
pub(crate) const DAEMON_BACK: &str = "the daemon is back";

/// What a follower learns.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A stream begins.
    Hello(Hello),
    /// A record, once and in order; with the line as the daemon wrote it.
    Record(WireRecord, String),
    /// Partial text.
    Delta(WireDelta),
    /// The daemon is gone; it is waited for.
    DaemonGone,
    /// The daemon is back.
    DaemonBack,
}

/// How a stream begins.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Hello {
    /// `gap` where our cursor is of another journal and everything is sent from the beginning.
    pub(crate) resume: String,
    /// The last record when the stream began.
    pub(crate) head: u64,
}

/// One followed session.
pub(crate) struct Follow {
    client: Client,
    id: String,
    /// The last record that was seen.
    after: u64,
    body: Option<LocalBoxStream<'static, Result<Bytes, awc::error::PayloadError>>>,
    parser: Parser,
    events: VecDeque<SseEvent>,
    /// The last record that was seen is the session's end.
    saw_end: bool,
    was_open: bool,
    is_gone: bool,
    retry_delay: Duration,
    /// Records that came although they had been seen.
    repeats: usize,
}

impl Follow {
    /// Follows this session from behind the record `after`.
    pub(crate) fn new(client: Client, id: String, after: u64) -> Self {
        Self {
            client,
            id,
            after,
            body: None,
            parser: Parser::default(),
            events: VecDeque::new(),
            saw_end: false,
            was_open: false,
            is_gone: false,
            retry_delay: RETRY_DELAY_MIN,
            repeats: 0,
        }
    }

    /// The daemon that is followed.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the daemon is gone and waited for.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// The session as it is, in the daemon's words. A daemon that is gone is waited for, which is said on standard error.
    pub(crate) async fn session(&mut self) -> Result<Box<RawValue>, Failure> {
        loop {
            if !self.is_gone || self.client.find_again().is_ok() {
                match self.client.get_raw(&self.id).await {
                    Ok(raw) => {
                        if std::mem::take(&mut self.is_gone) {
                            eprint(DAEMON_BACK);
                        }
                        return Ok(raw);
                    }
                    Err(failure @ Failure::UnknownId(_)) => return Err(failure),
                    Err(_) if self.is_gone => {}
                    Err(_) => {
                        self.is_gone = true;
                        eprint(DAEMON_GONE);
                    }
                }
            }
            self.rest().await;
        }
    }

    /// How many records came although they had been seen; they are not handed out again.
    pub(crate) fn repeats(&self) -> usize {
        self.repeats
    }

    /// What happens next; none at the session's end. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Happening>, Failure> {
        loop {
            while let Some(event) = self.events.pop_front() {
                if let Some(happening) = self.take(&event)? {
                    return Ok(Some(happening));
                }
            }
            if self.body.is_some() {
                self.read().await?;
                continue;
            }
            if self.saw_end || (self.was_open && !self.is_gone && self.is_over().await?) {
                return Ok(None);
            }
            if let Some(happening) = self.open().await? {
                return Ok(Some(happening));
            }
        }
    }

    /// Reads the next chunk; where there is none, the stream is closed.
    async fn read(&mut self) -> Result<(), Failure> {
        let Some(body) = &mut self.body else { return Ok(()) };
        match tokio::time::timeout(SILENCE_MAX, body.next()).await {
            Ok(Some(Ok(chunk))) => {
                let events = self
                    .parser
                    .push(&chunk)
                    .map_err(|error| Failure::Failed(error.to_string()))?;
                self.events.extend(events);
            }
            Ok(None | Some(Err(_))) | Err(_) => {
                self.body = None;
                self.parser = Parser::default();
            }
        }
        Ok(())
    }

    /// Whether a stream that closed had nothing more to say. A daemon that does not answer says nothing about it.
    async fn is_over(&self) -> Result<bool, Failure> {
        match self.client.view(&self.id).await {
            Ok(view) => Ok(view.has_ended() && view.head <= self.after),
            Err(Failure::UnknownId(message)) => Err(Failure::UnknownId(message)),
            Err(_) => Ok(false),
        }
    }

    /// Opens the stream, or says that the daemon is gone, or waits before the next try.
    async fn open(&mut self) -> Result<Option<Happening>, Failure> {
        if self.was_open || self.is_gone {
            self.rest().await;
        }
        if self.is_gone && self.client.find_again().is_err() {
            return Ok(None);
        }
        match self.client.open_stream(&self.id, self.after).await {
            Ok(answer) => {
                self.body = Some(answer.boxed_local());
                self.was_open = true;
                Ok(std::mem::take(&mut self.is_gone).then_some(Happening::DaemonBack))
            }
            Err(failure @ Failure::UnknownId(_)) => Err(failure),
            Err(_) if self.is_gone => Ok(None),
            Err(failure @ (Failure::Refused(_) | Failure::Usage(_))) if !self.was_open => Err(failure),
            Err(_) => {
                self.is_gone = true;
                Ok(Some(Happening::DaemonGone))
            }
        }
    }

    /// Waits before the next try.
    async fn rest(&mut self) {
        tokio::time::sleep(self.retry_delay).await;
        self.retry_delay = (self.retry_delay * 2).min(RETRY_DELAY_MAX);
    }

    fn take(&mut self, event: &SseEvent) -> Result<Option<Happening>, Failure> {
        match event.name.as_str() {
            "hello" => {
                let hello: Hello = read(&event.data)?;
                if hello.resume == "gap" {
                    self.after = 0;
                }
                Ok(Some(Happening::Hello(hello)))
            }
            "delta" => Ok(Some(Happening::Delta(read(&event.data)?))),
            _ => self.take_record(&event.data),
        }
    }

    fn take_record(&mut self, line: &str) -> Result<Option<Happening>, Failure> {
        let record: WireRecord = read(line)?;
        if record.seq <= self.after {
            self.repeats += 1;
            return Ok(None);
        }
        self.after = record.seq;
        self.retry_delay = RETRY_DELAY_MIN;
        self.saw_end = record.kind == "session.ended";
        Ok(Some(Happening::Record(record, line.to_owned())))
    }
}

fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, Failure> {
    serde_json::from_str(json).map_err(|error| {
        Failure::Failed(format!(
            "the stream cannot be read ({error}): is the daemon of another version?"
        ))
    })
}
