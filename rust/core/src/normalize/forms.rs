//! Unicode's four normal forms, as `tokenizers` computes them: by the tables of one crate and one version.
//!
//! The crate is the one that `tokenizers` uses, for its tables are older than today's. It takes a text character
//! by character, at some 20 ns each. So only what may change is given to it: most characters stay as they
//! are in every text and join with none before them, which a bit for each tells. Between two of those stand at most the marks of
//! one letter, or one syllable. A run of such marks may be as long as the text; it is normalized as a whole.

use std::sync::LazyLock;

use unicode_normalization_alignments::char::canonical_combining_class;
use unicode_normalization_alignments::{
    IsNormalized, UnicodeNormalization, is_nfc_quick, is_nfd_quick, is_nfkc_quick, is_nfkd_quick,
};

use super::Rewriter;

/// A normal form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Canonical composition.
    Nfc,
    /// Canonical decomposition.
    Nfd,
    /// Compatibility composition.
    Nfkc,
    /// Compatibility decomposition.
    Nfkd,
}

/// All characters from here on stay as they are.
const ALL_KEPT: u32 = 0x3_0000;

/// One bit for each code point below [`ALL_KEPT`].
struct Kept(Vec<u64>);

static KEPT: [LazyLock<Kept>; 4] = [
    LazyLock::new(|| Kept::new(Form::Nfc)),
    LazyLock::new(|| Kept::new(Form::Nfd)),
    LazyLock::new(|| Kept::new(Form::Nfkc)),
    LazyLock::new(|| Kept::new(Form::Nfkd)),
];

impl Kept {
    fn new(form: Form) -> Self {
        let mut bits = vec![0; ALL_KEPT as usize / 64];
        for character in (0..ALL_KEPT).filter_map(char::from_u32) {
            if form.keeps(character) {
                bits[character as usize / 64] |= 1 << (character as u32 % 64);
            }
        }
        Self(bits)
    }

    #[inline]
    fn holds(&self, character: char) -> bool {
        let code = character as usize;
        self.0
            .get(code / 64)
            .is_none_or(|bits| bits >> (code % 64) & 1 == 1)
    }
}

impl Form {
    /// Its name, as files have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nfc => "NFC",
            Self::Nfd => "NFD",
            Self::Nfkc => "NFKC",
            Self::Nfkd => "NFKD",
        }
    }

    /// Whether `character` stays as it is and joins with nothing that stands before it.
    fn keeps(self, character: char) -> bool {
        let one = std::iter::once(character);
        let quick = match self {
            Self::Nfc => is_nfc_quick(one),
            Self::Nfd => is_nfd_quick(one),
            Self::Nfkc => is_nfkc_quick(one),
            Self::Nfkd => is_nfkd_quick(one),
        };
        quick == IsNormalized::Yes && canonical_combining_class(character) == 0
    }

    fn kept(self) -> &'static Kept {
        &KEPT[self as usize]
    }

    /// [`Form::keeps`] by its table.
    pub(super) fn keeps_alone(self, character: char) -> bool {
        character.is_ascii() || self.kept().holds(character)
    }

    pub(super) fn rewrite(self, text: &mut Rewriter<'_>) {
        let given = text.given();
        if given.is_ascii() {
            return;
        }
        let kept = self.kept();
        // Where the last character began that stays, and is no part of what was normalized.
        let mut last = 0;
        let mut at = 0;
        while let Some(character) = next(given, &mut last, &mut at) {
            if kept.holds(character) {
                last = at;
                at += character.len_utf8();
                continue;
            }
            let start = last;
            let rest = given[at..].char_indices();
            let mut rest = rest.skip_while(|&(_, character)| !self.keeps_alone(character));
            let end = rest.next().map_or(given.len(), |(offset, _)| at + offset);
            self.normalize(text, start, end);
            last = end;
            at = end;
        }
    }

    /// Normalizes a stretch that nothing around it joins with.
    fn normalize(self, text: &mut Rewriter<'_>, start: usize, end: usize) {
        let stretch = &text.given()[start..end];
        let changes = |form: &mut dyn Iterator<Item = (char, isize)>| {
            let same = form.map(|(character, _)| character).eq(stretch.chars());
            !same
        };
        match self {
            Self::Nfc if changes(&mut stretch.nfc()) => put(text, stretch.nfc(), start, end),
            Self::Nfd if changes(&mut stretch.nfd()) => put(text, stretch.nfd(), start, end),
            Self::Nfkc if changes(&mut stretch.nfkc()) => put(text, stretch.nfkc(), start, end),
            Self::Nfkd if changes(&mut stretch.nfkd()) => put(text, stretch.nfkd(), start, end),
            _ => {}
        }
    }
}

