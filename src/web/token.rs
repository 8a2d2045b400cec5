//! The bearer token: 256 random bits in a file that only its owner can read. Whoever has it can run commands as that
//! user, so it is never logged, shown or compared byte by byte.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;

/// Hexadecimal digits of a token.
const TOKEN_DIGITS: usize = 64;

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
        /// Why not.
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
        let text = fs::read_to_string(path).map_err(unusable)?;
        Self::parse(text.trim_end()).ok_or_else(|| TokenError::Malformed(path.to_owned()))
    }

    /// Reads the token, or makes one where there is none: the whole file or nothing, whenever we are killed.
    pub fn read_or_make(path: &Path) -> Result<Self, TokenError> {
        let unusable = |source| TokenError::Unusable {
            path: path.to_owned(),
            source,
        };
        if !path.try_exists().map_err(unusable)? {
            let new = path.with_extension("new");
            write_private(&new, &Self::random().0).map_err(unusable)?;
            fs::rename(&new, path).map_err(unusable)?;
        }
        Self::read(path)
    }

    /// The token in the form in which it is sent.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether this is the token; takes as long for a wrong one as for a right one.
    pub(super) fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }

    fn random() -> Self {
        let bytes: [u8; TOKEN_DIGITS / 2] = rand::random();
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn parse(text: &str) -> Option<Self> {
        let sound = text.len() == TOKEN_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        sound.then(|| Self(text.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Writes a file that was private from its first moment on.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) | Ok(()) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
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
        assert!(token.is(token.reveal()) && !token.is("") && !token.is(Token::random().reveal()));
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
}
