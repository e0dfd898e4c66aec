//! What a vocabulary can hold, so that training ends before it learns what
//! could never be loaded.
//!
//! A merge of a token with itself doubles its length. On text of one long word
//! (Fibonacci words, one letter over and over) some forty merges would make
//! tokens of more bytes than a vocabulary may have.

use crate::vocab::{GREATEST_ID, TOKEN_BYTES};

/// The lengths of the tokens learned so far, in bytes.
#[derive(Debug)]
pub(super) struct TokenLengths {
    lengths: Vec<usize>,
    total: usize,
}

impl TokenLengths {
    /// The bytes alone.
    pub(super) fn new() -> Self {
        Self {
            lengths: vec![1; 256],
            total: 256,
        }
    }

    /// How many tokens there are.
    pub(super) fn count(&self) -> usize {
        self.lengths.len()
    }

    /// The length of the token that a pair would make.
    #[inline]
    pub(super) fn of_pair(&self, (left, right): (u32, u32)) -> usize {
        self.lengths[left as usize] + self.lengths[right as usize]
    }

    /// Takes the token that a pair makes. False if a vocabulary could not hold
    /// it as well; nothing is taken then.
    pub(super) fn fits(&mut self, pair: (u32, u32)) -> bool {
        let length = self.of_pair(pair);
        if self.total + length > TOKEN_BYTES || self.lengths.len() > GREATEST_ID as usize {
            return false;
        }
        self.lengths.push(length);
        self.total += length;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::Vocab;

    #[test]
    fn what_fits_is_a_vocabulary_and_one_more_is_not() {
        let mut lengths = TokenLengths::new();
        let doubling = (256..).map(|made: u32| {
            if made == 256 {
                (97, 97)
            } else {
                (made - 1, made - 1)
            }
        });
        let mut merges: Vec<_> = doubling.take_while(|&pair| lengths.fits(pair)).collect();
        assert!(Vocab::from_merges(&merges).is_ok());
        let last = 255 + merges.len() as u32;
        merges.push((last, last));
        assert!(Vocab::from_merges(&merges).is_err());
    }

    #[test]
    fn ids_end_where_those_of_a_vocabulary_end() {
        let mut lengths = TokenLengths::new();
        let fitting = (0..1 << 22).take_while(|_| lengths.fits((97, 97)));
        assert_eq!(fitting.count(), GREATEST_ID as usize - 255);
    }
}
