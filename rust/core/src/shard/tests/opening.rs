//! Files of other programs, and what a manifest may not say.

use super::*;
use crate::shard::format;

#[test]
fn token_files_without_our_extension_are_read() {
    for token_type in [TokenType::U16, TokenType::U32] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("train_000001.bin"),
            plain_file(token_type, &[1, 2, 3]),
        )
        .unwrap();
        std::fs::write(
            folder.path().join("train_000002.bin"),
            plain_file(token_type, &[40_000]),
        )
        .unwrap();
        let reader = ShardReader::open(folder.path(), ReaderOptions::default()).unwrap();
        assert_eq!(read_all(&reader).unwrap(), [1, 2, 3, 40_000]);
        assert_eq!(
            (
                reader.vocab_size(),
                reader.fingerprint(),
                reader.documents(0).unwrap()
            ),
            (None, None, None)
        );
        let options = ReaderOptions {
            vocab_size: Some(1000),
            ..ReaderOptions::default()
        };
        let reader = ShardReader::open(folder.path(), options).unwrap();
        typed(
            read_all(&reader).map(|_| ()),
            "an id above the stated vocabulary",
        );
        let path = folder.path().join("train_000001.bin");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        typed(
            ShardReader::open(folder.path(), ReaderOptions::default()).map(|_| ()),
            "cut",
        );
    }
}

#[test]
fn raw_arrays_are_read_when_their_type_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.bin");
    std::fs::write(&path, [1u16, 2, 299].map(u16::to_le_bytes).concat()).unwrap();
    let reader = ShardReader::open_raw(&path, TokenType::U16, 300, Io::Map).unwrap();
    assert_eq!(read_all(&reader).unwrap(), [1, 2, 299]);
    let reader = ShardReader::open_raw(&path, TokenType::U16, 299, Io::Map).unwrap();
    typed(
        read_all(&reader).map(|_| ()),
        "an id above the stated vocabulary",
    );
    typed(
        ShardReader::open_raw(&path, TokenType::U32, 300, Io::Map).map(|_| ()),
        "half a token",
    );
    let opened = ShardReader::open(&path, ReaderOptions::default());
    assert!(
        matches!(opened, Err(Error::NoTokenFile { .. })),
        "no header"
    );
    std::fs::write(&path, b"").unwrap();
    let empty = ShardReader::open_raw(&path, TokenType::U16, 300, Io::Map).unwrap();
    assert_eq!(read_all(&empty).unwrap(), [0i64; 0]);
}

#[test]
fn a_manifest_cannot_lead_out_of_its_folder() {
    let data = Dataset::new(300, 500, &[vec![1]]);
    let bytes = String::from_utf8(std::fs::read(data.file("manifest.json")).unwrap()).unwrap();
    for name in [
        "../shard-00000.bin",
        "/etc/x.bin",
        "a/b.bin",
        "..",
        "passwd",
    ] {
        let forged = bytes.replace("shard-00000.bin", name);
        let body = &forged[..forged.rfind(",\n  \"digest\"").unwrap()];
        let digest = format::hex(&<sha2::Sha256 as sha2::Digest>::digest(body));
        let forged = format!("{body},\n  \"digest\": \"{digest}\"\n}}\n");
        typed(
            Manifest::parse(forged.as_bytes(), Path::new("manifest.json")).map(|_| ()),
            name,
        );
    }
}
