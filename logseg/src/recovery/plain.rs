//! R2 on a plain store, where a create-only put excludes nobody: a seal under a segment's name would
//! be replaced by a late put of the old writer. So the fact that an epoch begins is an object of its
//! own under a name that no writer puts: `epoch/<e>`, read first.
//!
//! ```text
//!   epoch/2 {at (1,0)}   epoch/3 {at (2,5)}   epoch/4 {at (2,6)}      the objects, in order
//!   (1,0) ──► (2,0) … (2,4) ──► 3: void      (2,5) ──► (4,0) …        the chain that they say
//! ```
//!
//! A writer puts a segment, then looks for the object of the next epoch, and only then acknowledges
//! ([`crate::core::Core::still_ours`]). An opener puts that object, then looks whether a segment
//! stands at the end that it names. So one of the two sees the other. Where it is the opener, what it
//! has begun is void: it replays the segment and begins one epoch further, the end one id later.
//!
//! Of openers that begin one epoch at the same time the last one's object stands; so each looks that
//! nothing is there right before it puts its own, and at it again after a pause, and only then uses
//! the names of the epoch.
//!
//! This relies on the store's showing a new object to all who ask for it by name afterwards, and on
//! no put of a small object taking longer than that pause: on a plain store being the only server
//! remains the operator's promise.
//!
//! Invariants
//! 1. Of several objects that name an end of one epoch, the newest epoch's counts.
//! 2. An end is final once its successor has a segment in either home.

use std::collections::BTreeMap;

use bytes::Bytes;
use swiftclient::{ObjectStore, StoreError};

use super::{Owner, Recovery, chain::InJournal};
use crate::{
    EPOCH_SETTLES, LogError, SegmentId,
    again::read_good,
    format::{Seal, epoch_name, segment_name},
};

/// What the objects `epoch/…` say.
pub(crate) struct Epochs {
    /// The newest epoch that was begun, by whomever.
    newest: u32,
    /// Epoch → the counter before which its chain ends, and the epoch that goes on there.
    ends: BTreeMap<u32, (u32, u32)>,
    /// What began each epoch.
    seals: BTreeMap<u32, Seal>,
}

impl Epochs {
    /// Reads the objects of the epochs after `from`, by name: a listing may lag.
    pub(crate) async fn read(
        store: &dyn ObjectStore,
        volume: &[u8; 16],
        from: u32,
    ) -> Result<Self, LogError> {
        let mut epochs = Self { newest: from, ends: BTreeMap::new(), seals: BTreeMap::new() };
        while let Some(seal) = read_epoch(store, epochs.newest + 1).await? {
            let epoch = epochs.newest + 1;
            if seal.volume != *volume || seal.at.epoch() >= epoch || seal.at.epoch() < from {
                let at = seal.at;
                let name = epoch_name(epoch);
                return Err(LogError::Refused(format!("{name} says that {at} ends there")));
            }
            epochs.note(epoch, seal);
        }
        Ok(epochs)
    }

    fn note(&mut self, epoch: u32, seal: Seal) {
        self.newest = epoch;
        self.ends.insert(seal.at.epoch(), (seal.at.counter(), epoch));
        self.seals.insert(epoch, seal);
    }

    /// The epoch that goes on at `id`, if that is where its epoch ends.
    pub(super) fn successor(&self, id: SegmentId) -> Option<u32> {
        let (end, next) = self.ends.get(&id.epoch())?;
        (id.counter() >= *end).then_some(*next)
    }

    /// The counter before which the chain of `epoch` ends, if anything says that it does.
    pub(crate) fn end_of(&self, epoch: u32) -> Option<u32> {
        self.ends.get(&epoch).map(|(end, _)| *end)
    }

    /// Epochs that were begun, overruled, and never written.
    pub(super) fn void(&self) -> Vec<u32> {
        let goes_on = |epoch: &u32| self.ends.values().any(|(_, next)| next == epoch);
        self.seals.keys().filter(|epoch| !goes_on(epoch)).copied().collect()
    }
}

