//! One place where what goes wrong becomes a Python exception.
//!
//! Errors of the core are mapped by [`to_python`], one by one, so that a new one does not compile without a class.
//! What is wrong with a Python value before the core sees it is an [`ArgumentError`]. The classes live in
//! `python/gptbpe/errors.py`. Nothing else than these and `OSError`, `TypeError` and `ValueError` leaves this crate:
//! [`guard`] turns a panic, which would be a bug, into `InternalError`, because `PyO3`'s own `PanicException` slips
//! past `except Exception`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use gptbpe_core::Error;
use gptbpe_core::error::cut;
use pyo3::exceptions::{PyMemoryError, PyOSError, PyValueError};
use pyo3::prelude::*;

pyo3::import_exception!(gptbpe.errors, GptBpeError);
pyo3::import_exception!(gptbpe.errors, InternalError);
pyo3::import_exception!(gptbpe.errors, TextError);
pyo3::import_exception!(gptbpe.errors, UnknownTokenError);
pyo3::import_exception!(gptbpe.errors, UnknownCharacterError);
pyo3::import_exception!(gptbpe.errors, SpecialTokenError);
pyo3::import_exception!(gptbpe.errors, PatternError);
pyo3::import_exception!(gptbpe.errors, TrainingError);
pyo3::import_exception!(gptbpe.errors, CountsFileError);
pyo3::import_exception!(gptbpe.errors, CountsMismatchError);
pyo3::import_exception!(gptbpe.errors, TokenizerError);
pyo3::import_exception!(gptbpe.errors, TokenizerFileError);
pyo3::import_exception!(gptbpe.errors, ShardError);
pyo3::import_exception!(gptbpe.errors, ShardFormatError);
pyo3::import_exception!(gptbpe.errors, ShardTruncatedError);
pyo3::import_exception!(gptbpe.errors, ShardChecksumError);
pyo3::import_exception!(gptbpe.errors, ShardMismatchError);
pyo3::import_exception!(gptbpe.errors, ShardExistsError);
pyo3::import_exception!(gptbpe.errors, ShardLockedError);

/// Runs the body of an entry point; a panic in it becomes `InternalError`.
pub(crate) fn guard<T>(body: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| Err(internal(&*payload)))
}

fn internal(payload: &(dyn Any + Send)) -> PyErr {
    let words = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    InternalError::new_err(format!(
        "this is a bug in gptbpe {}; please report it with the input that caused it: {words}",
        env!("CARGO_PKG_VERSION")
    ))
}

/// The exception for an error of the core.
pub(crate) fn to_python(error: Error) -> PyErr {
    placed(error, "")
}

/// The exception for an error about a document of a batch, which is named by its number among all.
pub(crate) fn of_document(error: Error) -> PyErr {
    match error {
        Error::Document { index, source } => placed(*source, &format!("document {index}: ")),
        _ => to_python(error),
    }
}

/// The exception for an error met while reading a tokenizer file: it names the file and is a `TokenizerFileError`.
pub(crate) fn of_file(error: Error, origin: &str) -> PyErr {
    match error {
        // The first two are about the call; the others name the file themselves.
        Error::Io { .. }
        | Error::UnknownPattern { .. }
        | Error::Format { .. }
        | Error::Unsupported { .. }
        | Error::File { .. } => to_python(error),
        _ => TokenizerFileError::new_err(format!("{origin}: {error}")),
    }
}

