//! Split patterns between Oniguruma, which reads those of a `tokenizer.json`, and the regex crate, which reads all others.
//!
//! The two give many a construct another meaning: `\w` holds other characters, `$` is the end of any
//! line, `{1,3}+` a repetition of a repetition, `(?i:ss)` also matches ß, `\pL` is the text "pL". So a pattern is
//! translated where it enters a file and where it leaves one:
//!
//! - [`read`] takes what Oniguruma reads and gives what the regex crate reads alike;
//! - [`write`] takes what the regex crate reads and gives what Oniguruma reads alike.
//!
//! Neither searches for what is known to differ. `reader` knows what Oniguruma makes of each construct that it takes, and
//! names any other; text that the regex crate reads alike stays as it is. `writer` keeps what `reader` would keep and spells
//! the rest from what `regex-syntax` made of it: sets as properties and ranges (`sets`), assertions by look-around. What it
//! writes is read again before it is given out: a pattern that has no such spelling is an error, not a file
//! that nobody can open. `read` undoes `write`, and `write` of what `read` gave is the same text again.
//!
//! Parity tests hold each property and class to Hugging Face's tokenizers over all code points, and both directions to
//! tokenizers and tiktoken on random patterns and texts.

mod class;
mod properties;
mod reader;
mod sets;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use reader::read;
pub(crate) use writer::{write, write_as_given};

use regex_syntax::hir::Look;

/// A construct that cannot be translated, and the byte at which it stands.
#[derive(Debug)]
pub(crate) struct Doubt {
    pub(crate) at: usize,
    pub(crate) construct: String,
}

/// An assertion in both spellings.
struct Assertion {
    look: Look,
    rust: &'static str,
    oniguruma: &'static str,
}

/// The regex crate's `\w`, member for member.
macro_rules! word {
    () => {
        r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}]"
    };
}

macro_rules! ascii_word {
    () => {
        "[0-9A-Z_a-z]"
    };
}

macro_rules! boundary {
    ($word:expr) => {
        concat!(
            "(?:(?<=", $word, ")(?!", $word, ")|(?<!", $word, ")(?=", $word, "))"
        )
    };
}

macro_rules! no_boundary {
    ($word:expr) => {
        concat!(
            "(?:(?<=", $word, ")(?=", $word, ")|(?<!", $word, ")(?!", $word, "))"
        )
    };
}

/// Oniguruma's `^` is no line start at the end of the text, its `\b` goes by its own `\w`.
const ASSERTIONS: [Assertion; 8] = [
    Assertion {
        look: Look::Start,
        rust: r"\A",
        oniguruma: r"\A",
    },
    Assertion {
        look: Look::End,
        rust: r"\z",
        oniguruma: r"\z",
    },
    Assertion {
        look: Look::StartLF,
        rust: "(?m:^)",
        oniguruma: r"(?:\A|(?<=\n))",
    },
    Assertion {
        look: Look::EndLF,
        rust: "(?m:$)",
        oniguruma: "$",
    },
    Assertion {
        look: Look::WordUnicode,
        rust: r"\b",
        oniguruma: boundary!(word!()),
    },
    Assertion {
        look: Look::WordUnicodeNegate,
        rust: r"\B",
        oniguruma: no_boundary!(word!()),
    },
    Assertion {
        look: Look::WordAscii,
        rust: r"(?-u:\b)",
        oniguruma: boundary!(ascii_word!()),
    },
    Assertion {
        look: Look::WordAsciiNegate,
        rust: r"(?-u:\B)",
        oniguruma: no_boundary!(ascii_word!()),
    },
];
