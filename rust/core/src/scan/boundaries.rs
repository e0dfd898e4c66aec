//! From the classes of 64 bytes to the pieces that begin there.
//!
//! Every class is a mask with a bit for each byte; a character of several bytes
//! has its bit at each of them, so that neighbouring bits are neighbouring
//! characters or the same one. What a pattern says of neighbours is then a few
//! operations on masks for all 64 bytes at once: a word begins where a letter
//! has no letter and no prefix before it. [`Carry`] is what the last byte of a
//! block tells the next block.
//!
//! Runs that are measured (digits by threes, white space up to its last line
//! break) use additions: adding the first bit of a run to the run makes a carry
//! that comes out behind it.
//!
//! What the masks do not say is rare: it is read from the text at the place, or,
//! where a whole piece would have to be known, the block is given up and the
//! scalar scanner, which is the slow twin of this one, takes the pieces that begin in it.
//! Since no pattern looks back, every beginning of a piece is as good as
//! the beginning of a text, and the masks go on from there with an empty carry.

use super::rules::{Rules, Tail, WordPrefix};
use super::text::Text;
use super::word_cuts::{BEFORE, WordCuts};
use crate::pattern::grammar::Contraction;
use crate::simd::{BLOCK, Kind, Kinds, Simd};

/// How far ahead text is fetched. The check for UTF-8 goes over a text first, so the text is wanted
/// long before the scanner comes to it.
const AHEAD: usize = 1 << 16;

/// What a block has to know of the bytes before it: mostly the masks of the block
/// before, of which the highest bit counts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Carry {
    word: u64,
    number: u64,
    white: u64,
    space: u64,
    /// White space that no symbols took.
    free_white: u64,
    /// The same without line breaks.
    inline: u64,
    /// A line break that no symbols took.
    newline: u64,
    other: u64,
    /// The first character of a run of symbols.
    other_start: u64,
    /// Line breaks (and slashes) behind symbols.
    tail: u64,
    upper: u64,
    uncased: u64,
    mark: u64,
    /// After a small letter, in the same word.
    lower_part: u64,
    /// An uncased letter before any small one.
    upper_part_uncased: u64,
    /// Digits since the last group began; 0 outside numbers.
    digits: u32,
    /// The last white space of the text has begun.
    ended: bool,
    /// Bits of the next block that are no beginnings, and that are.
    clear: u64,
    set: u64,
}

/// The text and what is known of it as a whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a, 't> {
    pub(super) text: &'a Text<'t>,
    pub(super) kinds: &'a Kinds,
    pub(super) cuts: Option<&'a WordCuts>,
    /// Where the white space at the end of the text begins.
    pub(super) trailing: usize,
}

impl Scene<'_, '_> {
    /// Whether the place may be one at which [`WordCuts`] cut a piece.
    pub(super) fn may_be_cut(self, at: usize) -> bool {
        let Some(cuts) = self.cuts else {
            return false;
        };
        match near(self.text, at, &mut [0; 8]) {
            &around @ [_, _, 0x80..=0xFF, 0xC0..=0xFF, ..] => {
                cuts.is_cut(u64::from_le_bytes(around))
            }
            _ => false,
        }
    }
}

/// The bytes from a few before `at` on, as many as [`WordCuts`] look at. Zeros stand around the text; `room` is
/// for what needs them.
#[inline(always)]
fn near<'a, const N: usize>(text: &'a Text<'_>, at: usize, room: &'a mut [u8; N]) -> &'a [u8; N] {
    if let Some(from) = at.checked_sub(BEFORE) {
        return text.window(from);
    }
    let missing = BEFORE - at;
    room[missing..].copy_from_slice(&text.window::<N>(0)[..N - missing]);
    room
}

/// The bit before each, the lowest from the block before.
#[inline(always)]
fn previous(mask: u64, carry: u64) -> u64 {
    mask << 1 | carry >> 63
}

