//! Frames: a fixed header, a body of values, a raw payload.

use bytes::Bytes;

use crate::{
    limits::{BODY_BYTES, HEADER_BYTES, PAYLOAD_BYTES},
    wire::{Malformed, Reader, Wire},
};

/// Request flag: this may have been sent before, on a connection that was lost.
pub const RESENT: u16 = 1;
/// Request flag: begin only when everything sent before on this connection is done.
pub const AFTER: u16 = 2;
/// Request flag: answer only when the change is durable.
pub const DURABLE: u16 = 4;
/// All flags there are.
pub const FLAGS: u16 = RESENT | AFTER | DURABLE;

/// The first 32 bytes of every frame.
///
/// | at | field | meaning |
/// |---|---|---|
/// | 0 | `u32` | length of the frame behind this field: 28 + body + payload |
/// | 4 | `u32` | length of the body |
/// | 8 | `u64` | request id |
/// | 16 | `u16` | operation |
/// | 18 | `u16` | request: flags; reply: 0 or errno |
/// | 20 | `u32` | 0 |
/// | 24 | `u64` | request: the mark, below which this session sends no id again; reply: all changes up to this seq are durable |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the body.
    pub body: u32,
    /// Bytes of the payload.
    pub payload: u32,
    /// Chosen by the client, at least 1, rising in a session; the reply has the same.
    pub id: u64,
    /// What is asked for.
    pub op: u16,
    /// Request: [`RESENT`], [`AFTER`], [`DURABLE`]. Reply: 0, or why not (errno as on Linux).
    pub status: u16,
    /// Request: mark. Reply: durable seq.
    pub mark: u64,
}

impl Header {
    /// Bytes of the whole frame, from its first.
    pub fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.body as usize + self.payload as usize
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        // At most FRAME_BYTES.
        let len = u32::try_from(self.frame_bytes() - 4).unwrap_or(u32::MAX);
        out[..4].copy_from_slice(&len.to_le_bytes());
        out[4..8].copy_from_slice(&self.body.to_le_bytes());
        out[8..16].copy_from_slice(&self.id.to_le_bytes());
        out[16..18].copy_from_slice(&self.op.to_le_bytes());
        out[18..20].copy_from_slice(&self.status.to_le_bytes());
        out[24..].copy_from_slice(&self.mark.to_le_bytes());
        out
    }

    /// Reads a header; lengths beyond the limits are refused before anything is reserved.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Malformed> {
        let u32_at = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let (len, body) = (u32_at(0) as usize, u32_at(4) as usize);
        if body > BODY_BYTES {
            return Err(Malformed("a body is longer than its limit"));
        }
        let payload =
            len.checked_sub(HEADER_BYTES - 4 + body).ok_or(Malformed("a frame is too short"))?;
        if payload > PAYLOAD_BYTES {
            return Err(Malformed("a payload is longer than its limit"));
        }
        if u32_at(20) != 0 {
            return Err(Malformed("a header whose reserved field is not 0"));
        }
        Ok(Self {
            body: u32_at(4),
            // At most PAYLOAD_BYTES.
            payload: u32::try_from(payload).unwrap_or(0),
            id: u64_at(8),
            op: u16_at(16),
            status: u16_at(18),
            mark: u64_at(24),
        })
    }
}

/// A frame that has arrived: body and payload are slices of it.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its header.
    pub header: Header,
    /// Values.
    pub body: Bytes,
    /// Raw bytes.
    pub payload: Bytes,
}

impl Frame {
    /// From the whole frame's bytes, header included, as [`Header::frame_bytes`] counts them.
    pub fn of(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let header = Header::decode(&reader.array()?)?;
        let body = reader.bytes(header.body as usize)?;
        let payload = reader.bytes(header.payload as usize)?;
        reader.end()?;
        Ok(Self { header, body, payload })
    }
}

/// Bytes of a frame that has only begun to arrive; `None` until its lengths are here.
///
/// Call it before room is made: a frame of 2 GiB is refused by its first eight bytes.
pub fn expected(begun: &[u8], most: usize) -> Result<Option<usize>, Malformed> {
    let Some(len) = begun.first_chunk::<4>() else { return Ok(None) };
    let len = u32::from_le_bytes(*len) as usize;
    if len > most {
        return Err(Malformed("a frame is longer than its limit"));
    }
    if len + 4 < HEADER_BYTES {
        return Err(Malformed("a frame is too short"));
    }
    Ok(Some(len + 4))
}

/// Writes a frame's header and body into `out`; the payload of `payload` bytes is to follow on the
/// wire. `header`'s lengths are set here.
pub fn put_frame(
    out: &mut Vec<u8>,
    header: Header,
    payload: usize,
    body: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    body(out);
    let body = out.len() - start - HEADER_BYTES;
    let as_u32 = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let header = Header { body: as_u32(body), payload: as_u32(payload), ..header };
    out[start..start + HEADER_BYTES].copy_from_slice(&header.encode());
}

/// Why a request was refused: errno and words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text} (errno {errno})")]
pub struct Refusal {
    /// As on Linux ([`crate::errno`]); never 0.
    pub errno: u16,
    /// For people.
    pub text: String,
}

impl Refusal {
    /// Of `errno`, in its own words if there are any.
    pub fn new(errno: u16, text: impl Into<String>) -> Self {
        Self { errno, text: text.into() }
    }

    /// From a reply whose status is not 0.
    pub fn of(frame: &Frame) -> Self {
        let text = crate::Text::whole(&frame.body).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        Self { errno: frame.header.status, text }
    }
}
