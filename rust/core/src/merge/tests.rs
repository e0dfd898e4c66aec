//! Every way of merging gives what the plainest way gives, on random rules and on rules and texts that are meant to
//! make joining windows hard.

use proptest::prelude::*;

use super::heap::Heap;
use super::long::{self, Buffers};
use super::{Asking, MergeRules, NumberedMerge, merge_piece, merge_piece_while};
use crate::Error;
use crate::simd::NO_MERGE;

/// The merges of `pairs` in their order, of which number `k` makes symbol `256 + k`.
fn rules(pairs: impl IntoIterator<Item = (u32, u32)>) -> MergeRules {
    let mut rules = MergeRules::of_bytes(&bytes(), 0);
    let mut known = std::collections::HashSet::new();
    let new = pairs.into_iter().filter(|&pair| known.insert(pair));
    for (pair, id) in new.zip(256..) {
        rules.add(pair.0, pair.1, id).unwrap();
    }
    rules
}

/// The same merges in another order, so that some parts come later than what is made of them.
fn shuffled_rules(pairs: &[(u32, u32)], seed: u64) -> MergeRules {
    let mut known = std::collections::HashSet::new();
    let new = pairs.iter().filter(|&&pair| known.insert(pair));
    let mut merges: Vec<_> = new
        .zip(256..)
        .map(|(&(left, right), made)| (left, right, made))
        .collect();
    let mut random = Random(seed | 1);
    for at in (1..merges.len()).rev() {
        merges.swap(at, random.below(at + 1));
    }
    let numbered = merges.into_iter().zip(0..);
    let numbered = numbered.map(|((left, right, made), number)| NumberedMerge {
        left,
        right,
        made,
        number,
    });
    let numbered: Vec<_> = numbered.collect();
    MergeRules::of_ids(&bytes(), &numbered, 256 + pairs.len() as u32).unwrap()
}

fn bytes() -> [u32; 256] {
    std::array::from_fn(|byte| byte as u32)
}

#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 as usize % bound
    }
}

/// The definition, word for word.
fn plainest(rules: &MergeRules, piece: &[u8]) -> Vec<u32> {
    let mut symbols: Vec<u32> = piece.iter().map(|&byte| u32::from(byte)).collect();
    loop {
        let pairs = symbols.windows(2).zip(0..);
        let numbers = pairs.map(|(pair, at)| (rules.merge(pair[0], pair[1]), at));
        let Some((number, at)) = numbers.min().filter(|&(number, _)| number != NO_MERGE) else {
            return symbols;
        };
        symbols[at] = rules.made(number);
        symbols.remove(at + 1);
    }
}

/// One heap over the whole piece.
fn by_heap(rules: &MergeRules, piece: &[u8]) -> Vec<u32> {
    let mut heap = Heap::default();
    let mut go_on = || true;
    heap.merge(rules, piece, &mut Asking::new(&mut go_on))
        .unwrap();
    heap.symbols().map(|(_, symbol)| symbol).collect()
}

fn by_windows(rules: &MergeRules, piece: &[u8]) -> Vec<u32> {
    let mut out = vec![7];
    let mut go_on = || true;
    let asking = &mut Asking::new(&mut go_on);
    long::merge(rules, piece, &mut Buffers::default(), &mut out, asking).unwrap();
    out.split_off(1)
}

/// Pairs of symbols made before, over a few letters.
fn pairs(letters: u32) -> impl Strategy<Value = Vec<(u32, u32)>> {
    prop::collection::vec(any::<(u32, u32)>(), 1..60).prop_map(move |choices| {
        let symbol = |choice: u32, made: u32| match choice % (letters + made) {
            letter if letter < letters => u32::from(b'a') + letter,
            made => 256 + made - letters,
        };
        let mut known = Vec::new();
        for (left, right) in choices {
            let made = known.len() as u32;
            let pair = (symbol(left, made), symbol(right, made));
            if !known.contains(&pair) {
                known.push(pair);
            }
        }
        known
    })
}