/// `place` stands before the message; it names the text of a batch.
fn placed(error: Error, place: &str) -> PyErr {
    let message = format!("{place}{error}");
    match error {
        Error::Io { path, source, .. } => match source.raw_os_error() {
            // With errno and a path Python picks FileNotFoundError, IsADirectoryError and so on by itself.
            Some(code) => PyOSError::new_err((code, source_text(&source), path.into_os_string())),
            None => PyOSError::new_err(message),
        },
        Error::DurabilityUncertain { .. } => PyOSError::new_err(message),
        Error::Document { index, source } => placed(*source, &format!("texts[{index}]: ")),
        Error::Cancelled => GptBpeError::new_err(message),
        Error::UnknownToken {
            index,
            id,
            vocab_size,
        } => UnknownTokenError::new_err((message, index, id, vocab_size)),
        Error::TokenOutOfRange {
            index,
            id,
            vocab_size,
        } => UnknownTokenError::new_err((message, index, id, vocab_size)),
        Error::UnknownCharacter { .. } => UnknownCharacterError::new_err(message),
        Error::NotUtf8 { .. } | Error::PreTokenTooLong { .. } | Error::CannotBeDivided { .. } => {
            TextError::new_err(message)
        }
        Error::OutOfMemory { .. } => PyMemoryError::new_err(message),
        Error::DisallowedSpecial { .. } => SpecialTokenError::new_err(message),
        Error::UnknownPattern { .. }
        | Error::UnsupportedPattern { .. }
        | Error::TooManySplits { .. } => PatternError::new_err(message),
        Error::CountOverflow
        | Error::TooMuchText { .. }
        | Error::TooManyWords { .. }
        | Error::InvalidMerge { .. }
        | Error::CountsUnsorted { .. }
        | Error::Weights { .. } => TrainingError::new_err(message),
        Error::CountsDamaged { path, offset, .. } => {
            CountsFileError::new_err((message, path, Some(offset)))
        }
        Error::CountsVersion { path, .. } => CountsFileError::new_err((message, path, None::<u64>)),
        Error::CountsMismatch { .. } => CountsMismatchError::new_err(message),
        // The system's words alone would not say what to do.
        Error::Spill { source, .. } => match source.raw_os_error() {
            Some(code) => PyOSError::new_err((code, message)),
            None => PyOSError::new_err(message),
        },
        Error::Format { .. } | Error::Unsupported { .. } | Error::File { .. } => {
            TokenizerFileError::new_err(message)
        }
        Error::MissingByte { .. }
        | Error::DuplicateToken { .. }
        | Error::DuplicateId { .. }
        | Error::EmptyToken { .. }
        | Error::IdTooLarge { .. }
        | Error::TooManyMerges { .. }
        | Error::TokensTooLong { .. }
        | Error::MergeOfUnknownToken { .. }
        | Error::MergeWithoutToken { .. }
        | Error::DuplicateMerge { .. }
        | Error::SpecialToken { .. }
        | Error::Shrink { .. }
        | Error::Probability { .. }
        | Error::NotExpressible { .. } => TokenizerError::new_err(message),
        Error::ShardTruncated {
            path,
            expected,
            found,
        } => ShardTruncatedError::new_err((message, path, expected, found)),
        Error::ShardCorrupt { path, offset, .. } => {
            ShardChecksumError::new_err((message, path, offset))
        }
        Error::ShardVersion { .. } | Error::ShardUnfinished { .. } | Error::NoTokenFile { .. } => {
            ShardFormatError::new_err(message)
        }
        Error::FingerprintMismatch { .. } => ShardMismatchError::new_err(message),
        Error::ShardExists { .. } => ShardExistsError::new_err(message),
        Error::ShardLocked { .. } => ShardLockedError::new_err(message),
        Error::DocumentTooLong { .. }
        | Error::TooFewTokens { .. }
        | Error::ShardArgument { .. } => ShardError::new_err(message),
    }
}

