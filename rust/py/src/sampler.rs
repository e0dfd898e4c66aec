//! The order of training samples, and batches of them, from Python.

use std::sync::Arc;
use std::time::Duration;

use gptbpe_core::shard::ahead::{Ahead, AheadOptions, Buffers, Spare, Waited};
use gptbpe_core::shard::fill::{self, Plan};
use gptbpe_core::shard::format::hex;
use gptbpe_core::shard::mixture::{Exhausted, Mixture, MixtureOptions, Source, Stage};
use gptbpe_core::shard::reader::Id;
use gptbpe_core::shard::rows::Masks;
use gptbpe_core::shard::{Order, Partial, Sampler, SamplerOptions};
use numpy::ndarray::ArrayView2;
use numpy::{Element, PyArray2, PyArrayMethods, PyReadwriteArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::error::{ArgumentError, guard, to_python};
use crate::shard::{CoreShardReader, fingerprint, wrong};

/// Plans samples of one dataset or of a mixture; see `gptbpe.Sampler` and `gptbpe.Mixture`.
#[pyclass(module = "gptbpe._core", frozen)]
pub(crate) struct CoreSampler {
    kind: Kind,
}

enum Kind {
    One(Arc<Sampler>),
    Mixed(Arc<Mixture>),
}

#[pymethods]
impl CoreSampler {
    #[new]
    #[allow(clippy::too_many_arguments)] // one plan
    fn new(
        py: Python<'_>,
        reader: &CoreShardReader,
        sequence_length: u64,
        stride: u64,
        seed: u64,
        order: &str,
        units: Option<(u64, u64)>,
        mask_overlap: bool,
        partial: &str,
        reserve: u64,
        pack: bool,
    ) -> PyResult<Self> {
        guard(|| {
            let options = SamplerOptions {
                sequence_length,
                stride,
                seed,
                order: match (order, units) {
                    ("block", None) => {
                        let width = reader.reader.token_type().bytes() as u64;
                        Order::blocks(stride.saturating_mul(width))
                    }
                    ("block", Some((io, window))) => Order::Block { io, window },
                    (_, Some(units)) => {
                        let found = format!("{units:?}");
                        return Err(wrong("units", &found, "none unless the order is \"block\""));
                    }
                    ("global", None) => Order::Global,
                    ("sequential", None) => Order::Sequential,
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
                pack,
                source: 0,
            };
            let reader = reader.reader.clone();
            let sampler = py
                .detach(|| Sampler::new(reader, options))
                .map_err(to_python)?;
            Ok(Self {
                kind: Kind::One(Arc::new(sampler)),
            })
        })
    }

    /// Mixes the datasets of samplers. Stages are (first sample, weights).
    #[staticmethod]
    fn mixture(
        py: Python<'_>,
        samplers: Vec<Py<CoreSampler>>,
        max_epochs: Vec<Option<f64>>,
        stages: Vec<(u64, Vec<f64>)>,
        seed: u64,
        block: u64,
        exhausted: &str,
    ) -> PyResult<Self> {
        guard(|| {
            let sources = samplers
                .iter()
                .zip(max_epochs)
                .map(|(sampler, max_epochs)| {
                    let Kind::One(sampler) = &sampler.get().kind else {
                        return Err(wrong("sources", "a mixture", "samplers"));
                    };
                    Ok(Source {
                        reader: sampler.reader().clone(),
                        options: *sampler.options(),
                        max_epochs,
                    })
                });
            let sources = sources.collect::<PyResult<_>>()?;
            let stages = stages.into_iter();
            let options = MixtureOptions {
                seed,
                block,
                stages: stages
                    .map(|(start, weights)| Stage { start, weights })
                    .collect(),
                exhausted: match exhausted {
                    "stop" => Exhausted::Stop,
                    "renormalise" => Exhausted::Renormalise,
                    _ => {
                        let names = "\"stop\" or \"renormalise\"";
                        return Err(wrong("exhausted", exhausted, names));
                    }
                },
            };
            let mixture = py
                .detach(|| Mixture::new(sources, options))
                .map_err(to_python)?;
            Ok(Self {
                kind: Kind::Mixed(Arc::new(mixture)),
            })
        })
    }

    /// Samples per epoch of one dataset, or of a mixture until it ends; None for one that does not.
    #[getter]
    fn length(&self) -> Option<u64> {
        match &self.kind {
            Kind::One(sampler) => Some(sampler.len()),
            Kind::Mixed(mixture) => mixture.length(),
        }
    }

    #[getter]
    fn fingerprint(&self) -> String {
        hex(&match &self.kind {
            Kind::One(sampler) => sampler.fingerprint(),
            Kind::Mixed(mixture) => mixture.fingerprint(),
        })
    }

    /// Refuses a state of another plan, to go on with sample `number`.
    fn expect_fingerprint(&self, expected: &str, number: u64) -> PyResult<()> {
        guard(|| {
            let expected = fingerprint(expected)?;
            let found = match &self.kind {
                Kind::One(sampler) => sampler.expect_fingerprint(&expected),
                Kind::Mixed(mixture) => mixture.expect_fingerprint(&expected, number),
            };
            found.map_err(to_python)
        })
    }

    /// (shard, start, tokens, masked targets) of a sample that is a window.
    fn window(&self, number: u64) -> PyResult<Option<(usize, u64, u64, u64)>> {
        guard(|| {
            let Kind::One(sampler) = &self.kind else {
                return Ok(None);
            };
            let window = sampler.window(number);
            Ok(window.map(|w| (w.shard, w.start, w.tokens, w.masked)))
        })
    }

    /// (source, sample there) of a sample of a mixture.
    fn source(&self, number: u64) -> PyResult<(usize, u64)> {
        guard(|| match &self.kind {
            Kind::One(_) => Ok((0, number)),
            Kind::Mixed(mixture) => mixture.source(number).map_err(to_python),
        })
    }

    /// Samples of each source per block, stage by stage.
    fn quotas(&self) -> Vec<Vec<u64>> {
        match &self.kind {
            Kind::One(_) => Vec::new(),
            Kind::Mixed(mixture) => mixture.quotas(),
        }
    }

    /// Fills two arrays (rows, `sequence_length`), both of one of the types that ids may have.
    fn fill(
        &self,
        py: Python<'_>,
        first: u64,
        inputs: &Bound<'_, PyAny>,
        targets: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        guard(|| self.fill_any(py, first, inputs, targets, None))
    }

    /// Fills inputs and targets, and what says which documents stand in them.
    #[allow(clippy::too_many_arguments)] // arrays of one batch
    fn fill_masked(
        &self,
        py: Python<'_>,
        first: u64,
        inputs: &Bound<'_, PyAny>,
        targets: &Bound<'_, PyAny>,
        cu_seqlens: &Bound<'_, PyArray2<i32>>,
        position_ids: &Bound<'_, PyArray2<i32>>,
        loss_mask: &Bound<'_, PyArray2<bool>>,
        boundaries: bool,
    ) -> PyResult<()> {
        guard(|| {
            let most = cu_seqlens.shape()[1].saturating_sub(1);
            let (mut cu_seqlens, mut position_ids) =
                (writable(cu_seqlens)?, writable(position_ids)?);
            let mut loss_mask = writable(loss_mask)?;
            let masks = Masks {
                cu_seqlens: rows_of(&mut cu_seqlens)?,
                position_ids: rows_of(&mut position_ids)?,
                loss_mask: rows_of(&mut loss_mask)?,
                most,
                boundaries,
            };
            self.fill_any(py, first, inputs, targets, Some(masks))
        })
    }

    /// A stream of batches that threads make ahead.
    #[allow(clippy::too_many_arguments)] // one stream
    fn ahead(
        &self,
        dtype: &str,
        first: u64,
        step: u64,
        rows: usize,
        batches: Option<u64>,
        depth: u64,
        threads: usize,
    ) -> PyResult<CoreAhead> {
        guard(|| {
            let options = AheadOptions {
                first,
                step,
                rows,
                batches,
                depth,
                threads,
            };
            let plan = self.plan();
            let stream = match dtype {
                "int64" => Stream::I64(begin(plan, options)?),
                "int32" => Stream::I32(begin(plan, options)?),
                "uint32" => Stream::U32(begin(plan, options)?),
                "uint16" => Stream::U16(begin(plan, options)?),
                _ => return Err(wrong("dtype", dtype, "int64, int32, uint32 or uint16")),
            };
            Ok(CoreAhead { stream, rows })
        })
    }
}

impl CoreSampler {
    fn plan(&self) -> Arc<dyn Plan> {
        match &self.kind {
            Kind::One(sampler) => sampler.clone(),
            Kind::Mixed(mixture) => mixture.clone(),
        }
    }

    /// Fills two arrays of one of the types that ids may have.
    fn fill_any(
        &self,
        py: Python<'_>,
        first: u64,
        inputs: &Bound<'_, PyAny>,
        targets: &Bound<'_, PyAny>,
        masks: Option<Masks<'_>>,
    ) -> PyResult<()> {
        macro_rules! of_type {
            ($($t:ty),*) => {$(
                if let (Ok(inputs), Ok(targets)) = (inputs.cast(), targets.cast()) {
                    return self.fill_typed::<$t>(py, first, inputs, targets, masks);
                }
            )*};
        }
        of_type!(i64, i32, u32, u16);
        Err(ArgumentError::NoBatch.into())
    }

    fn fill_typed<T: Id + Element>(
        &self,
        py: Python<'_>,
        first: u64,
        inputs: &Bound<'_, PyArray2<T>>,
        targets: &Bound<'_, PyArray2<T>>,
        masks: Option<Masks<'_>>,
    ) -> PyResult<()> {
        let plan = self.plan();
        let length = plan.sequence_length() as usize;
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
        py.detach(|| fill::fill(&*plan, first, inputs, targets, masks))
            .map_err(to_python)
    }
}

/// Batches that are made before they are asked for; see `gptbpe.Sampler.batches`.
#[pyclass(module = "gptbpe._core")]
pub(crate) struct CoreAhead {
    stream: Stream,
    rows: usize,
}

enum Stream {
    I64(Ahead<i64>),
    I32(Ahead<i32>),
    U32(Ahead<u32>),
    U16(Ahead<u16>),
}

/// Calls with the stream, of whatever type it is.
macro_rules! with_stream {
    ($stream:expr, $name:ident => $call:expr) => {
        match $stream {
            Stream::I64($name) => $call,
            Stream::I32($name) => $call,
            Stream::U32($name) => $call,
            Stream::U16($name) => $call,
        }
    };
}

/// A stream of a type that the plan can be said in.
fn begin<T: Id>(plan: Arc<dyn Plan>, options: AheadOptions) -> PyResult<Ahead<T>> {
    fill::check_type::<T>(&*plan, false)
        .and_then(|()| Ahead::new(plan, options))
        .map_err(to_python)
}

#[pymethods]
impl CoreAhead {
    fn __iter__(this: Bound<'_, Self>) -> Bound<'_, Self> {
        this
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Pair<'py>>> {
        guard(|| with_stream!(&mut self.stream, stream => next(py, stream, self.rows)))
    }

    /// Ends the threads.
    fn close(&mut self, py: Python<'_>) {
        py.detach(|| with_stream!(&mut self.stream, stream => stream.stop()));
    }
}

type Pair<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

/// How long a batch is waited for before Python may handle a signal.
const PATIENCE: Duration = Duration::from_millis(50);

fn next<'py, T: Id + Element + Sync>(
    py: Python<'py>,
    stream: &mut Ahead<T>,
    rows: usize,
) -> PyResult<Option<Pair<'py>>>
where
    HolderOf<T>: Into<Holder>,
{
    loop {
        match py.detach(|| stream.next(PATIENCE)).map_err(to_python)? {
            Waited::Batch(buffers) => {
                let holder = HolderOf {
                    buffers,
                    spare: Arc::clone(stream.spare()),
                };
                return arrays(py, holder, rows).map(Some);
            }
            Waited::NotYet => py.check_signals()?,
            Waited::End => return Ok(None),
        }
    }
}

/// Keeps the memory of two arrays, and gives it back when both are gone.
struct HolderOf<T> {
    buffers: Buffers<T>,
    spare: Arc<Spare<T>>,
}

impl<T> Drop for HolderOf<T> {
    fn drop(&mut self) {
        let buffers = Buffers {
            inputs: std::mem::take(&mut self.buffers.inputs),
            targets: std::mem::take(&mut self.buffers.targets),
        };
        self.spare.give(buffers);
    }
}

#[pyclass(module = "gptbpe._core", frozen)]
struct Holder {
    #[allow(dead_code)] // held, not used
    held: Held,
}

#[allow(dead_code)] // held, not used
enum Held {
    I64(HolderOf<i64>),
    I32(HolderOf<i32>),
    U32(HolderOf<u32>),
    U16(HolderOf<u16>),
}

macro_rules! impl_holder {
    ($($t:ty => $kind:ident),*) => {$(
        impl From<HolderOf<$t>> for Holder {
            fn from(holder: HolderOf<$t>) -> Self {
                Self {
                    held: Held::$kind(holder),
                }
            }
        }
    )*};
}
impl_holder!(i64 => I64, i32 => I32, u32 => U32, u16 => U16);

/// Two arrays (rows, sequence length) over the buffers of a batch.
fn arrays<T: Element>(py: Python<'_>, mut holder: HolderOf<T>, rows: usize) -> PyResult<Pair<'_>>
where
    HolderOf<T>: Into<Holder>,
{
    let Buffers { inputs, targets } = &mut holder.buffers;
    let parts = [inputs, targets].map(|buffer| (buffer.as_mut_ptr().cast_const(), buffer.len()));
    let holder: Bound<'_, Holder> = Bound::new(py, holder.into())?;
    let [inputs, targets] = parts.map(|(start, count)| {
        // SAFETY: `start` is followed by `count` integers of a vector that `holder` keeps, whose memory does not move with it. The
        // array has `holder` as its base object, so they outlive it, and nothing else reads or writes them until then:
        // the vector goes back to the threads that fill batches when `holder` is dropped.
        unsafe {
            let view = ArrayView2::from_shape_ptr((rows, count / rows), start);
            PyArray2::borrow_from_array(&view, holder.clone().into_any())
        }
        .into_any()
    });
    Ok((inputs, targets))
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
