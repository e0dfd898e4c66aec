//! Small tokenizers, and what they say of themselves.

use super::*;

const A: u32 = b'a' as u32;

fn toy() -> Tokenizer {
    let special = [("<|x|>".to_owned(), 259), ("<|y|>".to_owned(), 260)];
    let merges = [(A, A), (256, A), (256, 256)];
    Tokenizer::from_merges(&merges, Pattern::default(), &special).unwrap()
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, tokenizer.all_special()).unwrap()
}

#[test]
fn shrinking_moves_the_special_tokens() {
    let (long, short) = (toy(), toy().shrink(259).unwrap());
    assert_eq!((long.vocab_size(), short.vocab_size()), (261, 259));
    assert_eq!(ids(&long, "aaaa<|y|>"), [258, 260]);
    assert_eq!(ids(&short, "aaaa<|y|>"), [256, 256, 258]);
    assert_eq!(short.merges().len(), 1);
    for size in [257, 262, 0, u32::MAX] {
        let error = long.shrink(size).unwrap_err().to_string();
        assert!(error.contains("expected 258 to 261"), "{error}");
    }
}

#[test]
fn only_known_names_enter_a_set() {
    let tokenizer = toy();
    let set = tokenizer.special_set(["<|y|>", "<|y|>", "<|z|>"]).unwrap();
    let found = set.find(b"a<|x|><|y|>").unwrap();
    assert_eq!((found.id, found.start, found.end), (260, 6, 11));
    assert!(tokenizer.special_set(["<|z|>"]).unwrap().is_empty());
}

#[test]
fn a_batch_names_the_first_text_that_is_refused() {
    let tokenizer = toy();
    let texts = ["a", "a<|y|>", "<|x|>"];
    let policy = |allowed| {
        tokenizer
            .special_policy(allowed, SpecialNames::All)
            .unwrap()
    };
    let check = |policy, go_on| tokenizer.check_special_batch(&texts, policy, &|| go_on);
    let none = policy(SpecialNames::These(&[]));
    let Err(Error::Document { index: 1, source }) = check(&none, true) else {
        panic!("expected an error about text 1");
    };
    assert!(source.to_string().contains("token '<|y|>' at byte 1; "));
    assert!(matches!(check(&none, false), Err(Error::Cancelled)));
    assert!(check(&policy(SpecialNames::All), false).is_ok());
}

#[test]
fn ordinary_tokens_are_those_that_are_not_special() {
    let special = [("aa".to_owned(), 256), ("<|x|>".to_owned(), 300)];
    let tokenizer = Tokenizer::from_merges(&[(A, A), (256, A)], Pattern::none(), &special).unwrap();
    let tokens: Vec<_> = tokenizer.ordinary_tokens().collect();
    assert_eq!(tokens.len(), 257);
    assert_eq!(tokens[255..], [(255, &b"\xFF"[..]), (257, b"aaa")]);
    let characters = Tokenizer::characters("ba".chars(), &["<e>".into()]).unwrap();
    let tokens: Vec<_> = characters.ordinary_tokens().collect();
    assert_eq!(tokens, [(0, &b"a"[..]), (1, b"b")]);
}

#[test]
fn a_piece_is_merged_without_looking_it_up() {
    let bytes: Vec<Vec<u8>> = (0..=255_u8).map(|byte| vec![byte]).collect();
    let more: [&[u8]; 3] = [b"ab", b"abcd", b"b\xFF"];
    let tokens = bytes.iter().map(Vec::as_slice).chain(more);
    let tokenizer = Tokenizer::from_ranks((0..).zip(tokens), Pattern::none(), &[]).unwrap();
    assert_eq!(ids(&tokenizer, "abcd"), [257]);
    let merge = |piece: &[u8]| tokenizer.merge_piece(piece).unwrap();
    assert_eq!(merge(b"abcd"), [256, 99, 100]);
    assert_eq!(merge(b"ab\xFF"), [256, 255]);
    assert_eq!(merge(b"cb\xFF"), [99, 258]);
    assert_eq!(merge(b"a"), [97]);
    assert!(merge(b"").is_empty());
}

#[test]
fn tokens_are_found_by_bytes() {
    assert_eq!(toy().token_id(b"aaa"), Some(257));
    assert_eq!(toy().token_bytes(260), Some(&b"<|y|>"[..]));
    let characters = Tokenizer::characters("ba".chars(), &["<e>".into()]).unwrap();
    assert_eq!(characters.token_id(b"b"), Some(1));
    assert_eq!(characters.token_id(b"ba"), None);
    assert_eq!(ids(&characters, "ab<e>a"), [0, 1, 2, 0]);
}
