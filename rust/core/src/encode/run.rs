//! Encoding in blocks of pieces.
//!
//! A block goes through the steps one after another, each a loop without decisions
//! about single pieces: find where pieces begin; make their keys and fetch their buckets; look
//! them up; write out their tokens. While one step runs, the memory that the next one wants is on
//! its way, and a branch that cannot be predicted costs its block once. What is not in
//! the table, or has more tokens than a value holds, is listed and seen to between the steps.
//!
//! A block takes the pieces of as many texts as it has room for, so short texts are as fast as long ones.

mod absent;

use super::long_pieces;
use super::sink::Sink;
use super::table::{PieceTable, Tokens};
use super::worker::Worker;
use super::{Control, Scheme};
use crate::merge::merge_piece_while;
use crate::scan::{PIECES, PieceKeys, Pretokenizer, Text};
use crate::simd::{BLOCK, Job, Kernel, LONGEST_KEY, NOT_A_KEY, Place, Simd, Token, Value};
use crate::{Error, Result};

/// A longer piece is not remembered. It is merged by itself, between blocks: so a block holds no more than
/// some hundred kilobytes of text, and the caller is asked often enough whether to go on.
const HUGE_PIECE: usize = long_pieces::LONGEST;
/// The tokens of such a piece are handed on in groups of so many.
const HANDED_ON: usize = 1 << 12;
/// Room for more symbols than this is given back after use.
const KEPT_SYMBOLS: usize = 1 << 16;
/// Starts farther from their base than this get a new base.
const FARTHEST: usize = 1 << 30;

/// What stands in a block without being a key.
#[derive(Debug, Clone, Copy)]
enum Keyless<'t> {
    /// A piece and its hash.
    Piece(&'t [u8], u64),
    Token(u32),
}

/// One call's way through its texts.
pub(super) struct Run<'a, 't, S> {
    kernel: Kernel,
    scheme: &'a Scheme<'a>,
    worker: &'a mut Worker,
    sink: &'a mut S,
    control: &'a mut dyn Control,
    /// Pieces in the block.
    count: usize,
    keyless: Vec<(u32, Keyless<'t>)>,
    /// Places in the block where texts end.
    ends: Vec<u32>,
    offsets: Option<&'a mut Vec<usize>>,
}

/// Whether to go on.
pub(super) type Going = std::ops::ControlFlow<()>;
const GO_ON: Going = Going::Continue(());

impl<'a, 't, S: Sink> Run<'a, 't, S> {
    pub(super) fn new(
        scheme: &'a Scheme<'a>,
        worker: &'a mut Worker,
        sink: &'a mut S,
        offsets: Option<&'a mut Vec<usize>>,
        control: &'a mut dyn Control,
    ) -> Self {
        // A call that failed may have left something.
        worker.starts.clear(0);
        worker.absent.clear();
        worker.beyond.clear();
        worker.fresh.clear();
        worker.apart.clear();
        worker.long.clear();
        Self {
            kernel: scheme.kernel,
            scheme,
            worker,
            sink,
            control,
            count: 0,
            keyless: Vec::new(),
            ends: Vec::new(),
            offsets,
        }
    }

    #[inline]
    pub(super) fn pretokenizer(&self) -> &'a Pretokenizer {
        self.scheme.pretokenizer
    }

    /// A token that no piece stands for.
    pub(super) fn push_token(&mut self, token: u32) -> Result<Going> {
        self.push_keyless(Keyless::Token(token));
        self.flush_if_full()
    }

    /// The end of a text.
    pub(super) fn end_text(&mut self) {
        if self.offsets.is_some() {
            self.ends.push(self.count as u32);
        }
    }

    /// Bytes that are one piece and no UTF-8.
    pub(super) fn push_invalid(&mut self, piece: &'t [u8]) -> Result<Going> {
        if piece.len() > HUGE_PIECE {
            return self.huge_piece(piece);
        }
        let hash = self.worker.table.long_hash(piece);
        self.push_keyless(Keyless::Piece(piece, hash));
        self.flush_if_full()
    }

    fn push_keyless(&mut self, keyless: Keyless<'t>) {
        let at = self.count;
        self.worker.keys[at] = NOT_A_KEY;
        self.worker.slots[at] = 0;
        self.keyless.push((at as u32, keyless));
        self.count += 1;
    }

    #[inline]
    fn flush_if_full(&mut self) -> Result<Going> {
        if self.count >= PIECES - BLOCK {
            return self.flush();
        }
        Ok(GO_ON)
    }

    /// Valid UTF-8, a text by itself.
    #[inline]
    pub(super) fn push_valid(&mut self, bytes: &'t [u8]) -> Result<Going> {
        let text = Text::new(bytes);
        self.worker.starts.clear(0);
        let scheme = self.scheme;
        let Some(blocks) = scheme.pretokenizer.blocks() else {
            return self.push_one_by_one(bytes, &text);
        };
        let mut progress = blocks.begin(bytes);
        loop {
            let starts = &mut self.worker.starts;
            let more = blocks.fill(self.kernel, &text, scheme.cuts, &mut progress, starts)?;
            if !more {
                starts.push(bytes.len());
            }
            if self.take(&text)?.is_break() {
                return Ok(Going::Break(()));
            }
            if !more {
                return Ok(GO_ON);
            }
            self.worker.starts.keep_last();
        }
    }