/// Spreads bits at the first bytes of characters over their other bytes.
#[inline(always)]
fn spread(mask: u64, carry: u64, continuations: u64) -> u64 {
    let mut mask = mask;
    for _ in 0..3 {
        mask |= previous(mask, carry) & continuations;
    }
    mask
}

/// The part of each run of `run` from a bit of `from` on.
#[inline(always)]
fn run_from(run: u64, from: u64) -> u64 {
    run & !run.wrapping_add(from & run)
}

/// The beginnings of pieces, and of parts cut off by [`WordCuts`], in the block at `at`, with
/// which `window` begins, or `None` where they must be found one by one. A block is `INTERIOR`
/// if a whole block more follows it.
#[inline(always)]
#[allow(clippy::too_many_lines)] // one algebra, in the order of its data flow
pub(super) fn block<K: Simd, const INTERIOR: bool>(
    kernel: K,
    rules: Rules,
    scene: Scene<'_, '_>,
    at: usize,
    window: &[u8; 2 * BLOCK],
    carry: &mut Carry,
) -> Option<u64> {
    let text = scene.text;
    let left = text.len() - at;
    let valid = if INTERIOR || left >= BLOCK {
        !0
    } else {
        (1 << left) - 1
    };
    kernel.fetch(window.as_ptr().wrapping_add(AHEAD));
    let block = kernel.load(window.first_chunk().unwrap_or(&[0; BLOCK]));
    let c = *carry;

    // ---- classes ------------------------------------------------------------------------

    let mut number = kernel.within(block, b'0', b'9');
    let space = kernel.equal(block, b' ');
    let mut white = space | kernel.within(block, b'\t', b'\r');
    let line_feeds = kernel.equal(block, b'\n') | kernel.equal(block, b'\r');
    let apostrophes = kernel.equal(block, b'\'');
    let (mut lower, mut upper) = if rules.cased {
        let (lower, upper) = (
            kernel.within(block, b'a', b'z'),
            kernel.within(block, b'A', b'Z'),
        );
        (lower, upper)
    } else {
        (kernel.letters(block), 0)
    };
    let (mut uncased, mut mark) = (0, 0);
    let high = kernel.high(block) & valid;
    let mut continuations = 0;
    let mut leads = 0;
    let mut last_wide_white = 0;
    if high != 0 {
        continuations = kernel.continuations(block) & valid;
        leads = high & !continuations;
        let found = kernel.kinds(scene.kinds, window, leads);
        if found.number != 0 && rules.number_max != 1 && rules.number_max != u32::MAX {
            return None; // groups are counted in characters
        }
        let letter_carry = if rules.cased {
            c.word & !(c.upper | c.uncased | c.mark)
        } else {
            c.word
        };
        lower |= spread(found.letter, letter_carry, continuations);
        number |= spread(found.number, c.number, continuations);
        white |= spread(found.white, c.white, continuations);
        if rules.cased {
            upper |= spread(found.upper, c.upper, continuations);
            uncased |= spread(found.uncased, c.uncased, continuations);
            mark |= spread(found.mark, c.mark, continuations);
        }
        last_wide_white = last_of_wide_white(scene, at, found.white);
    }
    // The end of the text goes on like white space that nothing follows.
    white |= !valid;
    let word = lower | upper | uncased | mark;
    let mut other = !(word | number | white);
    if rules.cased && (mark & !continuations & previous(other, c.other)) != 0 {
        return None; // a mark after a symbol may belong to it or begin a word
    }

    // ---- symbols and the line breaks behind them ----------------------------------------

    let newlines = line_feeds & valid;
    let tails = match rules.tail {
        Tail::Nothing => 0,
        Tail::Newlines => run_from(newlines, previous(other, c.other) | c.tail >> 63),
        Tail::NewlinesAndSlashes => {
            let run = newlines | kernel.equal(block, b'/');
            let mut starts = newlines & previous(other, c.other) | run & c.tail >> 63;
            let mut tails = 0;
            while starts != 0 {
                tails |= run_from(run, starts & starts.wrapping_neg());
                starts &= !tails;
            }
            other &= !tails;
            tails
        }
    };
    let free_white = white & !tails;
    let newline = newlines & !tails;
    let inline = free_white & !newlines;
    let takes_white = rules.tail != Tail::Nothing;
    let free_white_before = if takes_white { c.free_white } else { c.white };

    let mut other_begins = other & !previous(other, c.other);
    if rules.other_prefix {
        other_begins &= !previous(space, c.space);
    }

    // ---- words --------------------------------------------------------------------------

    let mut set = c.set;
    let mut clear = c.clear;
    let (mut next_set, mut next_clear) = (0, 0);
    if rules.cased && rules.suffix != Contraction::None {
        let mut candidates = apostrophes & previous(word, c.word) & valid;
        while candidates != 0 {
            let place = candidates.trailing_zeros();
            candidates &= candidates - 1;
            // The end of a contraction is no word to which another could belong.
            if set >> place & 1 == 0 {
                let length = contraction(text.window(at + place as usize), rules.suffix);
                if length > 0 {
                    mark_piece(
                        place,
                        length,
                        (&mut clear, &mut set),
                        (&mut next_clear, &mut next_set),
                    );
                    clear |= 1 << place;
                }
            }
        }
    }

    let other_starts = if continuations == 0 {
        other_begins
    } else {
        spread(other_begins, c.other_start, continuations & other)
    };
    let prefixed = match rules.word_prefix {
        WordPrefix::Nothing => 0,
        WordPrefix::Space => previous(space, c.space),
        WordPrefix::Any => previous(inline, c.inline) | previous(other_starts, c.other_start),
    };
    let mut word_begins = word & !previous(word, c.word) & !prefixed;
    let (mut lower_part, mut upper_part_uncased) = (0, 0);
    if rules.cased {
        // Letters of a contraction at the end of a word tell nothing of the next word.
        let (lower, upper) = (lower & !clear, upper & !clear);
        let both = uncased | mark;
        lower_part = lower | run_from(both, previous(lower, c.lower_part));
        upper_part_uncased = both & !lower_part;
        word_begins |= upper & previous(lower_part, c.lower_part);
        // A capital after uncased letters begins a word if only capitals follow.
        let mut events = upper & previous(upper_part_uncased, c.upper_part_uncased);
        while events != 0 {
            let place = events.trailing_zeros();
            events &= events - 1;
            if only_capitals_follow(scene, at + place as usize) {
                word_begins |= 1 << place;
            }
        }
    }

    // ---- numbers ------------------------------------------------------------------------

    let run_begins = number & !previous(number, c.number);
    let mut digits = 0;
    let mut number_begins = match rules.number_max {
        u32::MAX => run_begins,
        1 => number & !continuations,
        most => {
            let mut begins = run_begins;
            // A group that the block before began ends `most` digits after it did.
            if c.digits != 0 {
                let rest = most - c.digits;
                let needed = (2 << rest) - 1;
                if number & needed == needed {
                    begins |= 1 << rest;
                }
            }
            // Digits with `most` digits before them, one group after another.
            let mut followed = number;
            for before in 1..=most {
                followed &= number << before;
            }
            let mut groups = begins << most & followed;
            while groups != 0 {
                begins |= groups;
                groups = groups << most & followed;
            }
            if number >> 63 != 0 {
                digits = 1 + begins.leading_zeros();
            }
            begins
        }
    };
    if rules.number_prefix {
        number_begins &= !(run_begins & previous(space, c.space));
    }

    // ---- white space --------------------------------------------------------------------

    let white_after = if !INTERIOR && left <= BLOCK {
        1
    } else {
        // Where the block ends with something else, the answer does not matter.
        match window[BLOCK] {
            0x80.. if white >> 63 != 0 => u64::from(is_white(scene, at + BLOCK)),
            next => u64::from(is_ascii_white(next)),
        }
    };
    // The last white space before something else goes with it, or stands alone.
    let of_run = if rules.newlines { inline } else { free_white };
    let last = of_run & !(white >> 1 | white_after << 63) & !continuations | last_wide_white;
    let mut white_begins = free_white & !previous(free_white, free_white_before) | last;
    if rules.newlines {
        white_begins |= after_last_newline(scene, at, inline, newline, c.newline);
    }

    // ---- contractions, cuts, the end ----------------------------------------------------

    let mut begins = other_begins | word_begins | number_begins | white_begins;
    if rules.contraction != Contraction::None {
        let mut candidates = apostrophes & other_begins & valid;
        while candidates != 0 {
            let place = candidates.trailing_zeros();
            candidates &= candidates - 1;
            let length = contraction(text.window(at + place as usize), rules.contraction);
            if length > 0 {
                mark_piece(
                    place,
                    length,
                    (&mut clear, &mut set),
                    (&mut next_clear, &mut next_set),
                );
            }
        }
    }
    begins = begins & !clear | set;
    let mut cut_begins = 0;
    if let Some(cuts) = scene.cuts {
        let before_is_high = high << 1 | u64::from(at > 0 && text.bytes()[at - 1] >= 0x80);
        let mut candidates = leads & !begins & before_is_high;
        if candidates != 0 {
            let mut room = [0; 2 * BLOCK];
            let near = near(text, at, &mut room);
            while candidates != 0 {
                let place = candidates.trailing_zeros() as usize % BLOCK;
                let around = near[place..].first_chunk().copied().unwrap_or_default();
                // No branch: where words are cut cannot be predicted.
                let cut = u64::from(cuts.is_cut(u64::from_le_bytes(around))).wrapping_neg();
                cut_begins |= candidates & candidates.wrapping_neg() & cut;
                candidates &= candidates - 1;
            }
        }
    }
    let mut ended = c.ended;
    if rules.end_first && at + BLOCK > scene.trailing {
        let end = !0 << scene.trailing.saturating_sub(at);
        let at_the_end = begins & end & valid;
        begins &= !end;
        if !ended && at_the_end != 0 {
            begins |= at_the_end & at_the_end.wrapping_neg();
            ended = true;
        }
    }

    *carry = Carry {
        word,
        number,
        white,
        space,
        free_white: if takes_white { free_white } else { 0 },
        inline: if rules.word_prefix == WordPrefix::Any {
            inline
        } else {
            0
        },
        newline: if rules.newlines { newline } else { 0 },
        other,
        other_start: if rules.word_prefix == WordPrefix::Any {
            other_starts
        } else {
            0
        },
        tail: tails,
        upper,
        uncased,
        mark,
        lower_part,
        upper_part_uncased,
        digits,
        ended,
        clear: next_clear,
        set: next_set,
    };
    Some(begins & valid | cut_begins)
}

