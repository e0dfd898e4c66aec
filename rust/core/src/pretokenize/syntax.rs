//! Split patterns read into alternatives of simple elements.
//!
//! GPT-style patterns use two things that linear-time engines lack: possessive
//! quantifiers (`\p{L}++`) and the look-ahead `\s+(?!\S)`. `regex-syntax` reads
//! the first as a repeated repetition and refuses the second, so the top level
//! of a pattern is read here, and only sets and groups are handed to it.
//!
//! A possessive quantifier is accepted where it means the same as the greedy
//! one, which is when giving a character back could never help: nothing
//! mandatory follows, or what follows cannot begin with a character of the
//! repeated set. Every possessive quantifier in the published patterns is of
//! that kind. Backtracking is therefore never needed, and everything else that
//! would need it (other look-arounds, atomic groups, back-references) is an
//! error with its place.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look, Repetition};

use crate::{Error, Result};

/// One branch of the top-level alternation.
#[derive(Debug, Clone)]
pub(super) struct Alternative {
    pub(super) elements: Vec<Element>,
}

/// One atom with its quantifier.
#[derive(Debug, Clone)]
pub(super) struct Element {
    pub(super) node: Node,
    pub(super) min: u32,
    /// `None` is unbounded.
    pub(super) max: Option<u32>,
    pub(super) greedy: bool,
    possessive: bool,
    /// The atom as written, without its quantifier.
    text: String,
}

/// What an element matches once.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// One character of a set; literals are sets of one.
    Set(ClassUnicode),
    /// Anything in parentheses, and anchors other than the end of the text.
    Group(Hir),
    /// The end of the text: `$` or `\z`.
    End,
    /// `(?!set)`: the next character, if any, is not in the set.
    NotAhead(ClassUnicode),
}

impl Element {
    fn hir(&self) -> Hir {
        let sub = match &self.node {
            Node::Set(set) => Hir::class(Class::Unicode(set.clone())),
            Node::Group(hir) => hir.clone(),
            Node::End => Hir::look(Look::End),
            Node::NotAhead(_) => Hir::empty(),
        };
        if (self.min, self.max) == (1, Some(1)) {
            return sub;
        }
        Hir::repetition(Repetition {
            min: self.min,
            max: self.max,
            greedy: self.greedy,
            sub: Box::new(sub),
        })
    }

    fn optional(&self) -> bool {
        match &self.node {
            Node::Set(_) => self.min == 0,
            Node::Group(hir) => self.min == 0 || hir.properties().minimum_len() == Some(0),
            Node::End | Node::NotAhead(_) => false,
        }
    }
}

impl Alternative {
    /// The branch as an expression, without its look-ahead.
    pub(super) fn hir(&self) -> Hir {
        Hir::concat(self.elements.iter().map(Element::hir).collect())
    }

    /// Whether this is `set+(?!not set)`, the one look-ahead that is supported.
    pub(super) fn is_look_ahead(&self) -> bool {
        matches!(
            self.elements.last(),
            Some(Element {
                node: Node::NotAhead(_),
                ..
            })
        )
    }
}

/// Reads `pattern`; an error says what cannot be supported, and where.
pub(super) fn parse(pattern: &str) -> Result<Vec<Alternative>> {
    match Reader::new(pattern).alternatives() {
        Ok(alternatives) => Ok(alternatives),
        // Inline flags and the like: fine as a whole when no element needs care.
        Err(_) if !needs_care(pattern) => {
            let hir =
                regex_syntax::parse(pattern).map_err(|error| unsupported(pattern, 0, &error))?;
            let element = Element {
                node: Node::Group(hir),
                min: 1,
                max: Some(1),
                greedy: true,
                possessive: false,
                text: pattern.to_owned(),
            };
            Ok(vec![Alternative {
                elements: vec![element],
            }])
        }
        Err(error) => Err(error),
    }
}

