//! Tokenizers as files.
//!
//! One module per format, each with `read` and `write` over bytes; opening files
//! is the caller's business. `origin` names the source in errors, usually a path. A
//! reader first parses into plain values, then builds the tokenizer, which
//! validates; whatever a file says, the answer is a tokenizer or an [`Error`]
//! that names the origin and the place, and memory stays within a small
//! multiple of the input.
//!
//! | module | files | keeps |
//! |---|---|---|
//! | [`json`] | Hugging Face `tokenizer.json`, our own format too | everything |
//! | [`tiktoken`] | base64 rank lines | tokens and ranks; pattern and special tokens are the caller's |
//! | [`gpt2`] | `vocab.json` + `merges.txt` | tokens and merges; the pattern is the caller's |
//! | [`compact`] | the packaged encodings | everything, of vocabularies that merges make whole |

pub mod compact;
pub mod gpt2;
pub mod json;
pub mod tiktoken;

use crate::alphabet;
use crate::error::{FormatProblem, Inexpressible};
use crate::vocab::Vocab;
use crate::{Error, Result, Tokenizer};

/// An error at a place of a file.
fn broken(
    format: &'static str,
    origin: &str,
    place: impl Into<String>,
    problem: FormatProblem,
) -> Error {
    Error::Format {
        format,
        origin: origin.to_owned(),
        place: place.into(),
        problem,
    }
}

/// An error about what a file holds as a whole.
fn of_file(origin: &str) -> impl Fn(Error) -> Error + '_ {
    |source| Error::File {
        origin: origin.to_owned(),
        source: Box::new(source),
    }
}

/// The byte-level vocabulary that a format is about to write.
fn byte_level<'a>(tokenizer: &'a Tokenizer, format: &'static str) -> Result<&'a Vocab> {
    let refuse = |problem| Error::NotExpressible { format, problem };
    let vocab = tokenizer.vocab();
    let vocab = vocab.ok_or_else(|| refuse(Inexpressible::Characters))?;
    let pipeline = tokenizer.pipeline();
    let what = if !pipeline.normalizer.is_empty() {
        "a normalizer"
    } else if pipeline.prefix_space.is_some() {
        "a space before every text"
    } else if !pipeline.pattern.on_alphabet().is_empty() {
        "a split of bytes"
    } else {
        return Ok(vocab);
    };
    Err(refuse(Inexpressible::Pipeline { what }))
}

/// What stands in a file, short enough for an error message.
fn excerpt(text: &str) -> String {
    const MOST: usize = 40;
    if text.chars().count() <= MOST {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(MOST).collect();
    format!("{start:?}…")
}
