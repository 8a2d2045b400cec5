//! What a fuzzer and the property tests feed the HTTP faces with: what nobody vouches for, and what must hold of any.

use actix_web::http::header::HeaderValue;
use actix_web::test::TestRequest;

pub use super::access::fuzz::headers;
pub use super::mcp::fuzz::body;
pub use super::page::fuzz::markdown;
use super::stream::cursor as read_cursor;

/// Where the reader of a stream says that it was, in the header that a browser sends: a number, or a refusal.
pub fn cursor(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let request = TestRequest::get()
        .insert_header(("Last-Event-ID", value))
        .to_http_request();
    if let Ok(read) = read_cursor::<u64>(&request) {
        let digits = std::str::from_utf8(bytes)
            .ok()
            .map(|text| text.trim_matches([' ', '\t']));
        let number = digits.and_then(|digits| digits.parse::<u64>().ok());
        assert!(read.is_some() && read == number, "{read:?} of {digits:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_cursor_is_a_number_or_refused(text in "[ 0-9+-]{0,24}", bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            cursor(text.as_bytes());
            cursor(&bytes);
        }

        #[test]
        fn any_host_that_is_let_in_is_this_machine(
            host in "(127\\.0\\.0\\.1|localhost|\\[::1\\]|LOCALHOST|evil|@|:|8005|8006|\\.|\\+|/|%00| ){0,6}",
            more in "(origin: http://localhost:8005\n|cookie: a=b; c\n|host: x\n|sec-fetch-site: cross-site\n){0,3}",
        ) {
            headers(format!("/\nhost: {host}\n{more}").as_bytes());
            headers(format!("http://{host}/\nhost: 127.0.0.1:8005\n{more}").as_bytes());
        }

        #[test]
        fn any_markdown_is_shown_without_effect(
            text in "(\\[|\\]|\\(|\\)|<script>|<|>|\\*|_|`|~|\\||-|\n| |>|javascript:|&#x6a;|x|https://e/|\"|\u{202e}|```rust\n){0,60}",
        ) {
            markdown(text.as_bytes());
        }

        #[test]
        fn any_body_is_read_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            arguments in "(\\{|\\}|\\[|\\]|,|:|\"task\"|\"session_id\"|\"action\"|\"limit\"|null|-1|1e99|\"\\\\u0000\"|true){0,20}",
        ) {
            body(&bytes);
            body(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"execute","arguments":{{{arguments}}}}}}}"#).as_bytes());
        }
    }
}
