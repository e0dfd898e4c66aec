//! Patterns: the named ones, random ones of the grammar that they share, and others.

use gptbpe_benches::Random;
use gptbpe_core::pattern::{NAMES, Pattern};

/// Outside of the grammar: searched for as regular expressions.
pub(crate) const OTHER: [&str; 4] = [
    r"\s*[\r\n]+|\s",
    r"[\w.]+@[\w.]+|\w+|\s+|.",
    r"\p{Lu}?\p{Ll}+|\p{N}{1,4}|'s|\s+(?!\S)|\s+| ?[^\s\p{L}]",
    r"\b\w+\b|a+b|a|[^\w\s]{2,5}|\s",
];

/// A pattern and what to call it.
pub(crate) type Named = (String, Pattern);

/// Every named pattern, and as many random ones as wanted.
pub(crate) fn some(random: &mut Random, wanted: usize) -> Vec<Named> {
    let named = NAMES.iter().map(|name| {
        let pattern = Pattern::named(name).expect("it is one of the names");
        ((*name).to_owned(), pattern)
    });
    let other = OTHER[random.below(OTHER.len())].to_owned();
    let made = (0..wanted).map(|_| variation(random)).chain([other]);
    let made = made.map(|regex| (regex.clone(), Pattern::regex(regex)));
    named.chain(made).collect()
}

/// One of these.
pub(crate) fn any(random: &mut Random) -> Named {
    let regex = match random.below(4) {
        0 => {
            let name = NAMES[random.below(NAMES.len())];
            let pattern = Pattern::named(name).expect("it is one of the names");
            return (name.to_owned(), pattern);
        }
        1 => OTHER[random.below(OTHER.len())].to_owned(),
        _ => variation(random),
    };
    (regex.clone(), Pattern::regex(regex))
}

/// A pattern like the named ones with other parts.
fn variation(random: &mut Random) -> String {
    let mut parts: Vec<String> = Vec::new();
    let contractions = [
        "'(?:[sdmt]|ll|ve|re)",
        "'(?i:[sdmt]|ll|ve|re)",
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)",
    ];
    let pick =
        |random: &mut Random, choices: &[&str]| choices[random.below(choices.len())].to_owned();
    let numbers = pick(
        random,
        &[
            r"\p{N}",
            r"\p{N}{1,2}",
            r"\p{N}{1,3}",
            r"\p{N}{1,4}",
            r"\p{N}+",
            r" ?\p{N}+",
            r" ?\p{N}{1,3}",
        ],
    );
    let tail = pick(random, &["", r"[\r\n]*", r"[\r\n/]*"]);
    let space = pick(random, &["", " ?"]);
    let possessive = if random.below(2) == 0 { "+" } else { "" };
    if random.below(3) == 0 {
        let (upper, lower) = (
            r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]",
            r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]",
        );
        let prefix = pick(
            random,
            &[r"[^\r\n\p{L}\p{N}]?", r"[^\r\n\p{L}\p{N}]?", " ?", ""],
        );
        let suffix = pick(
            random,
            &[
                "",
                "(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                "(?:'s|'t|'re|'ve|'m|'ll|'d)?",
            ],
        );
        parts.push(format!("{prefix}{upper}*{lower}+{suffix}"));
        parts.push(format!("{prefix}{upper}+{lower}*{suffix}"));
        parts.push(numbers);
        parts.push(format!(r"{space}[^\s\p{{L}}\p{{N}}]+{possessive}{tail}"));
    } else {
        if random.below(4) != 0 {
            parts.push(pick(random, &contractions));
        }
        let marks = if random.below(3) == 0 { r"\p{M}" } else { "" };
        let prefix = pick(random, &["", " ?", r"[^\r\n\p{L}\p{N}]?"]);
        // A possessive prefix could take the mark that a word begins with.
        let possessive_prefix = if prefix.len() > 2 && marks.is_empty() {
            possessive
        } else {
            ""
        };
        parts.push(format!(
            r"{prefix}{possessive_prefix}[\p{{L}}{marks}]+{possessive}"
        ));
        parts.push(numbers);
        parts.push(format!(
            r"{space}[^\s\p{{L}}{marks}\p{{N}}]+{possessive}{tail}"
        ));
    }
    let look_ahead = random.below(8) != 0;
    let newlines = random.below(3);
    if random.below(3) == 0 {
        parts.push(pick(random, &[r"\s+$", r"\s++$"]));
    }
    if newlines > 0 {
        parts.push([r"\s*[\r\n]+", r"\s*[\r\n]"][newlines - 1].to_owned());
    }
    if look_ahead {
        parts.push(r"\s+(?!\S)".to_owned());
    }
    parts.push(pick(random, &[r"\s+", r"\s+", r"\s"]));
    parts.join("|")
}
