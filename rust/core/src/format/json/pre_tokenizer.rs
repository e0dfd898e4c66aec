//! The `pre_tokenizer` of a `tokenizer.json`: how a text is split.
//!
//! Each step becomes a regular expression whose matches, and what lies between them, are the pieces. `Digits` and `Punctuation` are the
//! runs or members of a set. So are the behaviors of a `Split`: those that merge a match with a neighbour are read where the pattern is a set
//! of single characters, and those that take text away where nothing is taken away.
//!
//! Steps after `ByteLevel` see bytes as characters of GPT-2's alphabet, and are kept apart for that: see
//! [`Pattern::then_on_alphabet`].

use regex_syntax::hir::ClassUnicode;
use serde_json::{Value, json};

use super::section::{NO_EQUAL, ONLY_BYTE_LEVEL, Refusal, flag, kind, list_mut, regex};
use crate::Result as CoreResult;
use crate::pattern::Pattern;
use crate::pattern::ast::Node;
use crate::pattern::parser;
use crate::pipeline::PrefixSpace;

/// How text is split, and whether it then is bytes.
#[derive(Default)]
pub(super) struct Splitting {
    pub(super) prefix_space: Option<PrefixSpace>,
    pub(super) pattern: Pattern,
    pub(super) byte_level: bool,
}

/// What was read so far.
struct Reader {
    /// A file of our own means what it says here.
    own: bool,
    prefix_space: Option<PrefixSpace>,
    regexes: Vec<String>,
    on_alphabet: Vec<String>,
    byte_level: bool,
}

/// Regular expressions in the section become what they were read as.
pub(super) fn read(section: &mut Value, own: bool) -> Result<Splitting, Refusal> {
    let mut reader = Reader {
        own,
        prefix_space: None,
        regexes: Vec::new(),
        on_alphabet: Vec::new(),
        byte_level: false,
    };
    reader.step(section)?;
    Ok(Splitting {
        prefix_space: reader.prefix_space,
        pattern: Pattern::sequence(reader.regexes).then_on_alphabet(reader.on_alphabet),
        byte_level: reader.byte_level,
    })
}

/// The `pre_tokenizer` of a byte-level tokenizer that was read from no file.
pub(super) fn write(pattern: &Pattern) -> CoreResult<Value> {
    if pattern.name() == Some("gpt2") {
        return Ok(byte_level(true));
    }
    let split = |regex: String| {
        json!({
            "type": "Split",
            "pattern": {"Regex": regex},
            "behavior": "Isolated",
            "invert": false,
        })
    };
    let mut steps: Vec<Value> = pattern.portable()?.into_iter().map(split).collect();
    if steps.is_empty() {
        return Ok(byte_level(false));
    }
    steps.push(byte_level(false));
    Ok(json!({"type": "Sequence", "pretokenizers": steps}))
}

pub(super) fn byte_level(use_regex: bool) -> Value {
    json!({
        "type": "ByteLevel",
        "add_prefix_space": false,
        "trim_offsets": true,
        "use_regex": use_regex,
    })
}

impl Reader {
    fn step(&mut self, step: &mut Value) -> Result<(), Refusal> {
        if step.is_null() {
            return Ok(());
        }
        let regex = match kind(step) {
            "Sequence" => {
                return list_mut(step, "pretokenizers")
                    .iter_mut()
                    .try_for_each(|step| self.step(step));
            }
            "ByteLevel" => return self.byte_level(step),
            "Split" => self.split(step)?,
            "Digits" if flag(step, "individual_digits", false) => format!("[{NUMERIC}]"),
            "Digits" => format!("[{NUMERIC}]+"),
            "Punctuation" => {
                let behavior = step["behavior"].as_str().unwrap_or("Isolated");
                let (set, others) = (format!("[{PUNCTUATION}]"), format!("[^{PUNCTUATION}]"));
                of_set(&set, &others, behavior, false).ok_or_else(|| removes(step))?
            }
            "Whitespace" | "WhitespaceSplit" | "CharDelimiterSplit" | "BertPreTokenizer" => {
                return Err(removes(step));
            }
            other => return Err((format!("the pre-tokenizer {other}"), ONLY_BYTE_LEVEL)),
        };
        let regexes = if self.byte_level {
            &mut self.on_alphabet
        } else {
            &mut self.regexes
        };
        regexes.push(regex);
        Ok(())
    }

