use std::collections::HashSet;

use bytes::Bytes;
use quick_cache::{Weighter, sync::Cache};

use crate::{Location, SegmentId, limits::COPY_OUT_BYTES};

/// Weight of an entry beside its payload, bytes: key, slot, `Bytes`, allocator.
const OVERHEAD: u64 = 128;
/// What the cache's tables are sized for at first, bytes per entry.
const EXPECTED_BYTES: u64 = 32 << 10;
/// And the most entries they are sized for; they grow beyond.
const EXPECTED_MOST: usize = 1 << 20;

/// Decoded data frames, limited in bytes. Ids of segments are never used again (R1), so nothing in
/// it can become wrong.
pub(crate) struct FrameCache {
    frames: Cache<(SegmentId, u32), Bytes, Weight>,
}

#[derive(Clone)]
struct Weight;

impl Weighter<(SegmentId, u32), Bytes> for Weight {
    fn weight(&self, _: &(SegmentId, u32), bytes: &Bytes) -> u64 {
        bytes.len() as u64 + OVERHEAD
    }
}

impl FrameCache {
    /// A cache of at most `limit` bytes, the overhead of its entries included.
    pub(crate) fn new(limit: u64) -> Self {
        let items = usize::try_from(limit / EXPECTED_BYTES).unwrap_or(usize::MAX);
        let items = items.clamp(16, EXPECTED_MOST);
        Self { frames: Cache::with_weighter(items, limit, Weight) }
    }

    pub(crate) fn get(&self, location: &Location) -> Option<Bytes> {
        self.frames.get(&(location.segment, location.offset))
    }

    /// True where a frame is kept; its place in the order of eviction stays as it is.
    pub(crate) fn contains(&self, location: &Location) -> bool {
        self.frames.contains_key(&(location.segment, location.offset))
    }

    /// Keeps a decoded frame. A small one is copied, so that it does not pin the buffer of the
    /// request or segment that it came in (P18).
    pub(crate) fn insert(&self, location: &Location, bytes: &Bytes) {
        let kept = if bytes.len() < COPY_OUT_BYTES {
            Bytes::copy_from_slice(bytes)
        } else {
            bytes.clone()
        };
        self.frames.insert((location.segment, location.offset), kept);
    }

    /// Drops the frames of deleted segments.
    pub(crate) fn forget(&self, segments: &[SegmentId]) {
        let gone: HashSet<_> = segments.iter().collect();
        if !gone.is_empty() {
            self.frames.retain(|(segment, _), _| !gone.contains(segment));
        }
    }

    /// Bytes held now.
    pub(crate) fn bytes(&self) -> u64 {
        self.frames.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_limit_is_kept() {
        let at = |n| Location { segment: SegmentId::chain(1, n), offset: 256, stored: 0 };
        for limit in [0, 1, 5_000, 1 << 20, 1 << 50] {
            let cache = FrameCache::new(limit);
            for n in 0..300 {
                cache.insert(&at(n), &Bytes::from(vec![7; 9000]));
                assert!(cache.bytes() <= limit);
            }
            // Full, where a frame fits at all.
            assert!(
                cache.bytes() >= if limit < 9128 { 0 } else { (limit / 2).min(300 * 9128) },
                "{limit}: {}",
                cache.bytes()
            );
            cache.forget(&[SegmentId::chain(1, 299)]);
            assert_eq!(cache.get(&at(299)), None);
        }
    }
}
