//! The plain values of a `tokenizer.json`, before they mean anything.

use std::collections::HashMap;
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::error::FormatProblem;
use crate::format::{alphabet, excerpt};

/// Only the kind of model: enough to refuse a file for the right reason.
#[derive(Deserialize)]
#[serde(expecting = "the contents of a tokenizer.json")]
pub(super) struct Outline {
    pub(super) model: Option<OutlineModel>,
}

pub(super) enum OutlineModel {
    Model {
        kind: Option<String>,
    },
    /// Of a file that has something else by this name, as a list of tokens may.
    Other,
}

impl<'de> Deserialize<'de> for OutlineModel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Outlined;
        impl<'de> Visitor<'de> for Outlined {
            type Value = OutlineModel;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a model")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OutlineModel, A::Error> {
                let mut kind = None;
                while let Some(field) = map.next_key::<String>()? {
                    if field == "type" {
                        kind = map.next_value::<Option<String>>()?;
                    } else {
                        map.next_value::<serde::de::IgnoredAny>()?;
                    }
                }
                Ok(OutlineModel::Model { kind })
            }

            fn visit_u64<E>(self, _: u64) -> Result<OutlineModel, E> {
                Ok(OutlineModel::Other)
            }

            fn visit_str<E>(self, _: &str) -> Result<OutlineModel, E> {
                Ok(OutlineModel::Other)
            }
        }
        deserializer.deserialize_any(Outlined)
    }
}

#[derive(Deserialize)]
#[serde(expecting = "the contents of a tokenizer.json")]
pub(super) struct File {
    #[serde(default)]
    pub(super) truncation: Value,
    #[serde(default)]
    pub(super) padding: Value,
    #[serde(default)]
    pub(super) added_tokens: Vec<AddedToken>,
    #[serde(default)]
    pub(super) normalizer: Value,
    #[serde(default)]
    pub(super) pre_tokenizer: Value,
    #[serde(default)]
    pub(super) post_processor: Value,
    #[serde(default)]
    pub(super) decoder: Value,
    pub(super) model: Model,
}

#[derive(Deserialize, Serialize)]
#[serde(expecting = "an added token")]
#[allow(clippy::struct_excessive_bools)] // the format's own fields
pub(super) struct AddedToken {
    pub(super) id: u32,
    pub(super) content: String,
    #[serde(default)]
    pub(super) single_word: bool,
    #[serde(default)]
    pub(super) lstrip: bool,
    #[serde(default)]
    pub(super) rstrip: bool,
    /// Absent: the opposite of `special`.
    pub(super) normalized: Option<bool>,
    #[serde(default)]
    pub(super) special: bool,
}

/// With merges as they are read, or as they are written.
#[derive(Deserialize, Serialize)]
#[serde(expecting = "a BPE model")]
pub(super) struct Model<M = Pair> {
    #[serde(rename = "type", default)]
    pub(super) kind: Option<String>,
    pub(super) dropout: Option<f64>,
    pub(super) unk_token: Option<String>,
    pub(super) continuing_subword_prefix: Option<String>,
    pub(super) end_of_word_suffix: Option<String>,
    #[serde(default)]
    pub(super) fuse_unk: bool,
    #[serde(default)]
    pub(super) byte_fallback: bool,
    #[serde(default)]
    pub(super) ignore_merges: bool,
    /// What we write beside the fields of the format, and `tokenizers` skips: see the module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fingerprint: Option<String>,
    /// The split patterns in the spelling that they were given in, where the file's is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pattern: Option<Vec<String>>,
    pub(super) vocab: Entries,
    pub(super) merges: Vec<M>,
}

/// `{"text": id, …}`, in the order of the file.
pub(in crate::format) struct Entries(pub(in crate::format) Vec<(String, u32)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a map from tokens to ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Map)
    }
}

impl Serialize for Entries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (text, id) in &self.0 {
            map.serialize_entry(text, id)?;
        }
        map.end()
    }
}

/// A merge, written as `"left right"` or as `["left", "right"]`.
pub(super) struct Pair(pub(super) String, pub(super) String);

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Merge;
        impl<'de> Visitor<'de> for Merge {
            type Value = Pair;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a merge, as \"left right\" or [\"left\", \"right\"]")
            }

            fn visit_str<E: serde::de::Error>(self, line: &str) -> Result<Pair, E> {
                let pair = line
                    .split_once(' ')
                    .filter(|(_, right)| !right.contains(' '));
                let (left, right) = pair.ok_or_else(|| {
                    let found = excerpt(line);
                    E::custom(FormatProblem::NoMergeLine { found })
                })?;
                Ok(Pair(left.to_owned(), right.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Pair, A::Error> {
                let wrong = |count| serde::de::Error::invalid_length(count, &"two tokens");
                let left = list.next_element()?.ok_or_else(|| wrong(0))?;
                let right = list.next_element()?.ok_or_else(|| wrong(1))?;
                match list.next_element::<serde::de::IgnoredAny>()? {
                    None => Ok(Pair(left, right)),
                    Some(_) => Err(wrong(3)),
                }
            }
        }
        deserializer.deserialize_any(Merge)
    }
}

/// Tokens as bytes, and merges as ids.
pub(in crate::format) type Resolved = (Vec<(u32, Vec<u8>)>, Vec<(u32, u32)>);

/// Leaves the byte alphabet behind. An error is a place and a problem.
pub(in crate::format) fn resolve<'a>(
    entries: impl Iterator<Item = (&'a str, u32)>,
    merges: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Resolved, (String, FormatProblem)> {
    let mut ids = HashMap::new();
    let mut tokens = Vec::new();
    for (text, id) in entries {
        let place = || format!("token {id}");
        let bytes = alphabet::to_bytes(text).ok_or_else(|| {
            let found = excerpt(text);
            (place(), FormatProblem::NotInAlphabet { found })
        })?;
        if ids.insert(text, id).is_some() {
            let found = excerpt(text);
            return Err((place(), FormatProblem::GivenTwice { found }));
        }
        tokens.push((id, bytes));
    }
    let mut pairs = Vec::new();
    for (number, (left, right)) in merges.enumerate() {
        let id = |text: &str| {
            ids.get(text).copied().ok_or_else(|| {
                let found = excerpt(text);
                (format!("merge {number}"), FormatProblem::NoToken { found })
            })
        };
        pairs.push((id(left)?, id(right)?));
    }
    Ok((tokens, pairs))
}

/// Where JSON went wrong.
pub(in crate::format) fn position(file: &str, error: &serde_json::Error) -> String {
    let place = format!("line {} column {}", error.line(), error.column());
    if file.is_empty() {
        return place;
    }
    format!("{file}, {place}")
}