    fn byte_level(&mut self, step: &Value) -> Result<(), Refusal> {
        if self.byte_level {
            let feature = "a second ByteLevel pre-tokenizer".to_owned();
            return Err((
                feature,
                "remove one of them: the second would spell the first's spelling",
            ));
        }
        self.byte_level = true;
        if flag(step, "add_prefix_space", true) {
            let pieces = std::mem::take(&mut self.regexes);
            self.prefix_space = Some(PrefixSpace { pieces });
        }
        if flag(step, "use_regex", true) {
            let gpt2 = Pattern::named("gpt2").map_err(|error| (error.to_string(), NO_EQUAL))?;
            self.regexes.extend_from_slice(gpt2.regexes());
        }
        Ok(())
    }

    /// The regular expression of a `Split`.
    fn split(&self, step: &mut Value) -> Result<String, Refusal> {
        let pattern = &step["pattern"];
        let text = if let Some(text) = pattern["Regex"].as_str() {
            let text = regex(text, self.own, "Split pattern")?;
            step["pattern"]["Regex"] = Value::String(text.clone());
            text
        } else if let Some(text) = pattern["String"].as_str().filter(|text| !text.is_empty()) {
            regex_syntax::escape(text)
        } else {
            let feature = "a Split without a Regex or a String with text".to_owned();
            return Err((feature, "give it the pattern that is meant"));
        };
        let behavior = step["behavior"].as_str().unwrap_or("none");
        let inverted = flag(step, "invert", false);
        if behavior.eq_ignore_ascii_case("isolated") {
            return Ok(text);
        }
        if let Some((set, others)) = set_of(&text)
            && let Some(regex) = of_set(&set, &others, behavior, inverted)
        {
            return Ok(regex);
        }
        if behavior.eq_ignore_ascii_case("contiguous") {
            return Ok(format!("(?:{text})+"));
        }
        // Keeping only the matches is the same where the matches are everything.
        let complete = || {
            let name = Pattern::regex(text.clone()).name();
            name.is_some_and(|name| name != "none" && name != "deepseek")
        };
        if behavior.eq_ignore_ascii_case("removed") {
            return if inverted && complete() {
                Ok(text)
            } else {
                Err(removes(step))
            };
        }
        let feature =
            format!("the Split behavior {behavior} of a pattern that is no set of characters");
        Err((feature, "use Isolated if it is meant"))
    }
}

fn removes(step: &Value) -> Refusal {
    let feature = format!("the pre-tokenizer {}, which takes text away", kind(step));
    (feature, NO_EQUAL)
}

/// What splits as single characters of a set do with a behavior: `others` is the set of the others.
fn of_set(set: &str, others: &str, behavior: &str, inverted: bool) -> Option<String> {
    // What is inverted is a run of others; there is at most one between two members.
    Some(match (behavior.to_ascii_lowercase().as_str(), inverted) {
        ("isolated", _) => set.to_owned(),
        ("contiguous", _) => format!("{set}+"),
        ("mergedwithprevious" | "merged_with_previous", false)
        | ("mergedwithnext" | "merged_with_next", true) => format!("{others}+{set}?|{set}"),
        ("mergedwithnext" | "merged_with_next", false)
        | ("mergedwithprevious" | "merged_with_previous", true) => format!("{set}?{others}+|{set}"),
        _ => return None,
    })
}

/// A regular expression that matches single characters of a set, as that set and that of the others.
fn set_of(regex: &str) -> Option<(String, String)> {
    let alternatives = parser::parse(regex).ok()?;
    let [alternative] = alternatives.as_slice() else {
        return None;
    };
    let [element] = alternative.elements.as_slice() else {
        return None;
    };
    let (Node::Set(set), 1, Some(1)) = (&element.node, element.min, element.max) else {
        return None;
    };
    let mut others = set.clone();
    others.negate();
    Some((spelled(set), spelled(&others)))
}

fn spelled(set: &ClassUnicode) -> String {
    let ranges = set.ranges().iter().map(|range| {
        let (start, end) = (u32::from(range.start()), u32::from(range.end()));
        format!(r"\x{{{start:X}}}-\x{{{end:X}}}")
    });
    format!("[{}]", ranges.collect::<String>())
}

/// What `char::is_numeric` holds in the program that `Digits` is compared with: its tables are younger than those of `\p{N}` here.
const NUMERIC: &str = r"\p{N}\x{11DE0}-\x{11DE9}\x{16FF4}-\x{16FF6}";

