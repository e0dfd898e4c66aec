//! The two widths of symbols: most vocabularies fit in 16 bits, which halves what a merge reads.

use std::fmt;

use crate::memory::Plain;
use crate::simd::{Simd, Window};

/// A token id as words hold it.
pub(super) trait Symbol: Plain + Eq + Default + fmt::Debug + Send + Sync + 'static {
    /// What stands before and after a word. No id is as great.
    const SENTINEL: Self;
    /// The greatest weight that a header holds.
    const MOST_WEIGHT: u64;

    fn new(id: u32) -> Self;
    fn id(self) -> u32;

    /// The header of a word of at most 255 symbols. It ends with a sentinel.
    fn header(length: usize, weight: u64) -> [Self; 4];
    /// Its length and weight.
    fn read_header(header: [Self; 4]) -> (usize, u64);

    /// The places of a window at which `left` stands before `right`, as bits.
    fn places<K: Simd>(kernel: K, symbols: &Window<Self>, left: Self, right: Self) -> u32;
    /// Writes `id` to `place`, in place of two symbols of a word of at most a window.
    fn replace<K: Simd>(
        kernel: K,
        symbols: &mut Window<Self>,
        place: usize,
        length: usize,
        id: Self,
    );
}

impl Symbol for u16 {
    const SENTINEL: Self = Self::MAX;
    const MOST_WEIGHT: u64 = (1 << 40) - 1;

    #[inline(always)]
    fn new(id: u32) -> Self {
        id as Self
    }

    #[inline(always)]
    fn id(self) -> u32 {
        self.into()
    }

    #[inline(always)]
    fn header(length: usize, weight: u64) -> [Self; 4] {
        let packed = weight << 8 | length as u64;
        let part = |number: u32| (packed >> (16 * number)) as Self;
        [part(0), part(1), part(2), Self::SENTINEL]
    }

    #[inline(always)]
    fn read_header([low, middle, high, _]: [Self; 4]) -> (usize, u64) {
        let packed = u64::from(low) | u64::from(middle) << 16 | u64::from(high) << 32;
        ((packed & 0xFF) as usize, packed >> 8)
    }

    #[inline(always)]
    fn places<K: Simd>(kernel: K, symbols: &Window<Self>, left: Self, right: Self) -> u32 {
        kernel.places_narrow(symbols, left, right)
    }

    #[inline(always)]
    fn replace<K: Simd>(
        kernel: K,
        symbols: &mut Window<Self>,
        place: usize,
        length: usize,
        id: Self,
    ) {
        kernel.replace_narrow(symbols, place, length, id);
    }
}

impl Symbol for u32 {
    // Greater than all ids, and small enough to be an index.
    const SENTINEL: Self = (1 << 21) - 1;
    const MOST_WEIGHT: u64 = u64::MAX;

    #[inline(always)]
    fn new(id: u32) -> Self {
        id
    }

    #[inline(always)]
    fn id(self) -> u32 {
        self
    }

    #[inline(always)]
    fn header(length: usize, weight: u64) -> [Self; 4] {
        [
            length as Self,
            weight as Self,
            (weight >> 32) as Self,
            Self::SENTINEL,
        ]
    }

    #[inline(always)]
    fn read_header([length, low, high, _]: [Self; 4]) -> (usize, u64) {
        (length as usize, u64::from(low) | u64::from(high) << 32)
    }

    #[inline(always)]
    fn places<K: Simd>(kernel: K, symbols: &Window<Self>, left: Self, right: Self) -> u32 {
        kernel.places_wide(symbols, left, right)
    }

    #[inline(always)]
    fn replace<K: Simd>(
        kernel: K,
        symbols: &mut Window<Self>,
        place: usize,
        length: usize,
        id: Self,
    ) {
        kernel.replace_wide(symbols, place, length, id);
    }
}
