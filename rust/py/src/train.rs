//! Counting pre-tokens of whatever Python feeds, and learning a vocabulary from them.
//!
//! Text arrives in pieces of any size. It is gathered until there is enough to share among threads, cut into
//! documents (where the caller said that one ends, and at the strings of special tokens), and counted without the
//! GIL. Of a document that is still coming in a part is counted, where the split pattern knows places to cut, so memory
//! does not grow with its length. The counts are the same wherever the pieces end.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use gptbpe_core::documents::{DocumentBuffer, Separators};
use gptbpe_core::pattern::Pattern;
use gptbpe_core::scan::Pretokenizer;
use gptbpe_core::train::runs::{self, BoundedCounts, RunHeader};
use gptbpe_core::train::{TieBreak, TrainOptions, count_documents, train};
use gptbpe_core::{Error, SpecialToken};
use pyo3::prelude::*;

use crate::counts::flow;
use crate::error::{ArgumentError, TrainingError, guard, to_python};
use crate::input::{Text, pattern, threads};
use crate::signals::{BETWEEN_LOOKS, Signals};
use crate::tokenizer::CoreTokenizer;

/// How much text is gathered before it is counted: enough for several threads, little enough that Ctrl-C is heard.
const GATHERED_BYTES: usize = 8 << 20;
/// Text in which every word is new needs tables of at most so many times its size, on all threads together.
const TABLES_PER_TEXT: usize = 128;
/// Less text at a time is not worth the threads.
const LEAST_GATHERED_BYTES: usize = 16 << 10;

/// Counts pre-tokens; `gptbpe.training` feeds it.
#[pyclass(module = "gptbpe._core")]
pub(crate) struct WordCounter {
    pattern: Pattern,
    pretokenizer: Pretokenizer,
    special_tokens: Vec<String>,
    threads: usize,
    /// None after it was written to a file.
    counts: Option<BoundedCounts>,
    /// How often each pre-token of the present source counts.
    weight: u64,
    text_bytes: u64,
    documents: u64,
    /// Text that is not counted yet.
    gathered: DocumentBuffer,
    batch_bytes: usize,
}

#[pymethods]
impl WordCounter {
    #[new]
    #[pyo3(signature = (pattern, special_tokens, threads, limit=None))]
    fn new(
        pattern: &Bound<'_, PyAny>,
        special_tokens: Vec<String>,
        threads: Option<usize>,
        limit: Option<(usize, PathBuf)>,
    ) -> PyResult<Self> {
        guard(|| {
            let pattern = self::pattern(pattern)?;
            let header = RunHeader {
                pattern: pattern.clone(),
                special_tokens: special_tokens.clone(),
            };
            let limit = limit.as_ref().map(|(bytes, folder)| (*bytes, &**folder));
            let batch_bytes = limit.map_or(GATHERED_BYTES, |(bytes, _)| {
                (bytes / TABLES_PER_TEXT).clamp(LEAST_GATHERED_BYTES, GATHERED_BYTES)
            });
            let pretokenizer = Pretokenizer::new(&pattern).map_err(to_python)?;
            let separators = Separators::any_of(&special_tokens).map_err(to_python)?;
            let cuts = pretokenizer.cuts();
            let cut = Box::new(move |text: &[u8]| cuts.last(text));
            Ok(Self {
                gathered: DocumentBuffer::new(separators, cut, batch_bytes),
                batch_bytes,
                pretokenizer,
                pattern,
                special_tokens,
                threads: self::threads(threads)?,
                counts: Some(BoundedCounts::new(header, limit)),
                weight: 1,
                text_bytes: 0,
                documents: 0,
            })
        })
    }

