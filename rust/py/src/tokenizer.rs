//! `CoreTokenizer`: the core's tokenizer with Python arguments.
//!
//! The core's value never changes, so any number of threads may call it at once, with or without the GIL.

use std::borrow::Cow;
use std::ops::Range;

use gptbpe_core::Text as CoreText;
use gptbpe_core::pattern::Pattern;
use gptbpe_core::{
    CheckedIds, Dropout, EncodeOptions, Error, Ids, Kernel, Ragged, SpecialPolicy, SpecialSet,
    StreamDecoder, Tokenizer, format,
};
use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use crate::error::{ArgumentError, guard, of_file, to_python};
use crate::input::{Names, Text, all_core, ids, limit, pattern, single_id, texts, threads};
use crate::output::{self, Integers, WORTH_DETACHING, array};
use crate::signals::Signals;

/// Shorter texts are done before anybody could press Ctrl-C.
const WORTH_SIGNALS: usize = 1 << 18;

/// The compiled tokenizer behind `gptbpe.Tokenizer`.
#[pyclass(module = "gptbpe._core", frozen)]
pub(crate) struct CoreTokenizer {
    tokenizer: Tokenizer,
    integers: Integers,
}

impl CoreTokenizer {
    fn new(tokenizer: Tokenizer) -> Self {
        Self {
            tokenizer,
            integers: Integers::default(),
        }
    }

    /// The tokenizer of freshly learned merges: special tokens take the ids after them.
    pub(crate) fn trained(
        merges: &[(u32, u32)],
        pattern: Pattern,
        special_tokens: &[String],
    ) -> PyResult<Self> {
        let first = 256 + merges.len() as u32;
        let special: Vec<(String, u32)> = special_tokens.iter().cloned().zip(first..).collect();
        Tokenizer::from_merges(merges, pattern, &special)
            .map(Self::new)
            .map_err(to_python)
    }

    fn check_ids<'a, I: Copy + Into<u32>>(&'a self, ids: &'a [I]) -> PyResult<CheckedIds<'a, I>> {
        self.tokenizer.check_ids(ids).map_err(to_python)
    }

    pub(crate) fn core(&self) -> &Tokenizer {
        &self.tokenizer
    }

    fn vocab_size(&self) -> usize {
        self.tokenizer.vocab_size() as usize
    }

