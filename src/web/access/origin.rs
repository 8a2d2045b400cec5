//! From where a call may come: not from a page of another site, not even by DNS rebinding, where its name suddenly means
//! this machine. A browser then still tells `Host`, `Origin` and `Sec-Fetch-Site`.

use std::net::{Ipv4Addr, Ipv6Addr};

use actix_web::HttpRequest;
use actix_web::http::Method;
use actix_web::http::header::{HOST, HeaderMap, HeaderName, ORIGIN};

use crate::web::error::{Code, Problem};

/// Where a browser says the page is from that makes the call.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a browser says it does with the answer.
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// What the headers of a call are held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origins {
    /// The port we listen on.
    pub(super) port: u16,
}

/// By which of the daemon's doors a call comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The TCP port, which browsers reach.
    Port,
    /// The Unix socket. No browser reaches it by itself, but something of the user's may carry it to a port.
    Socket,
}

impl Origins {
    /// Refuses what comes from elsewhere.
    pub(super) fn check(&self, way: Arrival, request: &HttpRequest) -> Result<(), Problem> {
        self.check_host(way, request)?;
        self.check_origin(way, request.headers())?;
        check_site(request.method(), request.headers())
    }

    fn check_host(&self, way: Arrival, request: &HttpRequest) -> Result<(), Problem> {
        let is_ours = |port: Option<u16>| way == Arrival::Socket || port.is_none_or(|port| port == self.port);
        match host_of(request).and_then(split_authority) {
            Some((name, port)) if is_this_machine(name) && is_ours(port) => Ok(()),
            _ => Err(Problem::new(
                Code::ForeignHost,
                format!("call this daemon as http://127.0.0.1:{}", self.port),
            )),
        }
    }

    /// An origin without a port is another server's: ours would have to be 80. No page is served by the socket.
    fn check_origin(&self, way: Arrival, headers: &HeaderMap) -> Result<(), Problem> {
        check_origin(headers, "http://", |named| match split_authority(named) {
            Some((name, port)) => way == Arrival::Port && is_this_machine(name) && port.unwrap_or(80) == self.port,
            None => false,
        })
    }
}

/// Refuses the pages of origins other than `scheme` with an authority that `is_ours`. What is no page tells no origin.
pub(super) fn check_origin(headers: &HeaderMap, scheme: &str, is_ours: impl Fn(&str) -> bool) -> Result<(), Problem> {
    match single(headers, &ORIGIN) {
        Ok(None) => Ok(()),
        Ok(Some(origin)) if origin.strip_prefix(scheme).is_some_and(is_ours) => Ok(()),
        Ok(Some(_)) | Err(Repeated) => Err(foreign()),
    }
}

/// The authority that a request names: that of its target where the target is a whole URL, and then the `Host` header
/// says nothing (RFC 9112, section 3.2.2); else the header's.
pub(super) fn host_of(request: &HttpRequest) -> Option<&str> {
    match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => single(request.headers(), &HOST).ok().flatten(),
    }
}

/// Cookies know no ports, so a page of another server of this machine would be sent with ours; it may lead here by a
/// link, and no more.
pub(super) fn check_site(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    match single(headers, &SEC_FETCH_SITE) {
        Ok(None | Some("same-origin" | "none")) => Ok(()),
        Ok(Some(_)) if *method == Method::GET && is_navigation(headers) => Ok(()),
        Ok(Some(_)) | Err(Repeated) => Err(foreign()),
    }
}

/// Whether another site's page led here.
pub(super) fn is_led_from_elsewhere(headers: &HeaderMap) -> bool {
    matches!(single(headers, &SEC_FETCH_SITE), Ok(Some("cross-site" | "same-site")))
}

fn is_navigation(headers: &HeaderMap) -> bool {
    matches!(single(headers, &SEC_FETCH_MODE), Ok(Some("navigate")))
}

fn foreign() -> Problem {
    Problem::new(Code::ForeignOrigin, "pages of other origins may not call this daemon")
}

/// A header that may come once came twice, or is not text.
pub(super) struct Repeated;

/// A header that may come once.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Repeated> {
    let mut values = headers.get_all(name);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Repeated),
        (Some(_), Some(_)) => Err(Repeated),
    }
}

/// Host and port of `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(super) fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    let port_from = match authority.rfind(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(port_from);
    match rest.strip_prefix(':') {
        Some(port) => Some((host, Some(port_of(port)?))),
        None if rest.is_empty() => Some((host, None)),
        None => None,
    }
}

