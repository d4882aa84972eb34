/// The object `volume`: what never changes about a volume. Written once at format (docs/format.md).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeHeader {
    /// Identity of the volume.
    pub uuid: [u8; 16],
    /// Size at which chain segments are sealed, bytes.
    pub segment_bytes: u64,
    /// Whether the store's create-only put fences (probed at format).
    pub fencing: bool,
    /// Secret of the directory-name hash (R21).
    pub name_secret: [u8; 16],
    /// Key of the handles' MAC.
    pub handle_key: [u8; 32],
    /// The volume's data key, wrapped; `None` where the volume is not encrypted (R26).
    pub wrapped_key: Option<Vec<u8>>,
}

/// Least segment size, bytes: a quarter of it still holds the record of the largest transaction.
const LEAST_SEGMENT_BYTES: u64 = 1 << 20;

impl VolumeHeader {
    /// The segment size for a store of `capacity` bytes in all (`None`: no end): min(16 MiB,
    /// capacity / 64), in whole 64 KiB, at least 1 MiB (R18).
    pub fn segment_bytes_for(capacity: Option<u64>) -> u64 {
        let share = capacity.map_or(u64::MAX, |bytes| bytes / 64) & !0xffff;
        share.clamp(LEAST_SEGMENT_BYTES, crate::SEGMENT_BYTES)
    }
}
