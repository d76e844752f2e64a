//! Function modules beside the journal, under the digest of their bytes: the catalog names a digest only after the bytes
//! are safely there, so a command never points at nothing.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

/// The folder of modules.
#[derive(Clone, Debug)]
pub(crate) struct Blobs {
    folder: PathBuf,
}

/// SHA-256 in hex.
pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Blobs {
    /// Opens the folder below a store.
    pub(crate) fn open(store: &Path) -> anyhow::Result<Self> {
        let folder = store.join("modules");
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create `{}`", folder.display()))?;
        Ok(Self { folder })
    }

    /// Where what is compiled from modules is kept.
    pub(crate) fn artefacts(&self) -> PathBuf {
        self.folder.with_file_name("compiled")
    }

    /// Stores bytes and answers their digest once a power cut cannot take them away.
    pub(crate) fn put(&self, bytes: &[u8]) -> anyhow::Result<String> {
        let name = digest(bytes);
        let path = self.folder.join(&name);
        if self.get(&name).is_ok() {
            return Ok(name);
        }
        let draft = self.folder.join(format!("{name}.new"));
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&draft)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write()
            .with_context(|| format!("cannot store the module in `{}`", self.folder.display()))?;
        Ok(name)
    }

    /// The bytes under a digest, verified.
    pub(crate) fn get(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let path = self.folder.join(name);
        let bytes = fs::read(&path).with_context(|| {
            format!(
                "module `{}` is missing; apply the function again",
                path.display()
            )
        })?;
        if digest(&bytes) != name {
            bail!(
                "module `{}` is damaged; apply the function again",
                path.display()
            );
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::Blobs;

    #[test]
    fn what_is_put_is_got_and_damage_is_named() {
        let folder = tempfile::tempdir().expect("folder");
        let blobs = Blobs::open(folder.path()).expect("open");
        let name = blobs.put(b"module").expect("put");
        assert_eq!(blobs.put(b"module").expect("again"), name);
        assert_eq!(blobs.get(&name).expect("get"), b"module");
        std::fs::write(folder.path().join("modules").join(&name), b"nodule").expect("damage");
        assert!(
            blobs
                .get(&name)
                .expect_err("damaged")
                .to_string()
                .contains("damaged")
        );
        assert_eq!(blobs.put(b"module").expect("repaired"), name);
        assert!(
            blobs
                .get("absent")
                .expect_err("missing")
                .to_string()
                .contains("missing")
        );
    }
}