/// Notes that `length` bytes from `place` on are one piece: nothing begins inside
/// them, and something begins behind them.
#[inline(always)]
fn mark_piece(
    place: u32,
    length: u32,
    (clear, set): (&mut u64, &mut u64),
    (next_clear, next_set): (&mut u64, &mut u64),
) {
    let inside = ((1_u128 << length) - 2) << place;
    let behind = 1_u128 << (place + length);
    *clear |= inside as u64;
    *set |= behind as u64;
    *next_clear |= (inside >> 64) as u64;
    *next_set |= (behind >> 64) as u64;
}

/// The length of the contraction that `bytes` begin with, apostrophe included, or 0.
#[inline(always)]
fn contraction(bytes: &[u8; BLOCK], kind: Contraction) -> u32 {
    let fold = if kind == Contraction::Folded { 0x20 } else { 0 };
    match (bytes[1] | fold, bytes[2] | fold) {
        (b's' | b't' | b'm' | b'd', _) => 2,
        (b'r' | b'v', b'e') | (b'l', b'l') => 3,
        // ſ: the only other character that folds to one of these letters
        _ if kind == Contraction::Folded && bytes[1..3] == *"ſ".as_bytes() => 3,
        _ => 0,
    }
}

/// Those of `white`, characters of several bytes, that something else follows.
#[inline(always)]
fn last_of_wide_white(scene: Scene<'_, '_>, at: usize, mut white: u64) -> u64 {
    let mut last = 0;
    while white != 0 {
        let place = at + white.trailing_zeros() as usize;
        let after = place + 2 + usize::from(scene.text.bytes()[place] >= 0xE0);
        if after < scene.text.len() && !is_white(scene, after) {
            last |= white & white.wrapping_neg();
        }
        white &= white - 1;
    }
    last
}

