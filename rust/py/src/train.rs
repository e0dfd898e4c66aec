//! Counting pre-tokens of whatever Python feeds, and learning a vocabulary from them.
//!
//! Text arrives in pieces of any size. It is gathered until there is enough to share among threads, cut into
//! documents (where the caller said that one ends, and at the strings of special tokens), and counted without the
//! GIL. A document that is still coming in is counted up to a place where every split pattern of its kind must end a
//! pre-token, so memory does not grow with its length; a pattern without such places is counted document by document.
//! The counts are the same wherever the pieces end.

use std::ops::{ControlFlow, Range};
use std::time::Instant;

use aho_corasick::{AhoCorasick, Anchored, Input, MatchKind};
use gptbpe_core::Error;
use gptbpe_core::pattern::{Cuts, Pattern};
use gptbpe_core::scan::Pretokenizer;
use gptbpe_core::train::{TieBreak, TrainOptions, WordCounts, count_documents, train};
use pyo3::prelude::*;

use crate::error::{TrainingError, guard, to_python};
use crate::input::{Text, pattern, threads};
use crate::signals::BETWEEN_LOOKS;
use crate::tokenizer::CoreTokenizer;

/// How much text is gathered before it is counted: enough for several threads, little enough that Ctrl-C is heard.
const GATHERED_BYTES: usize = 8 << 20;

/// Documents are shared among threads in parts of about this size.
const PART_BYTES: usize = 256 << 10;

/// Counts pre-tokens; `gptbpe.training` feeds it.
#[pyclass(module = "gptbpe._core")]
pub(crate) struct WordCounter {
    pattern: Pattern,
    pretokenizer: Pretokenizer,
    cuts: Cuts,
    special_tokens: Vec<String>,
    separators: Separators,
    threads: usize,
    words: WordCounts,
    /// Text that is not counted yet, and where documents in it end.
    gathered: Vec<u8>,
    ends: Vec<usize>,
    /// How much must be gathered before counting is tried again.
    enough: usize,
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
            Ok(Self {
                pretokenizer: Pretokenizer::new(&pattern).map_err(to_python)?,
                cuts: Cuts::of(&pattern),
                pattern,
                separators: Separators::new(&special_tokens)?,
                special_tokens,
                threads: self::threads(threads)?,
                words: WordCounts::new(),
                gathered: Vec::new(),
                ends: Vec::new(),
                enough: GATHERED_BYTES,
            })
        })
    }

    /// Takes more of the present document.
    fn feed(&mut self, py: Python<'_>, text: &Bound<'_, PyAny>) -> PyResult<()> {
        guard(|| {
            let text = Text::new(text)?;
            let text = text.bytes()?;
            py.detach(|| {
                for part in text.chunks(GATHERED_BYTES) {
                    self.gathered.extend_from_slice(part);
                    if self.gathered.len() >= self.enough {
                        self.count(false)?;
                    }
                }
                Ok(())
            })
            .map_err(to_python)
        })
    }

    /// The present document ends here.
    fn end_document(&mut self) {
        if self.ends.last() != Some(&self.gathered.len()) {
            self.ends.push(self.gathered.len());
        }
    }

    /// Counts all that was fed.
    fn flush(&mut self, py: Python<'_>) -> PyResult<()> {
        guard(|| py.detach(|| self.count(true)).map_err(to_python))
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
    #[pyo3(signature = (merges, tie_break, min_count, max_token_bytes, initial_merges, progress))]
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
                self.count(true)?;
                train(&self.words, &options, &mut |done| report.hear(done))
            });
            let done = trained
                .as_ref()
                .map_or(0, |trained| trained.merges.len() as u32);
            report.end(py, done)?;
            let trained = trained.map_err(to_python)?;
            CoreTokenizer::trained(&trained.merges, self.pattern.clone(), &self.special_tokens)
        })
    }
}

impl WordCounter {
    /// Counts what is gathered: all of it, or whole documents and the certain part of the one that is coming in.
    fn count(&mut self, all: bool) -> Result<(), Error> {
        let mut parts: Vec<Range<usize>> = Vec::new();
        let mut start = 0;
        for &end in &self.ends {
            self.separators
                .split(&self.gathered, start..end, true, &mut parts);
            start = end;
        }
        let mut kept =
            self.separators
                .split(&self.gathered, start..self.gathered.len(), all, &mut parts);
        if !all {
            // A special token may have begun at the end and not be whole yet.
            let certain = self.gathered.len().saturating_sub(self.separators.longest);
            if let Some(cut) = self.cuts.last(&self.gathered[kept..certain.max(kept)]) {
                parts.push(kept..kept + cut);
                kept += cut;
            }
        }
        let mut shared = Vec::with_capacity(parts.len());
        for part in parts {
            share(self.cuts, &self.gathered[part], &mut shared);
        }
        let counted = count_documents(&self.pretokenizer, &shared, self.threads)?;
        if self.words.is_empty() {
            self.words = counted;
        } else {
            self.words.merge(&counted)?;
        }
        self.gathered.drain(..kept);
        self.ends.clear();
        self.enough = GATHERED_BYTES + 2 * self.gathered.len();
        Ok(())
    }
}

/// Cuts a document into parts for several threads.
fn share<'a>(cuts: Cuts, mut document: &'a [u8], parts: &mut Vec<&'a [u8]>) {
    while document.len() > PART_BYTES {
        let Some(cut) = cuts.last(&document[..PART_BYTES]) else {
            break;
        };
        let (part, rest) = document.split_at(cut);
        parts.push(part);
        document = rest;
    }
    parts.push(document);
}

/// The strings that end documents.
struct Separators {
    finder: Option<AhoCorasick>,
    longest: usize,
}

impl Separators {
    fn new(names: &[String]) -> PyResult<Self> {
        let finder = if names.is_empty() {
            None
        } else {
            let finder = AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(names)
                .map_err(|error| TrainingError::new_err(format!("special tokens: {error}")))?;
            Some(finder)
        };
        Ok(Self {
            finder,
            longest: names.iter().map(String::len).max().unwrap_or(0),
        })
    }

    /// Adds the documents in `text[range]` to `parts`, and returns where the last of them ends. If more text is to
    /// come (`whole` is false) a match near the end may yet become a longer one, so what follows is left.
    fn split(
        &self,
        text: &[u8],
        range: Range<usize>,
        whole: bool,
        parts: &mut Vec<Range<usize>>,
    ) -> usize {
        let mut start = range.start;
        if let Some(finder) = &self.finder {
            let input = Input::new(text).range(range.clone()).anchored(Anchored::No);
            for found in finder.find_iter(input) {
                if !whole && found.start() + self.longest > range.end {
                    break;
                }
                parts.push(start..found.start());
                start = found.end();
            }
        }
        if whole {
            parts.push(start..range.end);
            start = range.end;
        }
        start
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
