//! A file that is read bit by bit.

use std::fs::File;
use std::path::{Path, PathBuf};

use gptbpe_core::Error;
use pyo3::PyResult;

use crate::error::to_python;

/// The file that is open, if one is.
#[derive(Default)]
pub(crate) struct Opened(Option<(File, PathBuf)>);

impl Opened {
    /// Goes on with another file.
    pub(crate) fn open(&mut self, path: PathBuf) -> PyResult<()> {
        let file = File::open(&path).map_err(|source| {
            to_python(Error::Io {
                action: "read",
                path: path.clone(),
                source,
            })
        })?;
        self.0 = Some((file, path));
        Ok(())
    }

    /// How many bytes `read` took from the file: none at its end, where it is closed, and without one.
    pub(crate) fn read(
        &mut self,
        read: impl FnOnce(&mut File, &Path) -> PyResult<usize>,
    ) -> PyResult<usize> {
        let Some((file, path)) = &mut self.0 else {
            return Ok(0);
        };
        let count = read(file, path)?;
        if count == 0 {
            self.0 = None;
        }
        Ok(count)
    }
}