/// The same pattern in the spelling that Oniguruma, `fancy-regex` and `regex`
/// read alike: greedy for possessive quantifiers (Oniguruma reads `{1,3}+` as a
/// repetition of a repetition), `\z` for `$` (there the end of any line).
pub(super) fn portable(pattern: &str) -> Result<String> {
    let alternatives = parse(pattern)?;
    let elements = || alternatives.iter().flat_map(|a| &a.elements);
    if !elements().any(|e| e.possessive || matches!(e.node, Node::End)) {
        return Ok(pattern.to_owned());
    }
    let branch =
        |alternative: &Alternative| -> String { alternative.elements.iter().map(spell).collect() };
    let branches: Vec<String> = alternatives.iter().map(branch).collect();
    Ok(branches.join("|"))
}

fn spell(element: &Element) -> String {
    let atom = match element.node {
        Node::End => r"\z",
        _ => element.text.as_str(),
    };
    let quantifier = match (element.min, element.max) {
        (1, Some(1)) => String::new(),
        (0, Some(1)) => "?".to_owned(),
        (0, None) => "*".to_owned(),
        (1, None) => "+".to_owned(),
        (min, None) => format!("{{{min},}}"),
        (min, Some(max)) if min == max => format!("{{{min}}}"),
        (min, Some(max)) => format!("{{{min},{max}}}"),
    };
    let lazy = if element.greedy { "" } else { "?" };
    format!("{atom}{quantifier}{lazy}")
}

/// The set of characters that `text`, one atom, matches.
pub(super) fn set(text: &str) -> Option<ClassUnicode> {
    set_of(&regex_syntax::parse(text).ok()?)
}

fn set_of(hir: &Hir) -> Option<ClassUnicode> {
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class.clone()),
        HirKind::Class(Class::Bytes(class)) => class.to_unicode_class(),
        HirKind::Literal(literal) => {
            let mut chars = std::str::from_utf8(&literal.0).ok()?.chars();
            let only = chars.next()?;
            let range = ClassUnicodeRange::new(only, only);
            chars.next().is_none().then(|| ClassUnicode::new([range]))
        }
        _ => None,
    }
}

fn unsupported(pattern: &str, at: usize, reason: &dyn ToString) -> Error {
    Error::UnsupportedPattern {
        pattern: pattern.to_owned(),
        at,
        reason: reason.to_string(),
    }
}

/// Whether a possessive quantifier or a look-around stands anywhere.
fn needs_care(pattern: &str) -> bool {
    let reader = Reader::new(pattern);
    let mut at = 0;
    while at < pattern.len() {
        let rest = &pattern[at..];
        if CARE.iter().any(|opening| rest.starts_with(opening)) {
            return true;
        }
        at = match rest.as_bytes()[0] {
            b'(' => at + group_opening(rest),
            b')' | b'|' => at + 1,
            _ => reader.atom_end(at),
        };
        match reader.quantifier(at) {
            Ok(quantifier) if quantifier.possessive => return true,
            Ok(quantifier) => at = quantifier.end,
            Err(_) => at += 1,
        }
    }
    false
}

const CARE: [&str; 5] = ["(?=", "(?!", "(?<=", "(?<!", "(?>"];

/// The length of `(`, `(?:`, `(?i:`, `(?P<name>` and their like.
fn group_opening(rest: &str) -> usize {
    if !rest.starts_with("(?") {
        return 1;
    }
    rest.find([':', '>', ')']).map_or(rest.len(), |end| {
        if rest.as_bytes()[end] == b')' {
            end
        } else {
            end + 1
        }
    })
}

struct Quantifier {
    min: u32,
    max: Option<u32>,
    greedy: bool,
    possessive: bool,
    end: usize,
}

struct Reader<'p> {
    pattern: &'p str,
}

impl<'p> Reader<'p> {
    fn new(pattern: &'p str) -> Self {
        Self { pattern }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.pattern.as_bytes().get(at).copied()
    }

