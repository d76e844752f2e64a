//! Whether a followed path still names the file that is open.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// True when the open file is shorter than what was read of it, or the path names another file now. A path that names
/// nothing for the moment is between two files: wait.
pub(crate) fn was_replaced(path: &Path, open: &File, read: u64) -> bool {
    let Ok(open) = open.metadata() else {
        return true;
    };
    if open.len() < read {
        return true;
    }
    fs::metadata(path).is_ok_and(|named| (named.dev(), named.ino()) != (open.dev(), open.ino()))
}
