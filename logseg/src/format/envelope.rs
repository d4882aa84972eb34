use bytes::Bytes;

use super::{Fields, VERSION, crc32c, is_zero};
use crate::{CheckpointName, VolumeHeader};

/// Bytes before the fields of every envelope: magic 8, version 4, length 4, volume uuid 16.
pub const ENVELOPE_PREFIX: usize = 32;
/// Longest wrapped key accepted, bytes.
const WRAPPED_KEY_MAX: usize = 512;

/// Why bytes are not the object they should be. The three cases want three different acts: look
/// elsewhere, run another program, restore.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Empty, or zeros only: made, never written.
    #[error("{what}: nothing is written there")]
    Blank {
        /// The object looked for.
        what: &'static str,
    },
    /// Something else stands there.
    #[error("not {what} of Esker: it begins with {found}")]
    Foreign {
        /// The object looked for.
        what: &'static str,
        /// The first bytes, in hexadecimal.
        found: String,
    },
    /// A version of the format that this program does not know.
    #[error("{what} has format version {found}; this program knows version 1")]
    Version {
        /// The object looked for.
        what: &'static str,
        /// Its version.
        found: u32,
    },
    /// Ours once, altered or cut since.
    #[error("{what} is damaged: {reason}")]
    Damaged {
        /// The object looked for.
        what: &'static str,
        /// What does not hold.
        reason: &'static str,
    },
}

/// Name and magic of one sort of envelope.
pub(super) struct Sort {
    pub what: &'static str,
    pub magic: [u8; 8],
}

impl Sort {
    pub(super) fn damaged(&self, reason: &'static str) -> FormatError {
        FormatError::Damaged { what: self.what, reason }
    }

    /// prefix · `fields` · CRC-32C of all before it.
    pub(super) fn encode(&self, volume: &[u8; 16], fields: &[&[u8]]) -> Vec<u8> {
        let len = ENVELOPE_PREFIX + fields.iter().map(|f| f.len()).sum::<usize>() + 4;
        let mut out = Vec::with_capacity(len);
        out.extend_from_slice(&self.magic);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(volume);
        for f in fields {
            out.extend_from_slice(f);
        }
        let crc = crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Volume uuid and fields of the envelope that `bytes` begins with. `exact`: nothing may follow.
    pub(super) fn decode<'a>(
        &self,
        bytes: &'a [u8],
        exact: bool,
    ) -> Result<([u8; 16], &'a [u8]), FormatError> {
        let what = self.what;
        if is_zero(&bytes[..bytes.len().min(ENVELOPE_PREFIX)]) {
            return Err(FormatError::Blank { what });
        }
        let mut f = Fields::new(bytes);
        if f.array::<8>() != self.magic {
            return Err(FormatError::Foreign { what, found: hex(&bytes[..bytes.len().min(8)]) });
        }
        if bytes.len() < ENVELOPE_PREFIX + 4 {
            return Err(self.damaged("too short"));
        }
        let version = f.u32();
        if version != VERSION {
            return Err(FormatError::Version { what, found: version });
        }
        let len = f.u32() as usize;
        let volume = f.array::<16>();
        if len < ENVELOPE_PREFIX + 4 || len > bytes.len() || (exact && len != bytes.len()) {
            return Err(self.damaged("its length is not the one it names"));
        }
        let (covered, crc) = bytes[..len].split_at(len - 4);
        if crc32c(covered).to_le_bytes() != crc {
            return Err(self.damaged("checksum"));
        }
        Ok((volume, &covered[ENVELOPE_PREFIX..]))
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

const VOLUME: Sort = Sort { what: "the volume object", magic: *b"EskerVol" };
const CHECKPOINT: Sort = Sort { what: "a checkpoint", magic: *b"EskerCkp" };

/// Bytes of the fields before the wrapped key.
const VOLUME_FIXED: usize = 64;

/// The object `volume`.
pub fn encode_volume(v: &VolumeHeader) -> Vec<u8> {
    let wrapped = v.wrapped_key.as_deref().unwrap_or_default();
    let wrapped_len = u16::try_from(wrapped.len()).unwrap_or(u16::MAX);
    let mut fixed = Vec::with_capacity(72);
    fixed.extend_from_slice(&v.segment_bytes.to_le_bytes());
    fixed.extend_from_slice(&v.name_secret);
    fixed.extend_from_slice(&v.handle_key);
    fixed.extend_from_slice(&[u8::from(v.fencing), u8::from(v.wrapped_key.is_some())]);
    fixed.extend_from_slice(&wrapped_len.to_le_bytes());
    fixed.extend_from_slice(&[0; 4]);
    VOLUME.encode(&v.uuid, &[&fixed, wrapped])
}

/// Reads the object `volume`; three distinct errors (foreign, version, damaged).
pub fn decode_volume(bytes: &[u8]) -> Result<VolumeHeader, FormatError> {
    let (uuid, fields) = VOLUME.decode(bytes, true)?;
    if fields.len() < VOLUME_FIXED {
        return Err(VOLUME.damaged("its fields are cut"));
    }
    let mut f = Fields::new(fields);
    let segment_bytes = f.u64();
    let name_secret = f.array();
    let handle_key = f.array();
    let (fencing, encrypted) = (f.u8(), f.u8());
    let wrapped_len = usize::from(f.u16());
    let zero = f.u32();
    let wrapped = f.rest();
    if fencing > 1 || encrypted > 1 || zero != 0 {
        return Err(VOLUME.damaged("an unknown flag"));
    }
    if wrapped.len() != wrapped_len || wrapped_len > WRAPPED_KEY_MAX {
        return Err(VOLUME.damaged("length of the wrapped key"));
    }
    if encrypted == 0 && wrapped_len != 0 {
        return Err(VOLUME.damaged("a key without encryption"));
    }
    Ok(VolumeHeader {
        uuid,
        segment_bytes,
        fencing: fencing == 1,
        name_secret,
        handle_key,
        wrapped_key: (encrypted == 1).then(|| wrapped.to_vec()),
    })
}

/// A checkpoint object: `bytes` are the index's own.
pub fn encode_checkpoint(volume: &[u8; 16], name: CheckpointName, bytes: &[u8]) -> Vec<u8> {
    CHECKPOINT.encode(volume, &[&name.epoch.to_le_bytes(), &name.number.to_le_bytes(), bytes])
}

/// The index's bytes of a checkpoint object that must belong to `volume` and be called `name`.
pub fn decode_checkpoint(
    volume: &[u8; 16],
    name: CheckpointName,
    object: &Bytes,
) -> Result<Bytes, FormatError> {
    let (found, fields) = CHECKPOINT.decode(object, true)?;
    let mut f = Fields::new(fields);
    let called = CheckpointName { epoch: f.u32(), number: f.u32() };
    if found != *volume {
        return Err(CHECKPOINT.damaged("it belongs to another volume"));
    }
    if called != name || fields.len() < 8 {
        return Err(CHECKPOINT.damaged("its name inside is not the object's name"));
    }
    Ok(object.slice(ENVELOPE_PREFIX + 8..object.len() - 4))
}
