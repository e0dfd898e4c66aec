//! Round trips, refusals by name, and files made to break the reader.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::pattern::{NAMES, Pattern};

const A: u32 = b'a' as u32;

fn toy(pattern: &str) -> Tokenizer {
    let special = [("<|e|>".to_owned(), 300), ("a b".to_owned(), 259)];
    let merges = [(32, A), (A, A), (256, 257)];
    Tokenizer::from_merges(&merges, Pattern::named(pattern).unwrap(), &special).unwrap()
}

fn written(tokenizer: &Tokenizer) -> Value {
    serde_json::from_slice(&write(tokenizer).unwrap()).unwrap()
}

/// Reads a file that was edited by hand, its fingerprint taken out as the error advises.
fn read_value(value: &Value) -> Result<Tokenizer> {
    let mut value = value.clone();
    if let Some(model) = value.get_mut("model").and_then(Value::as_object_mut) {
        model.remove("fingerprint");
    }
    read(value.to_string().as_bytes(), "x.json")
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, tokenizer.all_special()).unwrap()
}

#[test]
fn what_was_written_is_read() {
    for name in NAMES {
        let tokenizer = toy(name);
        let bytes = write(&tokenizer).unwrap();
        let again = read(&bytes, "x.json").unwrap();
        let text = "a aa<|e|> aaaa a b12345  \n ";
        assert_eq!(ids(&again, text), ids(&tokenizer, text), "{name}");
        assert_eq!(again.fingerprint(), tokenizer.fingerprint(), "{name}");
        assert_eq!(write(&again).unwrap(), bytes, "{name}");
    }
    let characters = Tokenizer::characters("héllo の".chars(), &["<e>".into()]).unwrap();
    let again = read(&write(&characters).unwrap(), "x.json").unwrap();
    assert_eq!(ids(&again, "hoの<e>"), ids(&characters, "hoの<e>"));
    assert_eq!(again.fingerprint(), characters.fingerprint());
}

