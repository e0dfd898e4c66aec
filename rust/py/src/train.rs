//! Counting pre-tokens of whatever Python feeds, and learning a vocabulary from them.
//!
//! Text arrives in pieces of any size. It is gathered until there is enough to share among threads, cut into
//! documents (where the caller said that one ends, and at the strings of special tokens), and counted without the
//! GIL. Of a document that is still coming in a part is counted, where the split pattern knows places to cut, so memory
//! does not grow with its length. The counts are the same wherever the pieces end.

use std::ops::ControlFlow;
use std::time::Instant;

use gptbpe_core::documents::{DocumentBuffer, Separators};
use gptbpe_core::pattern::Pattern;
use gptbpe_core::scan::Pretokenizer;
use gptbpe_core::train::{TieBreak, TrainOptions, WordCounts, count_documents, train};
use gptbpe_core::{Error, SpecialToken};
use pyo3::prelude::*;

use crate::error::{TrainingError, guard, to_python};
use crate::input::{Text, pattern, threads};
use crate::signals::{BETWEEN_LOOKS, Signals};
use crate::tokenizer::CoreTokenizer;

/// How much text is gathered before it is counted: enough for several threads, little enough that Ctrl-C is heard.
const GATHERED_BYTES: usize = 8 << 20;

/// Counts pre-tokens; `gptbpe.training` feeds it.
#[pyclass(module = "gptbpe._core")]
pub(crate) struct WordCounter {
    pattern: Pattern,
    pretokenizer: Pretokenizer,
    special_tokens: Vec<String>,
    threads: usize,
    words: WordCounts,
    /// Text that is not counted yet.
    gathered: DocumentBuffer,
}

#[pymethods]
impl WordCounter {
    #[new]
    #[pyo3(signature = (pattern, special_tokens, threads))]
    fn new(
        pattern: &Bound<'_, PyAny>,
        special_tokens: Vec<String>,
        threads: Option<usize>,
    ) -> PyResult<Self> {
        guard(|| {
            let pattern = self::pattern(pattern)?;
            let pretokenizer = Pretokenizer::new(&pattern).map_err(to_python)?;
            let separators = Separators::any_of(&special_tokens).map_err(to_python)?;
            let cuts = pretokenizer.cuts();
            let cut = Box::new(move |text: &[u8]| cuts.last(text));
            Ok(Self {
                gathered: DocumentBuffer::new(separators, cut, GATHERED_BYTES),
                pretokenizer,
                pattern,
                special_tokens,
                threads: self::threads(threads)?,
                words: WordCounts::new(),
            })
        })
    }

    /// Takes more of the present document.
    fn feed(&mut self, py: Python<'_>, text: &Bound<'_, PyAny>) -> PyResult<()> {
        guard(|| {
            let text = Text::new(text)?;
            let text = text.bytes()?;
            let signals = Signals::new();
            let fed = py.detach(|| {
                for part in text.chunks(GATHERED_BYTES) {
                    self.gathered.push(part)?;
                    while self.gathered.is_full() {
                        self.count()?;
                    }
                    if !signals.go_on() {
                        break;
                    }
                }
                Ok(())
            });
            signals.end()?;
            fed.map_err(to_python)
        })
    }

    /// The present document ends here.
    fn end_document(&mut self) -> PyResult<()> {
        guard(|| self.gathered.end_file().map_err(to_python))
    }

    /// Counts all that was fed.
    fn flush(&mut self, py: Python<'_>) -> PyResult<()> {
        guard(|| py.detach(|| self.count_all()).map_err(to_python))
    }

    /// Adds a pre-token that was counted elsewhere.
    fn add_count(&mut self, word: &Bound<'_, PyAny>, count: &Bound<'_, PyAny>) -> PyResult<()> {
        guard(|| {
            let word = Text::new(word)?;
            let count: u64 = count.extract().map_err(|_| {
                TrainingError::new_err(format!(
                    "a count must be an integer from 0 to {}, found {count}",
                    u64::MAX
                ))
            })?;
            self.words.add(word.bytes()?, count).map_err(to_python)
        })
    }

