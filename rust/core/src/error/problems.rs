//! What is wrong with a tokenizer or its file, as the end of an error's sentence.

use super::shortened;

/// What is wrong with a special token, as a predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpecialTokenProblem {
    /// Its text is empty.
    #[error("is empty")]
    Empty,
    /// Its id is beyond what the tables can hold.
    #[error("has too large an id")]
    IdTooLarge,
    /// An ordinary token with other bytes has its id.
    #[error("has the id of another token")]
    IdOfToken,
    /// Another special token has its id.
    #[error("has the id of another special token")]
    IdOfSpecialToken,
    /// Its text is that of an earlier one.
    #[error("is given twice, with two ids")]
    Repeated,
    /// The normalizer makes the same of it and of another one.
    #[error("is the same as another special token after normalizing; rename one of them")]
    NormalizedAlike,
    /// All together are more than a matcher can hold.
    #[error("and the others are too long together")]
    TooLongTogether,
}

/// Why a vocabulary cannot be cut to a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShrinkProblem {
    /// It has characters.
    #[error("a character tokenizer has no merges to leave out")]
    Characters,
    /// The size is less than bytes and special tokens, or more than there is.
    #[error("expected {smallest} to {largest}")]
    Size {
        /// The least size that works.
        smallest: u32,
        /// The greatest.
        largest: u32,
    },
    /// Some single bytes would be left out.
    #[error("some single bytes have greater ids")]
    Bytes,
    /// The first ids are not those of the first merges.
    #[error("its ids do not follow the order of its merges")]
    Order,
    /// The template has a token that would be left out.
    #[error("its post-processor adds a token that would be left out")]
    Template,
    /// The first ids and merges are not a vocabulary by themselves.
    #[error("what is left is not a vocabulary")]
    Rest,
}

/// What is wrong at a place of a file. `found` is what stands there, shortened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatProblem {
    /// JSON that cannot be parsed, or that has other fields.
    #[error("{0}")]
    Json(String),
    /// No model, as in a list of tokens and ids.
    #[error("there is none; a vocab.json is read with its merges.txt, by Tokenizer.from_gpt2")]
    NoModel,
    /// Text that is not UTF-8.
    #[error("expected UTF-8")]
    NotUtf8,
    /// Bytes that do not begin as the format says.
    #[error("expected the mark of this format")]
    NoMark,
    /// Bytes that are not those that were written.
    #[error("the file is damaged; install it anew")]
    Checksum,
    /// Bytes that end too early, or a number out of range.
    #[error("unexpected end or value")]
    UnexpectedEnd,
    /// Bytes after the end.
    #[error("expected the end of the file")]
    TrailingBytes,
    /// A line that is not a token and a rank.
    #[error("expected a token in base64, a space and a rank, found {found}")]
    NoRankLine {
        /// The line.
        found: String,
    },
    /// A token that is not base64.
    #[error("expected a token in base64, found {found}: {reason}")]
    NotBase64 {
        /// The line.
        found: String,
        /// The words of the base64 decoder.
        reason: String,
    },
    /// A rank that is not a number of 32 bits.
    #[error("expected a rank after the token, found {found}")]
    NoRank {
        /// The line.
        found: String,
    },
    /// A line that is not two tokens.
    #[error("expected two tokens and a space, found {found}")]
    NoMergeLine {
        /// The line.
        found: String,
    },
    /// A token that is not spelled in the byte alphabet.
    #[error("expected characters of the byte alphabet (or a special token), found {found}")]
    NotInAlphabet {
        /// The token.
        found: String,
    },
    /// A token with two ids.
    #[error("{found} is given twice")]
    GivenTwice {
        /// The token.
        found: String,
    },
    /// A merge of what is no token.
    #[error("expected tokens of the vocabulary, found {found}")]
    NoToken {
        /// The part of the merge.
        found: String,
    },
    /// A token of a character tokenizer that is not one character.
    #[error("expected a single character, found {found}")]
    NotOneCharacter {
        /// The token.
        found: String,
    },
    /// An added token that is special first and then is not.
    #[error(
        "{found} is given as a special token and again as one that is not; leave one of them out"
    )]
    SpecialAndNot {
        /// The token.
        found: String,
    },
    /// The file was written for another tokenizer than it defines.
    #[error(
        "it was written for {claimed}, but the file defines {found}: the file is damaged, or was edited; \
         take the fingerprint out if the edit was meant"
    )]
    Fingerprint {
        /// The fingerprint that the file has.
        claimed: String,
        /// That of what it defines.
        found: String,
    },
}

/// Why a format cannot carry a tokenizer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Inexpressible {
    /// The format has bytes.
    #[error("it has characters, the format has bytes; write tokenizer.json")]
    Characters,
    /// The format has one merge for each token.
    #[error("some tokens are not made by exactly one merge; write tokenizer.json")]
    SeveralMerges,
    /// The format has ranks.
    #[error("its merges do not follow from the order of its ids; write tokenizer.json")]
    MergeOrder,
    /// The format looks every pre-token up before merging.
    #[error(
        "some tokens are not reached by merges, and the format would look them up; write tokenizer.json"
    )]
    WouldBeLookedUp,
    /// The format looks no pre-token up.
    #[error("some tokens are not reached by merges; write tokenizer.json")]
    NotReached,
    /// The format has one list for both kinds of tokens.
    #[error("{} is both special and not", shortened(content))]
    BothKinds {
        /// The special token.
        content: String,
    },
    /// The format has one list for both kinds of tokens, as text.
    #[error(
        "the special token {} (id {id}) is written like token {other}; rename it",
        shortened(content)
    )]
    WrittenAlike {
        /// The special token.
        content: String,
        /// Its id.
        id: u32,
        /// The ordinary token.
        other: u32,
    },
    /// The format has only a pattern.
    #[error("it has {what}, for which the format has no place; write tokenizer.json")]
    Pipeline {
        /// What it has.
        what: &'static str,
    },
    /// JSON could not be written.
    #[error("{0}")]
    Json(String),
}
