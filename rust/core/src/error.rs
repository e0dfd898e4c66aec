//! The one error type. Variants carry values; their wording lives here and
//! says what was expected, what was found and what to do.

mod problems;

use std::borrow::Cow;
use std::path::PathBuf;

pub use problems::{FormatProblem, Inexpressible, ShrinkProblem, SpecialTokenProblem};

/// Everything that can go wrong in this crate.
///
/// It is exhaustive on purpose: the Python bindings map every variant, and a new one
/// must not compile there without a place in the map.
#[derive(Debug, thiserror::Error)]
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
        "no split pattern is named {}: use one of {known}, or give a regular expression",
        shortened(name),
        known = known.join(", ")
    )]
    UnknownPattern {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: &'static [&'static str],
    },
    /// A split pattern that linear time does not allow, or that is not a regular expression.
    #[error(
        "cannot use the split pattern {} (at byte {at}): {reason}",
        shortened(pattern)
    )]
    UnsupportedPattern {
        /// The regular expression.
        pattern: String,
        /// Where in it, in bytes.
        at: usize,
        /// What stands there.
        reason: String,
    },
    /// A sequence of more split patterns than are applied one after another.
    #[error("the split pattern has {found} regular expressions: expected at most {limit}")]
    TooManySplits {
        /// How many it has.
        found: usize,
        /// How many it may have.
        limit: usize,
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
    /// More different words than a table can hold.
    #[error(
        "the training text has more than {limit} different words that are longer than 16 bytes or no UTF-8: \
         count it within a limit of memory, or give less text at a time"
    )]
    TooManyWords {
        /// The most that a table holds.
        limit: usize,
    },
    /// A file of counts is cut, or bytes of it contradict their checksum or one another.
    #[error("{path} is damaged at byte {offset}: {what}; restore it, or count its text again (gptbpe count-pretokens)",
            path = path.display())]
    CountsDamaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged part begins.
        offset: u64,
        /// What was expected and found.
        what: String,
    },
    /// A file of counts has a format that this version does not know.
    #[error("{path} is a file of counts of version {found}, this version of gptbpe reads {supported}; upgrade gptbpe",
            path = path.display())]
    CountsVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// What is understood.
        supported: u32,
    },
    /// Counts of words that were made in different ways cannot be added up.
    #[error("{second} and {first} were counted with different {what}: {second_has}, and {first_has}; \
             count one of them again with what the other has", first = first.display(), second = second.display())]
    CountsMismatch {
        /// One file, or what stands in for it.
        first: PathBuf,
        /// The other.
        second: PathBuf,
        /// What differs: "pattern", "special tokens".
        what: &'static str,
        /// That of the first.
        first_has: String,
        /// That of the second.
        second_has: String,
    },
    /// Words for a file of counts that do not ascend, or one without occurrences.
    #[error(
        "{word} with count {count} after {last}: words go into a file of counts in ascending order of their bytes, \
         each once, with counts of at least 1",
        word = shortened(&String::from_utf8_lossy(word)), last = shortened(&String::from_utf8_lossy(last))
    )]
    CountsUnsorted {
        /// The word.
        word: Vec<u8>,
        /// The one before it.
        last: Vec<u8>,
        /// Its count.
        count: u64,
    },
    /// Weights that do not go with the sources, or a weight of zero.
    #[error(
        "the weights are {weights:?}: expected {sources} of them, one for each source, and none below 1"
    )]
    Weights {
        /// How many sources there are.
        sources: usize,
        /// The weights.
        weights: Vec<u64>,
    },
    /// Counts that exceed the memory limit could not be written to a temporary file.
    #[error("cannot write temporary counts to {folder}: {source}; make room there, name another folder (TMPDIR), \
             or allow more memory", folder = folder.display())]
    Spill {
        /// The folder.
        folder: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
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
    /// An id that the vocabulary does not have.
    #[error("token {id} at index {index} is not in this vocabulary, whose ids end at {last}", last = vocab_size.saturating_sub(1))]
    UnknownToken {
        /// Position in the ids that were given.
        index: usize,
        /// The id.
        id: u32,
        /// One more than the greatest id.
        vocab_size: u32,
    },
    /// A character tokenizer met a character that its vocabulary lacks.
    #[error(
        "the character {character:?} at byte {position} is not in this tokenizer's vocabulary; train on text that has it, or use byte-level BPE"
    )]
    UnknownCharacter {
        /// The character.
        character: char,
        /// Byte position in the text.
        position: usize,
    },
    /// A character tokenizer met bytes that are not UTF-8.
    #[error("byte {position} of the text is not valid UTF-8, which a character tokenizer needs")]
    NotUtf8 {
        /// Byte position in the text.
        position: usize,
    },
    /// One pre-token is longer than positions can count.
    #[error(
        "one pre-token has {bytes} bytes; the limit is {limit}; split the text, or use a pattern that splits it"
    )]
    PreTokenTooLong {
        /// Its length.
        bytes: usize,
        /// The greatest length that works.
        limit: usize,
    },
    /// A document cannot be worked on in parts and is too long for the memory.
    #[error(
        "document {document} has no place to divide it in the {bytes} bytes that follow byte {position}, \
         and at most {limit} are taken as a whole; split the file, or name what stands between its \
         documents as the separator"
    )]
    CannotBeDivided {
        /// Its number among all, from 0.
        document: u64,
        /// Where in it the part begins that cannot be divided, in bytes.
        position: usize,
        /// How much of that part was read.
        bytes: usize,
        /// The greatest length that works.
        limit: usize,
    },
    /// Something that is no probability.
    #[error("{found} is no probability: expected a number from 0 to 1")]
    Probability {
        /// What was given.
        found: f64,
    },
    /// There is not enough memory.
    #[error("{bytes} bytes of memory could not be had; work on smaller parts")]
    OutOfMemory {
        /// What was asked for.
        bytes: usize,
    },
    /// One document of a batch could not be processed.
    #[error("document {index}: {source}")]
    Document {
        /// Its place in the batch, from 0.
        index: usize,
        /// What was wrong with it.
        source: Box<Error>,
    },
    /// A vocabulary without a token for some byte cannot encode every text.
    #[error(
        "the vocabulary has no token for the single byte 0x{byte:02x}; byte-level BPE needs all 256"
    )]
    MissingByte {
        /// The byte.
        byte: u8,
    },
    /// Two ids stand for the same bytes.
    #[error(
        "tokens {first} and {second} are the same {bytes} bytes; every token must be different"
    )]
    DuplicateToken {
        /// The id that came first.
        first: u32,
        /// The id that repeats it.
        second: u32,
        /// Their length.
        bytes: usize,
    },
    /// One id was given twice.
    #[error("id {id} stands for two different tokens")]
    DuplicateId {
        /// The id.
        id: u32,
    },
    /// A token without bytes.
    #[error("token {id} is empty; every token needs at least one byte")]
    EmptyToken {
        /// Its id.
        id: u32,
    },
    /// An id beyond what the tables can hold.
    #[error("id {id} is too large; the greatest id supported is {greatest}")]
    IdTooLarge {
        /// The id.
        id: u64,
        /// The greatest id that works.
        greatest: u32,
    },
    /// More merges than the tables can hold.
    #[error("{merges} merges are too many; at most {limit} are supported")]
    TooManyMerges {
        /// How many there were.
        merges: usize,
        /// How many may be.
        limit: usize,
    },
    /// The tokens together are too long.
    #[error(
        "the tokens up to token {id} are longer than {limit} bytes together; limit the token length when training"
    )]
    TokensTooLong {
        /// The token at which the limit was passed.
        id: u32,
        /// The limit.
        limit: usize,
    },
    /// A merge names an id that does not exist (yet).
    #[error(
        "merge {merge} uses token {id}, which does not exist at that point; a merge may only use bytes and the tokens of earlier merges"
    )]
    MergeOfUnknownToken {
        /// Number of the merge, from 0.
        merge: usize,
        /// The id.
        id: u32,
    },
    /// A merge makes a token that the vocabulary lacks.
    #[error(
        "merge {merge} joins tokens {left} and {right} to bytes that are not in the vocabulary"
    )]
    MergeWithoutToken {
        /// Number of the merge, from 0.
        merge: usize,
        /// Left token.
        left: u32,
        /// Right token.
        right: u32,
    },
    /// The same pair is merged twice.
    #[error("merge {merge} repeats the pair of tokens {left} and {right}")]
    DuplicateMerge {
        /// Number of the later merge, from 0.
        merge: usize,
        /// Left token.
        left: u32,
        /// Right token.
        right: u32,
    },
    /// A special token that cannot be.
    #[error("the special token {} (id {id}) {problem}", shortened(content))]
    SpecialToken {
        /// Its text.
        content: String,
        /// Its id.
        id: u32,
        /// What is wrong.
        problem: SpecialTokenProblem,
    },
    /// A text holds a special token, or another string, that the call refuses.
    #[error(
        "the text holds the disallowed special token '{shown}' at byte {at}; to encode it as that token pass \
         allowed_special={{'{shown}'}}, to encode it as ordinary text pass disallowed_special=()",
        shown = cut(content)
    )]
    DisallowedSpecial {
        /// The string.
        content: String,
        /// The byte at which it starts.
        at: usize,
    },
    /// A vocabulary cannot be cut to the size that was asked for.
    #[error("cannot cut the vocabulary to {wanted} ids: {problem}")]
    Shrink {
        /// The size asked for, special tokens included.
        wanted: u32,
        /// Why not.
        problem: ShrinkProblem,
    },
    /// A file is not what its format says.
    #[error("{origin} is not a valid {format} file: {place}: {problem}")]
    Format {
        /// Name of the format.
        format: &'static str,
        /// Where the bytes came from, usually a path.
        origin: String,
        /// Where in them: a line, a byte, a field.
        place: String,
        /// What was expected and what was found.
        problem: FormatProblem,
    },
    /// A file that could be parsed, but whose contents cannot be used.
    #[error("{origin}: {source}")]
    File {
        /// Where the bytes came from, usually a path.
        origin: String,
        /// What is wrong with its contents.
        source: Box<Error>,
    },
    /// A file is valid, but needs something that this library does not do.
    #[error(
        "{origin} needs {}, which is not supported here; {advice}",
        kept(feature, 4 * SHOWN)
    )]
    Unsupported {
        /// Where the bytes came from, usually a path.
        origin: String,
        /// The feature, as the file names it.
        feature: String,
        /// What can be done instead.
        advice: &'static str,
    },
    /// A tokenizer whose meaning a format cannot carry.
    #[error("this tokenizer cannot be written as {format}: {problem}")]
    NotExpressible {
        /// Name of the format.
        format: &'static str,
        /// What is in the way.
        problem: Inexpressible,
    },

    /// A file has its final name and content, but the disk did not confirm that it will survive a power cut.
    #[error("{path} is written, but the disk did not confirm it: {source}; write it again", path = path.display())]
    DurabilityUncertain {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },

    /// A shard file has another size than its header and manifest say.
    #[error("{path} is {found} bytes long instead of {expected}: it was cut short or is still being copied; \
             restore it, or delete it and write the shards again", path = path.display())]
    ShardTruncated {
        /// The file.
        path: PathBuf,
        /// Its size by header and manifest, in bytes.
        expected: u64,
        /// Its size on disk, in bytes.
        found: u64,
    },

    /// Bytes of a shard, its sidecar or the manifest contradict their checksum or one another.
    #[error("{path} is damaged at byte {offset}: {what}; restore it, or delete it and write the shards again",
            path = path.display())]
    ShardCorrupt {
        /// The file.
        path: PathBuf,
        /// Where the damaged part begins.
        offset: u64,
        /// What was expected and found.
        what: String,
    },

    /// A single file that was named as shards does not begin as token files do.
    #[error("{path} is no token file; gptbpe shard makes shards of a text, and open_raw reads ids that have no \
             header", path = path.display())]
    NoTokenFile {
        /// The file.
        path: PathBuf,
    },

    /// A shard, sidecar or manifest is written in a format that this version does not know.
    #[error("{path} has {found}, this version of gptbpe reads {supported}; upgrade gptbpe", path = path.display())]
    ShardVersion {
        /// The file.
        path: PathBuf,
        /// The version or feature found.
        found: String,
        /// What is understood.
        supported: String,
    },

    /// A folder holds shards but no manifest, so writing them never ended.
    #[error("{path} holds shards but no manifest.json, so writing them was not finished; run the same command again",
            path = path.display())]
    ShardUnfinished {
        /// The folder.
        path: PathBuf,
    },

    /// A folder already holds shards that the writer was not asked to replace.
    #[error("{path} already holds other shards; choose another folder, or replace them (force, --force)", path = path.display())]
    ShardExists {
        /// The folder.
        path: PathBuf,
    },

    /// Somebody else is writing in the folder.
    #[error("{path} is being written by {owner}; wait for it or stop it", path = path.display(),
            owner = if owner.is_empty() { "another process" } else { owner })]
    ShardLocked {
        /// The folder.
        path: PathBuf,
        /// Who, as far as known.
        owner: String,
    },

    /// Two things made with different tokenizers, or a plan with other data, meet.
    #[error("{path} was made with another {what}: expected {expected}, found {found}", path = path.display())]
    FingerprintMismatch {
        /// The file or folder.
        path: PathBuf,
        /// What the fingerprints are of: "tokenizer", "sampler plan".
        what: &'static str,
        /// The fingerprint asked for, in hexadecimal.
        expected: String,
        /// The fingerprint found, in hexadecimal.
        found: String,
    },

    /// A token to be written in a shard lies outside the vocabulary.
    #[error("token {index} of the document is {id}, but the vocabulary has {vocab_size} ids (0 to {last}); \
             write with the tokenizer that made the ids", last = u64::from(*vocab_size).saturating_sub(1))]
    TokenOutOfRange {
        /// Its place in the document.
        index: u64,
        /// The id.
        id: u64,
        /// One more than the largest id allowed.
        vocab_size: u32,
    },

    /// A document does not fit in one shard, and documents never cross shards.
    #[error("a document of {tokens} tokens is too long for a shard (at most {limit}); split it")]
    DocumentTooLong {
        /// Its length with separators.
        tokens: u64,
        /// The longest that fits.
        limit: u64,
    },

    /// No shard is long enough for one training window.
    #[error("the longest shard of {path} has {longest} tokens, but a window of {sequence_length} needs {needed} (its \
             targets are shifted by one); use a shorter sequence length or more text", path = path.display())]
    TooFewTokens {
        /// The dataset.
        path: PathBuf,
        /// Inputs per window.
        sequence_length: u64,
        /// Tokens that one window needs.
        needed: u64,
        /// Tokens in the longest shard.
        longest: u64,
    },

    /// An argument of the shard API is out of its range.
    #[error("{name} is {found}, expected {expected}")]
    ShardArgument {
        /// The argument.
        name: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
    },
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The same error in a text of which the place counts from byte `by`.
    pub(crate) fn shifted(mut self, by: usize) -> Self {
        if let Self::UnknownCharacter { position, .. } | Self::NotUtf8 { position } = &mut self {
            *position += by;
        }
        self
    }
}

/// So many characters of a text fit in a message, which stays readable whatever came in.
const SHOWN: usize = 200;

/// A text in quotes, cut where it is long.
pub(crate) fn shortened(text: &str) -> String {
    let kept = kept(text, SHOWN);
    let mark = if kept.len() < text.len() { "…" } else { "" };
    format!("{kept:?}{mark}")
}

/// A text without quotes, cut where it is long.
pub fn cut(text: &str) -> Cow<'_, str> {
    match kept(text, SHOWN) {
        kept if kept.len() < text.len() => Cow::Owned(format!("{kept}…")),
        all => Cow::Borrowed(all),
    }
}

fn kept(text: &str, most: usize) -> &str {
    match text.char_indices().nth(most) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}
