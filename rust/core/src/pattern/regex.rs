//! Splitting by any other regular expression, in linear time per text.
//!
//! Usual text is searched with a lazily built DFA, each search beginning where the last match
//! ended. That reads little more than the matches. Some patterns make it read far past a match to
//! no avail, again and again: `a+b|a` the rest of every run of `a`. So what is read is counted, and
//! once it is several times what was matched, the rest of the text is left to [`TwoPass`],
//! which reads every byte a bounded number of times. It also takes the patterns that a DFA
//! cannot: those with Unicode's word boundaries.
//!
//! A DFA has no look-ahead, so `\s+(?!\S)` is searched for as `\s+` and put right
//! afterwards: the match is maximal, hence it stands if it reaches the end of
//! the text, gives back its last character if it has two, and fails otherwise;
//! then the alternatives after it are tried at the same place. That is all a
//! backtracking engine would do.
//!
//! This is also the slow twin of the scanner: the property tests hold them
//! equal for every named pattern, and it to the regex crate's own search.

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{Compiler, Config, NFA, WhichCaptures};
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::{Class, Hir};

use super::ast::{Alternative, Element, Node};
use super::pool::Pool;
use super::two_pass::{Memory, TwoPass, Walk};
use crate::{Error, Result};

/// A compiled pattern outside the scanner's grammar.
#[derive(Debug)]
pub(crate) struct RegexSplit {
    /// First all alternatives, then those after each look-ahead; none where a DFA cannot.
    tiers: Vec<Tier>,
    two_pass: TwoPass,
    /// What searches remembered and left.
    idle: Pool<Remembered>,
}

#[derive(Debug)]
struct Tier {
    dfa: DFA,
    /// For each alternative that is a look-ahead, the tier of those after it.
    after: Vec<Option<usize>>,
}

/// The states found so far.
#[derive(Debug)]
struct Remembered {
    caches: Vec<Cache>,
    memory: Memory,
}

/// What splitting a series of texts has cost, and what was remembered on the way.
#[derive(Debug, Default)]
pub(crate) struct Effort {
    lease: Option<Lease>,
    walk: Option<Walk>,
    /// Bytes split, and bytes read for that.
    passed: usize,
    read: usize,
    /// The text in another spelling, where a stage reads that.
    pub(crate) spelled: Option<Box<Spelled>>,
}

/// A text in GPT-2's alphabet, and how far it is split.
#[derive(Debug, Default)]
pub(crate) struct Spelled {
    pub(crate) text: String,
    pub(crate) at: usize,
    pub(crate) effort: Effort,
}

#[derive(Debug)]
struct Lease {
    remembered: Option<Box<Remembered>>,
    owner: Pool<Remembered>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(remembered) = self.remembered.take() {
            self.owner.put(remembered);
        }
    }
}

/// Room for a lazily built automaton: Unicode classes have many states.
const AUTOMATON_BYTES: usize = 16 << 20;
/// The greatest automaton that is built at all.
const LARGEST: usize = 10 << 20;
/// Bytes that may be read for each byte that is split, and beyond that once.
const READ_PER_BYTE: usize = 4;
const READ_ONCE: usize = 1 << 13;

impl RegexSplit {
    pub(crate) fn new(pattern: &str, alternatives: &[Alternative]) -> Result<Self> {
        let fail = |reason: String| Error::UnsupportedPattern {
            pattern: pattern.to_owned(),
            at: 0,
            reason,
        };
        let two_pass = two_pass(alternatives).map_err(fail)?;
        let tiers = tiers(alternatives).unwrap_or_default();
        Ok(Self {
            tiers,
            two_pass,
            idle: Pool::default(),
        })
    }

    /// Writes the ends of the pieces that follow `start`, in order, and returns
    /// how many; zero only at the end of the text. A text begins with a `start` of 0.
    pub(crate) fn fill(
        &self,
        text: &[u8],
        start: usize,
        ends: &mut [usize],
        effort: &mut Effort,
    ) -> usize {
        if start == 0 {
            effort.walk = None;
        }
        let mut filled = 0;
        let mut at = start;
        while at < text.len() && filled < ends.len() {
            let found = self.find(text, at, effort);
            let (found, end) = found.unwrap_or((text.len(), text.len()));
            for boundary in [found, end] {
                if boundary > at && filled < ends.len() {
                    ends[filled] = boundary;
                    filled += 1;
                    effort.passed += boundary - at;
                    at = boundary;
                }
            }
        }
        filled
    }

