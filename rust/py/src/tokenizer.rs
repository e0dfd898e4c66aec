//! `CoreTokenizer`: how the core's tokenizer is made, written and asked what it is, with Python arguments. How it encodes and
//! decodes is in `codec`.
//! The core's value never changes, so any number of threads may call it at once, with or without the GIL.

use std::borrow::Cow;

use gptbpe_core::pattern::Pattern;
use gptbpe_core::train::Trained;
use gptbpe_core::vocab::Vocab;
use gptbpe_core::{EncodeOptions, Error, Ids, SpecialToken, StreamDecoder, Tokenizer, format};
use pyo3::prelude::*;

use crate::error::{ArgumentError, guard, of_file, to_python};
use crate::input::{Text, ids, pattern, single_id};
use crate::output::{Integers, hexadecimal, shown_pattern};

/// The compiled tokenizer behind `gptbpe.Tokenizer`.
#[pyclass(module = "gptbpe._core", frozen)]
pub(crate) struct CoreTokenizer {
    tokenizer: Tokenizer,
    integers: Integers,
    /// What training knew of the merges; files do not keep it.
    learned: Option<Learned>,
}

/// What is known of merges that were learned in this process.
#[derive(Clone)]
struct Learned {
    /// How often the pair of each merge occurred when it was merged.
    counts: Vec<u64>,
    /// Whether training ended because a vocabulary could not hold more.
    is_full: bool,
}

impl CoreTokenizer {
    fn new(tokenizer: Tokenizer) -> Self {
        Self {
            tokenizer,
            integers: Integers::default(),
            learned: None,
        }
    }

    fn with_learned(self, trained: Trained) -> Self {
        Self {
            learned: Some(Learned {
                counts: trained.counts,
                is_full: trained.is_full,
            }),
            ..self
        }
    }

    /// A tokenizer of the first merges of this one, or of all of them.
    fn with_first_merges(&self, tokenizer: Tokenizer) -> Self {
        let merges = tokenizer.merges().len();
        let learned = self.learned.clone().map(|mut learned| {
            learned.counts.truncate(merges);
            learned
        });
        Self {
            learned,
            ..Self::new(tokenizer)
        }
    }

    /// The tokenizer of freshly learned merges: added tokens take the ids after them.
    pub(crate) fn trained(
        trained: Trained,
        pattern: Pattern,
        added: &[SpecialToken],
    ) -> PyResult<Self> {
        let first = 256 + trained.merges.len() as u32;
        let added = added.iter().zip(first..).map(|(token, id)| SpecialToken {
            id,
            ..token.clone()
        });
        Vocab::from_merges(&trained.merges)
            .and_then(|vocab| Tokenizer::from_vocab(vocab, pattern, added.collect()))
            .map(|tokenizer| Self::new(tokenizer).with_learned(trained))
            .map_err(to_python)
    }

    /// The tokenizer of more merges, with what stands around this one.
    pub(crate) fn extended(&self, trained: Trained) -> PyResult<Self> {
        self.tokenizer
            .extended(&trained.merges)
            .map(|tokenizer| Self::new(tokenizer).with_learned(trained))
            .map_err(to_python)
    }

    pub(crate) fn core(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The Python integers of its ids.
    pub(crate) fn integers(&self) -> &Integers {
        &self.integers
    }

    fn vocab_size(&self) -> usize {
        self.tokenizer.vocab_size() as usize
    }
}

#[pymethods]
impl CoreTokenizer {
    // ---- making -----------------------------------------------------------------------------------------------

    #[staticmethod]
    fn from_ranks(
        ranks: Vec<(Vec<u8>, u32)>,
        pattern: &Bound<'_, PyAny>,
        special_tokens: Vec<(String, u32)>,
    ) -> PyResult<Self> {
        guard(|| {
            let ranks = ranks.iter().map(|(token, rank)| (*rank, token.as_slice()));
            Tokenizer::from_ranks(ranks, self::pattern(pattern)?, &special_tokens)
                .map(Self::new)
                .map_err(to_python)
        })
    }

