//! Split patterns by name and by text.
//!
//! The texts are those of the programs that made the patterns known. Two of
//! them say nearly the same and do not: tiktoken's `cl100k` takes white space
//! at the end of the text as one pre-token even when it holds line breaks
//! (`\s++$` stands before `\s*[\r\n]`), Llama 3's and nanochat's do not.

use std::sync::LazyLock;

use super::{Stage, syntax};
use crate::{Error, Result};

/// How text is split before merging: regular expressions applied one after
/// another, each to the pieces that the one before left. Text that no match
/// covers stays as a piece of its own (Hugging Face's "isolated").
///
/// ```
/// use gptbpe_core::pretokenize::Pattern;
///
/// assert_eq!(Pattern::named("qwen2")?.regexes().len(), 1);
/// assert_eq!(Pattern::regex(r" ?\p{L}+| ?\p{N}+|[^\p{L}\p{N}]").name(), None);
/// assert_eq!(Pattern::default().name(), Some("cl100k"));
/// # Ok::<(), gptbpe_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    regexes: Vec<String>,
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
            })
            .ok_or_else(|| Error::UnknownPattern {
                name: name.to_owned(),
            })
    }

    /// One regular expression; [`super::Pretokenizer::new`] says whether it is supported.
    pub fn regex(text: impl Into<String>) -> Self {
        Self::sequence(vec![text.into()])
    }

    /// Several regular expressions, applied one after another.
    pub fn sequence(regexes: Vec<String>) -> Self {
        Self { regexes }
    }

    /// No splitting: a whole text is one pre-token.
    pub fn none() -> Self {
        Self::sequence(Vec::new())
    }

    /// The regular expressions as given.
    pub fn regexes(&self) -> &[String] {
        &self.regexes
    }

    /// The same pattern in the spelling that Oniguruma (Hugging Face),
    /// `fancy-regex` (tiktoken) and `regex` read alike; unchanged where it
    /// has neither possessive quantifiers nor `$`.
    pub fn portable(&self) -> Result<Vec<String>> {
        self.regexes
            .iter()
            .map(|regex| syntax::portable(regex))
            .collect()
    }

    /// The name of the pattern that splits every text as this one does, where
    /// the scanner recognises it: the spelling does not matter.
    pub fn name(&self) -> Option<&'static str> {
        if let Some((name, _)) = NAMED.iter().find(|(_, regexes)| self.regexes == **regexes) {
            return Some(name);
        }
        let stages: Vec<Stage> = self
            .regexes
            .iter()
            .map(|regex| Stage::new(regex).ok())
            .collect::<Option<_>>()?;
        let same = |known: &[Stage]| {
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

/// The names that [`Pattern::named`] knows.
pub const NAMES: [&str; 8] = [
    "gpt2", "cl100k", "o200k", "llama3", "qwen2", "nanochat", "deepseek", "none",
];

static NAMED_STAGES: LazyLock<Vec<(&str, Vec<Stage>)>> = LazyLock::new(|| {
    let stages = |regexes: &[&str]| {
        regexes
            .iter()
            .filter_map(|regex| Stage::new(regex).ok())
            .collect()
    };
    NAMED
        .iter()
        .map(|(name, regexes)| (*name, stages(regexes)))
        .collect()
});

const NAMED: [(&str, &[&str]); 8] = [
    ("gpt2", &[GPT2]),
    ("cl100k", &[CL100K]),
    ("o200k", &[O200K]),
    ("llama3", &[LLAMA3]),
    ("qwen2", &[QWEN2]),
    ("nanochat", &[NANOCHAT]),
    (
        "deepseek",
        &[r"\p{N}{1,3}", "[一-龥\u{3040}-ゟ゠-ヿ]+", DEEPSEEK],
    ),
    ("none", &[]),
];

/// As first published, and in every GPT-2 `tokenizer.json`.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// tiktoken 0.14, `cl100k_base`.
const CL100K: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s";

/// tiktoken 0.14, `o200k_base`.
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Llama 3's `tokenizer.json`.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Qwen 2's `tokenizer.json`: digits stand alone.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// nanochat's `SPLIT_PATTERN`: digits in twos.
const NANOCHAT: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";

/// The last of the three of DeepSeek-V3's `tokenizer.json`.
const DEEPSEEK: &str = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";
