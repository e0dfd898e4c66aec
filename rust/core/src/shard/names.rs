//! The names of the files in a dataset's folder.
//!
//! There are two of each. A writer that replaces a dataset writes under the names of [`Names::New`], so that the old one
//! can be read until the new one is whole; afterwards the files get their final names.

use super::manifest::{MANIFEST_NAME, Manifest, TOKENIZER_NAME};

/// Which of the two names the files of a dataset have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// `shard-00000.bin`, `tokenizer.json`
    Final,
    /// `shard-00000.new.bin`, `tokenizer.new.json`
    New,
}

/// Which inputs the shards in a folder were made of.
pub(super) const JOURNAL_NAME: &str = ".inputs.json";
const NEW_JOURNAL_NAME: &str = ".inputs.new.json";
const NEW_TOKENIZER_NAME: &str = "tokenizer.new.json";

impl Names {
    pub(super) const BOTH: [Self; 2] = [Self::Final, Self::New];

    /// The names that the files of a dataset have.
    pub(super) fn of(manifest: &Manifest) -> Self {
        let shards = manifest.shards.iter().map(|shard| shard.file.as_str());
        let tokenizer = manifest.tokenizer.file.as_deref();
        let is_new =
            |name| name == NEW_TOKENIZER_NAME || matches!(shard_of(name), Some((Self::New, _, _)));
        if shards.chain(tokenizer).any(is_new) {
            Self::New
        } else {
            Self::Final
        }
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::Final => Self::New,
            Self::New => Self::Final,
        }
    }

    /// The `.bin` file of a shard; its sidecar ends in `.gbx` instead.
    pub(super) fn shard(self, number: u32) -> String {
        match self {
            Self::Final => format!("shard-{number:05}.bin"),
            Self::New => format!("shard-{number:05}.new.bin"),
        }
    }

    pub(super) fn tokenizer(self) -> &'static str {
        match self {
            Self::Final => TOKENIZER_NAME,
            Self::New => NEW_TOKENIZER_NAME,
        }
    }

    /// What the manifest says of that name, which is nothing where it is the usual one.
    pub(super) fn tokenizer_entry(self) -> Option<String> {
        (self == Self::New).then(|| NEW_TOKENIZER_NAME.to_owned())
    }

    pub(super) fn journal(self) -> &'static str {
        match self {
            Self::Final => JOURNAL_NAME,
            Self::New => NEW_JOURNAL_NAME,
        }
    }

    /// The number of the shard that has a file of that name.
    pub(super) fn shard_number(self, name: &str) -> Option<u32> {
        shard_of(name)
            .filter(|found| found.0 == self)
            .map(|found| found.1)
    }
}

/// The final name of a shard's file.
pub(super) fn final_name(name: &str) -> String {
    shard_of(name).map_or_else(
        || name.to_owned(),
        |(_, number, _)| Names::Final.shard(number),
    )
}

/// Whether a name is that of a shard's `.bin` file.
pub(super) fn is_token_file(name: &str) -> bool {
    matches!(shard_of(name), Some((_, _, "bin")))
}

/// What the name of a shard's file says: names, number, extension.
fn shard_of(name: &str) -> Option<(Names, u32, &str)> {
    let (stem, rest) = name.split_once('.')?;
    let (names, extension) = match rest.strip_prefix("new.") {
        Some(extension) => (Names::New, extension),
        None => (Names::Final, rest),
    };
    let number = stem.strip_prefix("shard-")?.parse().ok()?;
    let canonical = format!("shard-{number:05}") == stem && matches!(extension, "bin" | "gbx");
    canonical.then_some((names, number, extension))
}

/// The hidden file in which a shard is written.
pub(super) fn temporary(name: &str) -> String {
    format!(".{name}.tmp")
}

/// Whether a file is one that a killed writer left half written.
pub(super) fn is_temporary(name: &str) -> bool {
    let Some((target, mark)) = name
        .strip_prefix('.')
        .and_then(|name| name.rsplit_once(".tmp"))
    else {
        return false;
    };
    let ours = target == MANIFEST_NAME
        || shard_of(target).is_some()
        || Names::BOTH
            .iter()
            .any(|names| target == names.tokenizer() || target == names.journal());
    // `.tmp`, or `.tmp-PROCESS-NUMBER`
    let numbers = |mark: &str| {
        mark.bytes()
            .all(|byte| byte == b'-' || byte.is_ascii_digit())
    };
    ours && numbers(mark)
}
