//! The tokenizer: a vocabulary, the pattern that splits text, special tokens.
//!
//! Built whole or not at all, then immutable: a clone is a reference, and threads
//! share one. What encoding remembers lives as long as the tokenizer and changes no result.

#[cfg(test)]
mod tests;
mod usual_names;
mod variants;

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use crate::characters::Characters;
use crate::encode::{EncodeOptions, Encoder, Scheme};
use crate::merge::{Buffers, merge_piece};
use crate::model::{DecodeTable, Model};
use crate::normalize::Step;
use crate::pattern::Pattern;
use crate::pipeline::Pipeline;
use crate::rewrite::{Content, Rewriting};
use crate::scan::Pretokenizer;
use crate::special::{SpecialNames, SpecialPolicy, SpecialSet, SpecialToken, SpecialTokens};
use crate::template::Template;
use crate::vocab::{Merge, Vocab};
use crate::{Error, Result};

/// Byte-level BPE or characters, ready to encode and decode.
///
/// ```
/// use gptbpe_core::{Tokenizer, pattern::Pattern};
///
/// let (a, b) = (u32::from(b'a'), u32::from(b'b'));
/// let special = [("<|endoftext|>".to_owned(), 258)];
/// let tokenizer = Tokenizer::from_merges(&[(a, b), (256, a)], Pattern::default(), &special)?;
/// let ids = tokenizer.encode_ordinary("abab aba")?;
/// assert_eq!(ids, [256, 256, 32, 257]);
/// assert_eq!(tokenizer.decode(&ids)?, b"abab aba");
/// # Ok::<(), gptbpe_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
    encoder: Arc<Encoder>,
}

#[derive(Debug)]
struct Inner {
    model: Model,
    pipeline: Pipeline,
    rewriting: Option<Rewriting>,
    pretokenizer: Pretokenizer,
    special: SpecialTokens,
    decode_table: OnceLock<DecodeTable>,
    fingerprint: OnceLock<[u8; 32]>,
}

impl Tokenizer {
    /// A tokenizer of our own numbering: bytes 0–255, merge `k` makes id `256 + k`.
    pub fn from_merges(
        merges: &[(u32, u32)],
        pattern: Pattern,
        special: &[(String, u32)],
    ) -> Result<Self> {
        Self::from_vocab(Vocab::from_merges(merges)?, pattern, named(special))
    }

    /// A tokenizer of tiktoken's kind: tokens whose ids are their ranks.
    pub fn from_ranks<'a>(
        ranks: impl IntoIterator<Item = (u32, &'a [u8])>,
        pattern: Pattern,
        special: &[(String, u32)],
    ) -> Result<Self> {
        Self::from_vocab(Vocab::from_ranks(ranks)?, pattern, named(special))
    }

    /// A tokenizer over any vocabulary.
    pub fn from_vocab(vocab: Vocab, pattern: Pattern, special: Vec<SpecialToken>) -> Result<Self> {
        Self::new(Model::Bytes(Box::new(vocab)), pattern.into(), special)
    }

    /// A character tokenizer: the distinct characters by code point, then the special tokens.
    pub fn characters(
        alphabet: impl IntoIterator<Item = char>,
        special: &[String],
    ) -> Result<Self> {
        let characters = Characters::new(alphabet)?;
        let special = special.iter().zip(characters.limit()..);
        let special = special.map(|(content, id)| SpecialToken::new(content, id));
        let special = special.collect();
        Self::from_characters(characters, special)
    }

    /// A character tokenizer with ids of its own.
    pub fn from_characters(characters: Characters, special: Vec<SpecialToken>) -> Result<Self> {
        let pipeline = Pattern::none().into();
        Self::new(Model::Characters(characters), pipeline, special)
    }

    /// A tokenizer of a model and what stands around it. Characters are split as they are given.
    pub(crate) fn new(
        model: Model,
        pipeline: Pipeline,
        special: Vec<SpecialToken>,
    ) -> Result<Self> {
        let rewriting = Rewriting::new(&pipeline)?;
        let special = SpecialTokens::new(
            special,
            |id| model.token(id),
            |content| match &rewriting {
                Some(rewriting) => rewriting.normalizer().normalize(content).into_owned(),
                None => content.to_owned(),
            },
        )?;
        let inner = Inner {
            pretokenizer: Pretokenizer::new(&pipeline.pattern)?,
            model,
            pipeline,
            rewriting,
            special,
            decode_table: OnceLock::new(),
            fingerprint: OnceLock::new(),
        };
        let encoder = Encoder::new(EncodeOptions::default(), inner.is_narrow());
        Ok(Self {
            inner: Arc::new(inner),
            encoder: Arc::new(encoder),
        })
    }

