//! Writing and reading token shards from Python.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use gptbpe_core::Ids;
use gptbpe_core::publish;
use gptbpe_core::shard::format::{TokenType, hex};
use gptbpe_core::shard::reader::{MappedTokens, Tokens};
use gptbpe_core::shard::{
    Io, Manifest, ReaderOptions, ShardReader, ShardWriter, Verify, WriterOptions,
};
use numpy::ndarray::ArrayView1;
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

/// Reads a dataset; see `gptbpe.shards.ShardReader`.
#[pyclass(module = "gptbpe._core", frozen)]
pub(crate) struct CoreShardReader {
    pub(crate) reader: Arc<ShardReader>,
}

/// Holds a map while numpy looks into it.
#[pyclass(module = "gptbpe._core", frozen)]
struct MapGuard {
    #[allow(dead_code)] // held, not used
    tokens: MappedTokens,
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
                io: io_mode(io)?,
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
                io_mode(io)?,
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
            match (tokens.map_err(to_python)?, self.reader.token_type()) {
                (Tokens::Mapped(tokens), TokenType::U16) => view::<u16>(py, tokens),
                (Tokens::Mapped(tokens), TokenType::U32) => view::<u32>(py, tokens),
                (Tokens::Read(bytes), TokenType::U16) => {
                    let ids = bytes
                        .chunks_exact(2)
                        .map(|b| u16::from_le_bytes([b[0], b[1]]));
                    Ok(read_only(ids.collect::<Vec<_>>().into_pyarray(py)))
                }
                (Tokens::Read(bytes), TokenType::U32) => {
                    let ids = bytes.chunks_exact(4);
                    let ids = ids.map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                    Ok(read_only(ids.collect::<Vec<_>>().into_pyarray(py)))
                }
            }
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

