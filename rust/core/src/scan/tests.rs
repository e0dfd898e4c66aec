//! The scanner against the regex, and both against rows of known splits.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::pattern::NAMES;

fn pieces(pretokenizer: &Pretokenizer, text: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    pretokenizer.for_each(text, |piece| pieces.push(piece.to_vec()));
    pieces
}

fn words(pattern: &Pattern, text: &str) -> Vec<String> {
    let pretokenizer = Pretokenizer::new(pattern).unwrap();
    let pieces = pieces(&pretokenizer, text.as_bytes()).into_iter();
    pieces
        .map(|piece| String::from_utf8(piece).unwrap())
        .collect()
}

/// Every named pattern, compiled once.
static ALL_NAMED: LazyLock<Vec<(&str, Pretokenizer)>> = LazyLock::new(|| {
    let compile = |name| (name, Pretokenizer::new(&named(name)).unwrap());
    NAMES.into_iter().map(compile).collect()
});

fn named(name: &str) -> Pattern {
    Pattern::named(name).unwrap()
}

/// The same pattern with every stage left to the regex.
fn twin(pattern: &Pattern) -> Pretokenizer {
    let stage = |regex: &String| Stage {
        blocks: None,
        split: Arc::new(RegexSplit::new(regex, &parser::parse(regex).unwrap()).unwrap()),
    };
    Pretokenizer {
        stages: pattern.regexes().iter().map(stage).collect(),
        cuts: Cuts::of(pattern),
    }
}

const CL100K_VARIANT: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,5}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";

/// Patterns that the scanner must take, beyond the named ones.
const RECOGNISED: [&str; 7] = [
    CL100K_VARIANT,
    r"'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    // Qwen 3.5: marks join words
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    // Mistral: o200k without contractions
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r" ?\p{L}+|\p{N}|\s+",
    r"\p{L}+|\s+$|\s+",
    r"[^\s]|\s",
];

#[test]
fn known_splits() {
    let rows: &[(&str, &str, &[&str])] = &[
        (
            "gpt2",
            "Hello  world's 12345!\n\n x",
            &["Hello", " ", " world", "'s", " 12345", "!", "\n\n", " x"],
        ),
        ("gpt2", "IT'S", &["IT", "'", "S"]),
        (
            "cl100k",
            "IT'S 12345 \tx!\n\ny",
            &["IT", "'S", " ", "123", "45", " ", "\tx", "!\n\n", "y"],
        ),
        ("cl100k", "a'ſ it'ſ", &["a", "'ſ", " it", "'ſ"]),
        ("cl100k", "a \n ", &["a", " \n "]),
        ("llama3", "a \n ", &["a", " \n", " "]),
        ("nanochat", "12345", &["12", "34", "5"]),
        ("qwen2", "123", &["1", "2", "3"]),
        (
            "o200k",
            "HelloWorld's DON'T /\n/x",
            &["Hello", "World's", " DON'T", " /\n/", "x"],
        ),
        ("o200k", "\u{301}ABC ǅabA", &["\u{301}", "ABC", " ǅab", "A"]),
        (
            "deepseek",
            "x1234你好の.ab\u{1}\u{2}-",
            &["x", "123", "4", "你好の", ".ab", "\u{1}\u{2}", "-"],
        ),
        ("none", "a b", &["a b"]),
    ];
    for (name, text, expected) in rows {
        assert_eq!(words(&named(name), text), *expected, "{name} {text:?}");
    }
}

#[test]
fn every_named_pattern_is_scanned() {
    for name in NAMES {
        let pattern = named(name);
        assert_eq!(pattern.name(), Some(name));
        for regex in pattern.regexes() {
            assert_ne!(Recognised::read(regex).unwrap(), Recognised::No, "{name}");
        }
    }
    for regex in RECOGNISED {
        assert!(
            matches!(Recognised::read(regex).unwrap(), Recognised::Shape(_)),
            "{regex}"
        );
    }
}

/// tiktoken 0.14's and Hugging Face's spellings of the same patterns.
#[test]
fn spelling_does_not_hide_the_name() {
    let rows = [
        (
            r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
            "gpt2",
        ),
        (
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
            "llama3",
        ),
    ];
    for (regex, name) in rows {
        assert_eq!(Pattern::regex(regex).name(), Some(name));
    }
    assert_eq!(Pattern::regex(CL100K_VARIANT).name(), None);
    assert_eq!(named("p50k"), named("gpt2"));
}

#[test]
fn portable_spelling_splits_alike() {
    for name in NAMES {
        let pattern = named(name);
        let portable = Pattern::sequence(pattern.portable().unwrap());
        assert_eq!(portable.name(), Some(name));
        for regex in portable.regexes() {
            for odd in ["?+", "]*+", "++", "3}+", r"+$|"] {
                assert!(!regex.contains(odd), "{name}: {odd}");
            }
        }
    }
}

