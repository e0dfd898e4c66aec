//! Sound files to begin with: every format, and every part that a tokenizer.json may have.

use gptbpe_benches::Random;
use gptbpe_core::Tokenizer;
use gptbpe_core::format::{compact, gpt2, json, tiktoken};

/// The format that a file is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Tiktoken,
    /// `merges.txt`, with a sound `vocab.json`.
    Merges,
    /// `vocab.json`, with a sound `merges.txt`.
    Vocab,
    Compact,
}

/// A sound file.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) format: Format,
    pub(crate) bytes: Vec<u8>,
}

/// Parts of a tokenizer.json: what stands before the model.
const NORMALIZERS: [&str; 6] = [
    "null",
    r#"{"type":"NFC"}"#,
    r#"{"type":"Sequence","normalizers":[{"type":"NFKD"},{"type":"Lowercase"},{"type":"Strip","strip_left":true,"strip_right":true}]}"#,
    r#"{"type":"Prepend","prepend":"▁"}"#,
    r#"{"type":"Replace","pattern":{"String":" "},"content":"▁"}"#,
    r#"{"type":"Replace","pattern":{"Regex":"\\s+"},"content":" "}"#,
];
const PRE_TOKENIZERS: [&str; 5] = [
    "null",
    r#"{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}"#,
    r#"{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}"#,
    r#"{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\p{N}{1,3}| ?\\p{L}+|\\s+(?!\\S)|\\s+|[^\\s\\p{L}\\p{N}]"},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]}"#,
    r#"{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},{"type":"Split","pattern":{"String":" "},"behavior":"MergedWithPrevious","invert":false},{"type":"ByteLevel","add_prefix_space":false,"use_regex":true}]}"#,
];
const POST_PROCESSORS: [&str; 3] = [
    "null",
    r#"{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":false,"use_regex":true}"#,
    r#"{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],"special_tokens":{"<s>":{"id":"<s>","ids":[0],"tokens":["<s>"]}}}"#,
];
const DECODERS: [&str; 3] = [
    "null",
    r#"{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}"#,
    r#"{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}"#,
];

/// A random file of Hugging Face's kind: no checksum in it refuses what is changed.
pub(crate) fn hugging_face(random: &mut Random) -> Sample {
    let mut any = |choices: &'static [&'static str]| choices[random.below(choices.len())];
    let (normalizer, pre_tokenizer) = (any(&NORMALIZERS), any(&PRE_TOKENIZERS));
    let (post_processor, decoder) = (any(&POST_PROCESSORS), any(&DECODERS));
    let tokens: Vec<String> = std::iter::once("<s>".to_owned())
        .chain(alphabet().map(String::from))
        .chain(["th", "he", "the", "Ġt", "Ġthe", "in", "ing"].map(str::to_owned))
        .collect();
    let entries: Vec<String> = tokens
        .iter()
        .enumerate()
        .map(|(id, token)| format!("{}:{id}", serde_json::Value::from(token.as_str())))
        .collect();
    let merges = ["t h", "h e", "th e", "Ġ t", "Ġt he", "i n", "in g"];
    let merges: Vec<String> = merges
        .into_iter()
        .map(|merge| match (random.below(2), merge.split_once(' ')) {
            (0, Some((left, right))) => format!("[\"{left}\",\"{right}\"]"),
            _ => format!("\"{merge}\""),
        })
        .collect();
    let flag = |yes: bool| if yes { "true" } else { "false" };
    let (fallback, whole) = (flag(random.below(3) == 0), flag(random.below(3) == 0));
    let file = format!(
        r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[{{"id":0,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}},{{"id":{added},"content":"the the","single_word":true,"lstrip":true,"rstrip":true,"normalized":true,"special":false}}],"normalizer":{normalizer},"pre_tokenizer":{pre_tokenizer},"post_processor":{post_processor},"decoder":{decoder},"model":{{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":{fallback},"ignore_merges":{whole},"vocab":{{{vocab}}},"merges":[{merges}]}}}}"#,
        added = tokens.len(),
        vocab = entries.join(","),
        merges = merges.join(","),
    );
    Sample {
        format: Format::Json,
        bytes: file.into_bytes(),
    }
}

/// A tokenizer in every format that can hold it.
pub(crate) fn of(tokenizer: &Tokenizer) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut add = |format, bytes| samples.push(Sample { format, bytes });
    if let Ok(bytes) = json::write(tokenizer) {
        add(Format::Json, bytes);
    }
    if let Ok(bytes) = tiktoken::write(tokenizer) {
        add(Format::Tiktoken, bytes);
    }
    if let Ok((vocab, merges)) = gpt2::write(tokenizer) {
        add(Format::Merges, merges);
        add(Format::Vocab, vocab);
    }
    if let Ok(bytes) = compact::write(tokenizer) {
        add(Format::Compact, bytes);
    }
    samples
}

/// The characters that stand for the 256 bytes.
fn alphabet() -> impl Iterator<Item = char> {
    let own = |byte: &u32| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let others = (0..256).filter(move |byte| !own(byte)).count() as u32;
    let characters = (0..256).filter(own).chain((0..others).map(|at| 256 + at));
    characters.filter_map(char::from_u32)
}
