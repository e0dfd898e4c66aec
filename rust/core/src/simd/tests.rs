//! Every kernel against the portable one, operation by operation.

use super::words::merge_word;
use super::*;
use proptest::prelude::*;

fn kernels() -> impl Iterator<Item = Kernel> {
    Kernel::ALL
        .into_iter()
        .filter(|kernel| kernel.is_available())
}

#[test]
fn kernels_have_names() {
    for kernel in kernels() {
        assert_eq!(Kernel::named(kernel.name()), Some(kernel));
    }
    assert_eq!(Kernel::named("abacus"), None);
    assert!(Kernel::best().is_available());
}

fn some_kind(code_point: u32) -> Kind {
    match code_point.wrapping_mul(0x9E37_79B1) >> 22 & if code_point < 0x2000 { 7 } else { 1 } {
        1 => Kind::Letter,
        2 => Kind::Upper,
        3 => Kind::Uncased,
        4 => Kind::Mark,
        5 => Kind::Number,
        6 => Kind::White,
        _ => Kind::Other,
    }
}

fn some_kinds() -> Kinds {
    // 256 different rows at most: the first 200, and one for all that follow.
    let row_of: Vec<u8> = (0..4352_u32).map(|row| row.min(200) as u8).collect();
    let rows = (0..201_u32).map(|row| {
        let uniform = row % 3 == 0;
        std::array::from_fn(|column| {
            if uniform {
                some_kind(row * 256)
            } else {
                some_kind(row * 256 + column as u32)
            }
        })
    });
    Kinds::new(&row_of, rows)
}

struct Masks<'a> {
    bytes: &'a [u8; 2 * BLOCK],
    kinds: &'a Kinds,
    leads: u64,
}

impl Job for Masks<'_> {
    type Output = (Vec<u64>, KindMasks, Vec<u32>);

    #[inline(always)]
    fn run<K: Simd>(self, kernel: K) -> Self::Output {
        let block = kernel.load(self.bytes.first_chunk().unwrap());
        let masks = vec![
            kernel.equal(block, b' '),
            kernel.within(block, b'0', b'9'),
            kernel.within(block, 0, 0x7F),
            kernel.letters(block),
            kernel.high(block),
            kernel.continuations(block),
        ];
        let mut out = [0; BLOCK];
        let count = kernel.positions(masks[4], 1000, &mut out);
        let kinds = kernel.kinds(self.kinds, self.bytes, self.leads);
        (masks, kinds, out[..count].to_vec())
    }
}

/// Looks the pieces between `starts` up; those of which `known` has the bit were put in before.
struct Pieces<'a> {
    text: &'a [u8],
    starts: &'a [u32],
    known: u64,
    hasher: Hasher,
}

impl Job for Pieces<'_> {
    /// The keys, what was found, and what [`Bucket::get`] finds.
    type Output = (Vec<Key>, Vec<u64>, Vec<u64>);

    #[inline(always)]
    fn run<K: Simd>(self, kernel: K) -> Self::Output {
        let mut buckets = vec![Bucket::EMPTY; 4];
        let number = |slot: u32| slot as usize / size_of::<Bucket>();
        for (index, pair) in self.starts.windows(2).enumerate() {
            let piece = &self.text[pair[0] as usize..pair[1] as usize];
            if piece.len() <= LONGEST_KEY && self.known >> (index % 64) & 1 == 1 {
                let key = key_of(piece);
                assert_eq!(key_length(key), piece.len());
                let bucket = &mut buckets[number(kernel.slot(self.hasher, key))];
                let way = bucket.free_way().unwrap_or(index % 3);
                if bucket.get(key) == Value::ABSENT {
                    bucket.set(way, key, Value::inline(index as u32, None));
                    assert_eq!(bucket.get(key), Value::inline(index as u32, None));
                }
            }
        }
        let count = self.starts.len() - 1;
        let (mut keys, mut slots) = (vec![0; count], vec![0; count]);
        let window = |at: usize| self.text[at..].first_chunk().unwrap();
        kernel.keys(
            self.text,
            window,
            self.starts,
            self.hasher,
            &buckets,
            &mut keys,
            &mut slots,
        );
        let mut values = vec![7; count];
        kernel.probe(&buckets, &keys, &slots, &mut values);
        let pairs = keys.iter().zip(&slots);
        let expected = pairs.map(|(&key, &slot)| {
            assert_eq!(slot, kernel.slot(self.hasher, key));
            buckets[number(slot)].get(key).0
        });
        let expected = expected.collect();
        (keys, values, expected)
    }
}

struct Probe<'a>(&'a [Bucket; 1], Key);

impl Job for Probe<'_> {
    type Output = u64;

    #[inline(always)]
    fn run<K: Simd>(self, kernel: K) -> u64 {
        let mut values = [7; 9];
        kernel.probe(self.0, &[self.1; 9], &[0; 9], &mut values);
        assert!(values.iter().all(|&value| value == values[0]));
        values[0]
    }
}

