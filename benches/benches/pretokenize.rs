//! Splitting text into pre-tokens, by named pattern, text and kernel.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gptbpe_core::Kernel;
use gptbpe_core::pattern::Pattern;
use gptbpe_core::scan::Pretokenizer;

/// The number of pieces, and their bytes; each piece's length is used.
fn pieces(pretokenizer: &Pretokenizer, kernel: Option<Kernel>, text: &str) -> (usize, usize) {
    let mut found = (0, 0);
    pretokenizer.split_with(kernel, text, |piece| {
        found.0 += 1;
        found.1 += piece.len();
    });
    found
}

/// The mask scanner with each kernel of this machine, and the scanner for one piece at a time.
fn kernels() -> impl Iterator<Item = Option<Kernel>> {
    let kernels = Kernel::ALL.into_iter();
    kernels
        .filter(|kernel| kernel.is_available())
        .map(Some)
        .chain([None])
}

fn pretokenize(criterion: &mut Criterion) {
    for pattern in ["gpt2", "cl100k", "o200k"] {
        let named = Pattern::named(pattern).expect("a named pattern");
        let pretokenizer = Pretokenizer::new(&named).expect("named patterns compile");
        let mut group = criterion.benchmark_group(format!("pretokenize/{pattern}"));
        for case in gptbpe_benches::cases() {
            let text = std::str::from_utf8(&case.text).expect("every case is UTF-8");
            let mut joined = Vec::with_capacity(text.len());
            let mut ends = Vec::new();
            pretokenizer.split_with(None, text, |piece| {
                joined.extend_from_slice(piece);
                ends.push(joined.len());
            });
            assert!(
                joined == text.as_bytes(),
                "{pattern} on {}: the pieces are not the text",
                case.name
            );

            group.throughput(Throughput::Bytes(text.len() as u64));
            for kernel in kernels() {
                let name = kernel.map_or("scalar", Kernel::name);
                let (mut end, mut expected) = (0, ends.iter());
                pretokenizer.split_with(kernel, text, |piece| {
                    end += piece.len();
                    assert!(
                        expected.next() == Some(&end),
                        "{pattern} on {}: another piece before byte {end} with {name}",
                        case.name
                    );
                });
                assert!(expected.next().is_none(), "{pattern}: pieces are missing");
                group.bench_function(format!("{} {name}", case.name), |bencher| {
                    bencher.iter(|| pieces(&pretokenizer, kernel, black_box(text)));
                });
            }
        }
    }
}

criterion_group!(benches, pretokenize);
criterion_main!(benches);
