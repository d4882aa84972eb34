//! Every limit of the wire, with its unit. Both sides refuse what is beyond.

/// Bytes of a frame's header, its length field included.
pub const HEADER_BYTES: usize = 32;
/// Longest body, bytes.
pub const BODY_BYTES: usize = 128 << 10;
/// Longest payload, bytes: most file data of one READ or WRITE, most entries of one READDIR.
pub const PAYLOAD_BYTES: usize = 1 << 20;
/// Longest frame behind its length field, bytes.
pub const FRAME_BYTES: usize = HEADER_BYTES - 4 + BODY_BYTES + PAYLOAD_BYTES;
/// Longest frame behind its length field before the session stands, bytes.
pub const HELLO_BYTES: usize = 4 << 10;
/// Longest path, bytes.
pub const PATH_BYTES: usize = 4096;
/// Longest name of an extended attribute, bytes (longer ones are refused with ERANGE).
pub const XATTR_NAME_BYTES: usize = 512;
/// Largest value of an extended attribute, bytes.
pub const XATTR_BYTES: usize = 64 << 10;
/// Most names of extended attributes that one answer brings along.
pub const ALONG: usize = 8;
/// Largest value that an answer brings along, bytes; larger ones are asked for on their own.
pub const ALONG_BYTES: usize = 4 << 10;
/// Most supplementary groups of an identity.
pub const GROUPS: usize = 4096;
/// Longest text of an error, bytes.
pub const TEXT_BYTES: usize = 512;
/// Longest name of a volume or a client, bytes.
pub const LABEL_BYTES: usize = 256;
/// Most ranges in one answer to RANGES.
pub const RANGES: usize = 4096;
/// Symbolic links followed in one path before ELOOP.
pub const LINKS: u32 = 40;
/// Shortest secret that a server takes, bytes.
pub const SECRET_BYTES: usize = 16;
