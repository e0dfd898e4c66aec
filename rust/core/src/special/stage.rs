//! One stage of looking for added tokens: one automaton, and what the tokens' options
//! make of its matches.
//!
//! The automaton is Aho-Corasick with leftmost-longest matches. The crate
//! puts a prefilter before it: substring search for a single content, `memchr` for
//! contents with at most three different first (or rare) bytes, a packed search for a
//! few contents of other kinds. Nearly all special tokens begin with `<`, so text
//! without `<` is passed at the speed of `memchr`. Where all contents begin with the same byte we look for
//! it ourselves before the automaton is asked: calling that takes as long as encoding a word, and
//! most texts are short and have no such byte.
//!
//! Options are those of `tokenizers`, applied to one match after another:
//!
//! - A special token that is not allowed is passed over with its text: the search goes on
//!   after its end, so no token is found inside it.
//! - `single_word`: a match with a word character (`\w`) beside it is passed over in the same way.
//! - `lstrip`: the match also takes the white space before it, back to the end of the last one.
//! - `rstrip`: it also takes the white space after it. The search still goes on after the
//!   content, so a token that begins with white space may be found inside of what was taken. One
//!   with `lstrip` begins where that ends, and is passed over if nothing is left of it.
//!
//! Cost: every byte is searched once, and every white space character looked at twice at
//! most, once from each side. To know that a match is the longest, the automaton may read
//! on for as many bytes as the longest content has.

use std::iter::FusedIterator;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};
use memchr::memchr;

use super::beside::{first_character, is_word, last_character};
use super::{Found, SpecialToken, refuse};
use crate::Result;
use crate::error::SpecialTokenProblem;

/// Longer contents, added up, get no DFA: it has up to 1 KiB for each of their bytes.
const DFA_BYTES: usize = 1 << 14;
/// Nor does one longer content: to build the DFA of `xxx…` takes time in proportion to the square of its length.
const DFA_LONGEST: usize = 1 << 8;

/// Finds the contents, and of those that begin at one place the longest; `None` if they are too long together.
pub(crate) fn finder<'a>(contents: impl Iterator<Item = &'a str> + Clone) -> Option<AhoCorasick> {
    let bytes: usize = contents.clone().map(str::len).sum();
    let longest = contents.clone().map(str::len).max().unwrap_or(0);
    let no_dfa = bytes > DFA_BYTES || longest > DFA_LONGEST;
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .kind(no_dfa.then_some(AhoCorasickKind::ContiguousNFA))
        .build(contents)
        .ok()
}

/// Some tokens, ready to be looked for.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The byte with which all contents begin, if there is one.
    first: Option<u8>,
    finder: AhoCorasick,
    ids: Vec<u32>,
    /// By pattern; empty if no token of any stage has any.
    options: Vec<Options>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // the options of the format
struct Options {
    special: bool,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
}

impl Stage {
    /// Looks for contents, each of which stands for its token. None of no tokens. `plain` says that the
    /// tokens of no stage have options.
    pub(super) fn new(tokens: &[(&str, &SpecialToken)], plain: bool) -> Result<Option<Self>> {
        let Some(&(first, token)) = tokens.first() else {
            return Ok(None);
        };
        let finder = finder(tokens.iter().map(|&(content, _)| content))
            .ok_or_else(|| refuse(token, SpecialTokenProblem::TooLongTogether))?;
        let first = first.bytes().next();
        let is_first = |(content, _): &(&str, &SpecialToken)| content.bytes().next() == first;
        let options = tokens.iter().filter(|_| !plain).map(|(_, token)| Options {
            special: token.special,
            single_word: token.single_word,
            lstrip: token.lstrip,
            rstrip: token.rstrip,
        });
        Ok(Some(Self {
            first: first.filter(|_| tokens.iter().all(is_first)),
            finder,
            ids: tokens.iter().map(|(_, token)| token.id).collect(),
            options: options.collect(),
        }))
    }

