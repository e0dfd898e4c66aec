//! Where a pair of symbols stands in a word, and merging it there.
//!
//! A window is 16 symbols of 16 or 32 bits and the one that follows them; a double one has 32 and one.

/// How many places a window has.
pub(crate) const WINDOW: usize = 16;

/// The symbols of a window and the one behind it.
pub(crate) type Window<T> = [T; WINDOW + 1];

/// Twice as many, and the one behind them.
pub(crate) type Double<T> = [T; 2 * WINDOW + 1];

/// What a kernel does with windows.
pub(crate) trait Windows: Copy {
    /// The places at which `left` stands before `right`, as bits.
    #[inline(always)]
    fn places_narrow(self, symbols: &Window<u16>, left: u16, right: u16) -> u32 {
        places(symbols, left, right)
    }

    /// [`Windows::places_narrow`] of wide symbols.
    #[inline(always)]
    fn places_wide(self, symbols: &Window<u32>, left: u32, right: u32) -> u32 {
        places(symbols, left, right)
    }

    /// Writes `id` to `place`, in place of the symbol there and the next, for a word of `length` symbols
    /// at the beginning of the window: those behind move up by one, with the one that follows the word.
    #[inline(always)]
    fn replace_narrow(self, symbols: &mut Window<u16>, place: usize, length: usize, id: u16) {
        replace(symbols, place, length, id);
    }

    /// [`Windows::replace_narrow`] of wide symbols.
    #[inline(always)]
    fn replace_wide(self, symbols: &mut Window<u32>, place: usize, length: usize, id: u32) {
        replace(symbols, place, length, id);
    }

    /// [`Windows::places_narrow`] of a double window.
    #[inline(always)]
    fn places_double(self, symbols: &Double<u16>, left: u16, right: u16) -> u32 {
        let [first, second] = halves(symbols);
        let second = self.places_narrow(second, left, right);
        self.places_narrow(first, left, right) | second << WINDOW
    }

    /// [`Windows::replace_narrow`] of a double window, for a word longer than a window.
    #[inline(always)]
    fn replace_double(self, symbols: &mut Double<u16>, place: usize, length: usize, id: u16) {
        replace_halves(symbols, place, length, id, |half, place, length, id| {
            self.replace_narrow(half, place, length, id);
        });
    }
}

/// The two windows of a double one.
#[inline(always)]
pub(crate) fn halves<T>(symbols: &Double<T>) -> [&Window<T>; 2] {
    let (first, second) = (symbols.first_chunk(), symbols.last_chunk());
    let (Some(first), Some(second)) = (first, second) else {
        unreachable!("a double window has two")
    };
    [first, second]
}

/// Writes `id` to `place` of a double window with `replace`, which does so in one window.
#[inline(always)]
pub(crate) fn replace_halves<T: Copy>(
    symbols: &mut Double<T>,
    place: usize,
    length: usize,
    id: T,
    replace: impl Fn(&mut Window<T>, usize, usize, T),
) {
    let (mut place, mut id) = (place, id);
    if place < WINDOW {
        if let Some(first) = symbols.first_chunk_mut() {
            replace(first, place, WINDOW, id);
        }
        // The others move up by one, as if the second stood in place of the first two.
        (place, id) = (WINDOW, symbols[WINDOW + 1]);
    }
    if let Some(second) = symbols.last_chunk_mut() {
        replace(second, place - WINDOW, length - WINDOW, id);
    }
}

#[inline(always)]
#[allow(clippy::needless_bitwise_bool)] // a branch would be in the way
fn places<T: Copy + PartialEq>(symbols: &Window<T>, left: T, right: T) -> u32 {
    let mut bits = [0_u16; WINDOW];
    for (number, bit) in bits.iter_mut().enumerate() {
        let stands = (symbols[number] == left) & (symbols[number + 1] == right);
        *bit = if stands { 1 << number } else { 0 };
    }
    bits.iter().fold(0, |all, bit| all | bit).into()
}

#[inline(always)]
#[allow(clippy::needless_bitwise_bool)]
fn replace<T: Copy>(symbols: &mut Window<T>, place: usize, length: usize, id: T) {
    let old = *symbols;
    for number in 0..WINDOW {
        let moves = (number > place) & (number < length);
        symbols[number] = if moves { old[number + 1] } else { old[number] };
    }
    symbols[place % WINDOW] = id;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::simd::{Job, Kernel, Simd};

    /// Both operations on a window and on a double one.
    struct Both {
        symbols: Double<u16>,
        pair: (u16, u16),
        place: usize,
        length: usize,
    }

    impl Job for Both {
        type Output = [(u32, Vec<u16>); 2];

        #[inline(always)]
        fn run<K: Simd>(self, kernel: K) -> Self::Output {
            let (left, right) = self.pair;
            let mut one: Window<u16> = *self.symbols.first_chunk().unwrap();
            let mut two = self.symbols;
            let found = [
                kernel.places_narrow(&one, left, right),
                kernel.places_double(&two, left, right),
            ];
            let length = self.length % (WINDOW + 1);
            kernel.replace_narrow(&mut one, self.place % length.max(1), length, 99);
            let length = WINDOW + 1 + self.length % WINDOW;
            kernel.replace_double(&mut two, self.place % length, length, 99);
            [(found[0], one.to_vec()), (found[1], two.to_vec())]
        }
    }

    /// The same, symbol by symbol.
    fn slowly(
        symbols: &[u16],
        (left, right): (u16, u16),
        place: usize,
        length: usize,
    ) -> (u32, Vec<u16>) {
        let pairs = symbols.windows(2).enumerate();
        let found = pairs.filter(|(_, pair)| *pair == [left, right]);
        let found = found.fold(0, |all, (number, _)| all | 1 << number);
        let mut merged = symbols.to_vec();
        if length > place {
            merged.copy_within(place + 1..length + 1, place);
            merged[place] = 99;
        }
        (found, merged)
    }

    proptest! {
        #[test]
        fn windows_are_searched_and_changed_alike(
            symbols in prop::collection::vec(0_u16..3, 33),
            pair in (0_u16..3, 0_u16..3),
            place in 0_usize..64,
            length in 0_usize..64,
        ) {
            let symbols: Double<u16> = symbols.try_into().unwrap();
            let one = length % (WINDOW + 1);
            let two = WINDOW + 1 + length % WINDOW;
            let expected = [
                slowly(&symbols[..=WINDOW], pair, place % one.max(1), one),
                slowly(&symbols, pair, place % two, two),
            ];
            for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
                let [single, double] = kernel.run(Both { symbols, pair, place, length });
                prop_assert_eq!(&double, &expected[1], "{:?}", kernel);
                // A place behind an empty word is nobody's.
                if one > 0 {
                    prop_assert_eq!(&single, &expected[0], "{:?}", kernel);
                }
            }
        }
    }
}
