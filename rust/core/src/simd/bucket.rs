//! The cache line that a piece of text is looked up in.
//!
//! A piece of at most [`LONGEST_KEY`] bytes is its own key, padded with 0xFF,
//! which no UTF-8 text contains. A bucket holds three keys and three values of 40 bits,
//! which is 63 of the 64 bytes of a line, so that a look-up costs one line and one
//! compare of all keys at once. Two tokens of 18 bits lie in the value itself;
//! more of them lie elsewhere, and the value says where.

use std::hint::select_unpredictable;

use super::BLOCK;

/// The longest piece that is a key, in bytes.
pub(crate) const LONGEST_KEY: usize = 16;

/// A piece of text, in little-endian order, padded with 0xFF.
pub(crate) type Key = u128;

/// What stands in place of a key for a piece that is none.
pub(crate) const NOT_A_KEY: Key = Key::MAX;

/// How many keys a bucket holds.
pub(super) const WAYS: usize = 3;
/// A bucket has `1 << BUCKET_BITS` bytes.
pub(super) const BUCKET_BITS: u32 = BLOCK.ilog2();
const _: () = assert!(size_of::<Bucket>() == 1 << BUCKET_BITS);
/// How many bits of the values in a bucket belong to one key.
const VALUE_BITS: usize = 40;

/// Where the eight bytes begin that end with the value of each key. They begin before it, so that no read goes
/// beyond the line.
const PLACES: [usize; WAYS] = {
    let first = std::mem::offset_of!(Bucket, values) + VALUE_BITS / 8 - size_of::<u64>();
    [first, first + VALUE_BITS / 8, first + 2 * VALUE_BITS / 8]
};

/// Three keys with their values. All zero, it is empty.
///
/// Places are filled in their order. A key may be zero itself, as those of empty places are: of equal
/// keys the first one counts.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Bucket {
    pub(super) keys: [Key; WAYS],
    pub(super) values: [u8; 16],
}

impl Bucket {
    pub(crate) const EMPTY: Self = Self {
        keys: [0; WAYS],
        values: [0; 16],
    };

    /// The value of `key`, or [`Value::ABSENT`].
    #[inline(always)]
    pub(crate) fn get(&self, key: Key) -> Value {
        // Without a branch: which of the keys it is cannot be predicted.
        let [first, second, third] = self.keys.map(|known| {
            let differs = known ^ key;
            (differs as u64 | (differs >> 64) as u64) == 0
        });
        let place = select_unpredictable(second, PLACES[1], PLACES[2]);
        let place = select_unpredictable(first, PLACES[0], place);
        let found = u64::from(first | second | third).wrapping_neg();
        Value(self.value_in(place) & found)
    }

    /// The value of the key that a compare of the whole line with the key, four times,
    /// in lanes of 64 bits, has found. Both halves of a key must be equal.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn value_of_match(&self, equal_lanes: usize) -> u64 {
        static PLACE: [u8; 256] = {
            let mut places = [0; 256];
            let mut lanes = 0;
            while lanes < 256 {
                let mut way = WAYS;
                while way > 0 {
                    way -= 1;
                    if lanes >> (2 * way) & 3 == 3 {
                        places[lanes] = PLACES[way] as u8;
                    }
                }
                lanes += 1;
            }
            places
        };
        let place = PLACE[equal_lanes % 256] as usize;
        select_unpredictable(place == 0, 0, self.value_in(place))
    }

    /// The value in the highest bits of the eight bytes from byte `place` of the line on.
    #[inline(always)]
    fn value_in(&self, place: usize) -> u64 {
        debug_assert!(place + size_of::<u64>() <= size_of::<Self>());
        // SAFETY: the callers take a place from `PLACES`, or 0; the eight bytes lie within the line.
        let read = unsafe {
            let line: *const u8 = (&raw const *self).cast();
            line.add(place).cast::<u64>().read_unaligned()
        };
        u64::from_le(read) >> (64 - VALUE_BITS)
    }

    /// The first place without a key.
    #[inline(always)]
    pub(crate) fn free_way(&self) -> Option<usize> {
        let values = u128::from_le_bytes(self.values);
        let bits = 128 - values.leading_zeros() as usize;
        let used = bits.div_ceil(VALUE_BITS);
        (used < WAYS).then_some(used)
    }

    /// Puts a key with its value into one of three places, whatever was there.
    #[inline]
    pub(crate) fn set(&mut self, way: usize, key: Key, value: Value) {
        let shift = way % WAYS * VALUE_BITS;
        let others = u128::from_le_bytes(self.values) & !(u128::from(Value::MASK) << shift);
        self.keys[way % WAYS] = key;
        self.values = (others | u128::from(value.0) << shift).to_le_bytes();
    }

    /// The keys that are there, with their values.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Key, Value)> {
        let entry = |way| (self.keys[way], self.value_at(way));
        (0..WAYS)
            .map(entry)
            .filter(|&(_, value)| value != Value::ABSENT)
    }

    fn value_at(&self, way: usize) -> Value {
        let values = u128::from_le_bytes(self.values);
        Value((values >> (way * VALUE_BITS)) as u64 & Value::MASK)
    }
}

