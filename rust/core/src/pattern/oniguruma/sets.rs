//! A set of characters in a spelling that both engines read alike.
//!
//! The set is covered by properties that it holds whole; what is left is ranges. The same is done for its
//! complement, and the shorter text is taken.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

use crate::unicode::set;

/// What a set may be covered by, the large before their parts.
#[rustfmt::skip]
const COVERS: [&str; 46] = [
    r"\p{Alphabetic}", r"\p{L}", r"\p{M}", r"\p{N}", r"\p{P}", r"\p{S}", r"\s", r"\p{Z}", r"\p{Lu}", r"\p{Ll}",
    r"\p{Lt}", r"\p{Lm}", r"\p{Lo}", r"\p{Mn}", r"\p{Mc}", r"\p{Me}", r"\d", r"\p{Nl}", r"\p{No}", r"\p{Pc}",
    r"\p{Pd}", r"\p{Ps}", r"\p{Pe}", r"\p{Pi}", r"\p{Pf}", r"\p{Po}", r"\p{Sm}", r"\p{Sc}", r"\p{Sk}", r"\p{So}",
    r"\p{Zs}", r"\p{Cc}", r"\p{Cf}", r"\p{Co}", r"\p{Cn}", r"\p{Han}", r"\p{Hiragana}", r"\p{Katakana}",
    r"\p{Hangul}", r"\p{Cyrillic}", r"\p{Greek}", r"\p{Arabic}", r"\p{Thai}", r"\p{Hebrew}", r"\p{Latin}",
    r"\p{Devanagari}",
];

static COVERING: LazyLock<Vec<(&str, ClassUnicode)>> = LazyLock::new(|| {
    let covers = COVERS.iter();
    covers
        .filter_map(|&text| Some((text, set(text)?)))
        .collect()
});

static ANY: LazyLock<ClassUnicode> =
    LazyLock::new(|| ClassUnicode::new([ClassUnicodeRange::new('\0', char::MAX)]));

/// The same set as regex-syntax wants it for its complement: a range that ends before the surrogates and one that begins
/// after them are one, or the complement has what is between them, from the end of the one to the beginning of the other.
pub(super) fn joined(set: &ClassUnicode) -> ClassUnicode {
    let mut ranges: Vec<ClassUnicodeRange> = Vec::with_capacity(set.ranges().len());
    for range in set.iter() {
        match ranges.last_mut() {
            Some(last) if last.end() == '\u{D7FF}' && range.start() == '\u{E000}' => {
                *last = ClassUnicodeRange::new(last.start(), range.end());
            }
            _ => ranges.push(*range),
        }
    }
    ClassUnicode::new(ranges)
}

/// All other characters.
pub(super) fn negated(set: &ClassUnicode) -> ClassUnicode {
    let mut others = joined(set);
    others.negate();
    others
}

/// Whether both hold the same characters.
pub(super) fn same(one: &ClassUnicode, other: &ClassUnicode) -> bool {
    joined(one) == joined(other)
}

/// Spells sets and remembers how.
#[derive(Default)]
pub(super) struct Speller {
    known: HashMap<Vec<(char, char)>, String>,
}

impl Speller {
    /// One atom that matches the characters of `set`.
    pub(super) fn spell(&mut self, set: &ClassUnicode) -> &str {
        let ranges = set.iter().map(|range| (range.start(), range.end()));
        self.known
            .entry(ranges.collect())
            .or_insert_with(|| spell(set))
    }
}

fn spell(set: &ClassUnicode) -> String {
    if *set == *ANY {
        return r"\p{Any}".to_owned();
    }
    if set.ranges().is_empty() {
        return r"[^\p{Any}]".to_owned();
    }
    if let [only] = set.ranges()
        && only.start() == only.end()
    {
        return character(only.start());
    }
    let set = &joined(set);
    let others = negated(set);
    if let [line_feed] = others.ranges()
        && (line_feed.start(), line_feed.end()) == ('\n', '\n')
    {
        return ".".to_owned();
    }
    let (direct, without) = (items(set), items(&others));
    let length = |items: &[String]| items.iter().map(String::len).sum::<usize>();
    if length(&direct) > length(&without) {
        let text = match without.as_slice() {
            [only] if only == r"\s" => r"\S".to_owned(),
            [only] if only == r"\d" => r"\D".to_owned(),
            [only] if only.starts_with(r"\p") => only.replacen('p', "P", 1),
            _ => format!("[^{}]", without.concat()),
        };
        // See `joined`.
        if self::set(&text).is_some_and(|found| same(&found, set)) {
            return text;
        }
    }
    match direct.as_slice() {
        [only] if COVERS.contains(&only.as_str()) => only.clone(),
        _ => format!("[{}]", direct.concat()),
    }
}

/// The members of a class that together hold `set`.
fn items(set: &ClassUnicode) -> Vec<String> {
    let mut left = set.clone();
    let mut items = Vec::new();
    // A few ranges say more than the properties that happen to lie in them.
    if set.ranges().len() > FEW {
        for (text, cover) in COVERING.iter() {
            let mut inside = set.clone();
            inside.intersect(cover);
            let mut new = left.clone();
            new.intersect(cover);
            if inside == *cover && !new.ranges().is_empty() {
                items.push((*text).to_owned());
                left.difference(cover);
                left = joined(&left);
            }
        }
    }
    let ranges = left.iter().map(|range| {
        let (first, last) = (range.start(), range.end());
        let mut text = character(first);
        if last > first {
            if u32::from(last) - u32::from(first) > 1 {
                text.push('-');
            }
            text.push_str(&character(last));
        }
        text
    });
    items.extend(ranges);
    items
}

/// The sets of so few ranges are spelled by them.
const FEW: usize = 8;

/// One character, in a class or outside, as both engines read it.
pub(super) fn character(character: char) -> String {
    match character {
        '\n' => r"\n".to_owned(),
        '\r' => r"\r".to_owned(),
        '\t' => r"\t".to_owned(),
        'a'..='z' | 'A'..='Z' | '0'..='9' => character.to_string(),
        _ => {
            let mut text = String::new();
            // A string takes all that is written.
            let _ = write!(text, "\\x{{{:X}}}", u32::from(character));
            text
        }
    }
}
