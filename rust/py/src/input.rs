//! Python values in, plain Rust values out: text, ids, sets of special tokens, numbers of threads.
//!
//! Text is borrowed where Python promises that it never changes (`str`, whose UTF-8 form the interpreter caches, and
//! `bytes`), so that it can be read after the GIL is released. Other buffers (`bytearray`, `memoryview`, arrays of
//! bytes, mapped files) may be written by another thread at any time: they are copied first.

use std::thread::available_parallelism;

use gptbpe_core::pattern::Pattern;
use gptbpe_core::{Error, Ids, Kernel, SpecialNames, Text as CoreText};
use numpy::{Element, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyOverflowError, PyUnicodeEncodeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyList, PyMemoryView, PyString, PyTuple, PyTupleMethods};

use crate::error::{ArgumentError, TextError, to_python};

/// A piece of text that stays where Python keeps it.
pub(crate) enum Text<'py> {
    Str(Bound<'py, PyString>),
    Bytes(Bound<'py, PyBytes>),
}

impl<'py> Text<'py> {
    /// Takes `str`, `bytes` or any buffer of bytes.
    pub(crate) fn new(value: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(text) = value.cast::<PyString>() {
            return Ok(Self::Str(text.clone()));
        }
        if let Ok(bytes) = value.cast::<PyBytes>() {
            return Ok(Self::Bytes(bytes.clone()));
        }
        copy_buffer(value).map(Self::Bytes)
    }

    /// The UTF-8 (or raw) bytes, without a copy.
    pub(crate) fn bytes(&self) -> PyResult<&[u8]> {
        match self {
            Self::Str(text) => match text.to_str() {
                Ok(text) => Ok(text.as_bytes()),
                Err(error) => Err(surrogate_error(text, error)),
            },
            Self::Bytes(bytes) => Ok(bytes.as_bytes()),
        }
    }

    /// The text as the core takes it, which need not check the UTF-8 of a `str`.
    #[inline]
    pub(crate) fn core(&self) -> PyResult<CoreText<'_>> {
        match self {
            Self::Str(text) => match text.to_str() {
                Ok(text) => Ok(text.into()),
                Err(error) => Err(surrogate_error(text, error)),
            },
            Self::Bytes(bytes) => Ok(bytes.as_bytes().into()),
        }
    }

    /// Where character `n` of this text begins is byte `offsets[n]`: true only of `str`.
    pub(crate) fn is_str(&self) -> bool {
        matches!(self, Self::Str(_))
    }
}

fn copy_buffer<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let type_name = || {
        value
            .get_type()
            .name()
            .map_or_else(|_| "another type".to_owned(), |name| name.to_string())
    };
    let Ok(view) = PyMemoryView::from(value) else {
        return Err(ArgumentError::NoText { found: type_name() }.into());
    };
    let item_size: usize = view.getattr("itemsize")?.extract()?;
    if item_size != 1 {
        let found = type_name();
        return Err(ArgumentError::WideItems { found, item_size }.into());
    }
    Ok(value
        .py()
        .get_type::<PyBytes>()
        .call1((view,))?
        .cast_into::<PyBytes>()?)
}

fn surrogate_error(text: &Bound<'_, PyString>, error: PyErr) -> PyErr {
    let py = text.py();
    if !error.is_instance_of::<PyUnicodeEncodeError>(py) {
        return error;
    }
    let place = || -> PyResult<(usize, u32)> {
        let position: usize = error.value(py).getattr("start")?.extract()?;
        let character = text.get_item(position)?;
        let ord = py.import("builtins")?.getattr("ord")?;
        Ok((position, ord.call1((character,))?.extract()?))
    };
    match place() {
        Ok((position, code)) => ArgumentError::LoneSurrogate { position, code }.into(),
        Err(other) => other,
    }
}

/// Several texts: any iterable of what [`Text`] takes, but not one text by mistake.
pub(crate) fn texts<'py>(values: &Bound<'py, PyAny>) -> PyResult<Vec<Text<'py>>> {
    if values.is_instance_of::<PyString>() || values.is_instance_of::<PyBytes>() {
        return Err(ArgumentError::OneText.into());
    }
    let mut all = Vec::new();
    reserve(&mut all, values.len().unwrap_or(0).min(TRUSTED))?;
    for (index, value) in values.try_iter()?.enumerate() {
        hear_signals(values.py(), index)?;
        let text = Text::new(&value?).map_err(|error| name_the_text(values.py(), &error, index))?;
        reserve(&mut all, 1)?;
        all.push(text);
    }
    Ok(all)
}

/// Several texts as the core takes them; an error names the text by its index.
pub(crate) fn all_core<'a>(py: Python<'_>, texts: &'a [Text<'_>]) -> PyResult<Vec<CoreText<'a>>> {
    let texts = texts.iter().enumerate();
    texts
        .map(|(index, text)| {
            text.core()
                .map_err(|error| name_the_text(py, &error, index))
        })
        .collect()
}

