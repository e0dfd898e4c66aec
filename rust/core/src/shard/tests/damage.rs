//! Whatever is damaged is noticed.

use proptest::prelude::*;

use super::*;
use crate::shard::format::BLOCK_BYTES;
use crate::shard::header::Header;
use crate::shard::sidecar::Sidecar;
use crate::shard::verify::check_shard;

#[test]
fn blocks_are_checked_when_they_are_touched_and_not_before() {
    let documents = vec![(0..2_000_000).map(|i| i % 299).collect()];
    let data = Dataset::new(300, 1 << 22, &documents);
    let path = data.file("shard-00000.bin");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[HEADER_BYTES + 2 * BLOCK_BYTES + 5] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let reader = data.reader(Verify::Lazy).unwrap();
    let mut ids = [0i64; 10];
    reader.copy(0, 0, &mut ids, &mut Vec::new()).unwrap();
    reader
        .copy(0, (BLOCK_BYTES - 10) as u64, &mut ids, &mut Vec::new())
        .unwrap();
    for start in [BLOCK_BYTES - 5, BLOCK_BYTES, BLOCK_BYTES + 1000] {
        match reader.copy(0, start as u64, &mut ids, &mut Vec::new()) {
            Err(Error::ShardCorrupt {
                path: named,
                offset,
                what,
            }) => {
                assert_eq!(named, path);
                assert_eq!(offset as usize, HEADER_BYTES + 2 * BLOCK_BYTES);
                assert!(what.starts_with("block 2 "), "{what}");
            }
            other => panic!("{other:?}"),
        }
        assert!(reader.tokens(0, start as u64, start as u64 + 10).is_err());
    }
    data.reader(Verify::Open)
        .unwrap()
        .copy(0, BLOCK_BYTES as u64, &mut ids, &mut Vec::new())
        .unwrap();
    assert!(data.reader(Verify::Full).is_err());
    assert!(reader.check(0).is_err());
}

/// A shard in memory: its three parts, and what reading them in full gives.
struct Small {
    bin: Vec<u8>,
    gbx: Vec<u8>,
    manifest: Vec<u8>,
}

impl Small {
    fn new() -> Self {
        let data = Dataset::new(300, 1 << 20, &some_documents(20, 300));
        let read = |name| std::fs::read(data.file(name)).unwrap();
        Self {
            bin: read("shard-00000.bin"),
            gbx: read("shard-00000.gbx"),
            manifest: read("manifest.json"),
        }
    }

    /// All that a reader checks, from bytes.
    fn check(bin: &[u8], gbx: &[u8], manifest: &[u8]) -> Result<()> {
        let path = Path::new("shard-00000.bin");
        let manifest = Manifest::parse(manifest, Path::new("manifest.json"))?;
        let header = check_shard(bin, path, gbx, |_| ())?;
        manifest.shards[0].check(&header, path)
    }
}

#[test]
fn every_truncation_and_extension_is_noticed() {
    let Small { bin, gbx, manifest } = Small::new();
    Small::check(&bin, &gbx, &manifest).unwrap();
    for length in 0..bin.len() {
        typed(
            Small::check(&bin[..length], &gbx, &manifest),
            &format!("bin {length}"),
        );
    }
    for length in 0..gbx.len() {
        typed(
            Small::check(&bin, &gbx[..length], &manifest),
            &format!("gbx {length}"),
        );
    }
    for length in 0..manifest.len() {
        typed(
            Small::check(&bin, &gbx, &manifest[..length]),
            &format!("manifest {length}"),
        );
    }
    let longer = |bytes: &[u8]| [bytes, &[0]].concat();
    typed(Small::check(&longer(&bin), &gbx, &manifest), "longer bin");
    typed(Small::check(&bin, &longer(&gbx), &manifest), "longer gbx");
    typed(
        Small::check(&bin, &gbx, &longer(&manifest)),
        "longer manifest",
    );
}

#[test]
fn every_flipped_bit_is_noticed() {
    let mut small = Small::new();
    let flips = |length: usize| (0..length * 8).map(|bit| (bit / 8, 1u8 << (bit % 8)));
    for (byte, bit) in flips(small.bin.len()) {
        small.bin[byte] ^= bit;
        typed(
            Small::check(&small.bin, &small.gbx, &small.manifest),
            &format!("bin byte {byte}"),
        );
        small.bin[byte] ^= bit;
    }
    for (byte, bit) in flips(small.gbx.len()) {
        small.gbx[byte] ^= bit;
        typed(
            Small::check(&small.bin, &small.gbx, &small.manifest),
            &format!("gbx byte {byte}"),
        );
        small.gbx[byte] ^= bit;
    }
    for (byte, bit) in flips(small.manifest.len()) {
        small.manifest[byte] ^= bit;
        typed(
            Small::check(&small.bin, &small.gbx, &small.manifest),
            &format!("manifest byte {byte}"),
        );
        small.manifest[byte] ^= bit;
    }
    Small::check(&small.bin, &small.gbx, &small.manifest).unwrap();
}

