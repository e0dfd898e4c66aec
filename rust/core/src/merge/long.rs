//! Merging a long piece window by window, in time and memory linear in its length.
//!
//! One heap over a piece of many megabytes takes 24 bytes and more a byte, and waits for memory at each merge.
//! Windows of 64 bytes are merged in registers (`short`), larger ones by a heap that fits into a cache (`heap`), and the
//! results are joined: not approximately, but to exactly what one heap over the whole piece gives.
//!
//! # Why that is exact
//!
//! Merging repeats one step: of all neighbours that merge, the pair with the lowest number merges, the leftmost of
//! equals. Nothing else is assumed about the rules: numbers need not rise from parts to what they make.
//!
//! 1. *A stretch is merged as if alone, as long as no merge reaches over its ends.* Each merge in it was the first among
//!    all pairs of the text, so also among those of the stretch. Hence any neighbouring tokens of a result are the
//!    result for their own bytes.
//! 2. *Neighbours decide.* If each two neighbours of a sequence of tokens are the result for their joined bytes, the
//!    sequence is the result for all its bytes. Otherwise some merge is the first to reach over an end of one of
//!    these tokens: from inside a token `x` to inside the next token `y`. No merge before it reached over the ends of `xy`, so by 1
//!    all merges in `xy`, with this one, are those of `xy` alone. But merging `xy` alone gives `x` and `y`.
//! 3. *One token in common is enough.* Let `A` be the result for `text[..e]`, `B` the result for `text[p..b]`, and let both
//!    have a token at the same bytes. Follow `A` up to that token and `B` from it on. Any two neighbours of this sequence are
//!    neighbours in `A` or in `B`, so by 1 they are the result for their bytes, and by 2 the sequence is
//!    the result for `text[..b]`.
//!
//! So `Prefix` always holds the result for a prefix of the piece, and a window that shares a token with it makes
//! it longer. The symbol of a token follows from its bytes, by 1, so starts are all that is compared.
//!
//! # Why that is linear
//!
//! A window begins at a token of the prefix, some bytes before its end. By 1, its result and the prefix begin
//! there with the same token, unless the bytes after the prefix change that. How far back they can is bounded for a
//! vocabulary (for merges in a proper order, see Berglund and van der Merwe, *Formalizing BPE Tokenization*, 2023); in text it
//! is a few bytes. Where no token is shared, or a token is so long that little would be gained, a window eight times as
//! large is tried, which begins eight times as far back. The tries that fail cost a fraction of the one that does not, and the
//! next window is a small one again. A window that begins with the piece needs to share nothing, so at the worst the
//! whole piece ends up in one heap, in O(n log n).
//!
//! Beside the result a piece takes a bit a byte, and the heap of its largest window.

use super::heap::Heap;
use super::short::{self, merge_window};
use super::starts::{Starts, ones};
use super::{Asking, MergeRules};
use crate::Result;
use crate::memory::reserve;
use crate::simd::{Job, Kernel, Simd};

/// A window of `short` begins at least so far back; the other distance is tried where the one fails.
const BACK: [usize; 2] = [16, 32];
/// A window of `short` that gains less is not worth its time.
const LEAST_GAIN: usize = 8;
/// The smallest window of the heap.
const SMALLEST: usize = 2048;
/// Such a window begins this part of its length back.
const BACK_PART: usize = 8;
/// How much larger the next window is where one failed.
const GROWTH: usize = 8;

/// So many bytes tell how many symbols the others become.
const TELLING: usize = 1 << 16;

/// Reusable memory for long pieces.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    heap: Heap,
    starts: Starts,
}

/// Appends the symbols of a piece of any length. After an error some of them may be there.
pub(super) fn merge(
    rules: &MergeRules,
    piece: &[u8],
    buffers: &mut Buffers,
    out: &mut Vec<u32>,
    asking: &mut Asking<'_>,
) -> Result<()> {
    let Buffers { heap, starts } = buffers;
    starts.clear();
    let mut prefix = Prefix {
        rules,
        piece,
        out,
        starts,
        end: 0,
    };
    let merged = prefix.extend_to_the_end(heap, asking);
    heap.release();
    starts.release();
    merged
}

/// The result of merging a prefix of a piece.
struct Prefix<'a> {
    rules: &'a MergeRules,
    piece: &'a [u8],
    /// Ends with the symbols of the prefix.
    out: &'a mut Vec<u32>,
    /// Where they start, and `end`.
    starts: &'a mut Starts,
    end: usize,
}

