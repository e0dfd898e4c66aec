//! `Codec`: a tokenizer's ways from text to ids and back, which `gptbpe.Tokenizer` inherits.
//!
//! These methods are called once for every text, and many texts are short: to enter a Python function and to bind its
//! keywords takes a fifth of the time that 20 characters need. So they have the signatures, the defaults and the
//! documentation of the public class here, and no Python function stands before them. All other methods of that class
//! are Python's.

// The documentation is Python's.
#![allow(clippy::doc_markdown, clippy::doc_link_with_quotes)]

use std::borrow::Cow;
use std::ops::Range;

use gptbpe_core::Text as CoreText;
use gptbpe_core::{
    CheckedIds, Dropout, Error, Ids, Ragged, SpecialNames, SpecialPolicy, SpecialSet,
    StreamDecoder, Template, Tokenizer,
};
use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use crate::error::{ArgumentError, guard, to_python};
use crate::input::{Names, Text, Threads, all_core, hear_signals, ids, limit, texts, threads};
use crate::output::{self, WORTH_DETACHING, array};
use crate::signals::Signals;
use crate::tokenizer::{CoreTokenizer, PyStreamDecoder};

/// Shorter texts are done before anybody could press Ctrl-C.
const WORTH_SIGNALS: usize = 1 << 18;
/// After so many pre-tokens a split looks for signals.
const PIECES_BETWEEN_LOOKS: usize = 1 << 12;

/// Text to ids and ids to text: the part of :class:`gptbpe.Tokenizer` that is compiled.
#[pyclass(module = "gptbpe._core", frozen, subclass)]
pub(crate) struct Codec {
    #[pyo3(get, name = "_core")]
    core: Py<CoreTokenizer>,
}

/// An argument that names special tokens, unless it was left out.
struct SpecialArgument<'a, 'py>(Option<Borrowed<'a, 'py, PyAny>>);

/// tiktoken's default: nothing is allowed, everything is refused.
const OMITTED: SpecialArgument<'static, 'static> = SpecialArgument(None);

impl SpecialArgument<'_, '_> {
    fn names(&self, argument: &'static str) -> PyResult<Option<Names>> {
        let given = self.0.as_deref();
        given.map(|value| Names::new(argument, value)).transpose()
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for SpecialArgument<'a, 'py> {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self(Some(value)))
    }
}

impl Codec {
    fn core(&self) -> &CoreTokenizer {
        self.core.get()
    }

    fn tokenizer(&self) -> &Tokenizer {
        self.core().core()
    }

    fn vocab_size(&self) -> usize {
        self.tokenizer().vocab_size() as usize
    }

    fn check_ids<'a, I: Copy + Into<u32>>(&'a self, ids: &'a [I]) -> PyResult<CheckedIds<'a, I>> {
        self.tokenizer().check_ids(ids).map_err(to_python)
    }

