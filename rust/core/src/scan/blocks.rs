//! Driving the mask scanner over a text, block after block.

use std::fmt;
use std::sync::LazyLock;

use super::boundaries::{self, Begins, Carry, Scene};
use super::rules::Rules;
use super::text::Text;
use super::word_cuts::WordCuts;
use super::{SCANNED, scalar};
use crate::pattern::grammar::Shape;
use crate::simd::{BLOCK, Job, Kernel, Kinds, Simd};
use crate::unicode::{WHITESPACE, class_at};
use crate::{Error, Result};

/// Pieces that are found before they are looked up.
pub(crate) const PIECES: usize = 1024;

/// Where pieces begin, counted from `base`.
#[derive(Debug)]
pub(crate) struct Starts {
    places: Box<[u32; PIECES + 2 * BLOCK]>,
    count: usize,
    base: usize,
}

impl Starts {
    pub(crate) fn new() -> Self {
        let places = vec![0; PIECES + 2 * BLOCK].into_boxed_slice();
        Self {
            places: places.try_into().expect("the length is that of the array"),
            count: 0,
            base: 0,
        }
    }

    /// Forgets all places; those to come count from `base`.
    pub(crate) fn clear(&mut self, base: usize) {
        self.count = 0;
        self.base = base;
    }

    #[inline(always)]
    pub(crate) fn base(&self) -> usize {
        self.base
    }

    #[inline(always)]
    pub(crate) fn places(&self) -> &[u32] {
        &self.places[..self.count]
    }

    /// Whether a block's worth of places may not fit any more.
    #[inline(always)]
    pub(crate) fn is_full(&self) -> bool {
        self.count > PIECES
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, at: usize) {
        if let Some(place) = self.places.get_mut(self.count) {
            *place = (at - self.base) as u32;
            self.count += 1;
        }
    }

    /// Keeps only the last place, the beginning of a piece whose end is not known yet.
    pub(crate) fn keep_last(&mut self) {
        if let Some(&last) = self.places().last() {
            self.base += last as usize;
            self.places[0] = 0;
            self.count = 1;
        }
    }
}

/// How far into a text the scanner is.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    at: usize,
    carry: Carry,
    /// Where the last whole piece began, at or before `at`.
    piece: usize,
    trailing: usize,
}

/// A mask scanner, whatever its rules.
pub(crate) trait Blocks: Send + Sync + fmt::Debug {
    /// The beginning of a text.
    fn begin(&self, text: &[u8]) -> Progress;

    /// Finds more beginnings of pieces, until `starts` is full; whether the text goes on.
    fn fill(
        &self,
        kernel: Kernel,
        text: &Text<'_>,
        cuts: Option<&WordCuts>,
        progress: &mut Progress,
        starts: &mut Starts,
    ) -> Result<bool>;
}

/// Rules and shape that are known when compiled, or not.
trait Source: Send + Sync + fmt::Debug + Copy {
    fn rules(self) -> Rules;
    fn shape(self) -> Shape;
}

/// `WHICH` indexes [`SCANNED`].
#[derive(Debug, Clone, Copy)]
struct Fixed<const WHICH: usize>;

impl<const WHICH: usize> Source for Fixed<WHICH> {
    #[inline(always)]
    fn rules(self) -> Rules {
        const {
            match Rules::of(&SCANNED[WHICH]) {
                Some(rules) => rules,
                None => panic!("no rules for this shape"),
            }
        }
    }

    #[inline(always)]
    fn shape(self) -> Shape {
        const { SCANNED[WHICH] }
    }
}

#[derive(Debug, Clone, Copy)]
struct Given(Rules, Shape);

impl Source for Given {
    #[inline(always)]
    fn rules(self) -> Rules {
        self.0
    }

    #[inline(always)]
    fn shape(self) -> Shape {
        self.1
    }
}

#[derive(Debug)]
struct Scanner<S> {
    source: S,
    kinds: &'static Kinds,
}

/// The mask scanner for `shape`, if there is one.
pub(super) fn scanner(shape: Shape) -> Option<Box<dyn Blocks>> {
    let rules = Rules::of(&shape)?;
    let kinds = kinds(rules);
    Some(match SCANNED.iter().position(|known| *known == shape) {
        Some(0) => Box::new(Scanner {
            source: Fixed::<0>,
            kinds,
        }),
        Some(1) => Box::new(Scanner {
            source: Fixed::<1>,
            kinds,
        }),
        Some(2) => Box::new(Scanner {
            source: Fixed::<2>,
            kinds,
        }),
        Some(3) => Box::new(Scanner {
            source: Fixed::<3>,
            kinds,
        }),
        Some(4) => Box::new(Scanner {
            source: Fixed::<4>,
            kinds,
        }),
        Some(5) => Box::new(Scanner {
            source: Fixed::<5>,
            kinds,
        }),
        _ => Box::new(Scanner {
            source: Given(rules, shape),
            kinds,
        }),
    })
}

