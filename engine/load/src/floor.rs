//! What the disk alone takes: a bare write and fdatasync, in the folder where a server keeps its store. Latencies of durable
//! publishes are held against it, because a disk's sync time moves by the minute.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{LoadError, Result};
use crate::latency::Latency;

/// Bytes laid out before an in-place measurement, and where it begins anew.
const LAID_OUT: u64 = 16 << 20;

/// Where each write goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Behind the last one in a file that has its blocks and its length: a sync flushes data only.
    InPlace,
    /// At the end of a file that grows: a sync flushes the file's new length, too.
    Append,
}

/// A file to measure with; removed when dropped.
#[derive(Debug)]
pub struct Floor {
    file: File,
    path: PathBuf,
    place: Place,
    at: u64,
}

impl Floor {
    /// Makes the file in `folder`, which should be on the disk of the server's store.
    ///
    /// # Errors
    /// When the file cannot be made or laid out.
    pub fn new(folder: &Path, place: Place) -> Result<Self> {
        let path = folder.join(format!("floor-{}-{place:?}", std::process::id()));
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .open(&path)
            .map_err(LoadError::Disk)?;
        let floor = Self {
            file,
            path,
            place,
            at: 0,
        };
        if place == Place::InPlace {
            let zeros = vec![0; 1 << 20];
            for at in (0..LAID_OUT).step_by(zeros.len()) {
                floor
                    .file
                    .write_all_at(&zeros, at)
                    .map_err(LoadError::Disk)?;
            }
            floor.file.sync_all().map_err(LoadError::Disk)?;
        }
        Ok(floor)
    }

    /// Writes `bytes` and syncs, again and again for `time`, three times at least.
    ///
    /// # Errors
    /// When the disk fails or is full.
    pub fn measure(&mut self, bytes: usize, time: Duration) -> Result<Latency> {
        let data = vec![b'x'; bytes];
        let mut latency = Latency::default();
        let since = Instant::now();
        while latency.count() < 3 || since.elapsed() < time {
            let begin = Instant::now();
            self.once(&data).map_err(LoadError::Disk)?;
            latency.record(begin.elapsed());
        }
        Ok(latency)
    }

    fn once(&mut self, data: &[u8]) -> std::io::Result<()> {
        let length = data.len() as u64;
        if self.place == Place::InPlace && self.at + length > LAID_OUT {
            self.at = 0;
        }
        self.file.write_all_at(data, self.at)?;
        self.at += length;
        self.file.sync_data()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // The folder may be gone with everything in it.
        let _gone = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Floor, LAID_OUT, Place};

    #[test]
    fn it_measures_and_leaves_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        for place in [Place::InPlace, Place::Append] {
            let mut floor = Floor::new(folder.path(), place).expect("file");
            floor.at = LAID_OUT - 10;
            let latency = floor.measure(170, Duration::ZERO).expect("measured");
            assert_eq!(latency.count(), 3);
            assert!(latency.quantile(0.5) > Duration::ZERO);
            let length = floor.file.metadata().expect("metadata").len();
            if place == Place::InPlace {
                assert_eq!(length, LAID_OUT, "it grew");
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 0);
    }
}