    /// The same where no scanner finds many pieces at once.
    fn push_one_by_one(&mut self, bytes: &'t [u8], text: &Text<'t>) -> Result<Going> {
        let scheme = self.scheme;
        let mut state = Ok(GO_ON);
        let mut at = 0;
        scheme.pretokenizer.each_valid_while(bytes, &mut |piece| {
            let starts = &mut self.worker.starts;
            starts.push(at);
            at += piece.len();
            // Places count from the base in 32 bits.
            if starts.is_full() || at - starts.base() > FARTHEST {
                starts.push(at);
                state = check_length(piece).and_then(|()| self.take(text));
                self.worker.starts.clear(at);
            }
            matches!(state, Ok(Going::Continue(())))
        });
        if !matches!(state, Ok(Going::Continue(()))) {
            return state;
        }
        self.worker.starts.push(at);
        self.take(text)
    }

    /// Takes the pieces between neighbouring starts into the block.
    #[inline]
    fn take(&mut self, text: &Text<'t>) -> Result<Going> {
        let pieces = self.worker.starts.places().len().saturating_sub(1);
        let longest = self.keys(text, 0, pieces);
        if longest > HUGE_PIECE {
            return self.take_huge(text);
        }
        if longest > LONGEST_KEY {
            self.note_long(text, 0);
        }
        self.count += pieces;
        self.flush_if_full()
    }

    /// Makes the keys of some pieces and returns the length of the longest.
    #[inline]
    fn keys(&mut self, text: &Text<'t>, first: usize, pieces: usize) -> usize {
        let worker = &mut *self.worker;
        let places = worker.starts.places();
        let room = self.count..self.count + pieces;
        self.kernel.run(PieceKeys {
            text,
            base: worker.starts.base(),
            starts: places.get(first..=first + pieces).unwrap_or_default(),
            hasher: worker.table.hasher(),
            buckets: worker.table.buckets(),
            keys: &mut worker.keys[room.clone()],
            slots: &mut worker.slots[room],
            long: &mut worker.long,
        }) as usize
    }

    /// Notes the pieces that are too long to be keys; their numbers count from `first`.
    fn note_long(&mut self, text: &Text<'t>, first: usize) {
        let starts = &self.worker.starts;
        for &number in &self.worker.long {
            let index = first + number as usize;
            let piece = starts.base() + starts.places()[index] as usize
                ..starts.base() + starts.places()[index + 1] as usize;
            let place = (self.count as u32) + number;
            let piece = &text.bytes()[piece];
            let hash = self.worker.table.long_hash(piece);
            self.keyless.push((place, Keyless::Piece(piece, hash)));
        }
        self.worker.long.clear();
    }

    /// [`Run::take`] where some pieces are merged by themselves.
    #[cold]
    fn take_huge(&mut self, text: &Text<'t>) -> Result<Going> {
        let long = std::mem::take(&mut self.worker.long);
        let pieces = self.worker.starts.places().len() - 1;
        let mut first = 0;
        let huge = long.iter().map(|&number| number as usize);
        for index in huge.chain([pieces]) {
            let places = self.worker.starts.places();
            let piece = match places.get(index + 1) {
                Some(&end) => {
                    &text.bytes()[self.worker.starts.base()..][places[index] as usize..end as usize]
                }
                None => &[],
            };
            if piece.len() <= HUGE_PIECE && index < pieces {
                continue;
            }
            self.keys(text, first, index - first);
            self.note_long(text, first);
            self.count += index - first;
            first = index + 1;
            if index < pieces && self.huge_piece(piece)?.is_break() {
                return Ok(Going::Break(()));
            }
        }
        self.flush_if_full()
    }

    /// A piece that is merged by itself, after all that came before it.
    #[cold]
    fn huge_piece(&mut self, piece: &[u8]) -> Result<Going> {
        if self.flush()?.is_break() {
            return Ok(Going::Break(()));
        }
        let (scheme, count) = (self.scheme, self.sink.count());
        if let Some(id) = scheme.whole(piece) {
            self.sink.list(&[id])?;
            return Ok(self.control.after(self.sink.count()));
        }
        let mut symbols = std::mem::take(&mut self.worker.symbols);
        symbols.clear();
        let rules = scheme.vocab.rules();
        let buffers = &mut self.worker.buffers;
        let mut go_on = || self.control.after(count).is_continue();
        match merge_piece_while(rules, piece, buffers, &mut symbols, &mut go_on) {
            Err(Error::Cancelled) => return Ok(Going::Break(())),
            merged => merged?,
        }
        let mut going = GO_ON;
        self.sink.expect(symbols.len())?;
        for group in symbols.chunks(HANDED_ON) {
            let tokens = &mut self.worker.tokens;
            tokens.clear();
            tokens.extend(group.iter().map(|&symbol| rules.id(symbol)));
            self.sink.list(tokens)?;
            going = self.control.after(self.sink.count());
            if going.is_break() {
                break;
            }
        }
        if symbols.capacity() <= KEPT_SYMBOLS {
            self.worker.symbols = symbols;
        }
        Ok(going)
    }

