//! The loops that want wide registers, once per instruction set.
//!
//! [`Simd`] lists the operations that the scanner and the encoder are built
//! from; each kernel implements all of them, and [`Portable`] is the slow twin
//! that the others are tested against. A kernel is chosen once, at run time, by
//! [`Kernel::best`]; tests and benches force one with [`Kernel::named`].
//!
//! A value of a kernel's type proves that the machine has its instructions:
//! it is only made by [`Kernel::run`], after they were detected. So the
//! operations are safe to call, and the `unsafe` that intrinsics need stays in
//! this folder.
//!
//! Every operation is `#[inline(always)]`: it has to end up in a function
//! compiled for the instruction set, which [`Kernel::run`] provides. Code that
//! is generic over [`Simd`] and lies on the path from there must be
//! `#[inline(always)]` too.

#![allow(unsafe_code, clippy::inline_always)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bucket;
mod kinds;
mod lanes;
mod merge;
mod portable;
#[cfg(test)]
mod tests;
mod windows;
mod words;

use std::mem::MaybeUninit;
use std::sync::OnceLock;

#[cfg(test)]
pub(crate) use bucket::key_of;
pub(crate) use bucket::{Bucket, Hasher, Key, LONGEST_KEY, NOT_A_KEY, Place, Value, key_length};
pub(crate) use kinds::{Kind, KindMasks, Kinds};
pub(crate) use lanes::LANES_BYTES;
use lanes::Lanes;
use merge::Rows;
pub(crate) use portable::Portable;
use windows::Windows;
pub(crate) use windows::{WINDOW, Window};
pub(crate) use words::{FIRST_MADE, NO_MERGE, NUMBER_BITS, PairLine, Pairs, WordRules, Words};

/// How many bytes are classified at a time: one bit each in a `u64`.
pub(crate) const BLOCK: usize = 64;

/// How many more tokens than asked for [`Simd::emit_narrow`] and
/// [`Simd::emit_wide`] may write, behind those that count.
pub(crate) const SLACK: usize = 32;

/// The instruction sets that there are kernels for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// AVX-512 with VBMI2: Ice Lake, Zen 4 and later.
    Avx512,
    /// AVX2 with BMI: Haswell, Zen and later.
    Avx2,
    /// Any machine.
    Portable,
}

impl Kernel {
    /// All kernels, the fastest first.
    pub const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Portable];

    /// The fastest kernel of this machine.
    pub fn best() -> Self {
        static BEST: OnceLock<Kernel> = OnceLock::new();
        *BEST.get_or_init(|| {
            let mut kernels = Self::ALL.into_iter();
            kernels
                .find(|kernel| kernel.is_available())
                .unwrap_or(Self::Portable)
        })
    }

    /// The kernel of that name, if this machine can run it.
    pub fn named(name: &str) -> Option<Self> {
        let mut kernels = Self::ALL.into_iter();
        kernels.find(|kernel| kernel.name() == name && kernel.is_available())
    }

    /// `avx512`, `avx2` or `portable`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    /// Whether this machine has the instructions.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Avx512 => avx512::is_available(),
            Self::Avx2 => avx2::is_available(),
            Self::Portable => true,
        }
        #[cfg(not(target_arch = "x86_64"))]
        matches!(self, Self::Portable)
    }

    /// Runs `job` compiled for this kernel, or for [`Portable`] where the
    /// machine lacks the instructions.
    #[inline]
    pub(crate) fn run<J: Job>(self, job: J) -> J::Output {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Avx512 if avx512::is_available() => return avx512::run(job),
            Self::Avx2 if avx2::is_available() => return avx2::run(job),
            _ => {}
        }
        job.run(Portable)
    }
}

/// Work that is generic over the kernel. Its `run` must be `#[inline(always)]`.
pub(crate) trait Job {
    type Output;
    fn run<K: Simd>(self, kernel: K) -> Self::Output;
}

