//! Writing and reading token shards from Python.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use gptbpe_core::Ids;
use gptbpe_core::publish;
use gptbpe_core::shard::format::{TokenType, hex};
use gptbpe_core::shard::reader::Tokens;
use gptbpe_core::shard::{
    Io, Manifest, ReaderOptions, ShardReader, ShardWriter, Verify, WriterOptions,
};
use numpy::{Element, IntoPyArray, PyArray1, PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::documents::EncodedBatch;
use crate::error::{ArgumentError, guard, to_python};
use crate::input::{Text, ids};

/// Replace a file by `data`: afterwards the old content or the new one is there, whole, even after a power cut.
#[pyfunction]
pub(crate) fn atomic_write(py: Python<'_>, path: PathBuf, data: &Bound<'_, PyAny>) -> PyResult<()> {
    guard(|| {
        let data = Text::new(data)?;
        let data = data.bytes()?;
        py.detach(|| publish::atomic_write(&path, data))
            .map_err(to_python)
    })
}

/// A file that is written bit by bit and appears whole, with `commit`, or not at all.
#[pyclass(module = "gptbpe._core")]
pub(crate) struct AtomicFile {
    file: Option<publish::AtomicFile>,
}

#[pymethods]
impl AtomicFile {
    #[new]
    fn new(path: PathBuf) -> PyResult<Self> {
        guard(|| {
            let file = publish::AtomicFile::create(&path).map_err(to_python)?;
            Ok(Self { file: Some(file) })
        })
    }

    fn write(&mut self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        guard(|| {
            let data = Text::new(data)?;
            let data = data.bytes()?;
            let file = self.file.as_mut().ok_or(ArgumentError::Closed)?;
            py.detach(|| file.write(data)).map_err(to_python)
        })
    }

    fn commit(&mut self, py: Python<'_>) -> PyResult<()> {
        guard(|| {
            let file = self.file.take().ok_or(ArgumentError::Closed)?;
            py.detach(|| file.commit()).map_err(to_python)
        })
    }

    /// Leaves nothing of the file, unless it was committed.
    fn close(&mut self) {
        self.file = None;
    }
}

fn io(name: &str) -> PyResult<Io> {
    match name {
        "mmap" => Ok(Io::Map),
        "pread" => Ok(Io::Pread),
        _ => Err(wrong("io", name, "\"mmap\" or \"pread\"")),
    }
}

/// Reads a dataset; see `gptbpe.shards.ShardReader`.
#[pyclass(module = "gptbpe._core", frozen)]
pub(crate) struct CoreShardReader {
    pub(crate) reader: Arc<ShardReader>,
}

#[pymethods]
impl CoreShardReader {
    #[staticmethod]
    fn open(
        py: Python<'_>,
        path: PathBuf,
        verify: &str,
        io: &str,
        vocab_size: Option<u32>,
    ) -> PyResult<Self> {
        guard(|| {
            let options = ReaderOptions {
                verify: match verify {
                    "open" => Verify::Open,
                    "lazy" => Verify::Lazy,
                    "full" => Verify::Full,
                    _ => return Err(wrong("verify", verify, "\"open\", \"lazy\" or \"full\"")),
                },
                io: self::io(io)?,
                vocab_size,
            };
            Self::new(py.detach(|| ShardReader::open(&path, options)))
        })
    }

    #[staticmethod]
    fn open_raw(path: PathBuf, dtype: &str, vocab_size: u32, io: &str) -> PyResult<Self> {
        guard(|| {
            let token_type = TokenType::from_name(dtype)
                .ok_or_else(|| wrong("dtype", dtype, "\"uint16\" or \"uint32\""))?;
            Self::new(ShardReader::open_raw(
                &path,
                token_type,
                vocab_size,
                self::io(io)?,
            ))
        })
    }

    #[getter]
    fn path(&self) -> &Path {
        self.reader.path()
    }

    #[getter]
    fn dtype(&self) -> &'static str {
        self.reader.token_type().name()
    }

    #[getter]
    fn vocab_size(&self) -> Option<u32> {
        self.reader.vocab_size()
    }

    #[getter]
    fn fingerprint(&self) -> Option<String> {
        self.reader.fingerprint().map(|bytes| hex(&bytes))
    }

    #[getter]
    fn digest(&self) -> String {
        hex(&self.reader.digest())
    }

    #[getter]
    fn total_tokens(&self) -> u64 {
        self.reader.total_tokens()
    }

    #[getter]
    fn source_bytes(&self) -> Option<u64> {
        self.reader.source_bytes()
    }

    /// The manifest as JSON.
    #[getter]
    fn manifest<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        guard(|| {
            let bytes = self.reader.manifest().map(Manifest::to_bytes);
            Ok(bytes.map(|bytes| PyBytes::new(py, &bytes)))
        })
    }

    /// (file, tokens) of every shard.
    fn shards(&self) -> Vec<(PathBuf, u64)> {
        let shard = |number| {
            let path = self.reader.shard_path(number).unwrap_or(Path::new(""));
            (path.to_path_buf(), self.reader.shard_tokens(number))
        };
        (0..self.reader.shards()).map(shard).collect()
    }

    fn tokens<'py>(
        &self,
        py: Python<'py>,
        shard: usize,
        start: u64,
        stop: u64,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let tokens = py.detach(|| self.reader.tokens(shard, start, stop));
            Ok(match tokens.map_err(to_python)? {
                Tokens::U16(ids) => read_only(ids.into_pyarray(py)),
                Tokens::U32(ids) => read_only(ids.into_pyarray(py)),
            })
        })
    }

    /// Where each document ends, or None for files that do not say.
    fn documents<'py>(
        &self,
        py: Python<'py>,
        shard: usize,
    ) -> PyResult<Option<Bound<'py, PyArray1<u32>>>> {
        guard(|| {
            let ends = py
                .detach(|| self.reader.documents(shard))
                .map_err(to_python)?;
            Ok(ends.map(|ends| ends.into_pyarray(py)))
        })
    }

    /// Reads and checks all of a shard; `progress` counts the bytes of tokens that are done.
    #[pyo3(signature = (shard, progress=None))]
    fn check(
        &self,
        py: Python<'_>,
        shard: usize,
        progress: Option<PyRef<'_, ReadProgress>>,
    ) -> PyResult<()> {
        guard(|| {
            let done = progress.map(|progress| Arc::clone(&progress.bytes));
            let report = |bytes| {
                if let Some(done) = &done {
                    done.fetch_add(bytes, Ordering::Relaxed);
                }
            };
            py.detach(|| self.reader.check_with(shard, report))
                .map_err(to_python)
        })
    }

    fn tokenizer_json<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        guard(|| {
            let json = self.reader.tokenizer_json().map_err(to_python)?;
            Ok(json.map(|json| PyBytes::new(py, &json)))
        })
    }

    fn expect_fingerprint(&self, expected: &str) -> PyResult<()> {
        guard(|| {
            let expected = fingerprint(expected)?;
            self.reader.expect_fingerprint(&expected).map_err(to_python)
        })
    }
}