    /// The same tokenizer with nothing remembered yet, which encodes in another way to the same
    /// ids: for tests and benchmarks.
    #[must_use]
    pub fn with_options(&self, options: EncodeOptions) -> Self {
        Self {
            inner: self.inner.clone(),
            encoder: Arc::new(Encoder::new(options, self.inner.is_narrow())),
        }
    }

    /// How this tokenizer encodes.
    pub fn encode_options(&self) -> EncodeOptions {
        self.encoder.options()
    }

    /// One more than the greatest id, special tokens included.
    pub fn vocab_size(&self) -> u32 {
        self.inner.vocab_size()
    }

    /// The bytes that an id stands for; those of its text for a special token.
    #[inline]
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.inner
            .model
            .token(id)
            .or_else(|| Some(self.inner.special.by_id(id)?.content.as_bytes()))
    }

    /// The id of exactly these bytes, if they are an ordinary token.
    pub fn token_id(&self, bytes: &[u8]) -> Option<u32> {
        match &self.inner.model {
            Model::Bytes(vocab) => vocab.id(bytes),
            Model::Characters(characters) => {
                let mut text = std::str::from_utf8(bytes).ok()?.chars();
                let character = text.next()?;
                text.next().map_or(characters.id(character), |_| None)
            }
        }
    }

    /// The merges in the order in which they apply; none for characters.
    ///
    /// Those of a rank file are recovered: see [`Vocab::from_ranks`].
    pub fn merges(&self) -> &[Merge] {
        self.vocab().map_or(&[], Vocab::merges)
    }

    /// The special tokens by id.
    pub fn special_tokens(&self) -> &[SpecialToken] {
        self.inner.special.as_slice()
    }

    /// The id of a special token.
    pub fn special_id(&self, content: &str) -> Option<u32> {
        Some(self.inner.special.by_content(content)?.id)
    }

    /// The ids and bytes of the tokens that are not special, by id.
    pub fn ordinary_tokens(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let mut special = self.special_tokens().iter().peekable();
        (0..self.inner.model.limit()).filter_map(move |id| {
            while special.next_if(|token| token.id < id).is_some() {}
            let is_special = special.peek().is_some_and(|token| token.id == id);
            let bytes = self.inner.model.token(id).filter(|_| !is_special)?;
            Some((id, bytes))
        })
    }

    /// All added tokens, ready to be looked for.
    pub fn all_special(&self) -> &SpecialSet {
        self.inner.special.all()
    }

    /// Those of the named special tokens that this tokenizer has, with the tokens that are always
    /// matched, ready to be looked for.
    ///
    /// The last few sets are kept, so the same names may be given in every call.
    pub fn special_set<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<SpecialSet> {
        self.inner.special.named(names)
    }

    /// What a call allows and what it refuses among special tokens.
    ///
    /// Names in `allowed` that are no special tokens are passed over. `disallowed` may
    /// be any strings; [`SpecialNames::All`] there means all but the allowed ones. It
    /// costs a search for each name; what is built is kept for the next calls.
    pub fn special_policy(
        &self,
        allowed: SpecialNames<'_>,
        disallowed: SpecialNames<'_>,
    ) -> Result<Cow<'_, SpecialPolicy>> {
        self.inner.special.policy(allowed, disallowed)
    }

    /// [`Error::DisallowedSpecial`] if `text` holds a string that this tokenizer's `policy` refuses.
    pub fn check_special(&self, text: &[u8], policy: &SpecialPolicy) -> Result<()> {
        self.inner.special.check(text, policy)
    }

    /// The same for several texts: [`Error::Document`] names the first that holds one.
    ///
    /// `go_on` is asked before each text; if it says no, [`Error::Cancelled`].
    pub fn check_special_batch<T: AsRef<[u8]>>(
        &self,
        texts: &[T],
        policy: &SpecialPolicy,
        go_on: &dyn Fn() -> bool,
    ) -> Result<()> {
        if policy.refuses_nothing() {
            return Ok(());
        }
        for (index, text) in texts.iter().enumerate() {
            if !go_on() {
                return Err(Error::Cancelled);
            }
            self.check_special(text.as_ref(), policy)
                .map_err(|source| Error::Document {
                    index,
                    source: Box::new(source),
                })?;
        }
        Ok(())
    }

    /// Calls `f` with every pre-token of `text`, in order; a character tokenizer has one. An added token that
    /// is always matched is a piece of its own.
    ///
    /// Where the tokenizer changes texts before it splits them, they are the pre-tokens of the changed text.
    pub fn split(&self, text: &[u8], mut f: impl FnMut(&[u8])) {
        self.split_while(text, &mut |piece| {
            f(piece);
            true
        });
    }

    /// The same until `f` says no: the rest is not looked at. Returns whether it never did.
    pub fn split_while(&self, text: &[u8], f: &mut impl FnMut(&[u8]) -> bool) -> bool {
        let always = self.inner.special.always();
        if let Some(rewriting) = &self.inner.rewriting {
            let mut parts = Vec::new();
            rewriting.parts(text, always, false, &mut parts);
            return parts.iter().all(|part| match part.content {
                Content::Token(id) => f(self.token_bytes(id).unwrap_or_default()),
                _ => self.pretokenizer().each_while(part.bytes(), f),
            });
        }
        let mut from = 0;
        for found in always.matches(text) {
            let token = from.max(found.start).min(found.end)..found.end;
            let before = &text[from.min(found.start)..found.start];
            if !self.pretokenizer().each_while(before, f) || !f(&text[token]) {
                return false;
            }
            from = found.end;
        }
        self.pretokenizer().each_while(&text[from..], f)
    }

    /// What the merges make of `piece` as one pre-token, even if `piece` is a token or is not UTF-8.
    pub fn merge_piece(&self, piece: &[u8]) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        match &self.inner.model {
            Model::Bytes(vocab) => {
                merge_piece(vocab.rules(), piece, &mut Buffers::default(), &mut ids)?;
                for symbol in &mut ids {
                    *symbol = vocab.rules().id(*symbol);
                }
            }
            Model::Characters(characters) => characters.encode(piece, &mut ids)?,
        }
        Ok(ids)
    }

    /// How text is split before merging.
    pub fn pattern(&self) -> &Pattern {
        &self.inner.pipeline.pattern
    }

    /// The ids around a text, for those who ask for them.
    pub fn template(&self) -> &Template {
        &self.inner.pipeline.template
    }

    /// What is done to a text before it is split, first to last.
    pub fn normalizer(&self) -> &[Step] {
        &self.inner.pipeline.normalizer
    }

    /// Whether texts are split as they are given, with nothing but [`Pattern::regexes`]. Training can then go on
    /// from the counts of their pre-tokens.
    pub fn splits_texts_as_given(&self) -> bool {
        self.inner.rewriting.is_none() && self.pattern().on_alphabet().is_empty()
    }

    /// What turns a stretch of text into ids.
    pub fn model(&self) -> &Model {
        &self.inner.model
    }

    /// The byte-level vocabulary; none for characters.
    pub fn vocab(&self) -> Option<&Vocab> {
        match &self.inner.model {
            Model::Bytes(vocab) => Some(vocab),
            Model::Characters(_) => None,
        }
    }

    /// sha256 of the definition: see [`crate::fingerprint`].
    pub fn fingerprint(&self) -> [u8; 32] {
        let inner = &*self.inner;
        *inner
            .fingerprint
            .get_or_init(|| crate::fingerprint::of(&inner.model, &inner.pipeline, &inner.special))
    }

    /// What earlier versions gave as the fingerprint, which their files claim.
    pub(crate) fn earlier_fingerprint(&self) -> [u8; 32] {
        let Inner {
            model,
            pipeline,
            special,
            ..
        } = &*self.inner;
        crate::fingerprint::earlier(model, pipeline, special)
    }

    /// What is looked for where a call allows `allowed`: an empty set stands for what is always matched.
    #[inline]
    pub(crate) fn looked_for<'a>(&'a self, allowed: &'a SpecialSet) -> &'a SpecialSet {
        if allowed.is_empty() {
            self.inner.special.always()
        } else {
            allowed
        }
    }

    /// The byte-level vocabulary, ready to encode; none for characters.
    pub(crate) fn scheme(&self) -> Option<Scheme<'_>> {
        let vocab = self.vocab()?;
        let rewriting = self.inner.rewriting.as_ref();
        Some(self.encoder.scheme(vocab, rewriting, self.pretokenizer()))
    }

    /// What stands around the model.
    pub(crate) fn pipeline(&self) -> &Pipeline {
        &self.inner.pipeline
    }

    /// What is done to texts before they are split.
    pub(crate) fn rewriting(&self) -> Option<&Rewriting> {
        self.inner.rewriting.as_ref()
    }

    /// The bytes of all ids for decoding, laid out at the first call.
    #[inline]
    pub(crate) fn decode_table(&self) -> &DecodeTable {
        let table = &self.inner.decode_table;
        table.get_or_init(|| DecodeTable::new(self.vocab_size(), |id| self.token_bytes(id)))
    }

    #[inline]
    pub(crate) fn pretokenizer(&self) -> &Pretokenizer {
        &self.inner.pretokenizer
    }
}

impl Inner {
    fn vocab_size(&self) -> u32 {
        let special = self.special.as_slice().last().map_or(0, |last| last.id + 1);
        self.model.limit().max(special)
    }

    /// Whether every id has 16 bits.
    fn is_narrow(&self) -> bool {
        self.vocab_size() <= 1 << 16
    }
}

fn named(special: &[(String, u32)]) -> Vec<SpecialToken> {
    let tokens = special.iter();
    tokens
        .map(|(content, id)| SpecialToken::new(content, *id))
        .collect()
}
