//! What kind of character a code point is, for one family of patterns.
//!
//! Two forms of the same function: rows of 256 code points, for looking up one
//! character, and rows of 64 code points, arranged for looking up a whole block of
//! characters with byte permutes. Characters are few kinds, so most
//! rows of 64 are of one kind throughout; the kinds in the others lie in three
//! bit planes. What has no place there is left to the first form.

use super::BLOCK;

/// What a pattern takes a character for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Punctuation, symbols and the rest.
    Other = 0,
    /// Any letter; only lower case where a pattern tells case apart.
    Letter = 1,
    Upper = 2,
    /// A letter that is both, for patterns that tell case apart.
    Uncased = 3,
    /// A mark, where a pattern treats marks in a way of its own.
    Mark = 4,
    Number = 5,
    White = 6,
}

/// In rows of 64: the character must be looked up by itself.
const UNRESOLVED: u8 = 7;
/// Rows of 64 of several kinds that there is room for.
const MIXED: usize = 64;
const ROW: usize = 256;

/// The kind of every code point.
#[derive(Debug)]
pub(crate) struct Kinds {
    row_of: Box<[u8]>,
    rows: Box<[[u8; ROW]]>,
    pub(super) by_permute: Box<PermuteTables>,
}

/// The first 65,536 code points in rows of 64.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct PermuteTables {
    /// The kind of a whole row, or 0x80 plus the number of a mixed row.
    pub(super) row: [u8; 1024],
    /// Bit planes of the kinds in mixed rows, eight bytes a row.
    pub(super) planes: [[u8; 8 * MIXED]; 3],
}

/// The characters of each kind in a block, as bits at their first bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct KindMasks {
    pub(crate) letter: u64,
    pub(crate) upper: u64,
    pub(crate) uncased: u64,
    pub(crate) mark: u64,
    pub(crate) number: u64,
    pub(crate) white: u64,
}

impl Kinds {
    /// From rows of 256 code points: which row each 256 code points have, and the rows.
    pub(crate) fn new(row_of: &[u8], rows: impl Iterator<Item = [Kind; ROW]>) -> Self {
        let rows: Box<[[u8; ROW]]> = rows.map(|row| row.map(|kind| kind as u8)).collect();
        let by_permute = PermuteTables::new(|code_point| {
            let row = row_of[code_point / ROW] as usize;
            rows[row][code_point % ROW]
        });
        Self {
            row_of: row_of.into(),
            rows,
            by_permute: Box::new(by_permute),
        }
    }

    /// The kind of one code point.
    #[inline(always)]
    pub(crate) fn of(&self, code_point: u32) -> Kind {
        let row = self.row_of.get(code_point as usize / ROW);
        let row = row.and_then(|&row| self.rows.get(row as usize));
        match row.map_or(0, |row| row[code_point as usize % ROW]) {
            1 => Kind::Letter,
            2 => Kind::Upper,
            3 => Kind::Uncased,
            4 => Kind::Mark,
            5 => Kind::Number,
            6 => Kind::White,
            _ => Kind::Other,
        }
    }

    /// [`super::Simd::kinds`] without registers.
    #[inline(always)]
    pub(crate) fn one_by_one(&self, bytes: &[u8; 2 * BLOCK], mut leads: u64) -> KindMasks {
        let mut masks = [0; 8];
        while leads != 0 {
            let at = leads.trailing_zeros() as usize % BLOCK;
            let code_point = decode(bytes, at);
            let row = self.row_of.get(code_point as usize / ROW);
            let row = row.and_then(|&row| self.rows.get(row as usize));
            let kind = row.map_or(0, |row| row[code_point as usize % ROW]);
            masks[kind as usize % 8] |= leads & leads.wrapping_neg();
            leads &= leads - 1;
        }
        KindMasks {
            letter: masks[Kind::Letter as usize],
            upper: masks[Kind::Upper as usize],
            uncased: masks[Kind::Uncased as usize],
            mark: masks[Kind::Mark as usize],
            number: masks[Kind::Number as usize],
            white: masks[Kind::White as usize],
        }
    }
}

impl KindMasks {
    /// Adds the characters of `other`.
    #[inline(always)]
    pub(super) fn with(self, other: Self) -> Self {
        Self {
            letter: self.letter | other.letter,
            upper: self.upper | other.upper,
            uncased: self.uncased | other.uncased,
            mark: self.mark | other.mark,
            number: self.number | other.number,
            white: self.white | other.white,
        }
    }
}

/// The character that begins at `at` with a byte of 0xC2 or above.
#[inline(always)]
fn decode(bytes: &[u8; 2 * BLOCK], at: usize) -> u32 {
    let byte = |after: usize| u32::from(bytes[(at + after) % (2 * BLOCK)]);
    let tail = |after: usize| byte(after) & 0x3F;
    let first = byte(0);
    if first < 0xE0 {
        (first & 0x1F) << 6 | tail(1)
    } else if first < 0xF0 {
        (first & 0x0F) << 12 | tail(1) << 6 | tail(2)
    } else {
        (first & 0x07) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3)
    }
}

impl PermuteTables {
    fn new(kind_of: impl Fn(usize) -> u8) -> Self {
        let mut tables = Self {
            row: [UNRESOLVED; 1024],
            planes: [[0; 8 * MIXED]; 3],
        };
        let mut mixed = 0;
        for row in ROWS_IN_ORDER.into_iter().flatten() {
            let kinds: [u8; 64] = std::array::from_fn(|column| kind_of(row * 64 + column));
            let resolved = kinds.map(|kind| {
                if kind <= Kind::Mark as u8 {
                    kind
                } else {
                    UNRESOLVED
                }
            });
            if resolved.iter().all(|&kind| kind == resolved[0]) {
                tables.row[row] = resolved[0];
            } else if mixed < MIXED {
                tables.row[row] = 0x80 | mixed as u8;
                for (column, kind) in resolved.into_iter().enumerate() {
                    for (bit, plane) in tables.planes.iter_mut().enumerate() {
                        plane[mixed * 8 + column / 8] |= (kind >> bit & 1) << (column % 8);
                    }
                }
                mixed += 1;
            }
        }
        tables
    }
}

/// All rows of 64 code points, those that most need a place among the mixed rows
/// first: alphabets, general punctuation, kana and full-width forms.
const ROWS_IN_ORDER: [std::ops::Range<usize>; 7] = [
    0..0x44,
    0x80..0x84,
    0xC0..0xC4,
    0x3FC..0x400,
    0x44..0x80,
    0x84..0xC0,
    0xC4..0x3FC,
];
