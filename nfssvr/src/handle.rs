//! File handles: what they hold and why they cannot be forged.
//!
//! 48 bytes, little-endian: version 1 (u8), 3 zero bytes, export id (u32), fsid (u64), inode number
//! (u64), generation (u32), 4 zero bytes, then a SipHash-2-4-128 tag over these 32 bytes under the
//! first half of the volume's handle key. A handle is opaque to clients (RFC 1813 §2.3.3), lives
//! as long as its inode and survives restarts.

use fs::FileId;
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;

const VERSION: u8 = 1;
const BODY: usize = 32;
/// Length of every handle, bytes.
pub const LENGTH: usize = BODY + 16;

/// What a genuine handle says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    /// The export through which the client got it ([`crate::Exports`] gives the ids).
    pub export: u32,
    /// The inode.
    pub id: FileId,
}

/// The handle is malformed, forged, or of another volume: NFS3ERR_BADHANDLE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadHandle;

/// Makes and checks handles of one volume.
#[derive(Clone)]
pub struct HandleCodec {
    fsid: u64,
    key: [u8; 16],
}

impl HandleCodec {
    /// For the volume `fsid` with its secret `key` (32 bytes from the volume header).
    pub fn new(fsid: u64, key: &[u8; 32]) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&key[..16]);
        Self { fsid, key: half }
    }

    fn tag(&self, body: &[u8]) -> [u8; 16] {
        let mut h = SipHasher24::new_with_key(&self.key);
        h.write(body);
        h.finish128().as_bytes()
    }

    /// The bytes of a handle.
    pub fn seal(&self, handle: Handle) -> [u8; LENGTH] {
        let mut out = [0; LENGTH];
        out[0] = VERSION;
        out[4..8].copy_from_slice(&handle.export.to_le_bytes());
        out[8..16].copy_from_slice(&self.fsid.to_le_bytes());
        out[16..24].copy_from_slice(&handle.id.ino.to_le_bytes());
        out[24..28].copy_from_slice(&handle.id.generation.to_le_bytes());
        let tag = self.tag(&out[..BODY]);
        out[BODY..].copy_from_slice(&tag);
        out
    }

    /// Checks the bytes of a handle.
    pub fn open(&self, bytes: &[u8]) -> Result<Handle, BadHandle> {
        let bytes: &[u8; LENGTH] = bytes.try_into().map_err(|_| BadHandle)?;
        let tag = self.tag(&bytes[..BODY]);
        // No early exit: the time taken says nothing about the right tag.
        let differing = tag.iter().zip(&bytes[BODY..]).fold(0, |d, (a, b)| d | (a ^ b));
        let word = |at: usize| {
            let mut w = [0; 8];
            w.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(w)
        };
        // Both halves are exact: the shifts leave 32 bits.
        #[allow(clippy::cast_possible_truncation)]
        let (head, tail) = (word(0), word(24) as u32);
        let padded = word(24) >> 32 != 0;
        if differing != 0 || head & 0xffff_ffff != u64::from(VERSION) || padded {
            return Err(BadHandle);
        }
        if word(8) != self.fsid {
            return Err(BadHandle);
        }
        #[allow(clippy::cast_possible_truncation)]
        let export = (head >> 32) as u32;
        Ok(Handle { export, id: FileId { ino: word(16), generation: tail } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codec() -> HandleCodec {
        HandleCodec::new(77, &[9; 32])
    }

    #[test]
    fn a_handle_comes_back() {
        let h = Handle { export: 5, id: FileId { ino: 1 << 40, generation: 3 } };
        assert_eq!(codec().open(&codec().seal(h)), Ok(h));
    }

    #[test]
    fn no_bit_may_change() {
        let good = codec().seal(Handle { export: 5, id: FileId { ino: 12, generation: u32::MAX } });
        for bit in 0..LENGTH * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(codec().open(&bad), Err(BadHandle), "bit {bit}");
        }
        for len in 0..LENGTH {
            assert_eq!(codec().open(&good[..len]), Err(BadHandle));
        }
    }

    #[test]
    fn another_volume_or_key_is_refused() {
        let h = Handle { export: 0, id: FileId { ino: 1, generation: 1 } };
        let good = codec().seal(h);
        assert_eq!(HandleCodec::new(78, &[9; 32]).open(&good), Err(BadHandle));
        assert_eq!(HandleCodec::new(77, &[8; 32]).open(&good), Err(BadHandle));
    }
}