    /// Some ids as a list.
    fn list<'py>(
        &self,
        py: Python<'py>,
        ids: &Ids,
        range: Range<usize>,
    ) -> PyResult<Bound<'py, PyList>> {
        let integers = self.core().integers();
        integers.range(py, ids, range, self.vocab_size())
    }

    /// The ids that a call asked to have around a text: none unless it did.
    fn added(&self, add_special_tokens: bool) -> Cow<'_, Template> {
        if add_special_tokens {
            Cow::Borrowed(self.tokenizer().template())
        } else {
            Cow::Owned(Template::default())
        }
    }

    fn around(&self, ids: Ids, add_special_tokens: bool) -> Ids {
        if add_special_tokens {
            self.tokenizer().template().around(ids)
        } else {
            ids
        }
    }

    /// What a call allows and refuses among special tokens: by default it allows none and refuses all.
    fn policy(
        &self,
        allowed: &SpecialArgument<'_, '_>,
        disallowed: &SpecialArgument<'_, '_>,
    ) -> PyResult<Cow<'_, SpecialPolicy>> {
        let allowed = allowed.names("allowed_special")?;
        let disallowed = disallowed.names("disallowed_special")?;
        let with_both = |allowed: SpecialNames<'_>, disallowed: SpecialNames<'_>| {
            self.tokenizer().special_policy(allowed, disallowed)
        };
        let with_allowed = |allowed: SpecialNames<'_>| match &disallowed {
            None => with_both(allowed, SpecialNames::All),
            Some(disallowed) => disallowed.with(|disallowed| with_both(allowed, disallowed)),
        };
        match &allowed {
            None => with_allowed(SpecialNames::These(&[])),
            Some(allowed) => allowed.with(with_allowed),
        }
        .map_err(to_python)
    }

    /// The ids to decode: without the special ones if they are to be skipped, once all are known to be tokens.
    fn ids_to_decode(&self, ids: &Bound<'_, PyAny>, skip_special_tokens: bool) -> PyResult<Ids> {
        let mut ids = self::ids(ids, self.vocab_size())?;
        if skip_special_tokens {
            let special = self.tokenizer().skipped_ids();
            match &mut ids {
                Ids::Narrow(ids) => {
                    self.check_ids(ids)?;
                    ids.retain(|&id| special.binary_search(&id.into()).is_err());
                }
                Ids::Wide(ids) => {
                    self.check_ids(ids)?;
                    ids.retain(|id| special.binary_search(id).is_err());
                }
            }
        }
        Ok(ids)
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
        let tokenizer = self.tokenizer();
        let bytes = core.as_bytes();
        if bytes.len() < WORTH_SIGNALS {
            let work = || {
                tokenizer.check_special(bytes, policy)?;
                work(tokenizer, core, policy.allowed(), &|| true)
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
            tokenizer.check_special(bytes, policy)?;
            work(tokenizer, core, policy.allowed(), &|| signals.go_on())
        });
        signals.end()?;
        result.map_err(to_python)
    }

    fn run_batch(
        &self,
        values: &Bound<'_, PyAny>,
        policy: &SpecialPolicy,
        asked_threads: Option<Threads>,
    ) -> PyResult<Ragged> {
        let py = values.py();
        let threads = threads(asked_threads);
        let texts = texts(values)?;
        let core = all_core(py, &texts)?;
        let tokenizer = self.tokenizer();
        let signals = Signals::new();
        let go_on = || signals.go_on();
        let result = py.detach(|| {
            tokenizer.check_special_batch(&core, policy, &go_on)?;
            tokenizer.encode_batch_while(&core, policy.allowed(), threads, &go_on)
        });
        signals.end()?;
        result.map_err(to_python)
    }
}

#[pymethods]
impl Codec {
    #[new]
    fn new(core: Py<CoreTokenizer>) -> Self {
        Self { core }
    }

    // ---- text to ids ------------------------------------------------------------------------------------------

