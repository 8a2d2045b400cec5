//! Blocks kept allocated beyond the spool's end, so that a disk that fills up does not cut what the agent writes.

use std::fs::File;
use std::io;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate, ftruncate};

/// The reserve of one spool.
pub(super) struct Reserve {
    spool: Arc<File>,
    /// How much is kept; 0 keeps nothing.
    bytes: u64,
    /// Up to which offset blocks are allocated, as far as this host knows.
    through: u64,
    failed: bool,
}

impl Reserve {
    /// A reserve that allocates nothing yet.
    pub(super) fn of(spool: Arc<File>, bytes: u64) -> Self {
        Self {
            spool,
            bytes,
            through: 0,
            failed: false,
        }
    }

    /// Allocates anew once half of the reserve is written over. An error is given once, until it works again.
    pub(super) fn renew(&mut self) -> io::Result<()> {
        let end = self.spool.metadata()?.len();
        if self.bytes == 0 || self.through >= end.saturating_add(self.bytes / 2) {
            return Ok(());
        }
        match fallocate(&self.spool, FallocateFlags::KEEP_SIZE, end, self.bytes) {
            Ok(()) => {
                (self.through, self.failed) = (end + self.bytes, false);
                Ok(())
            }
            Err(_) if self.failed => Ok(()),
            Err(error) => {
                self.failed = true;
                Err(error.into())
            }
        }
    }

    /// Gives back what was never written. Only when nothing writes any more: what came in between would be cut off.
    pub(super) fn give_back(&self) {
        if self.through > 0
            && let Ok(metadata) = self.spool.metadata()
        {
            let _ = ftruncate(&self.spool, metadata.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_reserve_takes_blocks_and_leaves_the_length() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("spool");
        fs::write(&path, "line\n").unwrap();
        let spool = crate::disk::open_spool(&path).unwrap();
        let mut reserve = Reserve::of(Arc::new(spool), 1 << 20);
        reserve.renew().unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), 5);
        assert!(metadata.blocks() * 512 >= 1 << 20, "only {} blocks", metadata.blocks());
        reserve.give_back();
        assert_eq!(fs::read(&path).unwrap(), b"line\n");
    }
}
