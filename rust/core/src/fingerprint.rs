//! One number for what a tokenizer *does*.
//!
//! Shards and checkpoints carry it, and refuse to meet under another tokenizer. It
//! is the sha256 of a canonical form of the definition, never of a file: saving,
//! reformatting or converting a tokenizer keeps it. The form is, each field with
//! its length before it: this format's tag; the kind; the pattern, by name where it is a
//! known one however it is spelled, else as portable regular expressions; every
//! token with its id; every merge as its two ids, but of the merges of one token
//! only the one that is ever used; whether whole pre-tokens are looked up first *if that changes any result*; added tokens with their ids, the order of looking for them if there are two kinds, and what else
//! decides where they match: `single_word`, `lstrip`, `rstrip`, and whether one is always matched because it is not special.
//! After that stands what only some tokenizers have, each with a mark of its own: splits on the byte alphabet, a
//! normalizer, a space before texts, a template.
//!
//! So GPT-2 from `tokenizer.json` (merges only) and from `r50k_base.tiktoken` (look up
//! first) have one fingerprint, for they give the same ids for every text.

use sha2::{Digest, Sha256};

use crate::model::Model;
use crate::normalize::{Step, Wanted};
use crate::pattern::Pattern;
use crate::pipeline::Pipeline;
use crate::special::SpecialTokens;

const TAG: &[u8] = b"gptbpe tokenizer definition 1";

/// The fingerprint of a tokenizer of these parts.
pub(crate) fn of(model: &Model, pipeline: &Pipeline, special: &SpecialTokens) -> [u8; 32] {
    let parts = spelled(&pipeline.pattern, |pattern| pattern.portable().ok());
    digest(model, &parts, pipeline, special)
}

/// The fingerprint of a pattern alone, for what only depends on how text is split: equal for all spellings of a named
/// pattern.
pub(crate) fn of_pattern(pattern: &Pattern) -> [u8; 32] {
    let mut form = Form(Vec::new());
    form.field(b"gptbpe pattern 1");
    form.texts(&spelled(pattern, |pattern| pattern.portable().ok()));
    form.texts(pattern.on_alphabet());
    Sha256::digest(&form.0).into()
}

/// The fingerprint that versions gave which did not respell patterns.
pub(crate) fn earlier(model: &Model, pipeline: &Pipeline, special: &SpecialTokens) -> [u8; 32] {
    let parts = spelled(&pipeline.pattern, |pattern| pattern.as_given().ok());
    digest(model, &parts, pipeline, special)
}

fn digest(
    model: &Model,
    parts: &[String],
    pipeline: &Pipeline,
    special: &SpecialTokens,
) -> [u8; 32] {
    let mut form = Form(Vec::new());
    form.field(TAG);
    match model {
        Model::Bytes(vocab) => {
            form.field(b"bytes");
            form.number(parts.len());
            for part in parts {
                form.field(part.as_bytes());
            }
            form.number(vocab.len());
            for (id, bytes) in vocab.iter() {
                form.id(id);
                form.field(bytes);
            }
            let merges = vocab.used_merges();
            form.number(merges.len());
            for merge in merges.iter() {
                form.id(merge.left);
                form.id(merge.right);
            }
            let look_up = vocab.whole_first() && vocab.whole_first_matters();
            form.number(usize::from(look_up));
        }
        Model::Characters(characters) => {
            form.field(b"characters");
            form.number(characters.iter().count());
            for (character, id) in characters.iter() {
                form.id(id);
                form.id(character.into());
            }
        }
    }
    let two_stages = special.has_two_stages();
    form.number(special.as_slice().len());
    for token in special.as_slice() {
        form.id(token.id);
        form.field(token.content.as_bytes());
        let options = [
            two_stages && token.normalized,
            token.single_word,
            token.lstrip,
            token.rstrip,
            !token.special,
        ];
        let options = (0..).zip(options).map(|(bit, set)| usize::from(set) << bit);
        form.number(options.sum());
    }
    around(&mut form, pipeline);
    if !pipeline.normalizer.is_empty() {
        for token in special.as_slice() {
            form.number(usize::from(token.normalized));
        }
    }
    Sha256::digest(&form.0).into()
}

