//! Splitting and encoding in the plainest way, by nothing that the core is made of.

use std::collections::HashMap;

use gptbpe_core::pattern::Pattern;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::{Anchored, Input};

/// The one look-ahead that patterns have.
const LOOK_AHEAD: &str = r"\s+(?!\S)";

/// Splits as the regular expressions of a pattern say.
#[derive(Debug)]
pub(crate) struct Splitter {
    /// None where an automaton of bytes cannot follow: then the second engine does all.
    stages: Option<Vec<Stage>>,
    /// The same on an engine that knows the look-ahead, for one text in many.
    second: Vec<fancy_regex::Regex>,
}

/// The alternatives of one regular expression. The first that matches wins.
#[derive(Debug)]
struct Stage {
    /// Before the look-ahead, the look-ahead's `\s+`, and after it.
    parts: Vec<(DFA, Cache, bool)>,
}

impl Splitter {
    pub(crate) fn new(pattern: &Pattern) -> Self {
        let regexes = pattern.regexes().iter();
        Self {
            stages: regexes.clone().map(|regex| Stage::new(regex)).collect(),
            second: regexes
                .map(|regex| {
                    fancy_regex::Regex::new(regex).expect("tiktoken's engine takes these patterns")
                })
                .collect(),
        }
    }

    /// The ends of the pieces of a text.
    pub(crate) fn ends(&mut self, text: &str, ends: &mut Vec<usize>) {
        ends.clear();
        if text.is_empty() {
            return;
        }
        let Some(stages) = &mut self.stages else {
            let found = self.ends_again(text);
            ends.extend(found.expect("the engine does not give up on short texts"));
            return;
        };
        ends.push(text.len());
        for stage in stages {
            if ends.len() == 1 {
                ends.clear();
                stage.split(text, 0, ends);
                continue;
            }
            let pieces = std::mem::take(ends);
            let mut start = 0;
            for end in pieces {
                stage.split(&text[start..end], start, ends);
                start = end;
            }
        }
    }

    /// The same ends, found by the other engine; `None` if it gives up.
    pub(crate) fn ends_again(&self, text: &str) -> Option<Vec<usize>> {
        let mut ends: Vec<usize> = if text.is_empty() {
            vec![]
        } else {
            vec![text.len()]
        };
        for regex in &self.second {
            let pieces = std::mem::take(&mut ends);
            let mut start = 0;
            for end in pieces {
                let mut at = start;
                for found in regex.find_iter(&text[start..end]) {
                    let found = found.ok()?;
                    let (from, to) = (start + found.start(), start + found.end());
                    // What nothing matches is a piece.
                    if from > at {
                        ends.push(from);
                    }
                    if to > from {
                        ends.push(to);
                        at = to;
                    }
                }
                if at < end {
                    ends.push(end);
                }
                start = end;
            }
        }
        Some(ends)
    }

    /// The pieces of any bytes: each longest run of bytes that are no UTF-8 is one.
    pub(crate) fn pieces<'t>(&mut self, text: &'t [u8], pieces: &mut Vec<&'t [u8]>) {
        pieces.clear();
        let mut ends = Vec::new();
        let (mut at, mut invalid) = (0, 0);
        for chunk in text.utf8_chunks() {
            if !chunk.valid().is_empty() {
                if invalid < at {
                    pieces.push(&text[invalid..at]);
                }
                self.ends(chunk.valid(), &mut ends);
                let mut start = 0;
                for &end in &ends {
                    pieces.push(&text[at + start..at + end]);
                    start = end;
                }
                at += chunk.valid().len();
                invalid = at;
            }
            at += chunk.invalid().len();
        }
        if invalid < at {
            pieces.push(&text[invalid..at]);
        }
    }
}

impl Stage {
    fn new(regex: &str) -> Option<Self> {
        let alternatives = match regex.split_once(LOOK_AHEAD) {
            Some((before, after)) => vec![(before, false), (r"\s+", true), (after, false)],
            None => vec![(regex, false)],
        };
        let mut parts = Vec::new();
        for (regex, look_ahead) in alternatives {
            let regex = regex.trim_matches('|');
            if regex.is_empty() {
                continue;
            }
            let config = DFA::config().cache_capacity(16 << 20);
            let mut builder = DFA::builder();
            let dfa = builder.configure(config).build(&greedy(regex)).ok()?;
            let cache = dfa.create_cache();
            parts.push((dfa, cache, look_ahead));
        }
        Some(Self { parts })
    }

