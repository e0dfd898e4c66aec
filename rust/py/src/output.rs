//! Plain Rust values in, Python values out: ids as lists and arrays, bytes as text.

use std::cell::Cell;
use std::convert::Infallible;
use std::ffi::CString;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use gptbpe_core::pattern::Pattern;
use gptbpe_core::{CheckedIds, Error, Ids};
use numpy::{IntoPyArray, PyArray1};
use pyo3::exceptions::PyUnicodeDecodeError;
use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyList, PyString, PyTuple};

use crate::error::to_python;

/// A pattern as Python gives one: a name, a regex, several regexes, or None.
pub(crate) fn shown_pattern<'py>(
    py: Python<'py>,
    pattern: &Pattern,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(match (pattern.regexes(), pattern.name()) {
        ([], _) => py.None().into_bound(py),
        (_, Some(name)) => PyString::new(py, name).into_any(),
        ([one], None) => PyString::new(py, one).into_any(),
        (several, None) => PyTuple::new(py, several)?.into_any(),
    })
}

/// A digest as text.
pub(crate) fn hexadecimal(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 * digest.len());
    for byte in digest {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Fewer ids are copied into an array: owning the vector of the core takes an object more.
const WORTH_OWNING: usize = 1 << 10;

/// The Python integers of ids, made when they are first asked for.
///
/// A list of ids takes most of its time and memory to make integers, and texts repeat their tokens.
#[derive(Default)]
pub(crate) struct Integers(OnceLock<Box<[Known]>>);

/// A place for the integer of an id: null until it is made, and owned by the place from then on.
#[derive(Default)]
struct Known(AtomicPtr<PyObject>);

impl Known {
    fn get<'py>(&self, py: Python<'py>, id: u32) -> Bound<'py, PyInt> {
        let known = self.0.load(Ordering::Acquire);
        if known.is_null() {
            return self.make(py, id);
        }
        // SAFETY: what is in a place is an integer and stays alive as long as the place, and longer than this call.
        unsafe { Bound::from_borrowed_ptr(py, known).cast_into_unchecked() }
    }

    #[cold]
    fn make<'py>(&self, py: Python<'py>, id: u32) -> Bound<'py, PyInt> {
        let integer = PyInt::new(py, id);
        let owned = integer.clone().into_ptr();
        let none = std::ptr::null_mut();
        let kept = self
            .0
            .compare_exchange(none, owned, Ordering::AcqRel, Ordering::Relaxed);
        if kept.is_err() {
            // SAFETY: another thread was first, so this reference is still ours to give up.
            drop(unsafe { Bound::from_owned_ptr(py, owned) });
        }
        integer
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        let known = *self.0.get_mut();
        if !known.is_null() {
            // SAFETY: the place owns a reference, and is not used after this.
            Python::attach(|py| drop(unsafe { Bound::from_owned_ptr(py, known) }));
        }
    }
}

impl Integers {
    /// Ids smaller than `vocab_size` as a list.
    pub(crate) fn list<'py, I: Copy + Into<u32>>(
        &self,
        py: Python<'py>,
        ids: &[I],
        vocab_size: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        let none = || (0..vocab_size).map(|_| Known::default()).collect();
        let known = self.0.get_or_init(none);
        let listed = |&id: &I| Listed {
            known,
            id: id.into(),
        };
        if ids.len() < BETWEEN_SIGNALS {
            return PyList::new(py, ids.iter().map(listed));
        }
        let made = Cell::new(0);
        let heard = |id: &I| Heard {
            listed: listed(id),
            made: &made,
        };
        PyList::new(py, ids.iter().map(heard))
    }

    /// Some of several ids as a list.
    pub(crate) fn range<'py>(
        &self,
        py: Python<'py>,
        ids: &Ids,
        range: std::ops::Range<usize>,
        vocab_size: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        match ids {
            Ids::Narrow(ids) => self.list(py, &ids[range], vocab_size),
            Ids::Wide(ids) => self.list(py, &ids[range], vocab_size),
        }
    }
}