/// The object that begins `epoch`, if it is there.
pub(crate) async fn read_epoch(
    store: &dyn ObjectStore,
    epoch: u32,
) -> Result<Option<Seal>, LogError> {
    let name = epoch_name(epoch);
    let open = |bytes: &Bytes| {
        let refused = |reason: String| LogError::Refused(format!("{name}: {reason}"));
        let seal = Seal::decode(bytes).map_err(|e| refused(e.to_string()))?;
        match seal.at.epoch() < epoch {
            true => Ok(seal),
            false => Err(refused(format!("it says that {} ends there", seal.at))),
        }
    };
    match read_good(store, &name, open).await {
        Ok(seal) => Ok(Some(seal)),
        Err(LogError::Store(e)) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}

impl Recovery {
    /// The chain of `id`'s epoch ends at `id`: goes on in epoch `next`, unless that is the newest,
    /// has no segment in either home, and a segment has appeared at `id` since.
    pub(super) async fn cross(&mut self, id: SegmentId, next: u32) -> Result<(), LogError> {
        let Some(epochs) = &self.epochs else { return Ok(()) };
        let newest = next == epochs.newest;
        let seal = epochs.seals.get(&next);
        let before = (self.owner.clone(), self.closed);
        self.owner = seal.map(|seal| Owner { journal: seal.journal, holder: seal.holder.clone() });
        self.closed = false;
        let first = SegmentId::chain(next, 0);
        if newest && self.stands(id).await? && !self.begun(first).await? {
            tracing::info!(
                segment = %id, epoch = next,
                "a segment stands where an epoch begun and never written has set the end"
            );
            (self.owner, self.closed) = before;
            if let Some(epochs) = &mut self.epochs {
                epochs.ends.remove(&id.epoch());
            }
            self.ended.push((next, 0));
            return Ok(());
        }
        self.ended.push((id.epoch(), id.counter()));
        self.at = first;
        self.enter_epoch()
    }

    async fn stands(&self, id: SegmentId) -> Result<bool, StoreError> {
        match self.config.store.head(&segment_name(id)).await {
            Ok(_) => Ok(true),
            Err(e) if e.is_not_found() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// True where either home has the first segment of an epoch.
    async fn begun(&mut self, first: SegmentId) -> Result<bool, LogError> {
        if self.stands(first).await? {
            return Ok(true);
        }
        self.enter_epoch()?;
        Ok(self.owns_journal(first).await? && !matches!(self.in_journal(first)?, InJournal::Absent))
    }

    /// Begins the next epoch behind `end`; gives its number, or `None` where a segment has appeared
    /// at `end`.
    ///
    /// Errors: `Fenced` naming who has begun it before us.
    pub(super) async fn begin_epoch(
        &mut self,
        end: SegmentId,
        seal: &Seal,
    ) -> Result<Option<u32>, LogError> {
        let store = self.config.store.clone();
        let Some(epochs) = &mut self.epochs else { return Ok(None) };
        let epoch = epochs.newest + 1;
        let name = epoch_name(epoch);
        // It was absent when the epochs were read. Another may have begun it since, and looked at it
        // after its pause: it would never hear that a put of ours has replaced it.
        if let Some(there) = read_epoch(&*store, epoch).await? {
            return Err(LogError::Fenced { holder: there.holder });
        }
        let error = match store.put_new(&name, vec![Bytes::from(seal.encode())]).await {
            Ok(()) => None,
            Err(e @ (StoreError::Exists { .. } | StoreError::Unknown { .. })) => Some(e),
            Err(e) => return Err(e.into()),
        };
        // Also where the put was fine: another's may have replaced it, or do so while it is on its
        // way. Before the epoch's names are used at all, because those it would replace as well.
        if error.is_none() {
            tokio::time::sleep(EPOCH_SETTLES).await;
        }
        match (read_epoch(&*store, epoch).await?, error) {
            (Some(there), _) if there.nonce == seal.nonce => {}
            (Some(there), _) => return Err(LogError::Fenced { holder: there.holder }),
            (None, Some(error)) => return Err(error.into()),
            (None, None) => {
                return Err(LogError::Refused(format!("{name} was put and is not there")));
            }
        }
        epochs.note(epoch, seal.clone());
        if self.stands(end).await? {
            if let Some(epochs) = &mut self.epochs {
                epochs.ends.remove(&end.epoch());
            }
            self.ended.push((epoch, 0));
            return Ok(None);
        }
        Ok(Some(epoch))
    }
}
