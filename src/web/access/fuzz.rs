//! Host, origin and cookies of calls that nobody vouches for.

use actix_web::http::Uri;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::http::uri::Authority;
use actix_web::test::TestRequest;

use super::origin::{Arrival, Origins, host_of};

/// The port that the calls are judged for.
const PORT: u16 = 8005;

/// A call as lines: its target, then its headers. What is let in by the port names this machine, as another reader of
/// authorities understands it too.
pub fn headers(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let target = lines.next().unwrap_or_default();
    let Ok(target) = Uri::try_from(target) else { return };
    let mut request = TestRequest::default().uri(&target.to_string());
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(line[..colon].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii())) {
            request = request.append_header((name, value));
        }
    }
    let request = request.to_http_request();
    // What cannot be read of cookies is no cookie.
    let _ = request.cookies().map(|cookies| cookies.len());
    if (Origins { port: PORT }).check(Arrival::Port, &request).is_err() {
        return;
    }
    let host = host_of(&request).expect("who is let in has named a host");
    let authority: Authority = host.parse().expect("a host that is let in can be read");
    assert!(!host.contains('@'), "{host}");
    assert!(authority.port_u16().is_none_or(|port| port == PORT), "{host}");
    let name = authority.host();
    let is_own = name.eq_ignore_ascii_case("localhost") || name == "[::1]" || name.starts_with("127.");
    assert!(is_own || name.starts_with("[0"), "{host}");
}
