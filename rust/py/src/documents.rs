//! Text that is gathered into batches of documents, and what batches become.
//!
//! One thread fills a [`DocumentBuffer`] while another works on the batches that came out of it before: each is a
//! value of its own. No Python object is made for a document.

use std::path::PathBuf;

use gptbpe_core::documents::{self, Cut, Separators};
use gptbpe_core::{Error, Ids, Ragged, SpecialSet};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::{ArgumentError, guard, of_document, to_python};
use crate::input::{Names, Text, Threads, threads};
use crate::opened::Opened;
use crate::output::array;
use crate::signals::{Cancel, Signals};
use crate::tokenizer::CoreTokenizer;

/// Cuts text into documents; `gptbpe.sources` fills it.
#[pyclass(module = "gptbpe._core")]
pub(crate) struct DocumentBuffer {
    buffer: documents::DocumentBuffer,
    batch_bytes: usize,
    file: Opened,
}

#[pymethods]
impl DocumentBuffer {
    /// Documents end at `separator`. Without a tokenizer a document is never given out in parts.
    #[new]
    fn new(
        separator: Option<&Bound<'_, PyAny>>,
        batch_bytes: usize,
        tokenizer: Option<&CoreTokenizer>,
        allowed_special: &Bound<'_, PyAny>,
        skip: u64,
    ) -> PyResult<Self> {
        guard(|| {
            let separators = match separator {
                None => Separators::none(),
                Some(separator) => match Text::new(separator)?.bytes()? {
                    [] => return Err(ArgumentError::EmptySeparator.into()),
                    mark => Separators::line(mark),
                },
            };
            let cut: Cut = match tokenizer {
                None => Box::new(|_| None),
                Some(tokenizer) => {
                    let allowed = tokenizer.special_set(allowed_special)?;
                    let tokenizer = tokenizer.core().clone();
                    Box::new(move |text| tokenizer.last_cut(text, &allowed))
                }
            };
            let buffer = documents::DocumentBuffer::new(separators, cut, batch_bytes).skip(skip);
            Ok(Self {
                buffer,
                batch_bytes: batch_bytes.max(1),
                file: Opened::default(),
            })
        })
    }

    /// Goes on with a file; `read` gets its text.
    fn open(&mut self, path: PathBuf) -> PyResult<()> {
        guard(|| self.file.open(path))
    }

    /// Takes at most `most` bytes from the file, and no more than a batch has; returns how many there were: none at
    /// its end.
    fn read(&mut self, py: Python<'_>, most: usize) -> PyResult<usize> {
        guard(|| {
            let most = most.min(self.batch_bytes);
            self.file.read(|file, path| {
                let read = py.detach(|| self.buffer.read(file, path, most));
                read.map_err(to_python)
            })
        })
    }

    /// Takes more text.
    fn push(&mut self, py: Python<'_>, text: &Bound<'_, PyAny>) -> PyResult<()> {
        guard(|| {
            let text = Text::new(text)?;
            let text = text.bytes()?;
            py.detach(|| self.buffer.push(text)).map_err(to_python)
        })
    }

    /// Takes a document in which nothing is a separator.
    fn push_document(&mut self, document: &Bound<'_, PyAny>) -> PyResult<()> {
        guard(|| {
            let document = Text::new(document)?;
            self.buffer
                .push_document(document.bytes()?)
                .map_err(to_python)
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
            let (text, offsets) = (text.as_slice()?, offsets.as_slice()?);
            let documents = documents_between(text, offsets)?;
            let mut documents = documents.into_iter();
            py.detach(|| documents.try_for_each(|document| self.buffer.push_document(document)))
                .map_err(to_python)
        })
    }

    /// Ends a file: what follows its last separator is a document.
    fn end_file(&mut self, py: Python<'_>) -> PyResult<()> {
        guard(|| py.detach(|| self.buffer.end_file()).map_err(to_python))
    }

    /// Whether there is enough for a batch.
    #[getter]
    fn full(&self) -> bool {
        self.buffer.is_full()
    }

    /// What is complete.
    fn take(&mut self, py: Python<'_>) -> PyResult<Option<DocumentBatch>> {
        guard(|| {
            let batch = py.detach(|| self.buffer.take()).map_err(to_python)?;
            Ok(batch.map(|batch| DocumentBatch { batch }))
        })
    }
}

/// The documents `text[offsets[i]:offsets[i + 1]]`.
pub(crate) fn documents_between<'t>(text: &'t [u8], offsets: &[i64]) -> PyResult<Vec<&'t [u8]>> {
    let pairs = offsets.windows(2).map(|pair| {
        let range = usize::try_from(pair[0])
            .ok()
            .zip(usize::try_from(pair[1]).ok());
        let document = range.and_then(|(start, stop)| text.get(start..stop));
        document.ok_or_else(|| ArgumentError::Offsets.into())
    });
    pairs.collect()
}

/// Documents in one buffer; see the core.
#[pyclass(module = "gptbpe._core", frozen)]
pub(crate) struct DocumentBatch {
    batch: documents::DocumentBatch,
}

