//! Files of counts: looking into one, and adding several to what was counted.

use std::ops::ControlFlow;
use std::path::PathBuf;

use gptbpe_core::train::runs::{RunHeader, RunReader, RunTotals};
use pyo3::prelude::*;

use crate::error::{guard, to_python};
use crate::input::pattern;
use crate::output::{hexadecimal, shown_pattern};
use crate::signals::Signals;

/// What a file of counts says of itself; see `gptbpe.counts.CountsFile`.
#[pyclass(module = "gptbpe._core", frozen)]
pub(crate) struct CoreCountsFile {
    path: PathBuf,
    header: RunHeader,
    totals: RunTotals,
    file_bytes: u64,
}

#[pymethods]
impl CoreCountsFile {
    /// Opens a file and checks its beginning, its end and its size.
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        guard(|| {
            let reader = py.detach(|| RunReader::open(&path)).map_err(to_python)?;
            Ok(Self {
                header: reader.header().clone(),
                totals: *reader.totals(),
                file_bytes: reader.file_bytes(),
                path,
            })
        })
    }

    /// Reads the whole file and checks every byte.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        /// How many words are read between two looks for signals.
        const WORDS_BETWEEN_LOOKS: u64 = 1 << 12;
        guard(|| {
            let signals = Signals::new();
            let checked = py.detach(|| {
                let mut reader = RunReader::open(&self.path)?;
                let mut words = 0_u64;
                while reader.next()?.is_some() {
                    words += 1;
                    if words.is_multiple_of(WORDS_BETWEEN_LOOKS) && !signals.go_on() {
                        break;
                    }
                }
                Ok(())
            });
            signals.end()?;
            checked.map_err(to_python)
        })
    }

    #[getter]
    fn pattern<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(|| shown_pattern(py, &self.header.pattern))
    }

    /// Whether that pattern splits every text as this file's does.
    fn is_split_by(&self, pattern: &Bound<'_, PyAny>) -> PyResult<bool> {
        guard(|| {
            let other = RunHeader {
                pattern: self::pattern(pattern)?,
                special_tokens: Vec::new(),
            };
            Ok(other.pattern_fingerprint() == self.header.pattern_fingerprint())
        })
    }

    #[getter]
    fn pattern_fingerprint(&self) -> String {
        hexadecimal(&self.header.pattern_fingerprint())
    }

    #[getter]
    fn regexes(&self) -> Vec<String> {
        self.header.pattern.regexes().to_vec()
    }

    #[getter]
    fn special_tokens(&self) -> Vec<String> {
        self.header.special_tokens.clone()
    }

    #[getter]
    fn text_bytes(&self) -> u64 {
        self.totals.text_bytes
    }

    #[getter]
    fn documents(&self) -> u64 {
        self.totals.documents
    }

    #[getter]
    fn words(&self) -> u64 {
        self.totals.words
    }

    #[getter]
    fn pretokens(&self) -> u128 {
        self.totals.pretokens
    }

    #[getter]
    fn file_bytes(&self) -> u64 {
        self.file_bytes
    }
}

/// Whether to go on, for computations that ask so.
pub(crate) fn flow(go_on: bool) -> ControlFlow<()> {
    if go_on {
        ControlFlow::Continue(())
    } else {
        ControlFlow::Break(())
    }
}
