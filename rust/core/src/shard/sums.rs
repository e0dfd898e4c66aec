//! Both checksums of a shard's tokens and the greatest of the tokens, in one pass over memory.
//!
//! The format has an XXH3-64 of each block of tokens and one XXH3-128 of all of them. On long inputs both are
//! functions of the same eight accumulators: to each, XXH3 adds what it makes of the next kilobyte of input, and then
//! scrambles it. What it adds does not depend on the accumulators. A block is a whole number of kilobytes, so what is
//! made of a kilobyte is made once and added to the accumulators of the block and of the shard.
//!
//! Inputs of up to a kilobyte, which XXH3 treats in another way if they are short, go to `xxhash_rust`, which is also
//! the slow twin in the tests.
//!
//! The last kilobyte is special: XXH3 does not scramble after it, and takes its last 64 bytes with another key. So the
//! last kilobyte so far is held back, in a buffer, until more comes.

#![allow(unsafe_code, clippy::inline_always)] // see `simd`

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::format::TokenType;
use super::ids::greatest;
use crate::simd::{Job, Kernel, LANES_BYTES as STRIPE, Portable, Simd};

/// Bytes between two scrambles.
const KILOBYTE: usize = 1024;
/// Each stripe of a kilobyte takes its key so many bytes later than the one before it.
const KEY_STEP: usize = 8;

const PRIME32_1: u32 = 0x9E37_79B1;
const PRIME64_1: u64 = 0x9E37_79B1_85EB_CA87;
const PRIME64_2: u64 = 0xC2B2_AE3D_27D4_EB4F;

type Accumulators = [u64; 8];

/// XXH3's initial accumulators: its primes.
const START: Accumulators = [
    0xC2B2_AE3D,
    PRIME64_1,
    PRIME64_2,
    0x1656_67B1_9E37_79F9,
    0x85EB_CA77_C2B2_AE63,
    0x85EB_CA77,
    0x27D4_EB2F_1656_67C5,
    PRIME32_1 as u64,
];

/// XXH3's default secret.
#[rustfmt::skip]
const SECRET: [u8; 192] = [
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
];

/// Where the key of the last stripe of an input begins.
const LAST_KEY: usize = SECRET.len() - STRIPE - 7;
/// Where the key of a scramble begins.
const SCRAMBLE_KEY: usize = SECRET.len() - STRIPE;
/// Where the key begins with which the accumulators are merged, and the one for the upper half of 128 bits.
const MERGE_KEYS: [usize; 2] = [11, SECRET.len() - STRIPE - 11];

/// What there is to know of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockSum {
    /// xxh3-64 of its bytes.
    pub(super) sum: u64,
    /// The greatest token, 0 where there is none.
    pub(super) greatest: u32,
}

/// Checksums of the tokens that came so far.
#[derive(Clone, Debug)]
pub(super) struct Sums {
    kernel: Kernel,
    token_type: TokenType,
    shard: Accumulators,
    block: Accumulators,
    /// Bytes of the shard and of the block so far.
    bytes: u64,
    block_bytes: u64,
    greatest: u32,
    /// The last stripe before the bytes that are held back, and then these.
    tail: [u8; STRIPE + KILOBYTE],
    held: usize,
}

impl Sums {
    pub(super) fn new(token_type: TokenType) -> Self {
        Self::with_kernel(token_type, Kernel::best())
    }

    fn with_kernel(token_type: TokenType, kernel: Kernel) -> Self {
        Self {
            kernel,
            token_type,
            shard: START,
            block: START,
            bytes: 0,
            block_bytes: 0,
            greatest: 0,
            tail: [0; STRIPE + KILOBYTE],
            held: 0,
        }
    }

