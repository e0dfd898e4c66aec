//! A tokenizer's ways from text to ids.

use std::ops::ControlFlow;

use crate::documents::DocumentBatch;
use crate::encode::{Control, Ids, Ragged, Text, to_the_end};
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
        let allowed = self.looked_for(allowed);
        let mut cancelled = false;
        let mut control = |_| {
            cancelled = !go_on();
            flow(!cancelled)
        };
        let scheme = self.scheme();
        let ids = match &scheme {
            Some(scheme) if scheme.is_narrow() => {
                let mut ids = Vec::new();
                scheme.encode(text, allowed, &mut ids, &mut control)?;
                Ids::Narrow(ids)
            }
            Some(scheme) => {
                let mut ids = Vec::new();
                scheme.encode(text, allowed, &mut ids, &mut control)?;
                Ids::Wide(ids)
            }
            None => {
                let mut ids = Vec::new();
                self.encode_under(text, allowed, &mut ids, &mut control)?;
                Ids::Wide(ids)
            }
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
        self.count_until_while(text.into(), most, allowed, &|| true)
    }

    /// The same, unless `go_on` says no: then it ends soon, with [`Error::Cancelled`].
    pub fn count_until_while(
        &self,
        text: Text<'_>,
        most: usize,
        allowed: &SpecialSet,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<usize>> {
        let mut cancelled = false;
        let mut control = |count| {
            cancelled = !go_on();
            flow(!cancelled && count <= most)
        };
        let count = self.count_under(text, allowed, &mut control)?;
        if cancelled {
            return Err(Error::Cancelled);
        }
        Ok((count <= most).then_some(count))
    }

    /// The ids, and for each the byte of `text` at which its token starts.
    ///
    /// Token `i` covers `starts[i]..starts[i + 1]`, the last one up to the end. Where the tokenizer changes texts
    /// before it splits them, a token starts where the first character that it was made of does.
    pub fn encode_with_offsets<'t>(
        &self,
        text: impl Into<Text<'t>>,
        allowed: &SpecialSet,
    ) -> Result<(Vec<u32>, Vec<usize>)> {
        self.encode_with_offsets_while(text.into(), allowed, &|| true)
    }

    /// The same, unless `go_on` says no: then it ends soon, with [`Error::Cancelled`].
    pub fn encode_with_offsets_while(
        &self,
        text: Text<'_>,
        allowed: &SpecialSet,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(Vec<u32>, Vec<usize>)> {
        if let Some(rewriting) = self.rewriting() {
            return self.encode_with_places(rewriting, text, allowed, go_on);
        }
        let ids = self.encode_while(text, allowed, go_on)?.into_wide();
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
        self.truncate_while(text.into(), most, allowed, &|| true)
    }

    /// The same, unless `go_on` says no: then it ends soon, with [`Error::Cancelled`].
    pub fn truncate_while(
        &self,
        text: Text<'_>,
        most: usize,
        allowed: &SpecialSet,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(Vec<u32>, usize)> {
        if let Some(rewriting) = self.rewriting() {
            return self.truncate_with_places(rewriting, text, most, allowed, go_on);
        }
        let mut ids = Vec::new();
        let mut cancelled = false;
        let mut control = |count| {
            cancelled = !go_on();
            flow(!cancelled && count < most)
        };
        self.encode_under(text, allowed, &mut ids, &mut control)?;
        if cancelled {
            return Err(Error::Cancelled);
        }
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
            return scheme.encode_batch(&texts, self.looked_for(allowed), threads, go_on);
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

    /// The last place at which `text` can be cut so that its two parts have the ids of the whole,
    /// whatever follows `text`. There is none where nothing is known of the split pattern.
    ///
    /// ```
    /// use gptbpe_core::{SpecialSet, Tokenizer, pattern::Pattern};
    ///
    /// let tokenizer = Tokenizer::from_merges(&[], Pattern::default(), &[])?;
    /// assert_eq!(tokenizer.last_cut(b"low lower lo", &SpecialSet::none()), Some(9));
    /// # Ok::<(), gptbpe_core::Error>(())
    /// ```
    pub fn last_cut(&self, text: &[u8], allowed: &SpecialSet) -> Option<usize> {
        let allowed = self.looked_for(allowed);
        if let Some(scheme) = self.scheme() {
            return scheme.last_cut(text, allowed);
        }
        match self.model() {
            Model::Characters(_) if allowed.is_empty() => {
                (1..text.len()).rev().find(|&at| text[at] & 0xC0 != 0x80)
            }
            Model::Bytes(_) | Model::Characters(_) => None,
        }
    }

    /// The ids of every part in a batch of documents, on `threads` threads, unless `go_on` says no.
    ///
    /// An error names the document by its number among all, and the byte in all of it.
    pub fn encode_documents(
        &self,
        batch: &DocumentBatch,
        allowed: &SpecialSet,
        threads: usize,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Ragged> {
        let parts: Vec<&[u8]> = batch.parts().collect();
        let encoded = self.encode_batch_while(&parts, allowed, threads, go_on);
        encoded.map_err(|error| in_batch(error, batch))
    }

    /// How many ids all documents of a batch have, unless `go_on` says no.
    pub fn count_documents(
        &self,
        batch: &DocumentBatch,
        allowed: &SpecialSet,
        go_on: &dyn Fn() -> bool,
    ) -> Result<usize> {
        let counts = batch.parts().enumerate().map(|(index, part)| {
            let count = self.count_while(part.into(), allowed, go_on);
            count.map_err(|error| match error {
                Error::Cancelled => error,
                error => in_batch(
                    Error::Document {
                        index,
                        source: Box::new(error),
                    },
                    batch,
                ),
            })
        });
        counts.sum()
    }

    fn encode_under(
        &self,
        text: Text<'_>,
        allowed: &SpecialSet,
        ids: &mut Vec<u32>,
        control: &mut dyn Control,
    ) -> Result<()> {
        let allowed = self.looked_for(allowed);
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
                .encode(&text[from.min(found.start)..found.start], ids)
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
            return scheme.count(text, self.looked_for(allowed), control);
        }
        let mut ids = Vec::new();
        self.encode_under(text, allowed, &mut ids, control)?;
        Ok(ids.len())
    }

    pub(crate) fn token_length(&self, id: u32) -> usize {
        self.token_bytes(id).map_or(0, <[u8]>::len)
    }
}

/// The error about a part of a batch as one about its document.
fn in_batch(error: Error, batch: &DocumentBatch) -> Error {
    match error {
        Error::Document { index: 0, source } => Error::Document {
            index: batch.first_document() as usize,
            source: Box::new(source.shifted(batch.continues().unwrap_or(0))),
        },
        Error::Document { index, source } => Error::Document {
            index: batch.first_document() as usize + index,
            source,
        },
        error => error,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::{DocumentBuffer, Separators};
    use crate::pattern::Pattern;

    fn tokenizer(pattern: Pattern, special: &[(String, u32)]) -> Tokenizer {
        let letters = [(101, 114), (108, 111), (257, 119), (32, 258), (32, 116)];
        Tokenizer::from_merges(&letters, pattern, special).unwrap()
    }

    /// The ids of `text`, which is given out in parts of at least `part_bytes` bytes.
    fn in_parts(
        tokenizer: &Tokenizer,
        text: &[u8],
        part_bytes: usize,
        allowed: &SpecialSet,
    ) -> Result<(Vec<u32>, usize)> {
        let (inner, set) = (tokenizer.clone(), allowed.clone());
        let cut = Box::new(move |text: &[u8]| inner.last_cut(text, &set));
        let mut buffer = DocumentBuffer::new(Separators::none(), cut, part_bytes);
        let (mut ids, mut parts, mut counted) = (Vec::new(), 0, 0);
        for block in text.chunks(7).map(Some).chain([None]) {
            match block {
                Some(block) => buffer.push(block)?,
                None => buffer.end_file()?,
            }
            while block.is_none() || buffer.is_full() {
                let Some(batch) = buffer.take()? else { break };
                let encoded = tokenizer.encode_documents(&batch, allowed, 2, &|| true)?;
                counted += tokenizer.count_documents(&batch, allowed, &|| true)?;
                ids.extend(encoded.ids.to_vec());
                parts += batch.parts().len();
            }
        }
        assert_eq!(counted, ids.len());
        Ok((ids, parts))
    }

    const TEXT: &str =
        "lower  lower\n\n the lowest, 好。\n你 low er  er\nthe 12 lower \u{1F642}\nx ";

    #[test]
    fn the_ids_of_a_document_do_not_depend_on_its_parts() {
        let names = [
            "gpt2", "cl100k", "o200k", "llama3", "qwen2", "nanochat", "deepseek",
        ];
        let text = TEXT.repeat(9);
        let mut broken = text.clone().into_bytes();
        broken.extend(b"\xFF\xE5\xA5 low lower");
        for name in names {
            let tokenizer = tokenizer(Pattern::named(name).unwrap(), &[]);
            for text in [text.as_bytes(), &broken] {
                let whole = tokenizer.encode_ordinary(text).unwrap();
                for part_bytes in (1..40).chain([10_000]) {
                    let none = SpecialSet::none();
                    let (ids, parts) = in_parts(&tokenizer, text, part_bytes, &none).unwrap();
                    assert_eq!(ids, whole, "{name} {part_bytes}");
                    assert!(parts > 5 || part_bytes > 39, "{name}: {parts} parts");
                }
            }
        }
    }

    #[test]
    fn special_tokens_stay_whole() {
        for (special, is_cut) in [("<|x|>", true), ("<low lower>", false)] {
            let tokenizer = tokenizer(Pattern::default(), &[(special.to_owned(), 300)]);
            let text = format!("{TEXT}{special}low {special}{TEXT}").repeat(4);
            let all = tokenizer.all_special();
            let whole = tokenizer.encode(&*text, all).unwrap();
            for part_bytes in 1..60 {
                let (ids, parts) = in_parts(&tokenizer, text.as_bytes(), part_bytes, all).unwrap();
                assert_eq!(ids, whole);
                assert_eq!(parts > 1, is_cut);
            }
        }
    }

    #[test]
    fn what_cannot_be_cut_is_one_part() {
        for pattern in [Pattern::none(), Pattern::regex(".{3}|.")] {
            let tokenizer = tokenizer(pattern, &[]);
            let whole = tokenizer.encode_ordinary(TEXT).unwrap();
            let none = SpecialSet::none();
            let (ids, parts) = in_parts(&tokenizer, TEXT.as_bytes(), 5, &none).unwrap();
            assert_eq!((ids, parts), (whole, 1));
        }
    }

    #[test]
    fn characters_are_cut_between_any_two() {
        let tokenizer = Tokenizer::characters(TEXT.chars(), &[]).unwrap();
        let none = SpecialSet::none();
        let whole = tokenizer.encode_ordinary(TEXT).unwrap();
        for part_bytes in 1..9 {
            let (ids, parts) = in_parts(&tokenizer, TEXT.as_bytes(), part_bytes, &none).unwrap();
            assert_eq!(ids, whole);
            assert!(parts > 5);
            let wrong = format!("{TEXT}?{TEXT}");
            let error = in_parts(&tokenizer, wrong.as_bytes(), part_bytes, &none).unwrap_err();
            let Error::Document { index: 0, source } = error else {
                panic!("{error}");
            };
            let expected = TEXT.len();
            let Error::UnknownCharacter { position, .. } = *source else {
                panic!("{source}");
            };
            assert_eq!(position, expected);
        }
    }
}
