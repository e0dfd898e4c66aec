//! The scanner for [`Shape`]s: no automaton, one pass, a few table look-ups.
//!
//! One function tries the alternatives of a shape in order at a place. It is
//! written once, over a [`Source`] of the shape: for the named patterns that is
//! a constant, so that the compiler drops what the pattern does not have and
//! folds masks into comparisons; for any other recognised pattern it is a value.
//!
//! Time is linear on every input. Each attempt reads no further than a run of
//! one kind, and whoever reads a whole run either takes it or, for white space
//! and o200k's capitals, leaves a rest that the next attempt takes.

use super::{Effort, Split};
use crate::pattern::grammar::{Contraction, Run, Shape, Whitespace};
use crate::unicode::{ASCII_LOWER, ASCII_UPPER, Mask, NEWLINE, WHITESPACE, class_at};

/// Where the scanner finds its parameters.
pub(super) trait Source: Send + Sync + std::fmt::Debug {
    fn shape(&self) -> Shape;
}

/// Known when compiled. `WHICH` indexes [`super::SCANNED`].
#[derive(Debug)]
pub(super) struct Fixed<const WHICH: usize>;

impl<const WHICH: usize> Source for Fixed<WHICH> {
    #[inline(always)]
    fn shape(&self) -> Shape {
        const { super::SCANNED[WHICH] }
    }
}

impl Source for Shape {
    #[inline(always)]
    fn shape(&self) -> Shape {
        *self
    }
}

/// Splits as the shape says.
#[derive(Debug)]
pub(super) struct Scan<S>(pub(super) S);

impl<S: Source> Split for Scan<S> {
    fn fill(&self, text: &[u8], start: usize, ends: &mut [usize], _: &mut Effort) -> usize {
        let shape = self.0.shape();
        let mut filled = 0;
        let mut at = start;
        while at < text.len() && filled < ends.len() {
            at = next_end(&shape, text, at);
            ends[filled] = at;
            filled += 1;
        }
        filled
    }
}

/// The end of the piece that starts at `at`.
#[inline(always)]
pub(super) fn next_end(shape: &Shape, text: &[u8], at: usize) -> usize {
    token_end(shape, text, at).unwrap_or_else(|| gap_end(shape, text, at))
}

/// The end of text that no alternative matches.
#[cold]
fn gap_end(shape: &Shape, text: &[u8], start: usize) -> usize {
    let mut at = start;
    loop {
        at += class_at(text, at).1;
        if at >= text.len() || token_end(shape, text, at).is_some() {
            return at;
        }
    }
}

/// The end of the pre-token that starts at `at`, if an alternative matches.
#[inline(always)]
fn token_end(shape: &Shape, text: &[u8], at: usize) -> Option<usize> {
    let (class, len) = class_at(text, at);
    let second = at + len;
    if shape.contraction != Contraction::None && text[at] == b'\'' {
        let end = contraction_end(text, at, shape.contraction);
        if end > at {
            return Some(end);
        }
    }
    if class & shape.tag.head != 0 {
        let end = run_end(text, second, shape.tag.body);
        if end > second {
            return Some(end);
        }
    }
    if (shape.cased.upper | shape.cased.lower) != 0 {
        let end = cased_end(shape, text, at, class, second);
        if end.is_some() {
            return end;
        }
    }
    for run in &shape.runs {
        if class & run.prefix != 0 {
            let (next, len) = class_at(text, second);
            if next & run.body != 0 {
                return Some(body_end(run, text, second + len));
            }
        }
        if class & run.body != 0 {
            return Some(body_end(run, text, second));
        }
    }
    match shape.whitespace {
        _ if class & WHITESPACE == 0 => None,
        Whitespace::None => None,
        Whitespace::One => Some(second),
        Whitespace::Run => Some(whitespace_end(shape, text, at)),
    }
}

/// The end of a run whose first character ends at `at`, with its tail.
#[inline(always)]
fn body_end(run: &Run, text: &[u8], at: usize) -> usize {
    let end = if run.max == u32::MAX {
        run_end(text, at, run.body)
    } else {
        bounded_run_end(text, at, run.body, run.max - 1)
    };
    if run.tail == 0 {
        end
    } else {
        run_end(text, end, run.tail)
    }
}

/// The end of the longest run of `mask` from `at`.
#[inline(always)]
fn run_end(text: &[u8], mut at: usize, mask: Mask) -> usize {
    const LETTERS: Mask = ASCII_UPPER | ASCII_LOWER;
    loop {
        // Most runs are of letters, and their lengths cannot be predicted: eight
        // bytes at a time make one branch of many.
        if mask & LETTERS != 0 {
            while let Some(eight) = text[at..].first_chunk() {
                let letters =
                    leading_letters(*eight, mask & ASCII_UPPER != 0, mask & ASCII_LOWER != 0);
                at += letters;
                if letters < 8 {
                    break;
                }
            }
        }
        let (class, len) = class_at(text, at);
        if class & mask == 0 {
            return at;
        }
        at += len;
    }
}

