use std::fmt;

/// Number of a record in commit order. The first record of a volume has seq 1; 0 means "nothing".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// Whose bytes a data entry holds: opaque here, an inode number above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(pub u64);

/// Identity of a segment (R1, R7): `epoch (32 bits) ‖ side (1 bit) ‖ counter (31 bits)`.
///
/// Never used twice on any store. Chain segments of an epoch sort before its side segments.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

const SIDE: u64 = 1 << 31;

impl SegmentId {
    /// Segment `counter` of the chain of `epoch`; `counter` < 2³¹.
    pub const fn chain(epoch: u32, counter: u32) -> Self {
        assert!((counter as u64) < SIDE);
        Self((epoch as u64) << 32 | counter as u64)
    }

    /// Side segment `counter` of `epoch`; `counter` < 2³¹.
    pub const fn side(epoch: u32, counter: u32) -> Self {
        Self(Self::chain(epoch, counter).0 | SIDE)
    }

    /// The writer's term.
    pub const fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Position within the chain, or among the side segments, of its epoch.
    pub const fn counter(self) -> u32 {
        (self.0 & (SIDE - 1)) as u32
    }

    /// True for a side segment (R7).
    pub const fn is_side(self) -> bool {
        self.0 & SIDE != 0
    }
}

impl fmt::Debug for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_side() { "side" } else { "seg" };
        write!(f, "{kind}({},{})", self.epoch(), self.counter())
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Where an entry lies: 16 bytes in every format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The segment.
    pub segment: SegmentId,
    /// Offset of the entry's header in the segment, bytes; a multiple of 8.
    pub offset: u32,
    /// Bytes of the entry as stored: header, body and padding.
    pub stored: u32,
}
