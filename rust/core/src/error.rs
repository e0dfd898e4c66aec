//! The one error type. Variants carry values; their wording lives here and
//! says what was expected, what was found and what to do.

use std::path::PathBuf;

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was being done, as a verb: "read", "write", "rename".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// No split pattern has this name.
    #[error(
        "no split pattern is named {name:?}: use one of {known}, or give a regular expression",
        known = crate::pretokenize::NAMES.join(", ")
    )]
    UnknownPattern {
        /// The name asked for.
        name: String,
    },
    /// A split pattern that linear time does not allow, or that is not a regular expression.
    #[error("cannot use the split pattern {pattern:?} (at byte {at}): {reason}")]
    UnsupportedPattern {
        /// The regular expression.
        pattern: String,
        /// Where in it, in bytes.
        at: usize,
        /// What stands there.
        reason: String,
    },
    /// A count does not fit in 64 bits.
    #[error("the counts of the training text exceed 64 bits: scale them down")]
    CountOverflow,
    /// More different words than the trainer can address.
    #[error(
        "the different words of the training text hold {symbols} bytes, more than {limit}: \
         split long runs or leave out rare words"
    )]
    TooMuchText {
        /// Bytes in all different words.
        symbols: u64,
        /// The most that can be addressed.
        limit: u64,
    },
    /// A merge to begin with that cannot be.
    #[error(
        "merge {index} joins ({left}, {right}): expected two ids below {next} and each pair once",
        next = 256 + index
    )]
    InvalidMerge {
        /// Which merge, from 0.
        index: usize,
        /// Its left id.
        left: u32,
        /// Its right id.
        right: u32,
    },
    /// The caller asked to stop.
    #[error("stopped before the end, as asked")]
    Cancelled,
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
