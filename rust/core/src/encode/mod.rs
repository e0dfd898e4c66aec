//! Text to ids.
//!
//! Special tokens cut a text into stretches ([`SpecialSet`]), the pre-tokenizer cuts a stretch into
//! pieces, and pieces become tokens in blocks (`run`): looked up in a table of pieces that
//! were met before (`table`, `long_pieces`), or merged. Tokens go to a vector or are only counted
//! (`sink`). `batch` shares many texts, or one long one, among threads.
//!
//! What a thread remembers (`worker`) lives as long as the tokenizer, in a small pool: a call takes
//! a worker from it and puts it back. So a second call finds what the first one learned. Each
//! thread has a table of its own, since a table that is shared would have to be written by
//! several, and since the words that a table lacks are so rare that learning them twice costs little.
//!
//! Invariant: the ids of a text are a function of the tokenizer and the text. What is remembered,
//! a kernel, a place where a text is cut or a number of threads never changes them.

mod around;
mod batch;
mod ids;
mod long_pieces;
#[allow(clippy::inline_always)] // or the kernels would not reach the helpers
mod run;
#[allow(clippy::inline_always)]
mod sink;
#[allow(clippy::inline_always)]
mod table;
#[cfg(test)]
mod tests;
#[allow(clippy::inline_always)]
mod worker;

pub use batch::Ragged;
pub use ids::Ids;

use std::ops::ControlFlow;
use std::sync::{Mutex, OnceLock};

use crate::Result;
use crate::memory;
use crate::rewrite::{Content, Part, Rewriting};
use crate::scan::{Pretokenizer, WordCuts};
use crate::simd::{Kernel, Token, WordRules};
use crate::special::SpecialSet;
use crate::vocab::Vocab;
use run::{Going, Run};
use sink::{Counter, Sink};
use table::PieceTable;
use worker::Worker;

/// Workers that are kept between calls.
const KEPT_WORKERS: usize = 64;
/// Texts that are changed before they are split are changed in groups of about this many bytes.
const GROUP: usize = 1 << 20;
/// A longer text is encoded in segments of about this length, so that a segment is still in
/// the cache when it is scanned after it was checked.
const SEGMENT: usize = 1 << 18;

/// How to encode: what no result depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeOptions {
    /// The instruction set.
    pub kernel: Kernel,
    /// The most bytes that a thread's table of pieces may have; nothing is remembered with 0.
    pub table_bytes: usize,
}

impl Default for EncodeOptions {
    /// The fastest kernel and 16 MiB.
    fn default() -> Self {
        Self {
            kernel: Kernel::best(),
            table_bytes: 64 << table::MOST_BITS,
        }
    }
}

/// What encoding with one vocabulary and pattern remembers.
#[derive(Debug)]
pub(crate) struct Encoder {
    options: EncodeOptions,
    /// Whether all ids have 16 bits.
    narrow: bool,
    cuts: OnceLock<Option<WordCuts>>,
    workers: [Place; KEPT_WORKERS],
}

/// A place for a worker, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Place(Mutex<Option<Box<Worker>>>);

/// A vocabulary and a pattern with what encoding has to know of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scheme<'a> {
    encoder: &'a Encoder,
    kernel: Kernel,
    vocab: &'a Vocab,
    /// What is done to texts before they are split.
    rewriting: Option<&'a Rewriting>,
    pretokenizer: &'a Pretokenizer,
    cuts: Option<&'a WordCuts>,
    words: Option<WordRules<'a>>,
    /// Whether whole pieces must be looked up before they are merged.
    whole_first: bool,
}

/// A text and what the caller knows of it.
#[derive(Debug, Clone, Copy)]
pub struct Text<'t> {
    bytes: &'t [u8],
    valid: bool,
}

impl<'t> Text<'t> {
    /// Bytes of any kind; whether they are UTF-8 is found out.
    pub fn bytes(bytes: &'t [u8]) -> Self {
        Self {
            bytes,
            valid: false,
        }
    }

    /// The bytes.
    pub fn as_bytes(self) -> &'t [u8] {
        self.bytes
    }
}

impl AsRef<[u8]> for Text<'_> {
    fn as_ref(&self) -> &[u8] {
        self.bytes
    }
}

