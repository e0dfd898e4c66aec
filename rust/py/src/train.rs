//! Counting pre-tokens of whatever Python feeds, and learning a vocabulary from them.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use gptbpe_core::error::cut;
use gptbpe_core::train::runs::{self, RunHeader};
use gptbpe_core::train::{Corpus, CorpusOptions, TieBreak, TrainOptions, train_with};
use gptbpe_core::{Error, Kernel, SpecialToken};
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;

use crate::counts::flow;
use crate::documents::documents_between;
use crate::error::{ArgumentError, TrainingError, guard, to_python};
use crate::input::{Text, Threads, kernel, pattern, threads};
use crate::opened::Opened;
use crate::signals::{BETWEEN_LOOKS, Signals};
use crate::tokenizer::CoreTokenizer;

/// Counts pre-tokens; `gptbpe.training` feeds it.
#[pyclass(module = "gptbpe._core")]
pub(crate) struct WordCounter {
    header: RunHeader,
    kernel: Kernel,
    max_memory: Option<usize>,
    threads: usize,
    /// None after it was written to a file, or learned from.
    corpus: Option<Corpus>,
    file: Opened,
}

#[pymethods]
impl WordCounter {
    /// `kernel` names the instructions to count and merge with.
    #[new]
    #[pyo3(signature = (pattern, special_tokens, threads, limit=None, separator=None, kernel=None))]
    fn new(
        pattern: &Bound<'_, PyAny>,
        special_tokens: Vec<String>,
        threads: Option<Threads>,
        limit: Option<(usize, PathBuf)>,
        separator: Option<&str>,
        kernel: Option<&str>,
    ) -> PyResult<Self> {
        guard(|| {
            let header = RunHeader {
                pattern: self::pattern(pattern)?,
                special_tokens,
            };
            if separator.is_some_and(str::is_empty) {
                return Err(ArgumentError::EmptySeparator.into());
            }
            let kernel = self::kernel(kernel)?;
            let threads = self::threads(threads);
            let limit = limit.as_ref().map(|(bytes, folder)| (*bytes, &**folder));
            let corpus = Corpus::new(&CorpusOptions {
                header: header.clone(),
                separator,
                threads,
                limit,
                kernel,
            });
            Ok(Self {
                header,
                kernel,
                max_memory: limit.map(|(bytes, _)| bytes),
                threads,
                corpus: Some(corpus.map_err(to_python)?),
                file: Opened::default(),
            })
        })
    }

    /// Goes on with a file; `read` gets its text.
    fn open(&mut self, path: PathBuf) -> PyResult<()> {
        guard(|| self.file.open(path))
    }

    /// Takes at most `most` bytes from the file; returns how many there were: none at its end.
    fn read(&mut self, py: Python<'_>, most: usize) -> PyResult<usize> {
        guard(|| {
            let corpus = self.corpus.as_mut().ok_or(ArgumentError::Closed)?;
            self.file
                .read(|file, path| listening(py, |go_on| corpus.read(file, path, most, go_on)))
        })
    }

    /// Takes more of the present document.
    fn push(&mut self, py: Python<'_>, text: &Bound<'_, PyAny>) -> PyResult<()> {
        guard(|| {
            let text = Text::new(text)?;
            let text = text.bytes()?;
            let corpus = self.corpus.as_mut().ok_or(ArgumentError::Closed)?;
            listening(py, |go_on| corpus.push(text, go_on))
        })
    }

    /// Takes a whole document.
    fn push_document(&mut self, py: Python<'_>, document: &Bound<'_, PyAny>) -> PyResult<()> {
        guard(|| {
            let document = Text::new(document)?;
            let document = document.bytes()?;
            let corpus = self.corpus.as_mut().ok_or(ArgumentError::Closed)?;
            listening(py, |go_on| corpus.push_document(document, go_on))
        })
    }

    /// The same for many: document `i` is `text[offsets[i]:offsets[i + 1]]`.
    fn push_documents(
        &mut self,
        py: Python<'_>,
        text: PyReadonlyArray1<'_, u8>,
        offsets: PyReadonlyArray1<'_, i64>,
    ) -> PyResult<()> {
        guard(|| {
            let documents = documents_between(text.as_slice()?, offsets.as_slice()?)?;
            let corpus = self.corpus.as_mut().ok_or(ArgumentError::Closed)?;
            listening(py, |go_on| {
                documents
                    .iter()
                    .try_for_each(|document| corpus.push_document(document, go_on))
            })
        })
    }

