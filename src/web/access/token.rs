//! Secrets: 256 random bits each. That of the machine's user is in a file that only he can read; of the others a
//! fingerprint is kept. Whoever has one can act as its holder, so none is ever logged or compared byte by byte.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::disk::{regular, write_private};
use crate::session::hex::hex;

/// Hexadecimal digits of a token.
const TOKEN_DIGITS: usize = 64;

/// Bytes of a SHA-256.
const FINGERPRINT_BYTES: usize = 32;

/// A token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// Why there is no token; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read or made.
    #[error("cannot use the token in {}: {source}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The error below it.
        source: io::Error,
    },
    /// Others can read the file.
    #[error("{path} can be read by others (mode {mode:o}): delete it, and a new one is made", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{} holds no token: delete it, and a new one is made", .0.display())]
    Malformed(PathBuf),
}

impl Token {
    /// Reads the token, as a client does.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let unusable = |source| TokenError::Unusable {
            path: path.to_owned(),
            source,
        };
        let mode = fs::metadata(path).map_err(unusable)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(TokenError::Open {
                path: path.to_owned(),
                mode,
            });
        }
        let text = regular::read_to_string(path).map_err(unusable)?;
        Self::parse(text.trim_end()).ok_or_else(|| TokenError::Malformed(path.to_owned()))
    }

    /// Reads the token, or makes one where there is none: the whole file or nothing, whenever we are killed.
    pub fn read_or_make(path: &Path) -> Result<Self, TokenError> {
        let unusable = |source| TokenError::Unusable {
            path: path.to_owned(),
            source,
        };
        if !path.try_exists().map_err(unusable)? {
            write_private(path, format!("{}\n", Self::random().0).as_bytes()).map_err(unusable)?;
        }
        Self::read(path)
    }

    /// The token in the form in which it is sent.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// A token that nobody has had before.
    pub(super) fn random() -> Self {
        let bytes: [u8; TOKEN_DIGITS / 2] = rand::random();
        Self(hex(&bytes))
    }

    fn parse(text: &str) -> Option<Self> {
        let sound = text.len() == TOKEN_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        sound.then(|| Self(text.to_owned()))
    }
}

/// What is kept of a secret: it cannot be had back from this, and 256 random bits cannot be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Fingerprint([u8; FINGERPRINT_BYTES]);

impl Fingerprint {
    /// The fingerprint of a secret in the form in which it is sent.
    pub(super) fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Whether both are of one secret; takes as long for a wrong one as for a right one.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        hex(&fingerprint.0)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let pairs = text.as_bytes().chunks(2).map(|pair| match *pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        });
        let bytes = pairs.collect::<Option<Vec<u8>>>();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("a fingerprint has 64 hexadecimal digits")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_is_made_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let token = Token::read_or_make(&path).unwrap();
        assert_eq!(Token::read_or_make(&path).unwrap(), token);
        assert_eq!(Token::read(&path).unwrap(), token);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(!format!("{token:?}").contains(token.reveal()), "a log must not show it");
    }

    #[test]
    fn a_token_that_others_can_read_or_that_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        Token::read_or_make(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Token::read_or_make(&path).unwrap_err().to_string().contains("644"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "").unwrap();
        assert!(matches!(Token::read_or_make(&path), Err(TokenError::Malformed(_))));
    }

    #[test]
    fn a_fingerprint_is_kept_and_read_and_is_not_the_secret() {
        let token = Token::random();
        let print = Fingerprint::of(token.reveal());
        let text = String::from(print);
        assert_eq!(text.len(), 64);
        assert!(text != token.reveal() && Fingerprint::try_from(text).unwrap().is(&print));
        assert!(!print.is(&Fingerprint::of(Token::random().reveal())));
        for bad in ["", "0", "zz", &"0".repeat(63), &"0".repeat(66), "+1"] {
            assert!(Fingerprint::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
