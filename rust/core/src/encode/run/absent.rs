//! The pieces of a block that are not in their buckets: looked for farther away, and merged if they are new.

use super::{Keyless, Run};
use crate::Result;
use crate::encode::sink::Sink;
use crate::encode::worker::tokens_of;
use crate::simd::{NOT_A_KEY, Simd, Value, Words, key_length};

impl<S: Sink> Run<'_, '_, S> {
    /// Sees to the pieces that are not in their buckets.
    #[inline(always)]
    pub(super) fn find_absent<K: Simd>(&mut self, kernel: K) -> Result<()> {
        let absent = std::mem::take(&mut self.worker.absent);
        let mut fresh = std::mem::take(&mut self.worker.fresh);
        let mut beyond = std::mem::take(&mut self.worker.beyond);
        let all_keyless = std::mem::take(&mut self.keyless);
        let hashes = all_keyless.iter().filter_map(|(_, keyless)| match keyless {
            Keyless::Piece(_, hash) => Some(*hash),
            Keyless::Token(_) => None,
        });
        self.worker.table.fetch_long(kernel, hashes);
        let mut keyless = all_keyless.iter();
        for &at in &absent {
            if self.worker.keys[at as usize] != NOT_A_KEY {
                let slot = self.worker.slots[at as usize];
                match self.worker.table.next_bucket(slot) {
                    Some(bucket) => {
                        kernel.fetch((&raw const *bucket).cast());
                        beyond.push(at);
                    }
                    None => fresh.push(at),
                }
            } else if let Some(&(_, keyless)) = keyless.find(|(place, _)| *place == at) {
                // They come in the order of the block.
                let value = self.keyless_value(keyless)?;
                self.set(kernel, at, value);
            }
        }
        for at in beyond.drain(..) {
            let (key, slot) = (
                self.worker.keys[at as usize],
                self.worker.slots[at as usize],
            );
            let value = self.worker.table.find_beyond(key, slot);
            if value == Value::ABSENT {
                fresh.push(at);
            } else {
                self.set(kernel, at, value);
            }
        }
        for group in fresh.chunks(Words::MOST) {
            self.merge_group(kernel, group)?;
        }
        fresh.clear();
        self.keyless = all_keyless;
        self.worker.beyond = beyond;
        self.worker.fresh = fresh;
        self.worker.absent = absent;
        self.worker.absent.clear();
        Ok(())
    }

    fn keyless_value(&mut self, keyless: Keyless<'_>) -> Result<Value> {
        let worker = &mut *self.worker;
        let (piece, hash) = match keyless {
            Keyless::Token(token) => return Ok(worker.table.value_of(&[token])),
            Keyless::Piece(piece, hash) => (piece, hash),
        };
        let value = worker.table.find_long(piece, hash);
        if value != Value::ABSENT {
            return Ok(value);
        }
        tokens_of(self.scheme, piece, worker)?;
        let value = worker.table.value_of(&worker.tokens);
        worker.table.insert_long(piece, hash, value);
        Ok(value)
    }

    /// Merges words that are new.
    #[inline(always)]
    fn merge_group<K: Simd>(&mut self, kernel: K, group: &[u32]) -> Result<()> {
        let scheme = self.scheme;
        let mut words = [0; Words::MOST];
        for (word, &at) in words.iter_mut().zip(group) {
            *word = self.worker.keys[at as usize];
        }
        if let Some(rules) = scheme.words {
            kernel.merge_words(rules, &words[..group.len()], &mut self.worker.merged);
        }
        for (index, &at) in group.iter().enumerate() {
            let key = words[index];
            let worker = &mut *self.worker;
            let whole = if scheme.whole_first {
                let bytes = key.to_le_bytes();
                scheme.vocab.id(&bytes[..key_length(key)])
            } else {
                None
            };
            match (whole, scheme.words) {
                (Some(id), _) => {
                    worker.tokens.clear();
                    worker.tokens.push(id);
                }
                (None, Some(_)) => {
                    let rules = scheme.vocab.rules();
                    let symbols = worker.merged.get(index).iter();
                    worker.tokens.clear();
                    worker
                        .tokens
                        .extend(symbols.map(|&symbol| rules.id(symbol)));
                }
                (None, None) => {
                    let bytes = key.to_le_bytes();
                    tokens_of(scheme, &bytes[..key_length(key)], worker)?;
                }
            }
            let slot = worker.slots[at as usize];
            // A group may hold one word several times.
            let mut value = worker.table.find(key, slot);
            if value == Value::ABSENT {
                value = worker.table.value_of(&worker.tokens);
                worker.table.insert(key, slot, value);
            }
            self.set(kernel, at, value);
        }
        Ok(())
    }
}
