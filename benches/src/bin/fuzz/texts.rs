//! Random texts that tell scanners apart.
//!
//! Uniform text hardly ever holds a contraction, or a mark behind a prefix at the end of a block. So texts
//! are put together from snippets, among them every character that a pattern singles out; some repeat
//! few snippets, some are the previous text with small changes, and a prefix moves many to another place in a block.

use gptbpe_benches::Random;

/// Characters and strings of every class that a pattern knows.
#[rustfmt::skip] // a line for each class
const SNIPPETS: &[&str] = &[
    // ASCII letters, those of contractions and others
    "a", "A", "s", "S", "t", "T", "d", "D", "m", "M", "l", "L", "v", "V", "e", "E", "r", "R", "z", "Z", "k", "K",
    // contractions
    "'", "'s", "'S", "'t", "'T", "'d", "'D", "'m", "'M", "'ll", "'LL", "'lL", "'Ll", "'ve", "'VE", "'vE", "'re",
    "'RE", "'Re", "'ſ", "'\u{212A}", "ſ", "\u{212A}", "’s", "''s", "'st", "'l", "'v", "'r", "'llx", "'ré", "'s\u{301}",
    // white space
    " ", " ", " ", " ", "  ", "   ", "\t", "\n", "\n", "\r", "\r\n", "\n\n", " \n", "\n ", "\t\n", "\u{B}", "\u{C}",
    "\u{1C}", "\u{1F}", "\u{85}", "\u{A0}", "\u{1680}", "\u{2000}", "\u{200A}", "\u{2028}", "\u{2029}", "\u{202F}",
    "\u{205F}", "\u{3000}", "\u{180E}", "\u{200B}", "\u{FEFF}",
    // digits
    "0", "1", "9", "12", "123", "1234", "٣", "९", "９", "Ⅷ", "²", "½", "𝟘", "〇",
    // punctuation and symbols
    "!", "\"", "#", "$", "%", "&", "(", ")", "*", "+", ",", "-", ".", "/", "/", ":", ";", "<", "=", ">", "?", "@",
    "[", "\\", "]", "^", "_", "`", "{", "|", "}", "~", "//", "/\n", "!!", "...", "€", "←", "¡", "·", "。", "，", "「",
    "—", "…", "\u{378}", "\u{E000}", "\u{10FFFF}", "\u{FFFD}", "\u{D7FF}", "\u{FFFF}", "\u{AD}", "\u{E0001}",
    // control characters
    "\0", "\u{1}", "\u{1B}", "\u{7F}", "\u{80}", "\u{9F}",
    // marks
    "\u{301}", "\u{301}\u{302}", "\u{200D}", "\u{FE0F}", "\u{20E3}", "\u{93E}", "\u{E31}", "\u{E0100}", "e\u{301}",
    // letters with and without case
    "é", "É", "ß", "ẞ", "ı", "İ", "п", "П", "σ", "Σ", "ς", "ǅ", "ᾈ", "ʰ", "ˈ", "ª", "𐐀", "𐐨", "𝐀", "א", "ش", "ä",
    "中", "文", "龥", "𠀀", "你好", "一", "あ", "ゟ", "ア", "カ", "ー", "・", "ゞ", "가", "각", "ᄀ", "ก", "ข", "่", "ำ", "क",
    "ि", "த", "Ａ", "ａ",
    // emoji
    "😀", "👩\u{200D}👩\u{200D}👧", "🇩🇪", "☺\u{FE0F}", "👍🏽", "1\u{FE0F}\u{20E3}",
    // words and lines
    "the", " the", "Hello", " World", "HelloWorld", "camelCase", "NASA", "don't", "I'LL", "x=1;\n", "    ", "\n\n    ",
    "!!\n\n", "/\n/", "<|endoftext|>", "http://a.b/c?d=e", "0x1F", "Ünï", "слово", " Слово", "λέξη", "日本語", "ไทย",
];

/// Lengths at which blocks, groups and kept pieces end.
const EDGES: [usize; 14] = [
    15, 16, 17, 31, 63, 64, 65, 127, 128, 129, 191, 192, 255, 257,
];

/// Makes one text after another, in the same memory.
#[derive(Debug)]
pub(crate) struct Texts {
    random: Random,
    text: String,
    previous: String,
}

impl Texts {
    pub(crate) fn new(seed: u64) -> Self {
        let text = String::with_capacity(1 << 14);
        Self {
            random: Random::new(seed),
            previous: text.clone(),
            text,
        }
    }

