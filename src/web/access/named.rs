//! Tokens with a name and a role. Only their fingerprints are kept, so that a copy of the database opens nothing.

use std::io;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::OWNER;
use super::caller::Role;
use super::saved::{Changes, Saved, SavedList};
use super::token::{Fingerprint, Token};
use crate::store::SmallStore;

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

impl Saved for NamedToken {
    const LIST: &'static str = "tokens";

    fn key(&self) -> String {
        self.name.clone()
    }
}

/// All of them.
pub(super) struct NamedTokens(SavedList<NamedToken>);

impl NamedTokens {
    /// Those that are kept, and those of a version before in the file `before`. Errors if that cannot be read: silence
    /// would revoke them all.
    pub(super) fn open(store: Arc<SmallStore>, before: &Path) -> io::Result<Self> {
        let list = SavedList::open(store)?;
        list.take_over(before)?;
        Ok(Self(list))
    }

    /// The name and role of a token's holder.
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
        let tokens = open(dir.path());
        (dir, tokens)
    }

    fn open(dir: &Path) -> NamedTokens {
        let store = SmallStore::open(&dir.join("clients.sqlite3")).unwrap();
        NamedTokens::open(Arc::new(store), &dir.join("tokens.json")).unwrap()
    }

    #[test]
    fn a_token_opens_until_it_expires_or_is_revoked() {
        let (dir, tokens) = tokens();
        let (_, token) = tokens.create("ci", Role::Viewer, Some(at(10)), at(0)).unwrap();
        let print = Fingerprint::of(token.reveal());
        assert_eq!(tokens.holder(&print, at(9)), Some(("ci".into(), Role::Viewer)));
        assert_eq!(tokens.holder(&print, at(10)), None, "it has expired");
        let again = open(dir.path());
        assert!(again.holder(&print, at(9)).is_some(), "it outlives the daemon");
        assert!(again.revoke("ci").unwrap() && !again.revoke("ci").unwrap());
        assert_eq!(again.holder(&print, at(9)), None);
        assert_eq!(again.holder(&Fingerprint::of(""), at(9)), None);
    }

    #[test]
    fn no_file_holds_the_token() {
        let (dir, tokens) = tokens();
        let (_, token) = tokens.create("ci", Role::Admin, None, at(0)).unwrap();
        let found = |text: &str| {
            let files = std::fs::read_dir(dir.path()).unwrap();
            let mut bytes = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
            bytes.any(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
        };
        assert!(found("\"ci\"") && !found(token.reveal()));
    }

    /// What the version before kept, with these names and fingerprints.
    fn write_before(dir: &Path, tokens: &[(&str, &Token)]) {
        let list = tokens.iter().map(|(name, token)| NamedToken {
            name: (*name).to_owned(),
            role: Role::Viewer,
            created_at: at(0),
            expires_at: None,
            sha256: Fingerprint::of(token.reveal()),
        });
        let json = serde_json::to_vec(&list.collect::<Vec<_>>()).unwrap();
        std::fs::write(dir.join("tokens.json"), json).unwrap();
    }

    #[test]
    fn tokens_of_the_version_before_are_taken_over_and_never_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let (ci, wall) = (Token::random(), Token::random());
        let opens = |tokens: &NamedTokens, token: &Token| tokens.holder(&Fingerprint::of(token.reveal()), at(1));
        write_before(dir.path(), &[("ci", &ci), ("wall", &wall)]);
        // As if the daemon had died before the file was gone.
        let half_way = std::fs::read(dir.path().join("tokens.json")).unwrap();
        drop(open(dir.path()));
        std::fs::write(dir.path().join("tokens.json"), half_way).unwrap();
        let tokens = open(dir.path());
        let names: Vec<_> = tokens.all().into_iter().map(|token| token.name).collect();
        assert_eq!(names, ["ci", "wall"]);
        assert_eq!(opens(&tokens, &ci), Some(("ci".into(), Role::Viewer)));
        assert!(
            !dir.path().join("tokens.json").exists(),
            "the version before finds none of them"
        );
        assert!(tokens.revoke("ci").unwrap());
        drop(tokens);
        assert_eq!(opens(&open(dir.path()), &ci), None, "it was revoked");
        // Meanwhile the version before has run, and somebody has made a token there.
        let new = Token::random();
        write_before(dir.path(), &[("wall", &new)]);
        let tokens = open(dir.path());
        assert_eq!(opens(&tokens, &new), Some(("wall".into(), Role::Viewer)));
        assert_eq!(opens(&tokens, &wall), None, "a name is of one token");
        assert_eq!(tokens.all().len(), 1);
    }

    #[test]
    fn a_file_of_the_version_before_that_cannot_be_read_revokes_nothing_in_silence() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("tokens.json"), "[").unwrap();
        let store = Arc::new(SmallStore::open(&dir.path().join("clients.sqlite3")).unwrap());
        let refused = NamedTokens::open(store, &dir.path().join("tokens.json")).err();
        assert!(refused.expect("it is damaged").to_string().contains("tokens.json"));
        assert!(dir.path().join("tokens.json").exists());
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