/// What only some tokenizers have: nothing for the others, so that theirs is what it always was.
fn around(form: &mut Form, pipeline: &Pipeline) {
    if !pipeline.pattern.on_alphabet().is_empty() {
        form.field(b"on alphabet");
        form.texts(pipeline.pattern.on_alphabet());
    }
    if !pipeline.normalizer.is_empty() {
        form.field(b"normalizer");
        form.number(pipeline.normalizer.len());
        for step in &pipeline.normalizer {
            match step {
                Step::Form(of) => form.texts(&[of.name()]),
                Step::Lowercase => form.texts(&["Lowercase"]),
                Step::Prepend(text) => form.texts(&["Prepend", text]),
                Step::Replace { wanted, content } => match wanted {
                    Wanted::Text(text) => form.texts(&["Replace", text, content]),
                    Wanted::Regex(regex) => form.texts(&["Replace by regex", regex, content]),
                },
                Step::Strip { left, right } => {
                    let name = match (left, right) {
                        (true, true) => "both",
                        (true, false) => "left",
                        (false, true) => "right",
                        (false, false) => "neither",
                    };
                    form.texts(&["Strip", name]);
                }
            }
        }
    }
    if let Some(space) = &pipeline.prefix_space {
        form.field(b"prefix space");
        form.texts(&space.pieces);
    }
    if !pipeline.template.is_empty() {
        form.field(b"template");
        for ids in [pipeline.template.before(), pipeline.template.after()] {
            form.number(ids.len());
            for &id in ids {
                form.id(id);
            }
        }
    }
}

/// The pattern's name, or its regular expressions. One that reads like a name is marked, and
/// so is one that reads like a marked one.
fn spelled(pattern: &Pattern, respell: impl Fn(&Pattern) -> Option<Vec<String>>) -> Vec<String> {
    if let Some(name) = pattern.name() {
        return vec![format!("{NAME}{name}")];
    }
    let mut regexes = respell(pattern).unwrap_or_else(|| pattern.regexes().to_vec());
    for regex in &mut regexes {
        if regex.starts_with(NAME) || regex.starts_with(REGEX) {
            regex.insert_str(0, REGEX);
        }
    }
    regexes
}

const NAME: &str = "name ";
const REGEX: &str = "regex ";

/// Gathered before it is hashed: a hash of many small parts takes twice as long.
struct Form(Vec<u8>);