    /// Reads and checks all of a shard.
    fn check(&self, py: Python<'_>, shard: usize) -> PyResult<()> {
        guard(|| py.detach(|| self.reader.check(shard)).map_err(to_python))
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

/// An array over the map itself.
fn view<T: Element>(py: Python<'_>, tokens: MappedTokens) -> PyResult<Bound<'_, PyAny>> {
    let bytes = tokens.bytes();
    let (start, count) = (bytes.as_ptr().cast::<T>(), bytes.len() / size_of::<T>());
    if !start.is_aligned() {
        return Err(ArgumentError::Unaligned.into());
    }
    let holder = Bound::new(py, MapGuard { tokens })?.into_any();
    // SAFETY: `start` is aligned and followed by `count` integers, for which every bit pattern is valid. They lie in the map,
    // which does not move and lives as long as `holder`, the base object of the array; the array is made read-only before
    // anybody else sees it.
    let array = unsafe {
        let view = ArrayView1::from_shape_ptr(count, start);
        PyArray1::borrow_from_array(&view, holder)
    };
    Ok(read_only(array))
}

/// Writes a dataset; see `gptbpe.shards.ShardWriter`.
#[pyclass(module = "gptbpe._core", frozen)]
pub(crate) struct CoreShardWriter {
    vocab_size: u32,
    writer: Mutex<Option<ShardWriter>>,
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
                force,
            };
            let writer = py
                .detach(|| ShardWriter::create(&path, options))
                .map_err(to_python)?;
            Ok(Self {
                vocab_size,
                writer: Mutex::new(Some(writer)),
            })
        })
    }

    #[getter]
    fn resumed_documents(&self) -> PyResult<u64> {
        guard(|| self.with(|writer| Ok(writer.resumed_documents())))
    }

    /// Whether the dataset was already there, whole.
    #[getter]
    fn finished(&self) -> PyResult<bool> {
        guard(|| self.with(|writer| Ok(writer.finished().is_some())))
    }

    fn write(&self, py: Python<'_>, ids: &Bound<'_, PyAny>, source_bytes: u64) -> PyResult<()> {
        guard(|| {
            let ids = self::ids(ids, self.vocab_size as usize)?.into_wide();
            py.detach(|| self.with(|writer| writer.write(&ids, source_bytes)))
        })
    }

    /// Document `i` is `ids[offsets[i]:offsets[i + 1]]`.
    fn write_ragged(
        &self,
        py: Python<'_>,
        ids: &Bound<'_, PyAny>,
        offsets: PyReadonlyArray1<'_, i64>,
        source_bytes: PyReadonlyArray1<'_, i64>,
    ) -> PyResult<()> {
        guard(|| {
            let ids = self::ids(ids, self.vocab_size as usize)?.into_wide();
            let (offsets, bytes) = (offsets.as_slice()?, source_bytes.as_slice()?);
            let mut documents = Vec::with_capacity(bytes.len());
            for (pair, &bytes) in offsets.windows(2).zip(bytes) {
                let range = usize::try_from(pair[0])
                    .ok()
                    .zip(usize::try_from(pair[1]).ok());
                let document = range.and_then(|(start, stop)| ids.get(start..stop));
                match document.zip(u64::try_from(bytes).ok()) {
                    Some(document) => documents.push(document),
                    None => return Err(ArgumentError::Offsets.into()),
                }
            }
            if offsets.len() != bytes.len() + 1 {
                let (offsets, documents) = (offsets.len(), bytes.len());
                return Err(ArgumentError::OffsetCount { offsets, documents }.into());
            }
            py.detach(|| {
                self.with(|writer| {
                    documents
                        .iter()
                        .try_for_each(|(ids, bytes)| writer.write(ids, *bytes))
                })
            })
        })
    }

    /// Appends the documents of a batch, of which the first and the last may be parts.
    fn write_batch(&self, py: Python<'_>, batch: &EncodedBatch) -> PyResult<()> {
        guard(|| {
            py.detach(|| {
                self.with(|writer| match &batch.ragged.ids {
                    Ids::Narrow(ids) => write_parts(writer, ids, batch),
                    Ids::Wide(ids) => write_parts(writer, ids, batch),
                })
            })
        })
    }

    /// Stores the tokenizer beside the shards.
    fn store_tokenizer(&self, py: Python<'_>, json: &Bound<'_, PyBytes>) -> PyResult<()> {
        guard(|| {
            let json = json.as_bytes();
            py.detach(|| self.with(|writer| writer.store_tokenizer(json)))
        })
    }

    /// Publishes the rest and the manifest, which is returned as JSON.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        guard(|| {
            let writer = self.lock().take().ok_or(ArgumentError::Closed)?;
            let manifest = py.detach(|| writer.finish()).map_err(to_python)?;
            Ok(PyBytes::new(py, &manifest.to_bytes()))
        })
    }

    /// Gives the folder free; what is not finished stays unfinished.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        guard(|| {
            let writer = self.lock().take();
            py.detach(|| drop(writer));
            Ok(())
        })
    }
}

fn write_parts<I: Copy + Ord + Into<u32>>(
    writer: &mut ShardWriter,
    ids: &[I],
    batch: &EncodedBatch,
) -> gptbpe_core::Result<()> {
    let parts = batch.ragged.offsets.windows(2).zip(&batch.text_bytes);
    let last = batch.text_bytes.len().saturating_sub(1);
    for (number, (range, &text_bytes)) in parts.enumerate() {
        let ends = number < last || !batch.open;
        writer.write_part(&ids[range[0]..range[1]], text_bytes, ends)?;
    }
    Ok(())
}

impl CoreShardWriter {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<ShardWriter>> {
        self.writer
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn with<T>(
        &self,
        body: impl FnOnce(&mut ShardWriter) -> gptbpe_core::Result<T>,
    ) -> PyResult<T> {
        body(self.lock().as_mut().ok_or(ArgumentError::Closed)?).map_err(to_python)
    }
}

fn io_mode(io: &str) -> PyResult<Io> {
    match io {
        "mmap" => Ok(Io::Map),
        "pread" => Ok(Io::Read),
        _ => Err(wrong("io", io, "\"mmap\" or \"pread\"")),
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
