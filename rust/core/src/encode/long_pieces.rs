//! Pieces too long to be keys, remembered by hash and compared byte by byte.

use crate::simd::Value;

/// The longest piece that is remembered.
pub(super) const LONGEST: usize = 256;
/// Bytes of pieces: 8 MiB.
const MOST_BYTES: usize = 8 << 20;

/// Open addressing over entries; the bytes lie in one arena.
#[derive(Debug, Default)]
pub(super) struct LongPieces {
    /// A power of two of them, at most half in use, or none.
    entries: Vec<Entry>,
    used: usize,
    bytes: Vec<u8>,
}

/// A piece: its hash, its place and length, its value.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    /// 0 where there is no piece.
    length: u16,
    hash: u64,
    value: Value,
}

const FREE: Entry = Entry {
    start: 0,
    length: 0,
    hash: 0,
    value: Value::ABSENT,
};

impl LongPieces {
    #[inline]
    pub(super) fn find(&self, piece: &[u8], hash: u64) -> Value {
        let Some(mask) = self.entries.len().checked_sub(1) else {
            return Value::ABSENT;
        };
        let mut at = hash as usize & mask;
        loop {
            let entry = self.entries[at];
            if entry.length == 0 {
                return Value::ABSENT;
            }
            if entry.hash == hash && self.piece(entry) == piece {
                return entry.value;
            }
            at = (at + 1) & mask;
        }
    }

    /// Where a piece of this hash is looked for first.
    #[inline]
    pub(super) fn entry_address(&self, hash: u64) -> *const u8 {
        let mask = self.entries.len().wrapping_sub(1);
        let entries = self.entries.as_ptr();
        entries.wrapping_add(hash as usize & mask).cast()
    }

    /// What is found there: where the bytes begin with which the piece is compared, and its value.
    #[inline]
    pub(super) fn candidate(&self, hash: u64) -> Option<(*const u8, Value)> {
        let mask = self.entries.len().checked_sub(1)?;
        let entry = self.entries[hash as usize & mask];
        let bytes = self.bytes.as_ptr().wrapping_add(entry.start as usize);
        (entry.hash == hash).then_some((bytes, entry.value))
    }

    /// Adds a piece of at most [`LONGEST`] bytes that is not there.
    pub(super) fn insert(&mut self, piece: &[u8], hash: u64, value: Value) {
        if (self.used + 1) * 2 > self.entries.len() {
            self.grow();
        }
        let entry = Entry {
            start: self.bytes.len() as u32,
            length: piece.len() as u16,
            hash,
            value,
        };
        self.bytes.extend_from_slice(piece);
        self.used += 1;
        place(&mut self.entries, entry);
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() > MOST_BYTES
    }

    fn piece(&self, entry: Entry) -> &[u8] {
        &self.bytes[entry.start as usize..][..entry.length as usize]
    }

    #[cold]
    fn grow(&mut self) {
        let size = (self.entries.len() * 2).max(256);
        let old = std::mem::replace(&mut self.entries, vec![FREE; size]);
        for entry in old.into_iter().filter(|entry| entry.length != 0) {
            place(&mut self.entries, entry);
        }
    }
}

fn place(entries: &mut [Entry], entry: Entry) {
    let mask = entries.len() - 1;
    let mut at = entry.hash as usize & mask;
    while entries[at].length != 0 {
        at = (at + 1) & mask;
    }
    entries[at] = entry;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_put_in_and_nothing_else() {
        let mut pieces = LongPieces::default();
        let piece = |number: u32| format!("a rather long piece, number {number}").into_bytes();
        // Few hashes, so that many pieces share one.
        let hash = |number: u32| u64::from(number % 100);
        for number in 0..1000 {
            assert_eq!(pieces.find(&piece(number), hash(number)), Value::ABSENT);
            pieces.insert(&piece(number), hash(number), Value::inline(number, None));
        }
        for number in 0..1000 {
            let found = pieces.find(&piece(number), hash(number));
            assert_eq!(found, Value::inline(number, None));
        }
        assert!(!pieces.is_full());
    }
}
