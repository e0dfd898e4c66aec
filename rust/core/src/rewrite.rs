//! Texts made ready to be split, where a tokenizer changes them first.
//!
//! The order is that of Hugging Face's `tokenizers`: added tokens with `normalized: false` are found in the text as it is given;
//! each gap between them is normalised by itself; the other added tokens are found in the normalised gap; and what they leave gets
//! a space before it, where the tokenizer wants one. What comes out are [`Part`]s: tokens, and stretches that are
//! split each by itself.
//!
//! A gap that is normalised already is passed on without a copy. Bytes that are not UTF-8 divide a text and stay as they are.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::Result;
use crate::normalize::{Normalizer, Trace};
use crate::pattern::{Cuts, Pattern};
use crate::pipeline::Pipeline;
use crate::scan::Pretokenizer;
use crate::special::SpecialSet;

/// What is done to texts, compiled.
#[derive(Debug)]
pub(crate) struct Rewriting {
    normalizer: Normalizer,
    prefix: Prefix,
}

/// Where a space is put before what does not begin with one.
#[derive(Debug)]
enum Prefix {
    Nowhere,
    /// Before every stretch.
    Stretch,
    /// Before every piece of a stretch.
    Pieces(Pretokenizer),
}

/// A part of a text.
#[derive(Debug)]
pub(crate) struct Part<'t> {
    pub(crate) content: Content<'t>,
    /// Where in the text it begins.
    from: usize,
    places: Option<Places>,
}

#[derive(Debug)]
pub(crate) enum Content<'t> {
    /// An added token.
    Token(u32),
    /// To be split.
    Text(Cow<'t, str>),
    /// No UTF-8.
    Bytes(&'t [u8]),
}

/// Where the bytes of a changed part came from.
#[derive(Debug, Clone)]
struct Places {
    trace: Arc<Trace>,
    /// Where the gap begins in the text, and the part in the normalised gap.
    gap: usize,
    start: usize,
    /// Whether a space stands before it.
    prefixed: bool,
}

impl Part<'_> {
    /// The byte of the text from which byte `at` of the part came.
    pub(crate) fn source(&self, at: usize) -> usize {
        match &self.places {
            None => self.from + at,
            Some(places) => {
                let at = at - usize::from(places.prefixed && at > 0);
                places.gap + places.trace.source(places.start + at)
            }
        }
    }

    /// The bytes that are split; none of a token.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Token(_) => &[],
            Content::Text(text) => text.as_bytes(),
            Content::Bytes(bytes) => bytes,
        }
    }
}

impl Rewriting {
    /// `None` where texts stay as they are.
    pub(crate) fn new(pipeline: &Pipeline) -> Result<Option<Self>> {
        if pipeline.keeps_texts() {
            return Ok(None);
        }
        let prefix = match &pipeline.prefix_space {
            None => Prefix::Nowhere,
            Some(space) if space.pieces.is_empty() => Prefix::Stretch,
            Some(space) => {
                let pattern = Pattern::sequence(space.pieces.clone());
                Prefix::Pieces(Pretokenizer::new(&pattern)?)
            }
        };
        Ok(Some(Self {
            normalizer: Normalizer::new(pipeline.normalizer.clone())?,
            prefix,
        }))
    }

    pub(crate) fn normalizer(&self) -> &Normalizer {
        &self.normalizer
    }

