//! Splitting text into pre-tokens, the pieces that merges never cross.
//!
//! Three strategies stand behind one seam, `Split::fill`, which finds the ends
//! of a block of pieces; `Stage::new` picks one. The concatenation of the
//! pieces is the text, whatever the bytes: where a text is not UTF-8, each
//! maximal run of invalid bytes is one pre-token, and the valid stretches
//! between are split each as a text of its own.

mod alphabet;
#[allow(clippy::inline_always)] // or the kernels would not reach the helpers
mod blocks;
#[allow(clippy::inline_always)]
mod boundaries;
#[allow(clippy::inline_always)]
mod keys;
mod rules;
#[allow(clippy::inline_always)] // or the constants would not reach the helpers
mod scalar;
mod set;
#[cfg(test)]
mod tests;
#[allow(clippy::inline_always)]
mod text;
#[allow(clippy::inline_always)]
mod word_cuts;

use std::fmt;
use std::sync::Arc;

use crate::pattern::grammar::{self, Shape};
use crate::pattern::recognise::Recognised;
use crate::pattern::regex::{Effort, RegexSplit};
use crate::pattern::{Cuts, Pattern, parser};
use crate::simd::Kernel;
use crate::{Error, Result};
use alphabet::AlphabetSplit;
pub(crate) use blocks::{Blocks, LONGEST_PIECE, PIECES, Starts};
pub(crate) use keys::PieceKeys;
use scalar::{Fixed, Scan};
use set::SetScan;
pub(crate) use text::Text;
pub(crate) use word_cuts::WordCuts;

/// Finds where the pieces of valid UTF-8 end (of any bytes, if they are read as an alphabet). Whatever finds many boundaries at
/// once fits behind this.
trait Split: Send + Sync + fmt::Debug {
    /// Writes the ends of the pieces that follow `start`, in order, and returns
    /// how many; zero only at the end of the text. A text begins with a `start` of 0;
    /// the effort is that of this stage alone.
    fn fill(&self, text: &[u8], start: usize, ends: &mut [usize], effort: &mut Effort) -> usize;
}

impl Split for RegexSplit {
    fn fill(&self, text: &[u8], start: usize, ends: &mut [usize], effort: &mut Effort) -> usize {
        self.fill(text, start, ends, effort)
    }
}

/// How many regular expressions a pattern may have.
const MOST_STAGES: usize = 64;

/// How many ends are found at a time.
const BLOCK: usize = 128;

/// The shapes with a scanner of their own, compiled for them alone.
const SCANNED: [Shape; 7] = [
    grammar::CL100K,
    grammar::GPT2,
    grammar::O200K,
    grammar::LLAMA3,
    grammar::QWEN2,
    grammar::NANOCHAT,
    grammar::DEEPSEEK,
];

/// One regular expression, compiled.
#[derive(Debug, Clone)]
struct Stage {
    split: Arc<dyn Split>,
    /// The same for many pieces at once, where there is a mask scanner.
    blocks: Option<Arc<dyn Blocks>>,
}

impl Stage {
    /// The one place where a strategy is picked.
    fn new(regex: &str) -> Result<Self> {
        let alternatives = parser::parse(regex)?;
        let mut blocks = None;
        let split: Arc<dyn Split> = match Recognised::new(&alternatives) {
            Recognised::Shape(shape) => {
                blocks = blocks::scanner(shape).map(Arc::from);
                scanner(shape)
            }
            Recognised::SetRuns(runs) => Arc::new(SetScan::new(&runs)),
            Recognised::No => Arc::new(RegexSplit::new(regex, &alternatives)?),
        };
        Ok(Self { split, blocks })
    }

    /// The same for bytes that are read as characters of GPT-2's alphabet.
    fn on_alphabet(regex: &str) -> Result<Self> {
        let split = AlphabetSplit::new(Self::new(regex)?.split);
        Ok(Self {
            split: Arc::new(split),
            blocks: None,
        })
    }
}

