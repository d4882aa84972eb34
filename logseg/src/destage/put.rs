//! One segment to the store, and what its answer means.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use swiftclient::{ObjectName, ObjectWriter, StoreError, seam::TRACE};

use crate::{
    ALARM_ATTEMPTS, BACKOFF_FIRST, BACKOFF_MAX, LogError, SegmentId,
    again::read_good,
    ballast::{For, Tries},
    chain::JournalFile,
    core::{Core, Failure, wake},
    equal::remove_wreck,
    error::journal_error,
    format::{
        ChainObject, FOOTER_TAIL, FooterTail, SEGMENT_HEADER, SegmentHeader, chain_object, crc32c,
        scan_sealed, segment_name,
    },
};

/// What is to be stored.
struct Source {
    len: u64,
    digest: u64,
    from: From,
}

enum From {
    File(Arc<JournalFile>),
    /// The file's bytes and not the file: an fdatasync of it failed (R10) after its bytes had been
    /// durable, when it was cut to its length.
    Copy(Arc<JournalFile>),
    Memory(Vec<Bytes>),
}

/// How the bytes go.
pub(super) enum Sent {
    /// By an ordinary put of the whole.
    Whole,
    /// All are sent already; only the end is missing (R13).
    Streamed(Box<dyn ObjectWriter>),
}

/// How a put ended.
enum Outcome {
    Stored,
    /// Another owns the chain.
    Fenced(String),
    /// Try again later.
    Later(LogError),
}

impl Core {
    /// Puts segment `id`, whose phase is `Storing`, and notes the outcome.
    pub(super) async fn store_segment(self: &Arc<Self>, id: SegmentId) {
        self.complete(id, Sent::Whole).await;
        self.keeper.notify_one();
    }

    pub(super) async fn complete(self: &Arc<Self>, id: SegmentId, sent: Sent) {
        let Some(source) = self.source(id) else { return };
        let outcome = match self.put_source(id, &source, sent).await {
            Outcome::Later(e) if self.make_room(&e, source.len, For::Chain).await => {
                self.put_source(id, &source, Sent::Whole).await
            }
            other => other,
        };
        let outcome = match outcome {
            // On a plain store the put itself fenced nobody (R2).
            Outcome::Stored => match self.still_ours().await {
                Ok(()) => Outcome::Stored,
                Err(LogError::Fenced { holder }) => Outcome::Fenced(holder),
                Err(e) => Outcome::Later(e),
            },
            other => other,
        };
        match outcome {
            Outcome::Stored => self.note_stored(id),
            Outcome::Fenced(holder) => self.fail(Failure::Fenced(holder)),
            Outcome::Later(error) => self.note_failed(id, &error),
        }
    }

    fn source(&self, id: SegmentId) -> Option<Source> {
        if self.journal.is_none() {
            self.encode_segment(id);
        }
        let mut state = self.lock();
        let segment = state.chain.find_mut(id)?;
        let from = match segment.file.clone() {
            _ if segment.rescued.is_some() => {
                From::Memory(segment.rescued.clone().unwrap_or_default())
            }
            Some(file) if segment.distrusted => From::Copy(file),
            Some(file) => From::File(file),
            None => From::Memory(segment.pieces(0, segment.end)),
        };
        Some(Source { len: segment.end, digest: segment.digest, from })
    }

    async fn put_source(&self, id: SegmentId, source: &Source, sent: Sent) -> Outcome {
        if let Some(journal) = &self.journal
            && let Ok(Some(holder)) = journal.sealed_by(&self.sealed_path)
        {
            // Who took over stores what it found in the journal itself.
            return Outcome::Fenced(holder);
        }
        let name = segment_name(id);
        self.counts.puts.fetch_add(1, Ordering::Relaxed);
        let done = match (sent, &source.from) {
            (Sent::Streamed(writer), _) => writer.finish().await,
            (Sent::Whole, From::Memory(pieces)) => self.store.put_new(&name, pieces.clone()).await,
            (Sent::Whole, From::Copy(file)) => match sealed_bytes(id, file, source.len) {
                Ok(bytes) => self.store.put_new(&name, vec![bytes]).await,
                Err(e) => return Outcome::Later(e),
            },
            (Sent::Whole, From::File(file)) => match self.trim(file, source.len) {
                Ok(()) => self.store.put_file(&name, &file.path, source.len).await,
                Err(e) => {
                    return Outcome::Later(journal_error("trim", &file.path, e));
                }
            },
        };
        match done {
            Ok(()) => match self.verify(&name, source).await {
                Ok(true) => Outcome::Stored,
                Ok(false) => Outcome::Later(LogError::Corrupt {
                    segment: id,
                    offset: 0,
                    reason: "the store holds other bytes than it was given".into(),
                }),
                Err(e) => Outcome::Later(e.into()),
            },
            // Ours from before, or another's: only its bytes tell (R4).
            Err(StoreError::Exists { .. } | StoreError::Unknown { .. }) => {
                self.examine(id, &name, source).await
            }
            Err(e) => Outcome::Later(e.into()),
        }
    }

