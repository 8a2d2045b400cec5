//! Browsers that are signed in, and the links that sign them in.
//!
//! A sign-in stands for a token: it may do what the token may, and ends with it. Only fingerprints are kept; those of
//! sign-ins are kept on disk, so that a page goes on after a restart of the daemon.

use std::fmt::Write;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::kept::{Changes, Kept};
use super::token::{Fingerprint, Token};

/// The most browsers that are signed in; beyond that the oldest is signed out.
const SIGN_INS_MAX: usize = 100;

/// The most links that nobody has used yet; beyond that the oldest is void.
const LINKS_MAX: usize = 32;

/// One browser.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SignIn {
    /// Of the cookie.
    cookie_sha256: Fingerprint,
    /// Of the token that it stands for.
    token_sha256: Fingerprint,
    expires_at: Timestamp,
}

/// All browsers.
pub(super) struct SignIns {
    kept: Kept<SignIn>,
    /// How long one lasts.
    pub(super) life: Duration,
}

impl SignIns {
    /// Those that are kept at `path`; where they cannot be read, people sign in again.
    pub(super) fn open(path: &Path, life: Duration) -> Self {
        let kept = Kept::open(path).unwrap_or_else(|error| {
            tracing::warn!(%error, "browsers have to sign in again");
            Kept::with(path, Vec::new())
        });
        Self { kept, life }
    }

    /// Signs a browser in with what a token may; answers the value of its cookie.
    pub(super) fn begin(&self, token: Fingerprint, now: Timestamp) -> io::Result<Token> {
        let cookie = Token::random();
        let sign_in = SignIn {
            cookie_sha256: Fingerprint::of(cookie.reveal()),
            token_sha256: token,
            expires_at: later(now, self.life),
        };
        self.kept.change(|all| {
            all.retain(|other| other.expires_at > now);
            let surplus = (all.len() + 1).saturating_sub(SIGN_INS_MAX);
            all.drain(..surplus);
            all.push(sign_in);
            io::Result::Ok(())
        })?;
        Ok(cookie)
    }

    /// Hears of every browser that is signed in or out.
    pub(super) fn changes(&self) -> Changes<SignIn> {
        self.kept.changes()
    }

    /// The token that a cookie stands for.
    pub(super) fn token_of(&self, cookie: &Fingerprint, now: Timestamp) -> Option<Fingerprint> {
        let all = self.kept.all();
        let found = all.iter().find(|sign_in| sign_in.cookie_sha256.is(cookie));
        found
            .filter(|sign_in| sign_in.expires_at > now)
            .map(|sign_in| sign_in.token_sha256)
    }

    /// Signs a browser out.
    pub(super) fn end(&self, cookie: &str) -> io::Result<()> {
        let given = Fingerprint::of(cookie);
        self.kept.change(|all| {
            all.retain(|sign_in| !sign_in.cookie_sha256.is(&given));
            Ok(())
        })
    }
}