/// Letters at random; one word again and again with a few letters changed; a Fibonacci word; Thue and Morse's.
fn texts(letters: u8, longest: usize) -> impl Strategy<Value = Vec<u8>> {
    let letter = move || b'a'..b'a' + letters;
    let periodic = (prop::collection::vec(letter(), 1..9), 1..longest);
    let periodic =
        periodic.prop_map(|(word, length)| word.into_iter().cycle().take(length).collect());
    let changed = (
        prop::collection::vec(letter(), 1..40),
        1..longest,
        prop::collection::vec((0..longest, letter()), 0..6),
    );
    let changed = changed.prop_map(|(word, length, changes)| {
        let mut text: Vec<u8> = word.into_iter().cycle().take(length).collect();
        for (at, letter) in changes {
            if let Some(place) = text.get_mut(at) {
                *place = letter;
            }
        }
        text
    });
    let fibonacci = (1..longest).prop_map(|length| {
        let (mut shorter, mut longer) = (b"a".to_vec(), b"ab".to_vec());
        while longer.len() < length {
            (longer, shorter) = ([&*longer, &shorter].concat(), longer);
        }
        longer.truncate(length);
        longer
    });
    let thue_morse = (1..longest).prop_map(|length| {
        let parity = |at: usize| at.count_ones() as u8 & 1;
        (0..length).map(|at| b'a' + parity(at)).collect()
    });
    prop_oneof![
        prop::collection::vec(letter(), 1..longest),
        periodic,
        changed,
        fibonacci,
        thue_morse
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn short_pieces(pairs in pairs(3), seed in prop::option::of(any::<u64>()), piece in texts(3, 65)) {
        let rules = seed.map_or_else(|| rules(pairs.clone()), |seed| shuffled_rules(&pairs, seed));
        let expected = plainest(&rules, &piece);
        let mut found = Vec::new();
        merge_piece(&rules, &piece, &mut Buffers::default(), &mut found).unwrap();
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(by_heap(&rules, &piece), expected);
    }

    #[test]
    fn long_pieces(pairs in pairs(2), seed in prop::option::of(any::<u64>()), piece in texts(2, 700)) {
        let rules = seed.map_or_else(|| rules(pairs.clone()), |seed| shuffled_rules(&pairs, seed));
        let expected = plainest(&rules, &piece);
        prop_assert_eq!(by_heap(&rules, &piece), expected.clone());
        prop_assert_eq!(by_windows(&rules, &piece), expected);
    }

    /// Long enough for windows of the heap.
    #[test]
    fn very_long_pieces(pairs in pairs(2), seed in prop::option::of(any::<u64>()), piece in texts(2, 20_000)) {
        let rules = seed.map_or_else(|| rules(pairs.clone()), |seed| shuffled_rules(&pairs, seed));
        prop_assert_eq!(by_windows(&rules, &piece), by_heap(&rules, &piece));
    }
}

const A: u32 = b'a' as u32;

/// The tokens aa, aaaa and so on up to 2^`most` letters.
fn powers(most: u32) -> MergeRules {
    rules((0..most).map(|power| match power {
        0 => (A, A),
        power => (255 + power, 255 + power),
    }))
}

/// Tokens longer than most windows, which end anywhere.
#[test]
fn powers_of_one_letter() {
    for most in [1, 5, 6, 7, 11, 14, 17] {
        let rules = powers(most);
        for length in [63, 64, 65, 127, 2047, 2049, 65_535, 100_000, 200_003] {
            let mut piece = vec![b'a'; length];
            assert_eq!(
                by_windows(&rules, &piece),
                by_heap(&rules, &piece),
                "{most} {length}"
            );
            piece[length / 3] = b'b';
            piece[length / 2] = b'b';
            assert_eq!(
                by_windows(&rules, &piece),
                by_heap(&rules, &piece),
                "{most} {length}"
            );
        }
    }
}

/// In a row of such letters the last two merge first, then the two before them: so one letter more at the end
/// changes all tokens of the row, however long it is.
#[test]
fn the_end_decides_about_all_before_it() {
    // Letter k of many is two bytes that merge early.
    for letters in [200_u32, 3_000, 16_000] {
        let (high, low) = (|k: u32| k >> 7, |k: u32| 0x80 | k & 0x7F);
        let of_bytes = (0..letters).map(|k| (high(k), low(k)));
        let in_rows = (1..letters).rev().map(|k| (255 + k, 256 + k));
        let rules = rules(of_bytes.chain(in_rows));
        let mut random = Random(5);
        let mut piece = Vec::new();
        while piece.len() < 400_000 {
            let from = random.below(letters as usize / 4) as u32;
            let to = letters - random.below(letters as usize / 4) as u32;
            piece.extend((from..to).flat_map(|k| [high(k) as u8, low(k) as u8]));
        }
        let expected = by_heap(&rules, &piece);
        assert!(expected.len() < piece.len() / 3, "pairs of letters merge");
        assert_eq!(by_windows(&rules, &piece), expected);
    }
}

/// It is asked in proportion to the work, wherever that is done, and then nothing more is.
#[test]
fn merging_ends_when_it_is_told_to() {
    const LENGTH: usize = 1 << 20;
    let mut random = Random(3);
    let letters = (0..LENGTH).map(|_| b'a' + random.below(3) as u8);
    let letters: Vec<u8> = letters.collect();
    let pairs = |first, second| (A + first, A + second);
    let of_letters = rules([pairs(0, 1), pairs(1, 2), (256, A), (257, 256)]);
    let cases = [(of_letters, letters), (powers(19), vec![b'a'; LENGTH])];
    for (rules, piece) in cases {
        let mut buffers = Buffers::default();
        let mut merge = |answers: usize| {
            let mut asked = 0;
            let mut out = Vec::new();
            let mut go_on = || {
                asked += 1;
                asked <= answers
            };
            let merged = merge_piece_while(&rules, &piece, &mut buffers, &mut out, &mut go_on);
            (merged.map(|()| out), asked)
        };
        let (whole, asked) = merge(usize::MAX);
        assert!(asked >= LENGTH / (2 * super::asking::EVERY), "{asked}");
        for answers in [0, 1, asked / 2, asked - 1] {
            assert!(
                matches!(merge(answers), (Err(Error::Cancelled), asked) if asked == answers + 1)
            );
        }
        assert_eq!(merge(asked).0.unwrap(), whole.unwrap());
    }
}
