//! The end of a writer's work: the files that the manifest does not list go, and those that it lists get their final names.
//!
//! A dataset that replaced another has files of other names ([`Names::New`]) when its manifest is written. Each gets
//! its final name as a second one (a hard link), a manifest with the final names takes the place of the first, and
//! then the other names go: a process that ends at any point leaves a whole dataset. Where the file system
//! has no hard links the other names stay.

use std::path::{Path, PathBuf};

use super::folder::Folder;
use super::manifest::{MANIFEST_NAME, Manifest};
use super::names::{Names, final_name};
use crate::Result;
use crate::publish::{atomic_write_here, io_error, remove_quietly, sync_folder};

/// Removes what is not of this dataset, and gives its files their final names; returns what is then in the manifest.
pub(super) fn settle(folder: &Folder, manifest: Manifest) -> Result<Manifest> {
    let names = Names::of(&manifest);
    let count = manifest.shards.len() as u32;
    let old = names.other();
    folder.remove(|name| {
        old.shard_number(name).is_some()
            || names
                .shard_number(name)
                .is_some_and(|number| number >= count)
    })?;
    if names == Names::Final {
        let left = [Names::New.tokenizer(), Names::New.journal()];
        folder.remove(|name| left.contains(&name))?;
        return Ok(manifest);
    }
    if !link_shards(folder, &manifest) {
        return Ok(manifest);
    }
    for (name, other) in [
        (Names::Final.tokenizer(), Names::New.tokenizer()),
        (Names::Final.journal(), Names::New.journal()),
    ] {
        if let Some(bytes) = folder.read(other)? {
            atomic_write_here(&folder.join(name), &bytes)?;
        }
    }
    sync_folder(&folder.0).map_err(|source| io_error("write", &folder.0, source))?;
    let settled = manifest.renamed(final_name, None);
    atomic_write_here(&folder.join(MANIFEST_NAME), &settled.to_bytes())?;
    let others = [Names::New.tokenizer(), Names::New.journal()];
    folder.remove(|name| Names::New.shard_number(name).is_some() || others.contains(&name))?;
    Ok(settled)
}

/// Gives all shards their final names besides the others, or none.
fn link_shards(folder: &Folder, manifest: &Manifest) -> bool {
    let mut made: Vec<PathBuf> = Vec::new();
    for entry in &manifest.shards {
        for extension in ["bin", "gbx"] {
            let with = |name: &str| folder.0.join(Path::new(name).with_extension(extension));
            let (from, to) = (with(&entry.file), with(&final_name(&entry.file)));
            if std::fs::hard_link(from, &to).is_err() {
                for path in &made {
                    remove_quietly(path);
                }
                return false;
            }
            made.push(to);
        }
    }
    true
}
