//! What a fuzzer and the property tests feed this module with: bytes that nobody vouches for, and what must hold of any.

use actix_codec::Decoder;
use actix_http::ws::{Codec, Frame as Packet};
use bytes::BytesMut;

use super::wire::decode::decode;
use super::wire::lines::{LINE_BYTES_MAX, Lines};
use crate::agent_host::protocol::{FRAME_BYTES_MAX, FromHost};
use crate::session::message::{Frame, Message};

/// An agent's output, which comes in pieces as long as the first byte says: its lines are the whole of it, and what they
/// say can be read again from where it is kept.
pub fn wire(bytes: &[u8]) {
    let Some((pace, output)) = bytes.split_first() else {
        return;
    };
    let mut lines = Lines::starting_at(0);
    let mut whole = Vec::with_capacity(output.len());
    for piece in output.chunks(usize::from(*pace) + 1) {
        lines.push(piece, |line| {
            assert_eq!(
                line.offset,
                whole.len() as u64,
                "a line begins where the one before ended"
            );
            whole.extend_from_slice(line.bytes);
            whole.push(b'\n');
            decode(line.bytes).into_iter().for_each(check);
        });
    }
    assert!(
        output.len() < LINE_BYTES_MAX && output.starts_with(&whole),
        "no byte is lost or made up"
    );
    assert_eq!(lines.position(), output.len() as u64);
}

fn check(frame: Frame) {
    if let Frame::Message { message, .. } = frame {
        let kept = serde_json::to_string(&message).expect("a message can be kept");
        let read: Message = serde_json::from_str(&kept).expect("what is kept can be read");
        assert_eq!(read, message, "a message is read as it was kept");
    }
}

/// What arrives at the websocket to an agent host.
pub fn link(bytes: &[u8]) {
    let mut codec = Codec::new().max_size(FRAME_BYTES_MAX).client_mode();
    let mut buffer = BytesMut::from(bytes);
    while let Ok(Some(packet)) = codec.decode(&mut buffer) {
        if let Packet::Text(json) = packet {
            from_host(&json);
        }
    }
    from_host(bytes);
}

fn from_host(json: &[u8]) {
    if let Ok(said) = serde_json::from_slice::<FromHost>(json) {
        let again = serde_json::to_vec(&said).expect("it can be said again");
        assert_eq!(
            serde_json::from_slice::<FromHost>(&again).expect("it can be read again"),
            said
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// JSON with the names that lines have, so that more than the beginning of the decoder is reached.
    fn lines() -> impl Strategy<Value = Vec<u8>> {
        let part = "(\\{|\\}|\\[|\\]|,|:|\"type\"|\"subtype\"|\"assistant\"|\"user\"|\"result\"|\"system\"|\"init\"|\"message\"|\"content\"|\"text\"|\"uuid\"|\"control_request\"|\"stream_event\"|null|-1|1e999|\"\\\\u0000\"|\"\u{202e}\"|\n){0,60}";
        (any::<u8>(), part).prop_map(|(pace, text)| [&[pace], text.as_bytes()].concat())
    }

    proptest! {
        #[test]
        fn lines_of_any_bytes_lose_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..400), structured in lines()) {
            wire(&bytes);
            wire(&structured);
        }

        #[test]
        fn packets_of_any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            link(&bytes);
        }
    }
}