    #[staticmethod]
    fn characters(alphabet: &str, special_tokens: Vec<String>) -> PyResult<Self> {
        guard(|| {
            Tokenizer::characters(alphabet.chars(), &special_tokens)
                .map(Self::new)
                .map_err(to_python)
        })
    }

    #[staticmethod]
    fn read_json(py: Python<'_>, data: &Bound<'_, PyAny>, origin: &str) -> PyResult<Self> {
        guard(|| {
            let data = Text::new(data)?;
            let data = data.bytes()?;
            py.detach(|| format::json::read(data, origin))
                .map(Self::new)
                .map_err(|error| of_file(error, origin))
        })
    }

    #[staticmethod]
    fn read_compact(py: Python<'_>, data: &Bound<'_, PyAny>, origin: &str) -> PyResult<Self> {
        guard(|| {
            let data = Text::new(data)?;
            let data = data.bytes()?;
            py.detach(|| format::compact::read(data, origin))
                .map(Self::new)
                .map_err(|error| of_file(error, origin))
        })
    }

    #[staticmethod]
    fn read_tiktoken(
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        pattern: &Bound<'_, PyAny>,
        special_tokens: Vec<(String, u32)>,
        origin: &str,
    ) -> PyResult<Self> {
        guard(|| {
            let pattern = self::pattern(pattern)?;
            let data = Text::new(data)?;
            let data = data.bytes()?;
            py.detach(|| format::tiktoken::read(data, origin, pattern, &special_tokens))
                .map(Self::new)
                .map_err(|error| of_file(error, origin))
        })
    }

    #[staticmethod]
    fn read_gpt2(
        py: Python<'_>,
        vocab: &Bound<'_, PyAny>,
        merges: &Bound<'_, PyAny>,
        pattern: &Bound<'_, PyAny>,
        origin: &str,
    ) -> PyResult<Self> {
        guard(|| {
            let pattern = self::pattern(pattern)?;
            let (vocab, merges) = (Text::new(vocab)?, Text::new(merges)?);
            let (vocab, merges) = (vocab.bytes()?, merges.bytes()?);
            py.detach(|| format::gpt2::read(vocab, merges, origin, pattern))
                .map(Self::new)
                .map_err(|error| of_file(error, origin))
        })
    }

