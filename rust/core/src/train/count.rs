//! Counting pre-tokens.
use std::collections::HashMap;

use crate::pretokenize::Pretokenizer;
use crate::{Error, Result};

/// How often each pre-token occurs: an exact multiset with 64-bit counts.
#[derive(Debug, Clone, Default)]
pub struct WordCounts {
    index: HashMap<Vec<u8>, usize>,
    entries: Vec<(Vec<u8>, u64)>,
}

impl WordCounts {
    /// An empty multiset.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds every pre-token of `text`.
    pub fn add_text(&mut self, pretokenizer: &Pretokenizer, text: &[u8]) -> Result<()> {
        let mut result = Ok(());
        pretokenizer.for_each(text, |word| {
            if result.is_ok() {
                result = self.add(word, 1);
            }
        });
        result
    }

    /// Adds `count` occurrences of `word`.
    pub fn add(&mut self, word: &[u8], count: u64) -> Result<()> {
        if word.is_empty() || count == 0 {
            return Ok(());
        }
        let index = *self.index.entry(word.to_vec()).or_insert_with(|| {
            self.entries.push((word.to_vec(), 0));
            self.entries.len() - 1
        });
        let entry = &mut self.entries[index].1;
        *entry = entry.checked_add(count).ok_or(Error::CountOverflow)?;
        Ok(())
    }

    /// Adds everything counted in `other`.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        other
            .entries
            .iter()
            .try_for_each(|(word, count)| self.add(word, *count))
    }

    /// Different words.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing has been counted.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Words and counts, ordered by the words' bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        let mut sorted: Vec<_> = self.iter_first_seen().collect();
        sorted.sort_unstable();
        sorted.into_iter()
    }

    /// Words and counts, in the order in which the words were first added.
    pub fn iter_first_seen(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.entries
            .iter()
            .map(|(word, count)| (word.as_slice(), *count))
    }
}

/// Counts the pre-tokens of `documents` on `threads` threads. The result does
/// not depend on their number.
pub fn count_documents(
    pretokenizer: &Pretokenizer,
    documents: &[&[u8]],
    threads: usize,
) -> Result<WordCounts> {
    let share = documents.len().div_ceil(threads.max(1)).max(1);
    let counted: Vec<Result<WordCounts>> = std::thread::scope(|scope| {
        let workers: Vec<_> = documents
            .chunks(share)
            .map(|documents| {
                scope.spawn(move || {
                    let mut words = WordCounts::new();
                    for document in documents {
                        words.add_text(pretokenizer, document)?;
                    }
                    Ok(words)
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    let mut total = WordCounts::new();
    for words in counted {
        total.merge(&words?)?;
    }
    Ok(total)
}
