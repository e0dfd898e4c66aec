//! Every character's class, as one bit, in one look-up.
//!
//! The classes are a partition of all code points, fine enough that each set
//! in the GPT-style patterns (`\p{L}`, `[^\s\p{L}\p{N}]`, `[\r\n/]`, …) is a
//! union of classes. A set is then a mask, and "is this character in that set"
//! is one load and one `and`.
//!
//! The tables come from `regex-syntax` at first use (about a millisecond), so
//! the scanner, the regex behind it, tiktoken and Hugging Face's tokenizers
//! agree on Unicode's version. The 4,352 rows of 256 code points repeat so
//! much that some 130 different ones remain, 70 KB in all.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind};

/// A set of classes.
pub(crate) type Mask = u16;

pub(crate) const SPACE: Mask = 1 << 0;
/// `\r` and `\n`.
pub(crate) const NEWLINE: Mask = 1 << 1;
/// White space but the space, `\r` and `\n`.
pub(crate) const OTHER_WHITESPACE: Mask = 1 << 2;
pub(crate) const ASCII_UPPER: Mask = 1 << 3;
pub(crate) const ASCII_LOWER: Mask = 1 << 4;
/// `Lu` and `Lt` beyond ASCII.
const OTHER_UPPER: Mask = 1 << 5;
/// `Ll` beyond ASCII.
const OTHER_LOWER: Mask = 1 << 6;
/// `Lm` and `Lo`: letters without case.
pub(crate) const UNCASED: Mask = 1 << 7;
pub(crate) const MARK: Mask = 1 << 8;
pub(crate) const NUMBER: Mask = 1 << 9;
pub(crate) const SLASH: Mask = 1 << 10;
/// ASCII punctuation and symbols but the slash.
const OTHER_ASCII_PUNCTUATION: Mask = 1 << 11;
/// `P` and `S` beyond ASCII.
const OTHER_PUNCTUATION: Mask = 1 << 12;
/// Control, format, unassigned.
const REST: Mask = 1 << 13;

const CLASSES: usize = 14;
pub(crate) const ALL: Mask = (1 << CLASSES) - 1;

pub(crate) const WHITESPACE: Mask = SPACE | NEWLINE | OTHER_WHITESPACE;
/// `Lu`, `Lt`, and what o200k's pattern takes for either case.
pub(crate) const UPPER_OR_UNCASED: Mask = ASCII_UPPER | OTHER_UPPER | UNCASED | MARK;
/// `Ll`, and what o200k's pattern takes for either case.
pub(crate) const LOWER_OR_UNCASED: Mask = ASCII_LOWER | OTHER_LOWER | UNCASED | MARK;
pub(crate) const LETTER: Mask = ASCII_UPPER | ASCII_LOWER | OTHER_UPPER | OTHER_LOWER | UNCASED;
pub(crate) const ASCII_PUNCTUATION: Mask = SLASH | OTHER_ASCII_PUNCTUATION;
pub(crate) const PUNCTUATION: Mask = ASCII_PUNCTUATION | OTHER_PUNCTUATION;

/// The classes from bit 0 up, but the last, which is all that is left.
const DEFINITIONS: [&str; CLASSES - 1] = [
    r"\x20",
    r"[\r\n]",
    r"[\s--\x20\r\n]",
    "[A-Z]",
    "[a-z]",
    r"[\p{Lu}\p{Lt}--A-Z]",
    r"[\p{Ll}--a-z]",
    r"[\p{Lm}\p{Lo}]",
    r"\p{M}",
    r"\p{N}",
    "/",
    r"[\p{P}\p{S}&&\x00-\x7F--/]",
    r"[\p{P}\p{S}--\x00-\x7F]",
];

/// Class of every code point, with the sets they were made from.
#[derive(Debug)]
pub(crate) struct Classes {
    row_of: Vec<u8>,
    rows: Vec<[Mask; ROW]>,
    sets: Vec<ClassUnicode>,
}

const ROW: usize = 256;
const CODE_POINTS: usize = 0x11_0000;

pub(crate) static TABLE: LazyLock<Classes> = LazyLock::new(Classes::new);

impl Classes {
    fn new() -> Self {
        let mut sets: Vec<ClassUnicode> = DEFINITIONS
            .iter()
            .map(|text| set(text).expect("the definitions are sets"))
            .collect();
        let mut rest = ClassUnicode::empty();
        for set in &sets {
            rest.union(set);
        }
        rest.negate();
        sets.push(rest);

        let mut flat = vec![REST; CODE_POINTS];
        for (class, set) in sets.iter().enumerate() {
            for range in set.ranges() {
                flat[range.start() as usize..=range.end() as usize].fill(1 << class);
            }
        }
        let mut rows: Vec<[Mask; ROW]> = Vec::new();
        let row_of = flat
            .as_chunks::<ROW>()
            .0
            .iter()
            .map(|row| {
                let known = rows.iter().rposition(|other| other == row);
                known.unwrap_or_else(|| {
                    rows.push(*row);
                    rows.len() - 1
                }) as u8
            })
            .collect();
        Self { row_of, rows, sets }
    }

    /// The class of a code point, as a mask of one bit.
    #[inline]
    pub(crate) fn of(&self, code_point: u32) -> Mask {
        self.row_of
            .get(code_point as usize / ROW)
            .map_or(REST, |&row| {
                self.rows[row as usize][code_point as usize % ROW]
            })
    }

