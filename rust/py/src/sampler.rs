//! The order of training samples, and batches of them, from Python.

use gptbpe_core::shard::format::hex;
use gptbpe_core::shard::reader::Id;
use gptbpe_core::shard::{Order, Partial, Sampler, SamplerOptions};
use numpy::{Element, PyArray2, PyArrayMethods, PyReadwriteArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::error::{ArgumentError, guard, to_python};
use crate::shard::{CoreShardReader, fingerprint, wrong};

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
            let sampler = Sampler::new(reader.reader.clone(), options).map_err(to_python)?;
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
                .map_err(to_python)
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
            Err(ArgumentError::NoBatch.into())
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
            let (found, targets) = (inputs.shape().to_vec(), targets.shape().to_vec());
            return Err(ArgumentError::BatchShape {
                found,
                targets,
                length,
            }
            .into());
        }
        let (mut inputs, mut targets) = (writable(inputs)?, writable(targets)?);
        let (inputs, targets) = (rows_of(&mut inputs)?, rows_of(&mut targets)?);
        py.detach(|| self.sampler.fill(first, inputs, targets))
            .map_err(to_python)
    }
}

fn writable<'py, T: Element>(
    array: &Bound<'py, PyArray2<T>>,
) -> PyResult<PyReadwriteArray2<'py, T>> {
    array.try_readwrite().map_err(|error| {
        let reason = error.to_string();
        ArgumentError::ReadOnly { reason }.into()
    })
}

fn rows_of<'a, T: Element>(array: &'a mut PyReadwriteArray2<'_, T>) -> PyResult<&'a mut [T]> {
    if !array.is_c_contiguous() {
        return Err(ArgumentError::NotContiguous.into());
    }
    Ok(array.as_slice_mut()?)
}