impl Prefix<'_> {
    fn extend_to_the_end(&mut self, heap: &mut Heap, asking: &mut Asking<'_>) -> Result<()> {
        let kernel = Kernel::best();
        loop {
            kernel.run(ExtendByShort {
                prefix: &mut *self,
                asking: &mut *asking,
            })?;
            if self.end == self.piece.len() {
                return Ok(());
            }
            let mut size = SMALLEST;
            while !self.extend_by_heap(size, heap, asking)? {
                size = size.saturating_mul(GROWTH);
            }
        }
    }

    /// Merges a window in registers; `false`, and no change, if that cannot be joined.
    #[inline(always)]
    fn extend_by_short(&mut self, back: usize) -> Result<bool> {
        let from = self.window(back)?;
        let to = self.piece.len().min(from + short::LONGEST);
        if to < self.piece.len() && to < self.end + LEAST_GAIN {
            return Ok(false);
        }
        let merged = merge_window(self.rules, &self.piece[from..to]);
        let Some(join) = join(from, ones(self.starts.bits(from)), ones(merged.starts)) else {
            return Ok(false);
        };
        let starts = merged.starts >> join << join;
        self.replace(from + join, to)?;
        self.starts.insert_bits(from, starts);
        self.room(short::LONGEST)?;
        self.out
            .extend(ones(starts).map(|at| merged.symbols[at % short::LONGEST]));
        Ok(true)
    }

    /// Merges a window of `size` bytes by a heap; `false`, and no change, if that cannot be joined.
    fn extend_by_heap(
        &mut self,
        size: usize,
        heap: &mut Heap,
        asking: &mut Asking<'_>,
    ) -> Result<bool> {
        let from = self.window(size / BACK_PART)?;
        let to = self.piece.len().min(from.saturating_add(size));
        if to < self.piece.len() && to < self.end + size / 2 {
            return Ok(false);
        }
        heap.merge(self.rules, &self.piece[from..to], asking)?;
        let old = self.starts.from(from).map(|at| at - from);
        let Some(join) = join(from, old, heap.symbols().map(|(at, _)| at)) else {
            return Ok(false);
        };
        self.replace(from + join, to)?;
        for (at, symbol) in heap.symbols().skip_while(|&(at, _)| at < join) {
            self.starts.insert(from + at);
            self.room(1)?;
            self.out.push(symbol);
        }
        Ok(true)
    }

    /// Where a window begins that goes back by `back` bytes at least.
    #[inline(always)]
    fn window(&mut self, back: usize) -> Result<usize> {
        self.starts.cover(self.end)?;
        Ok(self.starts.last(self.end.saturating_sub(back)))
    }

    /// Makes room for `more` symbols; once enough of the piece is merged to tell, for those of the whole piece and a
    /// few more. Memory that is not touched costs nothing, but a vector that grows is copied, and is there twice.
    #[inline(always)]
    fn room(&mut self, more: usize) -> Result<()> {
        if self.out.capacity() - self.out.len() >= more {
            return Ok(());
        }
        let mut expected = 0;
        if self.end >= TELLING {
            let rest = self.piece.len() - self.end;
            // As many a byte as before, and a quarter more; never more than one a byte.
            let alike = self.out.len() as u128 * rest as u128 / self.end as u128;
            expected = rest.min((alike + alike / 4) as usize);
        }
        reserve(self.out, more + expected)
    }

    /// Takes the tokens from `from` on away, for others that end at `end`.
    #[inline(always)]
    fn replace(&mut self, from: usize, end: usize) -> Result<()> {
        let removed = self.starts.truncate(from);
        // One of them is the end, except at first.
        self.out
            .truncate(self.out.len() - removed.saturating_sub(1));
        self.starts.cover(end)?;
        self.starts.insert(end);
        self.end = end;
        Ok(())
    }
}

/// Windows of `short` as long as they can be joined.
struct ExtendByShort<'p, 'a, 'k> {
    prefix: &'p mut Prefix<'a>,
    asking: &'p mut Asking<'k>,
}

impl Job for ExtendByShort<'_, '_, '_> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<K: Simd>(self, _: K) -> Result<()> {
        let Self { prefix, asking } = self;
        while prefix.end < prefix.piece.len() {
            if !prefix.extend_by_short(BACK[0])? && !prefix.extend_by_short(BACK[1])? {
                break;
            }
            asking.worked(short::LONGEST)?;
        }
        Ok(())
    }
}

/// Where to go over from the prefix to a window that begins at byte `from`: the start of the first token that both have.
/// `old` and `new` are where tokens of the prefix and of the window start, counted from `from`.
#[inline(always)]
fn join(
    from: usize,
    mut old: impl Iterator<Item = usize>,
    mut new: impl Iterator<Item = usize>,
) -> Option<usize> {
    if from == 0 {
        return Some(0);
    }
    // The last start, if both had it.
    let mut start = None;
    let (mut one, mut other) = (old.next()?, new.next()?);
    loop {
        if one == other {
            if start.is_some() {
                return start;
            }
            start = Some(one);
            (one, other) = (old.next()?, new.next()?);
        } else {
            start = None;
            if one < other {
                one = old.next()?;
            } else {
                other = new.next()?;
            }
        }
    }
}