    /// Which row each 256 code points have, and the rows.
    pub(crate) fn rows(&self) -> (&[u8], &[[Mask; ROW]]) {
        (&self.row_of, &self.rows)
    }

    /// The mask of `set`, if it is a union of classes.
    pub(crate) fn mask(&self, set: &ClassUnicode) -> Option<Mask> {
        let mut mask = 0;
        for (class, members) in self.sets.iter().enumerate() {
            let mut shared = members.clone();
            shared.intersect(set);
            if shared == *members {
                mask |= 1 << class;
            } else if !shared.ranges().is_empty() {
                return None;
            }
        }
        Some(mask)
    }
}

/// The classes of ASCII, known at compile time.
pub(crate) const ASCII: [Mask; 128] = {
    let mut classes = [REST; 128];
    let mut byte = 0;
    while byte < 128 {
        classes[byte] = match byte as u8 {
            b' ' => SPACE,
            b'\r' | b'\n' => NEWLINE,
            b'\t' | 0x0B | 0x0C => OTHER_WHITESPACE,
            b'A'..=b'Z' => ASCII_UPPER,
            b'a'..=b'z' => ASCII_LOWER,
            b'0'..=b'9' => NUMBER,
            b'/' => SLASH,
            b'!'..=b'~' => OTHER_ASCII_PUNCTUATION,
            _ => REST,
        };
        byte += 1;
    }
    classes
};

/// The class of the character at `at` and its length in bytes; no class and no
/// length at the end of the text. `text` is valid UTF-8 and `at` a boundary.
#[inline]
pub(crate) fn class_at(text: &[u8], at: usize) -> (Mask, usize) {
    match text.get(at) {
        None => (0, 0),
        Some(&byte) if byte < 0x80 => (ASCII[byte as usize], 1),
        Some(_) => beyond_ascii(text, at),
    }
}

fn beyond_ascii(text: &[u8], at: usize) -> (Mask, usize) {
    let (code_point, len) = decode(&text[at..]);
    (TABLE.of(code_point), len)
}

/// The character that `text`, valid UTF-8, begins with, and its length.
pub(crate) fn decode(text: &[u8]) -> (u32, usize) {
    let tail = |byte: u8| u32::from(byte & 0x3F);
    match *text {
        [a, b, c, d, ..] if a >= 0xF0 => {
            let high = u32::from(a & 0x07) << 18 | tail(b) << 12;
            (high | tail(c) << 6 | tail(d), 4)
        }
        [a, b, c, ..] if a >= 0xE0 => (u32::from(a & 0x0F) << 12 | tail(b) << 6 | tail(c), 3),
        [a, b, ..] if a >= 0xC0 => (u32::from(a & 0x1F) << 6 | tail(b), 2),
        [a, ..] => (u32::from(a), 1),
        [] => (0, 0),
    }
}

/// The set of characters that `text`, one atom, matches.
pub(crate) fn set(text: &str) -> Option<ClassUnicode> {
    set_of(&regex_syntax::parse(text).ok()?)
}

/// The set of characters that `hir` matches, if it matches one character.
pub(crate) fn set_of(hir: &Hir) -> Option<ClassUnicode> {
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class.clone()),
        HirKind::Class(Class::Bytes(class)) => class.to_unicode_class(),
        HirKind::Literal(literal) => {
            let mut chars = std::str::from_utf8(&literal.0).ok()?.chars();
            let only = chars.next()?;
            let range = ClassUnicodeRange::new(only, only);
            chars.next().is_none().then(|| ClassUnicode::new([range]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(mask: Mask) -> usize {
        (0..CODE_POINTS as u32)
            .filter(|&c| TABLE.of(c) & mask != 0)
            .count()
    }

    /// The figures of the tables that tiktoken 0.14 and tokenizers 0.23 ship.
    #[test]
    fn unicode_version_is_pinned() {
        assert_eq!(members(LETTER), 141_028);
        assert_eq!(members(NUMBER), 1_911);
        assert_eq!(members(WHITESPACE), 25);
    }

    #[test]
    fn classes_are_disjoint() {
        for (index, one) in TABLE.sets.iter().enumerate() {
            for other in &TABLE.sets[..index] {
                let mut shared = one.clone();
                shared.intersect(other);
                assert!(shared.ranges().is_empty());
            }
        }
        assert!(TABLE.rows.len() <= 256, "rows are numbered by a byte");
    }

    #[test]
    fn ascii_table_and_decoding_agree_with_the_full_table() {
        for c in '\0'..=char::MAX {
            let mut buffer = [0; 4];
            let text = c.encode_utf8(&mut buffer).as_bytes();
            assert_eq!(
                class_at(text, 0),
                (TABLE.of(u32::from(c)), text.len()),
                "{c:?}"
            );
        }
    }

    #[test]
    fn masks_are_exactly_the_unions() {
        let mask = |text| TABLE.mask(&set(text).unwrap());
        assert_eq!(mask(r"\p{L}"), Some(LETTER));
        assert_eq!(
            mask(r"[^\s\p{L}\p{N}]"),
            Some(ALL & !(WHITESPACE | LETTER | NUMBER))
        );
        assert_eq!(mask(r"[\r\n/]"), Some(NEWLINE | SLASH));
        assert_eq!(mask(r"\s"), Some(WHITESPACE));
        assert_eq!(mask(r"[\p{P}\p{S}]"), Some(PUNCTUATION));
        assert_eq!(mask("[a-y]"), None);
        assert_eq!(mask(r"\w"), None, "holds U+200D, a format character");
    }
}
