//! Text to ids, with a vocabulary learned from the same kinds of text.
//!
//! "cold" begins every pass with an empty cache, as a new process does; "warm"
//! keeps it. The truth lies between: nearer to cold for small inputs.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gptbpe_core::scan::Pretokenizer;
use gptbpe_core::{Scratch, Tokenizer, oracle};

/// How much of a text the slow twin is asked about.
const CHECKED: usize = 8 << 10;

fn encode(tokenizer: &Tokenizer, text: &[u8], scratch: &mut Scratch, ids: &mut Vec<u32>) {
    ids.clear();
    tokenizer
        .encode_ordinary(text, scratch, ids)
        .expect("bytes are always encodable");
}

/// The beginning has the oracle's ids, and all of it comes back.
fn check(tokenizer: &Tokenizer, name: &str, text: &[u8]) {
    let merges: Vec<_> = tokenizer
        .merges()
        .iter()
        .map(|merge| (merge.left, merge.right))
        .collect();
    let pretokenizer = Pretokenizer::new(tokenizer.pattern()).expect("it is in use");
    let beginning = &text[..CHECKED.min(text.len())];
    let mut expected = Vec::new();
    if name != "one-piece" {
        // The oracle is cubic in the length of a piece.
        pretokenizer.for_each(beginning, |piece| {
            expected.extend(oracle::encode(piece, &merges));
        });
        let mut ids = Vec::new();
        encode(tokenizer, beginning, &mut Scratch::new(), &mut ids);
        assert!(ids == expected, "{name}: not the oracle's ids");
    }
    let mut ids = Vec::new();
    encode(tokenizer, text, &mut Scratch::new(), &mut ids);
    assert!(
        tokenizer.decode(&ids).is_ok_and(|decoded| decoded == text),
        "{name}: the text does not come back"
    );
}

fn encoding(criterion: &mut Criterion) {
    let tokenizer = gptbpe_benches::tokenizer();
    for case in gptbpe_benches::cases() {
        check(&tokenizer, case.name, &case.text);

        let mut group = criterion.benchmark_group(format!("encode/{}", case.name));
        group.throughput(Throughput::Bytes(case.text.len() as u64));
        let mut ids = Vec::new();
        group.bench_function("cold", |bencher| {
            bencher.iter(|| {
                encode(
                    &tokenizer,
                    black_box(&case.text),
                    &mut Scratch::new(),
                    &mut ids,
                );
            });
        });
        let mut scratch = Scratch::new();
        group.bench_function("warm", |bencher| {
            bencher.iter(|| {
                encode(&tokenizer, black_box(&case.text), &mut scratch, &mut ids);
            });
        });
    }
}

criterion_group!(benches, encoding);
criterion_main!(benches);