fn name_the_text(py: Python<'_>, error: &PyErr, index: usize) -> PyErr {
    if error.is_instance_of::<TextError>(py) {
        TextError::new_err(format!("texts[{index}]: {}", error.value(py)))
    } else {
        error.clone_ref(py)
    }
}

/// Looks for signals now and then: an iterator that never ends need not run any Python code, which would.
#[inline]
pub(crate) fn hear_signals(py: Python<'_>, index: usize) -> PyResult<()> {
    const BETWEEN_LOOKS: usize = 1 << 16;
    if index % BETWEEN_LOOKS == BETWEEN_LOOKS - 1 {
        py.check_signals()?;
    }
    Ok(())
}

/// What `len` says is believed up to here: a `range` says anything, and memory for it may not be there.
const TRUSTED: usize = 1 << 16;

fn reserve<T>(values: &mut Vec<T>, more: usize) -> PyResult<()> {
    if values.capacity() - values.len() >= more {
        return Ok(());
    }
    values.try_reserve(more).map_err(|_| {
        let bytes = (values.len().saturating_add(more)).saturating_mul(size_of::<T>());
        to_python(Error::OutOfMemory { bytes })
    })
}

/// Token ids from any iterable of integers, or from what numpy takes for a one-dimensional array of an integer type.
/// They have 16 or 32 bits here; whether tokens have them is for the core to find out.
pub(crate) fn ids(values: &Bound<'_, PyAny>, vocab_size: usize) -> PyResult<Ids> {
    if let Ok(list) = values.cast::<PyList>() {
        let mut ids = Vec::new();
        reserve(&mut ids, list.len())?;
        return collect_ids(list.iter().map(Ok), ids, vocab_size);
    }
    if let Ok(array) = values.cast::<PyUntypedArray>() {
        return array_ids(array, vocab_size);
    }
    if let Ok(tuple) = values.cast::<PyTuple>() {
        return collect_ids(tuple.iter().map(Ok), Vec::new(), vocab_size);
    }
    if values.is_instance_of::<PyString>() || values.is_instance_of::<PyBytes>() {
        return Err(ArgumentError::TextForIds.into());
    }
    let py = values.py();
    // Tensors and the like, once and without a copy where they allow it.
    if values.hasattr(intern!(py, "__array__"))? {
        let numpy = py.import(intern!(py, "numpy"))?;
        let array = numpy.call_method1(intern!(py, "asarray"), (values,))?;
        return array_ids(array.cast::<PyUntypedArray>()?, vocab_size);
    }
    let iterator = values.try_iter().map_err(|_| ArgumentError::NoIds)?;
    collect_ids(iterator, Vec::new(), vocab_size)
}

/// An id that cannot be is an error at once: `range(10**10)` ends there instead of filling the memory.
fn collect_ids<'py>(
    values: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>,
    mut ids: Vec<u32>,
    vocab_size: usize,
) -> PyResult<Ids> {
    for (index, value) in values.enumerate() {
        let value = value?;
        hear_signals(value.py(), index)?;
        match value.extract::<u32>() {
            Ok(id) if (id as usize) < vocab_size => {
                reserve(&mut ids, 1)?;
                ids.push(id);
            }
            _ => return Err(bad_id(index, &value, vocab_size)),
        }
    }
    Ok(Ids::Wide(ids))
}

/// One id, as an argument of its own.
pub(crate) fn single_id(value: &Bound<'_, PyAny>, vocab_size: usize) -> PyResult<u32> {
    value
        .extract::<u32>()
        .map_err(|_| bad_id(0, value, vocab_size))
}

fn bad_id(index: usize, value: &Bound<'_, PyAny>, vocab_size: usize) -> PyErr {
    let shown = value
        .repr()
        .map_or_else(|_| "?".to_owned(), |text| text.to_string());
    let given = value.clone().unbind();
    ArgumentError::NoId {
        shown,
        index,
        given,
        vocab_size,
    }
    .into()
}

fn array_ids(array: &Bound<'_, PyUntypedArray>, vocab_size: usize) -> PyResult<Ids> {
    if array.ndim() != 1 {
        let dimensions = array.ndim();
        return Err(ArgumentError::ManyDimensions { dimensions }.into());
    }
    // Another thread may write to the array once the GIL is released, so its ids are copied, as wide as they are.
    if let Ok(typed) = array.cast::<PyArrayDyn<u16>>() {
        return copied(typed).map(Ids::Narrow);
    }
    if let Ok(typed) = array.cast::<PyArrayDyn<u32>>() {
        return copied(typed).map(Ids::Wide);
    }
    macro_rules! try_types {
        ($($type:ty),*) => {
            $(if let Ok(typed) = array.cast::<PyArrayDyn<$type>>() {
                return typed_ids::<$type>(typed, vocab_size).map(Ids::Wide);
            })*
        };
    }
    try_types!(i64, i32, u64, u8, i16, i8);
    // Floats, objects, other byte orders: one by one, so that the error names the first bad element.
    collect_ids(array.try_iter()?, Vec::new(), vocab_size)
}

