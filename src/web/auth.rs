//! Who may call: programs of this machine that know the token. A page of another site may not, not even by DNS
//! rebinding, where its name suddenly means this machine: a browser then still tells `Host` and `Origin`.

use std::net::IpAddr;
use std::sync::Arc;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError};

use super::error::{Code, Problem};
use super::token::Token;

/// The paths that need no token.
pub(super) const PUBLIC_PATHS: &[&str] = &["/healthz", "/readyz"];

/// What a caller is held against.
#[derive(Clone, Debug)]
pub struct Access {
    token: Token,
    /// The port we listen on.
    port: u16,
}

impl Access {
    /// Who knows `token` may call, at `port` of this machine.
    pub fn new(token: Token, port: u16) -> Self {
        Self { token, port }
    }

    fn check(&self, path: &str, headers: &HeaderMap) -> Result<(), Problem> {
        self.check_host(headers)?;
        self.check_origin(headers)?;
        if PUBLIC_PATHS.contains(&path) {
            return Ok(());
        }
        self.check_token(headers)
    }

    fn check_host(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let host = single(headers, &HOST).ok().flatten();
        match host.and_then(split_authority) {
            Some((name, port)) if is_this_machine(name) && port.is_none_or(|port| port == self.port) => Ok(()),
            _ => Err(Problem::new(
                Code::ForeignHost,
                format!("call this daemon as http://127.0.0.1:{}", self.port),
            )),
        }
    }

    /// An origin without a port is another server's: ours would have to be 80.
    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let origin = match single(headers, &ORIGIN) {
            Ok(None) => return Ok(()),
            Ok(Some(origin)) => origin.strip_prefix("http://").and_then(split_authority),
            Err(Repeated) => None,
        };
        match origin {
            Some((name, port)) if is_this_machine(name) && port.unwrap_or(80) == self.port => Ok(()),
            _ => Err(Problem::new(
                Code::ForeignOrigin,
                "pages of other origins may not call this daemon",
            )),
        }
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let given = single(headers, &AUTHORIZATION).ok().flatten();
        let token = given.and_then(|given| {
            let (scheme, token) = given.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        if token.is_some_and(|token| self.token.is(token)) {
            return Ok(());
        }
        Err(Problem::new(
            Code::Unauthorized,
            "send `Authorization: Bearer TOKEN`; `cc-executor token` shows the token",
        ))
    }
}

/// Lets through who may call.
pub(super) async fn guard<B: MessageBody + 'static>(
    access: Arc<Access>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    match access.check(request.path(), request.headers()) {
        Ok(()) => Ok(next.call(request).await?.map_into_left_body()),
        Err(problem) => {
            tracing::debug!(method = %request.method(), path = request.path(), why = %problem, "call refused");
            Ok(request.into_response(problem.error_response()).map_into_right_body())
        }
    }
}

/// A header that may come once came twice, or is not text.
struct Repeated;

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Repeated> {
    let mut values = headers.get_all(name);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Repeated),
        (Some(_), Some(_)) => Err(Repeated),
    }
}

/// Host and port of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    let port_from = match authority.rfind(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(port_from);
    match rest.strip_prefix(':') {
        Some(port) => Some((host, Some(port.parse().ok()?))),
        None if rest.is_empty() => Some((host, None)),
        None => None,
    }
}

/// Whether a name cannot mean another machine: `localhost`, or a loopback address as a literal.
fn is_this_machine(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let address = address.unwrap_or(host).parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn check(given: &[(&'static str, &str)]) -> Result<(), String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, TOKEN).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let access = Access::new(Token::read(&path).unwrap(), 8005);
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let outcome = access.check("/api/sessions", &headers);
        outcome.map_err(|problem| problem.status_code().as_str().to_owned())
    }

    fn with_host(host: &str) -> Result<(), String> {
        check(&[("host", host), ("authorization", &format!("Bearer {TOKEN}"))])
    }

    fn with_origin(origin: &str) -> Result<(), String> {
        let bearer = format!("Bearer {TOKEN}");
        check(&[
            ("host", "localhost:8005"),
            ("origin", origin),
            ("authorization", &bearer),
        ])
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
            assert_eq!(with_host(host), Ok(()), "{host}");
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
            "",
        ];
        for host in foreign {
            assert_eq!(with_host(host), Err("403".into()), "{host}");
        }
        assert_eq!(
            check(&[("authorization", &format!("Bearer {TOKEN}"))]),
            Err("403".into())
        );
    }

    #[test]
    fn only_our_own_pages_are_origins() {
        for origin in ["http://127.0.0.1:8005", "http://localhost:8005", "http://[::1]:8005"] {
            assert_eq!(with_origin(origin), Ok(()), "{origin}");
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
            assert_eq!(with_origin(origin), Err("403".into()), "{origin}");
        }
    }

    #[test]
    fn headers_that_come_twice_are_not_chosen_from() {
        let bearer = format!("Bearer {TOKEN}");
        let two_hosts = [
            ("host", "localhost"),
            ("host", "evil.example"),
            ("authorization", &*bearer),
        ];
        assert_eq!(check(&two_hosts), Err("403".into()));
        let two_tokens = [
            ("host", "localhost"),
            ("authorization", "Bearer x"),
            ("authorization", &bearer),
        ];
        assert_eq!(check(&two_tokens), Err("401".into()));
    }

    #[test]
    fn only_the_token_opens() {
        let with = |value: &str| check(&[("host", "localhost"), ("authorization", value)]);
        assert_eq!(with(&format!("bearer  {TOKEN} ")), Ok(()));
        for bad in [
            TOKEN,
            "Bearer",
            "Bearer ",
            "Basic abc",
            &format!("Bearer {TOKEN}0"),
            &format!("Basic {TOKEN}"),
        ] {
            assert_eq!(with(bad), Err("401".into()), "{bad}");
        }
        assert_eq!(check(&[("host", "localhost")]), Err("401".into()));
    }
}
