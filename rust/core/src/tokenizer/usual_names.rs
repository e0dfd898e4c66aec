//! The tokens that begin, end and fill texts, by the names that such tokens usually have.

use super::Tokenizer;

/// Names that special tokens at the beginning of a text have, the first that is there counts.
const BEGIN: [&str; 8] = [
    "<|begin_of_text|>",
    "<s>",
    "<bos>",
    "<|bos|>",
    "<｜begin▁of▁sentence｜>",
    "<|startoftext|>",
    "[BOS]",
    "<|begoftext|>",
];
/// Names of those at the end.
const END: [&str; 8] = [
    "<|end_of_text|>",
    "</s>",
    "<eos>",
    "<|eos|>",
    "<｜end▁of▁sentence｜>",
    "<|endoftext|>",
    "[EOS]",
    "<|return|>",
];
/// Names of those that fill a batch up.
const PAD: [&str; 7] = [
    "<pad>",
    "[PAD]",
    "<|pad|>",
    "<|padding|>",
    "<｜▁pad▁｜>",
    "<|finetune_right_pad_id|>",
    "[pad]",
];

impl Tokenizer {
    /// The id that begins a text: that of the template if it is one, else that of a usual name.
    pub fn bos_id(&self) -> Option<u32> {
        self.template().bos().or_else(|| self.first_named(&BEGIN))
    }

    /// The id that ends a text: that of the template if it is one, else that of a usual name.
    pub fn eos_id(&self) -> Option<u32> {
        self.template().eos().or_else(|| self.first_named(&END))
    }

    /// The id that fills a batch up, if a special token has one of the usual names.
    pub fn pad_id(&self) -> Option<u32> {
        self.first_named(&PAD)
    }

    fn first_named(&self, names: &[&str]) -> Option<u32> {
        names.iter().find_map(|name| self.special_id(name))
    }
}