    /// Takes more of the present document.
    fn feed(&mut self, py: Python<'_>, text: &Bound<'_, PyAny>) -> PyResult<()> {
        guard(|| {
            let text = Text::new(text)?;
            let text = text.bytes()?;
            py.detach(|| {
                for part in text.chunks(self.batch_bytes) {
                    self.gathered.push(part)?;
                    while self.gathered.is_full() {
                        self.count()?;
                    }
                }
                Ok(())
            })
            .map_err(to_python)
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

    /// Each pre-token of what is fed from here on counts so many times.
    fn weigh(&mut self, py: Python<'_>, weight: u64) -> PyResult<()> {
        guard(|| {
            if weight != self.weight {
                py.detach(|| self.count_all()).map_err(to_python)?;
                self.weight = weight;
            }
            Ok(())
        })
    }

    /// Adds files of counts, each multiplied by its weight. A Python callback hears how many bytes of them were read.
    ///
    /// Errors name the files, and `origin` where they contradict what this counter was made with.
    #[pyo3(signature = (paths, weights, origin, progress=None))]
    fn add_files(
        &mut self,
        py: Python<'_>,
        paths: Vec<PathBuf>,
        weights: Vec<u64>,
        origin: PathBuf,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        guard(|| {
            let header = RunHeader {
                pattern: self.pattern.clone(),
                special_tokens: self.special_tokens.clone(),
            };
            let counts = self.counts.as_mut().ok_or(ArgumentError::Closed)?;
            let total = paths
                .iter()
                .map(|path| path.metadata().map_or(0, |file| file.len()));
            let mut report = Report::new("counting", total.sum(), progress);
            let mut done = 0;
            let loaded = py.detach(|| {
                let loaded = runs::load(&paths, &weights, &header, &origin, &mut |bytes| {
                    done = bytes;
                    report.hear(bytes)
                });
                loaded.and_then(|words| counts.add(words, 1))
            });
            report.end(py, done)?;
            loaded.map_err(to_python)
        })
    }

    /// Writes all that was counted to a file of counts. Afterwards there is nothing here to learn from.
    fn write(&mut self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        guard(|| {
            py.detach(|| self.count_all()).map_err(to_python)?;
            let counts = self.counts.take().ok_or(ArgumentError::Closed)?;
            let (bytes, documents) = (self.text_bytes, self.documents);
            let signals = Signals::new();
            let written =
                py.detach(|| counts.write(&path, bytes, documents, &mut || flow(signals.go_on())));
            signals.end()?;
            written.map(drop).map_err(to_python)
        })
    }

    /// How many runs lie on the disk because of the memory limit.
    #[getter]
    fn runs(&self) -> usize {
        self.counts.as_ref().map_or(0, BoundedCounts::runs)
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
            let counts = self.counts.as_mut().ok_or(ArgumentError::Closed)?;
            counts.add_word(word.bytes()?, count).map_err(to_python)
        })
    }

    /// The pre-tokens and their counts, in the order of their bytes.
    fn counts(&mut self) -> PyResult<Vec<(std::borrow::Cow<'_, [u8]>, u64)>> {
        guard(|| {
            let counts = self.counts.as_mut().ok_or(ArgumentError::Closed)?;
            let words = counts.words(&mut || ControlFlow::Continue(()));
            Ok(words
                .map_err(to_python)?
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
            py.detach(|| self.count_all()).map_err(to_python)?;
            let counts = self.counts.as_mut().ok_or(ArgumentError::Closed)?;
            let signals = Signals::new();
            let words = py.detach(|| counts.words(&mut || flow(signals.go_on())));
            signals.end()?;
            let words = words.map_err(to_python)?;
            let mut report = Report::new("merging", u64::from(merges), progress);
            let trained =
                py.detach(|| train(words, &options, &mut |done| report.hear(u64::from(done))));
            let done = trained.as_ref().map_or(0, |trained| trained.merges.len());
            report.end(py, done as u64)?;
            let trained = trained.map_err(to_python)?;
            if let Some(like) = like {
                return like.extended(&trained.merges);
            }
            let names = self.special_tokens.iter();
            let special: Vec<_> = names.map(|name| SpecialToken::new(name, 0)).collect();
            CoreTokenizer::trained(&trained.merges, self.pattern.clone(), &special)
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
        self.text_bytes += parts.iter().map(|part| part.len() as u64).sum::<u64>();
        self.documents += parts.len() as u64 - u64::from(batch.is_open());
        let counted = count_documents(&self.pretokenizer, &parts, self.threads)?;
        match &mut self.counts {
            Some(counts) => counts.add(counted, self.weight),
            None => Ok(()),
        }
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
    phase: &'static str,
    total: u64,
    callback: Option<Py<PyAny>>,
    last: Instant,
    error: Option<PyErr>,
}

impl Report {
    fn new(phase: &'static str, total: u64, callback: Option<Py<PyAny>>) -> Self {
        Self {
            phase,
            total,
            callback,
            last: Instant::now(),
            error: None,
        }
    }

    fn hear(&mut self, done: u64) -> ControlFlow<()> {
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

    fn tell(&self, py: Python<'_>, done: u64) -> PyResult<()> {
        py.check_signals()?;
        if let Some(callback) = &self.callback {
            callback.call1(py, (self.phase, done, self.total))?;
        }
        Ok(())
    }

    /// Tells the last number, or raises what Python raised meanwhile.
    fn end(self, py: Python<'_>, done: u64) -> PyResult<()> {
        match self.error {
            Some(error) => Err(error),
            None => self.tell(py, done),
        }
    }
}