    /// Appends the parts of a text, with their places if they are wanted.
    pub(crate) fn parts<'t>(
        &self,
        bytes: &'t [u8],
        allowed: &SpecialSet,
        with_places: bool,
        parts: &mut Vec<Part<'t>>,
    ) {
        let mut gaps = Gaps {
            rewriting: self,
            allowed,
            with_places,
            parts,
        };
        let mut from = 0;
        for found in allowed.before_normalizing(bytes) {
            gaps.gap(&bytes[from.min(found.start)..found.start], from);
            gaps.parts.push(token(found.id, found.start, None));
            from = found.end;
        }
        gaps.gap(&bytes[from..], from);
    }

    /// The last place at which `text` may be cut so that its two sides have the parts of the whole, and
    /// `cuts` cuts them too.
    ///
    /// A place is safe where the characters around it become the same whatever stands before and after
    /// them, and what they become may be cut there.
    pub(crate) fn last_cut(&self, cuts: Cuts, text: &[u8]) -> Option<usize> {
        if matches!(self.prefix, Prefix::Pieces(_)) {
            return None;
        }
        let mut end = text.len();
        loop {
            let at = cuts.last(&text[..end])?;
            if self.may_cut(cuts, text, at) {
                return Some(at);
            }
            end = at;
        }
    }

    fn may_cut(&self, cuts: Cuts, text: &[u8], at: usize) -> bool {
        let (Some(before), Some(after)) =
            (last_characters(&text[..at]), first_characters(&text[at..]))
        else {
            return false;
        };
        let alone = |stretch| self.normalizer.alone(stretch);
        let (Some(before), Some(after)) = (alone(before), alone(after)) else {
            return false;
        };
        let around = format!("{before}{after}");
        let needs_space = matches!(self.prefix, Prefix::Stretch) && !after.starts_with(' ');
        !needs_space && cuts.holds(around.as_bytes(), before.len())
    }
}

/// The gaps of one text.
struct Gaps<'p, 't> {
    rewriting: &'p Rewriting,
    allowed: &'p SpecialSet,
    with_places: bool,
    parts: &'p mut Vec<Part<'t>>,
}

impl<'t> Gaps<'_, 't> {
    fn gap(&mut self, gap: &'t [u8], from: usize) {
        if let Ok(text) = simdutf8::basic::from_utf8(gap) {
            self.stretch(text, from);
            return;
        }
        let mut at = 0;
        let mut broken = 0;
        for chunk in gap.utf8_chunks() {
            if !chunk.valid().is_empty() {
                self.bytes(&gap[broken..at], from + broken);
                self.stretch(chunk.valid(), from + at);
                broken = at + chunk.valid().len();
            }
            at += chunk.valid().len() + chunk.invalid().len();
        }
        self.bytes(&gap[broken..at], from + broken);
    }

    fn bytes(&mut self, bytes: &'t [u8], from: usize) {
        if !bytes.is_empty() {
            self.parts.push(Part {
                content: Content::Bytes(bytes),
                from,
                places: None,
            });
        }
    }

    fn stretch(&mut self, text: &'t str, from: usize) {
        if text.is_empty() {
            return;
        }
        let mut trace = self.with_places.then(Trace::default);
        let normalized = self.rewriting.normalizer.apply(text, trace.as_mut());
        let places = trace.map(|trace| Places {
            trace: Arc::new(trace),
            gap: from,
            start: 0,
            prefixed: false,
        });
        let stretch = Stretch {
            text: normalized,
            from,
            places,
        };
        let mut at = 0;
        for found in self.allowed.after_normalizing(stretch.text.as_bytes()) {
            self.rewriting
                .spaced(&stretch, at.min(found.start)..found.start, self.parts);
            self.parts.push(token(
                found.id,
                stretch.from + found.start,
                stretch.places(found.start, false),
            ));
            at = found.end;
        }
        if at == 0 && matches!(self.rewriting.prefix, Prefix::Nowhere) {
            // The usual case: nothing is cut out of it.
            if !stretch.text.is_empty() {
                self.parts.push(Part {
                    content: Content::Text(stretch.text),
                    from,
                    places: stretch.places,
                });
            }
            return;
        }
        let rest = at..stretch.text.len();
        self.rewriting.spaced(&stretch, rest, self.parts);
    }
}

/// A normalised gap.
struct Stretch<'t> {
    text: Cow<'t, str>,
    from: usize,
    places: Option<Places>,
}

impl<'t> Stretch<'t> {
    fn places(&self, start: usize, prefixed: bool) -> Option<Places> {
        self.places.clone().map(|places| Places {
            start,
            prefixed,
            ..places
        })
    }