/// The tokens of a piece, or where they are: 40 bits.
///
/// From the lowest bit: the first token, the second token or
/// [`Value::NO_TOKEN`], and a tag. The tag 1 says just that; the tags 2 and 3 say
/// that the lower bits are the number of an entry in one of two lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value(pub(crate) u64);

impl Value {
    pub(crate) const ABSENT: Self = Self(0);
    /// In place of a second token.
    pub(crate) const NO_TOKEN: u32 = (1 << Self::TOKEN_BITS) - 1;
    pub(super) const TOKEN_BITS: u32 = 18;
    const TAG_SHIFT: u32 = 2 * Self::TOKEN_BITS;
    pub(super) const MASK: u64 = (1 << VALUE_BITS) - 1;
    const INLINE: u64 = 1 << Self::TAG_SHIFT;
    const QUAD: u64 = 2 << Self::TAG_SHIFT;
    const LIST: u64 = 3 << Self::TAG_SHIFT;
    /// Values from here on are not inline.
    pub(super) const APART: u64 = Self::QUAD;

    /// One or two tokens, each smaller than [`Value::NO_TOKEN`].
    #[inline]
    pub(crate) fn inline(first: u32, second: Option<u32>) -> Self {
        let second = second.unwrap_or(Self::NO_TOKEN);
        Self(Self::INLINE | u64::from(second) << Self::TOKEN_BITS | u64::from(first))
    }

    /// Entry `index` of the list of quads.
    #[inline]
    pub(crate) fn quad(index: u32) -> Self {
        Self(Self::QUAD | u64::from(index))
    }

    /// The tokens that begin at `index` of the list of tokens.
    #[inline]
    pub(crate) fn list(index: u32) -> Self {
        Self(Self::LIST | u64::from(index))
    }

    /// Whether the tokens are in the value itself.
    #[inline(always)]
    pub(crate) fn is_inline(self) -> bool {
        self.0 >> Self::TAG_SHIFT == 1
    }

    /// Where the tokens are.
    #[inline(always)]
    pub(crate) fn place(self) -> Place {
        match self.0 >> Self::TAG_SHIFT {
            0 => Place::Nowhere,
            1 => Place::Here,
            2 => Place::Quad(self.0 as u32),
            _ => Place::List(self.0 as u32),
        }
    }

    /// The tokens of an inline value as four 16-bit lanes, unused ones all ones.
    #[inline(always)]
    pub(crate) fn narrow_lanes(self) -> u64 {
        let second = self.0 >> Self::TOKEN_BITS & 0xFFFF;
        !0 << 32 | second << 16 | self.0 & 0xFFFF
    }

    /// The tokens of an inline value as two 32-bit lanes; [`Value::NO_TOKEN`] is unused.
    #[inline(always)]
    pub(crate) fn wide_lanes(self) -> u64 {
        let token = u64::from(Self::NO_TOKEN);
        (self.0 >> Self::TOKEN_BITS & token) << 32 | self.0 & token
    }
}

/// Where the tokens of a [`Value`] are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Nowhere,
    Here,
    Quad(u32),
    List(u32),
}

/// Spreads keys over buckets.
///
/// Its secrets are drawn at random for every table, so nobody can prepare a text whose
/// pieces all fall into one bucket. A kernel has the function that suits its machine
/// ([`super::Simd::slot`]).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hasher {
    pub(super) secrets: [u128; 4],
    /// The number of bits of a bucket's number.
    pub(super) bits: u32,
}

impl Hasher {
    /// For `1 << bits` buckets, `bits` from 1 to 25.
    pub(crate) fn new(bits: u32, secrets: [u128; 4]) -> Self {
        let bits = bits.clamp(1, 25);
        Self { secrets, bits }
    }

    /// Multiply-shift with two odd multipliers.
    #[inline(always)]
    pub(super) fn multiplied(self, key: Key) -> u32 {
        let [low, high] = [self.secrets[0] as u64 | 1, self.secrets[1] as u64 | 1];
        let low = (key as u64).wrapping_mul(low);
        let high = ((key >> 64) as u64).wrapping_mul(high);
        self.slot((low.wrapping_add(high) >> 32) as u32)
    }

    /// From the highest bits of a hash to where a bucket begins, in bytes.
    #[inline(always)]
    pub(super) fn slot(self, hash: u32) -> u32 {
        hash >> (32 - self.bits) << BUCKET_BITS
    }
}

/// The length of a key in bytes.
#[inline(always)]
pub(crate) fn key_length(key: Key) -> usize {
    LONGEST_KEY - key.leading_ones() as usize / 8
}

/// The key of a piece of at most [`LONGEST_KEY`] bytes, which must not contain 0xFF.
#[cfg(test)]
pub(crate) fn key_of(piece: &[u8]) -> Key {
    let mut padded = [0xFF; LONGEST_KEY];
    padded[..piece.len()].copy_from_slice(piece);
    Key::from_le_bytes(padded)
}

/// The bytes that pad a key of each length.
pub(super) const PADDING: [Key; LONGEST_KEY + 1] = {
    let mut padding = [Key::MAX; LONGEST_KEY + 1];
    let mut length = 1;
    while length <= LONGEST_KEY {
        padding[length] = if length == LONGEST_KEY {
            0
        } else {
            Key::MAX << (8 * length)
        };
        length += 1;
    }
    padding
};
