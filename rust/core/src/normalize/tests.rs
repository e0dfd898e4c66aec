//! Against the crate's own normal forms of whole texts, and the plain words of each rule.

use proptest::prelude::*;
use unicode_normalization_alignments::UnicodeNormalization;

use super::*;

fn of(steps: &[Step]) -> Normalizer {
    Normalizer::new(steps.to_vec()).unwrap()
}

fn replace(wanted: &str, content: &str) -> Step {
    Step::Replace {
        wanted: Wanted::Text(wanted.to_owned()),
        content: content.to_owned(),
    }
}

/// One step by the words of its rule.
fn slow(step: &Step, text: &str) -> String {
    let first = |(character, _): (char, isize)| character;
    match step {
        Step::Form(Form::Nfc) => text.nfc().map(first).collect(),
        Step::Form(Form::Nfd) => text.nfd().map(first).collect(),
        Step::Form(Form::Nfkc) => text.nfkc().map(first).collect(),
        Step::Form(Form::Nfkd) => text.nfkd().map(first).collect(),
        Step::Lowercase => text.chars().flat_map(char::to_lowercase).collect(),
        Step::Prepend(before) if text.is_empty() => String::new() + &before[..0],
        Step::Prepend(before) => format!("{before}{text}"),
        Step::Replace {
            wanted: Wanted::Text(wanted),
            content,
        } => text.replace(wanted, content),
        Step::Replace {
            wanted: Wanted::Regex(regex),
            content,
        } => {
            let regex = regex_automata::meta::Regex::new(regex).unwrap();
            let (mut all, mut from) = (String::new(), 0);
            for found in regex.find_iter(text) {
                all += &text[from..found.start()];
                all += content;
                from = found.end();
            }
            all + &text[from..]
        }
        Step::Strip { left, right } => {
            let text = if *left { text.trim_start() } else { text };
            let text = if *right { text.trim_end() } else { text };
            text.to_owned()
        }
    }
}

#[test]
fn a_normalized_text_is_not_copied() {
    let all = of(&[
        Step::Form(Form::Nfc),
        replace("x", "y"),
        Step::Strip {
            left: true,
            right: true,
        },
    ]);
    for text in ["", "the house\n.", "déjà vu: 你好世界 한국어 हिन्दी ภาษาไทย"]
    {
        assert!(
            matches!(all.normalize(text), Cow::Borrowed(same) if same == text),
            "{text}"
        );
    }
    assert!(matches!(
        of(&[Step::Lowercase]).normalize("ß 好 1"),
        Cow::Borrowed(_)
    ));
}

#[test]
fn the_steps_follow_one_another() {
    let steps = [
        Step::Prepend("\u{2581}".to_owned()),
        replace(" ", "\u{2581}"),
        Step::Lowercase,
    ];
    let normalizer = of(&steps);
    assert_eq!(
        normalizer.normalize("The house"),
        "\u{2581}the\u{2581}house"
    );
    assert_eq!(normalizer.normalize(""), "");
}

#[test]
fn what_matches_the_empty_text_is_refused() {
    for wanted in [Wanted::Text(String::new()), Wanted::Regex("x*".to_owned())] {
        let step = Step::Replace {
            wanted,
            content: "y".to_owned(),
        };
        assert!(Normalizer::new(vec![step]).is_err());
    }
}

#[test]
fn a_trace_leads_back() {
    let row = |steps: &[Step], text: &str, expected: &str, places: &[usize]| {
        let mut trace = Trace::default();
        assert_eq!(of(steps).apply(text, Some(&mut trace)), expected);
        let found: Vec<usize> = (0..=expected.len()).map(|at| trace.source(at)).collect();
        assert_eq!(found, places, "{text}");
    };
    row(
        &[Step::Form(Form::Nfc)],
        "ae\u{301}b",
        "aéb",
        &[0, 1, 1, 4, 5],
    );
    row(
        &[Step::Form(Form::Nfd)],
        "éb",
        "e\u{301}b",
        &[0, 0, 0, 2, 3],
    );
    row(
        &[Step::Prepend("__".to_owned())],
        "ab",
        "__ab",
        &[0, 0, 0, 1, 2],
    );
    row(&[replace("bb", "x")], "abbc", "axc", &[0, 1, 3, 4]);
    row(
        &[Step::Strip {
            left: true,
            right: true,
        }],
        "  a ",
        "a",
        &[2, 4],
    );
    row(
        &[replace("a", ""), Step::Lowercase],
        "aBaC",
        "bc",
        &[1, 3, 4],
    );
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let forms = [Form::Nfc, Form::Nfd, Form::Nfkc, Form::Nfkd];
    let step = prop_oneof![
        prop::sample::select(forms.to_vec()).prop_map(Step::Form),
        Just(Step::Lowercase),
        Just(Step::Prepend("\u{301}x".to_owned())),
        Just(replace("e", "\u{1100}")),
        Just(replace(" ", "")),
        Just(Step::Replace {
            wanted: Wanted::Regex("[e\u{301}]+|a.".to_owned()),
            content: "ſ".to_owned()
        }),
        (any::<bool>(), any::<bool>()).prop_map(|(left, right)| Step::Strip { left, right }),
    ];
    prop::collection::vec(step, 1..4)
}

// Letters and marks of several classes, Hangul in its parts, decompositions of all kinds, white space, case.
const LETTERS: &str = "[aeéEİΣ ſﬁ\u{301}\u{323}\u{328}\u{31B}\u{345}\u{344}\u{F71}\u{F73}\u{F72}\u{F81}\u{1100}\u{1161}\u{11A7}\u{11A8}\u{AC00}각\u{FB1D}\u{D4DC}\u{1D15E}\u{2126}\u{212B}\u{1E9B}\u{FDFA}\u{A0}\n\u{9BE}\u{9C7}\u{10FFFF}𖿿]{0,24}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn every_step_is_the_slow_one(steps in steps(), text in LETTERS) {
        let mut expected = text.clone();
        for step in &steps {
            expected = slow(step, &expected);
        }
        let normalizer = of(&steps);
        prop_assert_eq!(normalizer.normalize(&text), expected.as_str());
        let mut trace = Trace::default();
        prop_assert_eq!(normalizer.apply(&text, Some(&mut trace)), expected.as_str());
        let places: Vec<usize> = (0..=expected.len()).map(|at| trace.source(at)).collect();
        prop_assert!(places.is_sorted());
        prop_assert!(places.iter().all(|&place| place <= text.len()));
        let ends: Vec<usize> = expected.char_indices().map(|(at, _)| places[at]).collect();
        prop_assert!(ends.iter().all(|&place| text.is_char_boundary(place)));
    }

    /// Marks without end are normalized once.
    #[test]
    fn what_stands_alone_is_the_same_anywhere(text in LETTERS, around in LETTERS) {
        for form in [Form::Nfc, Form::Nfd, Form::Nfkc, Form::Nfkd] {
            let normalizer = of(&[Step::Form(form), Step::Lowercase]);
            if let Some(alone) = normalizer.alone(&text) {
                // A character that joins with none before it follows.
                let (whole, after) = (format!("{around}{text}"), normalizer.normalize(&around));
                prop_assert_eq!(normalizer.normalize(&whole), format!("{after}{alone}"));
            }
        }
    }
}

#[test]
fn long_runs_of_marks_are_read_once() {
    let text = "\u{301}\u{323}".repeat(100_000);
    let normalizer = of(&[Step::Form(Form::Nfc)]);
    assert_eq!(normalizer.normalize(&text).len(), text.len());
}
