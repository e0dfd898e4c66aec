//! Random texts through the scanners and the encoder, against slow and simple twins, until one differs.
//!
//!     cargo run --release -p gptbpe-benches --bin fuzz -- --executions 100000000 --threads 2 --seed 1
//!     cargo run --release -p gptbpe-benches --bin fuzz -- --training --executions 1000000 --threads 2 --seed 1
//!     cargo run --release -p gptbpe-benches --bin fuzz -- --files --executions 10000000 --threads 2 --seed 1
//!
//! An equivalent of cargo-fuzz that needs no nightly compiler: there is no feedback from coverage, but the
//! texts are made of what patterns and blocks tell apart (`texts`), and patterns (`patterns`) and
//! vocabularies (`vocabularies`) are random too. Executions are of two kinds: a scanner against the
//! regular expressions (`splitting`), and encoding against tiktoken's rule (`encoding`); `oracle` has the twins of both.
//! With `--training` they are of a third kind alone: training against the oracle (`training`); with `--files` of a fourth:
//! tokenizer files, patterns, datasets and ids that were changed (`files`). The same seed and number of threads give
//! the same texts.
//!
//! The address sanitizer watches memory at the same time:
//!
//!     RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo run --release --target x86_64-unknown-linux-gnu \
//!         --target-dir target/asan -p gptbpe-benches --bin fuzz -- --files --executions 1000000
//!
//! The first difference, or panic, is made as small as it can be and printed; the exit status is then 1.

#![allow(clippy::print_stdout, clippy::print_stderr)] // a program, not a library

mod encoding;
mod files;
mod oracle;
mod patterns;
mod report;
mod splitting;
mod texts;
mod training;
mod vocabularies;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use report::{Report, caught};
use texts::Texts;

/// A line is printed each time so many executions are done.
const SHOWN: u64 = 10_000_000;
/// The same for training and for files, which are slower.
const SHOWN_SLOW: u64 = 100_000;
/// Executions of the first kind for each of the second.
const SPLITTING: u64 = 3;

struct Options {
    executions: u64,
    threads: u64,
    seed: u64,
    /// The kind that was asked for; the first two in turn if none was.
    only: Option<Kind>,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            executions: 10_000_000,
            threads: 1,
            seed: 1,
            only: None,
        };
        while let Some(name) = arguments.next() {
            let kind = match name.as_str() {
                "--training" => Some(Kind::Training),
                "--files" => Some(Kind::Files),
                _ => None,
            };
            if kind.is_some() {
                options.only = kind;
                continue;
            }
            let value = arguments.next().and_then(|value| value.parse().ok());
            let value: u64 = value.ok_or_else(|| format!("expected a number after {name}"))?;
            match name.as_str() {
                "--executions" => options.executions = value,
                "--threads" => options.threads = value.max(1),
                "--seed" => options.seed = value,
                _ => {
                    return Err(format!(
                        "expected --executions, --threads, --seed, --training or --files, found {name}"
                    ));
                }
            }
        }
        Ok(options)
    }
}

/// What one execution compares.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Splitting,
    Encoding,
    Training,
    Files,
}

/// What the threads have done.
struct Progress {
    started: Instant,
    only: Option<Kind>,
    /// Executions of each kind.
    done: [AtomicU64; 4],
    stopped: AtomicBool,
    report: Mutex<Option<Report>>,
}

impl Progress {
    fn done(&self, kind: Kind) -> u64 {
        self.done[kind as usize].load(Ordering::Relaxed)
    }

    fn total(&self) -> u64 {
        let each = self.done.iter().map(|done| done.load(Ordering::Relaxed));
        each.sum()
    }

    fn line(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64();
        let total = self.total();
        let kinds = match self.only {
            Some(Kind::Training) => "training against oracle, every tie rule".to_owned(),
            Some(Kind::Files) => "changed files, patterns and ids".to_owned(),
            _ => format!(
                "{} scanner against regex, {} encode against oracle",
                self.done(Kind::Splitting),
                self.done(Kind::Encoding),
            ),
        };
        format!(
            "{total} executions ({kinds}) in {seconds:.1} s, {:.0} a second",
            total as f64 / seconds,
        )
    }

    /// Rounds of the kind that is behind, until all executions are done.
    fn run(&self, mut texts: Texts, executions: u64) {
        let (mut splitting, mut encoding) = (0, 0);
        let mut patterns = Vec::new();
        while !self.stopped.load(Ordering::Relaxed) && self.total() < executions {
            let kind = if let Some(only) = self.only {
                only
            } else if splitting <= SPLITTING * encoding {
                Kind::Splitting
            } else {
                Kind::Encoding
            };
            let round = caught(|| match kind {
                Kind::Splitting => splitting::round(&mut texts, &mut patterns),
                Kind::Encoding => encoding::round(&mut texts, &mut patterns),
                Kind::Training => training::round(&mut texts),
                Kind::Files => files::round(&mut texts),
            });
            match round.unwrap_or_else(Err) {
                Ok(more) => {
                    match kind {
                        Kind::Splitting => splitting += more,
                        Kind::Encoding => encoding += more,
                        Kind::Training | Kind::Files => {}
                    }
                    let before = self.total();
                    self.done[kind as usize].fetch_add(more, Ordering::Relaxed);
                    let shown = if self.only.is_some() {
                        SHOWN_SLOW
                    } else {
                        SHOWN
                    };
                    if before / shown != (before + more) / shown {
                        println!("{}", self.line());
                    }
                }
                Err(report) => {
                    self.stopped.store(true, Ordering::Relaxed);
                    let mut first = self.report.lock().unwrap_or_else(PoisonError::into_inner);
                    first.get_or_insert(report);
                }
            }
        }
    }
}

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("fuzz: {problem}");
            return ExitCode::from(2);
        }
    };
    // The message of the first panic; making a text smaller repeats it often.
    let print = std::panic::take_hook();
    let printed = AtomicBool::new(false);
    std::panic::set_hook(Box::new(move |panic| {
        if !printed.swap(true, Ordering::Relaxed) {
            print(panic);
        }
    }));
    let progress = Progress {
        started: Instant::now(),
        only: options.only,
        done: [const { AtomicU64::new(0) }; 4],
        stopped: AtomicBool::new(false),
        report: Mutex::new(None),
    };
    std::thread::scope(|scope| {
        for thread in 0..options.threads {
            let texts = Texts::new(options.seed.wrapping_mul(1 << 16) + thread);
            let progress = &progress;
            scope.spawn(move || progress.run(texts, options.executions));
        }
    });
    let report = progress.report.lock();
    let report = report.unwrap_or_else(PoisonError::into_inner).take();
    if let Some(report) = report {
        println!("{report}");
        println!(
            "seed {}, {} threads: a difference",
            options.seed, options.threads
        );
        return ExitCode::FAILURE;
    }
    println!("no difference in {}", progress.line());
    ExitCode::SUCCESS
}
