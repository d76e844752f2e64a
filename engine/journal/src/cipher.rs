//! Encryption of frames' bodies: authenticated, with a key of its own for every run of the journal.
//!
//! ```text
//! encrypted body (flag 4), version 1; integers little endian
//!  0   1  version
//!  1   1  cipher: 1 AES-256-GCM, 2 ChaCha20-Poly1305
//!  2   8  id of the configured key
//! 10  16  salt of the run that wrote it, random
//! 26   8  number of the body in that run
//! 34  ..  the body, encrypted: compressed before, if it is
//!     16  tag
//! ```
//!
//! Keys: `HKDF-SHA256(salt: "millstream journal 1", configured key)` gives with info "id" the 8 bytes of id, and with info
//! "frames", the cipher's byte and the run's salt the 32 bytes that encrypt. The nonce is the number of the body. A run
//! never gives a number twice, not even when a write failed and its place is used again, and two runs never have the same
//! salt (128 random bits), so no key ever meets a nonce twice: also not after a crash, after a restore from a backup, or
//! when a store is copied and both copies are written on. Second copies of a frame are the same bytes, not encrypted again.
//!
//! The 34 bytes in front and what identifies the frame (flags without the one for second copies, group, term, index,
//! stream, records) are authenticated with the body: one that was changed, or put in the place of another, is refused.
//! Sizes, times of writing, and which stream a frame is of are not hidden; a size after compression tells a little of how
//! alike the messages of a batch are. An older copy of the whole store, put back in its place, is not told from it.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, BufMut, Bytes};
use ring::aead::{
    AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use ring::hkdf::{self, HKDF_SHA256};

use crate::error::{BodyError, OpenError};
use crate::frame::{COPY, FrameHeader};

const VERSION: u8 = 1;
const ID: usize = 8;
const SALT: usize = 16;
const PREFIX: usize = 2 + ID + SALT + 8;
const TAG: usize = 16;
/// Bytes that a body gets longer by.
pub(crate) const OVERHEAD: usize = PREFIX + TAG;
/// Derived keys that are remembered: as many as a store has runs of the journal whose frames are read at a time.
const REMEMBERED: usize = 64;

/// How bodies are encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// AES-256-GCM: the faster one where the processor has instructions for it.
    Aes,
    /// ChaCha20-Poly1305.
    #[default]
    ChaCha,
}

impl Cipher {
    fn byte(self) -> u8 {
        match self {
            Self::Aes => 1,
            Self::ChaCha => 2,
        }
    }

    fn of(byte: u8) -> Option<Self> {
        [Self::Aes, Self::ChaCha]
            .into_iter()
            .find(|cipher| cipher.byte() == byte)
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Aes => &AES_256_GCM,
            Self::ChaCha => &CHACHA20_POLY1305,
        }
    }
}

/// Tells which configured key encrypted something; says nothing of the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub(crate) [u8; ID]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A configured key, from which others are derived.
#[derive(Clone)]
struct Key {
    id: KeyId,
    root: hkdf::Prk,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.id, f)
    }
}

impl Key {
    fn new(text: &str) -> Self {
        let root = hkdf::Salt::new(HKDF_SHA256, b"millstream journal 1").extract(text.as_bytes());
        let mut id = [0; ID];
        fill(&root, &[b"id"], &mut id);
        Self {
            id: KeyId(id),
            root,
        }
    }

    fn derive(&self, cipher: Cipher, salt: &[u8; SALT]) -> LessSafeKey {
        let mut bytes = [0; 32];
        fill(&self.root, &[b"frames", &[cipher.byte()], salt], &mut bytes);
        let key = UnboundKey::new(cipher.algorithm(), &bytes);
        LessSafeKey::new(key.expect("invariant: both ciphers take 32 bytes"))
    }
}

/// So many bytes are wanted.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn fill(root: &hkdf::Prk, info: &[&[u8]], out: &mut [u8]) {
    root.expand(info, Length(out.len()))
        .and_then(|okm| okm.fill(out))
        .expect("invariant: HKDF gives up to 255 times 32 bytes");
}

/// The keys of a store. `Debug` shows their ids only.
#[derive(Clone, Debug)]
pub struct Keys {
    cipher: Cipher,
    current: Option<Key>,
    previous: Vec<Key>,
}

impl Keys {
    /// New frames are encrypted with `current`, or not at all without one; those of `current` and `previous` are read. The
    /// texts should be 32 random bytes or more: they are not stretched.
    #[must_use]
    pub fn new<'a>(
        cipher: Cipher,
        current: Option<&str>,
        previous: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self {
            cipher,
            current: current.map(Key::new),
            previous: previous.into_iter().map(Key::new).collect(),
        }
    }

    /// The id of the key that new frames are encrypted with.
    #[must_use]
    pub fn current(&self) -> Option<KeyId> {
        self.current.as_ref().map(|key| key.id)
    }

    fn get(&self, id: KeyId) -> Option<&Key> {
        let mut all = self.current.iter().chain(&self.previous);
        all.find(|key| key.id == id)
    }

    /// Whether frames of this key can be read.
    pub(crate) fn has(&self, id: KeyId) -> bool {
        self.get(id).is_some()
    }
}

