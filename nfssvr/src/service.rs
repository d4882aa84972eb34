//! What all reactors of one server share.

use std::{hash::Hasher, sync::Arc};

use fs::{FileId, RequestTag, Volume, seam::Env};
use siphasher::sip::SipHasher24;

use crate::{
    budget::Budget,
    drc::Drc,
    exports::Exports,
    handle::HandleCodec,
    limits::{DIGEST_BYTES, Limits},
    mount::MountList,
};

/// The shared part of a server.
pub struct Service {
    /// The files.
    pub volume: Volume,
    /// Who may do what.
    pub exports: Exports,
    /// File handles.
    pub handles: HandleCodec,
    /// fsid in attributes.
    pub fsid: u64,
    /// Repeats.
    pub drc: Arc<Drc>,
    /// Bytes in flight.
    pub budget: Budget,
    /// What DUMP tells.
    pub mounts: MountList,
    /// Limits.
    pub limits: Limits,
    /// Clock and dice.
    pub env: Env,
    /// Random for each start (R24).
    verifier: u64,
    /// Key of the calls' checksums: the volume's, so that a tag means the same after a restart.
    digest_key: [u8; 16],
}

/// What a [`Service`] is made of.
pub struct Parts {
    /// The files.
    pub volume: Volume,
    /// Who may do what.
    pub exports: Exports,
    /// fsid in attributes and handles.
    pub fsid: u64,
    /// The volume's secret for handles.
    pub handle_key: [u8; 32],
    /// Limits.
    pub limits: Limits,
    /// Clock and dice.
    pub env: Env,
}

impl Service {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let Parts { volume, exports, fsid, handle_key, limits, env } = parts;
        let mut digest_key = [0; 16];
        digest_key.copy_from_slice(&handle_key[16..]);
        Self {
            handles: HandleCodec::new(fsid, &handle_key),
            drc: Arc::new(Drc::new(&limits)),
            budget: Budget::new(limits.total_bytes),
            mounts: MountList::default(),
            verifier: env.random_u64(),
            digest_key,
            volume,
            exports,
            fsid,
            limits,
            env,
        }
    }

    /// The write verifier now (R24): differs between starts and after unstable bytes were lost.
    pub fn write_verifier(&self) -> u64 {
        self.verifier ^ self.volume.dropped_unstable().wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// What identifies a call over reconnections and restarts: `args` is the record behind the
    /// RPC header.
    pub fn tag(&self, client: [u8; 16], xid: u32, procedure: u8, args: &[u8]) -> RequestTag {
        let mut h = SipHasher24::new_with_key(&self.digest_key);
        h.write_u64(args.len() as u64);
        h.write(&args[..args.len().min(DIGEST_BYTES)]);
        let id = u64::from(procedure) << 32 | u64::from(xid);
        RequestTag { client, id, digest: h.finish() }
    }

    /// The directory at `path`, component by component; symlinks are not followed.
    pub async fn walk(&self, path: &[Vec<u8>]) -> Result<FileId, fs::FsError> {
        let root = fs::Caller { uid: 0, gid: 0, groups: Vec::new(), owner_override: false };
        let mut at = self.volume.root();
        for name in path {
            let (found, _) = self.volume.lookup(&root, at, name).await.map_err(|f| f.error)?;
            if found.kind != fs::Kind::Directory {
                return Err(fs::FsError::NotDir);
            }
            at = found.id;
        }
        Ok(at)
    }
}
