//! What is kept, what is respelled, what is named.

use super::properties::{OTHERS, SAME};
use super::*;
use crate::pattern::parser::parse;
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
        let found = read(&regex).map_err(|doubt| doubt.construct);
        assert_eq!(found.as_ref(), Ok(&regex));
        let written = write(&regex).unwrap();
        assert_eq!(read(&written).ok(), Some(written));
    }
}

/// (to Oniguruma, to the regex crate)
#[test]
fn what_oniguruma_reads_otherwise_is_respelled() {
    let rows = [
        (r"a\h+|\H", "a[0-9A-Fa-f]+|[^0-9A-Fa-f]"),
        ("(?m:.+)|.", "(?s:.+)|."),
        (r"\N\O", r"[^\n]\p{Any}"),
        ("a{2}?b", "(?:a{2})?b"),
        (r"(?:ab|\pP{1,3}+)", ""),
        (r"(?:ab){1,3}+c", "(?:(?:ab){1,3})+c"),
        (r"\p{N}{2}+", r"(?:\p{N}{2})+"),
        ("a{,3}b", "a{0,3}b"),
        (r"a$|\s+\z|\A.", r"a(?m:$)|\s+\z|\A."),
        ("^a|(?:b|^c)", "(?m:^)a|(?:b|(?m:^)c)"),
        (r"\e[\e]", r"\x{1B}\x{1B}"),
        (r"[[:alpha:]]+|[[:^space:]]", r"\p{Alphabetic}+|\S"),
        (r"[^(\s|[.,!?…])]+", r"[^(\s|[.,!?…])]+"),
        (
            r"[\p{Han}]+|[\p{Lu}\p{M}&&[^\p{Han}]]",
            r"[\p{Han}]+|[\p{Lu}\p{M}&&[^\p{Han}]]",
        ),
        (r"\p{^L}\P{^L}", r"\P{L}\p{L}"),
        (r"(?:\A|(?<=\n))a", "(?m:^)a"),
    ];
    for (oniguruma, rust) in rows {
        match read(oniguruma) {
            Ok(found) => assert_eq!(found, rust, "{oniguruma}"),
            Err(_) => assert_eq!("", rust, "{oniguruma}"),
        }
    }
    let word = read(r"\w").unwrap();
    assert!(
        word.starts_with(r"[\p{Alphabetic}") && word.contains(r"\x{B2}\x{B3}"),
        "{word}"
    );
    assert!(!read(r"[\w]").unwrap().contains(r"\x{B2}"));
}

/// (to the regex crate, to Oniguruma)
#[test]
fn what_the_regex_crate_reads_otherwise_is_respelled() {
    let rows = [
        (r"^a|\s|\S", r"\Aa|\s|\S"),
        (r"(?:\s+$)|\S+|\s", r"\s+\z|\S+|\s"),
        (r"(?m:^a$)|.", r"(?:\A|(?<=\n))a$|."),
        (r"(?s:.)", r"\p{Any}"),
        (r"\pL+\PN", r"\p{L}+\P{N}"),
        ("a{2}?b", "a{2}b"),
        (
            "(?i:ß)+|(?i:ss)",
            r"[\x{DF}\x{1E9E}]+|[Ss\x{17F}][Ss\x{17F}]",
        ),
        (
            r"[a-z--[aeiou]]|[\s~~ ]",
            r"[b-df-hj-np-tv-z]|[\t-\r\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}]",
        ),
        (r"(?x) a b | \# ", r"(?:ab|\x{23})"),
        (r"(?P<n>é|中)+", r"[\x{E9}\x{4E2D}]+"),
        (r"\U0001F600|\u{41}", r"\x{1F600}|A"),
    ];
    for (rust, oniguruma) in rows {
        assert_eq!(write(rust).unwrap(), oniguruma, "{rust}");
    }
    let word = write(r"\w+(?:-\w+)*|[^\w\s]").unwrap();
    assert!(word.len() < 500, "{word}");
    assert!(read(&word).unwrap() == word);
    let boundary = write(r"\ba\B|(?-u:\b)b").unwrap();
    assert_eq!(read(&boundary).unwrap(), r"\ba\B|(?-u:\b)b");
}