/// What identifies a frame, besides its body.
fn identity(prefix: &[u8], header: &FrameHeader) -> [u8; PREFIX + 30] {
    let mut bytes = [0; PREFIX + 30];
    let mut out = &mut bytes[..];
    out.put_slice(prefix);
    out.put_u16_le(header.flags & !COPY);
    out.put_u32_le(header.group);
    out.put_u64_le(header.term);
    out.put_u64_le(header.index);
    out.put_u32_le(header.stream);
    out.put_u32_le(header.count);
    bytes
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// Encrypts the bodies of one run of the journal.
#[derive(Debug)]
pub(crate) struct Sealer {
    cipher: Cipher,
    id: KeyId,
    salt: [u8; SALT],
    key: LessSafeKey,
    next: AtomicU64,
}

impl Sealer {
    /// Of a new run; `None` when there is no key to encrypt with.
    pub(crate) fn new(keys: Option<&Keys>) -> Result<Option<Self>, OpenError> {
        let Some((keys, key)) = keys.and_then(|keys| Some((keys, keys.current.as_ref()?))) else {
            return Ok(None);
        };
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).map_err(|error| OpenError::Random(error.to_string()))?;
        Ok(Some(Self::with_salt(keys.cipher, key, salt)))
    }

    fn with_salt(cipher: Cipher, key: &Key, salt: [u8; SALT]) -> Self {
        Self {
            cipher,
            id: key.id,
            salt,
            key: key.derive(cipher, &salt),
            next: AtomicU64::new(0),
        }
    }

    /// The stored form of a body in two parts, in a frame with this header, of which length and CRC do not count.
    pub(crate) fn seal(&self, header: &FrameHeader, head: &[u8], body: &[u8]) -> Bytes {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut stored = Vec::with_capacity(OVERHEAD + head.len() + body.len());
        stored.put_u8(VERSION);
        stored.put_u8(self.cipher.byte());
        stored.put_slice(&self.id.0);
        stored.put_slice(&self.salt);
        stored.put_u64_le(number);
        stored.put_slice(head);
        stored.put_slice(body);
        let (prefix, rest) = stored.split_at_mut(PREFIX);
        let aad = Aad::from(identity(prefix, header));
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(number), aad, rest)
            .expect("invariant: a body of less than 4 GiB is within both ciphers' limits");
        stored.put_slice(tag.as_ref());
        Bytes::from(stored)
    }
}

/// A run of the journal, by the key and cipher it used and its salt.
type Run = (KeyId, Cipher, [u8; SALT]);

/// Decrypts bodies.
#[derive(Debug)]
pub(crate) struct Opener {
    keys: Option<Keys>,
    /// Keys that were derived: doing so takes longer than decrypting a small body.
    derived: Mutex<HashMap<Run, Arc<LessSafeKey>>>,
}

impl Opener {
    pub(crate) fn new(keys: Option<&Keys>) -> Self {
        Self {
            keys: keys.cloned(),
            derived: Mutex::default(),
        }
    }

    /// The body that was sealed in a frame with this header.
    ///
    /// # Errors
    /// When there is no key for it, or it is not what was sealed there.
    pub(crate) fn open(&self, header: &FrameHeader, stored: &[u8]) -> Result<Bytes, BodyError> {
        let Some((mut prefix, sealed)) = stored
            .split_at_checked(PREFIX)
            .filter(|(_, sealed)| sealed.len() >= TAG)
        else {
            return Err(BodyError::Sealed);
        };
        let aad = Aad::from(identity(prefix, header));
        match prefix.get_u8() {
            VERSION => {}
            version => return Err(BodyError::Version(version)),
        }
        let byte = prefix.get_u8();
        let cipher = Cipher::of(byte).ok_or(BodyError::Version(byte))?;
        let mut id = [0; ID];
        prefix.copy_to_slice(&mut id);
        let mut salt = [0; SALT];
        prefix.copy_to_slice(&mut salt);
        let nonce = nonce(prefix.get_u64_le());
        let key = self.key(KeyId(id), cipher, salt)?;
        let mut body = sealed.to_vec();
        let length = match key.open_in_place(nonce, aad, &mut body) {
            Ok(plain) => plain.len(),
            Err(_unspecified) => return Err(BodyError::Sealed),
        };
        body.truncate(length);
        Ok(Bytes::from(body))
    }

    fn key(
        &self,
        id: KeyId,
        cipher: Cipher,
        salt: [u8; SALT],
    ) -> Result<Arc<LessSafeKey>, BodyError> {
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = derived.get(&(id, cipher, salt)) {
            return Ok(Arc::clone(key));
        }
        let root = self.keys.as_ref().and_then(|keys| keys.get(id));
        let root = root.ok_or(BodyError::Key(id))?;
        let key = Arc::new(root.derive(cipher, &salt));
        if derived.len() >= REMEMBERED {
            derived.clear();
        }
        derived.insert((id, cipher, salt), Arc::clone(&key));
        Ok(key)
    }
}

#[cfg(test)]
mod tests;
