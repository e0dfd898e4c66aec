//! What pieces became, remembered.
//!
//! In real text 98 of 100 pre-tokens were seen before, and nearly all of them have at most
//! 16 bytes and two tokens. Such a piece is its own key, and its tokens are the value: one
//! cache line answers ([`Bucket`]). A key whose bucket is full goes to one of the next three.
//! More than two tokens lie in lists beside the table, and so do the pieces of 17 to 256 bytes.
//!
//! Memory is bounded. The table starts small, so that encoding a sentence costs
//! nothing, and grows with use; at its greatest size a new piece replaces an old one. The lists
//! only grow, so all is forgotten when they reach their limit. Nothing fails, and nothing that is
//! remembered or forgotten changes a result.

use super::long_pieces::LongPieces;
use crate::memory::Table;
use crate::seed::Seed;
use crate::simd::{Bucket, Hasher, Job, Kernel, Key, Place, Simd, Value};

/// Buckets of the first table: 16 KiB.
const FIRST_BITS: u32 = 8;
/// Buckets of the greatest table: 16 MiB, which suits all caches that were measured.
pub(super) const MOST_BITS: u32 = 18;
/// Tokens in lists: 16 MiB.
const MOST_LISTED: usize = 1 << 22;
/// A shorter list is copied as if it had so many tokens.
pub(super) const SHORT_LIST: usize = 8;
/// Buckets that a key may lie in.
const PROBES: usize = 4;

/// The tokens of pieces.
#[derive(Debug)]
pub(super) struct PieceTable {
    kernel: Kernel,
    buckets: Table<Bucket>,
    hasher: Hasher,
    seed: Seed,
    bits: u32,
    most_bits: u32,
    used: usize,
    /// Three or four tokens of 16 bits each.
    quads: Vec<u64>,
    /// A number of tokens, and these, one list after another.
    lists: Vec<u32>,
    long: LongPieces,
    /// Tokens from here on are too large for a value.
    inline_limit: u32,
    narrow: bool,
    evictions: usize,
}

impl PieceTable {
    /// An empty table. `narrow` vocabularies have ids of 16 bits. Without `most_bits` nothing is kept.
    pub(super) fn new(kernel: Kernel, narrow: bool, most_bits: Option<u32>) -> Self {
        let mut table = Self {
            kernel,
            buckets: Table::zeroed(0),
            hasher: Hasher::new(1, [0; 4]),
            seed: Seed::random(),
            bits: 0,
            most_bits: most_bits.unwrap_or(0),
            used: 0,
            quads: Vec::new(),
            lists: Vec::new(),
            long: LongPieces::default(),
            inline_limit: if narrow { 0xFFFF } else { Value::NO_TOKEN },
            narrow,
            evictions: 0,
        };
        let bits = FIRST_BITS.min(table.most_bits).max(1);
        table.begin_with(Table::zeroed(1 << bits), bits);
        table
    }

    /// Goes on with empty buckets.
    fn begin_with(&mut self, buckets: Table<Bucket>, bits: u32) {
        self.bits = bits;
        self.buckets = buckets;
        self.hasher = Hasher::new(bits, self.seed.secrets());
        self.used = 0;
    }

    #[inline(always)]
    pub(super) fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    #[inline(always)]
    pub(super) fn hasher(&self) -> Hasher {
        self.hasher
    }

    #[inline]
    pub(super) fn quad(&self, index: u32) -> u64 {
        self.quads[index as usize]
    }

    /// Where a list lies, to fetch it.
    #[inline(always)]
    pub(super) fn list_address(&self, index: u32) -> *const u8 {
        self.lists.as_ptr().wrapping_add(index as usize).cast()
    }