    /// Takes the next tokens, all of which belong to one block.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        // SAFETY: a slice's bytes can be read.
        unsafe { self.update_raw(bytes.as_ptr(), bytes.len()) }
    }

    /// Takes the next tokens, which others may be changing meanwhile: each byte is read once, or what is held back
    /// is read from a copy.
    ///
    /// # Safety
    /// `count` bytes from `from` on can be read.
    pub(super) unsafe fn update_raw(&mut self, mut from: *const u8, mut count: usize) {
        if count == 0 {
            return;
        }
        self.bytes += count as u64;
        loop {
            if self.held == KILOBYTE {
                self.consume_held();
            }
            let whole = if self.held == 0 {
                (count - 1) / KILOBYTE
            } else {
                0
            };
            if whole > 0 {
                let into_block = self.block_bytes;
                let greatest = self.kernel.run(Kilobytes {
                    from,
                    count: whole,
                    token_type: self.token_type,
                    into: [&mut self.shard, &mut self.block],
                });
                self.greatest = self.greatest.max(greatest);
                self.block_bytes = into_block + (whole * KILOBYTE) as u64;
                // SAFETY: `whole` kilobytes are fewer bytes than `count`.
                unsafe {
                    from = from.add(whole * KILOBYTE);
                    let last = from.sub(STRIPE);
                    std::ptr::copy_nonoverlapping(last, self.tail.as_mut_ptr(), STRIPE);
                }
                count -= whole * KILOBYTE;
            }
            let taken = count.min(KILOBYTE - self.held);
            let room = &mut self.tail[STRIPE + self.held..][..taken];
            // SAFETY: `taken` is at most `count`, and `room` is memory of our own.
            unsafe {
                std::ptr::copy_nonoverlapping(from, room.as_mut_ptr(), taken);
                from = from.add(taken);
            }
            self.held += taken;
            self.block_bytes += taken as u64;
            count -= taken;
            if count == 0 {
                return;
            }
        }
    }

    /// The kilobyte that is held back is not the last one.
    fn consume_held(&mut self) {
        debug_assert_eq!(self.held, KILOBYTE);
        // A block that has ended does not get it once more.
        let mut ended = START;
        let block = if self.block_bytes == 0 {
            &mut ended
        } else {
            &mut self.block
        };
        let greatest = self.kernel.run(Kilobytes {
            from: self.tail[STRIPE..].as_ptr(),
            count: 1,
            token_type: self.token_type,
            into: [&mut self.shard, block],
        });
        if self.block_bytes > 0 {
            self.greatest = self.greatest.max(greatest);
        }
        self.tail.copy_within(KILOBYTE.., 0);
        self.held = 0;
    }

    /// Ends a block, of which only the last may be anything but a whole number of kilobytes.
    pub(super) fn end_block(&mut self) -> BlockSum {
        let held = &self.tail[STRIPE..][..self.held];
        let sum = if self.block_bytes <= KILOBYTE as u64 {
            xxh3_64(&held[self.held - self.block_bytes as usize..])
        } else {
            let accumulators = self.with_tail(self.block);
            merge(
                &accumulators,
                MERGE_KEYS[0],
                self.block_bytes.wrapping_mul(PRIME64_1),
            )
        };
        let greatest = if self.block_bytes == 0 {
            0
        } else {
            self.greatest.max(greatest(self.token_type, held))
        };
        self.block = START;
        self.block_bytes = 0;
        self.greatest = 0;
        BlockSum { sum, greatest }
    }

    /// The xxh3-128 of all tokens so far, in the order of the header.
    pub(super) fn digest(&self) -> [u8; 16] {
        if self.bytes <= KILOBYTE as u64 {
            return xxh3_128(&self.tail[STRIPE..][..self.held]).to_le_bytes();
        }
        let accumulators = self.with_tail(self.shard);
        let low = self.bytes.wrapping_mul(PRIME64_1);
        let high = !self.bytes.wrapping_mul(PRIME64_2);
        let mut digest = [0; 16];
        for ((half, key), start) in digest
            .as_chunks_mut()
            .0
            .iter_mut()
            .zip(MERGE_KEYS)
            .zip([low, high])
        {
            *half = merge(&accumulators, key, start).to_le_bytes();
        }
        digest
    }

    /// The accumulators after the bytes that are held back, which are the last ones.
    fn with_tail(&self, mut accumulators: Accumulators) -> Accumulators {
        let held = &self.tail[STRIPE..][..self.held];
        let mut add = |stripe: &[u8; STRIPE], key| {
            let lanes = std::array::from_fn(|i| u64_at(stripe, 8 * i));
            accumulators = add_stripe(Portable, accumulators, lanes, key);
        };
        for (stripe, key) in held[..self.held - 1].as_chunks().0.iter().zip(KEYS) {
            add(stripe, key);
        }
        let last = self.tail[..STRIPE + self.held].last_chunk();
        add(last.expect("at least a stripe"), const { key(LAST_KEY) });
        accumulators
    }
}

const fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let (_, bytes) = bytes.split_at(at);
    u64::from_le_bytes(*bytes.first_chunk().expect("eight bytes"))
}

/// The key that begins at a byte of the secret.
const fn key(at: usize) -> Accumulators {
    let mut key = [0; 8];
    let mut i = 0;
    while i < 8 {
        key[i] = u64_at(&SECRET, at + 8 * i);
        i += 1;
    }
    key
}

/// The keys of the stripes of a kilobyte.
const KEYS: [Accumulators; KILOBYTE / STRIPE] = {
    let mut keys = [[0; 8]; KILOBYTE / STRIPE];
    let mut i = 0;
    while i < keys.len() {
        keys[i] = key(i * KEY_STEP);
        i += 1;
    }
    keys
};

/// Adds what XXH3 makes of a stripe.
#[inline(always)]
fn add_stripe<K: Simd>(kernel: K, sum: K::Lanes, stripe: K::Lanes, key: K::Lanes) -> K::Lanes {
    let product = kernel.multiply_halves(kernel.xor(stripe, key));
    kernel.add(sum, kernel.add(product, kernel.swap_neighbours(stripe)))
}

