//! Leftmost-first matches of a whole text in linear time, by two passes.
//!
//! A forward search must sometimes read far past a match to learn that a preferred, longer
//! one fails: `a+b|a` reads every `a` of a run to find no `b`, and does so again from the next
//! `a`. So the text is first read backwards. That finds, for every place, the set of states of
//! the Thompson automaton from which some match can still be completed there. The pass
//! forwards then follows, at every choice, the first branch whose state is in the set of its
//! place: it never has to turn back, and reads each byte of a match once.
//!
//! A backward pass knows what follows, so the look-ahead `set+(?!not set)` costs nothing
//! either: it is a match that counts only where the text ends or the set begins again. The
//! other assertions (`^`, `\b`, …) are asked of the text at each place.
//!
//! Sets are numbered as they appear, and the steps between them and the choices in them are
//! remembered, as in a lazily built DFA, also from one text to the next. The text's places are
//! handled in blocks, last to first to find the set at the end of each and then again block by
//! block, so that memory does not grow with the text but for one set per block. When the
//! remembered sets fill their room they are forgotten and the block is cut there; each place is
//! passed at most three times.

use std::collections::HashMap;
use std::sync::Arc;

use regex_automata::PatternID;
use regex_automata::nfa::thompson::{NFA, State as Thompson};
use regex_automata::util::look::{Look, LookMatcher};
use regex_automata::util::primitives::StateID;

/// Places to a block.
const BLOCK: usize = 1 << 16;
/// Room for remembered sets, in bytes.
const ROOM: usize = 4 << 20;
/// Places at which one block is divided, at most, at a time.
const MOST_CUTS: usize = 32;
/// Different assertions in one pattern, at most: every subset has columns of its own.
const MOST_LOOKS: usize = 6;

/// Numbers of states, and of sets.
type Id = u32;
type Set = Arc<[Id]>;

/// In a table: not asked yet; in a choice: the match ends here; nothing leads on.
const UNKNOWN: Id = Id::MAX;
const MATCH: Id = Id::MAX - 1;
const NOTHING: Id = Id::MAX - 2;

#[derive(Debug)]
enum State {
    /// Takes a byte of a range to the next state.
    Bytes(Box<[(u8, u8, Id)]>),
    /// The first of these that leads to a match.
    Choice(Box<[Id]>),
    /// On to the next state if an assertion, by its index, holds.
    Look(usize, Id),
    Match,
    Fail,
}

/// The automaton of a pattern, with its edges in both directions.
#[derive(Debug)]
pub(crate) struct TwoPass {
    states: Vec<State>,
    start: Id,
    /// For each state, those that come to it by a byte of a range.
    byte_before: Vec<Vec<(u8, u8, Id)>>,
    /// For each state, those that come to it without a byte.
    free_before: Vec<Vec<Id>>,
    /// Matches that always count.
    matches: Vec<Id>,
    /// Matches that count before a match of a set or the end of the text: the match, the set's start.
    aheads: Vec<(Id, Id)>,
    looks: Vec<Look>,
    matcher: LookMatcher,
    class_of: [u8; 256],
    classes: usize,
    /// For each state at which a choice may be asked for, its column.
    column: Vec<Id>,
    columns: usize,
}

impl TwoPass {
    /// Of `nfa`, the first `alternatives` patterns are alternatives in the order of preference; each of
    /// `aheads` is one that counts only where the set of the next pattern beyond them begins, or the text ends.
    pub(crate) fn new(nfa: &NFA, alternatives: usize, aheads: &[usize]) -> Result<Self, String> {
        let looks: Vec<Look> = nfa.look_set_any().iter().collect();
        if looks.len() > MOST_LOOKS {
            return Err(format!("more than {MOST_LOOKS} different assertions"));
        }
        let start_of = |pattern: usize| {
            let pattern = PatternID::must(pattern);
            nfa.start_pattern(pattern).map_or(0, |id| id.as_u32())
        };
        let mut matches = Vec::new();
        let mut aheads: Vec<(usize, Id, Id)> = (alternatives..)
            .zip(aheads)
            .map(|(set, &ahead)| (ahead, UNKNOWN, start_of(set)))
            .collect();
        let mut states = Vec::with_capacity(nfa.states().len() + 1);
        for (id, state) in (0..).zip(nfa.states()) {
            if let Thompson::Match { pattern_id } = state {
                let pattern = pattern_id.as_usize();
                match aheads.iter_mut().find(|(ahead, ..)| *ahead == pattern) {
                    Some((_, place, _)) => *place = id,
                    None => matches.push(id),
                }
            }
            states.push(convert(state, &looks));
        }
        let start = states.len() as Id;
        states.push(State::Choice((0..alternatives).map(start_of).collect()));
        let mut class_of = [0; 256];
        for (byte, class) in (0..=u8::MAX).zip(&mut class_of) {
            *class = nfa.byte_classes().get(byte);
        }
        let mut automaton = Self {
            start,
            byte_before: vec![Vec::new(); states.len()],
            free_before: vec![Vec::new(); states.len()],
            matches,
            aheads: aheads.into_iter().map(|(_, at, set)| (at, set)).collect(),
            looks,
            matcher: nfa.look_matcher().clone(),
            classes: class_of
                .iter()
                .max()
                .map_or(1, |&most| usize::from(most) + 1),
            class_of,
            column: vec![UNKNOWN; states.len()],
            columns: 0,
            states,
        };
        automaton.link();
        Ok(automaton)
    }