    /// Some ids as a list.
    fn list<'py>(
        &self,
        py: Python<'py>,
        ids: &Ids,
        range: Range<usize>,
    ) -> PyResult<Bound<'py, PyList>> {
        self.integers.range(py, ids, range, self.vocab_size())
    }

    /// What a call allows and refuses among special tokens.
    fn policy(
        &self,
        allowed: &Bound<'_, PyAny>,
        disallowed: &Bound<'_, PyAny>,
    ) -> PyResult<Cow<'_, SpecialPolicy>> {
        let allowed = Names::new("allowed_special", allowed)?;
        let disallowed = Names::new("disallowed_special", disallowed)?;
        allowed
            .with(|allowed| {
                disallowed.with(|disallowed| self.tokenizer.special_policy(allowed, disallowed))
            })
            .map_err(to_python)
    }

    /// Works on one text after looking for what is refused in it: without the GIL unless it is short. Work on a long
    /// text asks now and then whether to go on.
    fn run<T: Send>(
        &self,
        py: Python<'_>,
        text: &Text<'_>,
        policy: &SpecialPolicy,
        work: impl FnOnce(&Tokenizer, CoreText<'_>, &SpecialSet, &dyn Fn() -> bool) -> Result<T, Error>
        + Send,
    ) -> PyResult<T> {
        let core = text.core()?;
        let bytes = core.as_bytes();
        if bytes.len() < WORTH_SIGNALS {
            let work = || {
                self.tokenizer.check_special(bytes, policy)?;
                work(&self.tokenizer, core, policy.allowed(), &|| true)
            };
            let result = if bytes.len() < WORTH_DETACHING {
                work()
            } else {
                py.detach(work)
            };
            return result.map_err(to_python);
        }
        let signals = Signals::new();
        let result = py.detach(|| {
            self.tokenizer.check_special(bytes, policy)?;
            work(&self.tokenizer, core, policy.allowed(), &|| signals.go_on())
        });
        signals.end()?;
        result.map_err(to_python)
    }

    fn run_batch(
        &self,
        values: &Bound<'_, PyAny>,
        policy: &SpecialPolicy,
        asked_threads: Option<usize>,
    ) -> PyResult<Ragged> {
        let py = values.py();
        let threads = threads(asked_threads)?;
        let texts = texts(values)?;
        let core = all_core(py, &texts)?;
        let signals = Signals::new();
        let go_on = || signals.go_on();
        let result = py.detach(|| {
            self.tokenizer.check_special_batch(&core, policy, &go_on)?;
            self.tokenizer
                .encode_batch_while(&core, policy.allowed(), threads, &go_on)
        });
        signals.end()?;
        result.map_err(to_python)
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
                .map(Self::new)
                .map_err(to_python)
        })
    }

    // ---- text to ids ------------------------------------------------------------------------------------------

    fn encode<'py>(
        &self,
        text: &Bound<'py, PyAny>,
        allowed_special: &Bound<'py, PyAny>,
        disallowed_special: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        guard(|| {
            let policy = self.policy(allowed_special, disallowed_special)?;
            let ids = self.run(
                text.py(),
                &Text::new(text)?,
                &policy,
                Tokenizer::encode_while,
            )?;
            self.list(text.py(), &ids, 0..ids.len())
        })
    }

    fn encode_ordinary<'py>(&self, text: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        guard(|| {
            let policy = SpecialPolicy::none();
            let ids = self.run(
                text.py(),
                &Text::new(text)?,
                &policy,
                Tokenizer::encode_while,
            )?;
            self.list(text.py(), &ids, 0..ids.len())
        })
    }

    fn encode_to_numpy<'py>(
        &self,
        text: &Bound<'py, PyAny>,
        allowed_special: &Bound<'py, PyAny>,
        disallowed_special: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let policy = self.policy(allowed_special, disallowed_special)?;
            let ids = self.run(
                text.py(),
                &Text::new(text)?,
                &policy,
                Tokenizer::encode_while,
            )?;
            Ok(array(text.py(), ids, self.vocab_size()))
        })
    }

    #[pyo3(signature = (texts, allowed_special, disallowed_special, threads))]
    fn encode_batch<'py>(
        &self,
        texts: &Bound<'py, PyAny>,
        allowed_special: &Bound<'py, PyAny>,
        disallowed_special: &Bound<'py, PyAny>,
        threads: Option<usize>,
    ) -> PyResult<Vec<Bound<'py, PyList>>> {
        guard(|| {
            let policy = self.policy(allowed_special, disallowed_special)?;
            let ragged = self.run_batch(texts, &policy, threads)?;
            let pairs = ragged.offsets.windows(2);
            pairs
                .map(|pair| self.list(texts.py(), &ragged.ids, pair[0]..pair[1]))
                .collect()
        })
    }

    #[pyo3(signature = (texts, allowed_special, disallowed_special, threads))]
    fn encode_ragged<'py>(
        &self,
        texts: &Bound<'py, PyAny>,
        allowed_special: &Bound<'py, PyAny>,
        disallowed_special: &Bound<'py, PyAny>,
        threads: Option<usize>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyArray1<i64>>)> {
        guard(|| {
            let policy = self.policy(allowed_special, disallowed_special)?;
            let ragged = self.run_batch(texts, &policy, threads)?;
            let py = texts.py();
            // A vector has at most isize::MAX elements.
            #[expect(clippy::cast_possible_wrap)]
            let offsets: Vec<i64> = ragged.offsets.iter().map(|&at| at as i64).collect();
            let ids = array(py, ragged.ids, self.vocab_size());
            Ok((ids, offsets.into_pyarray(py)))
        })
    }

    fn encode_with_offsets<'py>(
        &self,
        text: &Bound<'py, PyAny>,
        allowed_special: &Bound<'_, PyAny>,
        disallowed_special: &Bound<'_, PyAny>,
    ) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyList>)> {
        guard(|| {
            let policy = self.policy(allowed_special, disallowed_special)?;
            let (py, text) = (text.py(), Text::new(text)?);
            let by_character = text.is_str();
            let (ids, starts) =
                self.run(py, &text, &policy, move |tokenizer, text, allowed, _| {
                    let (ids, mut starts) = tokenizer.encode_with_offsets(text, allowed)?;
                    if by_character {
                        count_characters(text.as_bytes(), &mut starts);
                    }
                    Ok((ids, starts))
                })?;
            let ids = self.integers.list(py, &ids, self.vocab_size())?;
            Ok((ids, PyList::new(py, starts)?))
        })
    }

    fn encode_with_dropout<'py>(
        &self,
        text: &Bound<'py, PyAny>,
        probability: f64,
        seed: &Bound<'_, PyAny>,
        allowed_special: &Bound<'_, PyAny>,
        disallowed_special: &Bound<'_, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        guard(|| {
            let seed = seed.extract::<u64>().map_err(|_| ArgumentError::Seed {
                found: seed.to_string(),
            })?;
            let mut dropout = Dropout::new(probability, seed).map_err(to_python)?;
            let policy = self.policy(allowed_special, disallowed_special)?;
            let (py, text) = (text.py(), Text::new(text)?);
            let ids = self.run(py, &text, &policy, |tokenizer, text, allowed, go_on| {
                tokenizer.encode_with_dropout_while(text, allowed, &mut dropout, go_on)
            })?;
            self.integers.list(py, &ids, self.vocab_size())
        })
    }

    fn count(
        &self,
        text: &Bound<'_, PyAny>,
        allowed_special: &Bound<'_, PyAny>,
        disallowed_special: &Bound<'_, PyAny>,
    ) -> PyResult<usize> {
        guard(|| {
            let policy = self.policy(allowed_special, disallowed_special)?;
            self.run(
                text.py(),
                &Text::new(text)?,
                &policy,
                Tokenizer::count_while,
            )
        })
    }

    /// The number of tokens, or None if there are more than `limit`.
    fn count_until(
        &self,
        text: &Bound<'_, PyAny>,
        limit: &Bound<'_, PyAny>,
        allowed_special: &Bound<'_, PyAny>,
        disallowed_special: &Bound<'_, PyAny>,
    ) -> PyResult<Option<usize>> {
        guard(|| {
            let limit = self::limit("limit", limit)?;
            let policy = self.policy(allowed_special, disallowed_special)?;
            let (py, text) = (text.py(), Text::new(text)?);
            self.run(py, &text, &policy, |tokenizer, text, allowed, _| {
                tokenizer.count_until(text, limit, allowed)
            })
        })
    }

    fn truncate<'py>(
        &self,
        text: &Bound<'py, PyAny>,
        max_tokens: &Bound<'_, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let max_tokens = limit("max_tokens", max_tokens)?;
            // Read once: a buffer may be another one by the next time.
            let (py, text) = (text.py(), Text::new(text)?);
            let policy = SpecialPolicy::none();
            let end = self.run(py, &text, &policy, |tokenizer, text, allowed, _| {
                let (_, end) = tokenizer.truncate(text, max_tokens, allowed)?;
                Ok(end)
            })?;
            let kept = &text.bytes()?[..end];
            if text.is_str() {
                // The end is between two characters: nothing is replaced.
                let kept = String::from_utf8_lossy(kept);
                return Ok(PyString::new(py, &kept).into_any());
            }
            Ok(PyBytes::new(py, kept).into_any())
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

    /// The pre-tokens of a text.
    fn split<'py>(&self, text: &Bound<'py, PyAny>) -> PyResult<Vec<Cow<'py, [u8]>>> {
        guard(|| {
            let mut pieces = Vec::new();
            let (py, text) = (text.py(), Text::new(text)?);
            self.run(
                py,
                &text,
                &SpecialPolicy::none(),
                |tokenizer, text, _, _| {
                    tokenizer.split(text.as_bytes(), |piece| {
                        pieces.push(Cow::Owned(piece.to_vec()));
                    });
                    Ok(())
                },
            )?;
            Ok(pieces)
        })
    }

    // ---- ids to text ------------------------------------------------------------------------------------------

    fn decode_bytes<'py>(&self, ids: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        guard(|| match self::ids(ids, self.vocab_size())? {
            Ids::Narrow(narrow) => output::bytes(ids.py(), &self.check_ids(&narrow)?),
            Ids::Wide(wide) => output::bytes(ids.py(), &self.check_ids(&wide)?),
        })
    }

    fn decode<'py>(&self, ids: &Bound<'py, PyAny>, errors: &str) -> PyResult<Bound<'py, PyString>> {
        guard(|| {
            let py = ids.py();
            let ids = self::ids(ids, self.vocab_size())?;
            let decode = || match &ids {
                Ids::Narrow(ids) => self.tokenizer.decode(ids),
                Ids::Wide(ids) => self.tokenizer.decode(ids),
            };
            let bytes = if ids.len() < WORTH_DETACHING {
                decode()
            } else {
                py.detach(decode)
            };
            let bytes = bytes.map_err(to_python)?;
            drop(ids);
            output::text(py, &bytes, errors)
        })
    }

    /// The same tokenizer, which encodes with another kernel or size of its tables to the same ids: for tests and
    /// benchmarks.
    #[pyo3(signature = (kernel, table_bytes))]
    fn with_options(&self, kernel: Option<&str>, table_bytes: Option<usize>) -> PyResult<Self> {
        guard(|| {
            let mut options: EncodeOptions = self.tokenizer.encode_options();
            if let Some(name) = kernel {
                options.kernel = Kernel::named(name).ok_or_else(|| ArgumentError::Kernel {
                    found: name.to_owned(),
                })?;
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

    fn decode_stream(&self) -> PyStreamDecoder {
        PyStreamDecoder {
            vocab_size: self.vocab_size(),
            decoder: StreamDecoder::new(self.tokenizer.clone()),
        }
    }

    // ---- what it is -------------------------------------------------------------------------------------------

    #[getter(vocab_size)]
    fn py_vocab_size(&self) -> usize {
        self.vocab_size()
    }

    #[getter]
    fn special_tokens(&self) -> Vec<(&str, u32)> {
        self.tokenizer
            .special_tokens()
            .iter()
            .map(|token| (token.content.as_str(), token.id))
            .collect()
    }

    #[getter]
    fn pattern<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let pattern = self.tokenizer.pattern();
            let shown = match (pattern.regexes(), pattern.name()) {
                ([], _) => py.None().into_bound(py),
                (_, Some(name)) => PyString::new(py, name).into_any(),
                ([one], None) => PyString::new(py, one).into_any(),
                (several, None) => PyTuple::new(py, several)?.into_any(),
            };
            Ok(shown)
        })
    }

    #[getter]
    fn regexes(&self) -> Vec<String> {
        self.tokenizer.pattern().regexes().to_vec()
    }

    #[getter]
    fn fingerprint(&self) -> String {
        use std::fmt::Write as _;
        let digest = self.tokenizer.fingerprint();
        digest
            .iter()
            .fold(String::with_capacity(64), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
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

/// Turns byte offsets (in order) into character offsets.
fn count_characters(text: &[u8], starts: &mut [usize]) {
    let (mut at, mut characters) = (0, 0);
    for start in starts {
        characters += text[at..*start]
            .iter()
            .filter(|&&byte| byte & 0xC0 != 0x80)
            .count();
        at = *start;
        // A token that begins inside a character belongs to that character.
        let inside = text.get(at).is_some_and(|&byte| byte & 0xC0 == 0x80);
        *start = characters - usize::from(inside && characters > 0);
    }
}

/// Decodes ids one by one; text comes out as soon as it is whole.
#[pyclass(module = "gptbpe._core", name = "StreamDecoder")]
pub(crate) struct PyStreamDecoder {
    decoder: StreamDecoder,
    vocab_size: usize,
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
