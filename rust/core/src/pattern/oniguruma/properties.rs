//! What Oniguruma calls classes of characters, and what the regex crate calls them.
//!
//! A parity test compares the sets of all names over all code points. Two names stand for two sets each: outside of
//! brackets `\w` and `\p{Word}` take six characters of Latin-1 (² ³ ¹ ¼ ½ ¾) that they leave out within,
//! and `[[:punct:]]` holds symbols too, which `\p{Punct}` does not.

use regex_syntax::hir::ClassUnicode;

use super::sets;
use crate::unicode::set;

/// The names that both read alike, in the spelling of the Unicode standard.
#[rustfmt::skip]
pub(super) const SAME: [&str; 141] = [
    "L", "Lu", "Ll", "Lt", "Lm", "Lo", "LC", "M", "Mn", "Mc", "Me", "N", "Nd", "Nl", "No", "P", "Pc", "Pd", "Ps",
    "Pe", "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl", "Zp", "C", "Cc", "Cf", "Cn", "Co",
    "Letter", "Uppercase_Letter", "Lowercase_Letter", "Titlecase_Letter", "Modifier_Letter", "Other_Letter", "Mark",
    "Nonspacing_Mark", "Spacing_Mark", "Enclosing_Mark", "Number", "Decimal_Number", "Letter_Number",
    "Other_Number", "Punctuation", "Connector_Punctuation", "Dash_Punctuation", "Open_Punctuation",
    "Close_Punctuation", "Initial_Punctuation", "Final_Punctuation", "Other_Punctuation", "Symbol", "Math_Symbol",
    "Currency_Symbol", "Modifier_Symbol", "Other_Symbol", "Separator", "Space_Separator", "Line_Separator",
    "Paragraph_Separator", "Other", "Control", "Format", "Unassigned", "Private_Use", "Any", "Assigned",
    "Alphabetic", "Uppercase", "Lowercase", "White_Space", "Cased", "Case_Ignorable", "Ideographic",
    "Unified_Ideograph", "Math", "Dash", "Diacritic", "Extender", "Hex_Digit", "Join_Control", "Variation_Selector",
    "Emoji", "Emoji_Presentation", "Emoji_Modifier", "Emoji_Component", "Extended_Pictographic",
    "Default_Ignorable_Code_Point", "ID_Start", "ID_Continue", "XID_Start", "XID_Continue", "Common", "Inherited",
    "Latin", "Greek", "Cyrillic", "Armenian", "Hebrew", "Arabic", "Syriac", "Thaana", "Devanagari", "Bengali",
    "Gurmukhi", "Gujarati", "Oriya", "Tamil", "Telugu", "Kannada", "Malayalam", "Sinhala", "Thai", "Lao", "Tibetan",
    "Myanmar", "Georgian", "Hangul", "Ethiopic", "Cherokee", "Mongolian", "Khmer", "Hiragana", "Katakana",
    "Bopomofo", "Han", "Yi", "Gothic", "Coptic", "Javanese", "Balinese", "Tifinagh", "Nko",
];

/// Other names: as Oniguruma compares them, and what the regex crate writes for it.
#[rustfmt::skip]
pub(super) const OTHERS: [(&str, &str); 14] = [
    ("alnum", r"[\p{Alphabetic}\p{Nd}]"),
    ("alpha", r"\p{Alphabetic}"),
    ("blank", r"[\t\p{Zs}]"),
    ("cntrl", r"\p{Cc}"),
    ("digit", r"\p{Nd}"),
    ("graph", r"[^\s\p{Cc}\p{Cn}]"),
    ("lower", r"\p{Lowercase}"),
    ("print", r"[^\p{Cc}\p{Cn}\p{Zl}\p{Zp}]"),
    ("punct", r"\p{P}"),
    ("space", r"\s"),
    ("upper", r"\p{Uppercase}"),
    ("xdigit", r"[0-9A-Fa-f]"),
    ("word", WORD),
    ("ascii", r"[\x00-\x7F]"),
];

/// `\w` in brackets.
pub(super) const WORD: &str = r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]";
/// `\w` outside of brackets.
const WORD_ALONE: &str = r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}²³¹¼½¾]";

/// The characters of `\p{name}`, in brackets or `alone`; `^` before the name is not.
pub(super) fn property(name: &str, alone: bool) -> Option<ClassUnicode> {
    let (name, negated) = match name.strip_prefix('^') {
        Some(name) => (name, true),
        None => (name, false),
    };
    let compared = compared(name);
    let known = SAME.iter().find(|known| self::compared(known) == compared);
    let other = || OTHERS.iter().find(|(other, _)| *other == compared);
    let found = match known {
        Some(known) => set(&format!(r"\p{{{known}}}")),
        None if compared == "word" && alone => set(WORD_ALONE),
        None => set(other()?.1),
    };
    let found = found?;
    Some(if negated {
        sets::negated(&found)
    } else {
        found
    })
}

/// The characters of `[:name:]`.
pub(super) fn bracket(name: &str) -> Option<ClassUnicode> {
    let (name, negated) = match name.strip_prefix('^') {
        Some(name) => (name, true),
        None => (name, false),
    };
    let (_, text) = OTHERS.iter().find(|(other, _)| *other == name)?;
    let mut found = set(if name == "punct" {
        r"[\p{P}\p{S}]"
    } else {
        text
    })?;
    if negated {
        found.negate();
    }
    Some(found)
}

/// The characters of an escape that stands for a class.
pub(super) fn escape(letter: char, alone: bool) -> Option<ClassUnicode> {
    let found = match letter.to_ascii_lowercase() {
        's' => set(r"\s"),
        'd' => set(r"\d"),
        'w' => set(if alone { WORD_ALONE } else { WORD }),
        'h' => set("[0-9A-Fa-f]"),
        _ => None,
    }?;
    let negated = letter.is_ascii_uppercase();
    Some(if negated {
        sets::negated(&found)
    } else {
        found
    })
}

/// Case, spaces, hyphens and underscores make no difference.
fn compared(name: &str) -> String {
    let letters = name.chars().filter(|c| !matches!(c, ' ' | '-' | '_'));
    letters.flat_map(char::to_lowercase).collect()
}