    fn link(&mut self) {
        let mut asked = vec![self.start];
        for (id, state) in (0..).zip(&self.states) {
            match state {
                State::Bytes(ranges) => {
                    for &(low, high, next) in ranges {
                        self.byte_before[next as usize].push((low, high, id));
                        asked.push(next);
                    }
                }
                State::Choice(branches) => {
                    for &next in branches {
                        self.free_before[next as usize].push(id);
                    }
                }
                State::Look(_, next) => self.free_before[*next as usize].push(id),
                State::Match | State::Fail => {}
            }
        }
        for id in asked {
            let column = &mut self.column[id as usize];
            if *column == UNKNOWN && !matches!(self.states[id as usize], State::Bytes(_)) {
                *column = self.columns as Id;
                self.columns += 1;
            }
        }
    }

    fn row(&self) -> usize {
        self.classes << self.looks.len()
    }

    /// Which assertions hold at a place, one bit each.
    fn looks_at(&self, text: &[u8], at: usize) -> usize {
        let looks = self.looks.iter().enumerate();
        looks.fold(0, |bits, (index, &look)| {
            bits | usize::from(self.matcher.matches(look, text, at)) << index
        })
    }

    /// The set of a place from that of the next and the byte between; from none at the end of the text.
    fn set_before(&self, next: Option<(&Set, u8)>, looks: usize, scratch: &mut Scratch) -> Set {
        scratch.begin(self.states.len());
        for &id in &self.matches {
            scratch.add(id);
        }
        match next {
            None => {
                for &(ahead, _) in &self.aheads {
                    scratch.add(ahead);
                }
            }
            Some((set, byte)) => {
                for &id in set.iter() {
                    for &(low, high, before) in &self.byte_before[id as usize] {
                        if (low..=high).contains(&byte) {
                            scratch.add(before);
                        }
                    }
                }
            }
        }
        self.close(looks, scratch);
        for &(ahead, set) in &self.aheads {
            if scratch.has(set) {
                scratch.add(ahead);
            }
        }
        self.close(looks, scratch);
        scratch.found.sort_unstable();
        scratch.found.as_slice().into()
    }

    /// Adds all that come to the set without a byte.
    fn close(&self, looks: usize, scratch: &mut Scratch) {
        while let Some(id) = scratch.waiting.pop() {
            for &before in &self.free_before[id as usize] {
                match self.states[before as usize] {
                    State::Look(look, _) if looks >> look & 1 == 0 => {}
                    _ => scratch.add(before),
                }
            }
        }
    }

    /// Where the preferred match goes from `from`, as a state that takes a byte, [`MATCH`] or [`NOTHING`].
    fn choose(&self, from: Id, set: &Set, scratch: &mut Scratch) -> Id {
        scratch.begin(self.states.len());
        scratch.waiting.push(from);
        while let Some(id) = scratch.waiting.pop() {
            if set.binary_search(&id).is_err() || !scratch.mark(id) {
                continue;
            }
            match &self.states[id as usize] {
                State::Bytes(_) => return id,
                State::Choice(branches) => scratch.waiting.extend(branches.iter().rev()),
                State::Look(_, next) => scratch.waiting.push(*next),
                State::Match => return MATCH,
                State::Fail => {}
            }
        }
        NOTHING
    }

    /// The state that `from` goes to by a byte that it takes.
    fn after(&self, from: Id, byte: u8) -> Id {
        let State::Bytes(ranges) = &self.states[from as usize] else {
            return NOTHING;
        };
        let found = ranges
            .iter()
            .find(|(low, high, _)| (*low..=*high).contains(&byte));
        found.map_or(NOTHING, |&(.., next)| next)
    }
}