#[inline(always)]
fn is_ascii_white(byte: u8) -> bool {
    (byte == b' ') | (byte.wrapping_sub(b'\t') <= b'\r' - b'\t')
}

/// Whether the byte at `at` is white space, or part of it.
#[inline(always)]
fn is_white(scene: Scene<'_, '_>, at: usize) -> bool {
    match scene.text.bytes().get(at) {
        // In 0x80..0xC0 the white space before goes on.
        None | Some(b' ' | b'\t'..=b'\r' | 0x80..0xC0) => true,
        Some(0..0x80) => false,
        Some(0xC0..) => kind_at(scene, at).0 == Kind::White,
    }
}

/// The kind of the character beyond ASCII at `at`, and its length.
#[inline(never)]
fn kind_at(scene: Scene<'_, '_>, at: usize) -> (Kind, usize) {
    let (code_point, length) = crate::unicode::decode(&scene.text.bytes()[at..]);
    (scene.kinds.of(code_point), length)
}

/// Where white space goes on after the last line break in it.
#[inline(always)]
fn after_last_newline(
    scene: Scene<'_, '_>,
    at: usize,
    inline: u64,
    newline: u64,
    carry: u64,
) -> u64 {
    let mut after = previous(newline, carry) & inline;
    if after == 0 {
        return 0;
    }
    let (behind, overflow) = inline.overflowing_add(after);
    // Runs that end in another line break are taken with it.
    let mut ends = behind & newline;
    while ends != 0 {
        let end = ends.trailing_zeros();
        ends &= ends - 1;
        let before = !inline & ((1 << end) - 1);
        let begin = 64 - before.leading_zeros();
        after &= !(1 << begin);
    }
    if overflow && newline_ends_white(scene, at + BLOCK) {
        let begin = 64 - (!inline).leading_zeros();
        after &= !(1 << begin);
    }
    after
}

/// Whether the white space at `at`, if any, has a line break.
#[cold]
fn newline_ends_white(scene: Scene<'_, '_>, mut at: usize) -> bool {
    while let Some(&byte) = scene.text.bytes().get(at) {
        match byte {
            b'\n' | b'\r' => return true,
            b' ' | b'\t'..=b'\r' | 0x80..0xC0 => at += 1,
            0..0x80 => return false,
            0xC0.. => match kind_at(scene, at) {
                (Kind::White, length) => at += length,
                _ => return false,
            },
        }
    }
    false
}

/// Whether the capitals from `at` on end before any other letter.
#[cold]
fn only_capitals_follow(scene: Scene<'_, '_>, mut at: usize) -> bool {
    while let Some(&byte) = scene.text.bytes().get(at) {
        let (kind, length) = match byte {
            b'A'..=b'Z' => (Kind::Upper, 1),
            b'a'..=b'z' => (Kind::Letter, 1),
            0..0x80 => return true,
            0x80.. => kind_at(scene, at),
        };
        match kind {
            Kind::Upper => at += length,
            Kind::Letter | Kind::Uncased | Kind::Mark => return false,
            Kind::Other | Kind::Number | Kind::White => return true,
        }
    }
    true
}