/// Sixteen bytes of zero are a key that empty places have too.
#[test]
fn a_key_of_zeros_is_found_in_any_place() {
    for kernel in kernels() {
        let mut bucket = Bucket::EMPTY;
        for way in 0..3 {
            assert_eq!(kernel.run(Probe(&[bucket], 0)), 0, "{kernel:?} {way}");
            let mut with_zeros = bucket;
            with_zeros.set(way, 0, Value::inline(way as u32, None));
            let expected = Value::inline(way as u32, None).0;
            assert_eq!(
                kernel.run(Probe(&[with_zeros], 0)),
                expected,
                "{kernel:?} {way}"
            );
            assert_eq!(with_zeros.get(0).0, expected);
            bucket.set(way, 1 + way as Key, Value::inline(7, None));
        }
        assert_eq!(kernel.run(Probe(&[bucket], 0)), 0, "{kernel:?}");
        assert_eq!(kernel.run(Probe(&[bucket], 3)), Value::inline(7, None).0);
    }
}

struct Emit<'a>(&'a [u64]);

impl Emit<'_> {
    #[inline(always)]
    fn one<K: Simd, const NARROW: bool>(&self, kernel: K) -> (Vec<u64>, Vec<u32>) {
        let mut others = vec![0; self.0.len() + 8];
        let mut lanes = self.0.to_vec();
        let count = kernel.sort_out::<NARROW>(&mut lanes, &mut others);
        (lanes, others[..count].to_vec())
    }
}

impl Job for Emit<'_> {
    type Output = (Vec<Vec<u32>>, Vec<u64>, Vec<u16>, Vec<u32>);

    #[inline(always)]
    fn run<K: Simd>(self, kernel: K) -> Self::Output {
        let (narrow, others) = self.one::<K, true>(kernel);
        let (wide, other_others) = self.one::<K, false>(kernel);
        let mut absent = vec![0; self.0.len() + 8];
        let count = kernel.absent(self.0, &mut absent);
        let zeros = (0..).zip(self.0).filter(|&(_, &value)| value == 0);
        assert!(
            zeros
                .map(|(place, _)| place)
                .eq(absent[..count].iter().copied())
        );
        let inline: Vec<u64> = self
            .0
            .iter()
            .copied()
            .filter(|v| (1..Value::APART).contains(v))
            .collect();
        let mut short = vec![MaybeUninit::uninit(); 4 * inline.len() + SLACK];
        let mut long = vec![MaybeUninit::uninit(); 2 * inline.len() + SLACK];
        let lanes: Vec<u64> = inline.iter().map(|&v| Value(v).narrow_lanes()).collect();
        let count = kernel.emit_narrow(&lanes, &mut short);
        assert_eq!(kernel.count_narrow(&lanes), count);
        // SAFETY: `emit_narrow` initialises what it counts.
        let short = short[..count].iter().map(|id| unsafe { id.assume_init() });
        let lanes: Vec<u64> = inline.iter().map(|&v| Value(v).wide_lanes()).collect();
        let count = kernel.emit_wide(&lanes, &mut long);
        assert_eq!(kernel.count_wide(&lanes), count);
        // SAFETY: `emit_wide` initialises what it counts.
        let long = long[..count].iter().map(|id| unsafe { id.assume_init() });
        let places = vec![others, other_others];
        let lanes = narrow.into_iter().chain(wide).collect();
        (places, lanes, short.collect(), long.collect())
    }
}

struct Merge<'a> {
    rules: WordRules<'a>,
    words: &'a [Key],
}

impl Job for Merge<'_> {
    type Output = Vec<Vec<u32>>;

    #[inline(always)]
    fn run<K: Simd>(self, kernel: K) -> Self::Output {
        let mut all = Vec::new();
        let mut out = Words::new();
        for group in self.words.chunks(Words::MOST) {
            kernel.merge_words(self.rules, group, &mut out);
            all.extend((0..group.len()).map(|index| out.get(index).to_vec()));
        }
        all
    }
}