#[pymethods]
impl DocumentBatch {
    /// How many documents have begun by the end of this batch, all earlier ones included.
    #[getter]
    fn begun(&self) -> u64 {
        self.batch.first_document() + self.batch.parts().len() as u64
    }

    /// Bytes of text.
    #[getter]
    fn text_bytes(&self) -> usize {
        self.batch.parts().map(<[u8]>::len).sum()
    }

    /// The documents, or parts of them, one by one.
    fn documents<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        let parts = self.batch.parts();
        parts.map(|part| PyBytes::new(py, part)).collect()
    }

    /// The ids of all documents, made by several threads; `cancel` ends that.
    #[pyo3(signature = (tokenizer, allowed_special, threads, cancel=None))]
    fn encode(
        &self,
        py: Python<'_>,
        tokenizer: &CoreTokenizer,
        allowed_special: &Bound<'_, PyAny>,
        threads: Option<Threads>,
        cancel: Option<&Cancel>,
    ) -> PyResult<EncodedBatch> {
        guard(|| {
            let (allowed, threads) = (
                tokenizer.special_set(allowed_special)?,
                self::threads(threads),
            );
            let ragged = listening(py, |go_on| {
                let go_on = || go_on() && !cancel.is_some_and(Cancel::is_set);
                let core = tokenizer.core();
                core.encode_documents(&self.batch, &allowed, threads, &go_on)
            })?;
            Ok(EncodedBatch {
                text_bytes: self.batch.parts().map(|part| part.len() as u64).collect(),
                continues: self.batch.continues().is_some(),
                open: self.batch.is_open(),
                vocab_size: tokenizer.core().vocab_size() as usize,
                ragged,
            })
        })
    }

    /// How many ids all documents have.
    fn count(
        &self,
        py: Python<'_>,
        tokenizer: &CoreTokenizer,
        allowed_special: &Bound<'_, PyAny>,
    ) -> PyResult<usize> {
        guard(|| {
            let allowed = tokenizer.special_set(allowed_special)?;
            listening(py, |go_on| {
                tokenizer
                    .core()
                    .count_documents(&self.batch, &allowed, &|| go_on())
            })
        })
    }
}

/// Works without the GIL and listens for signals.
fn listening<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&(dyn Fn() -> bool + Sync)) -> Result<T, Error> + Send,
) -> PyResult<T> {
    let signals = Signals::new();
    let result = py.detach(|| work(&|| signals.go_on()));
    signals.end()?;
    result.map_err(of_document)
}

impl CoreTokenizer {
    fn special_set(&self, names: &Bound<'_, PyAny>) -> PyResult<SpecialSet> {
        let names = Names::new("allowed_special", names)?;
        let nothing = gptbpe_core::SpecialNames::These(&[]);
        let policy = names.with(|names| self.core().special_policy(names, nothing));
        Ok(policy.map_err(to_python)?.allowed().clone())
    }
}

/// The ids of a batch of documents, in the same order and the same parts.
#[pyclass(module = "gptbpe._core")]
pub(crate) struct EncodedBatch {
    pub(crate) ragged: Ragged,
    /// Bytes of text of each document.
    pub(crate) text_bytes: Vec<u64>,
    /// Whether the first document began in an earlier batch.
    #[pyo3(get)]
    pub(crate) continues: bool,
    /// Whether the last document goes on in the next batch.
    #[pyo3(get)]
    pub(crate) open: bool,
    vocab_size: usize,
}

#[pymethods]
impl EncodedBatch {
    /// How many ids there are.
    #[getter]
    fn tokens(&self) -> usize {
        self.ragged.ids.len()
    }

    /// Bytes of text of each document, of the first and the last perhaps only of the part that is here.
    #[getter]
    fn text_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<u64>> {
        PyArray1::from_slice(py, &self.text_bytes)
    }

    /// The ids in decimal digits, with spaces between them.
    fn decimal<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let text = py.detach(|| match &self.ragged.ids {
            Ids::Narrow(ids) => decimal(ids),
            Ids::Wide(ids) => decimal(ids),
        });
        PyBytes::new(py, &text)
    }

    /// The ids, which go over to the array, and where each document begins and ends among them.
    fn take_arrays<'py>(
        &mut self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyArray1<i64>>)> {
        guard(|| {
            let ids = std::mem::replace(&mut self.ragged.ids, Ids::Wide(Vec::new()));
            let offsets = std::mem::take(&mut self.ragged.offsets);
            // A vector has at most isize::MAX elements.
            #[expect(clippy::cast_possible_wrap)]
            let offsets: Vec<i64> = offsets.into_iter().map(|at| at as i64).collect();
            Ok((array(py, ids, self.vocab_size), offsets.into_pyarray(py)))
        })
    }
}

fn decimal<I: Copy + Into<u32>>(ids: &[I]) -> Vec<u8> {
    let mut text = Vec::with_capacity(6 * ids.len());
    for &id in ids {
        let (mut digits, mut from, mut rest) = ([0; 10], 10, id.into());
        loop {
            from -= 1;
            digits[from] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if !text.is_empty() {
            text.push(b' ');
        }
        text.extend_from_slice(&digits[from..]);
    }
    text
}