fn convert(state: &Thompson, looks: &[Look]) -> State {
    match state {
        Thompson::ByteRange { trans } => {
            State::Bytes([(trans.start, trans.end, trans.next.as_u32())].into())
        }
        Thompson::Sparse(sparse) => {
            let ranges = sparse.transitions.iter();
            State::Bytes(ranges.map(|t| (t.start, t.end, t.next.as_u32())).collect())
        }
        Thompson::Dense(dense) => {
            let nexts = (0..=u8::MAX).zip(&dense.transitions);
            let leading = nexts.filter(|(_, next)| next.as_usize() != 0); // 0 is the failing state
            State::Bytes(
                leading
                    .map(|(byte, next)| (byte, byte, next.as_u32()))
                    .collect(),
            )
        }
        Thompson::Look { look, next } => {
            let index = looks.iter().position(|known| known == look);
            State::Look(index.unwrap_or_default(), next.as_u32())
        }
        Thompson::Union { alternates } => {
            State::Choice(alternates.iter().map(StateID::as_u32).collect())
        }
        Thompson::BinaryUnion { alt1, alt2 } => {
            State::Choice([alt1.as_u32(), alt2.as_u32()].into())
        }
        Thompson::Capture { next, .. } => State::Choice([next.as_u32()].into()),
        Thompson::Fail => State::Fail,
        Thompson::Match { .. } => State::Match,
    }
}

/// A set while it is made.
#[derive(Debug, Default)]
struct Scratch {
    marks: Vec<u32>,
    round: u32,
    found: Vec<Id>,
    waiting: Vec<Id>,
}

impl Scratch {
    fn begin(&mut self, states: usize) {
        self.found.clear();
        self.waiting.clear();
        self.round = self.round.wrapping_add(1);
        if self.marks.len() != states || self.round == 0 {
            self.marks.clear();
            self.marks.resize(states, 0);
            self.round = 1;
        }
    }

    fn has(&self, id: Id) -> bool {
        self.marks[id as usize] == self.round
    }

    fn mark(&mut self, id: Id) -> bool {
        !std::mem::replace(&mut self.marks[id as usize], self.round).eq(&self.round)
    }

    fn add(&mut self, id: Id) {
        if self.mark(id) {
            self.found.push(id);
            self.waiting.push(id);
        }
    }
}

/// Sets by number, the steps between them and the choices in them.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    sets: Vec<Set>,
    numbers: HashMap<Set, Id>,
    /// A row per set, a column per class of bytes and assertions.
    steps: Vec<Id>,
    /// A row per set, a column per state at which to choose.
    choices: Vec<Id>,
    /// The set of the end of a text, by the assertions that hold there.
    ends: Vec<Id>,
    used: usize,
    scratch: Scratch,
}

impl Memory {
    #[cfg(test)]
    pub(crate) fn known_steps(&self) -> usize {
        self.steps.iter().filter(|&&next| next != UNKNOWN).count()
    }

    fn is_full(&self) -> bool {
        self.used > ROOM
    }

    fn clear(&mut self) {
        self.sets.clear();
        self.numbers.clear();
        self.steps.clear();
        self.choices.clear();
        self.ends.clear();
        self.used = 0;
    }

    fn number(&mut self, automaton: &TwoPass, set: &Set) -> Id {
        if let Some(&number) = self.numbers.get(set) {
            return number;
        }
        let number = self.sets.len() as Id;
        self.sets.push(set.clone());
        self.numbers.insert(set.clone(), number);
        self.steps
            .resize(self.steps.len() + automaton.row(), UNKNOWN);
        self.choices
            .resize(self.choices.len() + automaton.columns, UNKNOWN);
        self.used += 4 * (set.len() + automaton.row() + automaton.columns) + 64;
        number
    }

    /// The set at the end of `text`.
    fn end(&mut self, automaton: &TwoPass, text: &[u8]) -> Id {
        let looks = automaton.looks_at(text, text.len());
        self.ends.resize(1 << automaton.looks.len(), UNKNOWN);
        if self.ends[looks] == UNKNOWN {
            let set = automaton.set_before(None, looks, &mut self.scratch);
            self.ends[looks] = self.number(automaton, &set);
        }
        self.ends[looks]
    }

    /// The set at `at`, from the one at `at + 1`.
    #[inline]
    fn step(&mut self, automaton: &TwoPass, next: Id, text: &[u8], at: usize) -> Id {
        let looks = if automaton.looks.is_empty() {
            0
        } else {
            automaton.looks_at(text, at)
        };
        let column = looks * automaton.classes + usize::from(automaton.class_of[text[at] as usize]);
        let place = next as usize * automaton.row() + column;
        if self.steps[place] == UNKNOWN {
            let from = self.sets[next as usize].clone();
            let set = automaton.set_before(Some((&from, text[at])), looks, &mut self.scratch);
            self.steps[place] = self.number(automaton, &set);
        }
        self.steps[place]
    }