    pub(crate) fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// One time of so many.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.random.below(times) == 0
    }

    /// The next text, of about 60 bytes on average and at most some 8,000.
    pub(crate) fn next(&mut self) -> &str {
        std::mem::swap(&mut self.text, &mut self.previous);
        self.text.clear();
        let length = match self.random.below(1000) {
            0..880 => 1 + self.random.below(40),
            880..970 => EDGES[self.random.below(EDGES.len())],
            970..997 => 1 + self.random.below(600),
            _ => 1 + self.random.below(4_000),
        };
        if self.once_in(4) {
            self.prefix();
        }
        let end = self.text.len() + length;
        match self.random.below(8) {
            // Copies of long texts would be most of what there is.
            0 | 1 if self.previous.len() < 200 || self.once_in(8) => self.mutate(),
            2 => self.few(end),
            3 => self.runs(end),
            4 => self.code_points(end),
            _ => self.any(end),
        }
        &self.text
    }

    fn snippet(&mut self) -> &'static str {
        SNIPPETS[self.random.below(SNIPPETS.len())]
    }

    /// Moves what follows to another place.
    fn prefix(&mut self) {
        let snippet = match self.random.below(5) {
            0 => "a",
            1 => " ",
            2 => "中",
            3 => "\n",
            _ => self.snippet(),
        };
        for _ in 0..self.random.below(70) {
            self.text.push_str(snippet);
        }
    }

    fn any(&mut self, end: usize) {
        while self.text.len() < end {
            let snippet = self.snippet();
            self.text.push_str(snippet);
        }
    }

    fn few(&mut self, end: usize) {
        let few = [(); 4].map(|()| self.snippet());
        let kinds = 2 + self.random.below(3);
        while self.text.len() < end {
            self.text.push_str(few[self.random.below(kinds)]);
        }
    }

    fn runs(&mut self, end: usize) {
        while self.text.len() < end {
            let snippet = self.snippet();
            let longest = if self.once_in(8) { 140 } else { 6 };
            for _ in 0..=self.random.below(longest) {
                self.text.push_str(snippet);
            }
        }
    }

    fn code_points(&mut self, end: usize) {
        while self.text.len() < end {
            if self.once_in(2) {
                let snippet = self.snippet();
                self.text.push_str(snippet);
            }
            let character = self.code_point();
            self.text.push(character);
        }
    }

    fn code_point(&mut self) -> char {
        let limit = [0x80, 0x800, 0x3100, 0x1_0000, 0x2_0000, 0x11_0000][self.random.below(6)];
        char::from_u32(self.random.below(limit) as u32).unwrap_or('\u{D7FF}')
    }

    /// The previous text with a few changes.
    fn mutate(&mut self) {
        self.text.push_str(&self.previous);
        for _ in 0..=self.random.below(3) {
            let (from, to) = (self.place(), self.place());
            match self.random.below(5) {
                0 => {
                    let to = self.text[from..]
                        .chars()
                        .next()
                        .map_or(from, |c| from + c.len_utf8());
                    self.text.replace_range(from..to, "");
                }
                1 if from < to && to - from < 200 => {
                    let again = self.text[from..to].to_owned();
                    self.text.insert_str(to, &again);
                }
                2 => {
                    let character = self.code_point();
                    self.text.insert(from, character);
                }
                3 if from < to => self.text.replace_range(from..to, ""),
                _ => {
                    let snippet = self.snippet();
                    self.text.insert_str(from, snippet);
                }
            }
        }
    }

    /// Where a character of the text begins, or its end.
    fn place(&mut self) -> usize {
        let mut at = self.random.below(self.text.len() + 1);
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }
}

/// The bytes of a text with a few that are no UTF-8.
pub(crate) fn damage(text: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(text.len() + 1);
        match random.below(4) {
            // A broken character at the end, or in the middle.
            0 => text.truncate(at),
            1 if at < text.len() => text[at] = random.below(256) as u8,
            2 => text
                .splice(
                    at..at,
                    (0..=random.below(5)).map(|_| 0x80 + random.below(128) as u8),
                )
                .for_each(drop),
            _ => text.insert(
                at,
                [0x80, 0xBF, 0xC0, 0xC3, 0xE4, 0xED, 0xF0, 0xF4, 0xFF][random.below(9)],
            ),
        }
    }
}