impl CoreShardReader {
    fn new(reader: gptbpe_core::Result<ShardReader>) -> PyResult<Self> {
        Ok(Self {
            reader: Arc::new(reader.map_err(to_python)?),
        })
    }
}

fn read_only<T: Element>(array: Bound<'_, PyArray1<T>>) -> Bound<'_, PyAny> {
    array.readwrite().make_nonwriteable();
    array.into_any()
}

/// Bytes that were read so far, by threads that do not wait for whoever asks.
#[pyclass(module = "gptbpe._core", frozen)]
pub(crate) struct ReadProgress {
    bytes: Arc<AtomicU64>,
}

#[pymethods]
impl ReadProgress {
    #[new]
    fn new() -> Self {
        Self {
            bytes: Arc::default(),
        }
    }

    #[getter]
    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Writes a dataset; see `gptbpe.shards.ShardWriter`.
#[pyclass(module = "gptbpe._core", frozen)]
pub(crate) struct CoreShardWriter {
    vocab_size: u32,
    writer: Mutex<Option<ShardWriter>>,
    /// The process that made it. In a forked child a thread that is not there may hold the lock for ever.
    process: u32,
}

#[pymethods]
impl CoreShardWriter {
    #[new]
    #[allow(clippy::too_many_arguments)] // the options of one dataset
    fn new(
        py: Python<'_>,
        path: PathBuf,
        vocab_size: u32,
        fingerprint: Option<&str>,
        bos: Option<u32>,
        eos: Option<u32>,
        shard_tokens: u64,
        options: BTreeMap<String, String>,
        resume: bool,
        journal: Option<Vec<u8>>,
        force: bool,
    ) -> PyResult<Self> {
        guard(|| {
            let options = WriterOptions {
                vocab_size,
                fingerprint: fingerprint.map_or(Ok([0; 32]), self::fingerprint)?,
                tokenizer_json: None,
                bos,
                eos,
                shard_tokens,
                options,
                resume,
                journal,
                force,
            };
            let writer = py
                .detach(|| ShardWriter::create(&path, options))
                .map_err(to_python)?;
            Ok(Self {
                vocab_size,
                writer: Mutex::new(Some(writer)),
                process: std::process::id(),
            })
        })
    }

    #[getter]
    fn resumed_documents(&self, py: Python<'_>) -> PyResult<u64> {
        guard(|| self.with(py, |writer| Ok(writer.resumed_documents())))
    }

    /// Whether the dataset was already there, whole.
    #[getter]
    fn finished(&self, py: Python<'_>) -> PyResult<bool> {
        guard(|| self.with(py, |writer| Ok(writer.finished().is_some())))
    }

    /// Stores which inputs these are.
    fn begin(&self, py: Python<'_>) -> PyResult<()> {
        guard(|| self.with(py, ShardWriter::begin))
    }

    fn write(&self, py: Python<'_>, ids: &Bound<'_, PyAny>, source_bytes: u64) -> PyResult<()> {
        guard(|| {
            let ids = self::ids(ids, self.vocab_size as usize)?;
            self.with(py, |writer| match &ids {
                Ids::Narrow(ids) => writer.write(ids, source_bytes),
                Ids::Wide(ids) => writer.write(ids, source_bytes),
            })
        })
    }

    /// Document `i` is `ids[offsets[i]:offsets[i + 1]]`; the last one goes on with the next call if it is `open`.
    #[pyo3(signature = (ids, offsets, source_bytes, open=false))]
    fn write_ragged(
        &self,
        py: Python<'_>,
        ids: &Bound<'_, PyAny>,
        offsets: PyReadonlyArray1<'_, i64>,
        source_bytes: PyReadonlyArray1<'_, i64>,
        open: bool,
    ) -> PyResult<()> {
        guard(|| {
            let ids = self::ids(ids, self.vocab_size as usize)?;
            let (offsets, bytes) = (offsets.as_slice()?, source_bytes.as_slice()?);
            if offsets.len() != bytes.len() + 1 {
                let (offsets, documents) = (offsets.len(), bytes.len());
                return Err(ArgumentError::OffsetCount { offsets, documents }.into());
            }
            let offsets = whole::<usize>(offsets).ok_or(ArgumentError::Offsets)?;
            let bytes = whole::<u64>(bytes).ok_or(ArgumentError::TextBytes)?;
            self.with(py, |writer| match &ids {
                Ids::Narrow(ids) => writer.write_batch(ids, &offsets, &bytes, open),
                Ids::Wide(ids) => writer.write_batch(ids, &offsets, &bytes, open),
            })
        })
    }

    /// Appends the documents of a batch, of which the first and the last may be parts.
    fn write_batch(&self, py: Python<'_>, batch: &EncodedBatch) -> PyResult<()> {
        guard(|| {
            let (offsets, bytes) = (&batch.ragged.offsets, &batch.text_bytes);
            self.with(py, |writer| match &batch.ragged.ids {
                Ids::Narrow(ids) => writer.write_batch(ids, offsets, bytes, batch.open),
                Ids::Wide(ids) => writer.write_batch(ids, offsets, bytes, batch.open),
            })
        })
    }

    /// Makes a shard of another folder the next one, without a copy of its tokens.
    fn adopt(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        guard(|| self.with(py, |writer| writer.adopt(&path)))
    }

    /// Stores the tokenizer beside the shards.
    fn store_tokenizer(&self, py: Python<'_>, json: &Bound<'_, PyBytes>) -> PyResult<()> {
        guard(|| {
            let json = json.as_bytes();
            self.with(py, |writer| writer.store_tokenizer(json))
        })
    }

    /// Publishes the rest and the manifest, which is returned as JSON.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        guard(|| {
            self.check_process()?;
            let finished = py.detach(|| Some(self.lock().take()?.finish()));
            let manifest = finished.ok_or(ArgumentError::Closed)?.map_err(to_python)?;
            Ok(PyBytes::new(py, &manifest.to_bytes()))
        })
    }

    /// Gives the folder free; what is not finished stays unfinished.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        guard(|| {
            if self.check_process().is_ok() {
                py.detach(|| drop(self.lock().take()));
            }
            Ok(())
        })
    }
}