/// The tables of each of the three ways to take characters.
fn kinds(rules: Rules) -> &'static Kinds {
    static PLAIN: LazyLock<Kinds> = LazyLock::new(|| Rules::PLAIN.kinds());
    static CASED: LazyLock<Kinds> = LazyLock::new(|| Rules::CASED.kinds());
    static MARKS_JOIN: LazyLock<Kinds> = LazyLock::new(|| Rules::MARKS_JOIN.kinds());
    if rules.cased {
        &CASED
    } else if rules.marks_join {
        &MARKS_JOIN
    } else {
        &PLAIN
    }
}

impl<S: Source> Blocks for Scanner<S> {
    fn begin(&self, text: &[u8]) -> Progress {
        let trailing = if self.source.rules().end_first {
            trailing_white(text)
        } else {
            text.len()
        };
        Progress {
            at: 0,
            carry: Carry::default(),
            piece: 0,
            trailing,
        }
    }

    fn fill(
        &self,
        kernel: Kernel,
        text: &Text<'_>,
        cuts: Option<&WordCuts>,
        progress: &mut Progress,
        starts: &mut Starts,
    ) -> Result<bool> {
        let scene = Scene {
            text,
            kinds: self.kinds,
            cuts,
            trailing: progress.trailing,
        };
        kernel.run(Fill {
            source: self.source,
            scene,
            progress,
            starts,
        })
    }
}

struct Fill<'a, 't, S> {
    source: S,
    scene: Scene<'a, 't>,
    progress: &'a mut Progress,
    starts: &'a mut Starts,
}

impl<S: Source> Job for Fill<'_, '_, S> {
    type Output = Result<bool>;

    #[inline(always)]
    fn run<K: Simd>(self, kernel: K) -> Result<bool> {
        let Self {
            source,
            scene,
            progress,
            starts,
        } = self;
        let length = scene.text.len();
        let base = starts.base;
        let rules = source.rules();
        let mut carry = progress.carry;
        let mut at = progress.at;
        // The last block in which a whole piece began, and where pieces began in it.
        let mut last = (progress.piece, 1);
        // Nearly all blocks are interior ones, which have less to ask.
        let interior = length.saturating_sub(2 * BLOCK);
        // Places count from the base in 32 bits.
        let stop = length.min(base.saturating_add(LONGEST_PIECE));
        while at < stop && starts.count <= PIECES {
            let begins = if at < interior {
                boundaries::block::<K, true>(kernel, rules, scene, at, &mut carry)
            } else {
                boundaries::block::<K, false>(kernel, rules, scene, at, &mut carry)
            };
            if let Some(begins) = begins {
                starts.take(kernel, begins, at, &mut last);
                at += BLOCK;
            } else {
                at = one_by_one(
                    source.shape(),
                    scene.text.bytes(),
                    at,
                    last_of(last),
                    starts,
                );
                last = (at, 1);
                carry = Carry::default();
            }
        }
        if at < length && starts.count <= 1 {
            return Err(Error::PreTokenTooLong {
                bytes: at - base,
                limit: LONGEST_PIECE,
            });
        }
        progress.carry = carry;
        progress.at = at;
        progress.piece = last_of(last);
        Ok(at < length)
    }
}

/// The last beginning of a piece, of those in a block.
#[inline(always)]
fn last_of((at, pieces): (usize, u64)) -> usize {
    at + 63 - pieces.leading_zeros() as usize
}

impl Starts {
    /// Takes the beginnings of the block at `at`.
    #[inline(always)]
    fn take<K: Simd>(&mut self, kernel: K, begins: Begins, at: usize, last: &mut (usize, u64)) {
        if begins.pieces != 0 {
            *last = (at, begins.pieces);
        }
        if let Some(room) = self.places[self.count..].first_chunk_mut() {
            let all = begins.pieces | begins.cuts;
            self.count += kernel.positions(all, (at - self.base) as u32, room);
        }
    }
}

/// The longest piece: places count from its beginning, in 32 bits.
pub(crate) const LONGEST_PIECE: usize = u32::MAX as usize - 4 * BLOCK;

/// Takes the pieces that begin in the block at `at` with the scalar scanner, after `piece`,
/// the last that begins at or before it. Returns where the next one begins.
#[cold]
#[inline(never)]
fn one_by_one(shape: Shape, text: &[u8], at: usize, piece: usize, starts: &mut Starts) -> usize {
    let mut begin = piece;
    if piece == at {
        starts.push(begin);
    }
    loop {
        begin = scalar::next_end(&shape, text, begin);
        if begin >= text.len() || begin >= at + BLOCK {
            return begin;
        }
        starts.push(begin);
    }
}

fn trailing_white(text: &[u8]) -> usize {
    let mut start = text.len();
    while start > 0 {
        let mut before = start - 1;
        while before > 0 && text[before] & 0xC0 == 0x80 {
            before -= 1;
        }
        if class_at(text, before).0 & WHITESPACE == 0 {
            break;
        }
        start = before;
    }
    start
}
