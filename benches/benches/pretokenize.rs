//! Splitting text into pre-tokens, by named pattern and text.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gptbpe_core::pattern::Pattern;
use gptbpe_core::scan::Pretokenizer;

/// The number of pieces; every piece's bytes are read.
fn pieces(pretokenizer: &Pretokenizer, text: &[u8]) -> (usize, usize) {
    let mut found = (0, 0);
    pretokenizer.for_each(text, |piece| {
        found.0 += 1;
        found.1 += piece.len();
    });
    found
}

fn pretokenize(criterion: &mut Criterion) {
    for pattern in ["gpt2", "cl100k", "o200k"] {
        let named = Pattern::named(pattern).expect("a named pattern");
        let pretokenizer = Pretokenizer::new(&named).expect("named patterns compile");
        let mut group = criterion.benchmark_group(format!("pretokenize/{pattern}"));
        for case in gptbpe_benches::cases() {
            let mut joined = Vec::with_capacity(case.text.len());
            pretokenizer.for_each(&case.text, |piece| joined.extend_from_slice(piece));
            assert!(
                joined == case.text,
                "{pattern} on {}: the pieces are not the text",
                case.name
            );

            group.throughput(Throughput::Bytes(case.text.len() as u64));
            group.bench_function(case.name, |bencher| {
                bencher.iter(|| pieces(&pretokenizer, black_box(&case.text)));
            });
        }
    }
}

criterion_group!(benches, pretokenize);
criterion_main!(benches);
