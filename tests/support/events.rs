//! The events of a stream, as a client reads them.

use std::io::{BufRead, BufReader, Read};

use serde_json::Value;

/// One event of a stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: Option<u64>,
    pub(crate) event: String,
    pub(crate) data: Value,
}

/// A stream's events, comments left out.
pub(crate) struct Events {
    lines: BufReader<Box<dyn Read + Send>>,
}

impl Events {
    pub(crate) fn new(body: ureq::Body) -> Self {
        Self {
            lines: BufReader::with_capacity(4096, Box::new(body.into_reader())),
        }
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let mut line = String::new();
            match self.lines.read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {
                    panic!("the stream neither went on nor ended: {error}")
                }
                // The daemon is gone.
                Err(_) => return None,
            }
            let line = line.trim_end_matches('\n');
            match line.split_once(": ").unwrap_or((line, "")) {
                ("", "") if !event.event.is_empty() => return Some(event),
                ("id", id) => event.id = id.parse().ok(),
                ("event", kind) => event.event = kind.to_owned(),
                ("data", data) => event.data = serde_json::from_str(data).expect("data is JSON"),
                _ => {}
            }
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
    error.kind() == std::io::ErrorKind::TimedOut || matches!(inner, Some(ureq::Error::Timeout(_)))
}
