//! Which window of which shard is training sample number `g`?
//!
//! The answer depends on the plan (dataset, seed, sequence length, order) and on `g`, on nothing else. So every number of ranks
//! and workers reads the same global batches, resuming takes one integer, and any batch can be looked at by its number.
//! Nothing is materialised: 8 bytes per shard, and the tables of small permutations.
//!
//! **Windows.** A window is `sequence_length` inputs and as many targets, which are the inputs shifted by one, so it
//! needs `sequence_length + 1` tokens. Windows lie within a shard and begin `stride` apart:
//! `(tokens - 1 - sequence_length) / stride + 1` of them. What is left at a shard's end is below one window; [`Partial::Drop`] leaves it out,
//! [`Partial::Pad`] makes a last window of it whose missing targets are -1, so that every token but a shard's first is
//! a target exactly once.
//!
//! **Epochs.** Sample `g` is number `g mod N` of epoch `g / N`. In the random orders the windows of epoch 1, 2, … begin
//! at another phase below the stride, so that their edges move; a window that would run over the end is moved back to it. So
//! N stays the same, and in those epochs fewer than `stride` tokens per shard are left out at the beginning while as many may be seen twice at the end.
//!
//! **Overlap.** With a stride below the sequence length neighbours share tokens. For measuring perplexity `mask_overlap` sets the
//! first `sequence_length - stride` targets of all but a shard's first window to -1: each token is scored once, with at least that much context.
//!
//! **Packing.** With `pack` a sample is not a window but a row of whole documents, side by side, as `packing` places them;
//! only documents longer than a row are cut. Every token is an input exactly once an epoch, and every token but a
//! document's first is a target exactly once. The target of a document's last token is -1, and so are those of the padding.
//!
//! The orders are in [`super::order`].

use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::format::hex;
pub use super::order::Order;
use super::order::{Cursor, Orders};
use super::packed::{Documents, Packed, PackedRow};
use super::packing::group_size;
use super::reader::{Id, ShardReader};
use super::rows::{Marks, RowScratch, Segment, ignore};
pub use super::sampler_options::{Partial, SamplerOptions};
use super::widen::{last, shifted};
pub use super::windows::Window;
use super::windows::Windows;
use crate::{Error, Result};

/// A plan over a dataset; can be shared among threads.
#[derive(Debug)]
pub struct Sampler {
    options: SamplerOptions,
    layout: Layout,
    orders: Orders,
    documents: Documents,
    reader: Arc<ShardReader>,
}

/// What stands at the places of the text.
#[derive(Debug)]
enum Layout {
    Windows(Windows),
    Packed(Packed),
}

impl Sampler {
    /// Plans the windows of a dataset, or its packed rows.
    pub fn new(reader: Arc<ShardReader>, options: SamplerOptions) -> Result<Self> {
        options.validate()?;
        let mut tokens: Vec<u64> = (0..reader.shards())
            .map(|shard| reader.shard_tokens(shard))
            .collect();
        let mut reserved = options.reserve;
        for shard in tokens.iter_mut().rev() {
            let taken = reserved.min(*shard);
            *shard -= taken;
            reserved -= taken;
        }
        let longest = tokens.iter().copied().max().unwrap_or(0);
        let documents = Documents::new(reader.clone(), tokens.clone());
        let layout = if options.pack {
            Layout::Packed(Packed::new(options.sequence_length, &documents)?)
        } else {
            Layout::Windows(Windows::new(options, tokens))
        };
        let samples = match &layout {
            Layout::Windows(windows) => windows.len(),
            Layout::Packed(packed) => packed.len(),
        };
        if samples == 0 {
            return Err(Error::TooFewTokens {
                path: PathBuf::from(reader.path()),
                sequence_length: options.sequence_length,
                needed: match (options.pack, options.partial) {
                    (true, _) => 1,
                    (false, Partial::Drop) => options.sequence_length + 1,
                    (false, Partial::Pad) => 2,
                },
                longest,
            });
        }
        Ok(Self {
            options,
            layout,
            orders: Orders::new(options.order, samples, options.seed, options.source),
            documents,
            reader,
        })
    }