    /// Encodes what is in the block.
    pub(super) fn flush(&mut self) -> Result<Going> {
        self.kernel.run(Flush(self))?;
        Ok(self.control.after(self.sink.count()))
    }

    #[inline(always)]
    fn flush_with<K: Simd>(&mut self, kernel: K) -> Result<()> {
        let Worker {
            table,
            keys,
            slots,
            values,
            others,
            ..
        } = &mut *self.worker;
        let (keys, slots) = (&keys[..self.count], &slots[..self.count]);
        let values = &mut values[..self.count];
        kernel.probe(table.buckets(), keys, slots, values);
        let count = if <S::Token as Token>::NARROW {
            kernel.sort_out::<true>(values, others)
        } else {
            kernel.sort_out::<false>(values, others)
        };
        for index in 0..count {
            let at = self.worker.others[index];
            let value = Value(self.worker.values[at as usize]);
            if value == Value::ABSENT {
                self.worker.absent.push(at);
            } else {
                self.note_apart(kernel, at, value);
            }
        }
        if !self.worker.absent.is_empty() {
            self.find_absent(kernel)?;
        }
        self.emit(kernel)?;
        self.count = 0;
        self.keyless.clear();
        self.worker.table.settle();
        Ok(())
    }

    /// Puts the value of a piece where it belongs.
    #[inline(always)]
    fn set<K: Simd>(&mut self, kernel: K, at: u32, value: Value) {
        let place = &mut self.worker.values[at as usize];
        if !value.is_inline() {
            *place = value.0;
            self.note_apart(kernel, at, value);
        } else if <S::Token as Token>::NARROW {
            *place = value.narrow_lanes();
        } else {
            *place = value.wide_lanes();
        }
    }

    /// Puts four short tokens where they belong, and notes and fetches a list.
    #[inline(always)]
    fn note_apart<K: Simd>(&mut self, kernel: K, at: u32, value: Value) {
        let worker = &mut *self.worker;
        match value.place() {
            Place::Quad(index) if <S::Token as Token>::NARROW => {
                worker.values[at as usize] = worker.table.quad(index);
            }
            place => {
                if let Place::List(index) = place {
                    kernel.fetch(worker.table.list_address(index));
                }
                worker.apart.insert(at);
            }
        }
    }

    /// Writes out the tokens of the block.
    #[inline(always)]
    fn emit<K: Simd>(&mut self, kernel: K) -> Result<()> {
        let Worker {
            table,
            values,
            apart,
            ..
        } = &mut *self.worker;
        let lists = apart.iter();
        if self.ends.is_empty() {
            emit_lanes_and_lists(kernel, self.sink, table, &values[..self.count], 0, lists)?;
            apart.clear();
            return Ok(());
        }
        let mut lists = lists.peekable();
        let mut from = 0;
        for &end in &self.ends {
            let end = end as usize;
            let here = std::iter::from_fn(|| lists.next_if(|&at| at < end));
            emit_lanes_and_lists(kernel, self.sink, table, &values[..end], from, here)?;
            from = end;
            if let Some(offsets) = self.offsets.as_deref_mut() {
                offsets.push(self.sink.count());
            }
        }
        let values = &values[..self.count];
        emit_lanes_and_lists(kernel, self.sink, table, values, from, lists)?;
        apart.clear();
        self.ends.clear();
        Ok(())
    }
}

/// Writes out the values from `from` on: lanes, which are interrupted by lists at `lists`.
#[inline(always)]
fn emit_lanes_and_lists<K: Simd, S: Sink>(
    kernel: K,
    sink: &mut S,
    table: &PieceTable,
    values: &[u64],
    mut from: usize,
    lists: impl Iterator<Item = usize>,
) -> Result<()> {
    for at in lists {
        if from < at {
            sink.lanes(kernel, &values[from..at])?;
        }
        from = at + 1;
        match table.tokens(Value(values[at])) {
            Tokens::Short(tokens, count) => sink.short_list(tokens, count)?,
            Tokens::List(tokens) => sink.list(tokens)?,
            Tokens::Lanes(lanes) => {
                let tokens = [0, 16, 32, 48].map(|shift| (lanes >> shift) as u32 & 0xFFFF);
                sink.list(&tokens[..u16::count(lanes)])?;
            }
        }
    }
    sink.lanes(kernel, &values[from..])
}

/// [`Run::flush`] for one kernel.
struct Flush<'r, 'a, 't, S>(&'r mut Run<'a, 't, S>);

impl<S: Sink> Job for Flush<'_, '_, '_, S> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<K: Simd>(self, kernel: K) -> Result<()> {
        self.0.flush_with(kernel)
    }
}

/// A piece longer than this cannot be counted.
pub(super) fn check_length(piece: &[u8]) -> Result<()> {
    let limit = crate::scan::LONGEST_PIECE;
    if piece.len() > limit {
        return Err(Error::PreTokenTooLong {
            bytes: piece.len(),
            limit,
        });
    }
    Ok(())
}
