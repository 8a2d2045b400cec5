//! Browsers that are signed in, and the links that sign them in.
//!
//! A sign-in stands for a token: it may do what the token may, and ends with it. Only fingerprints are kept; those of
//! sign-ins are kept on disk, so that a page goes on after a restart of the daemon. Each token has its own share of
//! sign-ins and links: who has one token cannot sign out those of another.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::saved::{Changes, Saved, SavedList};
use super::token::{Fingerprint, Token};
use crate::disk::remove_synced;
use crate::store::SmallStore;

/// The most browsers that are signed in with one token; beyond that the oldest of them is signed out.
const SIGN_INS_MAX: usize = 32;

/// The most links of one token that nobody has used yet; beyond that the oldest of them is void.
const LINKS_MAX: usize = 32;

/// One browser.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SignIn {
    /// Of the cookie.
    cookie_sha256: Fingerprint,
    /// Of the token that it stands for.
    token_sha256: Fingerprint,
    /// Of the secret in the page's own storage; none where the page has a name of its own.
    secret_sha256: Option<Fingerprint>,
    by: Opener,
    begun_at: Timestamp,
    expires_at: Timestamp,
}

impl Saved for SignIn {
    const LIST: &'static str = "sign_ins";

    fn key(&self) -> String {
        self.cookie_sha256.into()
    }
}

impl SignIn {
    /// The token that it stands for.
    pub(super) fn token(&self) -> Fingerprint {
        self.token_sha256
    }

    /// True if this is the secret in the page's own storage.
    pub(super) fn knows(&self, secret: Option<&Fingerprint>) -> bool {
        match (&self.secret_sha256, secret) {
            (Some(kept), Some(given)) => kept.is(given),
            (None, _) | (_, None) => false,
        }
    }

    /// True if a link signed it in less than `window` ago.
    pub(super) fn is_fresh(&self, window: Duration, now: Timestamp) -> bool {
        self.by == Opener::Link && self.begun_at <= now && now < later(self.begun_at, window)
    }
}

/// What signs a browser in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Opener {
    /// A link that was made just now.
    Link,
    /// A token that somebody typed.
    Token,
}

/// Secrets that a browser gets when it is signed in.
pub(super) struct NewSignIn {
    /// The value of its cookie.
    pub(super) cookie: Token,
    /// What the page keeps in its own storage.
    pub(super) secret: Option<Token>,
}

/// All browsers.
pub(super) struct SignIns {
    list: SavedList<SignIn>,
    /// How long one lasts.
    pub(super) life: Duration,
    /// True if each gets a secret for the page's own storage.
    with_secret: bool,
}

impl SignIns {
    /// Those that are kept, and those of a version before in the file `before`; where that cannot be read, people sign in
    /// again. So they do after an upgrade from a version whose cookies counted under every name of this machine: its
    /// sign-ins do not say how they began.
    pub(super) fn open(store: Arc<SmallStore>, before: &Path, life: Duration, with_secret: bool) -> io::Result<Self> {
        let list = SavedList::open(store)?;
        if let Err(error) = list.take_over(before) {
            tracing::warn!(%error, "browsers have to sign in again");
            // What could be read is taken over by the next start.
            let is_unreadable = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
            if let Err(error) = if is_unreadable { remove_synced(before) } else { Ok(()) } {
                tracing::warn!(%error, "{} stays behind", before.display());
            }
        }
        Ok(Self {
            list,
            life,
            with_secret,
        })
    }

    /// Signs a browser in with what a token may. Sign-ins of tokens that are none any more are forgotten.
    pub(super) fn begin(
        &self,
        token: Fingerprint,
        by: Opener,
        now: Timestamp,
        is_token: impl Fn(&Fingerprint) -> bool,
    ) -> io::Result<NewSignIn> {
        let given = NewSignIn {
            cookie: Token::random(),
            secret: self.with_secret.then(Token::random),
        };
        let sign_in = SignIn {
            cookie_sha256: Fingerprint::of(given.cookie.reveal()),
            token_sha256: token,
            secret_sha256: given.secret.as_ref().map(|secret| Fingerprint::of(secret.reveal())),
            by,
            begun_at: now,
            expires_at: later(now, self.life),
        };
        self.list.change(|all| {
            all.retain(|other| other.expires_at > now && is_token(&other.token_sha256));
            make_room(all, SIGN_INS_MAX, |other| other.token_sha256.is(&token));
            all.push(sign_in);
            io::Result::Ok(())
        })?;
        Ok(given)
    }

    /// Hears of every browser that is signed in or out.
    pub(super) fn changes(&self) -> Changes<SignIn> {
        self.list.changes()
    }

    /// Returns the sign-in of a cookie.
    pub(super) fn find(&self, cookie: &Fingerprint, now: Timestamp) -> Option<SignIn> {
        let all = self.list.all();
        let found = all.iter().find(|sign_in| sign_in.cookie_sha256.is(cookie));
        found.filter(|sign_in| sign_in.expires_at > now).cloned()
    }

    /// Signs a browser out.
    pub(super) fn end(&self, cookie: &str) -> io::Result<()> {
        let given = Fingerprint::of(cookie);
        self.list.change(|all| {
            all.retain(|sign_in| !sign_in.cookie_sha256.is(&given));
            Ok(())
        })
    }
}

