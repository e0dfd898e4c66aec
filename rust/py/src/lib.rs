//! `gptbpe._core`: take Python values, release the GIL, call the core, convert back.
//!
//! No policy lives here: defaults, names and documentation are `python/gptbpe`'s, but for those of `codec`, whose methods
//! stand in the public class as they are.

// PyO3 hands arguments over by value.
#![allow(clippy::needless_pass_by_value)]

mod codec;
mod counts;
mod documents;
mod error;
mod input;
mod opened;
mod output;
mod sampler;
mod shard;
mod signals;
mod tokenizer;
mod train;

use pyo3::prelude::*;

/// The compiled core of gptbpe.
#[pymodule(gil_used = false)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::codec::Codec;
    #[pymodule_export]
    use crate::counts::CoreCountsFile;
    #[pymodule_export]
    use crate::documents::{DocumentBatch, DocumentBuffer, EncodedBatch};
    #[pymodule_export]
    use crate::input::thread_count;
    #[pymodule_export]
    use crate::sampler::{CoreAhead, CoreSampler};
    #[pymodule_export]
    use crate::shard::{AtomicFile, CoreShardReader, CoreShardWriter, ReadProgress, atomic_write};
    #[pymodule_export]
    use crate::signals::Cancel;
    #[pymodule_export]
    use crate::tokenizer::{CoreTokenizer, PyStreamDecoder};
    #[pymodule_export]
    use crate::train::WordCounter;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("GREATEST_ID", gptbpe_core::vocab::GREATEST_ID)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