    /// R12: a file is linked only at its true length.
    fn trim(&self, file: &JournalFile, len: u64) -> std::io::Result<()> {
        // The link's own fdatasync makes the new length durable.
        if file.file.len()? > len { file.file.set_len(len) } else { Ok(()) }
    }

    /// R19: what the store holds equals what we have, by its own word.
    async fn verify(&self, name: &ObjectName, source: &Source) -> Result<bool, StoreError> {
        if self.store.attests() {
            return Ok(true);
        }
        self.read_back(name, source).await
    }

    async fn read_back(&self, name: &ObjectName, source: &Source) -> Result<bool, StoreError> {
        if let (From::File(file), Some(dir)) = (&source.from, self.store.local_dir()) {
            let there = self.disk.identity(&dir.join(name.as_str()));
            if let (Ok(there), Ok(ours)) = (there, file.file.identity())
                && there == ours
            {
                return Ok(true);
            }
        }
        let info = self.store.head(name).await?;
        if info.len != source.len {
            return Ok(false);
        }
        let ours = self.checksum(source).map_err(|e| StoreError::Unavailable {
            what: format!("read back {name}"),
            reason: e.to_string(),
            retry_after: None,
        })?;
        if let Some(theirs) = info.crc32c {
            return Ok(theirs == ours);
        }
        let bytes = self.store.get(name, 0..source.len).await?;
        Ok(crc32c(&bytes) == ours)
    }

    fn checksum(&self, source: &Source) -> std::io::Result<u32> {
        self.bytes(source).map(|bytes| crc32c(&bytes))
    }

    fn bytes(&self, source: &Source) -> std::io::Result<Bytes> {
        match &source.from {
            From::Memory(pieces) => Ok(pieces.concat().into()),
            From::File(file) | From::Copy(file) => read_bytes(file, source.len),
        }
    }

    /// What stands under a name that should have been free.
    async fn examine(&self, id: SegmentId, name: &ObjectName, source: &Source) -> Outcome {
        // What only says that an answer is not this object's, or damaged, is asked for again.
        let open = |bytes: &Bytes| self.told(id, name, source, bytes);
        let damage = match read_good(&*self.store, name, open).await {
            Ok(Some(holder)) => return Outcome::Fenced(holder),
            // What was attested was another request's answer, if any.
            Ok(None) => match self.read_back(name, source).await {
                Ok(true) => return Outcome::Stored,
                Ok(false) => LogError::Corrupt {
                    segment: id,
                    offset: 0,
                    reason: format!("{name} reads back with other bytes"),
                },
                Err(e) => return Outcome::Later(e.into()),
            },
            Err(e @ LogError::Corrupt { .. }) => e,
            // Not there after all, or not to be seen now.
            Err(e) => return Outcome::Later(e),
        };
        let removed = match self.bytes(source) {
            Ok(ours) => remove_wreck(&*self.store, name, &ours).await,
            Err(_) => Ok(false),
        };
        // Its name is free now, or it stays as it is: the put is tried again.
        Outcome::Later(removed.map_or_else(Into::into, |_| damage))
    }

    /// What `bytes`, which stand where `source` belongs, tell: `None`, ours; else who fences us.
    fn told(
        &self,
        id: SegmentId,
        name: &ObjectName,
        source: &Source,
        bytes: &Bytes,
    ) -> Result<Option<String>, LogError> {
        let wrong = |reason: String| Err(LogError::Corrupt { segment: id, offset: 0, reason });
        match chain_object(bytes) {
            Ok(other) if other.id() != id => wrong(format!("{name} holds {}", other.id())),
            Ok(ChainObject::Seal(seal)) => Ok(Some(seal.holder)),
            Ok(ChainObject::Segment(_)) if same(bytes, source) => Ok(None),
            // The nonce in the header is ours alone: damaged there, or on the way here.
            Ok(ChainObject::Segment(header)) if self.nonce(source) == Some(header.nonce) => {
                wrong(format!("{name} is ours and damaged"))
            }
            Ok(ChainObject::Segment(_)) => {
                Ok(Some(format!("another writer of {id}: its segment stands in the store")))
            }
            Err(e) => wrong(format!("something else stands under {name}: {e}")),
        }
    }

    /// The nonce of what is to be stored.
    fn nonce(&self, source: &Source) -> Option<[u8; 16]> {
        let mut head = [0; SEGMENT_HEADER];
        match &source.from {
            From::Memory(pieces) => {
                let bytes = pieces.iter().flatten();
                head.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            }
            From::File(file) | From::Copy(file) => {
                file.file.read_at(0, &mut head).ok()?;
            }
        }
        SegmentHeader::decode(&head).ok().map(|header| header.nonce)
    }

