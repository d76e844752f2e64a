//! Open files, a bounded number of them: a journal of thousands of files must not use up the process's descriptors.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::storage::{Storage, StorageFile};

/// The files read last. What is evicted closes when its last reader is done.
#[derive(Debug)]
pub(crate) struct Handles {
    limit: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    open: HashMap<u32, (Arc<dyn StorageFile>, u64)>,
    clock: u64,
}

impl Inside {
    fn insert(&mut self, id: u32, file: Arc<dyn StorageFile>, limit: usize) {
        self.clock += 1;
        self.open.insert(id, (file, self.clock));
        while self.open.len() > limit {
            // Only when a file is opened, which costs more than this look at a few hundred.
            let oldest = self.open.iter().min_by_key(|(_, (_, used))| *used);
            let Some(oldest) = oldest.map(|(id, _)| *id) else {
                break;
            };
            self.open.remove(&oldest);
        }
    }
}

impl Handles {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            inside: Mutex::default(),
        }
    }

    /// The file with this number, opened when it is not open yet. When the process has no descriptor left, all the
    /// others are closed first.
    pub(crate) fn get(
        &self,
        id: u32,
        name: &str,
        storage: &dyn Storage,
    ) -> io::Result<Arc<dyn StorageFile>> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.clock += 1;
        let clock = inside.clock;
        if let Some((file, used)) = inside.open.get_mut(&id) {
            *used = clock;
            return Ok(Arc::clone(file));
        }
        drop(inside);
        let file = match storage.open(name) {
            Err(error) if is_out_of_files(&error) => {
                self.close_all();
                storage.open(name)?
            }
            opened => opened?,
        };
        self.put(id, Arc::clone(&file));
        Ok(file)
    }

    pub(crate) fn put(&self, id: u32, file: Arc<dyn StorageFile>) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.insert(id, file, self.limit);
    }

    pub(crate) fn close(&self, id: u32) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.open.remove(&id);
    }

    pub(crate) fn close_all(&self) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.open.clear();
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.open.len()
    }
}

/// Whether the process, or the machine, has no descriptor left.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::{Handles, is_out_of_files};
    use crate::{MemoryStorage, Storage as _};

    #[test]
    fn the_files_used_last_stay_open() {
        let storage = MemoryStorage::new();
        let handles = Handles::new(3);
        for id in 1..=5 {
            storage.create(&id.to_string(), 0).expect("created");
        }
        for id in [1, 2, 3, 1, 4, 5] {
            handles.get(id, &id.to_string(), &storage).expect("there");
            assert!(handles.count() <= 3);
        }
        // What is open is not looked for by name.
        for id in [1, 4, 5] {
            handles.get(id, "nowhere", &storage).expect("still open");
        }
        assert!(handles.get(2, "nowhere", &storage).is_err());
        handles.close(4);
        assert!(handles.get(4, "nowhere", &storage).is_err());
        assert_eq!(handles.count(), 2);
    }

    #[test]
    fn only_a_lack_of_descriptors_is_one() {
        let errors = [(23, true), (24, true), (5, false), (28, false)];
        for (number, lack) in errors {
            assert_eq!(
                is_out_of_files(&std::io::Error::from_raw_os_error(number)),
                lack
            );
        }
    }
}