/// A port has digits and nothing else: to a number's parser, `+80` is one too.
fn port_of(digits: &str) -> Option<u16> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// Whether a name cannot mean another machine: `localhost`, or a loopback address as a literal.
fn is_this_machine(host: &str) -> bool {
    let is_loopback = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback()),
        None => host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
    };
    is_loopback || host.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn check_by(method: &Method, given: &[(&'static str, &str)]) -> bool {
        check_at(Arrival::Port, method, "/", given)
    }

    fn check_at(way: Arrival, method: &Method, target: &str, given: &[(&'static str, &str)]) -> bool {
        let request = TestRequest::with_uri(target).method(method.clone());
        let request = given
            .iter()
            .fold(request, |request, header| request.append_header(*header));
        Origins { port: 8005 }.check(way, &request.to_http_request()).is_ok()
    }

    fn check(given: &[(&'static str, &str)]) -> bool {
        check_by(&Method::POST, given)
    }

    #[test]
    fn only_names_of_this_machine_are_hosts() {
        for host in [
            "127.0.0.1:8005",
            "localhost:8005",
            "LOCALHOST",
            "[::1]:8005",
            "[::1]",
            "127.0.0.1",
        ] {
            assert!(check(&[("host", host)]), "{host}");
        }
        let foreign = [
            "evil.example:8005",
            "127.0.0.1:8006",
            "localhost.evil.example",
            "127.0.0.1.evil.example:8005",
            "192.168.0.1:8005",
            "[::1]8005",
            "localhost:",
            "localhost:99999",
            "127.0.0.1:+8005",
            "localhost: 8005",
            "[127.0.0.1]:8005",
            "::1",
            "",
        ];
        for host in foreign {
            assert!(!check(&[("host", host)]), "{host}");
        }
        assert!(!check(&[]));
    }

    #[test]
    fn a_target_that_is_a_whole_url_is_judged_by_its_authority() {
        let with = |target: &str, host: &str| check_at(Arrival::Port, &Method::POST, target, &[("host", host)]);
        for target in ["http://127.0.0.1:8005/", "http://localhost/x", "http://[::1]:8005/"] {
            assert!(with(target, "127.0.0.1:8005"), "{target}");
            assert!(with(target, "evil.example"), "{target}: the header says nothing then");
        }
        let foreign = [
            "http://evil.example/",
            "http://evil.example:8005/",
            "http://127.0.0.1:8006/",
            "http://127.0.0.1:8005@evil.example/",
            "http://evil.example@127.0.0.1:8005/",
        ];
        for target in foreign {
            assert!(!with(target, "127.0.0.1:8005"), "{target}");
        }
    }

    #[test]
    fn the_socket_knows_no_ports_and_serves_no_pages() {
        let with = |given: &[(&'static str, &str)]| check_at(Arrival::Socket, &Method::POST, "/", given);
        assert!(with(&[("host", "localhost")]) && with(&[("host", "localhost:9999")]));
        assert!(!with(&[("host", "evil.example")]) && !with(&[]));
        assert!(!with(&[("host", "localhost"), ("origin", "http://localhost:8005")]));
        assert!(!with(&[("host", "localhost"), ("sec-fetch-site", "cross-site")]));
    }

    #[test]
    fn only_our_own_pages_are_origins() {
        let with = |origin: &str| check(&[("host", "localhost:8005"), ("origin", origin)]);
        for origin in ["http://127.0.0.1:8005", "http://localhost:8005", "http://[::1]:8005"] {
            assert!(with(origin), "{origin}");
        }
        let foreign = [
            "http://evil.example",
            "http://localhost:3000",
            "http://localhost",
            "https://localhost:8005",
            "null",
            "",
        ];
        for origin in foreign {
            assert!(!with(origin), "{origin}");
        }
    }

    #[test]
    fn headers_that_come_twice_are_not_chosen_from() {
        assert!(!check(&[("host", "localhost"), ("host", "evil.example")]));
        let ours = ("origin", "http://localhost:8005");
        assert!(!check(&[("host", "localhost"), ours, ours]));
        let site = ("sec-fetch-site", "none");
        assert!(!check(&[("host", "localhost"), site, site]));
    }

    #[test]
    fn another_sites_page_may_lead_here_and_do_nothing_else() {
        let host = ("host", "localhost:8005");
        for site in ["same-origin", "none"] {
            assert!(check(&[host, ("sec-fetch-site", site)]), "{site}");
        }
        for site in ["cross-site", "same-site", "made-up"] {
            let site = ("sec-fetch-site", site);
            let led = [host, site, ("sec-fetch-mode", "navigate")];
            assert!(check_by(&Method::GET, &led));
            assert!(!check_by(&Method::POST, &led), "a form of another site");
            assert!(!check_by(&Method::GET, &[host, site, ("sec-fetch-mode", "no-cors")]));
            assert!(!check_by(&Method::GET, &[host, site]));
        }
    }
}
