//! What a writer finds in its folder, and what it makes of it.
//!
//! | in the folder | without `force` | with `force` |
//! |---|---|---|
//! | nothing | a new dataset | a new dataset |
//! | the whole dataset of this work and these inputs | nothing to do | written again, see below |
//! | shards of this work and these inputs, no manifest or a damaged set | the whole ones are kept, the rest is written | removed |
//! | any other dataset, or the shards of an unfinished one | refused | an unfinished one is removed |
//!
//! A dataset that is replaced stays as it is, and readable, until the new one is whole: the new files have other names
//! ([`Names`]), the manifest is what changes from one to the other, and then the old files are removed.

use super::folder::Folder;
use super::format::hex;
use super::manifest::{MANIFEST_NAME, Manifest, ShardEntry};
use super::names::{Names, is_temporary};
use crate::publish::{io_error, sync_folder};
use crate::{Error, Result};

/// What a writer asks for.
pub(super) struct Request<'a> {
    pub(super) work: [u8; 16],
    /// Keep what is there of the same work, whatever the journal says.
    pub(super) resume: bool,
    /// Keep it if the journal in the folder says just this.
    pub(super) journal: Option<&'a [u8]>,
    pub(super) force: bool,
}

/// How a writer begins.
pub(super) enum Stock {
    /// The dataset is there, whole.
    Finished(Box<Manifest>),
    /// Some shards are there, or none.
    Unfinished {
        names: Names,
        done: Vec<ShardEntry>,
        documents: u64,
        /// Another dataset is there until this one is whole.
        replaces: bool,
    },
}

/// Looks for the whole dataset and changes nothing.
pub(super) fn find_whole(folder: &Folder, request: &Request<'_>) -> Result<Option<Manifest>> {
    let Some(bytes) = folder.read(MANIFEST_NAME)? else {
        return Ok(None);
    };
    if request.force {
        return Ok(None);
    }
    let manifest = Manifest::parse(&bytes, &folder.join(MANIFEST_NAME)).ok();
    Ok(manifest.filter(|manifest| {
        manifest.work == hex(&request.work)
            && request.is_of_same_inputs(folder, Names::of(manifest))
            && folder.is_whole(manifest)
    }))
}

/// Looks at what is in the folder, decides what of it stays, and removes the rest; the caller has the lock.
pub(super) fn take_stock(folder: &Folder, request: &Request<'_>) -> Result<Stock> {
    let path = folder.join(MANIFEST_NAME);
    let bytes = folder.read(MANIFEST_NAME)?;
    let (old, repaired) = match bytes.map(|bytes| Manifest::parse(&bytes, &path)) {
        None => {
            let stock = take_unfinished(folder, request, Names::Final)?;
            folder.remove(is_temporary)?;
            return Ok(stock);
        }
        Some(Ok(manifest)) => {
            let names = Names::of(&manifest);
            let same = !request.force
                && manifest.work == hex(&request.work)
                && request.is_of_same_inputs(folder, names);
            if same && folder.is_whole(&manifest) {
                folder.remove(is_temporary)?;
                return Ok(Stock::Finished(Box::new(manifest)));
            }
            (names, same)
        }
        Some(Err(error)) => {
            let shard = |&names: &Names| folder.valid_shard(names, 0, request.work).is_some();
            let found = Names::BOTH.into_iter().find(shard);
            let same = !request.force
                && matches!(error, Error::ShardCorrupt { .. })
                && found.is_some_and(|names| request.is_of_same_inputs(folder, names))
                && folder.is_of(found.unwrap_or(Names::Final), request.work)?;
            (found.unwrap_or(Names::Final), same)
        }
    };
    if !repaired && !request.force {
        return exists(folder);
    }
    folder.remove(is_temporary)?;
    if repaired {
        // From here on no manifest may speak of shards that are being replaced.
        std::fs::remove_file(&path)
            .and_then(|()| sync_folder(&folder.0))
            .map_err(|source| io_error("replace", &path, source))?;
        return keep_whole(folder, request, old);
    }
    // What a killed writer left beside the old dataset.
    let names = old.other();
    folder.remove(|name| names.shard_number(name).is_some() || name == names.journal())?;
    Ok(Stock::Unfinished {
        names,
        done: Vec::new(),
        documents: 0,
        replaces: true,
    })
}

impl Request<'_> {
    fn is_of_same_inputs(&self, folder: &Folder, names: Names) -> bool {
        let stored = || folder.read(names.journal()).ok().flatten();
        self.resume
            || self
                .journal
                .is_some_and(|journal| stored().is_some_and(|stored| stored == journal))
    }
}

/// There is no manifest: whose are the shards, if there are any?
fn take_unfinished(folder: &Folder, request: &Request<'_>, names: Names) -> Result<Stock> {
    if request.force {
        folder.remove(|name| {
            Names::BOTH
                .iter()
                .any(|names| names.shard_number(name).is_some())
        })?;
    } else if !folder.is_of(names, request.work)?
        || folder.has_shards(names)? && !request.is_of_same_inputs(folder, names)
    {
        return exists(folder);
    }
    keep_whole(folder, request, names)
}

/// Keeps the complete shards of a killed run of the same work.
fn keep_whole(folder: &Folder, request: &Request<'_>, names: Names) -> Result<Stock> {
    let mut done = Vec::new();
    let mut documents = 0;
    // The last shard of a run is closed because the documents end. It looks like a full one; but then nothing is
    // left to write except the manifest.
    while let Some(header) = folder.valid_shard(names, done.len() as u32, request.work) {
        documents += header.documents;
        done.push(ShardEntry::new(names.shard(header.index), &header));
    }
    if done.is_empty() {
        // The journal goes last: without it, what is left of a shard would be somebody's, and the next run refused.
        folder.remove(|name| names.shard_number(name).is_some())?;
        folder.remove(|name| name == names.journal())?;
    }
    Ok(Stock::Unfinished {
        names,
        done,
        documents,
        replaces: false,
    })
}

fn exists<T>(folder: &Folder) -> Result<T> {
    Err(Error::ShardExists {
        path: folder.0.clone(),
    })
}