    /// Puts a small object of ours, create-only, durable on return. After an unknown outcome it is
    /// read back.
    pub(crate) async fn put_small(&self, name: &ObjectName, bytes: Bytes) -> Result<(), LogError> {
        self.counts.puts.fetch_add(1, Ordering::Relaxed);
        let mut tries = Tries::at(&*self.store);
        let error = loop {
            let error = match self.store.put_new(name, vec![bytes.clone()]).await {
                Ok(()) => return Ok(()),
                Err(e @ (StoreError::Exists { .. } | StoreError::Unknown { .. })) => break e,
                Err(e) => LogError::from(e),
            };
            if !tries.again(&error, self.make_room(&error, 1, For::Small)).await {
                return Err(error);
            }
        };
        let ours = |there: &Bytes| match *there == bytes {
            true => Ok(()),
            false => Err(LogError::Fenced { holder: format!("the writer of {name}") }),
        };
        match read_good(&*self.store, name, ours).await {
            Err(LogError::Store(e)) if e.is_not_found() => Err(error.into()),
            settled => settled,
        }
    }

    fn note_stored(&self, id: SegmentId) {
        self.counts.stored_segments.fetch_add(1, Ordering::Relaxed);
        let now = self.env.clock.monotonic();
        tracing::debug!(target: TRACE, segment = %id, "segment stored");
        let mut state = self.lock();
        let Some(segment) = state.chain.find_mut(id) else { return };
        let (file, bytes) = (segment.file.clone(), segment.end);
        let mut released = Vec::new();
        let level = state.level();
        if state.view.stored(id) {
            let first = state.view.stored_through();
            if self.journal.is_none() || state.rescue.is_some() {
                released = self.store_made_durable(&mut state, first);
            }
            state.chain.trim(first);
        }
        state.pace.stored(bytes, &level, now);
        state.put_error = state.put_error.take().filter(|(failed, _)| *failed != id);
        state.progress = now;
        self.ballast.stored(bytes);
        self.ballast.chain_stored();
        self.show_level(&state);
        let wakers = std::mem::take(&mut state.stores);
        drop(state);
        wake(wakers);
        self.keep_readable(released.into_iter().flat_map(|r| r.bodies).collect());
        if let (Some(journal), Some(file)) = (&self.journal, file) {
            // Not synced: a name that comes back is found stored by the next recovery.
            if let Err(e) = journal.remove(id, file.generation) {
                tracing::warn!(error = %e, "the journal file of a stored segment stays");
            }
        }
    }

    fn note_failed(&self, id: SegmentId, error: &LogError) {
        let now = self.env.clock.monotonic();
        let dice = self.env.random_u64();
        let links = self.links();
        let mut state = self.lock();
        let attempts = state.view.unit(id).map_or(1, |u| u.attempts + 1);
        let pause = backoff(attempts, dice);
        if attempts == ALARM_ATTEMPTS {
            tracing::error!(segment = %id, attempts, error = %error, "still not stored");
        } else {
            tracing::warn!(segment = %id, attempts, ?pause, error = %error, "not stored yet");
        }
        state.note_error(id, error);
        state.view.failed(id, now + pause);
        let Some(segment) = state.chain.find_mut(id) else { return };
        let doubt =
            matches!(error, LogError::Journal { .. } | LogError::Store(StoreError::Corrupt { .. }))
                || (links && matches!(error, LogError::Store(StoreError::Unknown { .. })));
        segment.distrusted |= doubt && segment.file.is_some();
        // Who waits for it may have waited long enough.
        let wakers = std::mem::take(&mut state.stores);
        drop(state);
        wake(wakers);
    }
}

fn read_bytes(file: &JournalFile, len: u64) -> std::io::Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    let n = file.file.read_at(0, &mut bytes)?;
    bytes.truncate(n);
    Ok(bytes.into())
}

/// The bytes of a sealed segment, every entry checked.
fn sealed_bytes(id: SegmentId, file: &JournalFile, len: u64) -> Result<Bytes, LogError> {
    let bytes = read_bytes(file, len).map_err(|e| journal_error("read", &file.path, e))?;
    scan_sealed(&bytes).map_err(|e| e.of(id))?;
    Ok(bytes)
}

/// Equal length and footer (R4).
fn same(bytes: &[u8], source: &Source) -> bool {
    let tail = bytes.last_chunk::<FOOTER_TAIL>().map(FooterTail::decode);
    bytes.len() as u64 == source.len
        && matches!(tail, Some(Ok(tail)) if tail.digest == source.digest)
}

/// Doubles up to a limit; between half and the whole of it, by the dice.
pub(super) fn backoff(attempts: u32, dice: u64) -> Duration {
    let whole = BACKOFF_FIRST.saturating_mul(1 << attempts.min(16).saturating_sub(1));
    let half = whole.min(BACKOFF_MAX) / 2;
    let spread = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
    half + Duration::from_micros(dice % spread)
}
