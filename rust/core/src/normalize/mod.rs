//! Text made uniform before it is split: Unicode's normal forms, lower case, replacements.
//!
//! These are the normalizers of Hugging Face's `tokenizers` that byte-level tokenizers use, with its results
//! for every text. A [`Normalizer`] is a list of [`Step`]s; each reads what the one before it left.
//!
//! Most text is normalized already. A step therefore copies nothing before it finds something to change, and
//! a text in which it finds nothing is passed on as it is. ASCII is told at once by all normal forms.
//!
//! Where ids are wanted with their places, a `Trace` notes for every changed stretch which bytes it came from.
//! Without one, nothing is noted.

mod forms;
mod replace;
mod rewriter;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use forms::Form;
pub use replace::Wanted;
use rewriter::Rewriter;
pub(crate) use rewriter::Trace;

use crate::Result;
use replace::Finder;

/// One thing that is done to a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// One of Unicode's normal forms.
    Form(Form),
    /// Every character in lower case, without regard to its neighbours.
    Lowercase,
    /// This text stands before every text that is not empty.
    Prepend(String),
    /// Every match becomes `content`.
    Replace {
        /// What is looked for.
        wanted: Wanted,
        /// What takes its place, as it is written.
        content: String,
    },
    /// White space is taken off the ends.
    Strip {
        /// At the beginning.
        left: bool,
        /// At the end.
        right: bool,
    },
}

/// Steps that are done to a text one after another.
///
/// ```
/// use gptbpe_core::normalize::{Form, Normalizer, Step};
///
/// let normalizer = Normalizer::new(vec![Step::Form(Form::Nfc), Step::Lowercase])?;
/// assert_eq!(normalizer.normalize("Cafe\u{301}"), "café");
/// # Ok::<(), gptbpe_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Normalizer {
    steps: Vec<Step>,
    /// For each step, what finds the matches of a replacement.
    finders: Vec<Option<Finder>>,
}

impl Normalizer {
    /// Compiles the patterns of replacements.
    ///
    /// # Errors
    ///
    /// [`crate::Error::UnsupportedPattern`] where a pattern cannot be searched for in linear time, or matches
    /// the empty text.
    pub fn new(steps: Vec<Step>) -> Result<Self> {
        let finders = steps.iter().map(|step| match step {
            Step::Replace { wanted, .. } => Finder::new(wanted).map(Some),
            _ => Ok(None),
        });
        let finders = finders.collect::<Result<_>>()?;
        Ok(Self { steps, finders })
    }

    /// The steps, first to last.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether every text stays as it is.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The text after all steps; borrowed where none changed it.
    pub fn normalize<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.apply(text, None)
    }

    /// The same, and with a trace where each byte came from.
    pub(crate) fn apply<'t>(&self, text: &'t str, mut trace: Option<&mut Trace>) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for (step, finder) in self.steps.iter().zip(&self.finders) {
            let mut rewriter = Rewriter::new(&text, trace.is_some());
            step.rewrite(finder.as_ref(), &mut rewriter);
            let (changed, runs) = rewriter.finish();
            if let Some(trace) = &mut trace {
                trace.push(runs);
            }
            if let Some(changed) = changed {
                text = Cow::Owned(changed);
            }
        }
        text
    }

    /// What becomes of a short stretch wherever it stands, if that does not depend on what stands around it.
    ///
    /// Only of ASCII, and of characters that no normal form joins with others.
    pub(crate) fn alone<'t>(&self, stretch: &'t str) -> Option<Cow<'t, str>> {
        let mut text = Cow::Borrowed(stretch);
        for step in &self.steps {
            match step {
                Step::Form(form) => {
                    if !text.chars().all(|character| form.keeps_alone(character)) {
                        return None;
                    }
                }
                Step::Lowercase => {
                    let mut rewriter = Rewriter::new(&text, false);
                    step.rewrite(None, &mut rewriter);
                    if let (Some(changed), _) = rewriter.finish() {
                        text = Cow::Owned(changed);
                    }
                }
                _ => return None,
            }
        }
        Some(text)
    }
}

impl Step {
    fn rewrite(&self, finder: Option<&Finder>, text: &mut Rewriter<'_>) {
        match self {
            Self::Form(form) => form.rewrite(text),
            Self::Lowercase => lower(text),
            Self::Prepend(before) => {
                if !text.given().is_empty() {
                    text.replace(0, 0, before);
                }
            }
            Self::Replace { content, .. } => {
                if let Some(finder) = finder {
                    finder.each_match(text.given(), |start, end| text.replace(start, end, content));
                }
            }
            Self::Strip { left, right } => strip(text, *left, *right),
        }
    }
}

fn lower(text: &mut Rewriter<'_>) {
    let mut buffer = [0; 4];
    for (at, character) in text.given().char_indices() {
        let mut lower = character.to_lowercase();
        if lower.len() == 1 && lower.clone().next() == Some(character) {
            continue;
        }
        text.begin(at);
        for lower in lower.by_ref() {
            text.push(lower.encode_utf8(&mut buffer), at);
        }
        text.end(at + character.len_utf8());
    }
}

fn strip(text: &mut Rewriter<'_>, left: bool, right: bool) {
    let given = text.given();
    if left {
        let start = given.len() - given.trim_start().len();
        if start > 0 {
            text.replace(0, start, "");
        }
        if start == given.len() {
            return;
        }
    }
    if right {
        let end = given.trim_end().len();
        if end < given.len() {
            text.replace(end, given.len(), "");
        }
    }
}