/// What a page with this cookie has to send with what it changes: another site can have the browser send the cookie,
/// but cannot read the page.
pub(super) fn csrf_token(cookie: &str) -> String {
    let digest = Sha256::new().chain_update("csrf:").chain_update(cookie).finalize();
    digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A link that nobody has used yet.
struct Link {
    code: Fingerprint,
    token: Fingerprint,
    to: String,
    expires_at: Timestamp,
}

/// All links. They are void after a restart of the daemon: a new one costs nothing.
pub(super) struct Links {
    unused: Mutex<Vec<Link>>,
    life: Duration,
}

impl Links {
    pub(super) fn new(life: Duration) -> Self {
        Self {
            unused: Mutex::default(),
            life,
        }
    }

    /// A link that signs one browser in with what a token may, and shows it `to`; answers its code and until when it
    /// can be used.
    pub(super) fn make(&self, token: Fingerprint, to: String, now: Timestamp) -> (Token, Timestamp) {
        let code = Token::random();
        let expires_at = later(now, self.life);
        let mut unused = self.unused.lock().unwrap_or_else(PoisonError::into_inner);
        unused.retain(|link| link.expires_at > now);
        let surplus = (unused.len() + 1).saturating_sub(LINKS_MAX);
        unused.drain(..surplus);
        unused.push(Link {
            code: Fingerprint::of(code.reveal()),
            token,
            to,
            expires_at,
        });
        (code, expires_at)
    }

    /// Uses a link up: the token that it stands for, and where it leads.
    pub(super) fn take(&self, code: &str, now: Timestamp) -> Option<(Fingerprint, String)> {
        let given = Fingerprint::of(code);
        let mut unused = self.unused.lock().unwrap_or_else(PoisonError::into_inner);
        let at = unused.iter().position(|link| link.code.is(&given))?;
        let link = unused.remove(at);
        (link.expires_at > now).then_some((link.token, link.to))
    }
}

/// The last moment there is, where a life goes beyond it.
fn later(now: Timestamp, life: Duration) -> Timestamp {
    now.saturating_add(life).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    const LIFE: Duration = Duration::from_secs(60);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    fn a_token() -> Fingerprint {
        Fingerprint::of("a token")
    }

    #[test]
    fn a_sign_in_outlives_the_daemon_and_ends_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sign_ins.json");
        let cookie = SignIns::open(&path, LIFE).begin(a_token(), at(0)).unwrap();
        let file = std::fs::read_to_string(&path).unwrap();
        assert!(!file.contains(cookie.reveal()), "only its fingerprint is kept");
        let again = SignIns::open(&path, LIFE);
        assert_eq!(
            again.token_of(&Fingerprint::of(cookie.reveal()), at(59)),
            Some(a_token())
        );
        assert_eq!(again.token_of(&Fingerprint::of(cookie.reveal()), at(60)), None);
        assert_eq!(again.token_of(&Fingerprint::of(""), at(0)), None);
        again.end(cookie.reveal()).unwrap();
        assert_eq!(again.token_of(&Fingerprint::of(cookie.reveal()), at(0)), None);
    }

    #[test]
    fn a_damaged_file_signs_out_and_hinders_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sign_ins.json");
        std::fs::write(&path, "{").unwrap();
        let sign_ins = SignIns::open(&path, LIFE);
        let cookie = sign_ins.begin(a_token(), at(0)).unwrap();
        assert!(sign_ins.token_of(&Fingerprint::of(cookie.reveal()), at(1)).is_some());
    }

    #[test]
    fn the_oldest_browser_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let sign_ins = SignIns::open(&dir.path().join("sign_ins.json"), LIFE);
        let first = sign_ins.begin(a_token(), at(0)).unwrap();
        let others: Vec<Token> = (0..SIGN_INS_MAX)
            .map(|_| sign_ins.begin(a_token(), at(0)).unwrap())
            .collect();
        assert_eq!(sign_ins.token_of(&Fingerprint::of(first.reveal()), at(1)), None);
        assert!(
            others
                .iter()
                .all(|cookie| sign_ins.token_of(&Fingerprint::of(cookie.reveal()), at(1)).is_some())
        );
    }

    #[test]
    fn a_link_opens_once_and_for_minutes() {
        let links = Links::new(LIFE);
        let (code, until) = links.make(a_token(), "/x".into(), at(0));
        assert_eq!(until, at(60));
        assert_eq!(links.take("wrong", at(1)), None);
        assert_eq!(links.take(code.reveal(), at(1)), Some((a_token(), "/x".into())));
        assert_eq!(links.take(code.reveal(), at(1)), None, "it is used up");
        let (late, _) = links.make(a_token(), "/".into(), at(0));
        assert_eq!(links.take(late.reveal(), at(60)), None);
    }

    #[test]
    fn each_cookie_has_a_csrf_token_of_its_own() {
        assert_eq!(csrf_token("a").len(), 64);
        assert_ne!(csrf_token("a"), csrf_token("b"));
        assert_ne!(csrf_token("a"), "a");
    }
}