    fn part(&self, range: Range<usize>, prefixed: bool) -> Part<'t> {
        let places = self.places(range.start, prefixed);
        let from = self.from + range.start;
        let text = match &self.text {
            _ if prefixed => Cow::Owned(format!(" {}", &self.text[range])),
            Cow::Borrowed(text) => Cow::Borrowed(&text[range]),
            Cow::Owned(text) => Cow::Owned(text[range].to_owned()),
        };
        Part {
            content: Content::Text(text),
            from,
            places,
        }
    }
}

impl Rewriting {
    /// Appends a part of a stretch, with the spaces that it needs.
    fn spaced<'t>(&self, stretch: &Stretch<'t>, range: Range<usize>, parts: &mut Vec<Part<'t>>) {
        if range.is_empty() {
            return;
        }
        let lacks_space = |range: &Range<usize>| stretch.text.as_bytes()[range.start] != b' ';
        match &self.prefix {
            Prefix::Nowhere => parts.push(stretch.part(range, false)),
            Prefix::Stretch => {
                let lacks = lacks_space(&range);
                parts.push(stretch.part(range, lacks));
            }
            Prefix::Pieces(pieces) => {
                let mut start = range.start;
                pieces.for_each(&stretch.text.as_bytes()[range], |piece| {
                    let range = start..start + piece.len();
                    start = range.end;
                    let lacks = lacks_space(&range);
                    parts.push(stretch.part(range, lacks));
                });
            }
        }
    }
}

fn token<'t>(id: u32, from: usize, places: Option<Places>) -> Part<'t> {
    Part {
        content: Content::Token(id),
        from,
        places,
    }
}

/// The last two characters, or the last where it is the only one.
fn last_characters(text: &[u8]) -> Option<&str> {
    let is_start = |&at: &usize| text[at] & 0xC0 != 0x80;
    let mut starts = (text.len().saturating_sub(8)..text.len())
        .rev()
        .filter(is_start);
    let last = starts.next()?;
    let begin = starts.next().unwrap_or(last);
    std::str::from_utf8(&text[begin..]).ok()
}

