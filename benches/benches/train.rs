//! Learning merges: counting pre-tokens, and merging what was counted.

use std::hint::black_box;
use std::ops::ControlFlow;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use gptbpe_core::oracle;
use gptbpe_core::pattern::Pattern;
use gptbpe_core::scan::Pretokenizer;
use gptbpe_core::train::{TrainOptions, WordCounts, count_documents, train};

/// How much of a text, and how many merges, the slow twin is asked about.
const CHECKED: usize = 16 << 10;
const CHECKED_MERGES: u32 = 64;

fn options(merges: u32) -> TrainOptions {
    TrainOptions {
        merges,
        ..TrainOptions::default()
    }
}

fn learn(words: &WordCounts, merges: u32) -> Vec<(u32, u32)> {
    let trained = train(words.clone(), &options(merges), &mut |_| {
        ControlFlow::Continue(())
    });
    trained.expect("nothing cancels this").merges
}

fn count(pretokenizer: &Pretokenizer, text: &[u8]) -> WordCounts {
    count_documents(pretokenizer, &[text], 1).expect("a small text does not overflow 64 bits")
}

fn training(criterion: &mut Criterion) {
    let pattern = Pattern::named("gpt2").expect("a named pattern");
    let pretokenizer = Pretokenizer::new(&pattern).expect("named patterns compile");
    for case in gptbpe_benches::cases() {
        let sample = count(&pretokenizer, &case.text[..CHECKED]);
        let words: Vec<_> = sample
            .iter_first_seen()
            .map(|(word, count)| (word.to_vec(), count))
            .collect();
        let expected = oracle::train(&words, &options(CHECKED_MERGES)).merges;
        assert!(
            learn(&sample, CHECKED_MERGES) == expected,
            "{}: not the oracle's merges",
            case.name
        );

        let mut group = criterion.benchmark_group(format!("train/{}", case.name));
        group
            .sample_size(10)
            .throughput(Throughput::Bytes(case.text.len() as u64));
        group.bench_function("count", |bencher| {
            bencher.iter(|| count(&pretokenizer, black_box(&case.text)));
        });
        let words = count(&pretokenizer, &case.text);
        group.bench_function("merge to 4096", |bencher| {
            bencher.iter_batched_ref(
                || words.clone(),
                |words| learn(words, 4_096 - 256),
                BatchSize::LargeInput,
            );
        });
    }
}

criterion_group!(benches, training);
criterion_main!(benches);
