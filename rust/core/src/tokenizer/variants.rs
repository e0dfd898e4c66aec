//! A tokenizer made of another one: with fewer merges, with more, with more special tokens.

use super::{Tokenizer, named};
use crate::characters::Characters;
use crate::error::ShrinkProblem;
use crate::model::Model;
use crate::special::SpecialToken;
use crate::vocab::Vocab;
use crate::{Error, Result};

impl Tokenizer {
    /// The tokenizer of the first merges, with `size` ids in all.
    ///
    /// Special tokens keep their order and take the ids after the last token. Since
    /// a merge only uses earlier ones, the result is the tokenizer that training to
    /// `size` would have made.
    pub fn shrink(&self, size: u32) -> Result<Self> {
        let refuse = |problem| Error::Shrink {
            wanted: size,
            problem,
        };
        let Some(vocab) = self.vocab() else {
            return Err(refuse(ShrinkProblem::Characters));
        };
        let special = self.special_tokens();
        let smallest = 256 + special.len() as u32;
        let largest = vocab.limit() + special.len() as u32;
        if size < smallest || size > largest {
            return Err(refuse(ShrinkProblem::Size { smallest, largest }));
        }
        let limit = size - special.len() as u32;
        let vocab = vocab.prefix(limit).map_err(refuse)?;
        self.around(vocab, limit)
            .unwrap_or_else(|| Err(refuse(ShrinkProblem::Template)))
    }

    /// The tokenizer of more merges, with what stands around this one. Its special tokens keep their order and
    /// take the ids after the last merge.
    pub fn extended(&self, merges: &[(u32, u32)]) -> Result<Self> {
        let vocab = Vocab::from_merges(merges)?;
        let limit = vocab.limit();
        self.around(vocab, limit).unwrap_or_else(|| {
            Err(Error::Shrink {
                wanted: limit,
                problem: ShrinkProblem::Template,
            })
        })
    }

    /// What stands around this tokenizer, around another vocabulary: special tokens take the ids from `limit` on.
    /// `None` if the template needs a token that is not there.
    fn around(&self, vocab: Vocab, limit: u32) -> Option<Result<Self>> {
        let special = self.special_tokens();
        let number = |id| match special.binary_search_by_key(&id, |token| token.id) {
            Ok(place) => Some(limit + place as u32),
            Err(_) => (id < limit).then_some(id),
        };
        let pipeline = self.inner.pipeline.renumbered(number)?;
        let special = special.iter().zip(limit..).map(|(token, id)| SpecialToken {
            id,
            ..token.clone()
        });
        let model = Model::Bytes(Box::new(vocab));
        Some(Self::new(model, pipeline, special.collect()))
    }

    /// The same tokenizer with more special tokens, which have ids of their own; the others keep theirs.
    pub fn with_special_tokens(&self, more: &[(String, u32)]) -> Result<Self> {
        let model = match &self.inner.model {
            Model::Bytes(vocab) => {
                let merges = vocab.merges().iter();
                let merges: Vec<_> = merges.map(|merge| (merge.left, merge.right)).collect();
                let vocab = Vocab::from_tokens(vocab.iter(), &merges, vocab.whole_first())?;
                Model::Bytes(Box::new(vocab))
            }
            Model::Characters(characters) => {
                Model::Characters(Characters::numbered(characters.iter())?)
            }
        };
        let special = self.special_tokens().iter().cloned().chain(named(more));
        Self::new(model, self.inner.pipeline.clone(), special.collect())
    }
}