    /// Encode text, with tiktoken's rules for special tokens.
    ///
    /// Special tokens in ``allowed_special`` become their ids. Text that holds a special token in
    /// ``disallowed_special`` (by default: every one that is not allowed) is refused. With
    /// ``disallowed_special=()`` what is not allowed is ordinary text. Added tokens that are not special (see
    /// :attr:`gptbpe.Tokenizer.added_tokens`) become their ids in any case, here and in every other method.
    ///
    /// With ``add_special_tokens`` the ids have around them what the tokenizer's file puts there (its
    /// post-processor: a beginning-of-text token, for example), as in Hugging Face's ``tokenizers``. Without it,
    /// and for a tokenizer that puts nothing there, they do not.
    ///
    /// Raises:
    ///     SpecialTokenError: the text holds a disallowed special token.
    ///     TextError: the text is not text.
    ///     UnknownCharacterError: a character tokenizer met a character outside its alphabet.
    ///
    /// >>> tok = Tokenizer.get("gpt2")
    /// >>> tok.encode("hi<|endoftext|>", allowed_special="all")
    /// [5303, 50256]
    /// >>> tok.encode("<|endoftext|>", disallowed_special=())
    /// [27, 91, 437, 1659, 5239, 91, 29]
    /// >>> tok.encode("<|endoftext|>")
    /// Traceback (most recent call last):
    /// ...
    /// gptbpe.errors.SpecialTokenError: ...
    #[pyo3(signature = (text, *, allowed_special=OMITTED, disallowed_special=OMITTED, add_special_tokens=false))]
    #[pyo3(
        text_signature = "($self, text, *, allowed_special=(), disallowed_special='all', add_special_tokens=False)"
    )]
    fn encode<'py>(
        &self,
        text: &Bound<'py, PyAny>,
        allowed_special: SpecialArgument<'_, '_>,
        disallowed_special: SpecialArgument<'_, '_>,
        add_special_tokens: bool,
    ) -> PyResult<Bound<'py, PyList>> {
        guard(|| {
            let policy = self.policy(&allowed_special, &disallowed_special)?;
            let (py, text) = (text.py(), Text::new(text)?);
            let ids = self.run(py, &text, &policy, Tokenizer::encode_while)?;
            let ids = self.around(ids, add_special_tokens);
            self.list(py, &ids, 0..ids.len())
        })
    }

    /// Encode text in which nothing is special: the same as ``encode(text, disallowed_special=())``.
    ///
    /// >>> Tokenizer.get("gpt2").encode_ordinary("hi<|endoftext|>")
    /// [5303, 27, 91, 437, 1659, 5239, 91, 29]
    fn encode_ordinary<'py>(&self, text: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        guard(|| {
            let policy = SpecialPolicy::none();
            let (py, text) = (text.py(), Text::new(text)?);
            let ids = self.run(py, &text, &policy, Tokenizer::encode_while)?;
            self.list(py, &ids, 0..ids.len())
        })
    }

    /// Encode into an array of shape (tokens,): uint16 where ``vocab_size`` ≤ 65,536, else uint32.
    ///
    /// The array takes over the core's memory; no Python integers are made. Otherwise as :meth:`encode`.
    ///
    /// >>> Tokenizer.get("gpt2").encode_to_numpy("Hello, world!")
    /// array([15496,    11,   995,     0], dtype=uint16)
    #[pyo3(signature = (text, *, allowed_special=OMITTED, disallowed_special=OMITTED, add_special_tokens=false))]
    #[pyo3(
        text_signature = "($self, text, *, allowed_special=(), disallowed_special='all', add_special_tokens=False)"
    )]
    fn encode_to_numpy<'py>(
        &self,
        text: &Bound<'py, PyAny>,
        allowed_special: SpecialArgument<'_, '_>,
        disallowed_special: SpecialArgument<'_, '_>,
        add_special_tokens: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let policy = self.policy(&allowed_special, &disallowed_special)?;
            let (py, text) = (text.py(), Text::new(text)?);
            let ids = self.run(py, &text, &policy, Tokenizer::encode_while)?;
            let ids = self.around(ids, add_special_tokens);
            Ok(array(py, ids, self.vocab_size()))
        })
    }

    /// Encode several texts in parallel; one list per text, in order. Otherwise as :meth:`encode`.
    ///
    /// An error names the text by its index. ``threads`` is one per core by default.
    ///
    /// >>> Tokenizer.get("gpt2").encode_batch(["Hello", " world"])
    /// [[15496], [995]]
    #[pyo3(signature = (texts, *, allowed_special=OMITTED, disallowed_special=OMITTED, add_special_tokens=false, threads=None))]
    #[pyo3(
        text_signature = "($self, texts, *, allowed_special=(), disallowed_special='all', add_special_tokens=False, threads=None)"
    )]
    fn encode_batch<'py>(
        &self,
        texts: &Bound<'py, PyAny>,
        allowed_special: SpecialArgument<'_, '_>,
        disallowed_special: SpecialArgument<'_, '_>,
        add_special_tokens: bool,
        threads: Option<Threads>,
    ) -> PyResult<Vec<Bound<'py, PyList>>> {
        guard(|| {
            let policy = self.policy(&allowed_special, &disallowed_special)?;
            let ragged = self.run_batch(texts, &policy, threads)?;
            let ragged = if add_special_tokens {
                self.tokenizer().template().around_all(ragged)
            } else {
                ragged
            };
            let pairs = ragged.offsets.windows(2).enumerate();
            pairs
                .map(|(index, pair)| {
                    hear_signals(texts.py(), index)?;
                    self.list(texts.py(), &ragged.ids, pair[0]..pair[1])
                })
                .collect()
        })
    }

    /// Encode several texts into two arrays: all ids, and where each text begins.
    ///
    /// Returns:
    ///     ``ids`` of shape (tokens,), dtype as in :meth:`encode_to_numpy`, and ``offsets`` of shape (texts +
    ///     1,), int64: text ``i`` is ``ids[offsets[i]:offsets[i + 1]]``.
    ///
    /// >>> ids, offsets = Tokenizer.get("gpt2").encode_ragged(["Hello, world!", " Hello"])
    /// >>> ids.tolist(), offsets.tolist()
    /// ([15496, 11, 995, 0, 18435], [0, 4, 5])
    #[pyo3(signature = (texts, *, allowed_special=OMITTED, disallowed_special=OMITTED, add_special_tokens=false, threads=None))]
    #[pyo3(
        text_signature = "($self, texts, *, allowed_special=(), disallowed_special='all', add_special_tokens=False, threads=None)"
    )]
    fn encode_ragged<'py>(
        &self,
        texts: &Bound<'py, PyAny>,
        allowed_special: SpecialArgument<'_, '_>,
        disallowed_special: SpecialArgument<'_, '_>,
        add_special_tokens: bool,
        threads: Option<Threads>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyArray1<i64>>)> {
        guard(|| {
            let policy = self.policy(&allowed_special, &disallowed_special)?;
            let ragged = self.run_batch(texts, &policy, threads)?;
            let ragged = if add_special_tokens {
                self.tokenizer().template().around_all(ragged)
            } else {
                ragged
            };
            let py = texts.py();
            // A vector has at most isize::MAX elements.
            #[expect(clippy::cast_possible_wrap)]
            let offsets: Vec<i64> = ragged.offsets.iter().map(|&at| at as i64).collect();
            let ids = array(py, ragged.ids, self.vocab_size());
            Ok((ids, offsets.into_pyarray(py)))
        })
    }

    /// Encode, and tell where each token begins: ids and offsets of equal length, in linear time.
    ///
    /// Offsets count characters where ``text`` is ``str`` and bytes where it is bytes. Token ``i`` covers the
    /// text from ``offsets[i]`` to ``offsets[i + 1]``, the last one to the end. Among characters, a token
    /// that begins inside a character has that character's offset, so several tokens may have the same.
    ///
    /// >>> tok = Tokenizer.get("gpt2")
    /// >>> tok.encode_with_offsets("Hello, world!")
    /// ([15496, 11, 995, 0], [0, 5, 6, 12])
    /// >>> tok.encode_with_offsets("a 🦆!")[1], tok.encode_with_offsets("a 🦆!".encode())[1]
    /// ([0, 1, 2, 2, 3], [0, 1, 4, 5, 6])
    #[pyo3(signature = (text, *, allowed_special=OMITTED, disallowed_special=OMITTED, add_special_tokens=false))]
    #[pyo3(
        text_signature = "($self, text, *, allowed_special=(), disallowed_special='all', add_special_tokens=False)"
    )]
    fn encode_with_offsets<'py>(
        &self,
        text: &Bound<'py, PyAny>,
        allowed_special: SpecialArgument<'_, '_>,
        disallowed_special: SpecialArgument<'_, '_>,
        add_special_tokens: bool,
    ) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyList>)> {
        guard(|| {
            let policy = self.policy(&allowed_special, &disallowed_special)?;
            let (py, text) = (text.py(), Text::new(text)?);
            let by_character = text.is_str();
            let (ids, starts) = self.run(
                py,
                &text,
                &policy,
                move |tokenizer, text, allowed, go_on| {
                    let (ids, mut starts) =
                        tokenizer.encode_with_offsets_while(text, allowed, go_on)?;
                    if by_character {
                        count_characters(text.as_bytes(), &mut starts);
                    }
                    if add_special_tokens {
                        return Ok(place_around(tokenizer, text, by_character, ids, starts));
                    }
                    Ok((ids, starts))
                },
            )?;
            let ids = self.core().integers().list(py, &ids, self.vocab_size())?;
            Ok((ids, PyList::new(py, starts)?))
        })
    }

    /// Count the tokens of text without making them: ``len(encode(text))``.
    ///
    /// >>> Tokenizer.get("gpt2").count("Hello, world!")
    /// 4
    #[pyo3(signature = (text, *, allowed_special=OMITTED, disallowed_special=OMITTED, add_special_tokens=false))]
    #[pyo3(
        text_signature = "($self, text, *, allowed_special=(), disallowed_special='all', add_special_tokens=False)"
    )]
    fn count(
        &self,
        text: &Bound<'_, PyAny>,
        allowed_special: SpecialArgument<'_, '_>,
        disallowed_special: SpecialArgument<'_, '_>,
        add_special_tokens: bool,
    ) -> PyResult<usize> {
        guard(|| {
            let policy = self.policy(&allowed_special, &disallowed_special)?;
            let (py, text) = (text.py(), Text::new(text)?);
            let count = self.run(py, &text, &policy, Tokenizer::count_while)?;
            Ok(count + self.added(add_special_tokens).len())
        })
    }

    /// Count the tokens of text if there are at most ``limit``; else return None, soon.
    ///
    /// Whether a long text fits into a context is known without encoding all of it: what comes more than
    /// about a thousand pre-tokens after the limit is only searched for disallowed special tokens, and with
    /// ``disallowed_special=()`` it is not looked at.
    ///
    /// >>> tok = Tokenizer.get("gpt2")
    /// >>> tok.count_until("Hello, world!", 4)
    /// 4
    /// >>> tok.count_until("Hello, world!", 3) is None
    /// True
    #[pyo3(signature = (text, limit, *, allowed_special=OMITTED, disallowed_special=OMITTED))]
    #[pyo3(
        text_signature = "($self, text, limit, *, allowed_special=(), disallowed_special='all')"
    )]
    fn count_until(
        &self,
        text: &Bound<'_, PyAny>,
        limit: &Bound<'_, PyAny>,
        allowed_special: SpecialArgument<'_, '_>,
        disallowed_special: SpecialArgument<'_, '_>,
    ) -> PyResult<Option<usize>> {
        guard(|| {
            let limit = self::limit("limit", limit)?;
            let policy = self.policy(&allowed_special, &disallowed_special)?;
            let (py, text) = (text.py(), Text::new(text)?);
            self.run(py, &text, &policy, |tokenizer, text, allowed, go_on| {
                tokenizer.count_until_while(text, limit, allowed, go_on)
            })
        })
    }

    /// Encode with BPE-dropout: another segmentation of the text for each seed.
    ///
    /// Training on them makes a model sturdier against rare words and misspellings (Provilkov, Emelianenko
    /// and Voita, *BPE-Dropout: Simple and Effective Subword Regularization*, ACL 2020; the paper uses 0.1).
    /// At each step of merging a pre-token every pair that could merge is skipped with ``probability``, and
    /// of the others the first merges, as in the paper; ``dropout`` in Hugging Face's ``tokenizers`` skips a
    /// little less. 0 gives the ids of :meth:`encode`, 1 those of single bytes. Special tokens are never
    /// skipped.
    ///
    /// The ids depend on the tokenizer, the text, the probability and the seed alone. Give each text and each
    /// epoch a seed of its own.
    ///
    /// Args:
    ///     text: what to encode.
    ///     probability: from 0 to 1.
    ///     seed: from 0 to 2**64 - 1.
    ///     allowed_special: as in :meth:`encode`.
    ///     disallowed_special: as in :meth:`encode`.
    ///
    /// Raises:
    ///     TokenizerError: the probability or the seed is out of range.
    ///
    /// >>> tok = Tokenizer.get("gpt2")
    /// >>> for seed in range(3):
    /// ...     print([tok.decode([id]) for id in tok.encode_with_dropout("unbelievable", 0.5, seed=seed)])
    /// ['un', 'be', 'li', 'ev', 'ab', 'le']
    /// ['un', 'bel', 'iev', 'able']
    /// ['un', 'bel', 'i', 'ev', 'able']
    #[pyo3(signature = (text, probability, *, seed, allowed_special=OMITTED, disallowed_special=OMITTED))]
    #[pyo3(
        text_signature = "($self, text, probability, *, seed, allowed_special=(), disallowed_special='all')"
    )]
    fn encode_with_dropout<'py>(
        &self,
        text: &Bound<'py, PyAny>,
        probability: f64,
        seed: &Bound<'_, PyAny>,
        allowed_special: SpecialArgument<'_, '_>,
        disallowed_special: SpecialArgument<'_, '_>,
    ) -> PyResult<Bound<'py, PyList>> {
        guard(|| {
            let seed = seed.extract::<u64>().map_err(|_| ArgumentError::Seed {
                found: seed.to_string(),
            })?;
            let mut dropout = Dropout::new(probability, seed).map_err(to_python)?;
            let policy = self.policy(&allowed_special, &disallowed_special)?;
            let (py, text) = (text.py(), Text::new(text)?);
            let ids = self.run(py, &text, &policy, |tokenizer, text, allowed, go_on| {
                tokenizer.encode_with_dropout_while(text, allowed, &mut dropout, go_on)
            })?;
            self.core().integers().list(py, &ids, self.vocab_size())
        })
    }

    /// Return the part of the text that its first ``max_tokens`` tokens cover, cut between characters.
    ///
    /// Tokens that end inside a character are left out. Nothing in the text is special. The time is that of
    /// encoding what is kept: what comes more than about a thousand pre-tokens after the cut is not looked
    /// at.
    ///
    /// >>> Tokenizer.get("gpt2").truncate("Hello, world!", 3)
    /// 'Hello, world'
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
            let end = self.run(py, &text, &policy, |tokenizer, text, allowed, go_on| {
                let (_, end) = tokenizer.truncate_while(text, max_tokens, allowed, go_on)?;
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

    /// Split text into pre-tokens, the pieces inside which merging happens; together they are the text.
    ///
    /// >>> Tokenizer.get("gpt2").split("Hello, world!")
    /// [b'Hello', b',', b' world', b'!']
    fn split<'py>(&self, text: &Bound<'py, PyAny>) -> PyResult<Vec<Cow<'py, [u8]>>> {
        guard(|| {
            let mut pieces = Vec::new();
            let (py, text) = (text.py(), Text::new(text)?);
            let policy = SpecialPolicy::none();
            self.run(py, &text, &policy, |tokenizer, text, _, go_on| {
                let goes_on = tokenizer.split_while(text.as_bytes(), &mut |piece| {
                    pieces.push(Cow::Owned(piece.to_vec()));
                    !pieces.len().is_multiple_of(PIECES_BETWEEN_LOOKS) || go_on()
                });
                if goes_on {
                    Ok(())
                } else {
                    Err(Error::Cancelled)
                }
            })?;
            Ok(pieces)
        })
    }

    // ---- ids to text ------------------------------------------------------------------------------------------

    /// Decode ids to text; bytes that are not UTF-8 are handled as ``bytes.decode(errors=…)`` does.
    ///
    /// With ``skip_special_tokens`` special tokens are left out, as ``transformers`` leaves them out.
    ///
    /// Raises:
    ///     UnknownTokenError: an element is no token; it names the element and its index.
    ///
    /// >>> tok = Tokenizer.get("gpt2")
    /// >>> tok.decode([15496, 11, 995, 0])
    /// 'Hello, world!'
    /// >>> tok.decode([15496, 50256]), tok.decode([15496, 50256], skip_special_tokens=True)
    /// ('Hello<|endoftext|>', 'Hello')
    #[pyo3(signature = (ids, errors="replace", *, skip_special_tokens=false))]
    fn decode<'py>(
        &self,
        ids: &Bound<'py, PyAny>,
        errors: &str,
        skip_special_tokens: bool,
    ) -> PyResult<Bound<'py, PyString>> {
        guard(|| {
            let py = ids.py();
            let ids = self.ids_to_decode(ids, skip_special_tokens)?;
            let decode = || match &ids {
                Ids::Narrow(ids) => self.tokenizer().decode(ids),
                Ids::Wide(ids) => self.tokenizer().decode(ids),
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

    /// Decode ids to the bytes that were encoded, without loss; ``skip_special_tokens`` as in :meth:`decode`.
    ///
    /// >>> tok = Tokenizer.get("gpt2")
    /// >>> tok.decode_bytes(tok.encode(b"\xff\x00"))
    /// b'\xff\x00'
    #[pyo3(signature = (ids, *, skip_special_tokens=false))]
    fn decode_bytes<'py>(
        &self,
        ids: &Bound<'py, PyAny>,
        skip_special_tokens: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        guard(|| match self.ids_to_decode(ids, skip_special_tokens)? {
            Ids::Narrow(narrow) => output::bytes(ids.py(), &self.check_ids(&narrow)?),
            Ids::Wide(wide) => output::bytes(ids.py(), &self.check_ids(&wide)?),
        })
    }

    /// Start decoding ids one by one, as a model makes them; text never ends inside a character.
    ///
    /// ``push(id)`` returns the text that became complete (often ``""`` within an emoji), ``finish()`` what
    /// is left. ``skip_special_tokens`` as in :meth:`decode`.
    ///
    /// >>> tok = Tokenizer.get("gpt2")
    /// >>> stream = tok.decode_stream()
    /// >>> [stream.push(id) for id in tok.encode("a 🦆!")]
    /// ['a', ' ', '', '🦆', '!']
    /// >>> stream.finish()
    /// ''
    #[pyo3(signature = (*, skip_special_tokens=false))]
    fn decode_stream(&self, skip_special_tokens: bool) -> PyStreamDecoder {
        let tokenizer = self.tokenizer().clone();
        let decoder = if skip_special_tokens {
            StreamDecoder::without_special(tokenizer)
        } else {
            StreamDecoder::new(tokenizer)
        };
        PyStreamDecoder::new(decoder, self.vocab_size())
    }
}

/// Ids and their places with those around them: what stands before is at the beginning, what stands after at the end.
fn place_around(
    tokenizer: &Tokenizer,
    text: CoreText<'_>,
    by_character: bool,
    ids: Vec<u32>,
    starts: Vec<usize>,
) -> (Vec<u32>, Vec<usize>) {
    let template = tokenizer.template();
    let bytes = text.as_bytes();
    let end = if by_character {
        bytes.iter().filter(|&&byte| byte & 0xC0 != 0x80).count()
    } else {
        bytes.len()
    };
    let mut places = vec![0; template.before().len()];
    places.extend(starts);
    places.resize(places.len() + template.after().len(), end);
    (template.around(Ids::Wide(ids)).into_wide(), places)
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