/// An id on its way into a list.
struct Listed<'a> {
    known: &'a [Known],
    id: u32,
}

impl<'py> IntoPyObject<'py> for Listed<'_> {
    type Target = PyInt;
    type Output = Bound<'py, PyInt>;
    type Error = Infallible;

    #[inline]
    fn into_pyobject(self, py: Python<'py>) -> Result<Bound<'py, PyInt>, Infallible> {
        Ok(match self.known.get(self.id as usize) {
            Some(known) => known.get(py, self.id),
            None => PyInt::new(py, self.id),
        })
    }
}

/// How many integers are listed between two looks for signals.
const BETWEEN_SIGNALS: usize = 1 << 18;

/// The same in a long list, which takes seconds to make, so Ctrl-C is heard meanwhile.
struct Heard<'a> {
    listed: Listed<'a>,
    made: &'a Cell<usize>,
}

impl<'py> IntoPyObject<'py> for Heard<'_> {
    type Target = PyInt;
    type Output = Bound<'py, PyInt>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Bound<'py, PyInt>> {
        let made = self.made.get() + 1;
        self.made.set(made);
        if made.is_multiple_of(BETWEEN_SIGNALS) {
            py.check_signals()?;
        }
        let Ok(integer) = self.listed.into_pyobject(py);
        Ok(integer)
    }
}

/// Ids as a numpy array, which owns the vector if it is long: uint16 where every id fits.
pub(crate) fn array(py: Python<'_>, ids: Ids, vocab_size: usize) -> Bound<'_, PyAny> {
    match ids {
        Ids::Narrow(ids) if ids.len() < WORTH_OWNING => PyArray1::from_slice(py, &ids).into_any(),
        Ids::Narrow(ids) => ids.into_pyarray(py).into_any(),
        Ids::Wide(ids) if vocab_size > 1 << 16 => {
            if ids.len() < WORTH_OWNING {
                PyArray1::from_slice(py, &ids).into_any()
            } else {
                ids.into_pyarray(py).into_any()
            }
        }
        Ids::Wide(ids) => {
            let narrow: Vec<u16> = ids.into_iter().map(|id| id as u16).collect();
            narrow.into_pyarray(py).into_any()
        }
    }
}

/// The bytes that ids stand for, written where Python keeps them.
pub(crate) fn bytes<'py, I: Copy + Into<u32> + Sync>(
    py: Python<'py>,
    ids: &CheckedIds<'_, I>,
) -> PyResult<Bound<'py, PyBytes>> {
    let length = ids.length();
    // PyO3 would panic at a length that is negative to Python.
    if isize::try_from(length).is_err() {
        return Err(to_python(Error::OutOfMemory { bytes: length }));
    }
    let write = |room: &mut [u8]| {
        if length < WORTH_DETACHING {
            ids.write(room);
        } else {
            py.detach(|| ids.write(room));
        }
        Ok(())
    };
    // Nothing else can go wrong there.
    PyBytes::new_with(py, length, write)
        .map_err(|_| to_python(Error::OutOfMemory { bytes: length }))
}

/// Shorter work is done with the GIL: to give it away and get it back takes as long as to encode a word.
pub(crate) const WORTH_DETACHING: usize = 1 << 11;

/// Bytes as text, with Python's treatment of what is not UTF-8.
pub(crate) fn text<'py>(
    py: Python<'py>,
    bytes: &[u8],
    errors: &str,
) -> PyResult<Bound<'py, PyString>> {
    match PyString::from_bytes(py, bytes) {
        Err(error) if error.is_instance_of::<PyUnicodeDecodeError>(py) => {
            let bytes = PyBytes::new_with(py, bytes.len(), |room| {
                room.copy_from_slice(bytes);
                Ok(())
            })?;
            let errors = CString::new(errors)?;
            PyString::from_encoded_object(bytes.as_any(), Some(c"utf-8"), Some(&errors))
        }
        result => result,
    }
}