/// Removes the oldest of those that share a limit, so that one more fits.
fn make_room<T>(all: &mut Vec<T>, max: usize, shares: impl Fn(&T) -> bool) {
    let count = all.iter().filter(|one| shares(one)).count();
    let mut surplus = (count + 1).saturating_sub(max);
    all.retain(|one| {
        let goes = surplus > 0 && shares(one);
        surplus -= usize::from(goes);
        !goes
    });
}

/// A link that nobody has used yet.
struct OneTimeLink {
    code: Fingerprint,
    token: Fingerprint,
    to: String,
    expires_at: Timestamp,
}

/// All links. They are void after a restart of the daemon: a new one costs nothing.
pub(super) struct Links {
    unused: Mutex<Vec<OneTimeLink>>,
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
        make_room(&mut unused, LINKS_MAX, |link| link.token.is(&token));
        unused.push(OneTimeLink {
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

    fn open(dir: &Path, with_secret: bool) -> SignIns {
        let store = SmallStore::open(&dir.join("clients.sqlite3")).unwrap();
        SignIns::open(Arc::new(store), &dir.join("sign_ins.json"), LIFE, with_secret).unwrap()
    }

    fn begin(sign_ins: &SignIns, token: Fingerprint, by: Opener) -> NewSignIn {
        sign_ins.begin(token, by, at(0), |_| true).expect("it is kept")
    }

    fn is_in(sign_ins: &SignIns, given: &NewSignIn, now: Timestamp) -> bool {
        sign_ins.find(&Fingerprint::of(given.cookie.reveal()), now).is_some()
    }

    #[test]
    fn a_sign_in_outlives_the_daemon_and_ends_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let given = begin(&open(dir.path(), true), a_token(), Opener::Token);
        let store = SmallStore::open(&dir.path().join("clients.sqlite3")).unwrap();
        let kept = format!("{:?}", store.all(SignIn::LIST).unwrap());
        drop(store);
        let secret = given.secret.as_ref().unwrap().reveal();
        let keeps_secrets = !kept.contains(given.cookie.reveal()) && !kept.contains(secret);
        assert!(keeps_secrets, "only fingerprints are kept");
        let again = open(dir.path(), true);
        let cookie = Fingerprint::of(given.cookie.reveal());
        let token_of = |cookie, now| again.find(cookie, now).map(|sign_in| sign_in.token());
        assert_eq!(token_of(&cookie, at(59)), Some(a_token()));
        assert_eq!(token_of(&cookie, at(60)), None);
        assert_eq!(token_of(&Fingerprint::of(""), at(0)), None);
        again.end(given.cookie.reveal()).unwrap();
        assert!(!is_in(&again, &given, at(0)));
    }

    #[test]
    fn a_damaged_file_signs_out_and_hinders_nobody() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("sign_ins.json"), "{").unwrap();
        let sign_ins = open(dir.path(), false);
        assert!(!dir.path().join("sign_ins.json").exists());
        let given = begin(&sign_ins, a_token(), Opener::Link);
        assert!(is_in(&sign_ins, &given, at(1)));
    }

    #[test]
    fn the_oldest_browser_of_a_token_makes_room_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let sign_ins = open(dir.path(), false);
        let owners = begin(&sign_ins, Fingerprint::of("the owner's"), Opener::Link);
        let all: Vec<NewSignIn> = (0..=SIGN_INS_MAX)
            .map(|_| begin(&sign_ins, a_token(), Opener::Token))
            .collect();
        assert!(!is_in(&sign_ins, &all[0], at(1)));
        assert!(all[1..].iter().all(|given| is_in(&sign_ins, given, at(1))));
        assert!(is_in(&sign_ins, &owners, at(1)), "it has another token");
        let only_owner = |token: &Fingerprint| *token == Fingerprint::of("the owner's");
        sign_ins.begin(a_token(), Opener::Token, at(1), only_owner).unwrap();
        let kept = sign_ins.list.all().len();
        assert_eq!(kept, 2, "those of a token that is none any more are forgotten");
    }

    #[test]
    fn a_browser_is_fresh_for_a_while_after_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let sign_ins = open(dir.path(), false);
        let find = |given: &NewSignIn| sign_ins.find(&Fingerprint::of(given.cookie.reveal()), at(0));
        let by_link = find(&begin(&sign_ins, a_token(), Opener::Link)).unwrap();
        let window = Duration::from_secs(10);
        assert!(by_link.is_fresh(window, at(0)) && by_link.is_fresh(window, at(9)));
        assert!(!by_link.is_fresh(window, at(10)) && !by_link.is_fresh(Duration::ZERO, at(0)));
        assert!(!by_link.is_fresh(window, at(-1)), "the clock was set back");
        let by_token = find(&begin(&sign_ins, a_token(), Opener::Token)).unwrap();
        assert!(!by_token.is_fresh(window, at(0)));
        assert!(
            !by_token.knows(None) && !by_token.knows(Some(&Fingerprint::of(""))),
            "it has no secret"
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
    fn the_links_of_one_token_do_not_void_those_of_another() {
        let links = Links::new(LIFE);
        let (owners, _) = links.make(Fingerprint::of("the owner's"), "/".into(), at(0));
        let (first, _) = links.make(a_token(), "/".into(), at(0));
        (0..LINKS_MAX).for_each(|_| drop(links.make(a_token(), "/".into(), at(0))));
        assert_eq!(links.take(first.reveal(), at(1)), None);
        assert!(links.take(owners.reveal(), at(1)).is_some());
    }
}
