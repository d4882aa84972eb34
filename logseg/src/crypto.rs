//! Encryption of bodies (R26) and wrapping of the volume's key.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf, pbkdf2,
};
use swiftclient::seam::Env;

use crate::LogError;

/// Bytes that encryption adds to a body.
pub const TAG_BYTES: usize = 16;
/// Says in HKDF what the derived key is for.
const SEGMENT_INFO: &[u8] = b"esker segment 1";
const WRAP_INFO: &[u8] = b"esker key file 1";
/// OWASP's figure for PBKDF2-HMAC-SHA256 (2023).
const ITERATIONS: u32 = 600_000;
/// Most iterations believed of a wrapped key: a damaged one must not stall the mount.
const ITERATIONS_MAX: u32 = 10_000_000;
const WRAP_VERSION: u8 = 1;
const BY_PASSPHRASE: u8 = 1;
const BY_KEY_FILE: u8 = 2;
/// version, method, 2 zero bytes, iterations 4, salt 16, nonce 12.
const WRAP_HEADER: usize = 36;

/// The key of a volume: all segment keys come from it. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct VolumeKey([u8; 32]);

impl std::fmt::Debug for VolumeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VolumeKey(…)")
    }
}

/// What the operator gives to unlock a volume.
pub enum Secret<'a> {
    /// Typed by a person: stretched by PBKDF2.
    Passphrase(&'a [u8]),
    /// At least 32 random bytes, from a file.
    KeyFile(&'a [u8]),
}

/// Encrypts and decrypts the bodies of one segment: AES-256-GCM under
/// HKDF-SHA256(volume key, salt = the segment's nonce).
#[derive(Clone)]
pub struct SegmentCipher(std::sync::Arc<LessSafeKey>);

impl std::fmt::Debug for SegmentCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SegmentCipher(…)")
    }
}

struct KeyLength;

impl hkdf::KeyType for KeyLength {
    fn len(&self) -> usize {
        32
    }
}

fn derive(secret: &[u8], salt: &[u8], info: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    let filled = prk.expand(&[info], KeyLength).and_then(|okm| okm.fill(&mut out));
    // 32 bytes are far below HKDF's limit of 255 hashes: it cannot refuse.
    assert!(filled.is_ok(), "HKDF of 32 bytes");
    out
}

fn aes(key: &[u8; 32]) -> LessSafeKey {
    match UnboundKey::new(&AES_256_GCM, key) {
        Ok(key) => LessSafeKey::new(key),
        Err(_) => unreachable!("AES-256 takes any 32 bytes"),
    }
}

/// 96-bit nonce: the entry's ordinal, then zeros. Unique because no ordinal is used twice in a
/// segment and no two segments have one key.
fn nonce(ordinal: u32) -> Nonce {
    let mut out = [0; 12];
    out[..4].copy_from_slice(&ordinal.to_le_bytes());
    Nonce::assume_unique_for_key(out)
}

impl SegmentCipher {
    /// The cipher of the segment with this nonce.
    pub fn new(key: &VolumeKey, segment_nonce: &[u8; 16]) -> Self {
        Self(std::sync::Arc::new(aes(&derive(&key.0, segment_nonce, SEGMENT_INFO))))
    }

    /// `plain` encrypted, with its tag: `plain.len() + 16` bytes.
    pub(crate) fn encrypt(&self, ordinal: u32, known: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(plain.len() + TAG_BYTES);
        out.extend_from_slice(plain);
        let done = self.0.seal_in_place_append_tag(nonce(ordinal), Aad::from(known), &mut out);
        // GCM refuses only beyond 2³⁶ bytes.
        assert!(done.is_ok(), "AES-GCM of {} bytes", plain.len());
        out
    }

    /// The plain bytes; `None` where the tag does not hold.
    pub(crate) fn decrypt(&self, ordinal: u32, known: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let mut out = sealed.to_vec();
        let n = self.0.open_in_place(nonce(ordinal), Aad::from(known), &mut out).ok()?.len();
        out.truncate(n);
        Some(out)
    }
}

impl VolumeKey {
    /// A new random key.
    pub fn generate(env: &Env) -> Self {
        let mut key = [0; 32];
        env.dice.fill(&mut key);
        Self(key)
    }

    /// The key from its 32 bytes (tests and recovery tools).
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// `VolumeHeader::wrapped_key` (docs/format.md, 2.6): readable only with `secret`, and only in
    /// this volume. Errors: a key file of fewer than 32 bytes, an empty passphrase.
    pub fn wrap(
        &self,
        secret: &Secret<'_>,
        volume: &[u8; 16],
        env: &Env,
    ) -> Result<Vec<u8>, LogError> {
        let mut random = [0; 28];
        env.dice.fill(&mut random);
        self.wrap_with(secret, volume, &random, ITERATIONS)
    }