    /// The tokens in a text by itself: what stands before and after is not seen. Special tokens
    /// are found if their ids are in `allowed`, which ascends; all if there is no such list.
    pub(super) fn matches<'a>(
        &'a self,
        text: &'a [u8],
        allowed: Option<&'a [u32]>,
    ) -> StageMatches<'a> {
        StageMatches {
            stage: Some(self),
            text,
            allowed,
            search: 0,
            end: 0,
            space_end: 0,
        }
    }

    #[inline]
    fn find(&self, text: &[u8], from: usize) -> Option<(usize, usize, usize)> {
        let from = match self.first {
            Some(first) => {
                let found = memchr(first, &text[from..]);
                #[cfg(test)]
                work::count_searched(found.unwrap_or(text.len() - from));
                from + found?
            }
            None if from == text.len() => return None,
            None => from,
        };
        self.find_from(text, from)
    }

    fn find_from(&self, text: &[u8], from: usize) -> Option<(usize, usize, usize)> {
        let found = self.finder.find(Input::new(text).range(from..));
        #[cfg(test)]
        work::count_searched(found.map_or(text.len(), |found| found.end()) - from);
        let found = found?;
        Some((found.pattern().as_usize(), found.start(), found.end()))
    }

    #[cfg(test)]
    pub(super) fn memory_usage(&self) -> usize {
        self.finder.memory_usage()
    }
}

/// The tokens of one stage in a text, from left to right.
///
/// What lies between the end of one and the start of the next is the rest of the text. The next
/// may start before that end: see `rstrip` above; then nothing lies between them.
#[derive(Debug, Clone)]
pub(crate) struct StageMatches<'a> {
    stage: Option<&'a Stage>,
    text: &'a [u8],
    allowed: Option<&'a [u32]>,
    /// Where the search goes on.
    search: usize,
    /// End of the last match.
    end: usize,
    /// From the last place that was asked to here there is nothing but white space.
    space_end: usize,
}

impl<'a> StageMatches<'a> {
    /// No tokens at all.
    pub(super) fn none(text: &'a [u8]) -> Self {
        Self {
            stage: None,
            text,
            allowed: None,
            search: 0,
            end: 0,
            space_end: 0,
        }
    }

    /// The end of the last match, and 0 before the first.
    pub(crate) fn end(&self) -> usize {
        self.end
    }

    /// What the options make of a match; none if it is passed over.
    fn under_options(
        &mut self,
        options: Options,
        id: u32,
        mut start: usize,
        mut end: usize,
    ) -> Option<Found> {
        let text = self.text;
        let is_allowed = |allowed: &[u32]| allowed.binary_search(&id).is_ok();
        if options.special && !self.allowed.is_none_or(is_allowed) {
            return None;
        }
        if options.single_word {
            let before = last_character(&text[..start]);
            let after = first_character(&text[end..]);
            if before.is_some_and(is_word) || after.is_some_and(is_word) {
                return None;
            }
        }
        if options.lstrip {
            start = start.max(self.end);
            while start > self.end
                && let Some(space) = last_character(&text[self.end..start])
                && space.is_whitespace()
            {
                start -= space.len_utf8();
            }
        }
        if options.rstrip {
            // What the last token took need not be looked at again.
            self.space_end = self.space_end.max(end);
            while let Some(space) = first_character(&text[self.space_end..])
                && space.is_whitespace()
            {
                #[cfg(test)]
                work::count_searched(1);
                self.space_end += space.len_utf8();
            }
            end = self.space_end;
        }
        (start < end).then_some(Found { id, start, end })
    }
}

impl Iterator for StageMatches<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let stage = self.stage?;
        loop {
            let Some((pattern, start, end)) = stage.find(self.text, self.search) else {
                self.search = self.text.len();
                return None;
            };
            self.search = end;
            let id = stage.ids[pattern];
            let found = match stage.options.get(pattern) {
                None => Some(Found { id, start, end }),
                Some(&options) => self.under_options(options, id, start, end),
            };
            if let Some(found) = found {
                self.end = found.end;
                return Some(found);
            }
        }
    }
}

impl FusedIterator for StageMatches<'_> {}

/// Counts of work, by which tests tell linear from quadratic.
#[cfg(test)]
pub(super) mod work {
    use std::cell::Cell;

    thread_local! {
        static SEARCHED: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn count_searched(bytes: usize) {
        SEARCHED.set(SEARCHED.get() + bytes);
    }

    /// Bytes through which matchers went, and white space that was looked at.
    pub(in crate::special) fn searched() -> usize {
        SEARCHED.get()
    }
}
