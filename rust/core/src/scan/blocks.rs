//! Driving the mask scanner over a text, block after block.

use std::fmt;
use std::sync::LazyLock;

use super::boundaries::{self, Carry, Scene};
use super::rules::Rules;
use super::scalar;
use super::text::Text;
use super::word_cuts::WordCuts;
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
    /// Where a whole piece began, at or before `at`, and not long before.
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

/// Rules that are known when compiled, all or nearly all of them, or not.
trait Source: Send + Sync + fmt::Debug + Copy {
    /// Whether it pays to compile the scanner twice, with less to ask in the text's interior.
    const KNOWN: bool;

    fn rules(self) -> Rules;
}

/// The patterns that differ in the length of numbers and in the white space at the end:
/// GPT-2's, those of cl100k, Llama 3, Qwen 2 and nanochat, and o200k's.
const FAMILIES: [Rules; 3] = [Rules::PLAIN, Rules::PREFIXED, Rules::CASED];

/// A pattern of a family; `WHICH` indexes [`FAMILIES`].
#[derive(Debug, Clone, Copy)]
struct Member<const WHICH: usize> {
    number_max: u32,
    end_first: bool,
}

impl<const WHICH: usize> Member<WHICH> {
    /// The member that has these rules, if one has.
    fn with(rules: Rules) -> Option<Self> {
        let member = Self {
            number_max: rules.number_max,
            end_first: rules.end_first,
        };
        (member.rules() == rules).then_some(member)
    }
}

impl<const WHICH: usize> Source for Member<WHICH> {
    const KNOWN: bool = true;

    #[inline(always)]
    fn rules(self) -> Rules {
        Rules {
            number_max: self.number_max,
            end_first: self.end_first,
            ..const { FAMILIES[WHICH] }
        }
    }
}

impl Source for Rules {
    const KNOWN: bool = false;

    #[inline(always)]
    fn rules(self) -> Rules {
        self
    }
}

#[derive(Debug)]
struct Scanner<S> {
    source: S,
    shape: Shape,
    kinds: &'static Kinds,
}

/// The mask scanner for `shape`, if there is one.
pub(super) fn scanner(shape: Shape) -> Option<Box<dyn Blocks>> {
    fn boxed<S: Source + 'static>(source: S, shape: Shape) -> Box<dyn Blocks> {
        let kinds = kinds(source.rules());
        Box::new(Scanner {
            source,
            shape,
            kinds,
        })
    }
    let rules = Rules::of(&shape)?;
    let member = Member::<0>::with(rules).map(|member| boxed(member, shape));
    let member = member.or_else(|| Some(boxed(Member::<1>::with(rules)?, shape)));
    let member = member.or_else(|| Some(boxed(Member::<2>::with(rules)?, shape)));
    Some(member.unwrap_or_else(|| boxed(rules, shape)))
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
            shape: self.shape,
            scene,
            progress,
            starts,
        })
    }
}

struct Fill<'a, 't, S> {
    source: S,
    shape: Shape,
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
            shape,
            scene,
            progress,
            starts,
        } = self;
        let length = scene.text.len();
        let base = starts.base;
        let rules = source.rules();
        let mut carry = progress.carry;
        let mut at = progress.at;
        // Places count from the base in 32 bits.
        let stop = length.min(base.saturating_add(LONGEST_PIECE));
        // Nearly all blocks are interior ones, which have less to ask.
        let interior = match stop.checked_add(BLOCK) {
            Some(end) if S::KNOWN => &scene.text.bytes()[..length.min(end)],
            _ => &[],
        };
        let mut count = starts.count;
        while count <= PIECES {
            let found = if let Some(window) = interior.get(at..).and_then(|rest| rest.first_chunk())
            {
                boundaries::block::<K, true>(kernel, rules, scene, at, window, &mut carry)
            } else if at < stop {
                let window = scene.text.window(at);
                boundaries::block::<K, false>(kernel, rules, scene, at, window, &mut carry)
            } else {
                break;
            };
            let room = starts.places.get_mut(count..);
            if let (Some(begins), Some(room)) = (found, room.and_then(<[_]>::first_chunk_mut)) {
                count += kernel.positions(begins, (at - base) as u32, room);
                at += BLOCK;
            } else {
                starts.count = count;
                progress.piece = starts.last_piece(scene).max(progress.piece);
                at = one_by_one(shape, scene.text.bytes(), at, progress.piece, starts);
                progress.piece = at;
                carry = Carry::default();
                count = starts.count;
            }
        }
        starts.count = count;
        if at < length && count <= 1 {
            return Err(Error::PreTokenTooLong {
                bytes: at - base,
                limit: LONGEST_PIECE,
            });
        }
        progress.carry = carry;
        progress.at = at;
        progress.piece = starts.last_piece(scene).max(progress.piece);
        Ok(at < length)
    }
}

impl Starts {
    /// The last place at which certainly a whole piece begins, and not a part that
    /// [`WordCuts`] cut off; 0 if there is none.
    #[cold]
    fn last_piece(&self, scene: Scene<'_, '_>) -> usize {
        let places = self.places().iter().rev();
        let mut places = places.map(|&place| self.base + place as usize);
        places.find(|&at| !scene.may_be_cut(at)).unwrap_or(0)
    }
}

/// The longest piece: places count from its beginning, in 32 bits.
pub(crate) const LONGEST_PIECE: usize = u32::MAX as usize - 4 * BLOCK;

/// Takes the pieces that begin in the block at `at` with the scalar scanner, from `piece`,
/// where one begins at or before it. Returns where the next one begins.
#[cold]
#[inline(never)]
fn one_by_one(shape: Shape, text: &[u8], at: usize, piece: usize, starts: &mut Starts) -> usize {
    let mut begin = piece;
    while begin < text.len() && begin < at + BLOCK {
        if begin >= at {
            starts.push(begin);
        }
        begin = scalar::next_end(&shape, text, begin);
    }
    begin
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