#[test]
fn what_linear_time_does_not_allow_is_refused_with_its_place() {
    let rows = [
        (r"a(?=b)", "look-around"),
        (r"(?<=a)b", "look-around"),
        (r"\w+(?!\s)", r"\s+(?!\S)"),
        (r"\s++(?!\S)", "possessive"),
        (r"a++ab", "possessive"),
        (r"[-a]++\B|.", "possessive"),
        (r"a?+(?:^)b|.", "possessive"),
        (r"(?:a++b|c)", "inside a group"),
        (r"(?>a|ab)c", "look-around"),
        (r"(a)\1", "backreference"),
        (r"[a", "unclosed"),
        (r"(a", "unclosed"),
        (r"\p{Klingon}", "property"),
        (r"a{2,1}", "invalid repetition"),
        (r"a{2,1}(?!b)", "{n,m}"),
        (r"x*", "empty text"),
        (r"", "empty text"),
        (r"a|", "empty text"),
    ];
    for (regex, reason) in rows {
        let error = Pretokenizer::new(&Pattern::regex(regex))
            .unwrap_err()
            .to_string();
        assert!(error.contains(reason), "{regex}: {error}");
    }
    assert!(
        Pattern::named("gtp2")
            .unwrap_err()
            .to_string()
            .contains("gpt2")
    );
}

/// Odd but harmless: they run on the regex.
#[test]
fn other_patterns_fall_back() {
    let rows: &[(&str, &str, &[&str])] = &[
        (r"(?i)HE|l", "heLlo", &["he", "L", "l", "o"]),
        (r"(?x) a  b", "xaby", &["x", "ab", "y"]),
        (r"a+?|b", "aab", &["a", "a", "b"]),
        (r"a++b|a", "aaba", &["aab", "a"]),
        (
            r"\s+(?!\S)|x|\s+(?!\S)| y|\S",
            "  x y  ",
            &[" ", " ", "x", " y", "  "],
        ),
        (r"[^\r\n]+", "a\nb", &["a", "\n", "b"]),
        (r"[^]a]+|\]", "x]a", &["x", "]", "a"]),
        (r"\u{61}\x62|\u0063", "abc", &["ab", "c"]),
    ];
    for (regex, text, expected) in rows {
        assert_eq!(words(&Pattern::regex(*regex), text), *expected, "{regex}");
    }
}

#[test]
fn invalid_bytes_stand_alone() {
    let pretokenizer = Pretokenizer::new(&named("gpt2")).unwrap();
    let text = b"ab \xFF\xFE c\xE4\xBD\xE4\xBD\xA0\xC0";
    let expected: [&[u8]; 7] = [
        b"ab",
        b" ",
        b"\xFF\xFE",
        b" c",
        b"\xE4\xBD",
        "你".as_bytes(),
        b"\xC0",
    ];
    assert_eq!(pieces(&pretokenizer, text), expected);
    assert_eq!(pieces(&pretokenizer, b"\xFF"), [b"\xFF"]);
    assert!(pieces(&pretokenizer, b"").is_empty());
}

/// The patterns that the mask scanner takes.
static MASKED: LazyLock<Vec<(String, Pretokenizer)>> = LazyLock::new(|| {
    let named = NAMES.iter().map(|name| named(name));
    let recognised = RECOGNISED.iter().map(|regex| Pattern::regex(*regex));
    named
        .chain(recognised)
        .map(|pattern| (format!("{pattern:?}"), Pretokenizer::new(&pattern).unwrap()))
        .filter(|(_, pretokenizer)| pretokenizer.blocks().is_some())
        .collect()
});

fn scalar_pieces(pretokenizer: &Pretokenizer, text: &[u8]) -> Vec<String> {
    let mut pieces = Vec::new();
    split(&pretokenizer.stages, text, &mut |piece: &[u8]| {
        pieces.push(String::from_utf8_lossy(piece).into_owned());
        true
    });
    pieces
}

fn masked_pieces(pretokenizer: &Pretokenizer, kernel: Kernel, text: &[u8]) -> Vec<String> {
    let mut pieces = Vec::new();
    if text.is_empty() {
        return pieces;
    }
    each_by_blocks(pretokenizer.blocks().unwrap(), kernel, text, &mut |piece| {
        pieces.push(String::from_utf8_lossy(piece).into_owned());
        true
    });
    pieces
}

#[test]
fn named_patterns_have_masks() {
    for name in ["gpt2", "cl100k", "o200k", "llama3", "qwen2", "nanochat"] {
        let pretokenizer = Pretokenizer::new(&named(name)).unwrap();
        assert!(pretokenizer.blocks().is_some(), "{name}");
    }
    assert_eq!(MASKED.len(), 6 + 4);
}