    /// The pre-tokens and their counts, in the order of their bytes.
    fn counts(&self) -> PyResult<Vec<(std::borrow::Cow<'_, [u8]>, u64)>> {
        guard(|| {
            Ok(self
                .words
                .iter()
                .map(|(word, count)| (std::borrow::Cow::Borrowed(word), count))
                .collect())
        })
    }

    /// Learns merges and makes the tokenizer. A Python callback hears of progress, and Ctrl-C is heard meanwhile.
    ///
    /// With `like` what stands around the vocabulary is that tokenizer's, its added tokens renumbered; else special tokens.
    #[pyo3(signature = (merges, tie_break, min_count, max_token_bytes, initial_merges, progress, like=None))]
    #[expect(clippy::too_many_arguments)]
    fn learn(
        &mut self,
        py: Python<'_>,
        merges: u32,
        tie_break: &str,
        min_count: u64,
        max_token_bytes: Option<usize>,
        initial_merges: Vec<(u32, u32)>,
        progress: Option<Py<PyAny>>,
        like: Option<&CoreTokenizer>,
    ) -> PyResult<CoreTokenizer> {
        guard(|| {
            let options = TrainOptions {
                merges,
                tie_break: self::tie_break(tie_break)?,
                min_count,
                max_token_bytes,
                initial_merges,
            };
            let mut report = Report::new(merges, progress);
            let trained = py.detach(|| {
                self.count_all()?;
                train(std::mem::take(&mut self.words), &options, &mut |done| report.hear(done))
            });
            let done = trained
                .as_ref()
                .map_or(0, |trained| trained.merges.len() as u32);
            report.end(py, done)?;
            let trained = trained.map_err(to_python)?;
            if let Some(like) = like {
                return like.extended(trained);
            }
            let names = self.special_tokens.iter();
            let special: Vec<_> = names.map(|name| SpecialToken::new(name, 0)).collect();
            CoreTokenizer::trained(trained, self.pattern.clone(), &special)
        })
    }
}

impl WordCounter {
    fn count_all(&mut self) -> Result<(), Error> {
        self.gathered.end_file()?;
        self.count()
    }

    /// Counts what is gathered and complete.
    fn count(&mut self) -> Result<(), Error> {
        let Some(batch) = self.gathered.take()? else {
            return Ok(());
        };
        let parts: Vec<&[u8]> = batch.parts().collect();
        let counted = count_documents(&self.pretokenizer, &parts, self.threads)?;
        if self.words.is_empty() {
            self.words = counted;
            return Ok(());
        }
        self.words.merge(&counted)
    }
}

fn tie_break(name: &str) -> PyResult<TieBreak> {
    Ok(match name {
        "smallest-ids" => TieBreak::SmallestIds,
        "huggingface" => TieBreak::HuggingFace,
        "bytes" => TieBreak::Bytes,
        "first-seen" => TieBreak::FirstSeen,
        other => {
            return Err(TrainingError::new_err(format!(
                "tie_break={other:?} is unknown; expected smallest-ids, huggingface, bytes or first-seen"
            )));
        }
    })
}

/// Passes progress on to Python and listens for signals, now and then.
struct Report {
    total: u32,
    callback: Option<Py<PyAny>>,
    last: Instant,
    error: Option<PyErr>,
}

impl Report {
    fn new(total: u32, callback: Option<Py<PyAny>>) -> Self {
        Self {
            total,
            callback,
            last: Instant::now(),
            error: None,
        }
    }

    fn hear(&mut self, done: u32) -> ControlFlow<()> {
        let now = Instant::now();
        if now - self.last < BETWEEN_LOOKS {
            return ControlFlow::Continue(());
        }
        self.last = now;
        match Python::attach(|py| self.tell(py, done)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.error = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn tell(&self, py: Python<'_>, done: u32) -> PyResult<()> {
        py.check_signals()?;
        if let Some(callback) = &self.callback {
            callback.call1(py, ("merging", done, self.total))?;
        }
        Ok(())
    }

    /// Tells the last number, or raises what Python raised meanwhile.
    fn end(self, py: Python<'_>, done: u32) -> PyResult<()> {
        match self.error {
            Some(error) => Err(error),
            None => self.tell(py, done),
        }
    }
}