#[test]
fn no_flipped_bit_changes_the_tokenizer() {
    let tokenizer = toy("cl100k");
    let bytes = write(&tokenizer).unwrap();
    let mut refused = 0;
    for place in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << (place % 8);
        match read(&flipped, "x.json") {
            Ok(read) => assert_eq!(read.fingerprint(), tokenizer.fingerprint(), "{place}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > bytes.len() / 4); // much of the file means something
}

#[test]
fn unreached_tokens_and_look_ups_survive() {
    let tokens: Vec<Vec<u8>> = (0..=255u8)
        .map(|b| vec![b])
        .chain([b"abc".to_vec()])
        .collect();
    let ranks = (0..).zip(tokens.iter().map(Vec::as_slice));
    let tokenizer = Tokenizer::from_ranks(ranks, Pattern::default(), &[]).unwrap();
    assert_eq!(written(&tokenizer)["model"]["ignore_merges"], true);
    let again = read_value(&written(&tokenizer)).unwrap();
    assert_eq!(ids(&again, "abc"), [256]);
    assert_eq!(again.fingerprint(), tokenizer.fingerprint());
}

#[test]
fn both_spellings_of_merges_are_read() {
    let mut file = written(&toy("gpt2"));
    let pairs = file["model"]["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            let (left, right) = line.as_str().unwrap().split_once(' ').unwrap();
            json!([left, right])
        });
    file["model"]["merges"] = pairs.collect();
    assert_eq!(
        read_value(&file).unwrap().fingerprint(),
        toy("gpt2").fingerprint()
    );
}

#[test]
fn a_special_token_may_also_be_an_ordinary_one() {
    let mut file = written(&toy("gpt2"));
    let aa = json!({"id": 257, "content": "aa", "special": false, "normalized": true});
    file["added_tokens"].as_array_mut().unwrap().push(aa);
    let tokenizer = read_value(&file).unwrap();
    assert_eq!(ids(&tokenizer, "aa"), [257]);
    // Not special: it is always matched, and the text around it is split by itself.
    let ordinary = tokenizer.encode_ordinary(" aa<|e|>").unwrap();
    assert_eq!(ordinary, [32, 257, 60, 124, 101, 124, 62]);
}

/// (where, what to put there, what the error must say)
#[test]
#[allow(clippy::too_many_lines)] // rows
fn what_is_not_supported_is_named() {
    let split = |behavior: &str, regex: &str| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})
    };
    let rows = [
        ("/model/type", json!("Unigram"), "the model Unigram"),
        ("/model/dropout", json!(0.1), "needs dropout"),
        (
            "/model/end_of_word_suffix",
            json!("</w>"),
            "needs end_of_word_suffix",
        ),
        (
            "/model/continuing_subword_prefix",
            json!("##"),
            "continuing_subword_prefix",
        ),
        ("/normalizer", json!({"type": "Nmt"}), "the normalizer Nmt"),
        (
            "/normalizer",
            json!({"type": "Sequence", "normalizers": [{"type": "StripAccents"}]}),
            "StripAccents",
        ),
        (
            "/normalizer",
            json!({"type": "Replace", "pattern": {"Regex": "x*"}, "content": ""}),
            "a Replace of which it is said",
        ),
        ("/truncation", json!({"max_length": 3}), "needs truncation"),
        (
            "/padding",
            json!({"strategy": "BatchLongest"}),
            "needs padding",
        ),
        (
            "/pre_tokenizer",
            json!({"type": "Whitespace"}),
            "the pre-tokenizer Whitespace, which takes text away",
        ),
        (
            "/pre_tokenizer",
            json!({"type": "Sequence", "pretokenizers": [
                {"type": "ByteLevel"}, {"type": "ByteLevel"}]}),
            "a second ByteLevel",
        ),
        ("/pre_tokenizer", json!(null), "BPE over characters"),
        (
            "/pre_tokenizer",
            split("Removed", r"\s+"),
            "the pre-tokenizer Split, which takes text away",
        ),
        (
            "/pre_tokenizer",
            split("MergedWithNext", "ab"),
            "the Split behavior MergedWithNext of a pattern that is no set",
        ),
        ("/pre_tokenizer", split("Isolated", r"a$|b"), "`$`"),
        (
            "/pre_tokenizer",
            split("Isolated", r"[$]|\p{N}{1,3}+"),
            "`}+`",
        ),
        (
            "/pre_tokenizer",
            split("Isolated", r"\w+"),
            r"`\w` at byte 0",
        ),
        ("/pre_tokenizer", split("Isolated", r"[^]a]+$"), "at byte 2"),
        (
            "/pre_tokenizer",
            split("Isolated", r"a(b"),
            "x.json: cannot use the split pattern",
        ),
        (
            "/pre_tokenizer",
            split("Isolated", r"(a)\1"),
            r"`\1` at byte 3 of the Split pattern",
        ),
        (
            "/post_processor",
            json!({"type": "RobertaProcessing"}),
            "a RobertaProcessing without cls",
        ),
        (
            "/post_processor",
            json!({"type": "TemplateProcessing", "single": []}),
            "a TemplateProcessing with sequence A 0 times",
        ),
        (
            "/post_processor",
            json!({"type": "BertProcessing", "cls": ["x", 9999], "sep": ["x", 300]}),
            "the id 9999 in its post-processor, which no token has",
        ),
        (
            "/decoder",
            json!({"type": "WordPiece"}),
            "the decoder WordPiece",
        ),
        (
            "/added_tokens",
            json!([{"id": 300, "content": "<|e|>", "special": true},
                   {"id": 300, "content": "<|e|>", "special": false}]),
            "\"<|e|>\" is given as a special token and again as one that is not",
        ),
        (
            "/added_tokens",
            json!([]),
            "token 259: expected characters of the byte alphabet",
        ),
        (
            "/added_tokens",
            json!([{"id": 300, "content": "<|e|>"}, {"id": 259, "content": "a b"},
                   {"id": 1, "content": "é"}]),
            "\"é\" (id 233) has the id of another token",
        ),
        ("/added_tokens", json!("none"), "invalid type: string"),
        (
            "/model/merges/0",
            json!("a b c"),
            "expected two tokens and a space, found \"a b c\"",
        ),
        (
            "/model/merges/0",
            json!(["a"]),
            "invalid length 1, expected two tokens",
        ),
        ("/model/merges/0", json!(7), "expected a merge, as"),
        (
            "/model/merges/0",
            json!("a の"),
            "model, merge 0: expected tokens of the vocabulary",
        ),
        (
            "/model/merges/0",
            json!("a b"),
            "merge 0 joins tokens 97 and 98",
        ),
        ("/model/vocab/a", json!(-1), "expected u32"),
        ("/model/vocab/a", json!(98), "id 98 stands for two"),
        (
            "/model/vocab/a",
            json!(4_000_000),
            "id 4000000 is too large",
        ),
        (
            "/model/vocab",
            json!([["a", 0.0]]),
            "expected a map from tokens to ids",
        ),
        (
            "/model",
            json!(3),
            "a vocab.json is read with its merges.txt",
        ),
    ];
    for (place, value, expected) in rows {
        let mut file = written(&toy("llama3"));
        *file.pointer_mut(place).unwrap_or_else(|| panic!("{place}")) = value;
        let error = read_value(&file).unwrap_err().to_string();
        assert!(
            error.contains(expected) && error.starts_with("x.json"),
            "{place}: {error}"
        );
    }
}

