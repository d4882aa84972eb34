use std::{collections::VecDeque, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use swiftclient::{ObjectStore, StoreError, seam::Env};
use tokio::{runtime::Handle, task::JoinHandle};

use crate::{
    Codec, Frame, Location, LogError, Owner, SegmentId, Seq,
    ballast::Tries,
    crypto::{SegmentCipher, VolumeKey},
    equal::{Likeness, put_segment},
    format::{
        Body, Durability, FooterBuilder, Kind, SEGMENT_HEADER, Seed, SegmentHeader, encode_entry,
        footer_len, segment_name,
    },
    limits::SIDE_IN_FLIGHT,
};

/// Bytes per piece of a segment being filled: few pieces, and no doubling of a 16 MiB buffer.
const PIECE_BYTES: usize = 256 << 10;

/// Gives ids to side segments: from the block that a durable chain record has reserved (R7).
pub(crate) trait SideIds: Send + Sync {
    /// The next id, never given before. Waits until its block's record is durable.
    fn next_side_id(&self) -> BoxFuture<'_, Result<SegmentId, LogError>>;

    /// After `error`: gives at least `bytes` of reserve or ballast away (R18), where that is what is
    /// wrong; true where it is to be tried again.
    fn make_room<'a>(&'a self, _error: &'a LogError, _bytes: u64) -> BoxFuture<'a, bool> {
        Box::pin(async { false })
    }

    /// `bytes` of a side segment were stored.
    fn side_stored(&self, _bytes: u64) {}
}

/// What all side segments of a mount have in common.
#[derive(Clone)]
pub(crate) struct SideConfig {
    pub store: Arc<dyn ObjectStore>,
    pub ids: Arc<dyn SideIds>,
    pub pool: Handle,
    pub env: Env,
    pub volume: [u8; 16],
    pub journal: [u8; 16],
    pub durability: Durability,
    /// Size at which a side segment is stored, bytes.
    pub segment_bytes: u64,
    pub key: Option<VolumeKey>,
    /// How pages, roots and reply tables are stored where it pays.
    pub codec: Codec,
}

/// Writes side segments (R7): index pages, root entries, reply tables, cleaner output. Their ids
/// come from the block reserved by a durable chain record; they are stored before anything refers
/// to them, never replayed, never waited for by a sync, never in the journal.
///
/// It holds at most three segments in memory: one that fills and two being stored. Dropped before
/// [`SideWriter::finish`] has given them, what it stored is garbage: it is deleted, or else left to
/// the sweep (R8).
pub struct SideWriter {
    config: SideConfig,
    /// R3's mark for the headers.
    stored_through: SegmentId,
    open: Option<OpenSide>,
    in_flight: VecDeque<JoinHandle<Result<(), LogError>>>,
    ids: Vec<SegmentId>,
}

struct OpenSide {
    id: SegmentId,
    seed: Seed,
    cipher: Option<SegmentCipher>,
    footer: FooterBuilder,
    full: Vec<Bytes>,
    filling: BytesMut,
    at: usize,
}

impl SideWriter {
    pub(crate) fn new(config: SideConfig, stored_through: SegmentId) -> Self {
        let (in_flight, ids) = (VecDeque::new(), Vec::new());
        Self { config, stored_through, open: None, in_flight, ids }
    }

    /// Appends a page of the index. Stores the current side segment and goes on in a new one when
    /// it is full, so the location is final but stored only after [`SideWriter::finish`].
    /// `level` and the key range let `rebuild` work without checkpoints (R25): they are in the
    /// page's own bytes, at most [`crate::PAGE_BYTES`].
    pub async fn page(&mut self, bytes: &[u8]) -> Result<Location, LogError> {
        self.compressed(Kind::Page, bytes).await
    }

    /// Appends the self-describing root entry (R25), the last of a checkpoint; at most
    /// [`crate::PAGE_BYTES`].
    pub async fn root(&mut self, bytes: &[u8]) -> Result<Location, LogError> {
        self.compressed(Kind::Root, bytes).await
    }

    /// Appends a reply table (R23); at most [`crate::RECORD_BYTES`].
    pub async fn replies(&mut self, bytes: &[u8]) -> Result<Location, LogError> {
        self.compressed(Kind::Replies, bytes).await
    }

    /// Appends a data frame (cleaner).
    pub async fn data(&mut self, frame: &Frame) -> Result<Location, LogError> {
        self.append(Kind::Data, frame.owner, &frame.body).await
    }

    /// Waits until everything appended is *stored*; gives the segments written.
    ///
    /// Errors: the first that a segment met. Then nothing written here may be referred to.
    pub async fn finish(mut self) -> Result<Vec<SegmentId>, LogError> {
        self.store_open().await?;
        self.wait_for_all_but(0).await?;
        Ok(std::mem::take(&mut self.ids))
    }

    async fn compressed(&mut self, kind: Kind, bytes: &[u8]) -> Result<Location, LogError> {
        let bytes = Bytes::copy_from_slice(bytes);
        let Some(body) = Body::new(kind, &bytes, self.config.codec) else {
            let (n, limit) = (bytes.len(), kind.limit());
            return Err(LogError::Refused(format!("{kind:?} of {n} bytes; at most {limit}")));
        };
        self.append(kind, Owner(0), &body).await
    }

    async fn append(
        &mut self,
        kind: Kind,
        owner: Owner,
        body: &Body,
    ) -> Result<Location, LogError> {
        let len = body.entry_len(self.config.key.is_some()) as usize;
        let limit = self.config.segment_bytes;
        if self.open.as_ref().is_some_and(|o| o.len_with(len) as u64 > limit && o.is_used()) {
            self.store_open().await?;
        }
        if self.open.is_none() {
            self.open = Some(self.new_segment().await?);
        }
        match &mut self.open {
            Some(open) => Ok(open.append(kind, owner, body)),
            None => unreachable!("opened just above"),
        }
    }

    async fn new_segment(&mut self) -> Result<OpenSide, LogError> {
        let config = &self.config;
        let id = config.ids.next_side_id().await?;
        let mut nonce = [0; 16];
        config.env.dice.fill(&mut nonce);
        let header = SegmentHeader {
            volume: config.volume,
            id,
            nonce,
            journal: config.journal,
            durability: config.durability,
            first_seq: Seq(0),
            stored_through: self.stored_through,
            segment_bytes: config.segment_bytes,
            encrypted: config.key.is_some(),
        };
        self.ids.push(id);
        Ok(OpenSide::new(&header, config.key.as_ref()))
    }

    /// Seals the open segment, if there is one, and starts to store it. Waits while two are in
    /// flight.
    async fn store_open(&mut self) -> Result<(), LogError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        self.wait_for_all_but(SIDE_IN_FLIGHT - 1).await?;
        let name = segment_name(open.id);
        let (pieces, ours) = open.seal();
        let store = self.config.store.clone();
        // Weak: a put under way does not keep the log open.
        let ids = Arc::downgrade(&self.config.ids);
        let put = async move {
            // The reserve is there for checkpoints: on a full disk only they free anything.
            let mut tries = Tries::at(&*store);
            let done = loop {
                let error = match put_segment(&*store, &name, &pieces, ours).await {
                    Err(error) => error,
                    done => break done,
                };
                let make_room = async {
                    match ids.upgrade() {
                        Some(log) => log.make_room(&error, ours.len).await,
                        None => false,
                    }
                };
                if !tries.again(&error, make_room).await {
                    break Err(error);
                }
            };
            if let (Ok(()), Some(ids)) = (&done, ids.upgrade()) {
                ids.side_stored(ours.len);
            }
            done
        };
        self.in_flight.push_back(self.config.pool.spawn(put));
        Ok(())
    }

    async fn wait_for_all_but(&mut self, left: usize) -> Result<(), LogError> {
        while self.in_flight.len() > left {
            let Some(oldest) = self.in_flight.pop_front() else { break };
            oldest.await.unwrap_or_else(|e| {
                Err(LogError::Store(StoreError::Unavailable {
                    what: "store a side segment".to_owned(),
                    reason: format!("the store's pool has stopped: {e}"),
                    retry_after: None,
                }))
            })?;
        }
        Ok(())
    }
}