    /// The leftmost match at or after `from`, which is 0 or the end of the match before.
    pub(crate) fn next_match(
        &self,
        text: &[u8],
        from: usize,
        effort: &mut Effort,
    ) -> Option<(usize, usize)> {
        if from == 0 {
            effort.walk = None;
        }
        let found = self.find(text, from, effort);
        effort.passed += found.map_or(text.len(), |(_, end)| end) - from;
        found
    }

    /// The leftmost match at or after `from`.
    fn find(&self, text: &[u8], from: usize, effort: &mut Effort) -> Option<(usize, usize)> {
        let lease = effort.lease.get_or_insert_with(|| self.lease());
        let remembered = lease.remembered.as_mut()?;
        let mut at = from;
        while effort.walk.is_none() && at < text.len() {
            let passed = effort.passed + (at - from);
            if self.tiers.is_empty() || effort.read > READ_PER_BYTE * passed + READ_ONCE {
                break;
            }
            match self.attempt(text, at, &mut remembered.caches, &mut effort.read) {
                Attempt::Match(end) => return Some((at, end)),
                Attempt::NoMatch => at += char_len(text[at]),
                Attempt::GaveUp => break,
            }
        }
        if at >= text.len() {
            return None;
        }
        let memory = &mut remembered.memory;
        let walk = effort
            .walk
            .get_or_insert_with(|| Walk::new(&self.two_pass, memory, text, at));
        let before = std::mem::take(&mut walk.read);
        effort.read += before;
        let found = walk.find(&self.two_pass, memory, text, at);
        effort.read += std::mem::take(&mut walk.read);
        found
    }

    /// Searches with the DFA for the match that starts at `start`.
    fn attempt(
        &self,
        text: &[u8],
        start: usize,
        caches: &mut [Cache],
        read: &mut usize,
    ) -> Attempt {
        let mut index = 0;
        loop {
            let tier = &self.tiers[index];
            let (end, alternative) = match tier.search(text, start, &mut caches[index], read) {
                Ok(Some(found)) => found,
                Ok(None) => return Attempt::NoMatch,
                Err(GaveUp) => return Attempt::GaveUp,
            };
            // The match, once its look-ahead has been looked at.
            let Some(next) = tier.after[alternative] else {
                return Attempt::Match(end);
            };
            if end == text.len() {
                return Attempt::Match(end);
            }
            let shorter = last_char_start(text, end);
            if shorter > start {
                return Attempt::Match(shorter);
            }
            index = next;
        }
    }

    fn lease(&self) -> Lease {
        let remembered = self.idle.take().unwrap_or_else(|| {
            let caches = self.tiers.iter().map(|tier| tier.dfa.create_cache());
            Box::new(Remembered {
                caches: caches.collect(),
                memory: Memory::default(),
            })
        });
        Lease {
            remembered: Some(remembered),
            owner: self.idle.clone(),
        }
    }
}

enum Attempt {
    Match(usize),
    NoMatch,
    GaveUp,
}

/// The DFA cannot say; the other search can.
struct GaveUp;

impl Tier {
    fn new(alternatives: &[Alternative], index: usize) -> Option<Self> {
        let expressions: Vec<_> = alternatives.iter().map(Alternative::hir).collect();
        let config = DFA::config()
            .match_kind(MatchKind::LeftmostFirst)
            .cache_capacity(AUTOMATON_BYTES)
            .skip_cache_capacity_check(true);
        let dfa = DFA::builder()
            .configure(config)
            .build_from_nfa(automaton(&expressions).ok()?)
            .ok()?;
        let mut look_aheads = 0;
        let after = alternatives
            .iter()
            .map(|alternative| {
                alternative.is_look_ahead().then(|| {
                    look_aheads += 1;
                    index + look_aheads
                })
            })
            .collect();
        Some(Self { dfa, after })
    }

