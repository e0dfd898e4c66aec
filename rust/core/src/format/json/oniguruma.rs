//! Which split patterns mean to Oniguruma, which reads those of a `tokenizer.json`, what they mean here.
//!
//! The two read many a construct otherwise: `\w` holds other characters, `$` is the end of any
//! line, `{1,3}+` a repetition of a repetition, `(?i:ss)` also matches ß, `[[a]b]` and `[a-z&&b]` have
//! rules of their own. So a pattern is not searched for what is known to differ: it is read by a grammar
//! of what is known to be the same, and anything else is named. A parity test holds the
//! atoms of this grammar to Hugging Face's tokenizers over all code points.

use std::iter::Peekable;
use std::str::CharIndices;

/// A construct that may mean something else, and the byte at which it stands.
pub(super) struct Doubt {
    pub(super) at: usize,
    pub(super) construct: String,
}

/// The classes `\p{…}` that hold the same characters.
pub(super) const PROPERTIES: [&str; 47] = [
    "L",
    "Lu",
    "Ll",
    "Lt",
    "Lm",
    "Lo",
    "M",
    "Mn",
    "Mc",
    "Me",
    "N",
    "Nd",
    "Nl",
    "No",
    "P",
    "Pc",
    "Pd",
    "Ps",
    "Pe",
    "Pi",
    "Pf",
    "Po",
    "S",
    "Sm",
    "Sc",
    "Sk",
    "So",
    "Z",
    "Zs",
    "Zl",
    "Zp",
    "Cc",
    "Cf",
    "Letter",
    "Mark",
    "Number",
    "Punctuation",
    "Symbol",
    "Han",
    "Hiragana",
    "Katakana",
    "Hangul",
    "Cyrillic",
    "Greek",
    "Arabic",
    "Thai",
    "Hebrew",
];

/// The first construct of `regex` that is not known to mean the same to Oniguruma.
pub(super) fn first_doubt(regex: &str) -> Option<Doubt> {
    let mut reader = Reader {
        regex,
        rest: regex.char_indices().peekable(),
        open: vec![Group::default()],
    };
    reader.read().err()
}

/// What is known of an open group, or of the whole.
#[derive(Default)]
struct Group {
    kind: Kind,
    /// Whether the branch being read may be empty but for the atom read last.
    filled: bool,
    /// Whether a branch before it may be empty.
    empty: bool,
    /// The atom before, in a group that ignores case, by its letters in lower case.
    before: Vec<char>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[default]
    Plain,
    /// `(?i:…)`
    IgnoresCase,
    /// `(?!…)`
    LookAhead,
}

/// What was read last, as far as what may follow depends on it.
enum Atom {
    /// It takes a character.
    Character,
    /// It takes none: a look-ahead or the end of the text.
    Nothing,
    Group {
        ignores_case: bool,
        empty: bool,
    },
}

struct Reader<'r> {
    regex: &'r str,
    rest: Peekable<CharIndices<'r>>,
    open: Vec<Group>,
}