/// Text with characters of every length, and a block's worth more.
fn text() -> impl Strategy<Value = String> {
    let ascii = (0x20..0x7F_u32).prop_map(|c| char::from_u32(c).unwrap());
    let any = prop_oneof![6 => ascii, 3 => prop::char::range('\u{80}', '\u{3100}'), 2 => prop::char::range('\u{3100}', '\u{D7FF}'), 1 => any::<char>()];
    prop::collection::vec(any, 150..200).prop_map(|characters| characters.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn masks_need_no_wide_registers(bytes: [u8; BLOCK], first in 0..=0x7F_u8, length in 0..=0x7F_u8) {
        let (plain, wide) = (portable::swar::Bytes::load(&bytes), portable::sse2::Bytes::load(&bytes));
        let last = first.saturating_add(length).min(0x7F);
        prop_assert_eq!(plain.within(first, last), wide.within(first, last));
        prop_assert_eq!(plain.equal(first), wide.equal(first));
        prop_assert_eq!(plain.letters(), wide.letters());
        prop_assert_eq!(plain.high(), wide.high());
        prop_assert_eq!(plain.continuations(), wide.continuations());
    }

    #[test]
    fn masks_are_the_portable_ones(text in text(), from in 0..20_usize) {
        let kinds = some_kinds();
        let from = (from..from + 4).find(|&at| text.is_char_boundary(at)).unwrap();
        let bytes: &[u8; 2 * BLOCK] = text.as_bytes()[from..].first_chunk().unwrap();
        let leads = (0..BLOCK).filter(|&at| bytes[at] >= 0xC0).fold(0, |mask, at| mask | 1 << at);
        let job = || Masks { bytes, kinds: &kinds, leads };
        let expected = job().run(Portable);
        let reference: u64 = (0..BLOCK).filter(|&at| bytes[at].is_ascii_alphabetic()).fold(0, |mask, at| mask | 1 << at);
        prop_assert_eq!(expected.0[3], reference);
        for kernel in kernels() {
            prop_assert_eq!(&kernel.run(job()), &expected, "{:?}", kernel);
        }
    }

    #[test]
    fn pieces_are_found_alike(
        lengths in prop::collection::vec(prop_oneof![9 => 1..20_u32, 1 => 1..70_u32], 1..40),
        secrets: [u128; 4],
        known: u64,
    ) {
        let text: Vec<u8> = (0..4000_u32).map(|at| ((at * at) >> 3) as u8 % 3 + b'a').collect();
        let mut starts = vec![0];
        starts.extend(lengths.iter().scan(0, |at, length| { *at += length; Some(*at) }));
        let hasher = Hasher::new(2, secrets);
        let expected: Vec<Key> = starts.windows(2).map(|pair| {
            let piece = &text[pair[0] as usize..pair[1] as usize];
            if piece.len() <= LONGEST_KEY { key_of(piece) } else { NOT_A_KEY }
        }).collect();
        for kernel in kernels() {
            let job = Pieces { text: &text, starts: &starts, known, hasher };
            let (keys, values, known_values) = kernel.run(job);
            prop_assert_eq!(&keys, &expected, "{:?}", kernel);
            prop_assert_eq!(&values, &known_values, "{:?}", kernel);
        }
    }

    #[test]
    fn tokens_come_out_alike(
        values in prop::collection::vec(
            (0..8_u32, 0..0xFFFF_u32, 0..0xFFFF_u32).prop_map(|(kind, first, second)| match kind {
                0 => Value::ABSENT.0,
                1 => Value::quad(first).0,
                2 => Value::list(second).0,
                3 | 4 => Value::inline(first, Some(second)).0,
                _ => Value::inline(first, None).0,
            }),
            0..60,
        ),
    ) {
        let expected = Emit(&values).run(Portable);
        for kernel in kernels() {
            let found = kernel.run(Emit(&values));
            prop_assert_eq!(&found, &expected, "{:?}", kernel);
        }
    }

    #[test]
    fn words_merge_alike(
        words in prop::collection::vec("[ab]{1,16}", 1..12),
        pairs in prop::collection::hash_set((0..40_u32, 0..40_u32), 0..60),
        order: u64,
    ) {
        // Symbols below 40 stand for 'a', 'b' and what the merges make.
        let symbol = |number: u32| match number {
            0 => u32::from(b'a'),
            1 => u32::from(b'b'),
            _ => FIRST_MADE + number - 2,
        };
        let mut pairs: Vec<(u32, u32)> = pairs.into_iter().map(|(l, r)| (symbol(l), symbol(r))).collect();
        pairs.sort_by_key(|pair| (u64::from(pair.0) << 32 | u64::from(pair.1)).wrapping_mul(order | 1));
        let mut lines = vec![PairLine([PairLine::EMPTY; 8]); 16];
        let table = Pairs { lines: &[], multiplier: order | 1, shift: 60 };
        let mut byte_pairs: Box<[u32; 1 << 16]> = vec![NO_MERGE; 1 << 16].into_boxed_slice().try_into().unwrap();
        for (merge, &(left, right)) in (0..).zip(&pairs) {
            let key = u64::from(left) << NUMBER_BITS | u64::from(right);
            let mut at = table.line_of(key);
            loop {
                let line = &mut lines[at % 16].0;
                if let Some(free) = line[..7].iter_mut().find(|entry| **entry == PairLine::EMPTY) {
                    *free = key << NUMBER_BITS | u64::from(merge);
                    break;
                }
                line[7] = PairLine::FULL;
                at += 1;
            }
            if left < 256 && right < 256 {
                byte_pairs[(left | right << 8) as usize] = merge;
            }
        }
        let rules = WordRules { byte_pairs: &byte_pairs, pairs: Pairs { lines: &lines, ..table } };
        let words: Vec<Key> = words.iter().map(|word| key_of(word.as_bytes())).collect();
        let mut expected = Vec::new();
        for &word in &words {
            let mut symbols = [0; LONGEST_KEY];
            let length = merge_word(rules, word, &mut symbols);
            expected.push(symbols[..length].to_vec());
        }
        for kernel in kernels() {
            prop_assert_eq!(&kernel.run(Merge { rules, words: &words }), &expected, "{:?}", kernel);
        }
    }
}
