//! Patterns made to break the parser, and what is refused by name.

use proptest::prelude::*;

use super::*;
use crate::scan::Pretokenizer;

fn refusal(pattern: &str) -> String {
    let error = Pretokenizer::new(&Pattern::regex(pattern)).unwrap_err();
    error.to_string()
}

/// (pattern, what the error must say)
#[test]
fn broken_patterns_are_errors() {
    let rows = [
        ("(?!é", "unclosed group"),
        ("(?!", "unclosed group"),
        (r"\s+(?!\S", "unclosed group"),
        ("[é", "unclosed character class"),
        ("a{+3}", "expects a valid decimal"),
        (r"\p{é", "incomplete escape"),
        (r"\x{", "incomplete escape"),
        (r"\", "escape"),
        (")", "unopened group"),
        (r"(?!\)x)a", "a look-ahead at more than one character"),
        ("a*", "matches the empty text"),
    ];
    for (pattern, expected) in rows {
        let error = refusal(pattern);
        assert!(error.contains(expected), "{pattern}: {error}");
    }
}

/// Each of these once recursed as deep as it is long. A test's thread has the smallest stack there is: 2 MiB.
#[test]
fn deep_and_long_patterns_are_errors() {
    let rows = [
        ("(".repeat(200_000), "more than 65536 bytes"),
        ("[".repeat(200_000), "more than 65536 bytes"),
        ("(".repeat(60_000), "unclosed group"),
        ("[".repeat(60_000), "unclosed character class"),
        (nested("(", "a", ")", 30_000), "nested"),
        (nested("(?:", "a", ")+", 10_000), "nested"),
        (nested("[", "a", "]", 30_000), "nested"),
        (nested("[^", "a", "]", 10_000), "nested"),
        (format!("a{}", "*".repeat(60_000)), "nested"),
        (r"\s+(?!\S)|".repeat(6_000), "more than 16 look-aheads"),
        ("{".repeat(60_000), "missing expression"),
        ("(?".repeat(30_000), "unrecognized flag"),
        ("(?<".repeat(20_000), "capture group"),
        ("(a{900}){900}".to_owned(), "exceeded limit"),
    ];
    for (pattern, expected) in rows {
        let error = refusal(&pattern);
        assert!(error.contains(expected), "{error:.300}");
        assert!(error.len() < 1_000, "{} bytes", error.len());
    }
    // Just as deep as regex-syntax reads.
    for depth in 1..300 {
        let pattern = nested("(?:b|", "a", ")+", depth);
        let _ = Pretokenizer::new(&Pattern::regex(pattern));
    }
}

fn nested(open: &str, inner: &str, close: &str, depth: usize) -> String {
    format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
}

#[test]
fn a_sequence_has_few_stages() {
    let long = Pattern::sequence(vec![".".to_owned(); 100_000]);
    let error = Pretokenizer::new(&long).unwrap_err().to_string();
    assert!(error.contains("at most 64"), "{error}");
    assert_eq!(long.name(), None);
    let most = Pattern::sequence(vec![r"\S+".to_owned(); 64]);
    let mut pieces = 0;
    let pretokenizer = Pretokenizer::new(&most).unwrap();
    pretokenizer.for_each(b"a b", |_| pieces += 1);
    assert_eq!(pieces, 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn no_pattern_panics(parts in prop::collection::vec(prop::sample::select(&[
        "a", "é", "中", "(", ")", "[", "]", "{", "}", "(?", ":", "=", "!", "<", ">", "P", "i", "x", "-", "^", "$",
        "|", "\\", "?", "*", "+", ".", ",", "1", "3", "&&", "--", " ", "\n", "#", r"\p", r"\x", r"\u", r"\U", r"\b",
        r"\s", r"\S", r"\p{L}", "(?!", "(?i:", "(?-u:", r"\s+(?!\S)", "++", "[^",
    ][..]), 0..10)) {
        let pattern = Pattern::regex(parts.concat());
        let _ = pattern.portable();
        let _ = pattern.name();
        if let Ok(pretokenizer) = Pretokenizer::new(&pattern) {
            let text = "a é中 1\n\n  (a)[é]{中}aa1 ".as_bytes();
            let mut pieces = Vec::new();
            pretokenizer.for_each(text, |piece| pieces.extend_from_slice(piece));
            prop_assert_eq!(pieces, text);
        }
    }
}
