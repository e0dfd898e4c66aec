//! What short pieces became, remembered.
//!
//! In real text 98 of 100 pre-tokens were seen before, and nearly all of them
//! have at most 15 bytes and three tokens. So an entry is 32 bytes, two to a
//! cache line: the piece itself with its length as one `u128`, the number of
//! tokens, the tokens. The table is direct-mapped and replaces what it finds:
//! memory is bounded, no entry is ever moved, nothing is evicted in bulk.
//! It starts at 32 KiB, so encoding one sentence costs nothing, and doubles up
//! to 16 MiB while it keeps filling.
//!
//! A cache belongs to a [`Scratch`](super::Scratch), so to one thread, and to one
//! tokenizer at a time.

const FIRST_ENTRIES: usize = 1 << 10;
const MOST_ENTRIES: usize = 1 << 19;
/// The longest piece that is remembered.
const LONGEST: usize = 15;
const MOST_TOKENS: usize = 3;

#[derive(Debug, Default)]
pub(super) struct PieceCache {
    entries: Vec<Entry>,
    filled: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// 0: nothing here, since every real key has a length in its top byte.
    key: u128,
    tokens: u32,
    ids: [u32; MOST_TOKENS],
}

/// A piece short enough to be remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(u128);

impl Key {
    /// The key of a piece of 1 to 15 bytes.
    #[inline]
    pub(super) fn of(piece: &[u8]) -> Option<Self> {
        let length = piece.len();
        let bytes = match (piece.first_chunk(), piece.last_chunk()) {
            _ if length > LONGEST => return None,
            (Some(&first), Some(&last)) => {
                let last = u128::from(u64::from_le_bytes(last));
                u128::from(u64::from_le_bytes(first)) | last << (8 * (length - 8))
            }
            _ => u128::from(few(piece)?),
        };
        Some(Self(bytes | (length as u128) << (8 * LONGEST)))
    }

    #[inline]
    fn slot(self, entries: usize) -> usize {
        let folded = (self.0 as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
            ^ ((self.0 >> 64) as u64).wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
        let mixed = (folded ^ folded >> 29).wrapping_mul(0x9FB2_1C65_1E98_DF25);
        (mixed >> 32) as usize & (entries - 1)
    }
}

/// Fewer than eight bytes as one number; none of none.
#[inline]
fn few(piece: &[u8]) -> Option<u64> {
    // Two reads that overlap instead of a loop over the length.
    if let (Some(&first), Some(&last)) = (piece.first_chunk(), piece.last_chunk()) {
        let last = u64::from(u32::from_le_bytes(last));
        return Some(u64::from(u32::from_le_bytes(first)) | last << (8 * (piece.len() - 4)));
    }
    let byte = |at: usize| u64::from(piece[at]) << (8 * at);
    let last = piece.len().checked_sub(1)?;
    Some(byte(0) | byte(piece.len() / 2) | byte(last))
}

impl PieceCache {
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.filled = 0;
    }

    #[inline]
    pub(super) fn get(&self, key: Key) -> Option<&[u32]> {
        if self.entries.is_empty() {
            return None;
        }
        let entry = &self.entries[key.slot(self.entries.len())];
        (entry.key == key.0).then(|| &entry.ids[..entry.tokens as usize])
    }

    /// Remembers a result, unless it has too many tokens.
    pub(super) fn put(&mut self, key: Key, ids: &[u32]) {
        if ids.len() > MOST_TOKENS {
            return;
        }
        if self.filled * 2 >= self.entries.len() && self.entries.len() < MOST_ENTRIES {
            self.grow();
        }
        let slot = key.slot(self.entries.len());
        let entry = &mut self.entries[slot];
        self.filled += usize::from(entry.key == 0);
        entry.key = key.0;
        entry.tokens = ids.len() as u32;
        entry.ids[..ids.len()].copy_from_slice(ids);
    }

    fn grow(&mut self) {
        let size = (self.entries.len() * 2).max(FIRST_ENTRIES);
        let old = std::mem::replace(&mut self.entries, vec![Entry::default(); size]);
        self.filled = 0;
        for entry in old.into_iter().filter(|entry| entry.key != 0) {
            let slot = Key(entry.key).slot(size);
            self.filled += usize::from(self.entries[slot].key == 0);
            self.entries[slot] = entry;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_where_pieces_differ() {
        let mut all = std::collections::BTreeSet::new();
        let text: Vec<u8> = (1..=LONGEST as u8).collect();
        for length in 1..=LONGEST {
            // One byte different at every place in turn, and a zero at the end.
            for at in 0..length {
                for value in [0, 0xFF] {
                    let mut piece = text[..length].to_vec();
                    piece[at] = value;
                    let key = Key::of(&piece).unwrap();
                    assert_eq!(key.0.to_le_bytes()[..length], piece);
                    all.insert(key.0);
                }
            }
        }
        assert_eq!(all.len(), LONGEST * (LONGEST + 1));
        assert!(Key::of(b"").is_none() && Key::of(&[b'a'; 16]).is_none());
    }

    #[test]
    fn returns_only_what_was_put_in_and_stays_bounded() {
        let mut cache = PieceCache::default();
        for number in 0..1_600_000u32 {
            let piece = number.to_string();
            let key = Key::of(piece.as_bytes()).unwrap();
            cache.put(key, &[number, 7][..=(number as usize % 2)]);
        }
        assert_eq!(cache.entries.len(), MOST_ENTRIES);
        let mut found = 0;
        for number in 0..1_600_000u32 {
            if let Some(ids) = cache.get(Key::of(number.to_string().as_bytes()).unwrap()) {
                assert_eq!(ids, &[number, 7][..=(number as usize % 2)]);
                found += 1;
            }
        }
        assert!(found > MOST_ENTRIES / 2 && found == cache.filled);
    }
}
