//! The server's own key. What it seals nobody else can make up, and nobody can change unseen.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::disk::regular;
use crate::disk::write_private;
use crate::session::hex::hex;

/// Bytes of the key.
const KEY_BYTES: usize = 32;

/// Bytes of a block of SHA-256.
const BLOCK_BYTES: usize = 64;

/// The key.
#[derive(Clone)]
pub(super) struct ServerKey([u8; KEY_BYTES]);

impl ServerKey {
    /// Reads the key; none if there is no file. Errors if others can read it, or if it holds something else.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let Some(file) = regular::if_there(fs::metadata(path))? else {
            return Ok(None);
        };
        let unusable = |why: &str| {
            let told = format!("{} {why}: move it away, and a new one is made", path.display());
            io::Error::new(io::ErrorKind::InvalidData, told)
        };
        if file.mode() & 0o077 != 0 {
            return Err(unusable("can be read by others"));
        }
        let key = regular::read(path)?.try_into().map_err(|_| unusable("holds no key"))?;
        Ok(Some(Self(key)))
    }

    /// Makes a key that nobody has had before.
    pub(super) fn random() -> Self {
        Self(rand::random())
    }

    /// Writes the key into a file for this user alone.
    pub(super) fn keep(&self, path: &Path) -> io::Result<()> {
        write_private(path, &self.0)
    }

    /// Returns the seal of `parts` for one purpose, in 64 hexadecimal digits. No part holds a NUL byte.
    pub(super) fn seal(&self, purpose: &str, parts: &[&str]) -> String {
        // A key that is shorter than a block is filled up with zeros.
        let mut block = [0; BLOCK_BYTES];
        block[..KEY_BYTES].copy_from_slice(&self.0);
        let mut keyed = Hmac::<Sha256>::new(&block.into());
        for part in std::iter::once(&purpose).chain(parts) {
            keyed.update(part.as_bytes());
            keyed.update(&[0]);
        }
        hex(&keyed.finalize().into_bytes())
    }

    /// True if this is the seal of `parts`; takes as long for a wrong one as for a right one.
    pub(super) fn has_sealed(&self, purpose: &str, parts: &[&str], seal: &str) -> bool {
        self.seal(purpose, parts).as_bytes().ct_eq(seal.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_kept_for_its_owner_alone_and_seals_the_same_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert!(ServerKey::read(&path).unwrap().is_none());
        let key = ServerKey::random();
        key.keep(&path).unwrap();
        let again = ServerKey::read(&path).unwrap().unwrap();
        assert_eq!(key.seal("a", &["b"]), again.seal("a", &["b"]));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(ServerKey::read(&path).err().unwrap().to_string().contains("others"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short").unwrap();
        assert!(ServerKey::read(&path).err().unwrap().to_string().contains("no key"));
    }

    #[test]
    fn each_key_purpose_and_cut_of_the_parts_has_a_seal_of_its_own() {
        let key = ServerKey::random();
        let seal = key.seal("a", &["bc"]);
        assert_eq!(seal.len(), 64);
        assert!(key.has_sealed("a", &["bc"], &seal));
        for other in [
            key.seal("b", &["bc"]),
            key.seal("a", &["b", "c"]),
            key.seal("ab", &["c"]),
            ServerKey::random().seal("a", &["bc"]),
        ] {
            assert_ne!(seal, other);
        }
        assert!(!key.has_sealed("a", &["bc"], "") && !key.has_sealed("a", &["bd"], &seal));
    }
}