/// The same through files, a reader and `tokens`, for a sample of the damage.
#[test]
fn damaged_files_give_errors_or_the_same_tokens() {
    let data = Dataset::new(300, 1 << 20, &some_documents(20, 300));
    let good = read_all(&data.reader(Verify::Full).unwrap()).unwrap();
    for name in ["shard-00000.bin", "shard-00000.gbx", "manifest.json"] {
        let path = data.file(name);
        let bytes = std::fs::read(&path).unwrap();
        for at in (0..bytes.len()).step_by(41) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            for damaged in [&damaged[..], &bytes[..at]] {
                std::fs::write(&path, damaged).unwrap();
                let found = data
                    .reader(Verify::Lazy)
                    .and_then(|reader| read_all(&reader));
                assert!(found.is_err() || found.unwrap() == good, "{name} at {at}");
            }
        }
        std::fs::write(&path, &bytes).unwrap();
    }
}

#[test]
fn parts_of_other_runs_do_not_pass() {
    let documents = some_documents(60, 300);
    let mut others = documents.clone();
    others[0] = vec![1, 2, 3];
    let (one, two) = (
        Dataset::new(300, 500, &documents),
        Dataset::new(300, 500, &others),
    );
    let swap = |dataset: &Dataset, name: &str, with: PathBuf| {
        let path = dataset.file(name);
        let kept = std::fs::read(&path).unwrap();
        std::fs::copy(with, &path).unwrap();
        let result = dataset
            .reader(Verify::Lazy)
            .and_then(|reader| read_all(&reader));
        std::fs::write(&path, kept).unwrap();
        typed(result.map(|_| ()), name);
    };
    swap(&one, "shard-00000.gbx", two.file("shard-00000.gbx"));
    swap(&one, "shard-00000.bin", two.file("shard-00000.bin"));
    swap(&one, "shard-00001.gbx", one.file("shard-00002.gbx"));
    swap(&one, "shard-00001.bin", one.file("shard-00002.bin"));
    swap(&one, "manifest.json", two.file("manifest.json"));
    // Both files of another run: consistent in themselves, but not what the manifest lists.
    std::fs::copy(two.file("shard-00000.bin"), one.file("shard-00000.bin")).unwrap();
    swap(&one, "shard-00000.gbx", two.file("shard-00000.gbx"));
}

#[test]
fn a_header_that_lies_costs_nothing() {
    let Small { bin, gbx, .. } = Small::new();
    let path = Path::new("shard-00000.bin");
    let resealed = |change: &dyn Fn(&mut [u8])| {
        let mut bin = bin.clone();
        change(&mut bin);
        let crc = crc32c::crc32c(&bin[..1020]);
        bin[1020..1024].copy_from_slice(&crc.to_le_bytes());
        check_shard(&bin[..], path, &gbx, |_| ()).map(|_| ())
    };
    typed(
        resealed(&|b| b[24..32].copy_from_slice(&u64::MAX.to_le_bytes())),
        "tokens",
    );
    typed(
        resealed(&|b| b[32..40].copy_from_slice(&u64::MAX.to_le_bytes())),
        "documents",
    );
    typed(
        resealed(&|b| b[8..12].copy_from_slice(&i32::MAX.to_le_bytes())),
        "count",
    );
    typed(
        resealed(&|b| b[44..48].copy_from_slice(&10u32.to_le_bytes())),
        "vocabulary below the largest id",
    );
    typed(resealed(&|b| b[64] = 3), "layout");
    assert!(matches!(
        resealed(&|b| b[16] = 2),
        Err(Error::ShardVersion { .. })
    ));
    assert!(matches!(
        resealed(&|b| b[20] = 1),
        Err(Error::ShardVersion { .. })
    ));
    assert!(
        resealed(&|b| b[22] = 1).is_ok(),
        "a feature that may be ignored"
    );
}

/// A shard with valid checksums whose ids leave the vocabulary was made by a faulty program; it must not reach a GPU.
#[test]
fn forged_ids_are_refused() {
    let tokens: Vec<u8> = [1u16, 2, 299, 300]
        .iter()
        .flat_map(|id| id.to_le_bytes())
        .collect();
    let sidecar = Sidecar {
        doc_ends: vec![4],
        block_sums: vec![xxhash_rust::xxh3::xxh3_64(&tokens)],
    };
    let gbx = sidecar.to_bytes(&[1; 16]);
    let header = Header {
        token_type: TokenType::U16,
        tokens: 4,
        documents: 1,
        vocab_size: 300,
        max_token: 299,
        bos: None,
        eos: None,
        id: [1; 16],
        index: 0,
        fingerprint: [0; 32],
        tokens_digest: xxhash_rust::xxh3::xxh3_128(&tokens).to_le_bytes(),
        sidecar_digest: xxhash_rust::xxh3::xxh3_128(&gbx).to_le_bytes(),
        source_bytes: 4,
        work: [0; 16],
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forged.bin");
    std::fs::write(&path, [&header.to_bytes()[..], &tokens].concat()).unwrap();
    std::fs::write(path.with_extension("gbx"), gbx).unwrap();
    for verify in [Verify::Open, Verify::Lazy] {
        let options = ReaderOptions {
            verify,
            ..ReaderOptions::default()
        };
        let result = ShardReader::open(&path, options).and_then(|reader| read_all(&reader));
        typed(result.map(|_| ()), "forged");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let path = Path::new("x");
        prop_assert!(check_shard(&bytes[..], path, &bytes, |_| ()).is_err());
        prop_assert!(Manifest::parse(&bytes, path).is_err());
    }
}
