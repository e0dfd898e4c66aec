//! What a split pattern means: its text, read, and recognised where it is of the
//! grammar that GPT-style patterns share.
//!
//! `parser` reads a text into the alternatives of `ast`; `recognise` compares
//! them with the shapes of `grammar`; `regex` and `two_pass` search for all others,
//! and keep what they learn of a pattern in a `pool`; `oniguruma` translates from and to what
//! a `tokenizer.json` means; `safe_cuts` says where a text may be
//! cut before it is split. How recognised patterns are searched for is the business of
//! [`crate::scan`].

pub(crate) mod ast;
pub(crate) mod grammar;
mod named;
pub(crate) mod oniguruma;
pub(crate) mod parser;
mod pool;
pub(crate) mod recognise;
pub(crate) mod regex;
mod safe_cuts;
#[cfg(test)]
mod tests;
mod two_pass;

pub use named::NAMES;
pub use safe_cuts::Cuts;

use named::{CL100K, NAMED};
use recognise::Recognised;
use std::sync::LazyLock;

use crate::{Error, Result};

/// How text is split before merging: regular expressions applied one after
/// another, each to the pieces that the one before left. Text that no match
/// covers stays as a piece of its own (Hugging Face's "isolated").
///
/// ```
/// use gptbpe_core::pattern::Pattern;
///
/// assert_eq!(Pattern::named("qwen2")?.regexes().len(), 1);
/// assert_eq!(Pattern::regex(r" ?\p{L}+| ?\p{N}+|[^\p{L}\p{N}]").name(), None);
/// assert_eq!(Pattern::default().name(), Some("cl100k"));
/// # Ok::<(), gptbpe_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    regexes: Vec<String>,
    on_alphabet: Vec<String>,
}

impl Pattern {
    /// A pattern of [`NAMES`], or `p50k`, which is another name of `gpt2`.
    pub fn named(name: &str) -> Result<Self> {
        let wanted = if name == "p50k" || name == "r50k" {
            "gpt2"
        } else {
            name
        };
        NAMED
            .iter()
            .find(|(known, _)| *known == wanted)
            .map(|(_, regexes)| Self {
                regexes: regexes.iter().map(ToString::to_string).collect(),
                on_alphabet: Vec::new(),
            })
            .ok_or_else(|| Error::UnknownPattern {
                name: name.to_owned(),
                known: &NAMES,
            })
    }

    /// One regular expression; [`crate::scan::Pretokenizer::new`] says whether it is supported.
    pub fn regex(text: impl Into<String>) -> Self {
        Self::sequence(vec![text.into()])
    }

    /// Several regular expressions, applied one after another.
    pub fn sequence(regexes: Vec<String>) -> Self {
        Self {
            regexes,
            on_alphabet: Vec::new(),
        }
    }

    /// The same pattern, followed by regular expressions that split its pieces further. They read each byte of a
    /// piece as a character of GPT-2's alphabet, as steps after `ByteLevel` do in a `tokenizer.json`: a space is
    /// `Ġ`, the bytes of ² are `Â` and `²`. So they may split a character.
    #[must_use]
    pub fn then_on_alphabet(self, regexes: Vec<String>) -> Self {
        Self {
            on_alphabet: regexes,
            ..self
        }
    }

    /// The regular expressions that read bytes as characters of GPT-2's alphabet, after the others.
    pub fn on_alphabet(&self) -> &[String] {
        &self.on_alphabet
    }

    /// No splitting: a whole text is one pre-token.
    pub fn none() -> Self {
        Self::sequence(Vec::new())
    }

    /// The regular expressions as given.
    pub fn regexes(&self) -> &[String] {
        &self.regexes
    }

    /// What means to Oniguruma (Hugging Face) what this pattern means to the regex crate, for a
    /// `tokenizer.json`. Unchanged where both read it alike and it has neither possessive quantifiers nor `$`; an
    /// error where Oniguruma has no such spelling.
    pub fn portable(&self) -> Result<Vec<String>> {
        let regexes = self.regexes.iter();
        regexes.map(|regex| oniguruma::write(regex)).collect()
    }

    /// What earlier versions wrote to a `tokenizer.json`.
    pub(crate) fn as_given(&self) -> Result<Vec<String>> {
        let regexes = self.regexes.iter();
        let written = regexes.map(|regex| oniguruma::write_as_given(regex));
        written.collect()
    }

    /// The name of the pattern that splits every text as this one does, where
    /// the scanner recognises it: the spelling does not matter.
    pub fn name(&self) -> Option<&'static str> {
        if !self.on_alphabet.is_empty() {
            return None;
        }
        if let Some((name, _)) = NAMED.iter().find(|(_, regexes)| self.regexes == **regexes) {
            return Some(name);
        }
        // None of the names has more: long sequences need not be read.
        let most = NAMED.iter().map(|(_, regexes)| regexes.len()).max();
        if most < Some(self.regexes.len()) {
            return None;
        }
        let stages: Vec<Recognised> = self
            .regexes
            .iter()
            .map(|regex| Recognised::read(regex).ok())
            .collect::<Option<_>>()?;
        let same = |known: &[Recognised]| {
            known.len() == stages.len() && known.iter().zip(&stages).all(|(a, b)| a.splits_like(b))
        };
        NAMED_STAGES
            .iter()
            .find(|(_, known)| same(known))
            .map(|(name, _)| *name)
    }
}

/// `cl100k`.
impl Default for Pattern {
    fn default() -> Self {
        Self::regex(CL100K)
    }
}

static NAMED_STAGES: LazyLock<Vec<(&str, Vec<Recognised>)>> = LazyLock::new(|| {
    let stages = |regexes: &[&str]| {
        regexes
            .iter()
            .filter_map(|regex| Recognised::read(regex).ok())
            .collect()
    };
    NAMED
        .iter()
        .map(|(name, regexes)| (*name, stages(regexes)))
        .collect()
});