    #[inline]
    fn choose(&mut self, automaton: &TwoPass, from: Id, set: Id) -> Id {
        let column = automaton.column[from as usize];
        if column == UNKNOWN {
            return from; // takes a byte
        }
        let place = set as usize * automaton.columns + column as usize;
        if self.choices[place] == UNKNOWN {
            let members = &self.sets[set as usize];
            self.choices[place] = automaton.choose(from, members, &mut self.scratch);
        }
        self.choices[place]
    }
}

/// The two passes over one text.
#[derive(Debug)]
pub(crate) struct Walk {
    /// Places with their sets, the nearest last.
    ends: Vec<(usize, Set)>,
    /// The block: the sets of the places from `first` on, the last of them first.
    first: usize,
    sets: Vec<Id>,
    /// The match found last.
    found: Option<(usize, usize)>,
    /// Bytes read, in either direction.
    pub(crate) read: usize,
}

impl Walk {
    /// Reads `text` backwards down to `from`.
    pub(crate) fn new(automaton: &TwoPass, memory: &mut Memory, text: &[u8], from: usize) -> Self {
        // No numbers of an earlier text are in use any more.
        if memory.is_full() {
            memory.clear();
        }
        let mut number = memory.end(automaton, text);
        let mut walk = Self {
            ends: vec![(text.len(), memory.sets[number as usize].clone())],
            first: from,
            sets: Vec::new(),
            found: None,
            read: 0,
        };
        // The nearest block is read when it is loaded.
        let blocks = (text.len() - from) / BLOCK;
        let nearest = text.len() - blocks * BLOCK;
        for at in (nearest..text.len()).rev() {
            number = memory.step(automaton, number, text, at);
            let set = &memory.sets[number as usize];
            if (text.len() - at).is_multiple_of(BLOCK) {
                walk.ends.push((at, set.clone()));
            }
            if memory.is_full() {
                let set = set.clone();
                memory.clear();
                number = memory.number(automaton, &set);
            }
        }
        walk.read += text.len() - nearest;
        walk
    }

    /// Goes on to the block of `at`, the first place after the present one.
    fn load(&mut self, automaton: &TwoPass, memory: &mut Memory, text: &[u8], at: usize) {
        let Some((mut end, mut set)) = self.ends.pop() else {
            return;
        };
        self.read += end - at;
        if memory.is_full() {
            memory.clear();
        }
        let others = self.ends.len();
        let mut number = memory.number(automaton, &set);
        self.first = at;
        self.sets.clear();
        self.sets.push(number);
        for left in (at..end).rev() {
            number = memory.step(automaton, number, text, left);
            if memory.is_full() && left > at {
                // What is behind will be read again; the block is what is left.
                let here = memory.sets[number as usize].clone();
                self.ends.push((end, std::mem::replace(&mut set, here)));
                self.thin_out(others);
                end = left;
                memory.clear();
                number = memory.number(automaton, &set);
                self.sets.clear();
            }
            self.sets.push(number);
        }
    }

    /// Keeps the places of one block few: what is between two of them can be divided again.
    fn thin_out(&mut self, others: usize) {
        if self.ends.len() - others > MOST_CUTS {
            let mut index = 0;
            self.ends.retain(|_| {
                index += 1;
                index <= others + 1 || (index - others).is_multiple_of(2)
            });
        }
    }

    /// The number of the set of `at`; places are asked for in order.
    #[inline]
    fn set(&mut self, automaton: &TwoPass, memory: &mut Memory, text: &[u8], at: usize) -> Id {
        if at >= self.first + self.sets.len() {
            self.load(automaton, memory, text, at);
        }
        // The last place of the block came first.
        self.sets[self.first + self.sets.len() - 1 - at]
    }

    /// The leftmost match that starts at or after `from`: its start and end.
    pub(crate) fn find(
        &mut self,
        automaton: &TwoPass,
        memory: &mut Memory,
        text: &[u8],
        from: usize,
    ) -> Option<(usize, usize)> {
        // Asked for again from the end of the gap before it.
        if self.found.is_some_and(|(start, _)| start >= from) {
            return self.found;
        }
        let mut at = from;
        let mut state = NOTHING;
        while at < text.len() {
            let set = self.set(automaton, memory, text, at);
            state = memory.choose(automaton, automaton.start, set);
            if state != NOTHING {
                break;
            }
            at += 1;
        }
        let start = at;
        while state != MATCH {
            if state == NOTHING || at >= text.len() {
                self.read += at - from;
                return None;
            }
            state = automaton.after(state, text[at]);
            at += 1;
            let set = self.set(automaton, memory, text, at);
            state = memory.choose(automaton, state, set);
        }
        self.read += at - from;
        self.found = Some((start, at));
        self.found
    }
}