fn scanner(shape: Shape) -> Arc<dyn Split> {
    match SCANNED.iter().position(|known| *known == shape) {
        Some(0) => Arc::new(Scan(Fixed::<0>)),
        Some(1) => Arc::new(Scan(Fixed::<1>)),
        Some(2) => Arc::new(Scan(Fixed::<2>)),
        Some(3) => Arc::new(Scan(Fixed::<3>)),
        Some(4) => Arc::new(Scan(Fixed::<4>)),
        Some(5) => Arc::new(Scan(Fixed::<5>)),
        Some(6) => Arc::new(Scan(Fixed::<6>)),
        _ => Arc::new(Scan(shape)),
    }
}

/// A compiled [`Pattern`]: immutable, cheap to clone, shared among threads.
///
/// ```
/// use gptbpe_core::{pattern::Pattern, scan::Pretokenizer};
///
/// let pretokenizer = Pretokenizer::new(&Pattern::named("gpt2")?)?;
/// let mut pieces = Vec::new();
/// pretokenizer.for_each(b"It's  fine", |piece| pieces.push(piece.to_vec()));
/// assert_eq!(pieces, [&b"It"[..], b"'s", b" ", b" fine"]);
/// # Ok::<(), gptbpe_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Pretokenizer {
    stages: Arc<[Stage]>,
    cuts: Cuts,
}

impl Pretokenizer {
    /// Compiles every regular expression of `pattern`, or says which cannot be. One that no `tokenizer.json` could
    /// hold is refused here, before anything is made with it that cannot be saved.
    pub fn new(pattern: &Pattern) -> Result<Self> {
        let found = pattern.regexes().len() + pattern.on_alphabet().len();
        if found > MOST_STAGES {
            return Err(Error::TooManySplits {
                found,
                limit: MOST_STAGES,
            });
        }
        let stages = pattern.regexes().iter().map(|regex| Stage::new(regex));
        let on_alphabet = pattern.on_alphabet().iter();
        let stages = stages.chain(on_alphabet.map(|regex| Stage::on_alphabet(regex)));
        let stages = stages.collect::<Result<Arc<[Stage]>>>()?;
        if pattern.name().is_none() {
            pattern.portable()?;
        }
        let cuts = Cuts::of(pattern);
        Ok(Self { stages, cuts })
    }

    /// Where long texts may be cut without changing their pre-tokens.
    pub fn cuts(&self) -> Cuts {
        self.cuts
    }

    /// The mask scanner, if it takes the whole pattern.
    pub(crate) fn blocks(&self) -> Option<&dyn Blocks> {
        match &*self.stages {
            [stage] => stage.blocks.as_deref(),
            _ => None,
        }
    }

    /// Calls `f` with the pre-tokens of valid UTF-8 in order until it says no: the rest is not looked at.
    /// Returns whether it never did.
    pub(crate) fn each_valid_while(&self, text: &[u8], f: &mut impl FnMut(&[u8]) -> bool) -> bool {
        match self.blocks() {
            Some(blocks) if (WORTH_BLOCKS..LONGEST_PIECE).contains(&text.len()) => {
                each_by_blocks(blocks, Kernel::best(), text, f)
            }
            _ => split(&self.stages, text, f),
        }
    }

    /// Calls `f` with every pre-token in order, found by the mask scanner with `kernel`, however
    /// short the text, or without a kernel by the scanner for one piece at a time. For tests and benchmarks.
    ///
    /// Returns whether `kernel` was used: only if the pattern has a mask scanner.
    #[doc(hidden)]
    pub fn split_with(&self, kernel: Option<Kernel>, text: &str, mut f: impl FnMut(&[u8])) -> bool {
        let mut each = |piece: &[u8]| {
            f(piece);
            true
        };
        match (self.blocks(), kernel) {
            (Some(blocks), Some(kernel)) if !text.is_empty() => {
                each_by_blocks(blocks, kernel, text.as_bytes(), &mut each);
                true
            }
            _ => {
                split(&self.stages, text.as_bytes(), &mut each);
                false
            }
        }
    }

    /// Calls `f` with every pre-token in order.
    pub fn for_each(&self, text: &[u8], mut f: impl FnMut(&[u8])) {
        self.each_while(text, &mut |piece| {
            f(piece);
            true
        });
    }

