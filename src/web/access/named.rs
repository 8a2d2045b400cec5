//! Tokens with a name and a role. Only their fingerprints are kept, so that a copy of the file opens nothing.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::OWNER;
use super::caller::Role;
use super::kept::{Changes, Kept};
use super::token::{Fingerprint, Token};

/// The most named tokens.
const TOKENS_MAX: usize = 100;

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 32;

/// A token as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct NamedToken {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) created_at: Timestamp,
    /// None for one that does not end by itself.
    pub(super) expires_at: Option<Timestamp>,
    sha256: Fingerprint,
}

/// Why a token is not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotMade {
    /// The name is none.
    #[error("a token's name has 1 to {NAME_BYTES_MAX} of a-z, 0-9, _ and -")]
    BadName,
    /// It is the name of the machine's own token.
    #[error("`{OWNER}` is the machine's own token: choose another name")]
    IsOwner,
    /// The name is taken.
    #[error("there is a token {0} already: revoke it first, or choose another name")]
    Exists(String),
    /// There are too many.
    #[error("there are {TOKENS_MAX} tokens already: revoke some")]
    TooMany,
    /// It cannot be kept.
    #[error("the token cannot be kept: {0}")]
    Unwritten(#[from] io::Error),
}

/// All of them.
pub(super) struct NamedTokens(Kept<NamedToken>);

impl NamedTokens {
    /// Those that are kept at `path`. A file that cannot be read is an error: silence would revoke them all.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Kept::open(path)?))
    }

    /// Who holds a token.
    pub(super) fn holder(&self, token: &Fingerprint, now: Timestamp) -> Option<(String, Role)> {
        let all = self.0.all();
        let found = all.iter().find(|named| named.sha256.is(token));
        found
            .filter(|named| !named.has_expired(now))
            .map(|named| (named.name.clone(), named.role))
    }

    /// Hears of every token that is made or revoked.
    pub(super) fn changes(&self) -> Changes<NamedToken> {
        self.0.changes()
    }

    /// All tokens, in the order in which they were made.
    pub(super) fn all(&self) -> Vec<NamedToken> {
        self.0.all().to_vec()
    }

    /// Makes a token; it is shown this once. One that has expired gives up its name.
    pub(super) fn create(
        &self,
        name: &str,
        role: Role,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(NamedToken, Token), NotMade> {
        if !is_name(name) {
            return Err(NotMade::BadName);
        }
        if name == OWNER {
            return Err(NotMade::IsOwner);
        }
        let token = Token::random();
        let named = NamedToken {
            name: name.to_owned(),
            role,
            created_at: now,
            expires_at,
            sha256: Fingerprint::of(token.reveal()),
        };
        let made = named.clone();
        self.0.change(move |tokens| {
            tokens.retain(|other| other.name != named.name || !other.has_expired(now));
            if tokens.iter().any(|other| other.name == named.name) {
                return Err(NotMade::Exists(named.name));
            }
            if tokens.len() >= TOKENS_MAX {
                return Err(NotMade::TooMany);
            }
            tokens.push(named);
            Ok(())
        })?;
        Ok((made, token))
    }

    /// Forgets a token, and says whether there was one.
    pub(super) fn revoke(&self, name: &str) -> io::Result<bool> {
        if !self.0.all().iter().any(|token| token.name == name) {
            return Ok(false);
        }
        self.0.change(|tokens| {
            tokens.retain(|token| token.name != name);
            Ok(true)
        })
    }
}

impl NamedToken {
    /// Whether it opens nothing any more.
    pub(super) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

fn is_name(name: &str) -> bool {
    let fits = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    fn tokens() -> (tempfile::TempDir, NamedTokens) {
        let dir = tempfile::tempdir().unwrap();
        let tokens = NamedTokens::open(&dir.path().join("tokens.json")).unwrap();
        (dir, tokens)
    }

    #[test]
    fn a_token_opens_until_it_expires_or_is_revoked() {
        let (dir, tokens) = tokens();
        let (_, token) = tokens.create("ci", Role::Viewer, Some(at(10)), at(0)).unwrap();
        let print = Fingerprint::of(token.reveal());
        assert_eq!(tokens.holder(&print, at(9)), Some(("ci".into(), Role::Viewer)));
        assert_eq!(tokens.holder(&print, at(10)), None, "it has expired");
        let again = NamedTokens::open(&dir.path().join("tokens.json")).unwrap();
        assert!(again.holder(&print, at(9)).is_some(), "it outlives the daemon");
        assert!(again.revoke("ci").unwrap() && !again.revoke("ci").unwrap());
        assert_eq!(again.holder(&print, at(9)), None);
        assert_eq!(again.holder(&Fingerprint::of(""), at(9)), None);
    }

    #[test]
    fn the_file_does_not_hold_the_token() {
        let (dir, tokens) = tokens();
        let (_, token) = tokens.create("ci", Role::Admin, None, at(0)).unwrap();
        let file = std::fs::read_to_string(dir.path().join("tokens.json")).unwrap();
        assert!(file.contains("\"ci\"") && !file.contains(token.reveal()), "{file}");
    }

    #[test]
    fn a_name_is_modest_and_of_one_token() {
        let (_dir, tokens) = tokens();
        tokens.create("ci", Role::Viewer, Some(at(5)), at(0)).unwrap();
        let taken = tokens.create("ci", Role::Admin, None, at(1)).unwrap_err();
        assert!(matches!(taken, NotMade::Exists(_)));
        tokens
            .create("ci", Role::Viewer, None, at(6))
            .expect("the old one has expired");
        let owner = tokens.create("owner", Role::Viewer, None, at(0));
        assert!(matches!(owner, Err(NotMade::IsOwner)));
        for bad in ["", "Owner", "a b", "a\r\nb", "../x", &"x".repeat(33)] {
            assert!(
                matches!(tokens.create(bad, Role::Viewer, None, at(0)), Err(NotMade::BadName)),
                "{bad}"
            );
        }
    }
}
