//! Text to ids, with a vocabulary learned from the same kinds of text.
//!
//! "cold" begins every pass with nothing remembered, as a new process does; "warm"
//! keeps what was remembered. The truth lies between: nearer to cold for small inputs. Both
//! run on every kernel of this machine; counting and batches run on the best one.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use gptbpe_core::scan::Pretokenizer;
use gptbpe_core::{EncodeOptions, Kernel, SpecialSet, Tokenizer, oracle};

/// How much of a text the slow twin is asked about.
const CHECKED: usize = 8 << 10;

/// The texts of a batch are about this long.
const DOCUMENT: usize = 4 << 10;

fn encode(tokenizer: &Tokenizer, text: &[u8]) -> Vec<u32> {
    let ids = tokenizer.encode_ordinary(text);
    ids.expect("bytes are always encodable")
}

fn count(tokenizer: &Tokenizer, text: &[u8]) -> usize {
    let count = tokenizer.count(text, &SpecialSet::none());
    count.expect("bytes are always encodable")
}

/// The ids of all texts, joined.
fn encode_batch(tokenizer: &Tokenizer, texts: &[&[u8]], threads: usize) -> Vec<u32> {
    let ids = tokenizer.encode_batch(texts, &SpecialSet::none(), threads);
    ids.expect("bytes are always encodable").ids.to_vec()
}

/// The same tokenizer on `kernel`, with nothing remembered.
fn fresh(tokenizer: &Tokenizer, kernel: Kernel) -> Tokenizer {
    tokenizer.with_options(EncodeOptions {
        kernel,
        ..EncodeOptions::default()
    })
}

fn kernels() -> impl Iterator<Item = Kernel> {
    let kernels = Kernel::ALL.into_iter();
    kernels.filter(|kernel| kernel.is_available())
}

/// Documents that are encoded each by itself.
fn documents(text: &[u8]) -> Vec<&[u8]> {
    text.chunks(DOCUMENT).collect()
}

/// The beginning has the oracle's ids, all of it comes back, and every way gives the same ids.
fn check(tokenizer: &Tokenizer, name: &str, text: &[u8]) {
    let merges: Vec<_> = tokenizer
        .merges()
        .iter()
        .map(|merge| (merge.left, merge.right))
        .collect();
    let pretokenizer = Pretokenizer::new(tokenizer.pattern()).expect("it is in use");
    let beginning = &text[..CHECKED.min(text.len())];
    if name != "one-piece" {
        // The oracle is cubic in the length of a piece.
        let mut expected = Vec::new();
        pretokenizer.for_each(beginning, |piece| {
            expected.extend(oracle::encode(piece, &merges));
        });
        let ids = encode(tokenizer, beginning);
        assert!(ids == expected, "{name}: not the oracle's ids");
    }
    let ids = encode(tokenizer, text);
    assert!(
        tokenizer.decode(&ids).is_ok_and(|decoded| decoded == text),
        "{name}: the text does not come back"
    );
    for kernel in kernels() {
        let kernel_name = kernel.name();
        let tokenizer = fresh(tokenizer, kernel);
        for pass in ["cold", "warm"] {
            assert!(
                encode(&tokenizer, text) == ids,
                "{name}: other ids on {kernel_name}, {pass}"
            );
        }
        assert!(
            count(&tokenizer, text) == ids.len(),
            "{name}: other count on {kernel_name}"
        );
    }
    let documents = documents(text);
    let one_by_one: Vec<u32> = documents
        .iter()
        .flat_map(|document| encode(tokenizer, document))
        .collect();
    for threads in [1, 2] {
        assert!(
            encode_batch(tokenizer, &documents, threads) == one_by_one,
            "{name}: other ids in a batch on {threads} threads"
        );
    }
}

fn encoding(criterion: &mut Criterion) {
    let tokenizer = gptbpe_benches::tokenizer();
    for case in gptbpe_benches::cases() {
        let text = case.text.as_slice();
        check(&tokenizer, case.name, text);

        let mut group = criterion.benchmark_group(format!("encode/{}", case.name));
        group.throughput(Throughput::Bytes(text.len() as u64));
        for kernel in kernels() {
            let name = kernel.name();
            group.bench_function(format!("cold {name}"), |bencher| {
                // The memory of the table before is given back outside of what is timed.
                bencher.iter_batched_ref(
                    || fresh(&tokenizer, kernel),
                    |tokenizer| encode(tokenizer, black_box(text)),
                    BatchSize::PerIteration,
                );
            });
            let tokenizer = fresh(&tokenizer, kernel);
            group.bench_function(format!("warm {name}"), |bencher| {
                bencher.iter(|| encode(&tokenizer, black_box(text)));
            });
        }
        group.bench_function("count", |bencher| {
            bencher.iter(|| count(&tokenizer, black_box(text)));
        });
        let documents = documents(text);
        group.bench_function("batch", |bencher| {
            bencher.iter(|| encode_batch(&tokenizer, black_box(&documents), 1));
        });
    }
}

criterion_group!(benches, encoding);
criterion_main!(benches);