    /// The dataset.
    pub fn reader(&self) -> &Arc<ShardReader> {
        &self.reader
    }

    /// The plan.
    pub fn options(&self) -> &SamplerOptions {
        &self.options
    }

    /// Samples per epoch.
    pub fn len(&self) -> u64 {
        self.orders.len()
    }

    /// Never: there is at least one sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// sha256 over everything that decides which tokens a sample number stands for.
    pub fn fingerprint(&self) -> [u8; 32] {
        let SamplerOptions {
            sequence_length,
            stride,
            seed,
            order,
            mask_overlap,
            partial,
            reserve,
            pack,
            source,
        } = self.options;
        let partial = match partial {
            Partial::Drop => "drop",
            Partial::Pad => "pad",
        };
        let mut plan = vec![format!(
            "gptbpe sampler 1\ndataset {}\nsequence_length {sequence_length}\nstride {stride}\nseed {seed}\n\
             order {}\nmask_overlap {mask_overlap}\npartial {partial}\nreserve {reserve}\n",
            hex(&self.reader().digest()),
            order.name(),
        )];
        // What earlier versions did not have is not named where it is not used, so that their states stay valid.
        if pack {
            plan.push(format!(
                "packing best-fit {}\n",
                group_size(sequence_length)
            ));
        }
        let shards = self.reader().shards();
        if shards > 1 && reserve > self.reader().shard_tokens(shards - 1) {
            plan.push("reserve from several shards\n".to_owned());
        }
        if source > 0 {
            plan.push(format!("source {source}\n"));
        }
        Sha256::digest(plan.concat()).into()
    }

    /// Refuses a state that was saved under another plan.
    pub fn expect_fingerprint(&self, expected: &[u8; 32]) -> Result<()> {
        let found = self.fingerprint();
        if found == *expected {
            return Ok(());
        }
        Err(Error::FingerprintMismatch {
            path: self.reader().path().to_path_buf(),
            what: "sampler plan",
            expected: hex(expected),
            found: hex(&found),
        })
    }

    /// Where sample `number` lies; nothing for packed rows, which lie in many places.
    pub fn window(&self, number: u64) -> Option<Window> {
        let (epoch, place) = self.orders.place(number, &mut Cursor::default());
        match &self.layout {
            Layout::Windows(windows) => Some(windows.at(place, self.phase(epoch))),
            Layout::Packed(_) => None,
        }
    }

    /// Fills one row, and says where the documents in it end and which targets do not count, if that is wanted.
    pub(crate) fn row<T: Id>(
        &self,
        number: u64,
        inputs: &mut [T],
        targets: &mut [T],
        scratch: &mut RowScratch,
        mut marks: Option<&mut Marks>,
    ) -> Result<()> {
        if let Some(marks) = &mut marks {
            marks.clear();
        }
        let (epoch, place) = self.orders.place(number, &mut scratch.cursor);
        match &self.layout {
            Layout::Windows(windows) => {
                let window = windows.at(place, self.phase(epoch));
                self.window_row(window, inputs, targets, &mut scratch.bytes)?;
                marks.map_or(Ok(()), |marks| self.window_marks(window, marks))
            }
            Layout::Packed(packed) => {
                let row = packed.at(place, &self.documents)?;
                self.packed_row(&row, inputs, targets, &mut scratch.bytes, marks)
            }
        }
    }

    /// Lets the processor fetch the tokens of the sample that is the next row; those of packed rows lie in many places.
    pub(crate) fn prefetch(&self, number: u64, scratch: &mut RowScratch) {
        if let Layout::Windows(windows) = &self.layout {
            let (epoch, place) = self.orders.place(number, &mut scratch.cursor);
            let window = windows.at(place, self.phase(epoch));
            self.reader
                .prefetch_row(window.shard, window.start, window.tokens);
        }
    }

