//! The order of training samples, and batches of them, from Python.

use gptbpe_core::shard::format::hex;
use gptbpe_core::shard::reader::Id;
use gptbpe_core::shard::{Order, Partial, Sampler, SamplerOptions};
use numpy::{Element, PyArray2, PyArrayMethods, PyReadwriteArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::error::{ShardError, guard};
use crate::shard::{CoreShardReader, fingerprint, shard_error, wrong};

/// Plans samples; see `gptbpe.shards.Sampler`.
#[pyclass(module = "gptbpe._core", frozen)]
pub(crate) struct CoreSampler {
    sampler: Sampler,
}

#[pymethods]
impl CoreSampler {
    #[new]
    #[allow(clippy::too_many_arguments)] // one plan
    fn new(
        reader: &CoreShardReader,
        sequence_length: u64,
        stride: u64,
        seed: u64,
        order: &str,
        mask_overlap: bool,
        partial: &str,
        reserve: u64,
    ) -> PyResult<Self> {
        guard(|| {
            let options = SamplerOptions {
                sequence_length,
                stride,
                seed,
                order: match order {
                    "global" => Order::Global,
                    "block" => Order::BLOCK,
                    "sequential" => Order::Sequential,
                    _ => {
                        return Err(wrong(
                            "order",
                            order,
                            "\"global\", \"block\" or \"sequential\"",
                        ));
                    }
                },
                mask_overlap,
                partial: match partial {
                    "drop" => Partial::Drop,
                    "pad" => Partial::Pad,
                    _ => return Err(wrong("partial", partial, "\"drop\" or \"pad\"")),
                },
                reserve,
            };
            let sampler = Sampler::new(reader.reader.clone(), options).map_err(shard_error)?;
            Ok(Self { sampler })
        })
    }

    fn __len__(&self) -> usize {
        self.sampler.len() as usize
    }

    #[getter]
    fn fingerprint(&self) -> String {
        hex(&self.sampler.fingerprint())
    }

    fn expect_fingerprint(&self, expected: &str) -> PyResult<()> {
        guard(|| {
            let expected = fingerprint(expected)?;
            self.sampler
                .expect_fingerprint(&expected)
                .map_err(shard_error)
        })
    }

    /// (shard, start, tokens, masked targets) of a sample.
    fn window(&self, number: u64) -> PyResult<(usize, u64, u64, u64)> {
        guard(|| {
            let window = self.sampler.window(number);
            Ok((window.shard, window.start, window.tokens, window.masked))
        })
    }

    /// Fills two arrays (rows, `sequence_length`), both int64 or both int32.
    fn fill(
        &self,
        py: Python<'_>,
        first: u64,
        inputs: &Bound<'_, PyAny>,
        targets: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        guard(|| {
            if let (Ok(inputs), Ok(targets)) = (inputs.cast(), targets.cast()) {
                return self.fill_typed::<i64>(py, first, inputs, targets);
            }
            if let (Ok(inputs), Ok(targets)) = (inputs.cast(), targets.cast()) {
                return self.fill_typed::<i32>(py, first, inputs, targets);
            }
            Err(ShardError::new_err(
                "out must be two numpy arrays of two dimensions, both int64 or both int32",
            ))
        })
    }
}

impl CoreSampler {
    fn fill_typed<T: Id + Element>(
        &self,
        py: Python<'_>,
        first: u64,
        inputs: &Bound<'_, PyArray2<T>>,
        targets: &Bound<'_, PyArray2<T>>,
    ) -> PyResult<()> {
        let length = self.sampler.options().sequence_length as usize;
        let rows = inputs.shape()[0];
        if [inputs.shape(), targets.shape()] != [[rows, length]; 2] {
            return Err(ShardError::new_err(format!(
                "out has shapes {:?} and {:?}, expected (batch_size, {length}) twice",
                inputs.shape(),
                targets.shape()
            )));
        }
        let (mut inputs, mut targets) = (writable(inputs)?, writable(targets)?);
        let (inputs, targets) = (rows_of(&mut inputs)?, rows_of(&mut targets)?);
        py.detach(|| self.sampler.fill(first, inputs, targets))
            .map_err(shard_error)
    }
}

fn writable<'py, T: Element>(
    array: &Bound<'py, PyArray2<T>>,
) -> PyResult<PyReadwriteArray2<'py, T>> {
    array
        .try_readwrite()
        .map_err(|error| ShardError::new_err(format!("out cannot be written to: {error}")))
}

fn rows_of<'a, T: Element>(array: &'a mut PyReadwriteArray2<'_, T>) -> PyResult<&'a mut [T]> {
    if !array.is_c_contiguous() {
        return Err(ShardError::new_err(
            "out is not contiguous in C order; use numpy.empty",
        ));
    }
    Ok(array.as_slice_mut()?)
}