/// What `Punctuation` holds there, by tables that are older: ASCII's punctuation and symbols, and a `P` of long ago.
const PUNCTUATION: &str = concat!(
    r"\x{21}-\x{2F}\x{3A}-\x{40}\x{5B}-\x{60}\x{7B}-\x{7E}\x{A1}\x{A7}\x{AB}\x{B6}-\x{B7}\x{BB}",
    r"\x{BF}\x{37E}\x{387}\x{55A}-\x{55F}\x{589}-\x{58A}\x{5BE}\x{5C0}\x{5C3}\x{5C6}",
    r"\x{5F3}-\x{5F4}\x{609}-\x{60A}\x{60C}-\x{60D}\x{61B}\x{61E}-\x{61F}\x{66A}-\x{66D}\x{6D4}",
    r"\x{700}-\x{70D}\x{7F7}-\x{7F9}\x{830}-\x{83E}\x{85E}\x{964}-\x{965}\x{970}\x{AF0}\x{DF4}",
    r"\x{E4F}\x{E5A}-\x{E5B}\x{F04}-\x{F12}\x{F14}\x{F3A}-\x{F3D}\x{F85}\x{FD0}-\x{FD4}",
    r"\x{FD9}-\x{FDA}\x{104A}-\x{104F}\x{10FB}\x{1360}-\x{1368}\x{1400}\x{166D}-\x{166E}",
    r"\x{169B}-\x{169C}\x{16EB}-\x{16ED}\x{1735}-\x{1736}\x{17D4}-\x{17D6}\x{17D8}-\x{17DA}",
    r"\x{1800}-\x{180A}\x{1944}-\x{1945}\x{1A1E}-\x{1A1F}\x{1AA0}-\x{1AA6}\x{1AA8}-\x{1AAD}",
    r"\x{1B5A}-\x{1B60}\x{1BFC}-\x{1BFF}\x{1C3B}-\x{1C3F}\x{1C7E}-\x{1C7F}\x{1CC0}-\x{1CC7}",
    r"\x{1CD3}\x{2010}-\x{2027}\x{2030}-\x{2043}\x{2045}-\x{2051}\x{2053}-\x{205E}",
    r"\x{207D}-\x{207E}\x{208D}-\x{208E}\x{2308}-\x{230B}\x{2329}-\x{232A}\x{2768}-\x{2775}",
    r"\x{27C5}-\x{27C6}\x{27E6}-\x{27EF}\x{2983}-\x{2998}\x{29D8}-\x{29DB}\x{29FC}-\x{29FD}",
    r"\x{2CF9}-\x{2CFC}\x{2CFE}-\x{2CFF}\x{2D70}\x{2E00}-\x{2E2E}\x{2E30}-\x{2E42}",
    r"\x{3001}-\x{3003}\x{3008}-\x{3011}\x{3014}-\x{301F}\x{3030}\x{303D}\x{30A0}\x{30FB}",
    r"\x{A4FE}-\x{A4FF}\x{A60D}-\x{A60F}\x{A673}\x{A67E}\x{A6F2}-\x{A6F7}\x{A874}-\x{A877}",
    r"\x{A8CE}-\x{A8CF}\x{A8F8}-\x{A8FA}\x{A8FC}\x{A92E}-\x{A92F}\x{A95F}\x{A9C1}-\x{A9CD}",
    r"\x{A9DE}-\x{A9DF}\x{AA5C}-\x{AA5F}\x{AADE}-\x{AADF}\x{AAF0}-\x{AAF1}\x{ABEB}",
    r"\x{FD3E}-\x{FD3F}\x{FE10}-\x{FE19}\x{FE30}-\x{FE52}\x{FE54}-\x{FE61}\x{FE63}\x{FE68}",
    r"\x{FE6A}-\x{FE6B}\x{FF01}-\x{FF03}\x{FF05}-\x{FF0A}\x{FF0C}-\x{FF0F}\x{FF1A}-\x{FF1B}",
    r"\x{FF1F}-\x{FF20}\x{FF3B}-\x{FF3D}\x{FF3F}\x{FF5B}\x{FF5D}\x{FF5F}-\x{FF65}",
    r"\x{10100}-\x{10102}\x{1039F}\x{103D0}\x{1056F}\x{10857}\x{1091F}\x{1093F}\x{10A50}-\x{10A58}",
    r"\x{10A7F}\x{10AF0}-\x{10AF6}\x{10B39}-\x{10B3F}\x{10B99}-\x{10B9C}\x{11047}-\x{1104D}",
    r"\x{110BB}-\x{110BC}\x{110BE}-\x{110C1}\x{11140}-\x{11143}\x{11174}-\x{11175}",
    r"\x{111C5}-\x{111C9}\x{111CD}\x{111DB}\x{111DD}-\x{111DF}\x{11238}-\x{1123D}\x{112A9}",
    r"\x{114C6}\x{115C1}-\x{115D7}\x{11641}-\x{11643}\x{1173C}-\x{1173E}\x{12470}-\x{12474}",
    r"\x{16A6E}-\x{16A6F}\x{16AF5}\x{16B37}-\x{16B3B}\x{16B44}\x{1BC9F}\x{1DA87}-\x{1DA8B}",
);