    /// The end of the match that starts at `start`, and which alternative it is of.
    fn search(
        &self,
        text: &[u8],
        start: usize,
        cache: &mut Cache,
        read: &mut usize,
    ) -> Result<Option<(usize, usize)>, GaveUp> {
        let input = Input::new(text).range(start..).anchored(Anchored::Yes);
        let mut state = self
            .dfa
            .start_state_forward(cache, &input)
            .map_err(|_| GaveUp)?;
        let mut found = None;
        // A match shows one byte late.
        for (at, &byte) in text.iter().enumerate().skip(start) {
            state = self
                .dfa
                .next_state(cache, state, byte)
                .map_err(|_| GaveUp)?;
            if state.is_tagged() {
                if state.is_match() {
                    let alternative = self.dfa.match_pattern(cache, state, 0);
                    found = Some((at, alternative.as_usize()));
                } else if state.is_dead() {
                    *read += at + 1 - start;
                    return Ok(found);
                } else if state.is_quit() {
                    return Err(GaveUp);
                }
            }
        }
        *read += text.len() - start;
        state = self.dfa.next_eoi_state(cache, state).map_err(|_| GaveUp)?;
        if state.is_match() {
            let alternative = self.dfa.match_pattern(cache, state, 0);
            found = Some((text.len(), alternative.as_usize()));
        }
        Ok(found)
    }
}

/// All alternatives, then those after each look-ahead; `None` where a DFA cannot.
fn tiers(alternatives: &[Alternative]) -> Option<Vec<Tier>> {
    let mut tiers = Vec::new();
    let mut rest = alternatives;
    loop {
        tiers.push(Tier::new(rest, tiers.len())?);
        let Some(next) = rest.iter().position(Alternative::is_look_ahead) else {
            return Some(tiers);
        };
        rest = &rest[next + 1..];
    }
}

fn two_pass(alternatives: &[Alternative]) -> Result<TwoPass, String> {
    let mut expressions: Vec<Hir> = alternatives.iter().map(Alternative::hir).collect();
    if expressions
        .iter()
        .any(|hir| hir.properties().minimum_len() == Some(0))
    {
        return Err("it matches the empty text, so it does not say where to split".to_owned());
    }
    let mut aheads = Vec::new();
    for (index, alternative) in alternatives.iter().enumerate() {
        if let [
            Element {
                node: Node::Set(set),
                ..
            },
            Element {
                node: Node::NotAhead(_),
                ..
            },
        ] = alternative.elements.as_slice()
        {
            expressions.push(Hir::class(Class::Unicode(set.clone())));
            aheads.push(index);
        }
    }
    TwoPass::new(&automaton(&expressions)?, alternatives.len(), &aheads)
}

fn automaton(expressions: &[Hir]) -> Result<NFA, String> {
    let config = Config::new()
        .which_captures(WhichCaptures::None)
        .nfa_size_limit(Some(LARGEST));
    let mut compiler = Compiler::new();
    let compiled = compiler.configure(config).build_many_from_hir(expressions);
    compiled.map_err(|error| error.to_string())
}

fn char_len(first: u8) -> usize {
    match first {
        0..0xC0 => 1,
        0xC0..0xE0 => 2,
        0xE0..0xF0 => 3,
        _ => 4,
    }
}

fn last_char_start(text: &[u8], end: usize) -> usize {
    let continuation = |byte: &u8| byte & 0xC0 == 0x80;
    let trailing = text[..end]
        .iter()
        .rev()
        .take_while(|byte| continuation(byte));
    end - 1 - trailing.count()
}

#[cfg(test)]
mod tests {
    //! Against the regex crate's own search, text by text and byte by byte.

    use proptest::prelude::*;
    use regex_automata::meta::Regex;

    use super::super::parser::parse;
    use super::*;

    /// The plainest way: every match by a search of its own.
    struct Oracle {
        tiers: Vec<(Regex, Vec<Option<usize>>)>,
    }

    impl Oracle {
        fn new(alternatives: &[Alternative]) -> Self {
            let looks = |alternative: &Alternative| alternative.is_look_ahead();
            let mut tiers = Vec::new();
            let mut rest = alternatives;
            loop {
                let expressions: Vec<_> = rest.iter().map(Alternative::hir).collect();
                let regex = Regex::builder().build_many_from_hir(&expressions).unwrap();
                let mut next = tiers.len();
                let after = rest.iter().map(|alternative| {
                    next += usize::from(looks(alternative));
                    looks(alternative).then_some(next)
                });
                tiers.push((regex, after.collect()));
                let Some(first) = rest.iter().position(looks) else {
                    return Self { tiers };
                };
                rest = &rest[first + 1..];
            }
        }

