//! Ids with their places in the given text, where that was changed before it was split.
//!
//! A token of a changed text begins where the first character that it was made of begins in the given text. Several
//! tokens may be made of one character (of é, decomposed), and then begin at the same place.

use std::ops::ControlFlow;

use crate::encode::Text;
use crate::rewrite::{Content, Part, Rewriting};
use crate::special::SpecialSet;
use crate::{Error, Result, Tokenizer};

impl Tokenizer {
    /// [`Tokenizer::encode_with_offsets_while`] of a tokenizer that changes texts.
    pub(crate) fn encode_with_places(
        &self,
        rewriting: &Rewriting,
        text: Text<'_>,
        allowed: &SpecialSet,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(Vec<u32>, Vec<usize>)> {
        let mut parts = Vec::new();
        rewriting.parts(text.as_bytes(), self.looked_for(allowed), true, &mut parts);
        let (ids, ends) = self.ids_of_parts(&parts, usize::MAX, go_on)?;
        let mut starts = Vec::with_capacity(ids.len());
        let mut from = 0;
        for (part, end) in parts.iter().zip(ends) {
            let mut at = 0;
            for &id in &ids[from..end] {
                starts.push(part.source(at));
                at += self.length_in(part, id);
            }
            from = end;
        }
        Ok((ids, starts))
    }

    /// [`Tokenizer::truncate_while`] of a tokenizer that changes texts.
    pub(crate) fn truncate_with_places(
        &self,
        rewriting: &Rewriting,
        text: Text<'_>,
        most: usize,
        allowed: &SpecialSet,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(Vec<u32>, usize)> {
        let mut parts = Vec::new();
        rewriting.parts(text.as_bytes(), self.looked_for(allowed), true, &mut parts);
        let (mut ids, ends) = self.ids_of_parts(&parts, most, go_on)?;
        // The number of ids before the last place where the text may end, and that place.
        let (mut kept, mut end) = (0, 0);
        let mut all_parts = parts.iter().peekable();
        let (mut from, mut ends) = (0, ends.into_iter());
        'parts: while let Some(part) = all_parts.next() {
            let part_ids = &ids[from..ends.next().unwrap_or(ids.len())];
            let length = part.bytes().len();
            let mut at = 0;
            for (index, &id) in part_ids.iter().enumerate() {
                if from + index == most {
                    break 'parts;
                }
                at += self.length_in(part, id);
                let place = match all_parts.peek() {
                    _ if at < length => part.source(at),
                    Some(next) => next.source(0),
                    None => text.as_bytes().len(),
                };
                let between = match &part.content {
                    Content::Text(text) => {
                        let last = part.source(last_character(text.as_bytes(), at));
                        text.is_char_boundary(at) && last < place
                    }
                    Content::Token(_) | Content::Bytes(_) => true,
                };
                if between {
                    (kept, end) = (from + index + 1, place);
                }
            }
            from += part_ids.len();
        }
        ids.truncate(kept);
        Ok((ids, end))
    }

    /// The ids of some parts, at least `most` of them if there are so many, and where each part ends among them.
    fn ids_of_parts(
        &self,
        parts: &[Part<'_>],
        most: usize,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(Vec<u32>, Vec<usize>)> {
        let (mut ids, mut ends) = (Vec::new(), Vec::new());
        let mut cancelled = false;
        let mut control = |count| {
            cancelled = !go_on();
            if cancelled || count >= most {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        if let Some(scheme) = self.scheme() {
            scheme.encode_rewritten(parts, &mut ids, &mut ends, &mut control)?;
        }
        if cancelled {
            return Err(Error::Cancelled);
        }
        Ok((ids, ends))
    }

    /// How many bytes of a part an id stands for: an added token for none.
    fn length_in(&self, part: &Part<'_>, id: u32) -> usize {
        match part.content {
            Content::Token(_) => 0,
            Content::Text(_) | Content::Bytes(_) => self.token_length(id),
        }
    }
}

/// Where the last character before byte `at` begins.
fn last_character(bytes: &[u8], at: usize) -> usize {
    let start = bytes[..at].iter().rposition(|byte| byte & 0xC0 != 0x80);
    start.unwrap_or(0)
}
