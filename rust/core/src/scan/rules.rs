//! What the mask scanner has to know of a pattern.
//!
//! The grammar has more patterns than the scanner. [`Rules::of`] takes those in which words,
//! numbers and the rest share out what is no white space, as all GPT-style
//! patterns do that have a name of their own, but for `DeepSeek`'s.

use crate::pattern::grammar::{
    BEFORE_WORD, Contraction, GPT2, LLAMA3, NO_RUN, O200K, Run, Shape, Whitespace,
};
use crate::simd::{Kind, Kinds};
use crate::unicode::{
    ALL, LETTER, LOWER_OR_UNCASED, MARK, Mask, NEWLINE, NUMBER, SLASH, SPACE, TABLE, UNCASED,
    UPPER_OR_UNCASED, WHITESPACE,
};

/// The parameters of the mask scanner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // independent choices of a pattern
pub(super) struct Rules {
    /// `'s|'t|…` before everything else.
    pub(super) contraction: Contraction,
    /// Words break before a capital, and marks are letters within words.
    pub(super) cased: bool,
    /// `'s|'t|…` at the end of a word.
    pub(super) suffix: Contraction,
    /// Marks are letters everywhere.
    pub(super) marks_join: bool,
    pub(super) word_prefix: WordPrefix,
    /// A space before numbers belongs to them.
    pub(super) number_prefix: bool,
    /// Characters of a number; `u32::MAX` is unbounded.
    pub(super) number_max: u32,
    /// A space before anything else belongs to it.
    pub(super) other_prefix: bool,
    pub(super) tail: Tail,
    /// White space at the end of the text is one piece.
    pub(super) end_first: bool,
    /// White space up to its last line break is one piece.
    pub(super) newlines: bool,
}

/// What before a word belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WordPrefix {
    Nothing,
    Space,
    /// One character but line breaks, letters and numbers.
    Any,
}

/// What behind symbols belongs to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    Nothing,
    Newlines,
    NewlinesAndSlashes,
}

/// Groups of digits longer than this are left to the scalar scanner.
const LONGEST_GROUP: u32 = 16;

impl Rules {
    pub(super) const PLAIN: Self = match Self::of(&GPT2) {
        Some(rules) => rules,
        None => panic!("the scanner follows GPT-2's pattern"),
    };
    pub(super) const PREFIXED: Self = match Self::of(&LLAMA3) {
        Some(rules) => rules,
        None => panic!("the scanner follows Llama 3's pattern"),
    };
    pub(super) const CASED: Self = match Self::of(&O200K) {
        Some(rules) => rules,
        None => panic!("the scanner follows o200k's pattern"),
    };
    pub(super) const MARKS_JOIN: Self = Self {
        marks_join: true,
        ..Self::PLAIN
    };

    /// The rules that say what `shape` says, if the scanner can follow them.
    pub(super) const fn of(shape: &Shape) -> Option<Self> {
        if shape.tag.head != 0 || !shape.look_ahead || matches!(shape.whitespace, Whitespace::None)
        {
            return None;
        }
        let [first, second, third] = shape.runs;
        let cased = (shape.cased.upper | shape.cased.lower) != 0;
        let (word, prefix, number, other) = if cased {
            let usual = shape.cased.upper == UPPER_OR_UNCASED
                && shape.cased.lower == LOWER_OR_UNCASED
                && matches!(shape.contraction, Contraction::None)
                && is_nothing(third);
            if !usual {
                return None;
            }
            (LETTER, shape.cased.prefix, first, second)
        } else {
            if first.max != u32::MAX || first.tail != 0 {
                return None;
            }
            (first.body, first.prefix, second, third)
        };
        let marks_join = word == LETTER | MARK;
        if !marks_join && word != LETTER {
            return None;
        }
        if number.body != NUMBER || number.tail != 0 || number.max == 0 {
            return None;
        }
        if number.max > LONGEST_GROUP && number.max != u32::MAX {
            return None;
        }
        let rest = ALL & !(WHITESPACE | word | NUMBER);
        if other.body != rest || other.max != u32::MAX {
            return None;
        }
        // A mark before a word that may hold marks belongs to it anyway.
        let ignored = if marks_join { MARK } else { 0 };
        let word_prefix = match prefix {
            0 => WordPrefix::Nothing,
            SPACE => WordPrefix::Space,
            _ if prefix | ignored == BEFORE_WORD | ignored => WordPrefix::Any,
            _ => return None,
        };
        // Marks at the beginning of a word are taken for its prefix or for letters.
        if cased && !matches!(word_prefix, WordPrefix::Any) {
            return None;
        }
        if !is_space_or_nothing(number.prefix) || !is_space_or_nothing(other.prefix) {
            return None;
        }
        let tail = match other.tail {
            0 => Tail::Nothing,
            NEWLINE => Tail::Newlines,
            _ if other.tail == NEWLINE | SLASH => Tail::NewlinesAndSlashes,
            _ => return None,
        };
        Some(Self {
            contraction: shape.contraction,
            cased,
            suffix: shape.cased.suffix,
            marks_join,
            word_prefix,
            number_prefix: number.prefix == SPACE,
            number_max: number.max,
            other_prefix: other.prefix == SPACE,
            tail,
            end_first: shape.end_first,
            newlines: shape.newlines,
        })
    }

    /// What these rules take every character for.
    pub(super) fn kinds(self) -> Kinds {
        let (row_of, rows) = TABLE.rows();
        let rows = rows.iter().map(|row| row.map(|class| self.kind(class)));
        Kinds::new(row_of, rows)
    }

    fn kind(self, class: Mask) -> Kind {
        match class {
            _ if class & WHITESPACE != 0 => Kind::White,
            _ if class & NUMBER != 0 => Kind::Number,
            _ if class & MARK != 0 && self.cased => Kind::Mark,
            _ if class & MARK != 0 && self.marks_join => Kind::Letter,
            _ if class & LETTER == 0 => Kind::Other,
            _ if class & UNCASED != 0 && self.cased => Kind::Uncased,
            _ if class & UPPER_OR_UNCASED & !UNCASED != 0 && self.cased => Kind::Upper,
            _ => Kind::Letter,
        }
    }
}

const fn is_space_or_nothing(prefix: Mask) -> bool {
    prefix == 0 || prefix == SPACE
}

const fn is_nothing(run: Run) -> bool {
    run.prefix == NO_RUN.prefix && run.body == NO_RUN.body && run.tail == NO_RUN.tail
}
