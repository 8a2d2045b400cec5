//! Traces for an OpenTelemetry collector: one trace a session, whose id is the session's own, so that it goes on over
//! restarts of the daemon.
//!
//! Spans are made from what is committed, when it is over: the session, its waits in the queue, its attempts, and in
//! these its tool calls, its questions and its waits for the API. They carry names, ids and figures, never what was
//! said. Names of attributes are those of OpenTelemetry's conventions for generative AI where there is one.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor};
use sha2::{Digest, Sha256};

use crate::session::amounts::money;
use crate::session::id::{Attempt, QuestionId, SessionId};
use crate::session::journal::{AttemptEnd, Entry, SessionEnd};
use crate::session::message::Message;
use crate::session::outcome::{Ending, Outcome};
use crate::session::state::StateName;
use crate::session::summary::{Summary, WaitingFor};
use crate::store::{Commit, Observer, Store, StoreError, lock};

/// How long the collector may take to answer.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the daemon's end waits for the last spans.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// The most tool calls of a session that are remembered while they are open.
const OPEN_TOOLS_MAX: usize = 256;

/// Makes spans of what is committed.
pub struct Traces {
    /// Sends spans in batches, on a thread of its own; drops them where the collector does not keep up.
    processor: Box<dyn SpanProcessor>,
    sessions: Mutex<HashMap<SessionId, OpenSpans>>,
}

/// What has begun in a session and is not over.
#[derive(Default)]
struct OpenSpans {
    /// When it was asked for, or resumed by hand.
    since: Timestamp,
    is_resumed: bool,
    queued: Option<Timestamp>,
    attempt: Option<(Attempt, Timestamp)>,
    tools: HashMap<String, Tool>,
    questions: BTreeMap<QuestionId, Timestamp>,
    waiting: Option<(WaitingFor, Timestamp)>,
}

struct Tool {
    name: String,
    since: Timestamp,
}

/// One span before it has its ids.
struct PendingSpan {
    id: SpanId,
    parent: SpanId,
    name: Cow<'static, str>,
    from: Timestamp,
    to: Timestamp,
    attributes: Vec<KeyValue>,
    status: Status,
}

impl Traces {
    /// Sends spans to a collector that speaks OTLP over HTTP at `endpoint`, such as `http://127.0.0.1:4318`.
    pub fn to(endpoint: &str) -> Result<Self, ExporterBuildError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_timeout(EXPORT_TIMEOUT)
            .build()?;
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        processor.set_resource(
            &Resource::builder_empty()
                .with_attributes([
                    KeyValue::new("service.name", "cc-executor"),
                    KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                ])
                .build(),
        );
        Ok(Self::through(Box::new(processor)))
    }

    fn through(processor: Box<dyn SpanProcessor>) -> Self {
        Self {
            processor,
            sessions: Mutex::default(),
        }
    }

    /// Remembers what had begun before this daemon: two look-ups for each session that lives.
    pub fn take_up(&self, store: &dyn Store) -> Result<(), StoreError> {
        for summary in store.live()? {
            let started = match summary.lifecycle.state.has_agent() {
                true => store.last_of_kind(summary.session_id, "attempt.started")?,
                false => None,
            };
            let attempt = started.map(|record| (record.attempt, record.at));
            let resumed = store.last_of_kind(summary.session_id, "session.resumed")?;
            let open = OpenSpans {
                since: resumed.as_ref().map_or(summary.created_at, |record| record.at),
                is_resumed: resumed.is_some(),
                attempt,
                ..OpenSpans::of(&summary)
            };
            lock(&self.sessions).insert(summary.session_id, open);
        }
        Ok(())
    }

    /// Sends what is left, and stops.
    pub fn shut_down(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(SHUTDOWN_TIMEOUT) {
            tracing::warn!(%error, "the last spans did not reach the collector");
        }
    }

    fn send(&self, session: SessionId, span: PendingSpan) {
        let context = SpanContext::new(
            trace_id(session),
            span.id,
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        );
        self.processor.on_end(SpanData {
            span_context: context,
            parent_span_id: span.parent,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: span.name,
            start_time: system_time(span.from),
            end_time: system_time(span.to),
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: span.status,
            instrumentation_scope: InstrumentationScope::builder("cc-executor").build(),
        });
    }
}

