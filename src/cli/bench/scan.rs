//! A light reader of event streams: it counts and checks, and keeps up with any daemon.

use memchr::memmem;

use crate::cli::exit::Failure;

/// Follows the numbers of a flood through a stream.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// The beginning of a line whose end has not come.
    rest: Vec<u8>,
    /// The number of the last record.
    pub(super) seq: u64,
    /// The number of the last line of the flood.
    pub(super) line: u64,
    /// The session's last record has come.
    pub(super) has_ended: bool,
}

impl Scanner {
    /// Takes the next bytes. A record or a line that is missing, repeated or out of order is an error. `delta` is
    /// called with the text of every partial text.
    pub(super) fn push(&mut self, mut bytes: &[u8], delta: &mut dyn FnMut(&str)) -> Result<(), Failure> {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.rest.is_empty() {
                self.take(line, delta)?;
            } else {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(line);
                self.take(&whole, delta)?;
                whole.clear();
                self.rest = whole;
            }
            bytes = rest;
        }
        self.rest.extend_from_slice(bytes);
        Ok(())
    }

    fn take(&mut self, line: &[u8], delta: &mut dyn FnMut(&str)) -> Result<(), Failure> {
        if let Some(seq) = line.strip_prefix(b"id: ") {
            let seq = number(seq);
            next_in_order("record", &mut self.seq, seq)?;
        } else if line == b"event: session.ended" {
            self.has_ended = true;
        } else if let Some(data) = line.strip_prefix(b"data: ") {
            self.take_data(data, delta)?;
        }
        Ok(())
    }

    fn take_data(&mut self, data: &[u8], delta: &mut dyn FnMut(&str)) -> Result<(), Failure> {
        if let Some(at) = memmem::find(data, br#""text":"line "#) {
            let digits = &data[at + br#""text":"line "#.len()..];
            next_in_order("line", &mut self.line, number(digits))?;
        } else if data.starts_with(br#"{"attempt":"#)
            && let Some(at) = memmem::find(data, br#""text":""#)
        {
            let text = &data[at + br#""text":""#.len()..];
            let end = memchr::memchr(b'"', text).unwrap_or(text.len());
            delta(&String::from_utf8_lossy(&text[..end]));
        }
        Ok(())
    }
}

/// The number that a text begins with; 0 where there is none, which is never the next.
fn number(text: &[u8]) -> u64 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: u64, digit| {
        number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    })
}

fn next_in_order(what: &str, last: &mut u64, number: u64) -> Result<(), Failure> {
    let expected = *last + 1;
    if number != expected {
        return Err(Failure::Failed(format!(
            "the stream has {what} {number} where {what} {expected} belongs"
        )));
    }
    *last = number;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "event: hello\ndata: {\"resume\":\"ok\"}\n\nid: 1\nevent: session.created\ndata: {}\n\n\
        event: delta\ndata: {\"attempt\":1,\"message_id\":\"m\",\"text\":\"123\",\"offset\":0}\n\n\
        id: 2\nevent: agent.message\ndata: {\"seq\":2,\"data\":{\"message\":{\"text\":\"line 1....\"}}}\n\n\
        id: 3\nevent: session.ended\ndata: {}\n\n";

    fn scan(stream: &str, cut: usize) -> Result<(Scanner, Vec<String>), Failure> {
        let (mut scanner, mut deltas) = (Scanner::default(), Vec::new());
        for part in [&stream.as_bytes()[..cut], &stream.as_bytes()[cut..]] {
            scanner.push(part, &mut |text| deltas.push(text.to_owned()))?;
        }
        Ok((scanner, deltas))
    }

    #[test]
    fn a_stream_is_counted_however_it_is_cut() {
        for cut in 0..STREAM.len() {
            let (scanner, deltas) = scan(STREAM, cut).unwrap();
            assert_eq!((scanner.seq, scanner.line, scanner.has_ended), (3, 1, true));
            assert_eq!(deltas, ["123"]);
        }
    }

    #[test]
    fn a_lost_and_a_doubled_record_are_errors() {
        let lost = STREAM.replace("id: 2", "id: 3");
        assert!(scan(&lost, 0).unwrap_err().to_string().contains("record 3"));
        let doubled = STREAM.replace("id: 3", "id: 2");
        assert!(scan(&doubled, 0).unwrap_err().to_string().contains("where record 3"));
        let line = STREAM.replace("line 1", "line 2");
        assert!(scan(&line, 0).unwrap_err().to_string().contains("line 2"));
    }
}
