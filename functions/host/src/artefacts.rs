//! Compiled modules on disk, so that a start of the server does not compile again what takes the compiler seconds.
//!
//! A file holds what the engine wrote and nothing else, so that it can be mapped. Its name says what it is:
//! `<module>-<engine>-<length>-<sum>.cwasm`, with the SHA-256 of the module as it was deployed, a hash of the engine's
//! version, target and settings, the file's length, and the CRC-32C of its bytes. A file of another engine is not looked
//! at; one that is damaged is removed, and the module compiled again.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::cache::Key;

/// Bytes of all artefacts; those that were used longest ago leave first.
const MAX_BYTES: u64 = 2 << 30;
const ENDING: &str = ".cwasm";

/// The folder of artefacts.
#[derive(Debug)]
pub(crate) struct Artefacts {
    folder: PathBuf,
    engine: String,
}

impl Artefacts {
    pub(crate) fn open(folder: &Path, engine: &Engine) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self {
            folder: folder.to_owned(),
            engine: format!("{:016x}", hasher.finish()),
        })
    }

    fn prefix(&self, module: &Key) -> String {
        let module: String = module.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{module}-{}-", self.engine)
    }

    /// The compiled module, when it is there and whole.
    pub(crate) fn get(&self, engine: &Engine, module: &Key) -> Option<Component> {
        let prefix = self.prefix(module);
        let path = self.find(&prefix)?;
        match load(engine, &path, &prefix) {
            Ok(component) => {
                // Only the order of leaving depends on it.
                let _stays = File::options()
                    .append(true)
                    .open(&path)
                    .and_then(|file| file.set_modified(SystemTime::now()));
                Some(component)
            }
            Err(why) => {
                tracing::warn!(target: "functions", "compiled module `{}` is not used: {why}; it is compiled again", path.display());
                // What cannot be removed is found damaged again next time.
                let _gone = fs::remove_file(&path);
                None
            }
        }
    }

    fn find(&self, prefix: &str) -> Option<PathBuf> {
        let entries = fs::read_dir(&self.folder).ok()?;
        let found = entries.flatten().find(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with(prefix) && name.ends_with(ENDING)
        });
        found.map(|entry| entry.path())
    }

    /// Keeps a compiled module; a failure costs a compilation later and nothing else.
    pub(crate) fn put(&self, module: &Key, component: &Component) {
        if let Err(error) = self.write(module, component) {
            tracing::warn!(target: "functions", "compiled module is not kept in `{}`: {error}", self.folder.display());
        }
    }

    fn write(&self, module: &Key, component: &Component) -> io::Result<()> {
        let bytes = component.serialize().map_err(io::Error::other)?;
        let prefix = self.prefix(module);
        let (length, sum) = (bytes.len(), crc32c::crc32c(&bytes));
        let path = self
            .folder
            .join(format!("{prefix}{length}-{sum:08x}{ENDING}"));
        let draft = self.folder.join(format!("{prefix}.new"));
        let mut file = File::create(&draft)?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        fs::rename(&draft, &path)?;
        self.prune()
    }

    fn prune(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)?.flatten() {
            let about = entry.metadata()?;
            files.push((about.modified()?, about.len(), entry.path()));
        }
        files.sort();
        let mut bytes: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in files {
            if bytes <= MAX_BYTES {
                break;
            }
            fs::remove_file(path)?;
            bytes -= size;
        }
        Ok(())
    }
}

/// A file's length and CRC-32C, read piece by piece: it is mapped afterwards and need not be in memory twice.
fn summed(path: &Path) -> io::Result<(u64, u32)> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 256 << 10];
    let (mut length, mut sum) = (0, 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((length, sum)),
            read => {
                length += read as u64;
                sum = crc32c::crc32c_append(sum, &buffer[..read]);
            }
        }
    }
}

#[expect(
    unsafe_code,
    reason = "native code can only be loaded by trusting it; the alternative, compiling a 12 MB JavaScript function \
              again at every start, was measured at 13 s against a few milliseconds"
)]
fn load(engine: &Engine, path: &Path, prefix: &str) -> Result<Component, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let rest = name
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_suffix(ENDING));
    let (length, sum) = rest
        .and_then(|rest| rest.split_once('-'))
        .ok_or("its name is none of ours")?;
    let found = summed(path).map_err(|error| error.to_string())?;
    if (length.parse(), u32::from_str_radix(sum, 16)) != (Ok(found.0), Ok(found.1)) {
        return Err("it is damaged".to_owned());
    }
    // SAFETY: the file was written by this engine (its version, target and settings are in the name, and the engine checks
    // them again) and is whole (length and checksum are in the name). It lies in the server's own store: whoever can write
    // there can replace the journal, the modules and most likely the server as well.
    unsafe { Component::deserialize_file(engine, path) }.map_err(|error| format!("{error:#}"))
}