    pub(crate) fn wrap_with(
        &self,
        secret: &Secret<'_>,
        volume: &[u8; 16],
        random: &[u8; 28],
        iterations: u32,
    ) -> Result<Vec<u8>, LogError> {
        let (method, iterations) = match secret {
            Secret::Passphrase(_) => (BY_PASSPHRASE, iterations),
            Secret::KeyFile(_) => (BY_KEY_FILE, 0),
        };
        let mut out = vec![WRAP_VERSION, method, 0, 0];
        out.extend_from_slice(&iterations.to_le_bytes());
        out.extend_from_slice(random);
        let kek = aes(&key_encryption_key(secret, &out)?);
        let known = [&out[..], volume].concat();
        let mut body = self.0.to_vec();
        let sealed = kek.seal_in_place_append_tag(wrap_nonce(&out), Aad::from(&known), &mut body);
        sealed.map_err(|_| LogError::Refused("the volume's key cannot be wrapped".into()))?;
        out.extend_from_slice(&body);
        Ok(out)
    }

    /// Reads what [`VolumeKey::wrap`] wrote. Errors: `Refused` where the secret is the wrong one or
    /// of the wrong sort, or the bytes are damaged.
    pub fn unwrap(
        wrapped: &[u8],
        secret: &Secret<'_>,
        volume: &[u8; 16],
    ) -> Result<Self, LogError> {
        let refuse = |why: &str| Err(LogError::Refused(format!("the volume's key: {why}")));
        if wrapped.len() != WRAP_HEADER + 32 + TAG_BYTES || wrapped[2..4] != [0, 0] {
            return refuse("the wrapped key is damaged");
        }
        let (header, body) = wrapped.split_at(WRAP_HEADER);
        if header[0] != WRAP_VERSION {
            return refuse("wrapped in a way that this program does not know");
        }
        match (header[1], secret) {
            (BY_PASSPHRASE, Secret::Passphrase(_)) | (BY_KEY_FILE, Secret::KeyFile(_)) => {}
            (BY_PASSPHRASE, _) => return refuse("a passphrase opens it, not a key file"),
            (BY_KEY_FILE, _) => return refuse("a key file opens it, not a passphrase"),
            _ => return refuse("wrapped in a way that this program does not know"),
        }
        let kek = aes(&key_encryption_key(secret, header)?);
        let known = [header, &volume[..]].concat();
        let mut body = body.to_vec();
        match kek.open_in_place(wrap_nonce(header), Aad::from(&known), &mut body) {
            Ok(plain) => match <[u8; 32]>::try_from(&*plain) {
                Ok(key) => Ok(Self(key)),
                Err(_) => refuse("the wrapped key is damaged"),
            },
            Err(_) => refuse("wrong passphrase or key file, or the wrapped key is damaged"),
        }
    }
}

fn wrap_nonce(header: &[u8]) -> Nonce {
    let mut out = [0; 12];
    out.copy_from_slice(&header[24..WRAP_HEADER]);
    Nonce::assume_unique_for_key(out)
}

fn key_encryption_key(secret: &Secret<'_>, header: &[u8]) -> Result<[u8; 32], LogError> {
    let refuse = |why: &str| Err(LogError::Refused(why.to_owned()));
    let salt = &header[8..24];
    match secret {
        Secret::Passphrase([]) => refuse("an empty passphrase"),
        Secret::KeyFile(k) if k.len() < 32 => refuse("the key file is shorter than 32 bytes"),
        Secret::KeyFile(k) => Ok(derive(k, salt, WRAP_INFO)),
        Secret::Passphrase(p) => {
            let mut n = [0; 4];
            n.copy_from_slice(&header[4..8]);
            let n = u32::from_le_bytes(n);
            let Some(rounds) = std::num::NonZeroU32::new(n).filter(|n| n.get() <= ITERATIONS_MAX)
            else {
                return refuse("the wrapped key is damaged");
            };
            let mut out = [0; 32];
            pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, p, &mut out);
            Ok(out)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S13, R26: GCM with one key and one nonce for two texts gives both away, and the key of the
    /// tag. Ordinals begin at 0 in each segment, so each segment needs a key of its own; and within
    /// one, equal texts at two ordinals may not look alike.
    #[test]
    fn no_two_entries_share_key_and_nonce() {
        let key = VolumeKey::from_bytes([7; 32]);
        let (a, b) = (SegmentCipher::new(&key, &[1; 16]), SegmentCipher::new(&key, &[2; 16]));
        let text = [0; 64];
        let all = [a.encrypt(0, b"", &text), b.encrypt(0, b"", &text), a.encrypt(1, b"", &text)];
        assert_ne!(all[0], all[1]);
        assert_ne!(all[0], all[2]);
        assert!(b.decrypt(0, b"", &all[0]).is_none());
        assert_eq!(a.decrypt(0, b"", &all[0]).as_deref(), Some(&text[..]));
    }
}