    /// Ends a running text.
    fn end_file(&mut self) -> PyResult<()> {
        guard(|| {
            let corpus = self.corpus.as_mut().ok_or(ArgumentError::Closed)?;
            corpus.end_file().map_err(to_python)
        })
    }

    /// Each pre-token of what is fed from here on counts so many times.
    fn weigh(&mut self, py: Python<'_>, weight: u64) -> PyResult<()> {
        guard(|| {
            let corpus = self.corpus.as_mut().ok_or(ArgumentError::Closed)?;
            listening(py, |go_on| corpus.weigh(weight, go_on))
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
            let corpus = self.corpus.as_mut().ok_or(ArgumentError::Closed)?;
            let total = paths
                .iter()
                .map(|path| path.metadata().map_or(0, |file| file.len()));
            let mut report = Report::new("counting", total.sum(), progress);
            let mut done = 0;
            let loaded = py.detach(|| {
                let loaded = runs::load(&paths, &weights, &self.header, &origin, &mut |bytes| {
                    done = bytes;
                    report.hear(bytes)
                });
                let go_on = &mut || ControlFlow::Continue(());
                loaded.and_then(|words| corpus.add(words, go_on))
            });
            report.end(py, done)?;
            loaded.map_err(to_python)
        })
    }

    /// Writes all that was counted to a file of counts. Afterwards there is nothing here to learn from.
    fn write(&mut self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        guard(|| {
            let corpus = self.corpus.take().ok_or(ArgumentError::Closed)?;
            listening(py, |go_on| corpus.write(&path, go_on).map(drop))
        })
    }

    /// How many runs lie on the disk because of the memory limit.
    #[getter]
    fn runs(&self) -> usize {
        self.corpus.as_ref().map_or(0, Corpus::runs)
    }

    /// Adds a pre-token that was counted elsewhere.
    fn add_count(
        &mut self,
        py: Python<'_>,
        word: &Bound<'_, PyAny>,
        count: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        guard(|| {
            let word = Text::new(word)?;
            let count: u64 = count.extract().map_err(|_| {
                TrainingError::new_err(format!(
                    "a count must be an integer from 0 to {}, found {}",
                    u64::MAX,
                    cut(&count.to_string())
                ))
            })?;
            let corpus = self.corpus.as_mut().ok_or(ArgumentError::Closed)?;
            let word = word.bytes()?;
            listening(py, |go_on| corpus.add_word(word, count, go_on))
        })
    }

    /// The pre-tokens and their counts, in the order of their bytes.
    fn counts(&mut self) -> PyResult<Vec<(std::borrow::Cow<'_, [u8]>, u64)>> {
        guard(|| {
            let corpus = self.corpus.as_mut().ok_or(ArgumentError::Closed)?;
            let words = corpus.words(&mut || ControlFlow::Continue(()));
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
                max_memory: self.max_memory,
                threads: self.threads,
                initial_merges,
            };
            let corpus = self.corpus.take().ok_or(ArgumentError::Closed)?;
            let words = listening(py, |go_on| corpus.into_words(go_on))?;
            let mut report = Report::new("merging", u64::from(merges), progress);
            let trained = py.detach(|| {
                let mut hear = |done| report.hear(u64::from(done));
                train_with(self.kernel, words, &options, &mut hear)
            });
            let done = trained.as_ref().map_or(0, |trained| trained.merges.len());
            report.end(py, done as u64)?;
            let trained = trained.map_err(to_python)?;
            if let Some(like) = like {
                return like.extended(trained);
            }
            let names = self.header.special_tokens.iter();
            let special: Vec<_> = names.map(|name| SpecialToken::new(name, 0)).collect();
            CoreTokenizer::trained(trained, self.header.pattern.clone(), &special)
        })
    }
}

/// Runs a computation without the GIL that asks now and then whether to go on.
fn listening<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&mut dyn FnMut() -> ControlFlow<()>) -> Result<T, Error> + Send,
) -> PyResult<T> {
    let signals = Signals::new();
    let done = py.detach(|| work(&mut || flow(signals.go_on())));
    signals.end()?;
    done.map_err(to_python)
}

fn tie_break(name: &str) -> PyResult<TieBreak> {
    Ok(match name {
        "smallest-ids" => TieBreak::SmallestIds,
        "huggingface" => TieBreak::HuggingFace,
        "bytes" => TieBreak::Bytes,
        "first-seen" => TieBreak::FirstSeen,
        other => {
            return Err(TrainingError::new_err(format!(
                "tie_break={:?} is unknown; expected smallest-ids, huggingface, bytes or first-seen",
                cut(other)
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