/// What `tokenizers` does with such files was found by trying.
#[test]
fn added_tokens_are_numbered_as_tokenizers_numbers_them() {
    let numbered = |added: Value| {
        let mut file = written(&toy("gpt2"));
        file["added_tokens"] = added;
        for content in ["<|e|>", "a b"] {
            file["model"]["vocab"]
                .as_object_mut()
                .unwrap()
                .remove(content);
        }
        let tokenizer = read_value(&file).unwrap();
        let tokens = tokenizer.special_tokens().iter();
        tokens
            .map(|token| (token.content.clone(), token.id, token.lstrip))
            .collect::<Vec<_>>()
    };
    let token = |content: &str, id: u32, lstrip: bool| json!({"content": content, "id": id, "lstrip": lstrip, "special": true});
    let expected = [
        ("<y>".to_owned(), 259, true),
        ("<x>".to_owned(), 260, false),
    ];
    let list = json!([
        token("<y>", 7, false),
        token("", 8, false),
        token("<x>", 7, false),
        token("<y>", 9, true)
    ]);
    assert_eq!(numbered(list), expected);
    assert_eq!(
        numbered(json!([token("aa", 300, false)])),
        [("aa".to_owned(), 257, false)]
    );
}

#[test]
fn every_field_of_added_tokens_survives() {
    let mut file = written(&toy("gpt2"));
    for (bits, id) in (0..32).zip(260..) {
        let flag = |bit: u32| bits >> bit & 1 == 1;
        let token = json!({
            "id": id, "content": format!("<{bits}>"), "single_word": flag(0), "lstrip": flag(1),
            "rstrip": flag(2), "normalized": flag(3), "special": flag(4),
        });
        file["added_tokens"].as_array_mut().unwrap().push(token);
        file["model"]["vocab"][format!("<{bits}>")] = json!(id);
    }
    file["added_tokens"]
        .as_array_mut()
        .unwrap()
        .sort_by_key(|token| token["id"].as_u64());
    let tokenizer = read_value(&file).unwrap();
    assert_eq!(written(&tokenizer)["added_tokens"], file["added_tokens"]);
    let again = read(&write(&tokenizer).unwrap(), "x.json").unwrap();
    assert_eq!(write(&again).unwrap(), write(&tokenizer).unwrap());
    assert_eq!(again.fingerprint(), tokenizer.fingerprint());
}

#[test]
fn of_equal_merges_the_last_counts() {
    let mut file = written(&toy("gpt2"));
    let merges = file["model"]["merges"].as_array_mut().unwrap();
    merges.insert(0, json!("Ġa aa"));
    merges.push(json!("a a"));
    let last = ["Ġ a", "Ġa aa", "a a"].map(Value::from);
    let mut expected = file.clone();
    expected["model"]["merges"] = json!(last);
    let (found, expected) = (read_value(&file).unwrap(), read_value(&expected).unwrap());
    assert_eq!(found.fingerprint(), expected.fingerprint());
    assert_eq!(found.merges(), expected.merges());
}

/// `tokenizers` would take a word that is spelled like one for it, whatever is allowed.
#[test]
fn ignore_merges_finds_no_added_token_in_the_vocabulary() {
    let ranks: Vec<Vec<u8>> = (0..=255u8).map(|byte| vec![byte]).collect();
    let with = |special: &[(String, u32)]| {
        let ranks = (0..).zip(ranks.iter().map(Vec::as_slice));
        let tokenizer = Tokenizer::from_ranks(ranks, Pattern::default(), special).unwrap();
        let again = read(&write(&tokenizer).unwrap(), "x.json").unwrap();
        assert_eq!(again.special_tokens(), tokenizer.special_tokens());
        written(&tokenizer)["model"]["vocab"]
            .as_object()
            .unwrap()
            .len()
    };
    let [x, y] = [("x!".to_owned(), 256), ("y!".to_owned(), 257)];
    assert_eq!(with(&[x.clone(), y.clone()]), 256);
    assert_eq!(with(&[y]), 257, "it would get another id");
    assert_eq!(with(&[]), 256);
}

