//! Where a pair of symbols stands in a word, and merging it there.
//!
//! A window is 16 symbols of 16 or 32 bits and the one that follows them.

/// How many places a window has.
pub(crate) const WINDOW: usize = 16;

/// The symbols of a window and the one behind it.
pub(crate) type Window<T> = [T; WINDOW + 1];

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