fn merge(accumulators: &Accumulators, at: usize, start: u64) -> u64 {
    let key = key(at);
    let mut sum = start;
    for i in [0, 2, 4, 6] {
        let factors = [accumulators[i] ^ key[i], accumulators[i + 1] ^ key[i + 1]];
        let product = u128::from(factors[0]) * u128::from(factors[1]);
        sum = sum.wrapping_add(product as u64 ^ (product >> 64) as u64);
    }
    sum ^= sum >> 37;
    sum = sum.wrapping_mul(0x1656_6791_9E37_79F9);
    sum ^ sum >> 32
}

/// Whole kilobytes that are not the last of the input, for two sets of accumulators.
struct Kilobytes<'a> {
    from: *const u8,
    count: usize,
    token_type: TokenType,
    into: [&'a mut Accumulators; 2],
}

impl Job for Kilobytes<'_> {
    /// The greatest of the tokens.
    type Output = u32;

    #[inline(always)]
    fn run<K: Simd>(self, kernel: K) -> u32 {
        match self.token_type {
            TokenType::U16 => self.add(kernel, K::greater_u16),
            TokenType::U32 => self.add(kernel, K::greater_u32),
        }
    }
}

impl Kilobytes<'_> {
    #[inline(always)]
    fn add<K: Simd>(self, kernel: K, greater: impl Fn(K, K::Lanes, K::Lanes) -> K::Lanes) -> u32 {
        let zeros = kernel.lanes(&[0; 8]);
        let scramble_key = kernel.lanes(const { &key(SCRAMBLE_KEY) });
        let [shard, block] = self.into;
        let (mut of_shard, mut of_block) = (kernel.lanes(shard), kernel.lanes(block));
        let mut most = zeros;
        for kilobyte in 0..self.count {
            let mut sum = zeros;
            for (number, key) in KEYS.iter().enumerate() {
                let at = kilobyte * KILOBYTE + number * STRIPE;
                // SAFETY: whoever made this value has `count` kilobytes.
                let stripe = unsafe { kernel.load_lanes(self.from.add(at)) };
                sum = add_stripe(kernel, sum, stripe, kernel.lanes(key));
                most = greater(kernel, most, stripe);
            }
            of_shard = kernel.scramble(kernel.add(of_shard, sum), scramble_key, PRIME32_1);
            of_block = kernel.scramble(kernel.add(of_block, sum), scramble_key, PRIME32_1);
        }
        (*shard, *block) = (kernel.numbers(of_shard), kernel.numbers(of_block));
        let most = kernel.numbers(most).map(u64::to_le_bytes);
        greatest(self.token_type, most.as_flattened())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TYPES: [TokenType; 2] = [TokenType::U16, TokenType::U32];

    fn some_bytes(count: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        let next = |_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        (0..count).map(next).collect()
    }

    fn sums() -> impl Iterator<Item = Sums> {
        let kernels = Kernel::ALL
            .into_iter()
            .filter(|kernel| kernel.is_available());
        kernels.flat_map(|kernel| TYPES.map(|token_type| Sums::with_kernel(token_type, kernel)))
    }

    /// Both checksums and the greatest token, from the other implementation.
    fn check(bytes: &[u8], block_bytes: usize, pieces: impl Fn(usize) -> usize) {
        for mut sums in sums() {
            for (number, block) in bytes.chunks(block_bytes).enumerate() {
                let mut rest = block;
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(pieces(rest.len()).clamp(1, rest.len()));
                    sums.update(now);
                    rest = later;
                }
                let expected = BlockSum {
                    sum: xxh3_64(block),
                    greatest: greatest(sums.token_type, block),
                };
                assert_eq!(
                    sums.end_block(),
                    expected,
                    "block {number} of {}",
                    bytes.len()
                );
            }
            let expected = xxh3_128(bytes).to_le_bytes();
            assert_eq!(sums.digest(), expected, "{} bytes", bytes.len());
        }
    }

    #[test]
    fn short_inputs_of_every_length() {
        let bytes = some_bytes(4200, 7);
        for length in (0..=4200).step_by(4) {
            check(&bytes[..length], 2048, |left| left);
        }
        for mut sums in sums() {
            let none = BlockSum {
                sum: xxh3_64(b""),
                greatest: 0,
            };
            assert_eq!(sums.end_block(), none);
            assert_eq!(sums.digest(), xxh3_128(b"").to_le_bytes());
        }
    }

    #[test]
    fn a_copy_goes_on_by_itself() {
        let bytes = some_bytes(9000, 3);
        for mut sums in sums() {
            sums.update(&bytes[..4096]);
            sums.end_block();
            let mut copy = sums.clone();
            sums.update(&bytes[..100]);
            copy.update(&bytes[4096..]);
            assert_eq!(copy.digest(), xxh3_128(&bytes).to_le_bytes());
            assert_eq!(copy.end_block().sum, xxh3_64(&bytes[4096..]));
        }
    }

    proptest! {
        #[test]
        fn any_input_in_any_pieces(
            tokens in 0_usize..20_000, seed: u64, kilobytes in 1_usize..9, piece in 1_usize..5000,
        ) {
            let bytes = some_bytes(4 * tokens, seed);
            check(&bytes, kilobytes * KILOBYTE, |left| if left.is_multiple_of(3) { piece } else { left });
        }
    }
}
