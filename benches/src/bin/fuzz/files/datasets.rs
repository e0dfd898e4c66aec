//! Datasets on disk of which a file was changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use gptbpe_benches::Random;
use gptbpe_core::shard::reader::Tokens;
use gptbpe_core::shard::{Io, ReaderOptions, ShardReader, ShardWriter, Verify, WriterOptions};
use sha2::{Digest, Sha256};

use super::mutate::mutate;
use crate::report::{Report, caught, escaped};

/// Changed datasets for each sound one.
const EACH: u64 = 100;
const FILES: [&str; 3] = ["shard-00000.bin", "shard-00000.gbx", "manifest.json"];
const VOCAB: u32 = 300;
/// What stands between the manifest's checksum and the bytes that it is of, and after it.
const DIGEST: (&str, &str) = (",\n  \"digest\": \"", "\"\n}\n");

/// A small dataset in a folder that goes when this is dropped.
pub(crate) struct Dataset {
    folder: PathBuf,
    sound: Vec<Vec<u8>>,
    tokens: Vec<u32>,
}

impl Dataset {
    pub(crate) fn random(random: &mut Random) -> Result<Self, Report> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("gptbpe-fuzz-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let tokens = write(&folder, random).map_err(|error| format!("a sound dataset: {error}"))?;
        let sound = FILES.map(|name| fs::read(folder.join(name)).unwrap_or_default());
        Ok(Self {
            folder,
            sound: sound.to_vec(),
            tokens,
        })
    }

    /// Changes a file again and again, and reads the dataset each time.
    pub(crate) fn round(&self, random: &mut Random) -> Result<u64, Report> {
        for _ in 0..EACH {
            let at = random.below(FILES.len());
            let mut bytes = self.sound[at].clone();
            let other = &self.sound[random.below(FILES.len())];
            mutate(&mut bytes, other, random);
            let signed = FILES[at] == "manifest.json" && random.below(4) != 0 && sign(&mut bytes);
            let path = self.folder.join(FILES[at]);
            let written = fs::write(&path, &bytes);
            let io = [Io::Map, Io::Pread][random.below(2)];
            let found = caught(|| self.read(io, signed)).unwrap_or_else(Some);
            if let Some(problem) = found.or(written.err().map(|error| error.to_string())) {
                return Err(format!("{problem}\n{}: {}", FILES[at], escaped(&bytes)));
            }
            // Nothing more to do about a disk that refuses: the next dataset says so.
            let _ = fs::write(&path, &self.sound[at]);
        }
        Ok(EACH)
    }

    /// Reads everything; what is wrong with it.
    fn read(&self, io: Io, signed: bool) -> Option<String> {
        let options = ReaderOptions {
            verify: Verify::Lazy,
            io,
            vocab_size: None,
        };
        let reader = ShardReader::open(&self.folder, options).ok()?;
        let (mut found, mut whole) = (Vec::new(), true);
        for shard in 0..reader.shards() {
            let checked = reader.check(shard).is_ok() && reader.documents(shard).is_ok();
            let tokens = reader.tokens(shard, 0, reader.shard_tokens(shard));
            whole &= checked && tokens.is_ok();
            found.extend(tokens.iter().flat_map(wide));
        }
        if let Some(id) = found.iter().find(|&&id| id >= VOCAB) {
            return Some(format!("id {id} of {VOCAB}"));
        }
        // Who signs a manifest may leave a shard out of it.
        (whole && !signed && found != self.tokens).then(|| "other ids, and no error".to_owned())
    }
}

impl Drop for Dataset {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn wide(tokens: &Tokens) -> Vec<u32> {
    match tokens {
        Tokens::U16(ids) => ids.iter().map(|&id| id.into()).collect(),
        Tokens::U32(ids) => ids.clone(),
    }
}

fn write(folder: &Path, random: &mut Random) -> gptbpe_core::Result<Vec<u32>> {
    let mut writer = ShardWriter::create(folder, WriterOptions::new(VOCAB))?;
    let mut tokens = Vec::new();
    for _ in 0..=random.below(5) {
        let length = [0, 1, 30, 3_000][random.below(4)];
        let ids: Vec<u32> = (0..length)
            .map(|_| random.below(VOCAB as usize) as u32)
            .collect();
        writer.write(&ids, ids.len() as u64)?;
        tokens.extend(ids);
    }
    writer.write(&[1_u32], 1)?;
    tokens.push(1);
    writer.finish()?;
    Ok(tokens)
}

/// Makes the checksum of a manifest right again, where one stands in its place.
fn sign(manifest: &mut [u8]) -> bool {
    let (prefix, suffix) = DIGEST;
    let Some(start) = manifest.len().checked_sub(64 + prefix.len() + suffix.len()) else {
        return false;
    };
    let (body, end) = manifest.split_at_mut(start);
    if !end.starts_with(prefix.as_bytes()) || !end.ends_with(suffix.as_bytes()) {
        return false;
    }
    let digest = format!("{:x}", Sha256::digest(body));
    end[prefix.len()..prefix.len() + 64].copy_from_slice(digest.as_bytes());
    true
}
