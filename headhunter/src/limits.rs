//! Every limit of the index, with its unit.

/// Longest key, bytes.
pub const KEY_BYTES: usize = 280;
/// Longest value, bytes.
pub const VALUE_BYTES: usize = 3 << 10;
/// Largest encoded leaf, bytes. Four of the largest items fit, so one split always suffices.
pub const LEAF_BYTES: usize = 16 << 10;
/// Largest encoded inner page, bytes: about 300 children. A larger one costs more to copy while a
/// view is alive than the depth it saves.
pub const INNER_BYTES: usize = 16 << 10;
/// Longest outcome of a remembered request, bytes (R23).
pub const OUTCOME_BYTES: usize = 64;
/// Keys that begin with this many zero bytes belong to the index itself.
pub const RESERVED_PREFIX: usize = 8;

/// Most bytes of remembered replies (R23).
pub const REPLIES_BYTES: usize = 4 << 20;
/// Longest life of a remembered reply, seconds (R23).
pub const REPLIES_SECS: u64 = 15 * 60;

/// Least memory of an index, bytes: a transaction's pages and a fault's must fit at once.
pub const MEMORY_LEAST: u64 = 4 << 20;
/// Where ballast is what checkpoints can count on while the store is full (R18), dirty pages are
/// bounded by this part of it too: two checkpoints free what is dead, and both must fit.
pub const DIRTY_PART_OF_ROOM: u64 = 2;
/// But not below this, bytes: a checkpoint's own accounts dirty some pages.
pub const DIRTY_LEAST: u64 = 1 << 20;
/// A checkpoint is due from this share of the budget being dirty, per cent (R16).
pub const DIRTY_CHECKPOINT: u64 = 40;
/// Writers are slowed from this share, per cent (R16).
pub const DIRTY_SLOW: u64 = 60;
/// Writers stop at this share, per cent (R16).
pub const DIRTY_STOP: u64 = 80;
/// Even removals stop at this share, per cent: they dirty pages too.
pub const DIRTY_STOP_SHRINK: u64 = 90;
/// A checkpoint is due after this many chain segments (R20).
pub const SEGMENTS_PER_CHECKPOINT: u32 = 256;
/// While the reserve is in use so many follow the last change, as long as there is something dead: two
/// make it deletable, and one may fall between.
pub const IDLE_CHECKPOINTS: u32 = 3;
/// A checkpoint is due this long after the first change since the last, seconds.
pub const CHECKPOINT_SECS: u64 = 30;
/// Longest that a clean stop waits for its checkpoint, seconds: beyond it the next start replays.
pub const CLOSE_SECS: u64 = 20;
/// Page bytes written before a checkpoint waits for their side segments to be stored.
pub const CHECKPOINT_BATCH_BYTES: u64 = 12 << 20;
/// Pages that a range scan asks for at once when it meets a missing one.
pub const PREFETCH_PAGES: usize = 8;
/// Slots that one step of the eviction clock looks at, under the commit lock.
pub const CLOCK_SLOTS: usize = 512;
/// Segments deleted by one call to the store.
pub const DELETE_BATCH: usize = 256;
/// Ids behind a seal that a fenced writer may have stored: its destage window (R19) twice over.
pub const VOID_IDS: u32 = 2 * logseg::DESTAGE_WINDOW;
/// How often an opening volume starts over because a rival published meanwhile (R2).
pub const OPEN_ATTEMPTS: u32 = 8;
/// Missing pages that one plan of read-ahead may fetch, one after the other.
pub const AHEAD_FAULTS: usize = 16;
/// Checkpoints made at once when a volume was rebuilt from a root entry: as many as are kept.
pub const REBUILT_CHECKPOINTS: u32 = 2;