#[test]
fn what_ignore_merges_would_look_up_is_refused() {
    let refusal = |content: &str, single_word: bool| {
        let mut file = written(&toy("gpt2"));
        file["model"]["ignore_merges"] = json!(true);
        file["model"]["vocab"][content] = json!(301);
        let token =
            json!({"id": 301, "content": content, "special": true, "single_word": single_word});
        file["added_tokens"].as_array_mut().unwrap().push(token);
        read_value(&file)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    let expected = "ignore_merges with the added token \"PAD\" in the vocabulary";
    assert!(refusal("PAD", true).unwrap_err().contains(expected));
    assert!(
        refusal("ĠPAD", false)
            .unwrap_err()
            .contains("ignore_merges")
    );
    assert_eq!(refusal("PAD", false), Ok(()));
    assert_eq!(refusal("<é>", true), Ok(())); // not UTF-8 as bytes
    assert_eq!(refusal("< >", true), Ok(())); // not in the byte alphabet
}

#[test]
fn harmless_parts_change_no_id_and_are_kept() {
    let mut file = written(&toy("gpt2"));
    file["post_processor"] = json!({"type": "Sequence", "processors": [
        {"type": "ByteLevel"}, {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}}]}]});
    file["normalizer"] = json!({"type": "Sequence", "normalizers": []});
    file["something_new"] = json!([1, 2]);
    file["model"]["unk_token"] = json!("<|e|>");
    file["model"]["byte_fallback"] = json!(true);
    let read = read_value(&file).unwrap();
    assert_eq!(read.fingerprint(), toy("gpt2").fingerprint());
    let again = written(&read);
    for section in ["post_processor", "normalizer", "pre_tokenizer", "decoder"] {
        assert_eq!(again[section], file[section], "{section}");
    }
    assert_eq!(again["model"]["unk_token"], file["model"]["unk_token"]);
    assert_eq!(again["model"]["byte_fallback"], json!(true));
    file["pre_tokenizer"] = json!({"type": "Split", "invert": true, "behavior": "Removed",
        "pattern": {"Regex": Pattern::named("gpt2").unwrap().regexes()[0]}});
    file["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
        file["pre_tokenizer"], {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]});
    assert_eq!(
        read_value(&file).unwrap().fingerprint(),
        toy("gpt2").fingerprint()
    );
}

#[test]
fn what_the_format_cannot_say_is_refused() {
    let special = [("aa".to_owned(), 300)];
    let tokenizer = Tokenizer::from_merges(&[(A, A)], Pattern::default(), &special).unwrap();
    let error = write(&tokenizer).unwrap_err().to_string();
    assert!(
        error.contains("\"aa\" (id 300) is written like token 256"),
        "{error}"
    );
}

/// Oniguruma reads `\w` otherwise, but the fingerprint says that it is meant as we read it.
#[test]
fn files_of_our_own_keep_every_pattern() {
    let pattern = Pattern::regex(r"\w+|\W");
    let tokenizer = Tokenizer::from_merges(&[(A, A)], pattern, &[]).unwrap();
    let bytes = write(&tokenizer).unwrap();
    let again = read(&bytes, "x.json").unwrap();
    assert_eq!(again.fingerprint(), tokenizer.fingerprint());
    let error = read_value(&written(&tokenizer)).unwrap_err().to_string();
    assert!(error.contains(r"`\w` at byte 0"), "{error}");
}

#[test]
fn thousands_of_splits_are_an_error() {
    let split = json!({"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated"});
    let mut steps = vec![split; 50_000];
    steps.push(json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}));
    let mut file = written(&toy("gpt2"));
    file["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": steps});
    let error = read_value(&file).unwrap_err().to_string();
    assert!(error.contains("has 50000 regular expressions"), "{error}");
}

#[test]
fn deep_nesting_is_an_error() {
    for open in ["[", "{\"a\":"] {
        let text = format!("{{\"normalizer\":{}", open.repeat(100_000));
        assert!(matches!(
            read(text.as_bytes(), "x"),
            Err(Error::Format { .. })
        ));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn broken_files_never_panic(cut in 0usize..10_000, flips in proptest::collection::vec((0usize..10_000, 0u8..8), 0..4)) {
        let mut bytes = write(&toy("gpt2")).unwrap();
        for (at, bit) in flips {
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
        }
        // Either way it is an answer.
        let _ = read(&bytes, "x");
        bytes.truncate(cut % bytes.len());
        prop_assert!(read(&bytes, "x").is_err());
    }
}
