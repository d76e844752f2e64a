//! Names of files: relative paths, the active file and the ones rotated away.
//!
//! A rotated file is the active one's name with the last sequence in it: `late.jsonl.00000000000000000420`. The rename is one
//! step, so that a crash leaves either the old names or the new ones.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use millstream_connector_api::Environment;

/// Digits of a sequence in a name, so that names sort as sequences do.
const SEQ_DIGITS: usize = 20;

/// A relative path starts at the environment's folder.
pub(crate) fn resolve(path: &Path, environment: &Environment) -> PathBuf {
    match &environment.base_dir {
        Some(base) => base.join(path),
        None => path.to_owned(),
    }
}

/// The rotated files of an active one, oldest first.
pub(crate) fn rotated(active: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(name) = active.file_name().and_then(|name| name.to_str()) else {
        return Ok(Vec::new());
    };
    let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder(active))? {
        let entry = entry?;
        let is_ours = entry
            .file_name()
            .to_str()
            .and_then(|other| other.strip_prefix(name)?.strip_prefix('.'))
            .is_some_and(is_suffix);
        if is_ours {
            found.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    // By time first: a station that was made anew counts from 1 again.
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn is_suffix(suffix: &str) -> bool {
    let digits = suffix.split('.').next().unwrap_or_default();
    digits.len() == SEQ_DIGITS
        && suffix
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// Moves the active file out of the way and removes the oldest beyond `keep`.
pub(crate) fn rotate(active: &Path, last_seq: u64, keep: usize) -> io::Result<()> {
    let free = |round: u32| {
        let mut name = active.as_os_str().to_owned();
        name.push(format!(".{last_seq:0SEQ_DIGITS$}"));
        if round > 0 {
            name.push(format!(".{round}"));
        }
        PathBuf::from(name)
    };
    let target = (0..)
        .map(free)
        .find(|path| !path.exists())
        .expect("invariant: names do not run out");
    fs::rename(active, target)?;
    sync_folder(active)?;
    let rotated = rotated(active)?;
    for path in &rotated[..rotated.len().saturating_sub(keep)] {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Makes names durable: a new, renamed or removed file is a change of its folder.
pub(crate) fn sync_folder(file: &Path) -> io::Result<()> {
    fs::File::open(folder(file))?.sync_all()
}

fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