/// The character at `at`, after ASCII was passed over.
#[inline]
fn next(text: &str, last: &mut usize, at: &mut usize) -> Option<char> {
    let bytes = &text.as_bytes()[*at..];
    let ascii = leading_ascii(bytes);
    if ascii > 0 {
        *at += ascii;
        *last = *at - 1;
    }
    text[*at..].chars().next()
}

/// How many bytes of ASCII stand at the beginning.
#[inline]
fn leading_ascii(bytes: &[u8]) -> usize {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut at = 0;
    while let Some(&word) = bytes[at..].first_chunk::<8>() {
        let high = u64::from_le_bytes(word) & HIGH;
        if high != 0 {
            return at + high.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + bytes[at..]
        .iter()
        .take_while(|byte| byte.is_ascii())
        .count()
}

/// Puts a normalized stretch in its place. With each character comes how many characters of the stretch it
/// takes beyond one: a negative count of them, or 1 where it takes none.
fn put(
    text: &mut Rewriter<'_>,
    normalized: impl Iterator<Item = (char, isize)>,
    start: usize,
    end: usize,
) {
    let stretch = &text.given()[start..end];
    let mut taken = stretch.char_indices().map(|(offset, _)| start + offset);
    let mut from = start;
    let mut buffer = [0; 4];
    text.begin(start);
    for (character, change) in normalized {
        if change <= 0 {
            from = taken.next().unwrap_or(from);
            for _ in 0..-change {
                taken.next();
            }
        }
        text.push(character.encode_utf8(&mut buffer), from);
    }
    text.end(end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const FORMS: [Form; 4] = [Form::Nfc, Form::Nfd, Form::Nfkc, Form::Nfkd];

    fn whole(form: Form, text: &str) -> String {
        let all: Vec<(char, isize)> = match form {
            Form::Nfc => text.nfc().collect(),
            Form::Nfd => text.nfd().collect(),
            Form::Nfkc => text.nfkc().collect(),
            Form::Nfkd => text.nfkd().collect(),
        };
        all.into_iter().map(|(character, _)| character).collect()
    }

    #[test]
    fn characters_beyond_the_table_stay() {
        for form in FORMS {
            assert!(
                (ALL_KEPT..=0x10_FFFF)
                    .filter_map(char::from_u32)
                    .all(|c| form.keeps(c))
            );
            assert!(
                ('\0'..='\x7F').all(|c| form.keeps(c)),
                "ASCII is passed over"
            );
        }
    }

    /// What the table calls kept is its own form, and no character that joins with one before it begins it.
    #[test]
    fn kept_characters_join_with_none_before_them() {
        let all = || '\0'..=char::MAX;
        // The last characters of what is composed are those that join with one before.
        let mut joining: HashSet<char> = HashSet::new();
        for character in all() {
            let parts: Vec<char> = whole(Form::Nfd, &character.to_string()).chars().collect();
            if parts.len() > 1 {
                joining.extend(&parts[1..]);
            }
        }
        for form in FORMS {
            for character in all().filter(|&character| form.keeps(character)) {
                let text = character.to_string();
                assert_eq!(whole(form, &text), text);
                let first = whole(Form::Nfd, &text).chars().next().unwrap();
                assert_eq!(canonical_combining_class(first), 0, "{character:?}");
                assert!(
                    !joining.contains(&first) || matches!(form, Form::Nfd | Form::Nfkd),
                    "{character:?}"
                );
            }
        }
    }
}
