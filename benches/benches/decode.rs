//! Ids back to bytes, at once and as a stream of whole characters.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gptbpe_core::{StreamDecoder, Tokenizer};

fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut decoder = StreamDecoder::new(tokenizer.clone());
    let mut text: String = ids
        .iter()
        .map(|&id| decoder.push(id).expect("ids of this vocabulary"))
        .collect();
    text.push_str(&decoder.finish());
    text
}

fn decoding(criterion: &mut Criterion) {
    let tokenizer = gptbpe_benches::tokenizer();
    for case in gptbpe_benches::cases() {
        let ids = tokenizer.encode_ordinary(case.text.as_slice());
        let ids = ids.expect("bytes are always encodable");
        let mut bytes = Vec::new();
        tokenizer
            .decode_bytes(&ids, &mut bytes)
            .expect("ids of this vocabulary");
        assert!(
            bytes == case.text,
            "{}: the text does not come back",
            case.name
        );
        let text = String::from_utf8_lossy(&case.text);
        assert!(
            streamed(&tokenizer, &ids) == text,
            "{}: the stream is another text",
            case.name
        );

        let mut group = criterion.benchmark_group(format!("decode/{}", case.name));
        group.throughput(Throughput::Bytes(case.text.len() as u64));
        group.bench_function("at once", |bencher| {
            bencher.iter(|| {
                bytes.clear();
                tokenizer.decode_bytes(black_box(&ids), &mut bytes)
            });
        });
        group.bench_function("streamed", |bencher| {
            bencher.iter(|| streamed(&tokenizer, black_box(&ids)));
        });
    }
}

criterion_group!(benches, decoding);
criterion_main!(benches);
