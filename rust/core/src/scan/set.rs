//! Splitting off the runs of one set of characters, whatever the set.
//!
//! Sequences of patterns begin with such stages: `DeepSeek`'s takes Chinese and
//! Japanese apart before it looks at words. The set cuts across the scanner's
//! classes, so it is kept as ranges with a bitmap for ASCII.

use super::{Effort, Split};
use crate::pattern::grammar::SetRuns;
use crate::unicode::decode;

/// Splits by `set{1,max}`.
#[derive(Debug)]
pub(super) struct SetScan {
    ascii: u128,
    /// Inclusive, sorted, apart.
    ranges: Vec<(u32, u32)>,
    max: usize,
}

impl SetScan {
    pub(super) fn new(runs: &SetRuns) -> Self {
        let ranges = runs.set.ranges().iter();
        let ranges: Vec<_> = ranges
            .map(|r| (u32::from(r.start()), u32::from(r.end())))
            .collect();
        let holds = |c: u32| {
            ranges
                .iter()
                .any(|&(start, end)| (start..=end).contains(&c))
        };
        Self {
            ascii: (0..128)
                .filter(|&c| holds(c))
                .fold(0, |bits, c| bits | 1 << c),
            ranges,
            max: runs.max.map_or(usize::MAX, |max| max as usize),
        }
    }

    /// Whether the character at `at` is in the set, and its length.
    fn holds(&self, text: &[u8], at: usize) -> (bool, usize) {
        let (c, len) = decode(&text[at..]);
        if c < 128 {
            return (self.ascii >> c & 1 == 1, len);
        }
        let next = self.ranges.partition_point(|&(start, _)| start <= c);
        (next > 0 && c <= self.ranges[next - 1].1, len)
    }
}

impl Split for SetScan {
    fn fill(&self, text: &[u8], start: usize, ends: &mut [usize], _: &mut Effort) -> usize {
        let mut filled = 0;
        let mut at = start;
        while at < text.len() && filled < ends.len() {
            let (inside, len) = self.holds(text, at);
            at += len;
            let mut left = if inside { self.max - 1 } else { usize::MAX };
            while left > 0 && at < text.len() {
                let (next, len) = self.holds(text, at);
                if next != inside {
                    break;
                }
                at += len;
                left -= 1;
            }
            ends[filled] = at;
            filled += 1;
        }
        filled
    }
}