impl Observer for Traces {
    fn committed(&self, commit: &Commit) {
        let summary = &*commit.summary;
        let mut sessions = lock(&self.sessions);
        let open = sessions
            .entry(summary.session_id)
            .or_insert_with(|| OpenSpans::of(summary));
        for (record, entry) in commit.records.iter().zip(commit.entries()) {
            for span in open.take(summary, entry, record.at, record.seq.0) {
                self.send(summary.session_id, span);
            }
        }
        if matches!(commit.entries().next_back(), Some(Entry::SessionEnded(_))) {
            sessions.remove(&summary.session_id);
        }
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").finish_non_exhaustive()
    }
}

impl OpenSpans {
    /// What a summary tells of what is open.
    fn of(summary: &Summary) -> Self {
        let asked = |(id, waiting): (&QuestionId, &crate::session::summary::Waiting)| (*id, waiting.asked_at);
        Self {
            since: summary.created_at,
            questions: summary.questions.iter().map(asked).collect(),
            ..Self::default()
        }
    }

    /// Takes an entry into account; what is over with it comes back.
    fn take(&mut self, summary: &Summary, entry: &Entry, at: Timestamp, seq: u64) -> Vec<PendingSpan> {
        let id = summary.session_id;
        let over = Over {
            session: id,
            at,
            seq,
            attempt: self.attempt,
        };
        match entry {
            Entry::SessionCreated(_) => self.queued = Some(at),
            Entry::SessionState(change) if change.to == StateName::Queued => self.queued = Some(at),
            Entry::SessionResumed(_) => (self.since, self.is_resumed) = (at, true),
            Entry::AttemptStarted(start) => {
                self.attempt = Some((start.attempt, at));
                return self
                    .queued
                    .take()
                    .map(|since| over.span("queued", since, root(id)))
                    .into_iter()
                    .collect();
            }
            Entry::AgentMessage(said) => return self.take_message(&said.message, summary.waiting_for, &over),
            Entry::QuestionAsked(question) => drop(self.questions.entry(question.question_id).or_insert(at)),
            Entry::QuestionAnswered(answered) => {
                let asked = self.questions.remove(&answered.question_id);
                return asked.map(|since| over.within("question", since)).into_iter().collect();
            }
            Entry::QuestionWithdrawn(withdrawn) => drop(self.questions.remove(&withdrawn.question_id)),
            Entry::AttemptEnded(end) => return self.end_attempt(end, &over),
            Entry::SessionEnded(end) => return vec![self.end_session(summary, end, &over)],
            _ => {}
        }
        Vec::new()
    }

    fn take_message(&mut self, message: &Message, waiting_for: WaitingFor, over: &Over) -> Vec<PendingSpan> {
        let mut spans: Vec<_> = self.wait(waiting_for, over).into_iter().collect();
        match message {
            Message::ToolUse { tool_use_id, name, .. } if self.tools.len() < OPEN_TOOLS_MAX => {
                let tool = Tool {
                    name: name.clone(),
                    since: over.at,
                };
                self.tools.insert(tool_use_id.clone(), tool);
            }
            Message::ToolResult {
                tool_use_id, is_error, ..
            } => {
                let tool = self.tools.remove(tool_use_id);
                spans.extend(tool.map(|tool| over.tool(tool, tool_use_id, *is_error)));
            }
            _ => {}
        }
        spans
    }

    /// A wait for the API or a usage limit begins or is over.
    fn wait(&mut self, now: WaitingFor, over: &Over) -> Option<PendingSpan> {
        match (self.waiting, now) {
            (Some((before, since)), now) if before != now => {
                self.waiting = (now != WaitingFor::Nothing).then_some((now, over.at));
                Some(over.within(waited_for(before), since))
            }
            (None, WaitingFor::Quota | WaitingFor::Api | WaitingFor::Login | WaitingFor::Timer | WaitingFor::Room) => {
                self.waiting = Some((now, over.at));
                None
            }
            (Some(_) | None, _) => None,
        }
    }

    fn end_attempt(&mut self, end: &AttemptEnd, over: &Over) -> Vec<PendingSpan> {
        let mut spans: Vec<_> = self.wait(WaitingFor::Nothing, over).into_iter().collect();
        for (id, tool) in self.tools.drain() {
            spans.push(over.tool(tool, &id, true));
        }
        if let Some((attempt, since)) = self.attempt.take() {
            let mut span = over.span("invoke_agent claude", since, root(over.session));
            span.id = attempt_id(over.session, attempt);
            span.attributes = vec![
                KeyValue::new("gen_ai.operation.name", "invoke_agent"),
                KeyValue::new("gen_ai.agent.name", "claude"),
                KeyValue::new("cc_executor.attempt", i64::from(attempt.0)),
                KeyValue::new("cc_executor.ending", end.ending.name()),
            ];
            if !matches!(end.ending, Ending::Finished | Ending::Stopped) {
                span.status = Status::error(end.ending.name());
            }
            spans.push(span);
        }
        spans
    }