/// The operations of a kernel.
#[allow(private_bounds)] // what a kernel does with rows is nobody else's business
pub(crate) trait Simd: Rows + Windows + Lanes {
    /// 64 bytes in registers.
    type Block: Copy;

    fn load(self, bytes: &[u8; BLOCK]) -> Self::Block;
    /// The bytes equal to `byte`.
    fn equal(self, block: Self::Block, byte: u8) -> u64;
    /// The bytes from `first` to `last`, both included.
    fn within(self, block: Self::Block, first: u8, last: u8) -> u64;
    /// ASCII letters of either case.
    fn letters(self, block: Self::Block) -> u64;
    /// Bytes of 0x80 and above.
    fn high(self, block: Self::Block) -> u64;
    /// UTF-8 continuation bytes, 0x80 to 0xBF.
    fn continuations(self, block: Self::Block) -> u64;

    /// The kinds of the characters whose first bytes are `leads`, as bits at
    /// these bytes. `bytes` begins with the block and is followed by at least
    /// three more bytes, so that every character is whole.
    #[inline(always)]
    fn kinds(self, kinds: &Kinds, bytes: &[u8; 2 * BLOCK], leads: u64) -> KindMasks {
        kinds.one_by_one(bytes, leads)
    }

    /// Writes `base` plus the place of every bit of `mask`, in order, and
    /// returns how many there are. What follows them in `out` is overwritten.
    fn positions(self, mask: u64, base: u32, out: &mut [u32; BLOCK]) -> usize;

    /// Where the bucket of a key begins, in bytes from the first bucket.
    #[inline(always)]
    fn slot(self, hasher: Hasher, key: Key) -> u32 {
        hasher.multiplied(key)
    }

    /// Makes the keys of the pieces between neighbouring `starts` and finds
    /// their [slots](Simd::slot), which are fetched ahead. A piece longer than
    /// [`LONGEST_KEY`] gets [`NOT_A_KEY`].
    ///
    /// `starts` count from the beginning of `text`; there is one more of them than
    /// there are `keys` and `slots`. `window(at)` returns 64 bytes from
    /// byte `at`, padded at the end of the text.
    #[allow(clippy::too_many_arguments)] // slices of one block
    fn keys<'t>(
        self,
        text: &[u8],
        window: impl Fn(usize) -> &'t [u8; BLOCK],
        starts: &[u32],
        hasher: Hasher,
        buckets: &[Bucket],
        keys: &mut [Key],
        slots: &mut [u32],
    );

    /// The greatest distance between neighbouring `starts`.
    #[inline(always)]
    fn longest(self, starts: &[u32]) -> u32 {
        let next = starts.get(1..).unwrap_or_default();
        let lengths = starts.iter().zip(next).map(|(start, end)| end - start);
        lengths.fold(0, u32::max)
    }

    /// Adds the numbers of the pieces between `starts` that are too long to be keys.
    #[inline(always)]
    fn long_pieces(self, starts: &[u32], numbers: &mut Vec<u32>) {
        const GROUP: usize = 16;
        let mut at = 0;
        while let Some(group) = starts[at..].first_chunk::<{ GROUP + 1 }>() {
            if self.longest(group) > LONGEST_KEY as u32 {
                numbers.extend(
                    (at..at + GROUP)
                        .filter(|&at| is_long(starts, at))
                        .map(|at| at as u32),
                );
            }
            at += GROUP;
        }
        let rest = at..starts.len().saturating_sub(1);
        numbers.extend(rest.filter(|&at| is_long(starts, at)).map(|at| at as u32));
    }

    /// Looks every key up in its bucket; zero where it is not there. There are
    /// buckets, in a power of two.
    fn probe(self, buckets: &[Bucket], keys: &[Key], slots: &[u32], values: &mut [u64]);

    /// Writes the places of the values that are zero to `places`, in order, and returns how
    /// many there are: few, as a rule. There is room for eight more than there are values.
    #[inline(always)]
    fn absent(self, values: &[u64], places: &mut [u32]) -> usize {
        portable::absent(values, 0, places)
    }

    /// Turns inline values into lanes, four of 16 bits or two of 32, and writes the
    /// places of the others to `others`, in order; returns how many there are.
    /// There is room for eight more than there are values.
    fn sort_out<const NARROW: bool>(self, values: &mut [u64], others: &mut [u32]) -> usize;

    /// Fetches the cache line of an address that is read soon. Any address will do.
    #[inline(always)]
    fn fetch(self, _address: *const u8) {}

    /// Writes the tokens in `lanes`, four of 16 bits each, one after another, and
    /// returns how many there are. `out` has room for four for each, and
    /// [`SLACK`] more; all that it returns is initialised.
    fn emit_narrow(self, lanes: &[u64], out: &mut [MaybeUninit<u16>]) -> usize;
    /// The same with lanes of 32 bits, two each.
    fn emit_wide(self, lanes: &[u64], out: &mut [MaybeUninit<u32>]) -> usize;

    /// How many tokens [`Simd::emit_narrow`] would write.
    #[inline(always)]
    fn count_narrow(self, lanes: &[u64]) -> usize {
        lanes.iter().map(|&lanes| u16::count(lanes)).sum()
    }
    /// How many tokens [`Simd::emit_wide`] would write.
    #[inline(always)]
    fn count_wide(self, lanes: &[u64]) -> usize {
        lanes.iter().map(|&lanes| u32::count(lanes)).sum()
    }

    /// Merges up to [`Words::MOST`] words of at most [`LONGEST_KEY`] bytes.
    #[inline(always)]
    fn merge_words(self, rules: WordRules<'_>, words: &[Key], out: &mut Words) {
        merge::words(self, rules, words, out);
    }
}

