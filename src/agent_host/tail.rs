//! Reads of the spool in a credit window, framed for the wire.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use super::protocol::{CHUNK_BYTES_MAX, OFFSET_BYTES};

/// The place of one reader in the spool, and how far it may be sent.
pub(super) struct SpoolTail {
    spool: Arc<File>,
    at: u64,
    through: u64,
}

impl SpoolTail {
    /// A reader that asks for nothing yet.
    pub(super) fn of(spool: Arc<File>) -> Self {
        Self {
            spool,
            at: 0,
            through: 0,
        }
    }

    /// Begins a read at `from`; whatever was asked for before is forgotten.
    pub(super) fn read(&mut self, from: u64, through: u64) {
        (self.at, self.through) = (from, through);
    }

    /// Raises the limit of the read that is going on; it never sinks.
    pub(super) fn widen(&mut self, through: u64) {
        self.through = self.through.max(through);
    }

    /// Whether bytes may be sent that are not sent yet.
    pub(super) fn is_outstanding(&self) -> bool {
        self.at < self.through
    }

    /// The spool's length where it ends before this reader's place: then somebody has cut it.
    pub(super) fn cut(&self) -> io::Result<Option<u64>> {
        let bytes = self.spool_bytes()?;
        Ok((bytes < self.at).then_some(bytes))
    }

    /// Length of the spool at this moment.
    pub(super) fn spool_bytes(&self) -> io::Result<u64> {
        Ok(self.spool.metadata()?.len())
    }

    /// The next chunk as a frame, its offset first; `None` when the window or the spool is at its end.
    pub(super) fn next_frame(&mut self) -> io::Result<Option<Bytes>> {
        let room = self.through.saturating_sub(self.at);
        let want = usize::try_from(room).map_or(CHUNK_BYTES_MAX, |room| room.min(CHUNK_BYTES_MAX));
        if want == 0 {
            return Ok(None);
        }
        let mut frame = vec![0; OFFSET_BYTES + want];
        let read = self.spool.read_at(&mut frame[OFFSET_BYTES..], self.at)?;
        if read == 0 {
            return Ok(None);
        }
        frame[..OFFSET_BYTES].copy_from_slice(&self.at.to_le_bytes());
        frame.truncate(OFFSET_BYTES + read);
        self.at += read as u64;
        Ok(Some(frame.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail_of(text: &[u8]) -> SpoolTail {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("spool");
        std::fs::write(&path, text).unwrap();
        SpoolTail::of(Arc::new(crate::disk::open_spool(&path).unwrap()))
    }

    #[test]
    fn a_spool_that_ends_before_its_readers_place_was_cut() {
        let mut tail = tail_of(b"0123456789");
        tail.read(0, 10);
        tail.next_frame().unwrap().unwrap();
        assert_eq!(tail.cut().unwrap(), None);
        tail.spool.set_len(4).unwrap();
        assert!(tail.next_frame().unwrap().is_none());
        assert_eq!(tail.cut().unwrap(), Some(4));
    }

    #[test]
    fn a_frame_never_goes_beyond_the_window() {
        let mut tail = tail_of(b"0123456789");
        tail.read(2, 5);
        tail.widen(3);
        let frame = tail.next_frame().unwrap().unwrap();
        assert_eq!(&frame[..], [&2_u64.to_le_bytes()[..], b"234"].concat());
        assert!(tail.next_frame().unwrap().is_none() && !tail.is_outstanding());
        tail.widen(4);
        assert!(
            tail.next_frame().unwrap().is_none(),
            "a window does not sink below what was sent"
        );
        tail.widen(u64::MAX);
        assert_eq!(&tail.next_frame().unwrap().unwrap()[OFFSET_BYTES..], b"56789");
        assert!(
            tail.next_frame().unwrap().is_none() && tail.is_outstanding(),
            "the end of the spool ends no read"
        );
    }

    #[test]
    fn a_long_spool_comes_in_chunks_of_the_agreed_size() {
        let mut tail = tail_of(&vec![7; CHUNK_BYTES_MAX * 2 + 1]);
        tail.read(0, u64::MAX);
        let sizes: Vec<_> = std::iter::from_fn(|| tail.next_frame().unwrap())
            .map(|f| f.len() - OFFSET_BYTES)
            .collect();
        assert_eq!(sizes, [CHUNK_BYTES_MAX, CHUNK_BYTES_MAX, 1]);
    }
}