impl Reader<'_> {
    fn at(&mut self) -> usize {
        self.rest.peek().map_or(self.regex.len(), |&(at, _)| at)
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().map(|&(_, character)| character)
    }

    fn take(&mut self, wanted: char) -> bool {
        self.rest
            .next_if(|&(_, character)| character == wanted)
            .is_some()
    }

    /// Takes `text` where it is what comes next.
    fn take_all(&mut self, text: &str) -> bool {
        let at = self.at();
        let found = self.regex[at..].starts_with(text);
        if found {
            self.skip_to(at + text.len());
        }
        found
    }

    fn skip_to(&mut self, end: usize) {
        while self.rest.next_if(|&(at, _)| at < end).is_some() {}
    }

    /// Refuses what stands from `at` to the reader's place.
    fn doubt<T>(&mut self, at: usize, why: &str) -> Result<T, Doubt> {
        let end = self.at().max(at);
        let text: String = self.regex[at..end].chars().take(20).collect();
        let construct = if why.is_empty() {
            format!("`{text}`")
        } else {
            format!("`{text}`, {why},")
        };
        Err(Doubt { at, construct })
    }

    fn group(&mut self) -> &mut Group {
        self.open.last_mut().expect("the whole is never closed")
    }

    fn read(&mut self) -> Result<(), Doubt> {
        while let Some((at, character)) = self.rest.next() {
            let kind = self.group().kind;
            let atom = match character {
                '|' if kind != Kind::LookAhead => {
                    let group = self.group();
                    group.empty |= !group.filled;
                    group.filled = false;
                    group.before.clear();
                    continue;
                }
                '(' => {
                    self.open_group(at)?;
                    continue;
                }
                ')' => self.close_group(at)?,
                '[' => {
                    let members = self.class(at)?;
                    self.check_case(at, members)?;
                    Atom::Character
                }
                '\\' => self.escape_outside(at)?,
                '.' if kind != Kind::IgnoresCase => Atom::Character,
                '^' => return self.doubt(at, "there the start of any line"),
                '$' => return self.doubt(at, "there the end of any line"),
                '.' | '*' | '+' | '?' | '{' | '}' | ']' | '|' => return self.doubt(at, ""),
                _ => {
                    self.check_case(at, Some(vec![character]))?;
                    Atom::Character
                }
            };
            self.quantifier(&atom)?;
        }
        Ok(())
    }

    fn open_group(&mut self, at: usize) -> Result<(), Doubt> {
        if matches!(self.group().kind, Kind::IgnoresCase | Kind::LookAhead) {
            return self.doubt(at, "a group in one that ignores case or looks ahead");
        }
        let kind = if self.take_all("?:") {
            Kind::Plain
        } else if self.take_all("?i:") {
            Kind::IgnoresCase
        } else if self.take_all("?!") {
            Kind::LookAhead
        } else if self.peek() == Some('?') {
            let rest = &self.regex[at..];
            let end = rest[2..].find(|c: char| !c.is_alphanumeric() && c != '-');
            let end = end.map_or(self.regex.len(), |end| at + 2 + end);
            let wide = self.regex[end..].chars().next().map_or(0, char::len_utf8);
            self.skip_to(end + wide);
            return self.doubt(at, "");
        } else {
            Kind::Plain
        };
        self.open.push(Group {
            kind,
            ..Group::default()
        });
        Ok(())
    }

    fn close_group(&mut self, at: usize) -> Result<Atom, Doubt> {
        if self.open.len() == 1 {
            return self.doubt(at, "");
        }
        let closed = self.open.pop().unwrap_or_default();
        Ok(match closed.kind {
            Kind::LookAhead => Atom::Nothing,
            kind => Atom::Group {
                ignores_case: kind == Kind::IgnoresCase,
                empty: closed.empty || !closed.filled,
            },
        })
    }

    /// Without case Oniguruma takes some pairs for one letter: ss for ß, st for ﬆ, ff, fi and fl for ﬀ, ﬁ and ﬂ.
    /// `None` is a class of more than single ASCII characters.
    fn check_case(&mut self, at: usize, members: Option<Vec<char>>) -> Result<(), Doubt> {
        if self.group().kind != Kind::IgnoresCase {
            return Ok(());
        }
        let Some(members) = members.filter(|all| all.iter().all(char::is_ascii)) else {
            return self.doubt(at, "not ASCII where case is ignored");
        };
        let now: Vec<char> = members.iter().map(char::to_ascii_lowercase).collect();
        let before = std::mem::replace(&mut self.group().before, now.clone());
        let pair = |first: char, second: &str| {
            before.contains(&first) && now.iter().any(|&c| second.contains(c))
        };
        if pair('s', "st") || pair('f', "fil") {
            return self.doubt(at, "a pair that is one letter where case is ignored");
        }
        Ok(())
    }

    fn quantifier(&mut self, atom: &Atom) -> Result<(), Doubt> {
        let at = self.at();
        let ignores_case = self.group().kind == Kind::IgnoresCase;
        let next = self.peek();
        let (optional, repeated) = match next {
            Some('?') => (true, false),
            Some('*') => (true, true),
            Some('+') => (false, true),
            Some('{') => {
                let least = self.bounds(at)?;
                (least == 0, true)
            }
            _ => (false, false),
        };
        let quantified = optional || repeated;
        if quantified {
            if next != Some('{') {
                self.rest.next();
                let _lazy_or_possessive = self.take('?') || self.take('+');
            }
            if matches!(self.peek(), Some('?' | '*' | '+' | '{')) {
                self.rest.next();
                return self.doubt(at, "there a repetition of a repetition");
            }
            match atom {
                Atom::Nothing => return self.doubt(at, "a repeated assertion"),
                _ if ignores_case => return self.doubt(at, "a repetition where case is ignored"),
                Atom::Group {
                    ignores_case: true, ..
                } if repeated => {
                    return self.doubt(at, "a repetition of a group that ignores case");
                }
                Atom::Group { empty: true, .. } if repeated => {
                    return self.doubt(at, "a repetition of a group that may be empty");
                }
                _ => {}
            }
        }
        let group_before = matches!(
            atom,
            Atom::Group {
                ignores_case: true,
                ..
            }
        );
        if group_before && self.regex[self.at()..].starts_with("(?i:") {
            let at = self.at();
            self.skip_to(at + 4);
            return self.doubt(at, "a group that ignores case after another");
        }
        let takes = match atom {
            Atom::Character => !optional,
            Atom::Group { empty, .. } => !optional && !empty,
            Atom::Nothing => false,
        };
        self.group().filled |= takes;
        Ok(())
    }

    /// Takes `{n}`, `{n,}` or `{n,m}`, the last two also lazy; gives `n`.
    fn bounds(&mut self, at: usize) -> Result<u32, Doubt> {
        let inner = self.regex[at + 1..].split_once('}').map(|(inner, _)| inner);
        let digits = |text: &str| text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        let parsed = inner.and_then(|inner| {
            let (least, most) = inner.split_once(',').unwrap_or((inner, inner));
            (digits(least) && digits(most)).then(|| least.parse().ok())?
        });
        let (Some(inner), Some(least)) = (inner, parsed) else {
            self.rest.next();
            return self.doubt(at, "not {n}, {n,} or {n,m}");
        };
        let end = at + inner.len() + 2;
        self.skip_to(end);
        // `{n,m}?` takes as few as it can, but `{n}?` is there an optional `{n}`.
        let lazy = inner.contains(',') && self.take('?');
        if !lazy && matches!(self.peek(), Some('?' | '+')) {
            self.rest.next();
            return self.doubt(end - 1, "there a repetition of a repetition");
        }
        Ok(least)
    }

    fn escape_outside(&mut self, at: usize) -> Result<Atom, Doubt> {
        if self.take('z') {
            return Ok(Atom::Nothing);
        }
        let member = self.escape(at)?;
        let members = member.map(|character| vec![character]);
        self.check_case(at, members)?;
        Ok(Atom::Character)
    }

    /// The character that an escape stands for; `None` for a class.
    fn escape(&mut self, at: usize) -> Result<Option<char>, Doubt> {
        let Some((_, letter)) = self.rest.next() else {
            return self.doubt(at, "");
        };
        let character = match letter {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'f' => '\u{C}',
            'v' => '\u{B}',
            'a' => '\u{7}',
            's' | 'S' | 'd' | 'D' => return Ok(None),
            'p' | 'P' => {
                let rest = &self.regex[self.at()..];
                let name = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
                let Some((name, _)) = name.filter(|(name, _)| PROPERTIES.contains(name)) else {
                    let end = rest.find('}').map_or(0, |end| end + 1);
                    let end = self.at() + end;
                    self.skip_to(end);
                    return self.doubt(at, "");
                };
                let end = self.at() + name.len() + 2;
                self.skip_to(end);
                return Ok(None);
            }
            'x' | 'u' => return self.code_point(at, letter).map(Some),
            '<' | '>' => return self.doubt(at, ""),
            _ if letter.is_ascii_punctuation() => letter,
            _ => return self.doubt(at, ""),
        };
        Ok(Some(character))
    }

    /// `\x41`, `\x{41}` or `\u0041`; beyond ASCII two digits are a byte there.
    fn code_point(&mut self, at: usize, letter: char) -> Result<char, Doubt> {
        let braced = letter == 'x' && self.take('{');
        let start = self.at();
        let most = match (letter, braced) {
            (_, true) => 6,
            ('u', _) => 4,
            _ => 2,
        };
        let digits = self.regex[start..].bytes();
        let digits = digits.take(most).take_while(u8::is_ascii_hexdigit).count();
        self.skip_to(start + digits);
        let code = u32::from_str_radix(&self.regex[start..start + digits], 16).ok();
        let complete = if braced {
            self.take('}')
        } else {
            digits == most
        };
        let character = code.and_then(char::from_u32);
        match character.filter(|c| complete && (letter == 'u' || braced || c.is_ascii())) {
            Some(character) => Ok(character),
            None => self.doubt(at, ""),
        }
    }

    /// Whether a hyphen comes next that is not the last of its class.
    fn begins_range(&mut self) -> bool {
        let at = self.at();
        let mut next = self.regex[at..].chars();
        next.next() == Some('-') && !matches!(next.next(), Some(']' | '-'))
    }

    /// Reads a class; its members if they are single characters.
    fn class(&mut self, at: usize) -> Result<Option<Vec<char>>, Doubt> {
        let negated = self.take('^');
        let mut members = Some(Vec::new());
        let mut first = true;
        loop {
            let place = self.at();
            let Some((_, character)) = self.rest.next() else {
                return self.doubt(at, "a class that nothing closes");
            };
            let last = |reader: &mut Self| reader.peek() == Some(']');
            let member = match character {
                ']' if !first => break,
                ']' => return self.doubt(place, r"a bracket that comes first (write \])"),
                '[' => return self.doubt(place, r"a class in a class (write \[)"),
                '&' | '~' | '-' if self.take(character) => {
                    return self.doubt(place, "an operation on classes");
                }
                '-' if !first && !last(self) => return self.doubt(place, "a stray hyphen"),
                '\\' => self.escape(place)?,
                _ => Some(character),
            };
            first = false;
            let found = if self.begins_range() {
                self.rest.next();
                let end = self.at();
                let high = match self.rest.next() {
                    Some((_, '\\')) => self.escape(end)?,
                    Some((_, '[' | ']')) | None => None,
                    Some((_, high)) => Some(high),
                };
                let (Some(low), Some(high)) = (member, high) else {
                    return self.doubt(place, "a range without ends");
                };
                if self.begins_range() {
                    return self.doubt(place, "a hyphen after a range");
                }
                high.is_ascii().then_some(low..=high)
            } else {
                member.map(|member| member..=member)
            };
            match (&mut members, found) {
                (Some(members), Some(found)) => members.extend(found),
                _ => members = None,
            }
        }
        Ok(members.filter(|_| !negated))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::{NAMES, Pattern};
    use crate::scan::Pretokenizer;
    use crate::shard::format::hex;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};
    use std::collections::HashMap;

    #[test]
    fn what_is_the_same_is_taken() {
        let own = NAMES.into_iter().flat_map(|name| {
            let pattern = Pattern::named(name).unwrap();
            pattern.portable().unwrap()
        });
        let rows = [
            r"[\p{L}\p{M}]{2,7}|\s+(?!\S)|\s+|\p{L}|[^\s\p{L}]{1,4}?",
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|a\z|(a|b)+?|.",
            r"[-a]|[a-]|[a-z_-]|[^-]|[$^.|(){}*+?]|\-|\$|\x41\x{3042}\u3042|\p{Han}+|[^\p{Han}]",
            r"(?:a(b|cd?)*)+e?|a{3}|a{2,}",
        ];
        for regex in own.chain(rows.map(str::to_owned)) {
            let found = first_doubt(&regex).map(|doubt| doubt.construct);
            assert_eq!(found, None, "{regex}");
        }
    }

    /// The rows are Oniguruma's; a parity test holds them to it.
    #[test]
    fn atoms_hold_the_same_characters() {
        #[derive(serde::Deserialize)]
        struct Atom {
            regex: String,
            count: usize,
            sha256: String,
        }
        let rows = include_str!("../../../../../tests/data/oniguruma.toml");
        let mut rows: HashMap<String, Vec<Atom>> = toml::from_str(rows).unwrap();
        let atoms = rows.remove("atom").unwrap();
        for property in PROPERTIES {
            let regex = format!(r"\p{{{property}}}");
            assert!(atoms.iter().any(|atom| atom.regex == regex), "{regex}");
        }
        for Atom {
            regex,
            count,
            sha256,
        } in atoms
        {
            assert!(first_doubt(&regex).is_none(), "{regex}");
            let set = crate::unicode::set(&regex).unwrap();
            let ranges = set.iter().map(|range| range.start()..=range.end());
            let members: String = ranges.flatten().collect();
            assert_eq!(members.chars().count(), count, "{regex}");
            assert_eq!(hex(&Sha256::digest(&members)), sha256, "{regex}");
        }
    }

    /// (pattern, the byte, what is named there)
    #[test]
    fn what_may_differ_is_named() {
        let rows = [
            (r"a\w+", 1, r"`\w`"),
            (r"\b", 0, r"`\b`"),
            (r"[a\b]", 2, r"`\b`"),
            (r"[^]a]+$", 2, "`]`, a bracket that comes first"),
            ("a$", 1, "`$`, there the end of any line"),
            ("a|^b", 2, "`^`, there the start of any line"),
            (r"\A", 0, r"`\A`"),
            (
                r"[$]|\p{N}{1,3}+",
                13,
                "`}+`, there a repetition of a repetition",
            ),
            ("a{2}?", 3, "`}?`"),
            ("a**", 1, "`**`, there a repetition of a repetition"),
            ("a+?+", 1, "`+?+`"),
            ("a{,3}", 1, "`{`, not {n}"),
            ("x{", 1, "`{`, not {n}"),
            ("{", 0, "`{`"),
            ("+", 0, "`+`"),
            ("a]", 1, "`]`"),
            (")", 0, "`)`"),
            (r"(a)\1", 3, r"`\1`"),
            ("(?>a)", 0, "`(?>`"),
            ("(?=a)", 0, "`(?=`"),
            ("(?<=a)b", 0, "`(?<`"),
            ("(?P<n>a)", 0, "`(?P<`"),
            ("(?i)a", 0, "`(?i)`"),
            ("(?s-i:a)", 0, "`(?s-i:`"),
            ("(?#a)", 0, "`(?#`"),
            ("(?é", 0, "`(?é`"),
            ("(?", 0, "`(?`"),
            ("(?i:ss)", 5, "`s`, a pair that is one letter"),
            ("(?i:a[sf]I)", 9, "`I`, a pair that is one letter"),
            ("(?i:s)(?i:t)", 6, "`(?i:`, a group that ignores case after"),
            (
                "(?i:s){2}",
                6,
                "`{2}`, a repetition of a group that ignores case",
            ),
            ("(?i:s+)", 5, "`+`, a repetition where case"),
            ("(?i:é)", 4, "`é`, not ASCII"),
            (r"(?i:\p{L})", 4, r"`\p{L}`, not ASCII"),
            ("(?i:[^a])", 4, "`[^a]`, not ASCII"),
            ("(?i:(a))", 4, "`(`, a group in one"),
            ("(?i:.)", 4, "`.`"),
            (r"\p{Word}", 0, r"`\p{Word}`"),
            (r"\p{^L}", 0, r"`\p{^L}`"),
            (r"\pL", 0, r"`\p`"),
            (r"\xe9", 0, r"`\xe9`"),
            (r"\x{110000}", 0, r"`\x{110000}`"),
            (r"\u{41}", 0, r"`\u`"),
            (r"\<", 0, r"`\<`"),
            (r"\h", 0, r"`\h`"),
            (r"\R", 0, r"`\R`"),
            (r"\é", 0, r"`\é`"),
            (r"\", 0, r"`\`"),
            ("[a-z&&b]", 4, "`&&`, an operation"),
            ("[a--b]", 2, "`--`"),
            ("[a~~b]", 2, "`~~`"),
            ("[[:alpha:]]", 1, "`[`, a class in a class"),
            ("[a[b]]", 2, "`[`, a class in a class"),
            ("[a", 0, "`[a`, a class that nothing closes"),
            ("[]", 1, "`]`"),
            (r"[\s-x]", 1, r"`\s-x`, a range without ends"),
            ("[a-z-9]", 1, "`a-z`, a hyphen after a range"),
            ("(a*)*", 4, "`*`, a repetition of a group that may be empty"),
            ("(|a)+", 4, "`+`, a repetition of a group that may be empty"),
            (
                "(?:a?|b){2}",
                8,
                "`{2}`, a repetition of a group that may be empty",
            ),
            (r"a(?!\S)+", 7, "`+`, a repeated assertion"),
            (r"(?!\S|a)", 5, "`|`"),
        ];
        for (regex, at, construct) in rows {
            let doubt = first_doubt(regex).unwrap_or_else(|| panic!("{regex}"));
            assert!(
                doubt.construct.starts_with(construct),
                "{regex}: {}",
                doubt.construct
            );
            assert_eq!(doubt.at, at, "{regex}: {}", doubt.construct);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_pattern_panics(parts in prop::collection::vec(prop::sample::select(&[
            "a", "s", "t", "é", "(", ")", "[", "]", "{", "}", "(?", "(?i:", "(?:", "(?!", "-", "^", "|", "\\",
            "?", "*", "+", ",", "1", r"\p", r"\p{L}", r"\x", r"\u", r"\s", "&&", ".", "[^",
        ][..]), 0..12)) {
            let regex = parts.concat();
            if first_doubt(&regex).is_none() {
                let _ = Pretokenizer::new(&Pattern::regex(regex));
            }
        }
    }
}
