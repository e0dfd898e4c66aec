//! Ids in as few bytes as they need.

use crate::simd::Token;

/// The ids of a tokenizer: 16 bits each if all its ids fit, else 32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ids {
    /// All ids of the tokenizer are below 65,536.
    Narrow(Vec<u16>),
    /// Any ids.
    Wide(Vec<u32>),
}

impl Ids {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Narrow(ids) => ids.len(),
            Self::Wide(ids) => ids.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As 32-bit ids.
    pub fn to_vec(&self) -> Vec<u32> {
        self.range(0, self.len())
    }

    /// As 32-bit ids, without a copy if they are.
    pub fn into_wide(self) -> Vec<u32> {
        match self {
            Self::Narrow(ids) => ids.into_iter().map(u32::from).collect(),
            Self::Wide(ids) => ids,
        }
    }

    /// Some of them as 32-bit ids.
    pub fn range(&self, start: usize, end: usize) -> Vec<u32> {
        match self {
            Self::Narrow(ids) => ids[start..end].iter().map(|&id| u32::from(id)).collect(),
            Self::Wide(ids) => ids[start..end].to_vec(),
        }
    }
}

impl From<Vec<u32>> for Ids {
    fn from(ids: Vec<u32>) -> Self {
        Self::Wide(ids)
    }
}

/// A width of ids, for code that is generic over it.
pub(crate) trait Width: Token {
    fn wrap(ids: Vec<Self>) -> Ids;
}

impl Width for u16 {
    fn wrap(ids: Vec<Self>) -> Ids {
        Ids::Narrow(ids)
    }
}

impl Width for u32 {
    fn wrap(ids: Vec<Self>) -> Ids {
        Ids::Wide(ids)
    }
}