    /// Adds the ends of the pieces of `text`, which lies at `base`.
    fn split(&mut self, text: &str, base: usize, ends: &mut Vec<usize>) {
        let (mut start, mut at) = (0, 0);
        while at < text.len() {
            if let Some(end) = self.match_at(text, at) {
                if start < at {
                    ends.push(base + at);
                }
                ends.push(base + end);
                (start, at) = (end, end);
            } else {
                at += text[at..].chars().next().map_or(1, char::len_utf8);
            }
        }
        if start < at {
            ends.push(base + at);
        }
    }

    fn match_at(&mut self, text: &str, at: usize) -> Option<usize> {
        for (dfa, cache, look_ahead) in &mut self.parts {
            let input = Input::new(text).range(at..).anchored(Anchored::Yes);
            let found = dfa.try_search_fwd(cache, &input);
            let Some(found) = found.expect("nothing makes these automata give up") else {
                continue;
            };
            let mut end = found.offset();
            if *look_ahead && end < text.len() {
                // The greatest run is followed by no white space: it gives one character back.
                end -= text[at..end].chars().next_back().map_or(0, char::len_utf8);
                if end == at {
                    continue;
                }
            }
            return Some(end);
        }
        None
    }
}

/// The pattern without possessive quantifiers: where these patterns have one, giving back what it took
/// would help nothing.
fn greedy(regex: &str) -> String {
    let mut greedy = String::new();
    let (mut in_set, mut after_quantifier) = (false, false);
    let mut characters = regex.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '+' && after_quantifier {
            after_quantifier = false;
            continue;
        }
        greedy.push(character);
        after_quantifier = !in_set && matches!(character, '+' | '*' | '?');
        match character {
            '\\' => {
                let escaped = characters.next();
                greedy.extend(escaped);
                if matches!(escaped, Some('p' | 'P')) && characters.peek() == Some(&'{') {
                    // The name of a class, whose brace ends no quantifier.
                    for character in characters.by_ref() {
                        greedy.push(character);
                        if character == '}' {
                            break;
                        }
                    }
                }
            }
            '[' => in_set = true,
            ']' => in_set = false,
            '}' => after_quantifier = !in_set,
            _ => {}
        }
    }
    greedy
}

/// What merging does, by tiktoken's and Hugging Face's rule: of all neighbours that make a token, those
/// of the lowest rank are merged first, and the leftmost of equals.
#[derive(Debug, Default)]
pub(crate) struct Merging {
    /// The ids of single bytes.
    pub(crate) bytes: Vec<u32>,
    /// Pairs of ids, with their ranks and what they make: merge lists.
    pub(crate) pairs: HashMap<(u32, u32), (u32, u32)>,
    /// Tokens, whose ids are their ranks: rank files.
    pub(crate) ranks: Option<HashMap<Vec<u8>, u32>>,
    /// Tokens that a whole piece is looked up in.
    pub(crate) whole: Option<HashMap<Vec<u8>, u32>>,
}

/// Of neighbours that make no token.
const NEVER: (u32, u32) = (u32::MAX, u32::MAX);

impl Merging {
    /// Adds the ids of a piece.
    pub(crate) fn encode(&self, piece: &[u8], ids: &mut Vec<u32>) {
        if let Some(&id) = self.whole.as_ref().and_then(|whole| whole.get(piece)) {
            ids.push(id);
            return;
        }
        let mut parts: Vec<u32> = piece
            .iter()
            .map(|&byte| self.bytes[usize::from(byte)])
            .collect();
        let mut starts: Vec<usize> = (0..=piece.len()).collect();
        let rank = |parts: &[u32], starts: &[usize], at: usize| match &self.ranks {
            Some(ranks) => {
                let id = ranks.get(&piece[starts[at]..starts[at + 2]]);
                id.map_or(NEVER, |&id| (id, id))
            }
            None => *self
                .pairs
                .get(&(parts[at], parts[at + 1]))
                .unwrap_or(&NEVER),
        };
        let mut found: Vec<(u32, u32)> = (1..parts.len())
            .map(|right| rank(&parts, &starts, right - 1))
            .collect();
        while let Some((at, &(lowest, id))) =
            found.iter().enumerate().min_by_key(|(_, found)| found.0)
        {
            if lowest == NEVER.0 {
                break;
            }
            parts[at] = id;
            parts.remove(at + 1);
            starts.remove(at + 1);
            found.remove(at);
            if at > 0 {
                found[at - 1] = rank(&parts, &starts, at - 1);
            }
            if at < found.len() {
                found[at] = rank(&parts, &starts, at);
            }
        }
        ids.extend(parts);
    }
}
