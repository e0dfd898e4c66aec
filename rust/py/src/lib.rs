//! `gptbpe._core`: take Python values, release the GIL, call the core, convert back.
//!
//! No policy lives here: defaults, names and documentation are `python/gptbpe`'s.

mod error;
mod input;

use pyo3::prelude::*;

/// The compiled core of gptbpe.
#[pymodule(gil_used = false)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