    fn write_json(&self, py: Python<'_>) -> PyResult<Cow<'static, [u8]>> {
        guard(|| {
            py.detach(|| format::json::write(&self.tokenizer))
                .map(Cow::Owned)
                .map_err(to_python)
        })
    }

    fn write_compact(&self, py: Python<'_>) -> PyResult<Cow<'static, [u8]>> {
        guard(|| {
            py.detach(|| format::compact::write(&self.tokenizer))
                .map(Cow::Owned)
                .map_err(to_python)
        })
    }

    fn write_tiktoken(&self, py: Python<'_>) -> PyResult<Cow<'static, [u8]>> {
        guard(|| {
            py.detach(|| format::tiktoken::write(&self.tokenizer))
                .map(Cow::Owned)
                .map_err(to_python)
        })
    }

    #[allow(clippy::type_complexity)]
    fn write_gpt2(&self, py: Python<'_>) -> PyResult<(Cow<'static, [u8]>, Cow<'static, [u8]>)> {
        guard(|| {
            py.detach(|| format::gpt2::write(&self.tokenizer))
                .map(|(vocab, merges)| (Cow::Owned(vocab), Cow::Owned(merges)))
                .map_err(to_python)
        })
    }

    fn shrink(&self, vocab_size: &Bound<'_, PyAny>) -> PyResult<Self> {
        guard(|| {
            let size = vocab_size
                .extract::<u32>()
                .map_err(|_| ArgumentError::Size {
                    found: vocab_size.to_string(),
                    greatest: self.vocab_size(),
                })?;
            self.tokenizer
                .shrink(size)
                .map(|tokenizer| self.with_first_merges(tokenizer))
                .map_err(to_python)
        })
    }

    /// The same tokenizer with more special tokens.
    fn with_special_tokens(
        &self,
        py: Python<'_>,
        special_tokens: Vec<(String, u32)>,
    ) -> PyResult<Self> {
        guard(|| {
            py.detach(|| self.tokenizer.with_special_tokens(&special_tokens))
                .map(|tokenizer| self.with_first_merges(tokenizer))
                .map_err(to_python)
        })
    }

    /// What the merges make of a piece of text as one pre-token.
    fn merge_piece(&self, piece: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
        guard(|| {
            let piece = Text::new(piece)?;
            self.tokenizer
                .merge_piece(piece.bytes()?)
                .map_err(to_python)
        })
    }

    /// The same tokenizer, which encodes with another kernel or size of its tables to the same ids: for tests and
    /// benchmarks.
    #[pyo3(signature = (kernel, table_bytes))]
    fn with_options(&self, kernel: Option<&str>, table_bytes: Option<usize>) -> PyResult<Self> {
        guard(|| {
            let mut options: EncodeOptions = self.tokenizer.encode_options();
            if kernel.is_some() {
                options.kernel = crate::input::kernel(kernel)?;
            }
            options.table_bytes = table_bytes.unwrap_or(options.table_bytes);
            Ok(Self::new(self.tokenizer.with_options(options)))
        })
    }

    /// The name of the kernel that this tokenizer encodes with.
    #[getter]
    fn kernel(&self) -> &'static str {
        self.tokenizer.encode_options().kernel.name()
    }

    // ---- what it is -------------------------------------------------------------------------------------------

    #[getter(vocab_size)]
    fn py_vocab_size(&self) -> usize {
        self.vocab_size()
    }

    #[getter]
    fn special_tokens(&self) -> Vec<(&str, u32)> {
        let tokens = self.tokenizer.special_tokens().iter();
        tokens
            .filter(|token| token.special)
            .map(|token| (token.content.as_str(), token.id))
            .collect()
    }

    /// All added tokens by id: content, id, special, normalized, `single_word`, lstrip, rstrip.
    #[getter]
    #[allow(clippy::type_complexity)]
    fn added_tokens(&self) -> Vec<(&str, u32, bool, bool, bool, bool, bool)> {
        let tokens = self.tokenizer.special_tokens().iter();
        tokens
            .map(|token| {
                (
                    token.content.as_str(),
                    token.id,
                    token.special,
                    token.normalized,
                    token.single_word,
                    token.lstrip,
                    token.rstrip,
                )
            })
            .collect()
    }

    #[getter]
    fn pattern<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(|| shown_pattern(py, self.tokenizer.pattern()))
    }

    #[getter]
    fn regexes(&self) -> Vec<String> {
        self.tokenizer.pattern().regexes().to_vec()
    }

    #[getter]
    fn fingerprint(&self) -> String {
        hexadecimal(&self.tokenizer.fingerprint())
    }

    #[getter]
    fn bos_token_id(&self) -> Option<u32> {
        self.tokenizer.bos_id()
    }

    #[getter]
    fn eos_token_id(&self) -> Option<u32> {
        self.tokenizer.eos_id()
    }

    #[getter]
    fn pad_token_id(&self) -> Option<u32> {
        self.tokenizer.pad_id()
    }

    /// The ids before and after a text where `add_special_tokens` asks for them.
    #[getter]
    fn template(&self) -> (Vec<u32>, Vec<u32>) {
        let template = self.tokenizer.template();
        (template.before().to_vec(), template.after().to_vec())
    }

    /// Whether texts are split as they are given, by the pattern alone.
    #[getter]
    fn splits_texts_as_given(&self) -> bool {
        self.tokenizer.splits_texts_as_given()
    }

    #[getter]
    fn is_characters(&self) -> bool {
        self.tokenizer.vocab().is_none()
    }

    fn merges(&self) -> Vec<(u32, u32)> {
        self.tokenizer
            .merges()
            .iter()
            .map(|merge| (merge.left, merge.right))
            .collect()
    }

    /// How often the pair of each merge occurred when it was learned, if that was in this process.
    #[getter]
    fn merge_counts(&self) -> Option<Vec<u64>> {
        self.learned.as_ref().map(|learned| learned.counts.clone())
    }

    /// Whether training ended because a vocabulary cannot hold more bytes of tokens.
    #[getter]
    fn is_full(&self) -> bool {
        self.learned.as_ref().is_some_and(|learned| learned.is_full)
    }

    /// Whether training can go on from this vocabulary: its merges, or None.
    fn trained_merges(&self) -> Option<Vec<(u32, u32)>> {
        self.tokenizer.vocab()?.trained_merges()
    }

    /// The ordinary tokens and their ids.
    fn ranks(&self) -> PyResult<Vec<(Cow<'_, [u8]>, u32)>> {
        guard(|| {
            let tokens = self.tokenizer.ordinary_tokens();
            Ok(tokens
                .map(|(id, bytes)| (Cow::Borrowed(bytes), id))
                .collect())
        })
    }

    fn token_bytes(&self, id: &Bound<'_, PyAny>) -> PyResult<Cow<'_, [u8]>> {
        guard(|| {
            let wanted = single_id(id, self.vocab_size())?;
            self.tokenizer
                .token_bytes(wanted)
                .map(Cow::Borrowed)
                .ok_or_else(|| {
                    to_python(Error::UnknownToken {
                        index: 0,
                        id: wanted,
                        vocab_size: self.tokenizer.vocab_size(),
                    })
                })
        })
    }

    /// The id of an ordinary token, even if a special token has the same text.
    fn ordinary_id(&self, token: &Bound<'_, PyAny>) -> PyResult<Option<u32>> {
        guard(|| Ok(self.tokenizer.token_id(Text::new(token)?.bytes()?)))
    }

    fn token_id(&self, token: &Bound<'_, PyAny>) -> PyResult<Option<u32>> {
        guard(|| {
            let token = Text::new(token)?;
            let bytes = token.bytes()?;
            let special = std::str::from_utf8(bytes)
                .ok()
                .and_then(|name| self.tokenizer.special_id(name));
            Ok(special.or_else(|| self.tokenizer.token_id(bytes)))
        })
    }
}

/// Decodes ids one by one; text comes out as soon as it is whole.
#[pyclass(module = "gptbpe._core", name = "StreamDecoder")]
pub(crate) struct PyStreamDecoder {
    decoder: StreamDecoder,
    vocab_size: usize,
}

impl PyStreamDecoder {
    pub(crate) fn new(decoder: StreamDecoder, vocab_size: usize) -> Self {
        Self {
            decoder,
            vocab_size,
        }
    }
}

#[pymethods]
impl PyStreamDecoder {
    /// Takes one id and returns the text that is complete now, often empty.
    fn push(&mut self, id: &Bound<'_, PyAny>) -> PyResult<String> {
        guard(|| {
            let id = single_id(id, self.vocab_size)?;
            self.decoder.push(id).map_err(to_python)
        })
    }

    /// Takes several ids and returns the text that is complete now. An unknown id changes nothing.
    fn push_all(&mut self, ids: &Bound<'_, PyAny>) -> PyResult<String> {
        guard(|| {
            let text = match self::ids(ids, self.vocab_size)? {
                Ids::Narrow(ids) => self.decoder.push_all(&ids),
                Ids::Wide(ids) => self.decoder.push_all(&ids),
            };
            text.map_err(to_python)
        })
    }

    /// Ends the text: what was incomplete comes out as U+FFFD, and the decoder is new again.
    fn finish(&mut self) -> PyResult<String> {
        guard(|| Ok(self.decoder.finish()))
    }
}
