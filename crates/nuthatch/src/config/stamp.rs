//! What tells whether a file is another one than when it was read.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What tells a file from another one under the same path. An absent file has no stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    target: PathBuf,
    file: (u64, u64),
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let target = fs::canonicalize(path).ok()?;
        let found = fs::metadata(&target).ok()?;
        Some(Self {
            target,
            file: (found.dev(), found.ino()),
            size: found.size(),
            changed: (found.mtime(), found.mtime_nsec()),
        })
    }
}
