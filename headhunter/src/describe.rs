//! What a body of the log says, for who looks at it from outside (`esker inspect`).

use bytes::Bytes;
use logseg::{Location, SegmentId, Seq, format::Kind};

use crate::{
    apply::usage_item,
    checkpoint::format::{Body, Checkpoint},
    record::Outcome,
    replies::Replies,
    tree::{budget::Budget, page::Page},
};

/// The body of an entry that belongs to the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Described {
    /// A record: the outcome of one transaction.
    Record {
        /// Keys and their new values; `None`: removed.
        writes: Vec<(Bytes, Option<Bytes>)>,
        /// Changes of segments' live bytes.
        usage: Vec<(SegmentId, i64)>,
        /// Whether it carries a reply that is remembered (R23).
        reply: bool,
    },
    /// A page.
    Page {
        /// 0: a leaf.
        level: u8,
        /// Seq of its last change.
        birth: Seq,
        /// Least key that may stand in it.
        low: Vec<u8>,
        /// Least key that may not.
        high: Option<Vec<u8>>,
        /// Of an inner page.
        children: Vec<(Location, Seq)>,
        /// Items of a leaf, separators of an inner page (without values).
        cells: Vec<(Vec<u8>, Vec<u8>)>,
    },
    /// A root entry, or a checkpoint.
    Root {
        /// Newest seq in it.
        seq: Seq,
        /// Where replay begins.
        replay_start: SegmentId,
        /// Nanoseconds since 1970.
        wall: u64,
        /// Writer's epoch, and below which side counter it had reserved.
        epoch: (u32, u32),
        /// The root page, and its birth.
        root: (Location, Seq),
        /// The reply table.
        replies: Option<Location>,
        /// Changes of usage that are not in the root yet.
        usage: Vec<(SegmentId, i64)>,
        /// Epochs to be swept: epoch, counter of its seal, side mark, times swept.
        ended: Vec<[u32; 4]>,
        /// Chain segments that only the journal had.
        leans: Vec<SegmentId>,
        /// Of a checkpoint: where its root entry stands.
        entry: Option<Location>,
    },
    /// A table of remembered replies: how many.
    Replies(usize),
}

/// What the decoded body of an entry of this kind says; `None` where it says nothing that the index
/// knows, or does not decode.
pub fn describe(kind: Kind, body: &Bytes) -> Option<Described> {
    match kind {
        Kind::Record => {
            let Outcome { writes, usage, reply } = Outcome::decode(body)?;
            Some(Described::Record { writes, usage, reply: reply.is_some() })
        }
        Kind::Page => page(body),
        Kind::Root => Body::decode(body).map(|body| root(body, None)),
        Kind::Replies => Replies::decode(body).map(|replies| Described::Replies(replies.len())),
        Kind::Data | Kind::Mark | Kind::Closed | Kind::SideReserve => None,
    }
}

/// What the index's bytes of a checkpoint object say.
pub fn describe_checkpoint(bytes: &Bytes) -> Option<Described> {
    let Checkpoint { body, entry } = Checkpoint::decode(bytes)?;
    Some(root(body, Some(entry)))
}

/// A key of the index's own, in words.
pub fn describe_own(key: &[u8], value: &[u8]) -> Option<String> {
    let (segment, bytes) = usage_item(key, value)?;
    Some(format!("usage of {segment}: {bytes} bytes"))
}

fn page(body: &Bytes) -> Option<Described> {
    let (page, birth) = Page::decode(body, &std::sync::Arc::new(Budget::default())).ok()?;
    let child = |slot: &std::sync::Arc<crate::tree::PageRef>| {
        let state = slot.state.read();
        Some((state.place.location()?, state.birth))
    };
    let value = |i| if page.level == 0 { page.cells.value(i).to_vec() } else { Vec::new() };
    Some(Described::Page {
        level: page.level,
        birth,
        low: page.low.to_vec(),
        high: page.high.as_ref().map(|high| high.to_vec()),
        children: page.children.iter().filter_map(child).collect(),
        cells: (0..page.cells.len()).map(|i| (page.cells.key(i).to_vec(), value(i))).collect(),
    })
}

fn root(body: Body, entry: Option<Location>) -> Described {
    Described::Root {
        seq: body.seq,
        replay_start: body.replay_start,
        wall: body.wall,
        epoch: (body.epoch, body.side_mark),
        root: body.root,
        replies: body.replies,
        usage: body.usage.into_iter().collect(),
        ended: body.ended.iter().map(|e| [e.epoch, e.seal, e.side_mark, e.rounds]).collect(),
        leans: body.leans,
        entry,
    }
}