impl<'t> From<&'t str> for Text<'t> {
    fn from(text: &'t str) -> Self {
        Self {
            bytes: text.as_bytes(),
            valid: true,
        }
    }
}

impl<'t, const N: usize> From<&'t [u8; N]> for Text<'t> {
    fn from(bytes: &'t [u8; N]) -> Self {
        Self::bytes(bytes)
    }
}

impl<'t> From<&'t [u8]> for Text<'t> {
    fn from(bytes: &'t [u8]) -> Self {
        Self::bytes(bytes)
    }
}

/// Asked after every block of about a thousand pieces.
pub(crate) trait Control {
    /// Whether to go on, now that there are so many tokens.
    fn after(&mut self, tokens: usize) -> ControlFlow<()>;
}

impl<F: FnMut(usize) -> ControlFlow<()>> Control for F {
    fn after(&mut self, tokens: usize) -> ControlFlow<()> {
        self(tokens)
    }
}

/// To the end.
pub(crate) fn to_the_end(_: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

impl Encoder {
    pub(crate) fn new(options: EncodeOptions, narrow: bool) -> Self {
        Self {
            options,
            narrow,
            cuts: OnceLock::new(),
            workers: std::array::from_fn(|_| Place::default()),
        }
    }

    pub(crate) fn options(&self) -> EncodeOptions {
        self.options
    }

    pub(crate) fn scheme<'a>(
        &'a self,
        vocab: &'a Vocab,
        rewriting: Option<&'a Rewriting>,
        pretokenizer: &'a Pretokenizer,
    ) -> Scheme<'a> {
        let cuts = self.cuts.get_or_init(|| {
            let merging_is_all = vocab.parts_may_be_looked_up();
            merging_is_all.then(|| WordCuts::new(vocab.iter().map(|(_, token)| token)))
        });
        Scheme {
            encoder: self,
            kernel: self.options.kernel,
            vocab,
            rewriting,
            pretokenizer,
            cuts: cuts.as_ref(),
            words: vocab.rules().words(),
            whole_first: vocab.whole_first_may_matter(),
        }
    }

    /// A worker stays in its place, locked as long as it works: of what a short call costs, taking a lock is
    /// a good part, and this takes one. Locks are only tried, so no call waits for another, and
    /// a process that forked while a thread held one goes on without that worker.
    fn with_worker<R>(&self, work: impl FnOnce(&mut Worker) -> R) -> R {
        let free = self
            .workers
            .iter()
            .find_map(|Place(place)| place.try_lock().ok());
        match free {
            Some(mut worker) => work(worker.get_or_insert_with(|| Box::new(self.new_worker()))),
            None => work(&mut self.new_worker()),
        }
    }

    fn new_worker(&self) -> Worker {
        let buckets = self.options.table_bytes / 64;
        let most_bits = buckets
            .checked_ilog2()
            .map(|bits| bits.clamp(1, table::MOST_BITS));
        Worker::new(PieceTable::new(self.options.kernel, self.narrow, most_bits))
    }
}