/// The system's words without Rust's " (os error 2)".
fn source_text(source: &std::io::Error) -> String {
    let text = source.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// What is wrong with a Python value that is no value of the core.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArgumentError {
    #[error(
        "text must be str, bytes or a buffer of bytes, found {found}; \
         for several texts call the batch form of this method"
    )]
    NoText { found: String },
    #[error(
        "text must be str, bytes or a buffer of bytes, found {found} with items of {item_size} bytes; \
         for several texts call the batch form of this method"
    )]
    WideItems { found: String, item_size: usize },
    #[error(
        "text has the lone surrogate U+{code:04X} at character {position}, which UTF-8 cannot carry; repair it with \
         text.encode(\"utf-16\", \"surrogatepass\").decode(\"utf-16\", \"replace\"), or pass bytes"
    )]
    LoneSurrogate { position: usize, code: u32 },
    #[error("expected several texts (a list of str or bytes), found one; write [text]")]
    OneText,
    #[error(
        "this machine has no kernel \"{}\"; the names are \"avx512\", \"avx2\" and \"portable\"",
        cut(found)
    )]
    Kernel { found: String },
    #[error("ids must be integers, found text; to make ids of text call encode")]
    TextForIds,
    #[error("ids must be a sequence of integers; for a single id write [id]")]
    NoIds,
    #[error(
        "ids must have one dimension, found {dimensions}; pass one row at a time, or call decode_batch"
    )]
    ManyDimensions { dimensions: usize },
    #[error(
        "token {} at index {index} is not in this vocabulary, whose ids are integers up to {last}",
        cut(shown),
        last = vocab_size.saturating_sub(1)
    )]
    NoId {
        shown: String,
        index: usize,
        given: Py<PyAny>,
        vocab_size: usize,
    },
    #[error(
        "{argument} must be \"all\" or a set of strings, found the string {shown}; write {{{shown}}}",
        shown = cut(found)
    )]
    NoNames {
        argument: &'static str,
        found: String,
    },
    #[error("{name} is {}, expected 0 or more", cut(found))]
    Negative { name: &'static str, found: String },
    #[error("seed is {}, expected an integer from 0 to 2**64 - 1", cut(found))]
    Seed { found: String },
    #[error("the separator is empty; pass None for one document per file")]
    EmptySeparator,
    #[error(
        "threads must be at least 1, found {}; leave it out for one per core",
        cut(found)
    )]
    NoThreads { found: String },
    #[error("pattern must be a name, a regex, a list of regexes, or None")]
    NoPattern,
    #[error(
        "vocab_size={} is no size; expected an integer up to {greatest}",
        cut(found)
    )]
    Size { found: String, greatest: usize },
    #[error("{name} is {found:?}, expected {expected}")]
    Choice {
        name: &'static str,
        found: String,
        expected: &'static str,
    },
    #[error("offsets must ascend from 0 to the number of ids")]
    Offsets,
    #[error(
        "there are {offsets} offsets for {documents} documents, expected one more than documents"
    )]
    OffsetCount { offsets: usize, documents: usize },
    #[error("text_bytes must be numbers of bytes, 0 or more")]
    TextBytes,
    #[error("this writer is closed; make a new one")]
    Closed,
    #[error("this writer was made by another process, before a fork; make one in this process")]
    Forked,
    #[error(
        "out must be two numpy arrays of two dimensions, both of type int64, int32, uint32 or uint16"
    )]
    NoBatch,
    #[error("out has shapes {found:?} and {targets:?}, expected (batch_size, {length}) twice")]
    BatchShape {
        found: Vec<usize>,
        targets: Vec<usize>,
        length: usize,
    },
    #[error("out cannot be written to: {reason}")]
    ReadOnly { reason: String },
    #[error("out is not contiguous in C order; use numpy.empty")]
    NotContiguous,
}

impl From<ArgumentError> for PyErr {
    fn from(error: ArgumentError) -> Self {
        use ArgumentError as E;
        let message = error.to_string();
        match error {
            E::NoText { .. } | E::WideItems { .. } | E::LoneSurrogate { .. } | E::OneText => {
                TextError::new_err(message)
            }
            E::NoId {
                index,
                given,
                vocab_size,
                ..
            } => UnknownTokenError::new_err((message, index, given, vocab_size)),
            E::TextForIds | E::NoIds | E::ManyDimensions { .. } => {
                UnknownTokenError::new_err(message)
            }
            E::NoNames { .. } | E::Size { .. } | E::Negative { .. } | E::Seed { .. } => {
                TokenizerError::new_err(message)
            }
            E::NoPattern => PatternError::new_err(message),
            E::NoThreads { .. } | E::EmptySeparator | E::Kernel { .. } => {
                PyValueError::new_err(message)
            }
            E::Choice { .. }
            | E::Offsets
            | E::OffsetCount { .. }
            | E::TextBytes
            | E::Closed
            | E::Forked
            | E::NoBatch
            | E::BatchShape { .. }
            | E::ReadOnly { .. }
            | E::NotContiguous => ShardError::new_err(message),
        }
    }
}
