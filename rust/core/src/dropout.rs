//! Encoding with BPE-dropout: see [`Dropout`].

pub use crate::merge::Dropout;

use crate::encode::Text;
use crate::merge::merge_with_dropout;
use crate::model::Model;
use crate::rewrite::Content;
use crate::special::SpecialSet;
use crate::vocab::Vocab;
use crate::{Error, Result, Tokenizer};

/// So many pre-tokens are merged between two questions whether to go on.
const UNASKED: usize = 1 << 10;

impl Tokenizer {
    /// The ids of `text` when merges are skipped at random, as training with subword regularisation wants
    /// them. Special tokens of `allowed` stand for themselves and are never skipped.
    ///
    /// The ids are a function of the tokenizer, the text and the `dropout` as it is given;
    /// it then goes on with its random numbers. With a probability of 0 they are those of
    /// [`Tokenizer::encode`], with 1 those of the single bytes. Where a vocabulary looks whole pre-tokens
    /// up before it merges them, it does so only with a probability of 0, as in Hugging Face's
    /// `tokenizers`. A character tokenizer merges nothing. Nothing is remembered, so every
    /// pre-token is merged anew.
    ///
    /// ```
    /// use gptbpe_core::{SpecialSet, Tokenizer, dropout::Dropout, pattern::Pattern};
    ///
    /// let tokenizer = Tokenizer::from_merges(&[(97, 98)], Pattern::default(), &[])?;
    /// let mut dropout = Dropout::new(0.5, 0)?;
    /// let none = SpecialSet::none();
    /// let ids = tokenizer.encode_with_dropout("abababab", &none, &mut dropout)?;
    /// assert_eq!(tokenizer.decode(&ids)?, b"abababab");
    /// assert!((4..=8).contains(&ids.len()));
    /// # Ok::<(), gptbpe_core::Error>(())
    /// ```
    pub fn encode_with_dropout<'t>(
        &self,
        text: impl Into<Text<'t>>,
        allowed: &SpecialSet,
        dropout: &mut Dropout,
    ) -> Result<Vec<u32>> {
        self.encode_with_dropout_while(text.into(), allowed, dropout, &|| true)
    }

    /// The same, unless `go_on` says no: then it ends soon, with [`Error::Cancelled`].
    pub fn encode_with_dropout_while(
        &self,
        text: Text<'_>,
        allowed: &SpecialSet,
        dropout: &mut Dropout,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Vec<u32>> {
        let vocab = match self.model() {
            Model::Bytes(vocab) if !dropout.is_zero() => vocab,
            _ => return Ok(self.encode_while(text, allowed, go_on)?.into_wide()),
        };
        let mut ids = Vec::new();
        let mut stretch = |stretch: &[u8], ids: &mut Vec<u32>| {
            self.merge_with_dropout(vocab, stretch, dropout, go_on, ids)
        };
        if let Some(rewriting) = self.rewriting() {
            let mut parts = Vec::new();
            rewriting.parts(text.as_bytes(), self.looked_for(allowed), false, &mut parts);
            for part in &parts {
                match part.content {
                    Content::Token(id) => ids.push(id),
                    Content::Text(_) | Content::Bytes(_) => stretch(part.bytes(), &mut ids)?,
                }
            }
            return Ok(ids);
        }
        let bytes = text.as_bytes();
        let mut from = 0;
        for found in self.looked_for(allowed).matches(bytes) {
            stretch(&bytes[from.min(found.start)..found.start], &mut ids)?;
            ids.push(found.id);
            from = found.end;
        }
        stretch(&bytes[from..], &mut ids)?;
        Ok(ids)
    }

    fn merge_with_dropout(
        &self,
        vocab: &Vocab,
        text: &[u8],
        dropout: &mut Dropout,
        go_on: &dyn Fn() -> bool,
        ids: &mut Vec<u32>,
    ) -> Result<()> {
        let mut state = Ok(());
        let mut pieces = 0_usize;
        self.pretokenizer().each_while(text, &mut |piece| {
            pieces += 1;
            if pieces.is_multiple_of(UNASKED) && !go_on() {
                state = Err(Error::Cancelled);
                return false;
            }
            let first = ids.len();
            state = merge_with_dropout(vocab.rules(), piece, dropout, ids, &mut || go_on());
            for symbol in &mut ids[first..] {
                *symbol = vocab.rules().id(*symbol);
            }
            state.is_ok()
        });
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Pattern;
    use proptest::prelude::*;

    /// A tokenizer with a token of two letters and one of four, and a special token.
    fn toy() -> Tokenizer {
        let special = [("<|x|>".to_owned(), 258)];
        let merges = [(u32::from(b'a'), u32::from(b'b')), (256, 256)];
        Tokenizer::from_merges(&merges, Pattern::default(), &special).unwrap()
    }

    fn encode(tokenizer: &Tokenizer, text: &[u8], probability: f64, seed: u64) -> Vec<u32> {
        let mut dropout = Dropout::new(probability, seed).unwrap();
        let all = tokenizer.all_special();
        tokenizer
            .encode_with_dropout(text, all, &mut dropout)
            .unwrap()
    }

    #[test]
    fn special_tokens_are_never_skipped() {
        assert_eq!(encode(&toy(), b"ab<|x|>ab", 1.0, 3), [97, 98, 258, 97, 98]);
        assert_eq!(encode(&toy(), b"ab<|x|>ab", 0.0, 3), [256, 258, 256]);
    }

    #[test]
    fn the_stream_of_random_numbers_goes_on() {
        let (tokenizer, none) = (toy(), SpecialSet::none());
        let mut dropout = Dropout::new(0.5, 1).unwrap();
        let text = "ab ".repeat(100);
        let first = tokenizer
            .encode_with_dropout(&*text, &none, &mut dropout)
            .unwrap();
        let second = tokenizer
            .encode_with_dropout(&*text, &none, &mut dropout)
            .unwrap();
        assert_ne!(first, second);
        let mut again = Dropout::new(0.5, 1).unwrap();
        assert_eq!(
            tokenizer
                .encode_with_dropout(&*text, &none, &mut again)
                .unwrap(),
            first
        );
    }

    #[test]
    fn a_call_ends_when_it_is_told_to() {
        let text = "ab ".repeat(2 * UNASKED);
        let mut dropout = Dropout::new(0.5, 1).unwrap();
        let none = SpecialSet::none();
        let result =
            toy().encode_with_dropout_while((&*text).into(), &none, &mut dropout, &|| false);
        assert!(matches!(result, Err(Error::Cancelled)));
    }

    #[test]
    fn whole_pre_tokens_are_looked_up_only_without_dropout() {
        let bytes: Vec<Vec<u8>> = (0..=255_u8).map(|byte| vec![byte]).collect();
        let tokens = bytes.iter().map(Vec::as_slice).chain([&b"xyz"[..]]);
        let tokenizer = Tokenizer::from_ranks((0..).zip(tokens), Pattern::none(), &[]).unwrap();
        assert_eq!(encode(&tokenizer, b"xyz", 0.0, 0), [256]);
        assert_eq!(encode(&tokenizer, b"xyz", 1e-9, 0), [120, 121, 122]);
    }

    #[test]
    fn characters_have_no_merges() {
        let characters = Tokenizer::characters("ba".chars(), &["<e>".into()]).unwrap();
        assert_eq!(encode(&characters, b"ab<e>a", 0.7, 0), [0, 1, 2, 0]);
    }

    proptest! {
        #[test]
        fn the_text_comes_back(
            bytes in prop_oneof![any::<Vec<u8>>(), "[ab <|x>]{0,200}".prop_map(String::into_bytes)],
            probability in 0.0..=1.0,
            seed: u64,
        ) {
            let tokenizer = toy();
            let ids = encode(&tokenizer, &bytes, probability, seed);
            prop_assert_eq!(tokenizer.decode(&ids).unwrap(), bytes.clone());
            prop_assert_eq!(ids, encode(&tokenizer, &bytes, probability, seed));
            let plain = tokenizer.encode(&bytes[..], tokenizer.all_special()).unwrap();
            prop_assert_eq!(encode(&tokenizer, &bytes, 0.0, seed), plain);
        }
    }
}
