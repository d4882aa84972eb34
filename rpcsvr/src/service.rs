//! What all reactors of one server share.

use std::hash::Hasher;

use fs::{RequestTag, Volume, seam::Env};
use rpc::Frame;
use siphasher::sip::SipHasher24;

use crate::{
    budget::Budget,
    limits::{DIGEST_BYTES, Limits},
    reclaim::Reclaim,
    session::Sessions,
    stream::Tls,
};

/// The shared part of a server.
pub struct Service {
    /// The files.
    pub volume: Volume,
    /// The volume's uuid.
    pub uuid: [u8; 16],
    /// The volume's number in answers to STATFS.
    pub fsid: u64,
    /// Sessions.
    pub sessions: Sessions,
    /// Whom locks wait for after a start.
    pub reclaim: Reclaim,
    /// Bytes in flight.
    pub budget: Budget,
    /// Limits.
    pub limits: Limits,
    /// Clock and dice.
    pub env: Env,
    /// Random for each start.
    pub boot: u64,
    /// What a client over TCP must know.
    pub secret: Option<Vec<u8>>,
    /// TLS for all TCP.
    pub tls: Option<Tls>,
    /// Key of the requests' checksums: the volume's, so that a tag means the same after a restart.
    pub digest_key: [u8; 16],
}

impl Service {
    /// Checksum of a request: all of its body, the beginning of its payload, and both lengths.
    pub fn digest(&self, frame: &Frame) -> u64 {
        let mut h = SipHasher24::new_with_key(&self.digest_key);
        h.write_u16(frame.header.op);
        h.write_usize(frame.body.len());
        h.write_usize(frame.payload.len());
        h.write(&frame.body);
        h.write(&frame.payload[..frame.payload.len().min(DIGEST_BYTES)]);
        h.finish()
    }

    /// What identifies a request over reconnections and restarts.
    pub fn tag(&self, session: [u8; 16], frame: &Frame, digest: u64) -> RequestTag {
        RequestTag { client: session, id: frame.header.id, digest }
    }
}