    /// Calls `f` with the pre-tokens in order until it says no: the rest is not looked at. Returns whether it never
    /// did.
    pub(crate) fn each_while(&self, text: &[u8], f: &mut impl FnMut(&[u8]) -> bool) -> bool {
        if simdutf8::basic::from_utf8(text).is_ok() {
            return self.each_valid_while(text, f);
        }
        // Chunks are a valid stretch and a run of invalid bytes no longer than
        // one broken character; neighbouring runs are joined.
        let mut at = 0;
        let mut invalid = 0;
        for chunk in text.utf8_chunks() {
            let valid = chunk.valid().as_bytes();
            if !valid.is_empty() {
                let goes_on = invalid == at || f(&text[invalid..at]);
                if !goes_on || !self.each_valid_while(valid, f) {
                    return false;
                }
                invalid = at + valid.len();
            }
            at += valid.len() + chunk.invalid().len();
        }
        invalid == at || f(&text[invalid..at])
    }
}

/// Texts shorter than this are split before a block scanner is set up.
const WORTH_BLOCKS: usize = 256;

fn each_by_blocks(
    blocks: &dyn Blocks,
    kernel: Kernel,
    text: &[u8],
    f: &mut impl FnMut(&[u8]) -> bool,
) -> bool {
    let padded = Text::new(text);
    let mut progress = blocks.begin(text);
    let mut starts = Starts::new();
    while let Ok(more) = blocks.fill(kernel, &padded, None, &mut progress, &mut starts) {
        let base = starts.base();
        for pair in starts.places().windows(2) {
            if !f(&text[base + pair[0] as usize..base + pair[1] as usize]) {
                return false;
            }
        }
        starts.keep_last();
        if !more {
            return f(&text[starts.base()..]);
        }
    }
    true
}

/// Splits valid UTF-8 by the first stage, and each piece by the others, until `f` says no.
fn split(stages: &[Stage], text: &[u8], f: &mut impl FnMut(&[u8]) -> bool) -> bool {
    if text.is_empty() {
        return true;
    }
    match stages {
        [] => f(text),
        [only] => {
            let mut level = Level::new(text);
            while let Some(piece) = level.next(only) {
                if !f(piece) {
                    return false;
                }
            }
            true
        }
        _ => split_in_stages(stages, text, f),
    }
}

/// A loop over the levels instead of a call in a call. The effort of a stage outlives its pieces.
fn split_in_stages(stages: &[Stage], text: &[u8], f: &mut impl FnMut(&[u8]) -> bool) -> bool {
    let mut levels: Vec<Level> = stages.iter().map(|_| Level::new(text)).collect();
    let mut depth = 0;
    loop {
        match levels[depth].next(&stages[depth]) {
            Some(piece) if depth + 1 == stages.len() => {
                if !f(piece) {
                    return false;
                }
            }
            Some(piece) => {
                depth += 1;
                levels[depth].begin(piece);
            }
            None if depth == 0 => return true,
            None => depth -= 1,
        }
    }
}

/// One stage at work on one text: the ends found and not yet used.
struct Level<'t> {
    text: &'t [u8],
    start: usize,
    ends: [usize; BLOCK],
    used: usize,
    filled: usize,
    effort: Effort,
}

impl<'t> Level<'t> {
    fn new(text: &'t [u8]) -> Self {
        Self {
            text,
            start: 0,
            ends: [0; BLOCK],
            used: 0,
            filled: 0,
            effort: Effort::default(),
        }
    }

    fn begin(&mut self, text: &'t [u8]) {
        self.text = text;
        self.start = 0;
        self.used = 0;
        self.filled = 0;
    }

    #[inline]
    fn next(&mut self, stage: &Stage) -> Option<&'t [u8]> {
        if self.used == self.filled {
            let (text, effort) = (self.text, &mut self.effort);
            self.filled = stage.split.fill(text, self.start, &mut self.ends, effort);
            self.used = 0;
            if self.filled == 0 {
                return None;
            }
        }
        let end = self.ends[self.used];
        self.used += 1;
        let piece = &self.text[self.start..end];
        self.start = end;
        Some(piece)
    }
}
