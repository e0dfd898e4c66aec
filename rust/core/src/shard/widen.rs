//! One stretch of tokens becomes a row of inputs and a row of targets, in one pass.
//!
//! A row reads `length + 1` tokens of 2 or 4 bytes and writes `2 * length` integers, so it is bound by the writes. The loop is
//! plain Rust that the compiler turns into vector code for each instruction set ([`crate::simd`]). It returns the largest token,
//! which the caller compares with the vocabulary: what is compared is what was copied, whatever happens to the file meanwhile.

#![allow(clippy::inline_always)] // has to end up in a function that is compiled for the instruction set

use super::format::TokenType;
use super::reader::Id;
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
                let (ids, rest) = self.bytes.as_chunks::<2>();
                debug_assert!(rest.is_empty());
                let largest = pairs(
                    ids,
                    self.inputs,
                    self.targets,
                    u16::from_le_bytes,
                    T::from_u16,
                );
                largest.into()
            }
            TokenType::U32 => {
                let (ids, rest) = self.bytes.as_chunks::<4>();
                debug_assert!(rest.is_empty());
                pairs(
                    ids,
                    self.inputs,
                    self.targets,
                    u32::from_le_bytes,
                    T::from_u32,
                )
            }
        }
    }
}

#[inline(always)]
fn pairs<const N: usize, S: Copy + Ord + Default, T>(
    ids: &[[u8; N]],
    inputs: &mut [T],
    targets: &mut [T],
    read: impl Fn([u8; N]) -> S,
    widen: impl Fn(S) -> T,
) -> S {
    let Some((&last, before)) = ids.split_last() else {
        return S::default();
    };
    let after = &ids[1..];
    let mut largest = read(last);
    for (((&id, &next), input), target) in before.iter().zip(after).zip(inputs).zip(targets) {
        let id = read(id);
        largest = largest.max(id);
        *input = widen(id);
        *target = widen(read(next));
    }
    largest
}

#[cfg(test)]
#[allow(clippy::cast_possible_wrap)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_are_what_a_plain_loop_makes(ids in prop::collection::vec(0u32..=0x7fff_ffff, 1..700), wide in any::<bool>()) {
            let (token_type, ids): (_, Vec<u32>) = if wide {
                (TokenType::U32, ids)
            } else {
                (TokenType::U16, ids.into_iter().map(|id| id & 0xffff).collect())
            };
            let bytes: Vec<u8> = ids
                .iter()
                .flat_map(|id| id.to_le_bytes()[..token_type.bytes()].to_vec())
                .collect();
            let n = ids.len() - 1;
            let (mut inputs, mut targets) = (vec![0i64; n], vec![0i64; n]);
            let largest = shifted(token_type, &bytes, &mut inputs, &mut targets);
            prop_assert_eq!(Some(&largest), ids.iter().max());
            let ids: Vec<i64> = ids.into_iter().map(i64::from).collect();
            prop_assert_eq!(&inputs[..], &ids[..n]);
            prop_assert_eq!(&targets[..], &ids[1..]);
            let (mut inputs, mut targets) = (vec![0i32; n], vec![0i32; n]);
            shifted(token_type, &bytes, &mut inputs, &mut targets);
            prop_assert!(inputs.iter().map(|&id| i64::from(id)).eq(ids[..n].iter().copied()));
            prop_assert!(targets.iter().map(|&id| i64::from(id)).eq(ids[1..].iter().copied()));
        }
    }
}