    #[inline(always)]
    fn list(&self, index: u32) -> Tokens<'_> {
        let (length, tokens) = match self
            .lists
            .get(index as usize..)
            .and_then(<[_]>::split_first)
        {
            Some((&length, tokens)) => (length as usize, tokens),
            None => (0, &[][..]),
        };
        match tokens.first_chunk() {
            Some(first) if length <= SHORT_LIST => Tokens::Short(first, length),
            _ => Tokens::List(&tokens[..length]),
        }
    }

    /// The value of a key.
    #[inline(always)]
    pub(super) fn find(&self, key: Key, slot: u32) -> Value {
        let bucket = &self.buckets[self.bucket(slot, 0)];
        let value = bucket.get(key);
        if value != Value::ABSENT || bucket.free_way().is_some() {
            return value;
        }
        self.find_beyond(key, slot)
    }

    /// The bucket after `slot`, where a key that is not in `slot` itself may be.
    #[inline(always)]
    pub(super) fn next_bucket(&self, slot: u32) -> Option<&Bucket> {
        let full = self.buckets[self.bucket(slot, 0)].free_way().is_none();
        full.then(|| &self.buckets[self.bucket(slot, 1)])
    }

    /// The value of a key that is not in the bucket `slot` itself.
    #[inline(never)]
    pub(super) fn find_beyond(&self, key: Key, slot: u32) -> Value {
        for probe in 1..PROBES {
            let bucket = &self.buckets[self.bucket(slot, probe)];
            let value = bucket.get(key);
            if value != Value::ABSENT || bucket.free_way().is_some() {
                return value;
            }
        }
        Value::ABSENT
    }

    /// Remembers a piece that is not there.
    #[inline]
    pub(super) fn insert(&mut self, key: Key, slot: u32, value: Value) {
        if self.most_bits == 0 {
            return;
        }
        for probe in 0..PROBES {
            let at = self.bucket(slot, probe);
            let bucket = &mut self.buckets[at];
            if let Some(way) = bucket.free_way() {
                bucket.set(way, key, value);
                self.used += 1;
                return;
            }
        }
        let at = self.bucket(slot, 0);
        self.evictions += 1;
        let way = self.evictions;
        self.buckets[at].set(way, key, value);
    }

    /// The number of the bucket at `slot`, or of one after it.
    #[inline(always)]
    fn bucket(&self, slot: u32, after: usize) -> usize {
        (slot as usize / size_of::<Bucket>() + after) & (self.buckets.len() - 1)
    }

    /// The slot of a key, as the kernel finds it.
    fn slot(&self, key: Key) -> u32 {
        struct Slot(Hasher, Key);
        impl Job for Slot {
            type Output = u32;

            #[inline(always)]
            fn run<K: Simd>(self, kernel: K) -> u32 {
                kernel.slot(self.0, self.1)
            }
        }
        self.kernel.run(Slot(self.hasher, key))
    }

    /// The value that stands for these tokens.
    #[inline]
    pub(super) fn value_of(&mut self, tokens: &[u32]) -> Value {
        let inline = |token: u32| token < self.inline_limit;
        match *tokens {
            [first] if inline(first) => return Value::inline(first, None),
            [first, second] if inline(first) && inline(second) => {
                return Value::inline(first, Some(second));
            }
            _ => {}
        }
        if self.narrow && tokens.len() <= 4 && tokens.iter().all(|&token| inline(token)) {
            let lanes = tokens.iter().rev();
            let lanes = lanes.fold(!0, |lanes, &token| lanes << 16 | u64::from(token));
            self.quads.push(lanes);
            return Value::quad(self.quads.len() as u32 - 1);
        }
        let index = self.lists.len();
        self.lists.push(tokens.len() as u32);
        self.lists.extend_from_slice(tokens);
        Value::list(index as u32)
    }

    /// What the functions for long pieces want of a piece.
    #[inline]
    pub(super) fn long_hash(&self, piece: &[u8]) -> u64 {
        self.seed.of_bytes(piece)
    }

    /// Fetches the places where long pieces of these hashes are looked for.
    ///
    /// One piece after another would wait for memory three times: for its entry, its bytes and its tokens.
    #[inline(always)]
    pub(super) fn fetch_long<K: Simd>(&self, kernel: K, hashes: impl Iterator<Item = u64> + Clone) {
        for hash in hashes.clone() {
            kernel.fetch(self.long.entry_address(hash));
        }
        for hash in hashes {
            if let Some((bytes, value)) = self.long.candidate(hash) {
                kernel.fetch(bytes);
                if let Place::List(index) = value.place() {
                    kernel.fetch(self.list_address(index));
                }
            }
        }
    }

    #[inline]
    pub(super) fn find_long(&self, piece: &[u8], hash: u64) -> Value {
        self.long.find(piece, hash)
    }

    #[inline]
    pub(super) fn insert_long(&mut self, piece: &[u8], hash: u64, value: Value) {
        if self.most_bits != 0 {
            self.long.insert(piece, hash, value);
        }
    }

    /// Grows where that is due. Slots and values found before are not valid any more.
    #[inline]
    pub(super) fn settle(&mut self) {
        if self.used * 8 > self.buckets.len() * 15 && self.bits < self.most_bits {
            self.grow(self.bits + 3);
        }
        if self.lists.len() + self.quads.len() > MOST_LISTED
            || self.long.is_full()
            || self.most_bits == 0
        {
            self.forget();
        }
    }

    /// Makes room ahead for the pieces of a text of this length.
    pub(super) fn expect(&mut self, bytes: usize) {
        // A text of n bytes has about 3.5 n^0.62 different pieces; a table that fills
        // to a half is fast. Small texts do not pay for a large table.
        let bits = match bytes {
            0..0x1_0000 => return,
            0x1_0000..0x10_0000 => 12,
            0x10_0000..0x40_0000 => 15,
            _ => MOST_BITS,
        };
        if bits > self.bits {
            self.grow(bits);
        }
    }

    #[cold]
    fn grow(&mut self, bits: u32) {
        let bits = bits.min(self.most_bits);
        if bits <= self.bits {
            return;
        }
        let Ok(buckets) = Table::try_zeroed(1 << bits) else {
            // There is no memory for more: old pieces make room for new ones from now on.
            self.most_bits = self.bits;
            return;
        };
        let old = std::mem::replace(&mut self.buckets, Table::zeroed(0));
        self.begin_with(buckets, bits);
        for (key, value) in old.iter().flat_map(Bucket::entries) {
            let slot = self.slot(key);
            self.insert(key, slot, value);
        }
    }

    #[cold]
    fn forget(&mut self) {
        if self.used > 0 {
            self.buckets.fill(Bucket::EMPTY);
        }
        self.used = 0;
        self.quads.clear();
        self.lists.clear();
        self.long = LongPieces::default();
    }
}

