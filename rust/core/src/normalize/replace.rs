//! What a replacement looks for.

use memchr::memmem;

use crate::pattern::parser;
use crate::pattern::regex::{Effort, RegexSplit};
use crate::{Error, Result};

/// What a replacement looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// This text.
    Text(String),
    /// A regular expression of the kind that split patterns are.
    Regex(String),
}

/// Finds it.
#[derive(Debug)]
pub(super) enum Finder {
    Text(Box<memmem::Finder<'static>>),
    Regex(Box<RegexSplit>),
}

impl Finder {
    pub(super) fn new(wanted: &Wanted) -> Result<Self> {
        match wanted {
            Wanted::Text(text) if text.is_empty() => Err(Error::UnsupportedPattern {
                pattern: String::new(),
                at: 0,
                reason: "it matches the empty text, between any two characters".to_owned(),
            }),
            Wanted::Text(text) => {
                let finder = memmem::Finder::new(text).into_owned();
                Ok(Self::Text(Box::new(finder)))
            }
            Wanted::Regex(regex) => {
                let alternatives = parser::parse(regex)?;
                let split = RegexSplit::new(regex, &alternatives)?;
                Ok(Self::Regex(Box::new(split)))
            }
        }
    }

    /// Calls `f` with the start and end of every match, from left to right. They do not overlap.
    pub(super) fn each_match(&self, text: &str, mut f: impl FnMut(usize, usize)) {
        match self {
            Self::Text(finder) => {
                let length = finder.needle().len();
                for start in finder.find_iter(text.as_bytes()) {
                    f(start, start + length);
                }
            }
            Self::Regex(regex) => {
                let mut effort = Effort::default();
                let mut from = 0;
                while let Some((start, end)) = regex.next_match(text.as_bytes(), from, &mut effort)
                {
                    f(start, end);
                    from = end;
                }
            }
        }
    }
}