/// (pattern, what the error must say)
#[test]
fn what_has_no_spelling_is_refused() {
    let rows = [
        ("(a*)*b", "a repetition of a group that may be empty"),
        (r"\b{start}a", r"`\b{start}`"),
        ("(?R)(?m:^)a", "the flag R"),
        ("(?:a|b??){2}c", "a repetition of a group that may be empty"),
    ];
    for (regex, expected) in rows {
        let error = Pretokenizer::new(&Pattern::regex(regex))
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{regex}: {error}");
        assert!(
            error.contains("a tokenizer.json could not hold it"),
            "{error}"
        );
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
    for property in SAME {
        let regex = format!(r"\p{{{property}}}");
        assert!(atoms.iter().any(|atom| atom.regex == regex), "{regex}");
    }
    let respelled = rows.remove("respelled").unwrap();
    for (name, _) in OTHERS {
        let regex = format!("[[:{name}:]]");
        assert!(respelled.iter().any(|atom| atom.regex == regex), "{regex}");
    }
    let same = atoms.len();
    for (index, atom) in atoms.iter().chain(&respelled).enumerate() {
        let regex = &atom.regex;
        let ours = read(regex).unwrap_or_else(|doubt| panic!("{regex}: {}", doubt.construct));
        assert!(index >= same || ours == *regex, "{regex}: {ours}");
        let set = sets::joined(&crate::unicode::set(&ours).unwrap());
        let ranges = set.iter().map(|range| range.start()..=range.end());
        let members: String = ranges.flatten().collect();
        assert_eq!(members.chars().count(), atom.count, "{regex}");
        assert_eq!(hex(&Sha256::digest(&members)), atom.sha256, "{regex}");
    }
}

/// regex-syntax takes U+D7FF and U+E000 into the complement of a set that holds both as ends of ranges.
#[test]
fn complements_stop_at_the_surrogates() {
    let both = crate::unicode::set(r"[\x{D000}-\x{D7FF}\x{E000}-\x{E0FF}]").unwrap();
    assert_eq!(sets::negated(&sets::negated(&both)), sets::joined(&both));
    assert_eq!(sets::negated(&both).ranges().len(), 2);
    // Oniguruma makes no such mistake: the text means another set here.
    let ours = read(r"[^\p{Cn}\p{Co}]").unwrap();
    assert_ne!(ours, r"[^\p{Cn}\p{Co}]");
    let set = crate::unicode::set(&ours).unwrap();
    assert!(
        !set.iter()
            .any(|range| ('\u{D7FF}'..='\u{E000}').contains(&range.start()))
    );
    // And what it means here is written.
    let theirs = write(r"[^\p{Cn}\p{Co}]").unwrap();
    assert_ne!(theirs, ours);
    assert_eq!(read(&theirs).unwrap(), theirs);
}

/// (pattern, the byte, what is named there)
#[test]
fn what_may_differ_is_named() {
    let rows = [
        (r"\b", 0, r"`\b`"),
        (r"[a\b]", 2, r"`\b`"),
        (r"[^]a]+$", 2, "`]`, a bracket that comes first"),
        (
            "a{0,3}+",
            1,
            "`{0,3}+`, there a repetition of what may be empty",
        ),
        ("(?:$|(?:))?a", 10, "`?`, a repeated assertion"),
        ("(?:a|$)?b", 7, "`?`, a repeated assertion"),
        ("(?:(?:$|a))?b", 11, "`?`, a repeated assertion"),
        ("^a?", 0, "`^` before what may be empty"),
        (r"a|(?:\n^)", 7, "`^` before what may be empty"),
        (r"a\Z", 1, r"`\Z`"),
        (r"\Gb", 0, r"`\G`"),
        ("[a&&]", 2, "`&&`, an intersection with nothing"),
        ("[[:foo:]]", 1, "`[:`, no class of POSIX"),
        (r"\x{41 42}", 0, r"`\x{41`"),
        (r"\p{Script=Han}", 0, r"`\p{Script=Han}`"),
        ("a**", 1, "`**`, there a repetition of a repetition"),
        ("a+?+", 1, "`+?+`"),
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
        (r"\pL", 0, r"`\p`"),
        (r"\xe9", 0, r"`\xe9`"),
        (r"\x{110000}", 0, r"`\x{110000}`"),
        (r"\u{41}", 0, r"`\u`"),
        (r"\<", 0, r"`\<`"),
        (r"\R", 0, r"`\R`"),
        (r"\é", 0, r"`\é`"),
        (r"\", 0, r"`\`"),
        ("[a--b]", 2, "`--`"),
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
        let doubt = read(regex).err().unwrap_or_else(|| panic!("{regex}"));
        assert!(
            doubt.construct.starts_with(construct),
            "{regex}: {}",
            doubt.construct
        );
        assert_eq!(doubt.at, at, "{regex}: {}", doubt.construct);
    }
}

/// Nothing here calls itself, and nothing is read twice.
#[test]
fn deep_and_long_patterns_are_read_in_one_loop() {
    for (open, named) in [("(", "more than"), ("[", "more than")] {
        let doubt = read(&open.repeat(200_000)).unwrap_err();
        assert!(doubt.construct.starts_with(named), "{}", doubt.construct);
    }
    let doubt = read(&"[".repeat(60_000)).unwrap_err();
    assert_eq!(
        doubt.construct,
        "`[`, a class that stands too deep in others,"
    );
    let deep = format!("{}a{}", "(?:".repeat(15_000), ")".repeat(15_000));
    assert_eq!(read(&deep).unwrap(), deep);
    assert!(write(&deep).is_err());
    // Spelled out, it would be longer than what is read again.
    let error = write(&r"\w\W".repeat(15_000)).unwrap_err().to_string();
    assert!(error.contains("bytes when spelled out"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_pattern_panics(parts in prop::collection::vec(prop::sample::select(&[
        "a", "s", "t", "é", "(", ")", "[", "]", "{", "}", "(?", "(?i:", "(?:", "(?!", "-", "^", "|", "\\",
        "?", "*", "+", ",", "1", r"\p", r"\p{L}", r"\x", r"\u", r"\s", "&&", ".", "[^",
    ][..]), 0..12)) {
        let regex = parts.concat();
        if let Ok(ours) = read(&regex) {
            if let Ok(written) = write(&ours) {
                let again = read(&written).unwrap();
                prop_assert_eq!(write(&again).unwrap(), written);
            }
            let _ = Pretokenizer::new(&Pattern::regex(ours));
        }
        if let Ok(written) = write(&regex) {
            let again = read(&written).unwrap();
            // The same expression for each alternative, however it is spelled.
            let meaning = |regex: &str| -> Vec<_> {
                parse(regex).unwrap().iter().map(|alternative| format!("{:?}", alternative.hir())).collect()
            };
            prop_assert_eq!(meaning(&again).len(), meaning(&regex).len());
            prop_assert_eq!(write(&again).unwrap(), written);
        }
    }
}