impl Scheme<'_> {
    /// Whether ids are given in 16 bits.
    pub(crate) fn is_narrow(&self) -> bool {
        self.encoder.narrow
    }

    /// The token that is a whole piece, if that decides.
    #[inline]
    fn whole(&self, piece: &[u8]) -> Option<u32> {
        if self.whole_first {
            self.vocab.id(piece)
        } else {
            None
        }
    }

    /// Appends the ids of one text.
    pub(crate) fn encode<T: Token>(
        &self,
        text: Text<'_>,
        allowed: &SpecialSet,
        ids: &mut Vec<T>,
        control: &mut dyn Control,
    ) -> Result<()> {
        let bytes = text.bytes.len();
        self.run(&mut [text].into_iter(), bytes, allowed, ids, None, control)
            .map(|_| ())
    }

    /// Appends the ids of several texts of about so many bytes, and where each text ends
    /// among them.
    fn encode_all<T: Token>(
        &self,
        texts: &mut dyn Iterator<Item = Text<'_>>,
        bytes: usize,
        allowed: &SpecialSet,
        ids: &mut Vec<T>,
        ends: &mut Vec<usize>,
        control: &mut dyn Control,
    ) -> Result<Going> {
        self.run(texts, bytes, allowed, ids, Some(ends), control)
    }

    /// How many ids a text has, or how many were counted when `control` ended it.
    pub(crate) fn count(
        &self,
        text: Text<'_>,
        allowed: &SpecialSet,
        control: &mut dyn Control,
    ) -> Result<usize> {
        let bytes = text.bytes.len();
        if self.is_narrow() {
            let mut counter = Counter::<u16>::new();
            let texts = &mut [text].into_iter();
            let _ended = self.run(texts, bytes, allowed, &mut counter, None, control)?;
            Ok(counter.count())
        } else {
            let mut counter = Counter::<u32>::new();
            let texts = &mut [text].into_iter();
            let _ended = self.run(texts, bytes, allowed, &mut counter, None, control)?;
            Ok(counter.count())
        }
    }

    /// All ids of a text, unless `control` ends it.
    pub(crate) fn encode_whole<T: Token>(
        &self,
        text: Text<'_>,
        allowed: &SpecialSet,
        control: &mut dyn Control,
    ) -> Result<Vec<T>> {
        let mut ids = Vec::new();
        let is_large = text.bytes.len() >= LARGE_TEXT;
        if is_large {
            expect_ids(&mut ids, text.bytes.len())?;
        }
        self.encode(text, allowed, &mut ids, control)?;
        if is_large {
            ids.shrink_to_fit();
        }
        Ok(ids)
    }

    fn run<S: Sink>(
        &self,
        texts: &mut dyn Iterator<Item = Text<'_>>,
        bytes: usize,
        allowed: &SpecialSet,
        sink: &mut S,
        ends: Option<&mut Vec<usize>>,
        control: &mut dyn Control,
    ) -> Result<Going> {
        if let Some(rewriting) = self.rewriting {
            return self.run_rewritten(rewriting, texts, bytes, allowed, sink, ends, control);
        }
        self.encoder.with_worker(|worker| {
            worker.table.expect(bytes);
            let mut run = Run::new(self, worker, sink, ends, control);
            for text in texts {
                if run.push_text(text, allowed)?.is_break() {
                    return Ok(Going::Break(()));
                }
                run.end_text();
            }
            run.flush()
        })
    }
}

impl Scheme<'_> {
    /// [`Scheme::run`] for texts that are changed first, a group of them at a time.
    #[expect(clippy::too_many_arguments)]
    fn run_rewritten<S: Sink>(
        &self,
        rewriting: &Rewriting,
        texts: &mut dyn Iterator<Item = Text<'_>>,
        bytes: usize,
        allowed: &SpecialSet,
        sink: &mut S,
        mut ends: Option<&mut Vec<usize>>,
        control: &mut dyn Control,
    ) -> Result<Going> {
        self.encoder.with_worker(|worker| {
            worker.table.expect(bytes);
            loop {
                let (mut parts, mut texts_end, mut taken) = (Vec::new(), Vec::new(), 0);
                while taken < GROUP
                    && let Some(text) = texts.next()
                {
                    rewriting.parts(text.bytes, allowed, false, &mut parts);
                    texts_end.push(parts.len());
                    taken += text.bytes.len() + 16;
                }
                if texts_end.is_empty() {
                    return Ok(Going::Continue(()));
                }
                let mut run = Run::new(self, worker, sink, ends.as_deref_mut(), control);
                let mut from = 0;
                for end in texts_end {
                    for part in &parts[from..end] {
                        if run.push_part(part)?.is_break() {
                            return Ok(Going::Break(()));
                        }
                    }
                    run.end_text();
                    from = end;
                }
                if run.flush()?.is_break() {
                    return Ok(Going::Break(()));
                }
            }
        })
    }

    /// Appends the ids of the parts of a text, and where each part ends among them.
    pub(crate) fn encode_rewritten(
        &self,
        parts: &[Part<'_>],
        ids: &mut Vec<u32>,
        ends: &mut Vec<usize>,
        control: &mut dyn Control,
    ) -> Result<()> {
        self.encoder.with_worker(|worker| {
            let mut run = Run::new(self, worker, ids, Some(ends), control);
            for part in parts {
                if run.push_part(part)?.is_break() {
                    return Ok(());
                }
                run.end_text();
            }
            let _ended = run.flush()?;
            Ok(())
        })
    }

    /// The last place at which `text` can be cut so that its two parts have the ids of the whole.
    pub(crate) fn last_cut(&self, text: &[u8], allowed: &SpecialSet) -> Option<usize> {
        let cuts = self.pretokenizer.cuts();
        match self.rewriting {
            _ if allowed.may_reach_over_cuts() => None,
            None => cuts.last(text),
            Some(rewriting) => rewriting.last_cut(cuts, text),
        }
    }
}