    /// The span of the session itself. Each time it is resumed by hand there is another, within the first.
    fn end_session(&mut self, summary: &Summary, end: &SessionEnd, over: &Over) -> PendingSpan {
        let root = root(over.session);
        let mut span = if self.is_resumed {
            over.span("session resumed", self.since, root)
        } else {
            PendingSpan {
                id: root,
                ..over.span("session", self.since, SpanId::INVALID)
            }
        };
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        span.attributes = vec![
            KeyValue::new("session.id", over.session.to_string()),
            KeyValue::new("cc_executor.outcome", end.outcome.name()),
            KeyValue::new("cc_executor.turns", i64::from(summary.turns_by_now())),
            KeyValue::new("cc_executor.cost_usd", money(summary.usage.cost_usd)),
            KeyValue::new("gen_ai.usage.input_tokens", count(summary.usage.input_tokens)),
            KeyValue::new("gen_ai.usage.output_tokens", count(summary.usage.output_tokens)),
        ];
        span.attributes.extend(
            summary
                .model
                .clone()
                .map(|model| KeyValue::new("gen_ai.request.model", model)),
        );
        if end.outcome != Outcome::Completed {
            let cause = end.outcome.cause().map(|cause| cause.name());
            span.status = Status::error(cause.unwrap_or(end.outcome.name()));
        }
        span
    }
}

/// The record with which something is over.
struct Over {
    session: SessionId,
    at: Timestamp,
    seq: u64,
    attempt: Option<(Attempt, Timestamp)>,
}

impl Over {
    fn span(&self, name: impl Into<Cow<'static, str>>, since: Timestamp, parent: SpanId) -> PendingSpan {
        let name = name.into();
        PendingSpan {
            id: span_id(self.session, &format!("{name} {}", self.seq)),
            parent,
            name,
            from: since,
            to: self.at,
            attributes: Vec::new(),
            status: Status::Unset,
        }
    }

    /// A span within the attempt, or where there is none within the session.
    fn within(&self, name: impl Into<Cow<'static, str>>, since: Timestamp) -> PendingSpan {
        let parent = self.attempt.map(|(attempt, _)| attempt_id(self.session, attempt));
        self.span(name, since, parent.unwrap_or(root(self.session)))
    }

    fn tool(&self, tool: Tool, tool_use_id: &str, is_error: bool) -> PendingSpan {
        let mut span = self.within(format!("execute_tool {}", tool.name), tool.since);
        span.id = span_id(self.session, tool_use_id);
        span.attributes = vec![
            KeyValue::new("gen_ai.operation.name", "execute_tool"),
            KeyValue::new("gen_ai.tool.name", tool.name),
            KeyValue::new("gen_ai.tool.call.id", tool_use_id.to_owned()),
        ];
        if is_error {
            span.status = Status::error("the tool failed, was refused, or was cut off");
        }
        span
    }
}

fn waited_for(waiting_for: WaitingFor) -> &'static str {
    match waiting_for {
        WaitingFor::Nothing => "waiting",
        WaitingFor::Quota => "waiting for quota",
        WaitingFor::Api => "waiting for the API",
        WaitingFor::Timer => "waiting for a timer",
        WaitingFor::Login => "waiting for the login",
        WaitingFor::Room => "waiting for room on the disk",
    }
}

fn trace_id(session: SessionId) -> TraceId {
    TraceId::from_bytes(session.uuid().into_bytes())
}

fn root(session: SessionId) -> SpanId {
    span_id(session, "session")
}

fn attempt_id(session: SessionId, attempt: Attempt) -> SpanId {
    span_id(session, &format!("attempt {attempt}"))
}

/// The same for the same thing, whichever daemon makes it.
fn span_id(session: SessionId, what: &str) -> SpanId {
    let digest = Sha256::new()
        .chain_update(session.uuid().as_bytes())
        .chain_update(what)
        .finalize();
    let mut id = [0; 8];
    id.copy_from_slice(&digest[..8]);
    SpanId::from_bytes(id)
}

fn system_time(at: Timestamp) -> SystemTime {
    at.into()
}

#[cfg(test)]
mod tests;