/// The first three characters.
fn first_characters(text: &[u8]) -> Option<&str> {
    let chunk = text[..text.len().min(12)].utf8_chunks().next()?;
    let valid = chunk.valid();
    let (third, character) = valid.char_indices().nth(2)?;
    Some(&valid[..third + character.len_utf8()])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Model;
    use crate::normalize::{Form, Step};
    use crate::pipeline::PrefixSpace;
    use crate::special::SpecialToken;
    use crate::vocab::Vocab;
    use crate::{SpecialSet, Tokenizer};

    fn tokenizer(pipeline: Pipeline, special: Vec<SpecialToken>) -> Tokenizer {
        let merges = [
            (101, 114),
            (108, 111),
            (257, 119),
            (32, 258),
            (32, 116),
            (204, 129),
        ];
        let vocab = Vocab::from_merges(&merges).unwrap();
        Tokenizer::new(Model::Bytes(Box::new(vocab)), pipeline, special).unwrap()
    }

    fn gpt2(normalizer: Vec<Step>, prefix_space: Option<PrefixSpace>) -> Pipeline {
        Pipeline {
            normalizer,
            prefix_space,
            pattern: Pattern::named("gpt2").unwrap(),
            ..Pipeline::default()
        }
    }

    fn pieces(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
        let mut pieces = Vec::new();
        tokenizer.split(text.as_bytes(), |piece| {
            pieces.push(String::from_utf8_lossy(piece).into_owned());
        });
        pieces
    }

    #[test]
    fn a_space_stands_before_what_has_none() {
        let of = |pieces: &[&str]| {
            let pieces = pieces.iter().map(ToString::to_string).collect();
            tokenizer(gpt2(Vec::new(), Some(PrefixSpace { pieces })), Vec::new())
        };
        assert_eq!(pieces(&of(&[]), "low er"), [" low", " er"]);
        assert_eq!(pieces(&of(&[]), " low"), [" low"]);
        assert_eq!(pieces(&of(&[]), ""), [""; 0]);
        assert_eq!(pieces(&of(&["[0-9]"]), "a1 b"), [" a", " 1", " b"]);
    }

    /// Tokens before normalising, gaps by themselves, tokens after normalising, spaces at last.
    #[test]
    fn the_order_is_that_of_tokenizers() {
        let token = |content: &str, id, normalized| SpecialToken {
            normalized,
            ..SpecialToken::new(content, id)
        };
        let special = vec![token("<A>", 300, false), token("X", 301, true)];
        let steps = vec![Step::Prepend("_".to_owned()), Step::Lowercase];
        let tokenizer = tokenizer(gpt2(steps, Some(PrefixSpace::default())), special);
        let ids = |text: &str| tokenizer.encode(text, tokenizer.all_special()).unwrap();
        let bytes = |text: &str| tokenizer.encode_ordinary(text).unwrap();
        assert_eq!(bytes("B"), [32, 95, 98]);
        // The content of the second is "_x" in normalised text.
        assert_eq!(ids("B<A>Xb<a>"), [32, 95, 98, 300, 301, 32, 98, 60, 97, 62]);
    }

    #[test]
    fn places_are_those_of_the_given_text() {
        let tokenizer = tokenizer(gpt2(vec![Step::Form(Form::Nfd)], None), Vec::new());
        let none = SpecialSet::none();
        let (ids, places) = tokenizer.encode_with_offsets("éa\u{e9} lo", &none).unwrap();
        assert_eq!(ids, [101, 261, 97, 101, 261, 32, 257]);
        assert_eq!(places, [0, 0, 2, 3, 3, 5, 6]);
        let end = |most| tokenizer.truncate("éa\u{e9} lo", most, &none).unwrap();
        assert_eq!(end(1), (vec![], 0));
        assert_eq!(end(2), (vec![101, 261], 2));
        assert_eq!(end(4).1, 3);
        assert_eq!(end(7).1, 8);
    }

    #[test]
    fn steps_on_the_alphabet_may_split_a_character() {
        let pattern = Pattern::named("gpt2").unwrap();
        let pattern = pattern.then_on_alphabet(vec![r"\p{N}+".to_owned()]);
        let tokenizer = tokenizer(pattern.into(), Vec::new());
        let mut pieces = Vec::new();
        tokenizer.split("x²³ 12".as_bytes(), |piece| pieces.push(piece.to_vec()));
        let expected: [&[u8]; 7] = [b"x", b"\xC2", b"\xB2", b"\xC2", b"\xB3", b" ", b"12"];
        assert_eq!(pieces, expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_two_sides_of_a_cut_have_the_ids_of_the_whole(
            text in prop::collection::vec(prop::sample::select(vec![
                "low lower", "\n", "e\u{301}", "\u{301}", "\nЙ", "。\n好", " ", "İ", "가\u{11A8}", "\nк", "ﬁ x", ".\nか\u{3099}",
            ]), 0..12),
            steps in prop::collection::vec(prop::sample::select(vec![
                Step::Form(Form::Nfc), Step::Form(Form::Nfd), Step::Form(Form::Nfkc), Step::Form(Form::Nfkd),
                Step::Lowercase, Step::Strip { left: true, right: false },
            ]), 0..3),
            prefix in any::<bool>(),
            seen in 0usize..100,
        ) {
            let tokenizer = tokenizer(gpt2(steps, prefix.then(PrefixSpace::default)), Vec::new());
            let text = text.concat();
            let seen = text.len() * seen / 100;
            let none = SpecialSet::none();
            if let Some(at) = tokenizer.last_cut(&text.as_bytes()[..seen], &none) {
                let mut ids = tokenizer.encode_ordinary(&text[..at]).unwrap();
                ids.extend(tokenizer.encode_ordinary(&text[at..]).unwrap());
                prop_assert_eq!(ids, tokenizer.encode_ordinary(&*text).unwrap());
            }
        }
    }
}