/// For the ids of so many bytes it pays to make room before they are known.
const LARGE_TEXT: usize = 1 << 20;

/// Makes room for the ids of so many bytes of text.
fn expect_ids<T>(ids: &mut Vec<T>, bytes: usize) -> Result<()> {
    // No token is shorter than a byte, but for special ones, which are rarely that short.
    memory::expect(ids, bytes / 3, bytes)
}

impl<'t, S: Sink> Run<'_, 't, S> {
    fn push_part(&mut self, part: &'t Part<'_>) -> Result<Going> {
        match &part.content {
            Content::Token(id) => self.push_token(*id),
            Content::Text(text) => self.push_stretch(Text::from(&**text)),
            Content::Bytes(bytes) => self.push_stretch(Text::bytes(bytes)),
        }
    }

    fn push_text(&mut self, text: Text<'t>, allowed: &SpecialSet) -> Result<Going> {
        if allowed.is_empty() {
            return self.push_stretch(text);
        }
        let mut from = 0;
        for found in allowed.matches(text.bytes) {
            // A token may begin in the white space that the last one took.
            let stretch = Text {
                bytes: &text.bytes[from.min(found.start)..found.start],
                ..text
            };
            if self.push_stretch(stretch)?.is_break() || self.push_token(found.id)?.is_break() {
                return Ok(Going::Break(()));
            }
            from = found.end;
        }
        self.push_stretch(Text {
            bytes: &text.bytes[from..],
            ..text
        })
    }

    /// A text without special tokens, in segments if it is long.
    fn push_stretch(&mut self, text: Text<'t>) -> Result<Going> {
        let mut rest = text.bytes;
        while !rest.is_empty() {
            let (segment, after) = rest.split_at(segment(self.pretokenizer(), rest));
            let going = if text.valid || simdutf8::basic::from_utf8(segment).is_ok() {
                self.push_valid(segment)?
            } else {
                self.push_broken(segment)?
            };
            if going.is_break() {
                return Ok(going);
            }
            rest = after;
        }
        Ok(Going::Continue(()))
    }

    /// A text that is not all UTF-8. Each longest run of invalid bytes is one piece.
    #[cold]
    fn push_broken(&mut self, text: &'t [u8]) -> Result<Going> {
        // A chunk is a valid stretch and a run of invalid bytes no longer than
        // one broken character; neighbouring runs are joined.
        let mut at = 0;
        let mut invalid = 0;
        for chunk in text.utf8_chunks() {
            let valid = chunk.valid().as_bytes();
            if !valid.is_empty() {
                if invalid < at && self.push_invalid(&text[invalid..at])?.is_break() {
                    return Ok(Going::Break(()));
                }
                if self.push_valid(valid)?.is_break() {
                    return Ok(Going::Break(()));
                }
                invalid = at + valid.len();
            }
            at += valid.len() + chunk.invalid().len();
        }
        if invalid < at {
            return self.push_invalid(&text[invalid..at]);
        }
        Ok(Going::Continue(()))
    }
}

/// The length of the first segment of `text`.
fn segment(pretokenizer: &Pretokenizer, text: &[u8]) -> usize {
    let mut window = SEGMENT;
    // A window in which there is no place is searched once, and then a window of
    // twice the length: in all no more than the text again.
    while window < text.len() {
        if let Some(at) = pretokenizer.cuts().last(&text[..window]) {
            return at;
        }
        window *= 2;
    }
    text.len()
}
