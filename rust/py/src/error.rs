//! One place where what goes wrong in the core becomes a Python exception.
//!
//! The classes live in `python/gptbpe/errors.py`. Nothing else than these and `OSError`, `TypeError` and
//! `ValueError` leaves this crate: [`guard`] turns a panic, which would be a bug, into `InternalError`, because
//! `PyO3`'s own `PanicException` slips past `except Exception`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use gptbpe_core::Error;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

pyo3::import_exception!(gptbpe.errors, GptBpeError);
pyo3::import_exception!(gptbpe.errors, InternalError);
pyo3::import_exception!(gptbpe.errors, TextError);
pyo3::import_exception!(gptbpe.errors, UnknownTokenError);
pyo3::import_exception!(gptbpe.errors, UnknownCharacterError);
pyo3::import_exception!(gptbpe.errors, SpecialTokenError);
pyo3::import_exception!(gptbpe.errors, PatternError);
pyo3::import_exception!(gptbpe.errors, TrainingError);
pyo3::import_exception!(gptbpe.errors, TokenizerError);
pyo3::import_exception!(gptbpe.errors, TokenizerFileError);
pyo3::import_exception!(gptbpe.errors, ShardError);
pyo3::import_exception!(gptbpe.errors, ShardFormatError);
pyo3::import_exception!(gptbpe.errors, ShardChecksumError);
pyo3::import_exception!(gptbpe.errors, ShardMismatchError);

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

/// The exception for an error met while reading a tokenizer file: it names the file and is a `TokenizerFileError`.
pub(crate) fn of_file(error: Error, origin: &str) -> PyErr {
    let message = error.to_string();
    match error {
        Error::Io { .. } => to_python(error),
        Error::UnknownPattern { .. } => PatternError::new_err(message),
        _ if message.contains(origin) => TokenizerFileError::new_err(message),
        _ => TokenizerFileError::new_err(format!("{origin}: {message}")),
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
        Error::Document { index, source } => placed(*source, &format!("texts[{index}]: ")),
        Error::UnknownToken {
            index,
            id,
            vocab_size,
        } => UnknownTokenError::new_err((message, index, id, vocab_size)),
        Error::UnknownCharacter { .. } => UnknownCharacterError::new_err(message),
        Error::NotUtf8 { .. } | Error::PreTokenTooLong { .. } => TextError::new_err(message),
        Error::UnknownPattern { .. }
        | Error::UnsupportedPattern { .. }
        | Error::TooManySplits { .. } => PatternError::new_err(message),
        Error::CountOverflow | Error::TooMuchText { .. } | Error::InvalidMerge { .. } => {
            TrainingError::new_err(message)
        }
        Error::Format { .. } | Error::Unsupported { .. } => TokenizerFileError::new_err(message),
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
        | Error::NotExpressible { .. } => TokenizerError::new_err(message),
        Error::ShardCorrupt { .. } => ShardChecksumError::new_err(message),
        Error::ShardTruncated { .. }
        | Error::ShardVersion { .. }
        | Error::ShardUnfinished { .. } => ShardFormatError::new_err(message),
        Error::FingerprintMismatch { .. } => ShardMismatchError::new_err(message),
        Error::ShardExists { .. }
        | Error::ShardLocked { .. }
        | Error::TokenOutOfRange { .. }
        | Error::DocumentTooLong { .. }
        | Error::TooFewTokens { .. }
        | Error::ShardArgument { .. } => ShardError::new_err(message),
        _ => GptBpeError::new_err(message),
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
