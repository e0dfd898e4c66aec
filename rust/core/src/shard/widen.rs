//! One stretch of tokens becomes a row of inputs and a row of targets.
//!
//! A row reads `length + 1` tokens of 2 or 4 bytes, which were copied out of the file and lie in the first-level cache, and writes
//! `2 * length` integers, so it is bound by the writes. The loops are plain Rust that the compiler turns into vector code for
//! each instruction set ([`crate::simd`]). The largest token is returned, which the caller compares with the vocabulary: what is
//! compared is what was copied, whatever happens to the file meanwhile.
//!
//! Inputs and targets are written one after the other. Both in one loop, at addresses that are no multiple of 64 (those of numpy's
//! large arrays are 16 more), took 170 µs instead of 105 for 64 rows of 2,048 `i64`. Stores that pass by the cache and
//! huge pages gained nothing.

#![allow(clippy::inline_always)] // has to end up in a function that is compiled for the instruction set

use super::format::TokenType;
use super::ids::{Id, greatest};
use crate::Kernel;
use crate::simd::{Job, Simd};

/// Fills a row: `inputs` with the tokens in `bytes` but the last, `targets` with those but the first. Returns the
/// largest token; 0 without any.
pub(crate) fn shifted<T: Id>(
    token_type: TokenType,
    bytes: &[u8],
    inputs: &mut [T],
    targets: &mut [T],
) -> u32 {
    debug_assert_eq!(inputs.len(), targets.len());
    debug_assert_eq!(bytes.len(), (inputs.len() + 1) * token_type.bytes());
    Kernel::best().run(Shifted {
        token_type,
        bytes,
        inputs,
        targets,
    })
}

/// The last token in `bytes`; 0 without any.
pub(crate) fn last<T: Id>(token_type: TokenType, bytes: &[u8]) -> T {
    match token_type {
        TokenType::U16 => bytes
            .last_chunk()
            .map_or(T::default(), |&id| T::from_u16(u16::from_le_bytes(id))),
        TokenType::U32 => bytes
            .last_chunk()
            .map_or(T::default(), |&id| T::from_u32(u32::from_le_bytes(id))),
    }
}

struct Shifted<'a, T> {
    token_type: TokenType,
    bytes: &'a [u8],
    inputs: &'a mut [T],
    targets: &'a mut [T],
}

impl<T: Id> Job for Shifted<'_, T> {
    type Output = u32;

    #[inline(always)]
    fn run<K: Simd>(self, _: K) -> u32 {
        match self.token_type {
            TokenType::U16 => {
                let ids = self.bytes.as_chunks::<2>().0;
                let widen = |id| T::from_u16(u16::from_le_bytes(id));
                each(ids, self.inputs, widen);
                each(ids.get(1..).unwrap_or_default(), self.targets, widen);
            }
            TokenType::U32 => {
                let ids = self.bytes.as_chunks::<4>().0;
                let widen = |id| T::from_u32(u32::from_le_bytes(id));
                each(ids, self.inputs, widen);
                each(ids.get(1..).unwrap_or_default(), self.targets, widen);
            }
        }
        greatest(self.token_type, self.bytes)
    }
}

/// What a processor stores at once.
const LINE_BYTES: usize = 64;

/// Widens as many ids as there is room for. The stores begin with a line of the cache: one that lies in two lines costs two.
#[inline(always)]
fn each<const N: usize, T>(ids: &[[u8; N]], out: &mut [T], widen: impl Fn([u8; N]) -> T) {
    let before = out.as_ptr().align_offset(LINE_BYTES);
    let before = before.min(out.len()).min(ids.len());
    let (first_ids, ids) = ids.split_at(before);
    let (first, rest) = out.split_at_mut(before);
    for (to, &id) in first.iter_mut().zip(first_ids) {
        *to = widen(id);
    }
    for (to, &id) in rest.iter_mut().zip(ids) {
        *to = widen(id);
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_wrap)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_are_what_a_plain_loop_makes(ids in prop::collection::vec(0u32..=0x7fff_ffff, 1..700), wide in any::<bool>(), places in (0usize..40, 0usize..40)) {
            let (token_type, ids): (_, Vec<u32>) = if wide {
                (TokenType::U32, ids)
            } else {
                (TokenType::U16, ids.into_iter().map(|id| id & 0xffff).collect())
            };
            let bytes: Vec<u8> = ids
                .iter()
                .flat_map(|id| id.to_le_bytes()[..token_type.bytes()].to_vec())
                .collect();
            check::<i64>(token_type, &bytes, &ids, places, i64::from);
            check::<i32>(token_type, &bytes, &ids, places, |id| id as i32);
            check::<u32>(token_type, &bytes, &ids, places, |id| id);
            if token_type == TokenType::U16 {
                check::<u16>(token_type, &bytes, &ids, places, |id| id as u16);
            }
        }
    }

    /// Rows that begin anywhere, and what stands around them.
    fn check<T: Id + PartialEq + std::fmt::Debug>(
        token_type: TokenType,
        bytes: &[u8],
        ids: &[u32],
        places: (usize, usize),
        of: impl Fn(u32) -> T,
    ) {
        let n = ids.len() - 1;
        let around = of(7);
        let mut inputs = vec![around; places.0 + n + 9];
        let mut targets = vec![around; places.1 + n + 9];
        let largest = shifted(
            token_type,
            bytes,
            &mut inputs[places.0..][..n],
            &mut targets[places.1..][..n],
        );
        assert_eq!(Some(&largest), ids.iter().max());
        for (row, place, ids) in [
            (inputs, places.0, &ids[..n]),
            (targets, places.1, &ids[1..]),
        ] {
            let row_ids = ids.iter().map(|&id| of(id));
            let before = std::iter::repeat_n(around, place);
            let expected = before.chain(row_ids).chain(std::iter::repeat_n(around, 9));
            assert_eq!(row, expected.collect::<Vec<_>>());
        }
    }
}