        fn ends(&self, text: &[u8]) -> Vec<usize> {
            let (mut ends, mut gap, mut at) = (Vec::new(), 0, 0);
            while at < text.len() {
                let Some(end) = self.end(text, at) else {
                    at += char_len(text[at]);
                    continue;
                };
                if gap < at {
                    ends.push(at);
                }
                ends.push(end);
                (gap, at) = (end, end);
            }
            if gap < at {
                ends.push(at);
            }
            ends
        }

        fn end(&self, text: &[u8], start: usize) -> Option<usize> {
            let mut tier = 0;
            loop {
                let (regex, after) = &self.tiers[tier];
                let input = Input::new(text).range(start..).anchored(Anchored::Yes);
                let found = regex.search(&input)?;
                let Some(next) = after[found.pattern().as_usize()] else {
                    return Some(found.end());
                };
                if found.end() == text.len() {
                    return Some(found.end());
                }
                let shorter = last_char_start(text, found.end());
                if shorter > start {
                    return Some(shorter);
                }
                tier = next;
            }
        }
    }

    /// How a text is split, by blocks of so many ends.
    fn ends(split: &RegexSplit, text: &[u8], block: usize, effort: &mut Effort) -> Vec<usize> {
        let (mut all, mut start) = (Vec::new(), 0);
        let mut ends = vec![0; block];
        loop {
            let filled = split.fill(text, start, &mut ends, effort);
            if filled == 0 {
                return all;
            }
            all.extend_from_slice(&ends[..filled]);
            start = ends[filled - 1];
        }
    }

    /// A series of texts of which each read too much: the two passes begin at once.
    const OVERDRAWN: usize = 1 << 40;

    fn overdrawn() -> Effort {
        Effort {
            read: OVERDRAWN,
            ..Effort::default()
        }
    }

    const PATTERNS: [&str; 24] = [
        r"a+b|a",
        r"\s*[\r\n]+|\s",
        r"a.|b.*c|.",
        r"(?:a.)*b|ab|a",
        r"a+?b|aa?",
        r"(a|ab)(c|bcd)(d*)",
        r"(?:a|b)*?c|b+|[^a]",
        r"(?:(?:a?)*b)+|a",
        r"(?:|a)+b|a",
        r"\s+(?!\S)|\s*\n|\s",
        r"a|\s+(?!\S)|é+$|é+(?![^é])|\n+(?![^\n])|.",
        r"x*(?:é|中)+|x",
        r"\w+|[^\w\s]+|\s+",
        r"\b\w|\B\w+",
        r"(?-u:\b)a+|b",
        r"^a+|(?m:^)b+|a+$|(?m:b$)|c+\z",
        r"\b{start}a|a\b{end}|.",
        r"a{2,4}|a{3}b|b{1,2}?",
        r"(?i:ſk)+|k",
        r"[a-c]*1|[a-c]{3}",
        r"(?:a*b)*c|[ab]",
        r"[^\s\S]|a",
        r"\p{L}+(?:-\p{L}+)+|\p{L}",
        r"(?s:.)*z|.",
    ];

    fn compiled(pattern: &str) -> (RegexSplit, Oracle) {
        let alternatives = parse(pattern).unwrap();
        let split = RegexSplit::new(pattern, &alternatives).unwrap();
        (split, Oracle::new(&alternatives))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]