/// On a full store an attempt that failed must give back what it took (R18).
impl Drop for SideWriter {
    fn drop(&mut self) {
        let open = self.open.take().map(|open| open.id);
        let put = self.ids.drain(..).filter(|id| Some(*id) != open);
        let names: Vec<_> = put.map(segment_name).collect();
        if names.is_empty() {
            return;
        }
        let (store, in_flight) = (self.config.store.clone(), std::mem::take(&mut self.in_flight));
        self.config.pool.spawn(async move {
            for put in in_flight {
                let _ = put.await;
            }
            if let Err(error) = store.delete_many(&names).await {
                tracing::debug!(%error, "side segments of an unfinished attempt stay");
            }
        });
    }
}

impl OpenSide {
    fn new(header: &SegmentHeader, key: Option<&VolumeKey>) -> Self {
        let mut filling = BytesMut::with_capacity(PIECE_BYTES);
        filling.extend_from_slice(&header.encode());
        Self {
            id: header.id,
            seed: Seed::new(&header.nonce),
            cipher: key.map(|key| SegmentCipher::new(key, &header.nonce)),
            footer: FooterBuilder::new(header),
            full: Vec::new(),
            filling,
            at: SEGMENT_HEADER,
        }
    }

    /// Length of the sealed segment, had it one more entry of `len` bytes.
    fn len_with(&self, len: usize) -> usize {
        self.at + len + footer_len(self.footer.count() + 1)
    }

    fn is_used(&self) -> bool {
        self.footer.count() > 0
    }

    fn append(&mut self, kind: Kind, owner: Owner, body: &Body) -> Location {
        // Segments end far below 2³¹ bytes.
        let offset = u32::try_from(self.at).unwrap_or(u32::MAX);
        let ordinal = u32::try_from(self.footer.count()).unwrap_or(u32::MAX);
        let (seed, cipher) = (&self.seed, self.cipher.as_ref());
        let entry = encode_entry(kind, body, owner, Seq(0), ordinal, offset, 0, seed, cipher);
        self.footer.push(offset, &entry.fields, &entry.header);
        for piece in entry.pieces() {
            self.put(piece);
        }
        Location { segment: self.id, offset, stored: entry.fields.stored() }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.at += bytes.len();
        if self.filling.len() + bytes.len() > PIECE_BYTES {
            let fresh = BytesMut::with_capacity(PIECE_BYTES.max(bytes.len()));
            self.full.push(std::mem::replace(&mut self.filling, fresh).freeze());
        }
        self.filling.extend_from_slice(bytes);
    }

    /// All its bytes, footer included.
    fn seal(mut self) -> (Vec<Bytes>, Likeness) {
        let offset = u32::try_from(self.at).unwrap_or(u32::MAX);
        let digest = self.footer.digest();
        // A side segment is stored as a whole: no part of it is durable before.
        let footer = self.footer.encode(offset, 0);
        self.put(&footer);
        let len = self.at as u64;
        self.full.push(self.filling.freeze());
        (self.full, Likeness { len, digest })
    }
}

#[cfg(test)]
mod tests;
