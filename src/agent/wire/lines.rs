//! Cuts a stream of bytes into lines and remembers where each begins.

/// The longest line that is decoded, in bytes; of a longer one only the beginning is kept.
pub const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How much of a line that is too long is kept, in bytes.
const KEPT_BYTES: usize = 4096;

/// One line, without its newline.
#[derive(Debug, PartialEq, Eq)]
pub struct OutputLine<'a> {
    /// Offset of its first byte.
    pub offset: u64,
    /// Its bytes, or the first 4 KiB of a line that is too long.
    pub bytes: &'a [u8],
    /// Its whole length, without the newline.
    pub length: u64,
}

impl OutputLine<'_> {
    /// Whether the line was too long to be kept whole.
    pub fn is_cut(&self) -> bool {
        self.length > self.bytes.len() as u64
    }

    /// Offset of the byte after its newline.
    pub fn end(&self) -> u64 {
        self.offset + self.length + 1
    }
}

/// Collects bytes until a line is whole.
#[derive(Clone, Debug)]
pub struct Lines {
    /// Offset of the first byte of the line that is not whole yet.
    start: u64,
    /// Its bytes so far.
    partial: Vec<u8>,
    /// How many bytes of it were thrown away because it is too long.
    dropped: u64,
}

impl Lines {
    /// Begins at `offset`, which is the beginning of a line.
    pub fn starting_at(offset: u64) -> Self {
        Self {
            start: offset,
            partial: Vec::new(),
            dropped: 0,
        }
    }

    /// Offset of the first byte of the line that is not whole yet.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Offset of the next byte that is expected.
    pub fn position(&self) -> u64 {
        self.start + self.partial.len() as u64 + self.dropped
    }

    /// Takes the next bytes and calls `each` with every line that is whole now.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(OutputLine<'_>)) {
        while let Some(newline) = memchr::memchr(b'\n', bytes) {
            let (end, rest) = (&bytes[..newline], &bytes[newline + 1..]);
            if self.partial.is_empty() && self.dropped == 0 && end.len() <= LINE_BYTES_MAX {
                each(OutputLine {
                    offset: self.start,
                    bytes: end,
                    length: end.len() as u64,
                });
                self.start += end.len() as u64 + 1;
            } else {
                self.keep(end);
                let length = self.partial.len() as u64 + self.dropped;
                each(OutputLine {
                    offset: self.start,
                    bytes: &self.partial,
                    length,
                });
                self.start += length + 1;
                self.partial = Vec::new();
                self.dropped = 0;
            }
            bytes = rest;
        }
        self.keep(bytes);
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.dropped == 0 && self.partial.len() + bytes.len() <= LINE_BYTES_MAX {
            return self.partial.extend_from_slice(bytes);
        }
        let before = self.partial.len() + bytes.len();
        self.partial.extend_from_slice(&bytes[..bytes.len().min(KEPT_BYTES)]);
        self.partial.truncate(KEPT_BYTES);
        self.partial.shrink_to_fit();
        self.dropped += (before - self.partial.len()) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn collect(lines: &mut Lines, chunks: &[&[u8]]) -> Vec<(u64, Vec<u8>, u64)> {
        let mut found = Vec::new();
        for chunk in chunks {
            lines.push(chunk, |line| {
                found.push((line.offset, line.bytes.to_vec(), line.length))
            });
        }
        found
    }

    #[test]
    fn lines_come_whole_with_their_offsets() {
        let mut lines = Lines::starting_at(100);
        let found = collect(&mut lines, &[b"ab", b"c\n\nde", b"f\ngh"]);
        let expected: Vec<(u64, Vec<u8>, u64)> =
            vec![(100, b"abc".to_vec(), 3), (104, vec![], 0), (105, b"def".to_vec(), 3)];
        assert_eq!(found, expected);
        assert_eq!(lines.position(), 111);
    }

    #[test]
    fn a_line_that_is_too_long_keeps_its_beginning_and_its_length() {
        let mut lines = Lines::starting_at(0);
        let chunk = vec![b'x'; 1 << 20];
        let mut chunks: Vec<&[u8]> = vec![&chunk; 17];
        chunks.push(b"y\nnext\n");
        let found = collect(&mut lines, &chunks);
        assert_eq!((found[0].1.len(), found[0].2), (KEPT_BYTES, (17 << 20) + 1));
        assert_eq!(found[1], ((17 << 20) + 2, b"next".to_vec(), 4));
    }

    #[test]
    fn a_line_of_sixteen_mebibytes_is_whole() {
        let mut lines = Lines::starting_at(0);
        let chunk = vec![b'x'; LINE_BYTES_MAX];
        let found = collect(&mut lines, &[&chunk, b"\n"]);
        assert_eq!(found[0].1.len(), LINE_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_the_lines_are_the_same(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200),
            cuts in proptest::collection::vec(0usize..200, 0..8),
        ) {
            let whole = collect(&mut Lines::starting_at(7), &[&text]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let bounds: Vec<usize> = [0].into_iter().chain(cuts).chain([text.len()]).collect();
            let chunks: Vec<&[u8]> = bounds.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            prop_assert_eq!(collect(&mut Lines::starting_at(7), &chunks), whole);
        }
    }
}