    fn window_row<T: Id>(
        &self,
        window: Window,
        inputs: &mut [T],
        targets: &mut [T],
        scratch: &mut Vec<u8>,
    ) -> Result<()> {
        let Window { shard, start, .. } = window;
        let count = window.tokens as usize;
        let bytes = self.reader.row(shard, start, count, scratch)?;
        let (there, padded) = inputs.split_at_mut(count - 1);
        let token_type = self.reader().token_type();
        let largest = shifted(token_type, bytes, there, &mut targets[..count - 1]);
        self.reader.check_row(shard, start, largest)?;
        padded.fill(T::default());
        for range in ignored(window, targets.len()) {
            ignore(targets, range);
        }
        Ok(())
    }

    fn window_marks(&self, window: Window, marks: &mut Marks) -> Result<()> {
        let segments = &mut marks.ends;
        let length = self.options.sequence_length;
        let documents = self.documents.ends(window.shard)?;
        let from = documents.partition_point(|&end| u64::from(end) <= window.start);
        let used = (window.tokens - 1).min(length);
        let segment = |end: u64, document_ends| Segment {
            end: end as usize,
            document_ends,
        };
        let ends = documents[from..]
            .iter()
            .map(|&end| u64::from(end) - window.start)
            .take_while(|&end| end <= used);
        segments.extend(ends.map(|end| segment(end, true)));
        for end in [used, length] {
            if segments.last().is_none_or(|last| (last.end as u64) < end) && end > 0 {
                segments.push(segment(end, false)); // a document that goes on, or padding
            }
        }
        marks.ignored.extend(ignored(window, length as usize));
        Ok(())
    }

    fn packed_row<T: Id>(
        &self,
        row: &PackedRow,
        inputs: &mut [T],
        targets: &mut [T],
        scratch: &mut Vec<u8>,
        mut marks: Option<&mut Marks>,
    ) -> Result<()> {
        let token_type = self.reader().token_type();
        let mut at = 0;
        for &fragment in row.rows.row(row.number) {
            let (start, length) = (u64::from(fragment.start), fragment.length());
            let (inputs, targets) = (&mut inputs[at..][..length], &mut targets[at..][..length]);
            let count = length + usize::from(fragment.goes_on());
            let bytes = self.reader.row(row.shard, start, count, scratch)?;
            let largest = shifted(
                token_type,
                bytes,
                &mut inputs[..count - 1],
                &mut targets[..count - 1],
            );
            self.reader.check_row(row.shard, start, largest)?;
            if !fragment.goes_on() {
                inputs[length - 1] = last(token_type, bytes);
                ignore(targets, length - 1..length);
            }
            at += length;
            if let Some(marks) = &mut marks {
                marks.ends.push(Segment {
                    end: at,
                    document_ends: !fragment.goes_on(),
                });
                if !fragment.goes_on() {
                    marks.ignored.push(at - 1..at);
                }
            }
        }
        inputs[at..].fill(T::default());
        let padding = ignore(targets, at..inputs.len());
        if let Some(marks) = marks
            && !padding.is_empty()
        {
            marks.ends.push(Segment {
                end: inputs.len(),
                document_ends: false,
            });
            marks.ignored.push(padding);
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn window_at_for_test(&self, epoch: u64, index: u64) -> (usize, u64) {
        let Layout::Windows(windows) = &self.layout else {
            unreachable!()
        };
        let window = windows.at(index, self.phase(epoch));
        (window.shard, window.start)
    }

    fn phase(&self, epoch: u64) -> u64 {
        self.orders.phase(epoch, self.options.stride)
    }
}

/// The columns of a window of that length whose targets do not count: those of the window before, and padding.
fn ignored(window: Window, length: usize) -> [std::ops::Range<usize>; 2] {
    [
        0..window.masked as usize,
        window.tokens as usize - 1..length,
    ]
}