/// The tokens behind a value that is not inline.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tokens<'t> {
    Lanes(u64),
    /// The first few of these.
    Short(&'t [u32; SHORT_LIST], usize),
    List(&'t [u32]),
}

impl PieceTable {
    #[inline(always)]
    pub(super) fn tokens(&self, value: Value) -> Tokens<'_> {
        match value.place() {
            Place::Quad(index) => Tokens::Lanes(self.quad(index)),
            Place::List(index) => self.list(index),
            Place::Nowhere | Place::Here => Tokens::List(&[]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::key_of;

    fn key(number: u32) -> Key {
        key_of(number.to_string().as_bytes())
    }

    fn listed(tokens: Tokens<'_>) -> Vec<u32> {
        match tokens {
            Tokens::Short(tokens, count) => tokens[..count].to_vec(),
            Tokens::List(tokens) => tokens.to_vec(),
            Tokens::Lanes(lanes) => panic!("{lanes:x} is no list"),
        }
    }

    #[test]
    fn returns_only_what_was_put_in_and_stays_bounded() {
        let mut table = PieceTable::new(Kernel::best(), true, Some(10));
        for number in 0..20_000_u32 {
            let slot = table.slot(key(number));
            assert_eq!(table.find(key(number), slot), Value::ABSENT);
            let value = Value::inline(number & 0x7FFF, None);
            table.insert(key(number), slot, value);
            assert_eq!(table.find(key(number), slot), value);
            table.settle();
        }
        assert_eq!(table.buckets().len(), 1 << 10);
        let mut found = 0;
        for number in 0..20_000_u32 {
            let value = table.find(key(number), table.slot(key(number)));
            if value != Value::ABSENT {
                assert_eq!(value, Value::inline(number & 0x7FFF, None));
                found += 1;
            }
        }
        assert!(found > 2000, "{found}");
    }

    #[test]
    fn many_tokens_are_kept_beside() {
        let mut table = PieceTable::new(Kernel::best(), true, Some(4));
        let three = table.value_of(&[1, 2, 3]);
        let five = table.value_of(&[1, 2, 3, 4, 5]);
        let large = table.value_of(&[0xFFFF]);
        assert!(matches!(
            table.tokens(three),
            Tokens::Lanes(0xFFFF_0003_0002_0001)
        ));
        assert_eq!(listed(table.tokens(five)), [1, 2, 3, 4, 5]);
        assert_eq!(listed(table.tokens(large)), [0xFFFF]);
        let many = table.value_of(&[9; 20]);
        assert_eq!(listed(table.tokens(many)), [9; 20]);
        // Where enough lies behind it, a short list is given as a part of an array.
        assert!(matches!(
            table.tokens(five),
            Tokens::Short([1, 2, 3, 4, 5, ..], 5)
        ));
        let mut wide = PieceTable::new(Kernel::best(), false, Some(4));
        let two = wide.value_of(&[70_000, 80_000]);
        assert_eq!(two, Value::inline(70_000, Some(80_000)));
        let large = wide.value_of(&[Value::NO_TOKEN]);
        assert_eq!(listed(wide.tokens(large)), [Value::NO_TOKEN]);
    }

    #[test]
    fn nothing_is_kept_without_room() {
        let mut table = PieceTable::new(Kernel::best(), true, None);
        let slot = table.slot(key(1));
        table.insert(key(1), slot, Value::inline(1, None));
        assert_eq!(table.find(key(1), slot), Value::ABSENT);
    }
}