#[inline(always)]
fn is_long(starts: &[u32], at: usize) -> bool {
    starts[at + 1] - starts[at] > LONGEST_KEY as u32
}

/// The two widths of token ids in results.
pub(crate) trait Token: Copy + Send + Sync + 'static {
    /// Whether lanes are of 16 bits.
    const NARROW: bool;
    /// Lanes in 64 bits.
    const LANES: usize;

    fn new(id: u32) -> Self;

    /// [`Simd::emit_narrow`] or [`Simd::emit_wide`].
    fn emit<K: Simd>(kernel: K, lanes: &[u64], out: &mut [MaybeUninit<Self>]) -> usize;

    /// How many tokens are in `lanes`.
    fn count(lanes: u64) -> usize;

    /// [`Simd::count_narrow`] or [`Simd::count_wide`].
    fn count_all<K: Simd>(kernel: K, lanes: &[u64]) -> usize;
}

impl Token for u16 {
    const NARROW: bool = true;
    const LANES: usize = 4;

    #[inline(always)]
    fn new(id: u32) -> Self {
        id as Self
    }

    #[inline(always)]
    fn emit<K: Simd>(kernel: K, lanes: &[u64], out: &mut [MaybeUninit<Self>]) -> usize {
        kernel.emit_narrow(lanes, out)
    }

    #[inline(always)]
    fn count(lanes: u64) -> usize {
        4 - lanes.leading_ones() as usize / 16
    }

    #[inline(always)]
    fn count_all<K: Simd>(kernel: K, lanes: &[u64]) -> usize {
        kernel.count_narrow(lanes)
    }
}

impl Token for u32 {
    const NARROW: bool = false;
    const LANES: usize = 2;

    #[inline(always)]
    fn new(id: u32) -> Self {
        id
    }

    #[inline(always)]
    fn emit<K: Simd>(kernel: K, lanes: &[u64], out: &mut [MaybeUninit<Self>]) -> usize {
        kernel.emit_wide(lanes, out)
    }

    #[inline(always)]
    fn count(lanes: u64) -> usize {
        1 + usize::from((lanes >> 32) as u32 != Value::NO_TOKEN)
    }

    #[inline(always)]
    fn count_all<K: Simd>(kernel: K, lanes: &[u64]) -> usize {
        kernel.count_wide(lanes)
    }
}