impl Form {
    fn field(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn texts<T: AsRef<str>>(&mut self, texts: &[T]) {
        self.number(texts.len());
        for text in texts {
            self.field(text.as_ref().as_bytes());
        }
    }

    fn number(&mut self, number: usize) {
        self.0.extend_from_slice(&(number as u64).to_le_bytes());
    }

    fn id(&mut self, id: u32) {
        self.0.extend_from_slice(&id.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Pipeline, Step, Wanted};
    use crate::Tokenizer;
    use crate::model::Model;
    use crate::normalize::Form;
    use crate::pattern::Pattern;
    use crate::pipeline::PrefixSpace;
    use crate::special::SpecialToken;
    use crate::template::Template;
    use crate::vocab::Vocab;

    const A: u32 = b'a' as u32;

    fn of(merges: &[(u32, u32)], pattern: &str, special: &[(&str, u32)]) -> [u8; 32] {
        let special: Vec<_> = special.iter().map(|&(s, id)| (s.to_owned(), id)).collect();
        let pattern = Pattern::named(pattern).unwrap();
        Tokenizer::from_merges(merges, pattern, &special)
            .unwrap()
            .fingerprint()
    }

    #[test]
    fn every_part_of_the_definition_enters() {
        let all = [
            of(&[(A, A), (256, A)], "gpt2", &[("x", 300)]),
            of(&[(A, A), (A, 256)], "gpt2", &[("x", 300)]),
            of(&[(A, A)], "gpt2", &[("x", 300)]),
            of(&[(A, A), (256, A)], "llama3", &[("x", 300)]),
            of(&[(A, A), (256, A)], "gpt2", &[("y", 300)]),
            of(&[(A, A), (256, A)], "gpt2", &[("x", 301)]),
            of(&[(A, A), (256, A)], "gpt2", &[]),
            Tokenizer::characters("ab".chars(), &[])
                .unwrap()
                .fingerprint(),
            Tokenizer::characters("ac".chars(), &[])
                .unwrap()
                .fingerprint(),
        ];
        for (i, left) in all.iter().enumerate() {
            for (j, right) in all.iter().enumerate() {
                assert_eq!(left == right, i == j, "{i} {j}");
            }
        }
        assert_eq!(all[0], of(&[(A, A), (256, A)], "gpt2", &[("x", 300)]));
    }

    #[test]
    fn every_option_of_an_added_token_enters() {
        let of = |change: fn(&mut SpecialToken)| {
            let mut token = SpecialToken::new("<e>", 300);
            change(&mut token);
            let vocab = Vocab::from_merges(&[]).unwrap();
            let tokenizer = Tokenizer::from_vocab(vocab, Pattern::none(), vec![token]);
            tokenizer.unwrap().fingerprint()
        };
        let plain = of(|_| ());
        let all = [
            plain,
            of(|token| token.special = false),
            of(|token| token.single_word = true),
            of(|token| token.lstrip = true),
            of(|token| token.rstrip = true),
        ];
        for (at, fingerprint) in all.iter().enumerate() {
            assert!(!all[..at].contains(fingerprint), "{at}");
        }
        // The only stage is the first, whatever it is called.
        assert_eq!(of(|token| token.normalized = true), plain);
    }

    #[test]
    fn the_same_ids_have_the_same_fingerprint() {
        let merges = Vocab::from_merges(&[(A, A), (256, A)]).unwrap();
        let ranks = Vocab::from_ranks(merges.iter()).unwrap();
        let whole = |vocab| Tokenizer::from_vocab(vocab, Pattern::none(), Vec::new()).unwrap();
        let (merges, ranks) = (whole(merges), whole(ranks));
        let ids = [&merges, &ranks].map(|tokenizer| tokenizer.encode_ordinary("aaaaa").unwrap());
        assert_eq!(ids[0], ids[1]);
        assert_eq!(merges.fingerprint(), ranks.fingerprint());
    }

    /// A regex may say what a name is written as.
    #[test]
    fn a_regex_is_no_name() {
        let with = |pattern: Pattern| {
            let vocab = Vocab::from_merges(&[]).unwrap();
            let tokenizer = Tokenizer::from_vocab(vocab, pattern, Vec::new()).unwrap();
            tokenizer.fingerprint()
        };
        let all = [
            with(Pattern::named("gpt2").unwrap()),
            with(Pattern::regex("name gpt2")),
            with(Pattern::regex("regex name gpt2")),
            with(Pattern::regex("regex regex name gpt2")),
        ];
        for (i, left) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|right| left != right), "{i}");
        }
    }

    /// A rank file says of no token which two make it; a list may say it of all that could, in any order.
    #[test]
    fn ranks_are_the_list_that_does_the_same() {
        let bytes = (0..=255u8).map(|byte| vec![byte]);
        let tokens = ["aba", "ba", "ab"].map(|token| token.as_bytes().to_vec());
        let all: Vec<(u32, Vec<u8>)> = (0..).zip(bytes.chain(tokens)).collect();
        let all = || all.iter().map(|(id, bytes)| (*id, bytes.as_slice()));
        let whole = |vocab| {
            let tokenizer = Tokenizer::from_vocab(vocab, Pattern::none(), Vec::new()).unwrap();
            tokenizer.fingerprint()
        };
        let list = |merges: &[(u32, u32)]| whole(Vocab::from_tokens(all(), merges, true).unwrap());
        let b = A + 1;
        let ranks = whole(Vocab::from_ranks(all()).unwrap());
        assert_eq!(ranks, list(&[(A, 257), (b, A), (A, b)]));
        assert_eq!(ranks, list(&[(258, A), (A, 257), (b, A), (A, b)]));
        assert_ne!(ranks, list(&[(258, A), (b, A), (A, b)]));
        assert_ne!(ranks, list(&[(258, A), (A, 257), (A, b), (b, A)]));
    }

    #[test]
    fn one_kind_of_special_token_is_like_the_other() {
        let with = |normalized| {
            let vocab = Vocab::from_merges(&[]).unwrap();
            let token = SpecialToken {
                normalized,
                ..SpecialToken::new("x", 256)
            };
            Tokenizer::from_vocab(vocab, Pattern::default(), vec![token]).unwrap()
        };
        assert_eq!(with(true).fingerprint(), with(false).fingerprint());
    }

    /// Each change of ids is another fingerprint, and what changes none is none.
    #[test]
    fn what_stands_around_enters() {
        let with = |change: &dyn Fn(&mut Pipeline)| {
            let mut pipeline = Pipeline::from(Pattern::default());
            change(&mut pipeline);
            let model = Model::Bytes(Box::new(Vocab::from_merges(&[]).unwrap()));
            Tokenizer::new(model, pipeline, Vec::new())
                .unwrap()
                .fingerprint()
        };
        let replace = |wanted: Wanted| Step::Replace {
            wanted,
            content: "y".to_owned(),
        };
        let all = [
            with(&|_| {}),
            with(&|all| all.normalizer = vec![Step::Form(Form::Nfc)]),
            with(&|all| all.normalizer = vec![Step::Form(Form::Nfc), Step::Lowercase]),
            with(&|all| all.normalizer = vec![replace(Wanted::Text("x".to_owned()))]),
            with(&|all| all.normalizer = vec![replace(Wanted::Regex("x".to_owned()))]),
            with(&|all| all.normalizer = vec![Step::Prepend("x".to_owned())]),
            with(&|all| all.prefix_space = Some(PrefixSpace::default())),
            with(&|all| all.template = Template::new(vec![65], vec![])),
            with(&|all| all.template = Template::new(vec![], vec![65])),
            with(&|all| all.pattern = Pattern::default().then_on_alphabet(vec!["x".to_owned()])),
        ];
        for (i, left) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|right| left != right), "{i}");
        }
        let plain = with(&|all| all.sections = Some(Arc::default()));
        assert_eq!(plain, all[0]);
        assert_eq!(plain, of(&[], "cl100k", &[]));
    }
}
