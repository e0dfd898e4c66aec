//! Where tokens go: to a vector, or only to a number.

use std::marker::PhantomData;

use super::table::SHORT_LIST;
use crate::Result;
use crate::memory::{self, append_some, append_tokens, reserve};
use crate::simd::{Simd, Token};

/// Takes tokens in their order.
pub(super) trait Sink {
    type Token: Token;

    /// The tokens in lanes.
    fn lanes<K: Simd>(&mut self, kernel: K, lanes: &[u64]) -> Result<()>;

    /// Tokens by their ids.
    fn list(&mut self, tokens: &[u32]) -> Result<()>;

    /// The first few of `tokens`.
    fn short_list(&mut self, tokens: &[u32; SHORT_LIST], count: usize) -> Result<()> {
        self.list(&tokens[..count])
    }

    /// Makes room for so many more tokens.
    fn expect(&mut self, tokens: usize) -> Result<()>;

    /// How many tokens it has taken.
    fn count(&self) -> usize;
}

impl<T: Token> Sink for Vec<T> {
    type Token = T;

    #[inline(always)]
    fn lanes<K: Simd>(&mut self, kernel: K, lanes: &[u64]) -> Result<()> {
        append_tokens(kernel, lanes, self)
    }

    #[inline]
    fn list(&mut self, tokens: &[u32]) -> Result<()> {
        reserve(self, tokens.len())?;
        self.extend(tokens.iter().map(|&token| T::new(token)));
        Ok(())
    }

    #[inline(always)]
    fn short_list(&mut self, tokens: &[u32; SHORT_LIST], count: usize) -> Result<()> {
        append_some(&tokens.map(T::new), count, self)
    }

    fn expect(&mut self, tokens: usize) -> Result<()> {
        memory::expect(self, tokens, tokens)
    }

    #[inline]
    fn count(&self) -> usize {
        self.len()
    }
}

/// Counts tokens and forgets them.
#[derive(Debug)]
pub(super) struct Counter<T> {
    count: usize,
    width: PhantomData<T>,
}

impl<T> Counter<T> {
    pub(super) fn new() -> Self {
        Self {
            count: 0,
            width: PhantomData,
        }
    }
}

impl<T: Token> Sink for Counter<T> {
    type Token = T;

    #[inline(always)]
    fn lanes<K: Simd>(&mut self, kernel: K, lanes: &[u64]) -> Result<()> {
        self.count += T::count_all(kernel, lanes);
        Ok(())
    }

    fn list(&mut self, tokens: &[u32]) -> Result<()> {
        self.count += tokens.len();
        Ok(())
    }

    fn expect(&mut self, _tokens: usize) -> Result<()> {
        Ok(())
    }

    fn count(&self) -> usize {
        self.count
    }
}