        #[test]
        fn both_searches_are_the_regex_crates(
            text in "[aabbc1é中k xzK\n\r ſ-]{0,40}", block in 1usize..6, cut in 0usize..40,
        ) {
            thread_local! {
                static ALL: Vec<(RegexSplit, Oracle)> = PATTERNS.into_iter().map(compiled).collect();
            }
            ALL.with(|all| {
                for (pattern, (split, oracle)) in PATTERNS.iter().zip(all) {
                    let text = text.as_bytes();
                    let expected = oracle.ends(text);
                    let mut effort = Effort::default();
                    assert_eq!(ends(split, text, block, &mut effort), expected, "{pattern}");
                    assert_eq!(ends(split, text, block, &mut overdrawn()), expected, "{pattern}");
                    // The change from one search to the other, at any place.
                    effort = Effort { read: READ_ONCE - cut.min(READ_ONCE), ..Effort::default() };
                    assert_eq!(ends(split, text, block, &mut effort), expected, "{pattern}");
                }
            });
        }
    }

    /// Every pattern here once read a run anew from each of its characters.
    #[test]
    fn bytes_read_are_linear_in_the_text() {
        let rows = [
            ("a+b|a", "a"),
            ("a+b", "a"),
            (r"\s*[\r\n]+|\s", " "),
            ("a.*b|a.", "a"),
            ("(?:a.)*b|a.|.", "a"),
            (r"\w+;|\w", "é"),
            (r"a+b|\b\w|a", "a"),
            ("(?s:.)*z|.", "ab"),
            (r"\s+(?!\S)|\s+x|\s", "  \n"),
            (r"[a-c]*1|[a-c]", "abc"),
            (r"[\w.]+@[\w.]+|\w+|\s+|.", "a."),
            (r"[\w.]+@[\w.]+|\w+|\s+|.", "é."),
        ];
        for (pattern, unit) in rows {
            let (split, oracle) = compiled(pattern);
            for size in [1 << 16, 1 << 20] {
                let text = unit.repeat(size / unit.len());
                let mut effort = Effort::default();
                let found = ends(&split, text.as_bytes(), 128, &mut effort);
                assert_eq!(found.last(), Some(&text.len()));
                let most = 10 * text.len();
                assert!(effort.read <= most, "{pattern}: {} of {most}", effort.read);
            }
            let text = unit.repeat(700 / unit.len());
            let found = ends(&split, text.as_bytes(), 128, &mut overdrawn());
            assert_eq!(found, oracle.ends(text.as_bytes()), "{pattern}");
        }
        // Many short texts, as the pieces of a stage before: what was read is counted over all.
        let (split, _) = compiled("a+b|a");
        let mut effort = Effort::default();
        let text = "a".repeat(500);
        for _ in 0..2_000 {
            ends(&split, text.as_bytes(), 128, &mut effort);
        }
        assert!(effort.read <= 10 * 1_000_000, "{}", effort.read);
    }

    /// Usual text is read about once.
    #[test]
    fn the_first_search_suffices_for_usual_text() {
        let text = "The house stands, its ids are exact; 33 million of them.\n".repeat(2_000);
        let (split, _) = compiled(r"\w+|[^\w\s]+|\s+");
        let mut effort = Effort::default();
        ends(&split, text.as_bytes(), 128, &mut effort);
        assert!(effort.walk.is_none() && effort.read < 2 * text.len());
    }

    /// More sets than there is room for, so that blocks are divided, also again.
    #[test]
    fn forgotten_sets_are_found_again() {
        let pattern = r"a[ab]{400}c|[ab]{1,300}c|[abc]";
        let (split, oracle) = compiled(pattern);
        let mut seed = 7u32;
        let letters = (0..150_000).map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"aabbabbabababbaabababac"[(seed >> 16) as usize % 23]
        });
        let text: Vec<u8> = letters.collect();
        let mut effort = overdrawn();
        assert_eq!(ends(&split, &text, 128, &mut effort), oracle.ends(&text));
        let read = effort.read - OVERDRAWN;
        assert!(read <= 6 * text.len(), "{read}");
    }

    /// What one text taught is there for the next, and a text that brings nothing new teaches nothing.
    #[test]
    fn sets_are_kept_from_text_to_text() {
        let (split, oracle) = compiled(r"\b\w|\B\w+");
        let learned = |text: &str| {
            let found = ends(&split, text.as_bytes(), 4, &mut Effort::default());
            assert_eq!(found, oracle.ends(text.as_bytes()));
            let kept = split.idle.take().unwrap();
            let steps = kept.memory.known_steps();
            split.idle.put(kept);
            steps
        };
        let words = learned("the house");
        let more = learned("é, 中; its ids\n");
        assert!(more > words);
        assert_eq!(learned("the house"), more);
    }
}