/// A quadratic scanner would need hours for these.
#[test]
fn long_runs_take_linear_time() {
    let runs = [
        "a", "A", " ", "\n", "1", "'", "你", "\u{301}", " \n", "aA", "你A", "\u{301}A", "'s",
        "\u{1}",
    ];
    for (_, pretokenizer) in ALL_NAMED.iter() {
        for run in runs {
            let text = run.repeat(1_000_000 / run.len());
            let mut total = 0;
            pretokenizer.for_each(text.as_bytes(), |piece| total += piece.len());
            assert_eq!(total, text.len());
            let mut last = 0;
            pretokenizer.for_each(format!("{text} x").as_bytes(), |piece| last = piece.len());
            assert!(last > 0);
        }
    }
}

/// Splits off single bytes, and counts how often it is asked.
#[derive(Debug, Default)]
struct Asked(AtomicUsize);

impl Split for Asked {
    fn fill(&self, text: &[u8], start: usize, ends: &mut [usize], _: &mut Effort) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed);
        let filled = ends.len().min(text.len() - start);
        for (end, at) in ends.iter_mut().zip(start + 1..=text.len()) {
            *end = at;
        }
        filled
    }
}

/// A text of a gigabyte was split to its end after its first words were too many, or Ctrl-C was pressed.
#[test]
fn what_follows_a_no_is_not_looked_at() {
    for stages in [1, 2] {
        let asked = Arc::new(Asked::default());
        let stage = Stage {
            split: asked.clone(),
            blocks: None,
        };
        let pretokenizer = Pretokenizer {
            stages: vec![stage; stages].into(),
            cuts: Cuts::of(&Pattern::none()),
        };
        let mut pieces = 0;
        let said_no = !pretokenizer.each_while(&b"a".repeat(1 << 20), &mut |_| {
            pieces += 1;
            pieces < 5
        });
        assert!(said_no && pieces == 5);
        let asked = asked.0.load(Ordering::Relaxed);
        assert!(asked < 20, "{asked}");
    }
    let scanned = Pretokenizer::new(&Pattern::default()).unwrap();
    for text in [
        &b"one two three four"[..],
        b"one \xFF two \xFF three",
        b"one",
    ] {
        let mut pieces = 0;
        assert!(!scanned.each_while(text, &mut |_| {
            pieces += 1;
            false
        }));
        assert_eq!(pieces, 1);
        assert!(scanned.each_while(text, &mut |_| true));
    }
}

/// Characters of every class, with those that patterns single out.
fn text() -> impl Strategy<Value = String> {
    let telling = prop::sample::select(
        "   \n\r\t\u{85}\u{A0}\u{2028}\u{3000}aAsStTdmMrRevVlLDſKKßéÉǅªʰ你カ・\u{301}\u{200D}0９²Ⅷ'’/!.,-+€😀\u{0}\u{1}\u{378}"
            .chars()
            .collect::<Vec<_>>(),
    );
    prop::collection::vec(prop_oneof![6 => telling, 1 => any::<char>()], 0..60)
        .prop_map(|characters| characters.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn scanner_is_the_regex(text in text()) {
        thread_local! {
            static TWINS: Vec<(String, Pretokenizer, Pretokenizer)> = NAMES
                .iter()
                .map(|name| named(name))
                .chain(RECOGNISED.iter().map(|regex| Pattern::regex(*regex)))
                .map(|pattern| {
                    let fast = Pretokenizer::new(&pattern).unwrap();
                    (format!("{pattern:?}"), fast, twin(&pattern))
                })
                .collect();
        }
        TWINS.with(|twins| {
            for (name, fast, slow) in twins {
                assert_eq!(pieces(fast, text.as_bytes()), pieces(slow, text.as_bytes()), "{name}");
            }
        });
    }

    #[test]
    fn masks_are_the_scalar_scanner(texts in prop::collection::vec(text(), 1..8)) {
        let text = texts.concat();
        for (name, pretokenizer) in MASKED.iter() {
            let expected = scalar_pieces(pretokenizer, text.as_bytes());
            for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
                let found = masked_pieces(pretokenizer, kernel, text.as_bytes());
                prop_assert_eq!(&found, &expected, "{} {:?} {:?}", name, kernel, text);
            }
        }
    }

    #[test]
    fn pieces_make_up_any_bytes(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x20_u8..0x7F], 0..200)) {
        for (_, pretokenizer) in ALL_NAMED.iter() {
            let pieces = pieces(pretokenizer, &bytes);
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty()));
            prop_assert_eq!(pieces.concat(), bytes.as_slice());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn pieces_of_the_sides_are_pieces_of_the_whole(
        text in "[aZs1 '\n\t\r/!。中あйก\u{301}\u{a0}\u{3000}Ⅷ²]{0,24}[a1。中!] ?\n?[a中йあก'][a \n'。re]{0,6}"
    ) {
        for (name, pretokenizer) in ALL_NAMED.iter() {
            let text = text.as_bytes();
            if let Some(at) = pretokenizer.cuts().last(text) {
                let mut sides = pieces(pretokenizer, &text[..at]);
                sides.extend(pieces(pretokenizer, &text[at..]));
                prop_assert_eq!(&sides, &pieces(pretokenizer, text), "{} cut at {}", name, at);
            }
        }
    }
}
