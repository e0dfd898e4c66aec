//! The bytes of all ids in the form that decoding wants.
//!
//! Nearly all tokens of a text have at most 15 bytes. Such a token lies with its length in an entry of 16
//! bytes, so decoding reads one cache line for it, and writes the whole entry without asking how many
//! of the bytes count: the next token overwrites the rest. The lengths also lie in bytes of their own,
//! which stay in the cache: adding them up checks the ids and says how much room the text
//! needs. Longer tokens are marked, and read where the vocabulary keeps them.

use crate::memory::Table;

/// The bytes of an entry.
const SIZE: usize = 16;
/// The longest token that has room beside its length.
const LONGEST: usize = SIZE - 1;
/// Stands for a length that one byte cannot say.
const LONG: u8 = u8::MAX;
/// So many lengths are added up before anybody asks whether all of them counted.
const BLOCK: usize = 64;

/// Id -> bytes.
#[derive(Debug)]
pub(crate) struct DecodeTable {
    /// The bytes of a token from the lowest of the first word up, and in the four highest bits of the second
    /// its length, or 0. As two words they need not pass through memory on their way.
    entries: Table<[u64; 2]>,
    /// 0 where no token has the id.
    lengths: Vec<u8>,
}

impl DecodeTable {
    /// The table of the ids below `limit`, whose bytes `token` gives. No token is empty.
    pub(crate) fn new<'t>(limit: u32, token: impl Fn(u32) -> Option<&'t [u8]>) -> Self {
        let mut entries = Table::zeroed(limit as usize);
        let mut lengths = vec![0; limit as usize];
        for ((id, entry), length) in (0..limit).zip(entries.iter_mut()).zip(&mut lengths) {
            let Some(bytes) = token(id) else { continue };
            *length = u8::try_from(bytes.len()).unwrap_or(LONG);
            if bytes.len() <= LONGEST {
                let mut padded = [0; SIZE];
                padded[..bytes.len()].copy_from_slice(bytes);
                padded[LONGEST] = *length << 4;
                let padded = u128::from_le_bytes(padded);
                *entry = [padded as u64, (padded >> 64) as u64];
            }
        }
        Self { entries, lengths }
    }

    /// How many bytes the tokens of some ids have, or the place of the first id that has no token.
    /// `long` says it of a token with more than a byte can say.
    pub(crate) fn length<I: Copy + Into<u32>>(
        &self,
        ids: &[I],
        long: impl Fn(u32) -> usize,
    ) -> Result<usize, usize> {
        let mut total = 0;
        for (number, block) in ids.chunks(BLOCK).enumerate() {
            let mut sum = 0;
            let mut all_count = true;
            for &id in block {
                let length = self.length_of(id);
                sum += usize::from(length);
                all_count &= length.wrapping_sub(1) < LONG - 1;
            }
            if !all_count {
                sum = 0;
                for (place, &id) in block.iter().enumerate() {
                    sum += match self.length_of(id) {
                        0 => return Err(number * BLOCK + place),
                        LONG => long(id.into()),
                        length => usize::from(length),
                    };
                }
            }
            total += sum;
        }
        Ok(total)
    }

    #[inline]
    fn length_of(&self, id: impl Into<u32>) -> u8 {
        let id: u32 = id.into();
        self.lengths.get(id as usize).copied().unwrap_or(0)
    }

    /// Writes the bytes of some ids, as many as `out` has room for. `long` gives those of a token with
    /// more than 15.
    pub(crate) fn write<'t, I: Copy + Into<u32>>(
        &self,
        ids: &[I],
        out: &mut [u8],
        long: impl Fn(u32) -> &'t [u8],
    ) {
        let entries: &[[u64; 2]] = &self.entries;
        let mut rest = out;
        for &id in ids {
            let id: u32 = id.into();
            let entry = entries.get(id as usize).copied().unwrap_or_default();
            let length = length(entry);
            if let Some((low, room)) = rest.split_first_chunk_mut::<8>()
                && let Some(high) = room.first_chunk_mut::<8>()
                && length != 0
            {
                *low = entry[0].to_le_bytes();
                *high = entry[1].to_le_bytes();
                rest = &mut rest[length..];
            } else {
                let length = copy(entry, rest, || long(id));
                rest = rest.get_mut(length..).unwrap_or_default();
            }
        }
    }
}

#[inline]
fn length(entry: [u64; 2]) -> usize {
    (entry[1] >> 60) as usize
}

/// Writes exactly the bytes of one token, and returns how many they are.
#[cold]
fn copy<'t>(entry: [u64; 2], room: &mut [u8], long: impl Fn() -> &'t [u8]) -> usize {
    let bytes = (u128::from(entry[1]) << 64 | u128::from(entry[0])).to_le_bytes();
    let token = match length(entry) {
        0 => long(),
        length => &bytes[..length],
    };
    if let Some(room) = room.get_mut(..token.len()) {
        room.copy_from_slice(token);
    }
    token.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token for each id that is no multiple of 7, of lengths around all that are told apart.
    fn tokens() -> Vec<Vec<u8>> {
        let lengths = [1, 2, 7, 8, 9, 14, 15, 16, 17, 31, 254, 255, 256, 300];
        let token = |id: usize| match id % 7 {
            0 => Vec::new(),
            _ => vec![id as u8; lengths[id % lengths.len()]],
        };
        (0..200).map(token).collect()
    }

    #[test]
    fn tokens_of_all_lengths_are_written_exactly() {
        let tokens = tokens();
        let token = |id: u32| tokens.get(id as usize).map(Vec::as_slice);
        let table = DecodeTable::new(tokens.len() as u32, |id| {
            token(id).filter(|t| !t.is_empty())
        });
        let long = |id| token(id).unwrap();
        let known: Vec<u16> = (0..200).filter(|id| id % 7 != 0).collect();
        for count in 0..known.len() {
            for ids in [&known[..count], &known[count..]] {
                let expected: Vec<u8> = ids
                    .iter()
                    .flat_map(|&id| long(id.into()))
                    .copied()
                    .collect();
                let length = table.length(ids, |id| long(id).len());
                assert_eq!(length, Ok(expected.len()));
                let mut out = vec![0; expected.len()];
                table.write(ids, &mut out, long);
                assert!(out == expected);
            }
        }
    }

    #[test]
    fn the_first_unknown_id_is_found() {
        let tokens = tokens();
        let token = |id: u32| tokens.get(id as usize).map(Vec::as_slice);
        let table = DecodeTable::new(tokens.len() as u32, |id| {
            token(id).filter(|t| !t.is_empty())
        });
        for place in [0, 1, 63, 64, 200] {
            for wrong in [7, 200, u32::MAX] {
                let mut ids = vec![11; place];
                ids.extend([wrong, 1, wrong]);
                assert_eq!(table.length(&ids, |_| 300), Err(place));
            }
        }
    }
}
