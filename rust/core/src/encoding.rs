//! A tokenizer's ways from text to ids.

use std::ops::ControlFlow;

use crate::encode::{Control, Ids, Ragged, Scheme, Text, to_the_end};
use crate::model::Model;
use crate::special::SpecialSet;
use crate::{Error, Result, Tokenizer};

impl Tokenizer {
    /// The ids of `text`, in which no special token stands for itself.
    pub fn encode_ordinary<'t>(&self, text: impl Into<Text<'t>>) -> Result<Vec<u32>> {
        self.encode(text, &SpecialSet::none())
    }

    /// The ids of `text`, in which the special tokens of `allowed` stand for themselves.
    pub fn encode<'t>(&self, text: impl Into<Text<'t>>, allowed: &SpecialSet) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        self.encode_under(text.into(), allowed, &mut ids, &mut to_the_end)?;
        Ok(ids)
    }

    /// The same ids in 16 bits each if all ids of this tokenizer fit, unless `go_on` says no:
    /// then it ends soon, with [`Error::Cancelled`].
    ///
    /// `go_on` is asked after about every thousand pre-tokens.
    pub fn encode_while(
        &self,
        text: Text<'_>,
        allowed: &SpecialSet,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Ids> {
        let mut cancelled = false;
        let mut control = |_| {
            cancelled = !go_on();
            flow(!cancelled)
        };
        let ids = if let Some(scheme) = self.scheme().filter(Scheme::is_narrow) {
            let mut ids = Vec::new();
            scheme.encode(text, allowed, &mut ids, &mut control)?;
            Ids::Narrow(ids)
        } else {
            let mut ids = Vec::new();
            self.encode_under(text, allowed, &mut ids, &mut control)?;
            Ids::Wide(ids)
        };
        if cancelled {
            return Err(Error::Cancelled);
        }
        Ok(ids)
    }

    /// How many ids [`Tokenizer::encode`] would give; they are not made.
    pub fn count<'t>(&self, text: impl Into<Text<'t>>, allowed: &SpecialSet) -> Result<usize> {
        self.count_under(text.into(), allowed, &mut to_the_end)
    }

    /// The same, unless `go_on` says no: then it ends soon, with [`Error::Cancelled`].
    pub fn count_while(
        &self,
        text: Text<'_>,
        allowed: &SpecialSet,
        go_on: &dyn Fn() -> bool,
    ) -> Result<usize> {
        let mut cancelled = false;
        let mut control = |_| {
            cancelled = !go_on();
            flow(!cancelled)
        };
        let count = self.count_under(text, allowed, &mut control)?;
        if cancelled {
            return Err(Error::Cancelled);
        }
        Ok(count)
    }

    /// How many ids the text has, or `None` if more than `most`: then the rest of the text is not
    /// looked at.
    ///
    /// ```
    /// use gptbpe_core::{SpecialSet, Tokenizer, pattern::Pattern};
    ///
    /// let tokenizer = Tokenizer::from_merges(&[], Pattern::default(), &[])?;
    /// let none = SpecialSet::none();
    /// assert_eq!(tokenizer.count_until("four", 4, &none)?, Some(4));
    /// assert_eq!(tokenizer.count_until("fours", 4, &none)?, None);
    /// # Ok::<(), gptbpe_core::Error>(())
    /// ```
    pub fn count_until<'t>(
        &self,
        text: impl Into<Text<'t>>,
        most: usize,
        allowed: &SpecialSet,
    ) -> Result<Option<usize>> {
        let mut control = |count| flow(count <= most);
        let count = self.count_under(text.into(), allowed, &mut control)?;
        Ok((count <= most).then_some(count))
    }

    /// The ids, and for each the byte of `text` at which its token starts.
    ///
    /// Token `i` covers `starts[i]..starts[i + 1]`, the last one up to the end.
    pub fn encode_with_offsets<'t>(
        &self,
        text: impl Into<Text<'t>>,
        allowed: &SpecialSet,
    ) -> Result<(Vec<u32>, Vec<usize>)> {
        let ids = self.encode(text, allowed)?;
        let mut at = 0;
        let starts = ids.iter().map(|&id| {
            let start = at;
            at += self.token_length(id);
            start
        });
        let starts = starts.collect();
        Ok((ids, starts))
    }

    /// The ids of the longest prefix of the text's tokens that has at most `most` of them
    /// and does not end inside a character, and how many bytes of `text` they cover.
    ///
    /// The prefix is one of *tokens*: encoding the cut text anew may give other
    /// ids. A text of bytes that are not UTF-8 may be cut between any two of those.
    /// What comes long after the cut is not looked at.
    pub fn truncate<'t>(
        &self,
        text: impl Into<Text<'t>>,
        most: usize,
        allowed: &SpecialSet,
    ) -> Result<(Vec<u32>, usize)> {
        let text = text.into();
        let mut ids = Vec::new();
        let mut control = |count| flow(count < most);
        self.encode_under(text, allowed, &mut ids, &mut control)?;
        ids.truncate(most);
        let mut end = ids.iter().map(|&id| self.token_length(id)).sum();
        while is_inside_character(text.as_bytes(), end) {
            let Some(id) = ids.pop() else { break };
            end -= self.token_length(id);
        }
        Ok((ids, end))
    }

    /// Encodes every text as [`Tokenizer::encode`] does, on `threads` threads (0 means 1).
    pub fn encode_batch<'t, T: Copy + Into<Text<'t>>>(
        &self,
        texts: &[T],
        allowed: &SpecialSet,
        threads: usize,
    ) -> Result<Ragged> {
        self.encode_batch_while(texts, allowed, threads, &|| true)
    }

    /// The same, unless `go_on` says no: then it ends soon, with [`Error::Cancelled`].
    ///
    /// Every thread asks after about every thousand pre-tokens.
    pub fn encode_batch_while<'t, T: Copy + Into<Text<'t>>>(
        &self,
        texts: &[T],
        allowed: &SpecialSet,
        threads: usize,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Ragged> {
        let texts: Vec<Text<'_>> = texts.iter().map(|&text| text.into()).collect();
        if let Some(scheme) = self.scheme() {
            return scheme.encode_batch(&texts, allowed, threads, go_on);
        }
        let (mut ids, mut offsets) = (Vec::new(), vec![0]);
        for (index, text) in texts.into_iter().enumerate() {
            if !go_on() {
                return Err(Error::Cancelled);
            }
            self.encode_under(text, allowed, &mut ids, &mut to_the_end)
                .map_err(|source| Error::Document {
                    index,
                    source: Box::new(source),
                })?;
            offsets.push(ids.len());
        }
        Ok(Ragged {
            ids: Ids::Wide(ids),
            offsets,
        })
    }

    fn encode_under(
        &self,
        text: Text<'_>,
        allowed: &SpecialSet,
        ids: &mut Vec<u32>,
        control: &mut dyn Control,
    ) -> Result<()> {
        if let Some(scheme) = self.scheme() {
            return scheme.encode(text, allowed, ids, control);
        }
        let Model::Characters(characters) = self.model() else {
            return Ok(());
        };
        let text = text.as_bytes();
        let mut from = 0;
        for found in allowed.matches(text) {
            characters
                .encode(&text[from..found.start], ids)
                .map_err(|error| error.shifted(from))?;
            ids.push(found.id);
            from = found.end;
        }
        characters
            .encode(&text[from..], ids)
            .map_err(|error| error.shifted(from))
    }

    fn count_under(
        &self,
        text: Text<'_>,
        allowed: &SpecialSet,
        control: &mut dyn Control,
    ) -> Result<usize> {
        if let Some(scheme) = self.scheme() {
            return scheme.count(text, allowed, control);
        }
        let mut ids = Vec::new();
        self.encode_under(text, allowed, &mut ids, control)?;
        Ok(ids.len())
    }

    fn token_length(&self, id: u32) -> usize {
        self.token_bytes(id).map_or(0, <[u8]>::len)
    }
}

fn flow(go_on: bool) -> ControlFlow<()> {
    if go_on {
        ControlFlow::Continue(())
    } else {
        ControlFlow::Break(())
    }
}

/// Whether cutting `text` at `end` would cut a character that is valid there.
fn is_inside_character(text: &[u8], end: usize) -> bool {
    (1..=3.min(end)).any(|back| {
        let start = end - back;
        let window = &text[start..text.len().min(start + 4)];
        window
            .utf8_chunks()
            .next()
            .and_then(|chunk| chunk.valid().chars().next())
            .is_some_and(|character| character.len_utf8() > back)
    })
}
