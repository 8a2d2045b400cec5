//! Server-sent events, read from chunks that may be cut anywhere.

use std::mem;

/// The longest event, in bytes: a record holds at most one agent line of 16 MiB, which JSON may lengthen.
const EVENT_BYTES_MAX: usize = 128 * 1024 * 1024;

/// One event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SseEvent {
    /// Its id, when it has one.
    pub(crate) id: Option<String>,
    /// Its name; empty for one without.
    pub(crate) name: String,
    /// Its data; several data lines are joined by line breaks.
    pub(crate) data: String,
}

/// An event is longer than any that the daemon writes.
#[derive(Debug, thiserror::Error)]
#[error("an event of the stream has more than {EVENT_BYTES_MAX} bytes")]
pub(crate) struct EventTooLong;

/// Cuts chunks into events. Comments, which only keep the connection alive, leave no event.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    /// The line that is not complete yet.
    line: Vec<u8>,
    /// The event that is not complete yet.
    event: SseEvent,
    /// Whether `event` has any data.
    has_data: bool,
}

impl Parser {
    /// Takes the next chunk and answers the events that it completes.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<Vec<SseEvent>, EventTooLong> {
        let mut events = Vec::new();
        let mut rest = chunk;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.line.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            let line = mem::take(&mut self.line);
            events.extend(self.take_line(&line));
        }
        self.line.extend_from_slice(rest);
        if self.line.len() + self.event.data.len() > EVENT_BYTES_MAX {
            return Err(EventTooLong);
        }
        Ok(events)
    }

    fn take_line(&mut self, line: &[u8]) -> Option<SseEvent> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            let event = mem::take(&mut self.event);
            return mem::take(&mut self.has_data).then_some(event);
        }
        let text = String::from_utf8_lossy(line);
        let (field, value) = text.split_once(':').unwrap_or((&text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.event.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.event.name),
            "data" => self.add_data(value),
            // A comment has an empty name; other fields mean nothing to us.
            _ => {}
        }
        None
    }

    fn add_data(&mut self, value: &str) {
        if mem::replace(&mut self.has_data, true) {
            self.event.data.push('\n');
        }
        self.event.data.push_str(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &str = ": alive\n\nevent: hello\ndata: {\"head\":2}\n\nid: 1\r\nevent: notice\r\ndata: {\"t\":\"é✓\"}\r\n\r\n\
                          data:one\ndata: two\nretry: 5\n\nid: 9\n\n: alive\n\n";

    fn expected() -> Vec<SseEvent> {
        let event = |id: Option<&str>, name: &str, data: &str| SseEvent {
            id: id.map(str::to_owned),
            name: name.into(),
            data: data.into(),
        };
        vec![
            event(None, "hello", r#"{"head":2}"#),
            event(Some("1"), "notice", r#"{"t":"é✓"}"#),
            event(None, "", "one\ntwo"),
        ]
    }

    #[test]
    fn a_stream_in_one_piece_reads() {
        assert_eq!(Parser::default().push(STREAM.as_bytes()).unwrap(), expected());
    }

    proptest! {
        #[test]
        fn a_stream_reads_the_same_however_it_is_cut(mut cuts in prop::collection::vec(0..STREAM.len(), 0..20)) {
            cuts.sort_unstable();
            let mut parser = Parser::default();
            let mut events = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([STREAM.len()]) {
                events.extend(parser.push(&STREAM.as_bytes()[from..cut]).unwrap());
                from = cut;
            }
            prop_assert_eq!(events, expected());
        }

        #[test]
        fn no_bytes_make_it_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..10)) {
            let mut parser = Parser::default();
            for chunk in chunks {
                parser.push(&chunk).unwrap();
            }
        }
    }
}
