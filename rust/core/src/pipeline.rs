//! What stands around the vocabulary of a tokenizer: what is done to a text before it is split, how it is
//! split, and what ids stand around it.
//!
//! These are plain values, as a file or a caller gives them. A [`crate::Tokenizer`] compiles them and keeps them, so
//! that a part of it, or its file, can be made again.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::normalize::Step;
use crate::pattern::Pattern;
use crate::template::Template;

/// Everything around a vocabulary.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pipeline {
    /// What is done to a text before it is split.
    pub(crate) normalizer: Vec<Step>,
    /// Whether every text then begins with a space, or gets one.
    pub(crate) prefix_space: Option<PrefixSpace>,
    /// How it is split.
    pub(crate) pattern: Pattern,
    /// The ids around it, for those who ask for them.
    pub(crate) template: Template,
    /// What a file said, to be said again.
    pub(crate) sections: Option<Arc<Sections>>,
}

/// A space stands before every piece that these regular expressions leave, if it does not begin with one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PrefixSpace {
    /// Without any, it stands before a whole text.
    pub(crate) pieces: Vec<String>,
}

/// The sections of a `tokenizer.json` as they were read. They say more than ids depend on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sections {
    pub(crate) normalizer: Value,
    pub(crate) pre_tokenizer: Value,
    pub(crate) post_processor: Value,
    pub(crate) decoder: Value,
    pub(crate) model: ModelOptions,
    /// A regular expression is spelled otherwise in these sections than here, and so the pattern is kept beside.
    pub(crate) respelled: bool,
    /// The ids of the post-processor that are others by now.
    pub(crate) renumbered: HashMap<u32, u32>,
}

/// Options of the model on which no id depends where every byte is a token.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModelOptions {
    pub(crate) dropout: Option<f64>,
    pub(crate) unk_token: Option<String>,
    pub(crate) continuing_subword_prefix: Option<String>,
    pub(crate) end_of_word_suffix: Option<String>,
    pub(crate) fuse_unk: bool,
    pub(crate) byte_fallback: bool,
}

impl From<Pattern> for Pipeline {
    fn from(pattern: Pattern) -> Self {
        Self {
            pattern,
            ..Self::default()
        }
    }
}

impl Pipeline {
    /// Whether texts are split as they are given.
    pub(crate) fn keeps_texts(&self) -> bool {
        self.normalizer.is_empty() && self.prefix_space.is_none()
    }

    /// The same for a vocabulary whose ids are others; `None` if an id of the template has no number.
    pub(crate) fn renumbered(&self, number: impl Fn(u32) -> Option<u32>) -> Option<Self> {
        let template = self.template.renumbered(&number)?;
        let sections = self.sections.as_deref().map(|sections| {
            let around = self.template.before().iter().chain(self.template.after());
            let mut renumbered: HashMap<u32, u32> =
                around.filter_map(|&id| Some((id, number(id)?))).collect();
            for (&first, &before) in &sections.renumbered {
                if let Some(now) = number(before) {
                    renumbered.insert(first, now);
                }
            }
            Arc::new(Sections {
                renumbered,
                ..sections.clone()
            })
        });
        Some(Self {
            template,
            sections,
            ..self.clone()
        })
    }
}
