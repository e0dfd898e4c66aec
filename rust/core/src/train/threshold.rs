//! The count below which pairs are not kept.
//!
//! Of the pairs that come into being, a few in a hundred are ever merged. A pair's count only falls, so
//! one that is born below the count of the last merge to come will never be the greatest. That count is not known
//! before; it is guessed. While the next pair is at or above the guess, all is as if every pair
//! were kept. When no such pair is left, the guess was too high: it is lowered, and all pairs are counted
//! again in the words as they are ([`super::recount`]). The result is the same for every guess, so
//! the threshold also bounds memory: where postings reach a limit, it is raised.

/// A guess is so many times smaller than one that was too high, at most.
const STEP: u64 = 8;

#[derive(Debug)]
pub(super) struct Threshold {
    now: u64,
    /// It never needs to be lower: pairs below are not wanted.
    least: u64,
    guess: u64,
    merges: usize,
}

impl Threshold {
    /// For words of so many symbols, and so many windows in the text. Until
    /// [`Threshold::set_least`] is called, all pairs are kept.
    pub(super) fn new(symbols: u64, windows: u64, merges: usize) -> Self {
        let guess = symbols.saturating_add(windows) / (100 * merges.max(1) as u64);
        Self {
            now: 1,
            least: 1,
            guess: guess.max(1),
            merges,
        }
    }

    #[inline]
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// Pairs below `least` are not wanted from now on, and those below the guess are not kept.
    pub(super) fn set_least(&mut self, least: u64) {
        self.least = least;
        self.now = self.guess.max(least);
    }

    /// Pairs below `least` are not kept any more.
    #[inline]
    pub(super) fn raise(&mut self, least: u64) {
        self.now = self.now.max(least);
    }

    /// Lowers the guess after so many merges; whether it could be lowered.
    pub(super) fn lower(&mut self, done: usize) -> bool {
        if self.now <= self.least {
            return false;
        }
        // Counts fall faster than the inverse of the rank. As if with its square, the next guess holds.
        let (done, merges) = (done as u128, self.merges.max(1) as u128);
        let likely = u128::from(self.now) * 4 * done * done / (5 * merges * merges);
        let lower = (likely as u64).max(self.now / STEP);
        self.now = lower.min(self.now - 1).max(self.least);
        true
    }
}