/// Numbers from numpy, none of which may be negative.
fn whole<T: TryFrom<i64>>(values: &[i64]) -> Option<Vec<T>> {
    values.iter().map(|&value| value.try_into().ok()).collect()
}

impl CoreShardWriter {
    /// Waits while another thread writes, so the GIL must not be held.
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<ShardWriter>> {
        self.writer
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn check_process(&self) -> PyResult<()> {
        if self.process == std::process::id() {
            Ok(())
        } else {
            Err(ArgumentError::Forked.into())
        }
    }

    fn with<T: Send>(
        &self,
        py: Python<'_>,
        body: impl FnOnce(&mut ShardWriter) -> gptbpe_core::Result<T> + Send,
    ) -> PyResult<T> {
        self.check_process()?;
        py.detach(|| self.lock().as_mut().map(body))
            .ok_or(ArgumentError::Closed)?
            .map_err(to_python)
    }
}

pub(crate) fn wrong(name: &'static str, found: &str, expected: &'static str) -> PyErr {
    let found = found.to_owned();
    ArgumentError::Choice {
        name,
        found,
        expected,
    }
    .into()
}

/// A fingerprint from 64 hexadecimal digits.
pub(crate) fn fingerprint(text: &str) -> PyResult<[u8; 32]> {
    gptbpe_core::shard::format::unhex(text)
        .ok_or_else(|| wrong("fingerprint", text, "64 lower-case hexadecimal digits"))
}
