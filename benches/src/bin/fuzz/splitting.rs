//! Executions of the first kind: a scanner against the regular expressions.
//!
//! One execution is one text, split by one pattern on one kernel, or by the scanner for one
//! piece at a time, with the ends of all pieces compared.

use gptbpe_core::Kernel;
use gptbpe_core::pattern::Pattern;
use gptbpe_core::scan::Pretokenizer;

use crate::oracle::Splitter;
use crate::patterns;
use crate::report::{Report, caught, escaped, kernel_name, pieces, shrunk};
use crate::texts::Texts;

/// Random patterns at a time, beside the named ones.
const VARIATIONS: usize = 8;
/// Texts for each pattern before there are new patterns: compiling one takes as long as hundreds of texts.
const TEXTS: usize = 20_000;
/// The same for a pattern that the core searches for as a regular expression, which is slow.
const TEXTS_OF_REGEX: usize = 1_000;
/// The second engine is asked about one text in so many.
const ASKED_AGAIN: usize = 64;

/// A pattern, compiled in both ways.
pub(crate) struct Twins {
    pub(crate) name: String,
    pub(crate) pattern: Pattern,
    pub(crate) slow: Splitter,
    fast: Pretokenizer,
    /// The scanners that it has.
    kernels: Vec<Option<Kernel>>,
}

impl Twins {
    fn new((name, pattern): patterns::Named) -> Self {
        let fast = Pretokenizer::new(&pattern);
        let fast = fast.unwrap_or_else(|error| panic!("{name} is refused: {error}"));
        let kernels = Kernel::ALL
            .into_iter()
            .filter(|kernel| kernel.is_available())
            .map(Some);
        let kernels = kernels.chain([None]);
        let kernels =
            kernels.filter(|&kernel| kernel.is_none() || fast.split_with(kernel, "a", |_| ()));
        Self {
            kernels: kernels.collect(),
            slow: Splitter::new(&pattern),
            fast,
            name,
            pattern,
        }
    }

    /// Whether the core searches for it as a regular expression.
    pub(crate) fn is_regex(&self) -> bool {
        patterns::OTHER.contains(&self.name.as_str())
    }

    /// The ends that are found; compared on the way with what is expected.
    fn agrees(&self, kernel: Option<Kernel>, text: &str, expected: &[usize]) -> bool {
        let (mut end, mut at, mut agrees) = (0, 0, true);
        let run = caught(|| {
            self.fast.split_with(kernel, text, |piece| {
                end += piece.len();
                agrees &= expected.get(at) == Some(&end);
                at += 1;
            });
        });
        run.is_ok() && agrees && at == expected.len()
    }

    fn differs(&mut self, kernel: Option<Kernel>, text: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(text) else {
            return false;
        };
        let mut expected = Vec::new();
        self.slow.ends(text, &mut expected);
        !self.agrees(kernel, text, &expected)
    }

    fn report(&mut self, kernel: Option<Kernel>, text: &str) -> Report {
        let text = shrunk(text.as_bytes(), |text| self.differs(kernel, text));
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut expected = Vec::new();
        self.slow.ends(&text, &mut expected);
        let mut found = Vec::new();
        let mut end = 0;
        let panic = caught(|| {
            self.fast.split_with(kernel, &text, |piece| {
                end += piece.len();
                found.push(end);
            });
        });
        format!(
            "a scanner differs from the regular expression\n pattern: {}\n  kernel: {}\n    text: {}\nexpected: {}\n   found: {} {}",
            self.name,
            kernel_name(kernel),
            escaped(text.as_bytes()),
            pieces(text.as_bytes(), &expected),
            pieces(text.as_bytes(), &found),
            panic.err().unwrap_or_default(),
        )
    }
}

/// Splits texts by all named patterns and some random ones, which stay in `patterns`. Returns how many
/// executions that were.
pub(crate) fn round(texts: &mut Texts, patterns: &mut Vec<Twins>) -> Result<u64, Report> {
    let mut executions = 0;
    let mut ends = Vec::new();
    patterns.clear();
    for pattern in patterns::some(texts.random(), VARIATIONS) {
        patterns.push(Twins::new(pattern));
    }
    for twins in patterns {
        let is_regex = patterns::OTHER.contains(&twins.name.as_str());
        for number in 0..if is_regex { TEXTS_OF_REGEX } else { TEXTS } {
            let text = texts.next();
            twins.slow.ends(text, &mut ends);
            if number % ASKED_AGAIN == 0
                && twins
                    .slow
                    .ends_again(text)
                    .is_some_and(|again| again != ends)
            {
                return Err(format!(
                    "the oracles differ\n pattern: {}\n    text: {}",
                    twins.name,
                    escaped(text.as_bytes())
                ));
            }
            for at in 0..twins.kernels.len() {
                let kernel = twins.kernels[at];
                if !twins.agrees(kernel, text, &ends) {
                    let text = text.to_owned();
                    return Err(twins.report(kernel, &text));
                }
                executions += 1;
            }
        }
    }
    Ok(executions)
}