fn copied<T: Element + Copy>(array: &Bound<'_, PyArrayDyn<T>>) -> PyResult<Vec<T>> {
    let view = array.try_readonly()?;
    let mut ids = Vec::new();
    reserve(&mut ids, view.len())?;
    match view.as_slice() {
        Ok(slice) => ids.extend_from_slice(slice),
        Err(_) => ids.extend(view.as_array().iter().copied()),
    }
    Ok(ids)
}

fn typed_ids<T>(array: &Bound<'_, PyArrayDyn<T>>, vocab_size: usize) -> PyResult<Vec<u32>>
where
    T: Element + Copy + TryInto<u32>,
{
    let view = array.try_readonly()?;
    let view = view.as_array();
    let mut ids = Vec::new();
    reserve(&mut ids, view.len())?;
    for (index, &value) in view.iter().enumerate() {
        match value.try_into() {
            Ok(id) => ids.push(id),
            Err(_) => return Err(bad_id(index, &array.get_item(index)?, vocab_size)),
        }
    }
    Ok(ids)
}

/// A number of tokens; more than there can be is as many as there are.
pub(crate) fn limit(name: &'static str, value: &Bound<'_, PyAny>) -> PyResult<usize> {
    match value.extract::<usize>() {
        Err(error) if error.is_instance_of::<PyOverflowError>(value.py()) => {
            if value.lt(0)? {
                let found = value.str()?.to_string();
                return Err(ArgumentError::Negative { name, found }.into());
            }
            Ok(usize::MAX)
        }
        result => result,
    }
}

/// Which special tokens a call means: `"all"`, or the names in an iterable.
pub(crate) enum Names {
    All,
    These(Vec<PyBackedStr>),
}

impl Names {
    pub(crate) fn new(argument: &'static str, value: &Bound<'_, PyAny>) -> PyResult<Self> {
        // The defaults, without comparing and without an iterator.
        if value.is(intern!(value.py(), "all")) {
            return Ok(Self::All);
        }
        if let Ok(text) = value.cast::<PyString>() {
            if text == "all" {
                return Ok(Self::All);
            }
            let found = text.repr()?.to_string();
            return Err(ArgumentError::NoNames { argument, found }.into());
        }
        if value.cast::<PyTuple>().is_ok_and(PyTupleMethods::is_empty) {
            return Ok(Self::These(Vec::new()));
        }
        let names = value.try_iter()?.map(|name| name?.extract());
        names.collect::<PyResult<_>>().map(Self::These)
    }

    /// Calls `f` with the names as the core takes them.
    pub(crate) fn with<T>(&self, f: impl FnOnce(SpecialNames<'_>) -> T) -> T {
        match self {
            Self::All => f(SpecialNames::All),
            Self::These(names) => {
                let names: Vec<&str> = names.iter().map(|name| &**name).collect();
                f(SpecialNames::These(&names))
            }
        }
    }
}

/// No more threads are started: each takes memory, whether there is a core for it or not.
const MOST_THREADS: usize = 1 << 10;

/// How many threads a call asks for, as far as that is sensible.
#[derive(Clone, Copy)]
pub(crate) struct Threads(usize);

impl<'py> FromPyObject<'_, 'py> for Threads {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if value.lt(1)? {
            let found = value.str()?.to_string();
            return Err(ArgumentError::NoThreads { found }.into());
        }
        Ok(Self(limit("threads", &value)?.min(MOST_THREADS)))
    }
}

/// The number of threads asked for, or one per core that this process may use.
pub(crate) fn threads(asked: Option<Threads>) -> usize {
    match asked {
        None => available_parallelism().map_or(1, std::num::NonZero::get),
        Some(Threads(count)) => count,
    }
}

/// The kernel of that name; None is the fastest of this machine.
pub(crate) fn kernel(name: Option<&str>) -> PyResult<Kernel> {
    let Some(name) = name else {
        return Ok(Kernel::best());
    };
    Kernel::named(name).ok_or_else(|| {
        let found = name.to_owned();
        ArgumentError::Kernel { found }.into()
    })
}

/// How many threads an argument stands for.
#[pyfunction]
pub(crate) fn thread_count(threads: Option<Threads>) -> usize {
    self::threads(threads)
}

/// A split pattern: a name or a regex, several regexes, or None.
pub(crate) fn pattern(value: &Bound<'_, PyAny>) -> PyResult<Pattern> {
    if value.is_none() {
        return Ok(Pattern::none());
    }
    if let Ok(text) = value.extract::<String>() {
        // What could be a name is one: as a regex it would match nothing but itself.
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        return if !text.is_empty() && text.chars().all(is_word) {
            Pattern::named(&text).map_err(to_python)
        } else {
            Ok(Pattern::regex(text))
        };
    }
    value
        .extract::<Vec<String>>()
        .map(Pattern::sequence)
        .map_err(|_| ArgumentError::NoPattern.into())
}