/// How many of eight bytes, from the first, are ASCII letters of the case wanted.
#[inline(always)]
fn leading_letters(bytes: [u8; 8], upper: bool, lower: bool) -> usize {
    const fn each(byte: u8) -> u64 {
        0x0101_0101_0101_0101 * byte as u64
    }
    let bytes = u64::from_le_bytes(bytes);
    let wanted_as_lower = match (upper, lower) {
        (true, true) => bytes | each(0x20),
        (true, false) => bytes ^ each(0x20),
        _ => bytes,
    };
    // Seven bits a byte, so that the sums carry into their own eighth.
    let low = wanted_as_lower & each(0x7F);
    let from_a = low + each(0x80 - b'a');
    let past_z = low + each(0x7F - b'z');
    let others = (!from_a | past_z | bytes) & each(0x80);
    others.trailing_zeros() as usize / 8
}

#[inline(always)]
fn bounded_run_end(text: &[u8], mut at: usize, mask: Mask, max: u32) -> usize {
    for _ in 0..max {
        let (class, len) = class_at(text, at);
        if class & mask == 0 {
            break;
        }
        at += len;
    }
    at
}

/// The end of `'s`, `'t`, `'m`, `'d`, `'re`, `'ve` or `'ll` at `at`, else `at`.
#[inline(always)]
fn contraction_end(text: &[u8], at: usize, kind: Contraction) -> usize {
    let fold = if kind == Contraction::Folded { 0x20 } else { 0 };
    let letter = |after: usize| text.get(at + after).map_or(0, |&byte| byte | fold);
    let len = match (letter(1), letter(2)) {
        (b's' | b't' | b'm' | b'd', _) => 2,
        (b'r' | b'v', b'e') | (b'l', b'l') => 3,
        // ſ: the only other character that folds to one of these letters
        _ if kind == Contraction::Folded && text[at + 1..].starts_with("ſ".as_bytes()) => 3,
        _ => 0,
    };
    at + len
}

/// `prefix?upper*lower+suffix?`, then `prefix?upper+lower*suffix?`, each with
/// the prefix first and without it if that fails.
#[inline(always)]
fn cased_end(shape: &Shape, text: &[u8], at: usize, class: Mask, second: usize) -> Option<usize> {
    let cased = shape.cased;
    let starts = [
        if class & cased.prefix != 0 {
            Some(second)
        } else {
            None
        },
        Some(at),
    ];
    let mut end = None;
    for start in starts.into_iter().flatten() {
        end = end.or_else(|| lower_end(shape, text, start));
    }
    for start in starts.into_iter().flatten() {
        end = end.or_else(|| {
            let upper = run_end(text, start, cased.upper);
            (upper > start).then(|| run_end(text, upper, cased.lower))
        });
    }
    let end = end?;
    if cased.suffix != Contraction::None && text.get(end) == Some(&b'\'') {
        return Some(contraction_end(text, end, cased.suffix));
    }
    Some(end)
}

/// The end of `upper*lower+` from `start`. Some characters are both: when the
/// capitals leave nothing for `lower+`, they give back down to the last such
/// character, and all that follows it is capitals.
#[inline(always)]
fn lower_end(shape: &Shape, text: &[u8], start: usize) -> Option<usize> {
    let cased = shape.cased;
    let mut at = start;
    let mut last_both = None;
    loop {
        let (class, len) = class_at(text, at);
        if class & cased.upper == 0 {
            let end = run_end(text, at, cased.lower);
            return if end > at { Some(end) } else { last_both };
        }
        at += len;
        if class & cased.lower != 0 {
            last_both = Some(at);
        }
    }
}

/// The end of the white space from `at` that is one pre-token.
#[inline(always)]
fn whitespace_end(shape: &Shape, text: &[u8], at: usize) -> usize {
    let mut end = at;
    let mut last_start = at;
    let mut last_newline_end = at;
    loop {
        let (class, len) = class_at(text, end);
        if class & WHITESPACE == 0 {
            break;
        }
        last_start = end;
        end += len;
        if class & NEWLINE != 0 {
            last_newline_end = end;
        }
    }
    let to_the_end = end == text.len();
    if shape.end_first && to_the_end {
        end
    } else if shape.newlines && last_newline_end > at {
        last_newline_end
    } else if shape.look_ahead && !to_the_end && last_start > at {
        last_start
    } else {
        end
    }
}

#[cfg(test)]
mod tests {
    use super::leading_letters;

    #[test]
    fn letters_are_counted_as_one_by_one() {
        for byte in 0..=255_u8 {
            for at in 0..8 {
                for (upper, lower) in [(true, true), (true, false), (false, true)] {
                    let letter = if upper { b'Z' } else { b'z' };
                    let mut bytes = [letter; 8];
                    bytes[at] = byte;
                    let wanted =
                        byte.is_ascii_uppercase() && upper || byte.is_ascii_lowercase() && lower;
                    let expected = if wanted { 8 } else { at };
                    assert_eq!(leading_letters(bytes, upper, lower), expected, "{byte}");
                }
            }
        }
    }
}
