//! Masks of 64 bytes, eight at a time in a `u64`.

use crate::simd::BLOCK;

/// 64 bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes([u64; 8]);

/// The same byte eight times.
const fn each(byte: u8) -> u64 {
    0x0101_0101_0101_0101 * byte as u64
}

const HIGH: u64 = each(0x80);

/// One bit of each byte whose highest bit is set, in order.
#[inline(always)]
fn gather(flags: [u64; 8]) -> u64 {
    let mut mask = 0;
    for (word, flags) in flags.into_iter().enumerate() {
        // The product moves the highest bit of byte i to bit 56 + i, without carries.
        let bits = (flags & HIGH).wrapping_mul(0x0002_0408_1020_4081) >> 56;
        mask |= bits << (8 * word);
    }
    mask
}

/// The highest bit of each byte that is from `first` to `last`, both ASCII.
#[inline(always)]
fn within_ascii(word: u64, first: u8, last: u8) -> u64 {
    // Seven bits a byte, so that the sums carry into their own eighth.
    let low = word & !HIGH;
    let from_first = low + each(0x80 - first);
    let past_last = low + each(0x7F - last);
    from_first & !past_last & !word
}

impl Bytes {
    #[inline(always)]
    pub(crate) fn load(bytes: &[u8; BLOCK]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        Self(std::array::from_fn(|word| u64::from_le_bytes(words[word])))
    }

    /// The bytes from `first` to `last`, both ASCII.
    #[inline(always)]
    pub(crate) fn within(self, first: u8, last: u8) -> u64 {
        debug_assert!(last < 0x80);
        gather(self.0.map(|word| within_ascii(word, first, last)))
    }

    /// The bytes equal to `byte`, which is ASCII.
    #[inline(always)]
    pub(crate) fn equal(self, byte: u8) -> u64 {
        self.within(byte, byte)
    }

    #[inline(always)]
    pub(crate) fn letters(self) -> u64 {
        gather(
            self.0
                .map(|word| within_ascii(word | each(0x20), b'a', b'z')),
        )
    }

    #[inline(always)]
    pub(crate) fn high(self) -> u64 {
        // Most blocks have none, which is cheaper to find out at once.
        if self.0.iter().fold(0, |all, word| all | word) & HIGH == 0 {
            return 0;
        }
        gather(self.0)
    }

    #[inline(always)]
    pub(crate) fn continuations(self) -> u64 {
        gather(self.0.map(|word| word & !(word << 1)))
    }
}
