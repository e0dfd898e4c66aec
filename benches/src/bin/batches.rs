//! Filling batches beside a bare copy loop, and packing: `batches FOLDER [ROWS LENGTH ROUNDS]`, figures as JSON.
//!
//! The bare loop widens tokens straight from a map of the first shard, at places known beforehand, with the vector instructions of
//! this machine; it checks nothing. Both write the same arrays, which are compared, and take turns.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // a program for the terminal

use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use gptbpe_core::shard::format::{HEADER_BYTES, TokenType};
use gptbpe_core::shard::reader::Id;
use gptbpe_core::shard::{ReaderOptions, Sampler, SamplerOptions, ShardReader};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number =
        |at: usize, default: usize| arguments.get(at).map_or(default, |n| n.parse().unwrap());
    let (rows, length, rounds) = (number(2, 64), number(3, 2048), number(4, 300));
    let reader = ShardReader::open(Path::new(&arguments[1]), ReaderOptions::default()).unwrap();
    let reader = Arc::new(reader);
    assert_eq!(
        reader.token_type(),
        TokenType::U16,
        "the bare loop reads 16-bit tokens"
    );
    let (fill_64, bare_64) = fill::<i64>(&reader, rows, length, rounds);
    let (fill_32, bare_32) = fill::<i32>(&reader, rows, length, rounds);
    let (fill_16, bare_16) = fill::<u16>(&reader, rows, length, rounds);
    let (documents, seconds, padding) = pack(&reader, length);
    println!(
        "{{\"fill_int64_us\": {fill_64:.1}, \"bare_int64_us\": {bare_64:.1}, \"fill_int32_us\": {fill_32:.1}, \
         \"bare_int32_us\": {bare_32:.1}, \"fill_uint16_us\": {fill_16:.1}, \"bare_uint16_us\": {bare_16:.1}, \
         \"packed_documents_per_second\": {:.0}, \"padding\": {padding:.6}}}",
        documents as f64 / seconds
    );
}

/// Median microseconds of a batch: ours, and the bare loop.
fn fill<T: Id + PartialEq>(
    reader: &Arc<ShardReader>,
    rows: usize,
    length: usize,
    rounds: usize,
) -> (f64, f64) {
    let sampler = Sampler::new(reader.clone(), SamplerOptions::new(length as u64)).unwrap();
    let file = File::open(reader.shard_path(0).unwrap()).unwrap();
    // SAFETY: the bench's own file; nobody writes to it meanwhile.
    let map = unsafe { memmap2::Mmap::map(&file) }.unwrap();
    black_box(
        map.iter()
            .step_by(4096)
            .map(|&byte| u64::from(byte))
            .sum::<u64>(),
    ); // every page is mapped
    let tokens = &map[HEADER_BYTES..];
    let size = rows * length;
    let mut ours = (vec![T::default(); size], vec![T::default(); size]);
    let mut bare = ours.clone();
    let mut times = (Vec::new(), Vec::new());
    let mut first = 0;
    for round in 0..rounds {
        let starts: Vec<usize> = loop {
            let windows = (first..)
                .map(|number| sampler.window(number).unwrap())
                .take(rows);
            let windows: Vec<_> = windows.collect();
            first += rows as u64;
            if windows.iter().all(|window| window.shard == 0) {
                break windows.iter().map(|window| window.start as usize).collect();
            }
        };
        let mut fill = || {
            let began = Instant::now();
            sampler
                .fill(first - rows as u64, &mut ours.0, &mut ours.1)
                .unwrap();
            times.0.push(began.elapsed().as_secs_f64() * 1e6);
        };
        let mut copy = || {
            let began = Instant::now();
            let pairs = bare
                .0
                .chunks_exact_mut(length)
                .zip(bare.1.chunks_exact_mut(length));
            for (&start, (inputs, targets)) in starts.iter().zip(pairs) {
                widen(&tokens[2 * start..][..2 * (length + 1)], inputs, targets);
            }
            times.1.push(began.elapsed().as_secs_f64() * 1e6);
        };
        if round % 2 == 0 {
            fill();
            copy();
        } else {
            copy();
            fill();
        }
        assert!(ours == bare, "other tokens in round {round}");
    }
    (median(times.0), median(times.1))
}

fn widen<T: Id>(bytes: &[u8], inputs: &mut [T], targets: &mut [T]) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2")]
        fn wide<T: Id>(bytes: &[u8], inputs: &mut [T], targets: &mut [T]) {
            plain(bytes, inputs, targets);
        }
        #[target_feature(enable = "avx2")]
        fn narrow<T: Id>(bytes: &[u8], inputs: &mut [T], targets: &mut [T]) {
            plain(bytes, inputs, targets);
        }
        if is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
        {
            // SAFETY: the instructions were detected.
            return unsafe { wide(bytes, inputs, targets) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the instructions were detected.
            return unsafe { narrow(bytes, inputs, targets) };
        }
    }
    plain(bytes, inputs, targets);
}

#[allow(
    clippy::inline_always,
    reason = "it is compiled for the instructions of its callers"
)]
#[inline(always)]
fn plain<T: Id>(bytes: &[u8], inputs: &mut [T], targets: &mut [T]) {
    let ids = bytes.as_chunks::<2>().0;
    for (ids, out) in [(ids, inputs), (&ids[1..], targets)] {
        let before = out.as_ptr().align_offset(64); // stores that lie in two lines of the cache take twice as long
        let (first_ids, ids) = ids.split_at(before);
        let (first, rest) = out.split_at_mut(before);
        for (ids, out) in [(first_ids, first), (ids, rest)] {
            for (to, &id) in out.iter_mut().zip(ids) {
                *to = T::from_u16(u16::from_le_bytes(id));
            }
        }
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// (documents, seconds, share of padding) of a plan of packed rows, the reading of the document ends included.
fn pack(reader: &Arc<ShardReader>, length: usize) -> (u64, f64, f64) {
    let options = SamplerOptions {
        pack: true,
        ..SamplerOptions::new(length as u64)
    };
    let mut least = f64::MAX;
    let mut slots = 0;
    for _ in 0..5 {
        let began = Instant::now();
        let sampler = Sampler::new(reader.clone(), options).unwrap();
        least = least.min(began.elapsed().as_secs_f64());
        slots = sampler.len() * length as u64;
    }
    let documents = reader.manifest().map_or(0, |manifest| manifest.documents);
    (
        documents,
        least,
        1.0 - reader.total_tokens() as f64 / slots as f64,
    )
}
