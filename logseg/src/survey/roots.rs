//! Root entries in side segments (R25), and whether the chain vouches for one.

use bytes::Bytes;

use super::{JournalItemKind, Survey};
use crate::{
    DESTAGE_WINDOW, Location, LogError, SegmentId, Seq,
    format::{
        ChainObject, Kind, SEGMENT_HEADER, SegmentHeader, Stretch, chain_object, examine,
        segment_name,
    },
    recovery::plain::{Epochs, read_epoch},
};

/// Ids behind a seal that a fenced writer may have stored: so far back a seal is looked for.
const VOID_IDS: u32 = 2 * DESTAGE_WINDOW;

/// Body of a root entry, and where it stands.
pub type Root = (Location, Bytes);

impl Survey {
    /// The root entry that ends the side segment `id`, if one does.
    ///
    /// Errors: `Store`; `Corrupt` where there is one that cannot be read, or where the segment is so
    /// damaged that there may have been.
    pub async fn root_of(&self, id: SegmentId) -> Result<Option<Root>, LogError> {
        let footer = match self.footer(id).await {
            Ok(Some(footer)) => footer,
            Ok(None) => return Ok(None),
            Err(e @ LogError::Corrupt { .. }) => return self.root_in_the_ruins(id, e).await,
            Err(e) => return Err(e),
        };
        let last = footer.locations().filter(|(entry, _)| entry.kind == Kind::Root).last();
        let Some((_, location)) = last else { return Ok(None) };
        match self.entry(&location, &footer.tail.nonce).await {
            Ok((header, body)) if header.kind == Kind::Root => Ok(Some((location, body))),
            Ok(_) => Err(LogError::Corrupt {
                segment: id,
                offset: u64::from(location.offset),
                reason: "no root entry stands where the footer names one".into(),
            }),
            Err(e) => Err(e),
        }
    }

    /// The same without a footer: from entry to entry.
    async fn root_in_the_ruins(
        &self,
        id: SegmentId,
        error: LogError,
    ) -> Result<Option<Root>, LogError> {
        let Some(bytes) = self.object(&segment_name(id)).await? else { return Ok(None) };
        let examined = examine(&bytes);
        let root = examined.stretches.iter().rev().find_map(|stretch| match stretch {
            Stretch::Entry(entry) if entry.header.kind == Kind::Root => Some(entry),
            _ => None,
        });
        let found = root.and_then(|entry| {
            let body = self.body(&examined, &bytes, entry.offset)?;
            Some((entry.location(id), body))
        });
        found.map(Some).ok_or(error)
    }

    /// Whether the chain before `start` is known to have been in the log up to `seq`: a root whose
    /// checkpoint was never published may contain what no sync ever answered for, and what the log
    /// went on without. `side` is the segment that holds the root. `Err` inside says why not.
    ///
    /// Errors: `Store`, `Journal`.
    pub async fn vouches(
        &self,
        start: SegmentId,
        seq: Seq,
        side: SegmentId,
    ) -> Result<Result<(), String>, LogError> {
        let (epoch, first) = (start.epoch(), start.counter());
        if let Some(end) = self.epoch_end(epoch).await? {
            return Ok(if end >= first {
                Ok(())
            } else {
                let end = SegmentId::chain(epoch, end);
                Err(format!("the log left that epoch at {end}, before {start}"))
            });
        }
        for back in 1..=VOID_IDS.min(first) {
            let id = SegmentId::chain(epoch, first - back);
            if let Some(ChainObject::Seal(_)) = self.begin_of(id).await? {
                return Ok(Err(format!("a seal at {id} ends that epoch before {start}")));
            }
        }
        if first == 0 {
            return Ok(Ok(()));
        }
        let before = SegmentId::chain(epoch, first - 1);
        if let Some(last) = self.last_seq_of(before).await? {
            return Ok(if last >= seq {
                Ok(())
            } else {
                Err(format!("{before} ends with record {}, not {}", last.0, seq.0))
            });
        }
        // Retired, if it was stored: whoever wrote later says so.
        for id in [side, start] {
            if let Some(ChainObject::Segment(header)) = self.begin_of(id).await?
                && header.stored_through >= start
            {
                return Ok(Ok(()));
            }
        }
        Ok(Err(format!("{before} is missing, and nothing says that it was ever stored")))
    }

    /// The counter before which the epoch's chain ends, as far as an object of its own says so.
    async fn epoch_end(&self, epoch: u32) -> Result<Option<u32>, LogError> {
        if self.header.fencing {
            let seal = read_epoch(&*self.store, epoch + 1).await;
            // Damaged: the seal under the segment's name says the same.
            let seal = match seal {
                Err(LogError::Refused(_)) => None,
                other => other?,
            };
            return Ok(seal.filter(|s| s.at.epoch() == epoch).map(|s| s.at.counter()));
        }
        let epochs = Epochs::read(&*self.store, &self.header.uuid, epoch).await?;
        Ok(epochs.end_of(epoch))
    }

    /// What an object under a segment's name is; `None`: absent, or unreadable.
    async fn begin_of(&self, id: SegmentId) -> Result<Option<ChainObject>, LogError> {
        match self.store.get(&segment_name(id), 0..super::SEAL_MOST).await {
            Ok(bytes) => Ok(chain_object(&bytes).ok()),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// The last seq of a whole chain segment, in either home.
    async fn last_seq_of(&self, id: SegmentId) -> Result<Option<Seq>, LogError> {
        match self.footer(id).await {
            Ok(Some(footer)) => return Ok(Some(footer.tail.last_seq)),
            Ok(None) | Err(LogError::Corrupt { .. }) => {}
            Err(e) => return Err(e),
        }
        let Some(bytes) = self.in_journal(id)? else { return Ok(None) };
        let examined = examine(&bytes);
        Ok(examined.footer().map(|footer| footer.tail.last_seq))
    }

    /// A segment in the store that shows that the log went on behind `end`, where it should have
    /// ended: of a later epoch, or one before whose writing more than that was stored.
    ///
    /// Errors: `Store`.
    pub async fn goes_on_behind(&self, end: SegmentId) -> Result<Option<SegmentId>, LogError> {
        for id in self.segments().await? {
            if !id.is_side() && id <= end {
                continue;
            }
            if !id.is_side() && id.epoch() > end.epoch() {
                return Ok(Some(id));
            }
            // One that cannot be read proves nothing: a torn copy, or damage that others show.
            let begin = match self.store.get(&segment_name(id), 0..SEGMENT_HEADER as u64).await {
                Err(e) if e.is_not_found() => continue,
                other => other?,
            };
            if SegmentHeader::decode(&begin).is_ok_and(|header| header.stored_through > end) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// A segment, in either home, that stands behind `end` in its epoch, where the log ends: put or
    /// written beside it and never acknowledged (R4, R19), or all that is left of what was.
    ///
    /// Errors: `Store`, `Journal`.
    pub async fn stands_behind(&self, end: SegmentId) -> Result<Option<SegmentId>, LogError> {
        let behind = |id: &SegmentId| !id.is_side() && id.epoch() == end.epoch() && *id > end;
        for id in self.segments().await?.into_iter().filter(behind) {
            if !self.is_seal(id).await? {
                return Ok(Some(id));
            }
        }
        for item in self.journal()? {
            let JournalItemKind::Segment(id, _) = item.kind else { continue };
            if !behind(&id) {
                continue;
            }
            let bytes = self.file(&item.path)?.unwrap_or_default();
            if examine(&bytes).entries().next().is_some() {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}
