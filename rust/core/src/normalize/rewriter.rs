//! A text of which some stretches are replaced, and where its bytes came from.

/// Replaces stretches of a text from left to right. Nothing is copied before the first.
pub(super) struct Rewriter<'t> {
    given: &'t str,
    /// What was given up to here is in `changed`, if that is there.
    copied: usize,
    changed: Option<String>,
    runs: Option<Vec<Run>>,
}

/// Bytes of a changed text that came from neighbouring bytes, or all from one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Where it begins in the changed text.
    at: usize,
    /// Where it begins in the given text.
    from: usize,
    /// Whether it is a copy; else all of it came from `from`.
    copy: bool,
}

/// Where the bytes of a text came from that was changed step by step.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// For each step that changed something, its runs. The first begins at 0.
    steps: Vec<Vec<Run>>,
}

impl Trace {
    pub(super) fn push(&mut self, runs: Vec<Run>) {
        if !runs.is_empty() {
            self.steps.push(runs);
        }
    }

    /// The byte of the given text at which that began which byte `at` of the changed text came from.
    ///
    /// Places in order have places in order. The end of the changed text is that of what is behind the last change.
    pub(crate) fn source(&self, at: usize) -> usize {
        self.steps.iter().rev().fold(at, |at, runs| {
            let next = runs.partition_point(|run| run.at <= at);
            let run = runs[next.saturating_sub(1)];
            if run.copy {
                run.from + (at - run.at)
            } else {
                run.from
            }
        })
    }
}

impl<'t> Rewriter<'t> {
    pub(super) fn new(given: &'t str, traced: bool) -> Self {
        Self {
            given,
            copied: 0,
            changed: None,
            runs: traced.then(Vec::new),
        }
    }

    pub(super) fn given(&self) -> &'t str {
        self.given
    }

    /// Puts `text` in the place of a stretch that begins at or behind the end of the one before.
    pub(super) fn replace(&mut self, start: usize, end: usize, text: &str) {
        self.begin(start);
        self.push(text, start);
        self.end(end);
    }

    /// Begins a stretch that is replaced.
    pub(super) fn begin(&mut self, start: usize) {
        let room = self.given.len();
        let changed = self
            .changed
            .get_or_insert_with(|| String::with_capacity(room));
        if self.copied < start {
            if let Some(runs) = &mut self.runs {
                runs.push(Run {
                    at: changed.len(),
                    from: self.copied,
                    copy: true,
                });
            }
            changed.push_str(&self.given[self.copied..start]);
            self.copied = start;
        }
    }

    /// A part of what takes its place, and where in the given text it came from.
    pub(super) fn push(&mut self, text: &str, from: usize) {
        let changed = self.changed.get_or_insert_default();
        if let Some(runs) = &mut self.runs
            && !text.is_empty()
        {
            let run = Run {
                at: changed.len(),
                from,
                copy: false,
            };
            if runs
                .last()
                .is_none_or(|last| last.copy || last.from != from)
            {
                runs.push(run);
            }
        }
        changed.push_str(text);
    }

    /// Ends it.
    pub(super) fn end(&mut self, end: usize) {
        self.copied = end;
    }

    /// The changed text, if anything was replaced, and its runs.
    pub(super) fn finish(mut self) -> (Option<String>, Vec<Run>) {
        let Some(mut changed) = self.changed.take() else {
            return (None, Vec::new());
        };
        let mut runs = self.runs.take().unwrap_or_default();
        // Also where nothing follows: the end of the text is behind what was replaced.
        runs.push(Run {
            at: changed.len(),
            from: self.copied,
            copy: true,
        });
        changed.push_str(&self.given[self.copied..]);
        (Some(changed), runs)
    }
}
