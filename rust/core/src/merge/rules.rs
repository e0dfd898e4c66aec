//! The rules of a vocabulary in the form that merging wants.
//!
//! Tokens have ids; merging works on *symbols*, which are numbers of tokens in the order
//! of the merges: a byte is its own symbol, and merge number `k` makes symbol `256 + k`.
//! So one number says which of two merges comes first and what comes of it. Tokens that no
//! merge makes come last: merges may name them, but they never arise.
//!
//! Some merge lists make one token in two ways, at different times. Then the token has the
//! symbol of its first merge, and a table says so for the others; [`MergeRules::words`] is
//! not available, since the kernels rely on the plain numbering.

use super::pairs::PairTable;
use crate::simd::{FIRST_MADE, NO_MERGE, WordRules};
use crate::{Error, Result};

/// The number of merges and otherwise unreachable tokens that a vocabulary may have.
pub(crate) const MERGE_LIMIT: usize = (NO_MERGE - FIRST_MADE - 1) as usize;

/// Everything a merge loop needs.
#[derive(Debug)]
pub(crate) struct MergeRules {
    byte_pairs: Box<[u32; 1 << 16]>,
    pairs: PairTable,
    /// Symbol -> id.
    ids: Vec<u32>,
    /// Whether every symbol but a byte is its own id.
    made_are_ids: bool,
    /// The number of a merge -> the symbol it makes, unless all are plain.
    made: Option<Vec<u32>>,
    merges: u32,
}

/// Two tokens, the token that they make, and the number of the merge.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NumberedMerge {
    pub(crate) left: u32,
    pub(crate) right: u32,
    pub(crate) made: u32,
    /// The least merges first. Merges of one number make one token.
    pub(crate) number: u32,
}

impl MergeRules {
    /// Rules without merges, with room for as many as are named.
    pub(crate) fn of_bytes(byte_ids: &[u32; 256], merges: usize) -> Self {
        let byte_pairs = vec![NO_MERGE; 1 << 16].into_boxed_slice();
        let mut ids = Vec::with_capacity(256 + merges);
        ids.extend_from_slice(byte_ids);
        Self {
            byte_pairs: byte_pairs
                .try_into()
                .expect("the length is that of the array"),
            pairs: PairTable::with_capacity(merges),
            ids,
            made_are_ids: true,
            made: None,
            merges: 0,
        }
    }

    /// Adds the merge of two symbols, which comes after all others and makes a new token.
    pub(crate) fn add(&mut self, left: u32, right: u32, id: u32) -> Result<()> {
        let number = self.merges;
        limit(number as usize + 1)?;
        self.insert(left, right, number);
        self.push_id(id);
        self.merges += 1;
        Ok(())
    }

    /// The rules of merges that are given by ids smaller than `id_limit`, with numbers that
    /// ascend from 0 without gaps. An error names a merge by its place in the list.
    pub(crate) fn of_ids(
        byte_ids: &[u32; 256],
        merges: &[NumberedMerge],
        id_limit: u32,
    ) -> Result<Self> {
        const NONE: u32 = u32::MAX;
        let mut symbols = vec![NONE; id_limit as usize];
        for (byte, &id) in (0..).zip(byte_ids) {
            symbols[id as usize] = byte;
        }
        let mut rules = Self::of_bytes(byte_ids, merges.len());
        let mut made = Vec::with_capacity(merges.len());
        let mut plain = true;
        for merge in merges {
            limit(merge.number as usize + 1)?;
            if merge.number as usize == made.len() {
                let symbol = FIRST_MADE + merge.number;
                rules.push_id(merge.made);
                let known = &mut symbols[merge.made as usize];
                if *known == NONE {
                    *known = symbol;
                } else {
                    plain = false;
                }
                made.push(*known);
            }
        }
        rules.merges = made.len() as u32;
        rules.made = (!plain).then_some(made);
        for (place, merge) in merges.iter().enumerate() {
            let [left, right] = [merge.left, merge.right].map(|id| {
                let symbol = &mut symbols[id as usize];
                if *symbol == NONE {
                    // Never arises, but its pairs must not stand for others.
                    *symbol = rules.ids.len() as u32;
                    rules.push_id(id);
                }
                *symbol
            });
            limit(rules.ids.len() - FIRST_MADE as usize)?;
            if !rules.insert(left, right, merge.number) {
                return Err(Error::DuplicateMerge {
                    merge: place,
                    left: merge.left,
                    right: merge.right,
                });
            }
        }
        Ok(rules)
    }

    fn insert(&mut self, left: u32, right: u32, number: u32) -> bool {
        let new = self.pairs.insert(left, right, number);
        if new && left < FIRST_MADE && right < FIRST_MADE {
            self.byte_pairs[(left | right << 8) as usize] = number;
        }
        new
    }

    /// The number of the merge of two symbols, or [`NO_MERGE`].
    #[inline]
    pub(crate) fn merge(&self, left: u32, right: u32) -> u32 {
        self.pairs.view().merge(left, right)
    }

    /// The number of the merge of two bytes, or [`NO_MERGE`].
    #[inline]
    pub(crate) fn merge_bytes(&self, left: u8, right: u8) -> u32 {
        self.byte_pairs[u16::from_le_bytes([left, right]) as usize]
    }

    /// The symbol that a merge makes.
    #[inline]
    pub(crate) fn made(&self, number: u32) -> u32 {
        match &self.made {
            None => FIRST_MADE + number,
            Some(made) => made[number as usize],
        }
    }

    fn push_id(&mut self, id: u32) {
        self.made_are_ids &= id as usize == self.ids.len();
        self.ids.push(id);
    }

    /// The id of a symbol.
    #[inline]
    pub(crate) fn id(&self, symbol: u32) -> u32 {
        // Rare words have rare tokens: a table would often be read from far away.
        if self.made_are_ids && symbol >= FIRST_MADE {
            return symbol;
        }
        self.ids[symbol as usize]
    }

    /// The ids of the single bytes.
    pub(crate) fn byte_ids(&self) -> &[u32; 256] {
        self.ids
            .first_chunk()
            .expect("the first symbols are the bytes")
    }

    /// What the kernels need, if the numbering is plain.
    #[inline]
    pub(crate) fn words(&self) -> Option<WordRules<'_>> {
        self.made.is_none().then(|| WordRules {
            byte_pairs: &self.byte_pairs,
            pairs: self.pairs.view(),
        })
    }
}

fn limit(merges: usize) -> Result<()> {
    if merges > MERGE_LIMIT {
        return Err(Error::TooManyMerges {
            merges,
            limit: MERGE_LIMIT,
        });
    }
    Ok(())
}