    fn refuse<T>(&self, at: usize, reason: &str) -> Result<T> {
        Err(unsupported(self.pattern, at, &reason))
    }

    fn alternatives(&self) -> Result<Vec<Alternative>> {
        let mut alternatives = Vec::new();
        let mut elements = Vec::new();
        let mut start = 0;
        let mut at = 0;
        loop {
            match self.byte(at) {
                None | Some(b'|') => {
                    let elements = std::mem::take(&mut elements);
                    alternatives.push(self.alternative(elements, start)?);
                    if at == self.pattern.len() {
                        return Ok(alternatives);
                    }
                    at += 1;
                    start = at;
                }
                Some(_) => {
                    let (element, end) = self.element(at)?;
                    elements.push(element);
                    at = end;
                }
            }
        }
    }

    /// Checks what only shows in the whole branch.
    fn alternative(&self, elements: Vec<Element>, at: usize) -> Result<Alternative> {
        for (index, element) in elements.iter().enumerate() {
            if element.possessive && !greedy_is_possessive(element, &elements[index + 1..]) {
                let text = &element.text;
                return self.refuse(
                    at,
                    &format!("the possessive quantifier of {text} differs from a greedy one here"),
                );
            }
            let Node::NotAhead(ahead) = &element.node else {
                continue;
            };
            let mut complement = ahead.clone();
            complement.negate();
            let simple = index == 1
                && elements.len() == 2
                && matches!(&elements[0], Element { node: Node::Set(set), min: 1, max: None, greedy: true, possessive: false, .. } if *set == complement);
            if !simple {
                return self.refuse(at, r"of look-aheads only the form \s+(?!\S) is supported");
            }
        }
        Ok(Alternative { elements })
    }

    fn element(&self, at: usize) -> Result<(Element, usize)> {
        let end = self.atom_end(at);
        let text = &self.pattern[at..end];
        let node = self.node(text, at)?;
        let quantifier = self.quantifier(end)?;
        let counted = (quantifier.min, quantifier.max) != (1, Some(1));
        if counted && matches!(node, Node::End | Node::NotAhead(_)) {
            return self.refuse(at, "a quantifier on an assertion");
        }
        let element = Element {
            node,
            min: quantifier.min,
            max: quantifier.max,
            greedy: quantifier.greedy,
            possessive: quantifier.possessive,
            text: text.to_owned(),
        };
        Ok((element, quantifier.end))
    }

    fn node(&self, text: &str, at: usize) -> Result<Node> {
        if text == "$" || text == r"\z" {
            return Ok(Node::End);
        }
        if let Some(inner) = text.strip_prefix("(?!") {
            let inner = &inner[..inner.len().saturating_sub(1)];
            return match set(inner) {
                Some(set) => Ok(Node::NotAhead(set)),
                None => self.refuse(at, "a look-ahead at more than one character"),
            };
        }
        if CARE.iter().any(|opening| text.starts_with(opening)) {
            return self.refuse(at, r"of look-arounds only \s+(?!\S) is supported");
        }
        if text.starts_with('(') {
            let flags_only = text.starts_with("(?") && !text.contains([':', '>']);
            if flags_only || needs_care(text) {
                return self.refuse(
                    at,
                    "a look-around, a possessive quantifier or inline flags inside a group",
                );
            }
        }
        let hir =
            regex_syntax::parse(text).map_err(|error| unsupported(self.pattern, at, &error))?;
        match set_of(&hir) {
            Some(set) if !text.starts_with('(') => Ok(Node::Set(set)),
            _ => Ok(Node::Group(hir)),
        }
    }

    /// Where the atom that starts at `at` ends; unbalanced ones end the pattern.
    fn atom_end(&self, at: usize) -> usize {
        match self.byte(at) {
            None => at,
            Some(b'\\') => self.escape_end(at),
            Some(b'[') => self.set_end(at),
            Some(b'(') => {
                let mut inner = at + group_opening(&self.pattern[at..]);
                loop {
                    match self.byte(inner) {
                        None => return inner,
                        Some(b')') => return inner + 1,
                        Some(_) => inner = self.atom_end(inner),
                    }
                }
            }
            Some(_) => at + self.char_len(at),
        }
    }

