//! The grammar that GPT-style patterns share.
//!
//! Every such pattern is the same list of alternatives with other parameters: a
//! contraction, a head with ASCII letters, words, numbers, the rest, and rules
//! for white space at the end. [`Shape`] holds the parameters; two spellings of
//! one pattern have equal shapes.

use regex_syntax::hir::ClassUnicode;

use crate::unicode::{
    ALL, ASCII_LOWER, ASCII_PUNCTUATION, ASCII_UPPER, LETTER, LOWER_OR_UNCASED, MARK, Mask,
    NEWLINE, NUMBER, PUNCTUATION, SLASH, SPACE, UPPER_OR_UNCASED, WHITESPACE,
};

/// The parameters of a GPT-style pattern, in the order in which its
/// alternatives are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// `'s|'t|'re|'ve|'m|'ll|'d`.
    pub(crate) contraction: Contraction,
    /// `head body+`: `DeepSeek`'s punctuation with the letters after it.
    pub(crate) tag: Tag,
    /// o200k's pair of alternatives: words break before a capital.
    pub(crate) cased: Cased,
    /// Words, numbers, and the rest: up to three runs.
    pub(crate) runs: [Run; 3],
    /// `\s+$` before line breaks.
    pub(crate) end_first: bool,
    /// `\s*[\r\n]+`: white space up to the last line break.
    pub(crate) newlines: bool,
    /// `\s+(?!\S)`: white space but the last character, which goes with what follows.
    pub(crate) look_ahead: bool,
    /// `\s+` or `\s` last.
    pub(crate) whitespace: Whitespace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contraction {
    None,
    /// Lower case only.
    Exact,
    /// Either case, and ſ (U+017F), which is s when case is ignored.
    Folded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) head: Mask,
    pub(crate) body: Mask,
}

/// `prefix?upper*lower+suffix?|prefix?upper+lower*suffix?`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cased {
    pub(crate) prefix: Mask,
    pub(crate) upper: Mask,
    pub(crate) lower: Mask,
    /// A contraction at the end of the word.
    pub(crate) suffix: Contraction,
}

/// `prefix?body{1,max}tail*`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) prefix: Mask,
    pub(crate) body: Mask,
    /// `u32::MAX` is unbounded.
    pub(crate) max: u32,
    pub(crate) tail: Mask,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whitespace {
    None,
    One,
    Run,
}

/// `set{1,max}` and nothing else, whatever the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetRuns {
    pub(crate) set: ClassUnicode,
    /// `None` is unbounded.
    pub(crate) max: Option<u32>,
}

pub(crate) const NO_TAG: Tag = Tag { head: 0, body: 0 };
pub(crate) const NO_CASED: Cased = Cased {
    prefix: 0,
    upper: 0,
    lower: 0,
    suffix: Contraction::None,
};
pub(crate) const NO_RUN: Run = Run {
    prefix: 0,
    body: 0,
    max: u32::MAX,
    tail: 0,
};

/// Neither white space, letter nor number.
const SYMBOL: Mask = ALL & !(WHITESPACE | LETTER | NUMBER);
/// What may stand before a word in patterns since cl100k.
pub(crate) const BEFORE_WORD: Mask = ALL & !(NEWLINE | LETTER | NUMBER);

const fn run(prefix: Mask, body: Mask, max: u32, tail: Mask) -> Run {
    Run {
        prefix,
        body,
        max,
        tail,
    }
}

pub(crate) const GPT2: Shape = Shape {
    contraction: Contraction::Exact,
    tag: NO_TAG,
    cased: NO_CASED,
    runs: [
        run(SPACE, LETTER, u32::MAX, 0),
        run(SPACE, NUMBER, u32::MAX, 0),
        run(SPACE, SYMBOL, u32::MAX, 0),
    ],
    end_first: false,
    newlines: false,
    look_ahead: true,
    whitespace: Whitespace::Run,
};

pub(crate) const LLAMA3: Shape = Shape {
    contraction: Contraction::Folded,
    runs: [
        run(BEFORE_WORD, LETTER, u32::MAX, 0),
        run(0, NUMBER, 3, 0),
        run(SPACE, SYMBOL, u32::MAX, NEWLINE),
    ],
    newlines: true,
    ..GPT2
};

pub(crate) const CL100K: Shape = Shape {
    end_first: true,
    ..LLAMA3
};

pub(crate) const QWEN2: Shape = Shape {
    runs: [LLAMA3.runs[0], run(0, NUMBER, 1, 0), LLAMA3.runs[2]],
    ..LLAMA3
};

pub(crate) const NANOCHAT: Shape = Shape {
    runs: [LLAMA3.runs[0], run(0, NUMBER, 2, 0), LLAMA3.runs[2]],
    ..LLAMA3
};

pub(crate) const O200K: Shape = Shape {
    contraction: Contraction::None,
    cased: Cased {
        prefix: BEFORE_WORD,
        upper: UPPER_OR_UNCASED,
        lower: LOWER_OR_UNCASED,
        suffix: Contraction::Folded,
    },
    runs: [
        run(0, NUMBER, 3, 0),
        run(SPACE, SYMBOL, u32::MAX, NEWLINE | SLASH),
        NO_RUN,
    ],
    ..LLAMA3
};

pub(crate) const DEEPSEEK: Shape = Shape {
    contraction: Contraction::None,
    tag: Tag {
        head: ASCII_PUNCTUATION,
        body: ASCII_UPPER | ASCII_LOWER,
    },
    runs: [
        run(
            ALL & !(NEWLINE | LETTER | PUNCTUATION),
            LETTER | MARK,
            u32::MAX,
            0,
        ),
        run(SPACE, PUNCTUATION, u32::MAX, NEWLINE),
        NO_RUN,
    ],
    ..LLAMA3
};