    fn char_len(&self, at: usize) -> usize {
        self.pattern[at..].chars().next().map_or(0, char::len_utf8)
    }

    fn escape_end(&self, at: usize) -> usize {
        let letter = at + 1;
        let Some(byte) = self.byte(letter) else {
            return letter;
        };
        let braced = self.byte(letter + 1) == Some(b'{');
        let end = match byte {
            b'p' | b'P' | b'x' | b'u' | b'U' if braced => {
                return self.pattern[letter..]
                    .find('}')
                    .map_or(self.pattern.len(), |close| letter + close + 1);
            }
            b'p' | b'P' => letter + 2,
            b'x' => letter + 3,
            b'u' => letter + 5,
            b'U' => letter + 9,
            _ => letter + self.char_len(letter),
        };
        // A truncated escape may end inside a character: step to its end.
        (end.min(self.pattern.len())..=self.pattern.len())
            .find(|&end| self.pattern.is_char_boundary(end))
            .unwrap_or(self.pattern.len())
    }

    fn set_end(&self, at: usize) -> usize {
        let mut inner = at + 1;
        if self.byte(inner) == Some(b'^') {
            inner += 1;
        }
        if self.byte(inner) == Some(b']') {
            inner += 1;
        }
        loop {
            match self.byte(inner) {
                None => return inner,
                Some(b']') => return inner + 1,
                Some(b'[') => inner = self.set_end(inner),
                Some(b'\\') => inner = self.escape_end(inner),
                Some(_) => inner += self.char_len(inner),
            }
        }
    }

    fn quantifier(&self, at: usize) -> Result<Quantifier> {
        let (min, max, end) = match self.byte(at) {
            Some(b'?') => (0, Some(1), at + 1),
            Some(b'*') => (0, None, at + 1),
            Some(b'+') => (1, None, at + 1),
            Some(b'{') => self.bounds(at)?,
            _ => {
                return Ok(Quantifier {
                    min: 1,
                    max: Some(1),
                    greedy: true,
                    possessive: false,
                    end: at,
                });
            }
        };
        let possessive = self.byte(end) == Some(b'+');
        let lazy = self.byte(end) == Some(b'?');
        Ok(Quantifier {
            min,
            max,
            greedy: !lazy,
            possessive,
            end: end + usize::from(possessive || lazy),
        })
    }

    fn bounds(&self, at: usize) -> Result<(u32, Option<u32>, usize)> {
        let rest = &self.pattern[at + 1..];
        let parsed = rest.split_once('}').and_then(|(inner, _)| {
            let end = at + inner.len() + 2;
            let (low, high) = inner.split_once(',').unwrap_or((inner, inner));
            let min = low.parse().ok()?;
            let max = if high.is_empty() {
                None
            } else {
                Some(high.parse().ok()?)
            };
            Some((min, max, end))
        });
        match parsed {
            Some(bounds @ (min, max, _)) if max.is_none_or(|max| min <= max && max > 0) => {
                Ok(bounds)
            }
            _ => self.refuse(at, "expected {n}, {n,} or {n,m}"),
        }
    }
}

/// Whether giving back what `element` took could never make `rest` match.
fn greedy_is_possessive(element: &Element, rest: &[Element]) -> bool {
    if rest.iter().all(Element::optional) {
        return true;
    }
    let Node::Set(taken) = &element.node else {
        return false;
    };
    for next in rest {
        match &next.node {
            Node::End => return true,
            Node::Set(first) => {
                let mut shared = taken.clone();
                shared.intersect(first);
                if !shared.ranges().is_empty() {
                    return false;
                }
            }
            Node::Group(_) | Node::NotAhead(_) => return false,
        }
        if !next.optional() {
            return true;
        }
    }
    true
}
