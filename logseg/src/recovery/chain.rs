//! One step along the chain: an id, in the store or in the journal.

use bytes::Bytes;
use swiftclient::{StoreError, disk::DiskFile};

use super::{Backlog, OpenTail, Owner, Recovery, Replayed, plain::read_epoch};
use crate::{
    LogError, REPLAY_READ_AHEAD, SIDE_IDS_LOST, SegmentId, Seq,
    again::good,
    crypto::SegmentCipher,
    error::journal_error,
    format::{
        ChainName, ChainObject, FormatError, Kind, ScanError, Scanned, Seal, SegmentHeader, Tail,
        chain_object, open_body, parse_name, scan, scan_sealed, segment_name,
    },
    journal::{Found, Journal},
};

/// Names asked for in one listing.
const PAGE: usize = 1_000;
/// Read of what stands behind the end, bytes: a header, or a whole seal.
const BEGIN_BYTES: u64 = 64 << 10;
/// Read ahead of each segment, bytes: most segments of durability `store` are no longer.
const AHEAD_BYTES: u64 = 256 << 10;

/// What the journal has of an id.
pub(super) enum InJournal {
    Absent,
    /// It was there when the directory was listed.
    Vanished,
    Whole(Found, Scanned, Bytes),
    Open(Found, Scanned, Bytes),
}

/// What the store has of an id.
enum Stored {
    Seal(Box<Seal>),
    Segment(Box<Scanned>),
}

impl Stored {
    /// What `bytes` are, if they are a whole object of this volume that belongs under `id`.
    fn of(id: SegmentId, volume: &[u8; 16], bytes: &Bytes) -> Result<Self, LogError> {
        let wrong = |reason: String| LogError::Corrupt { segment: id, offset: 0, reason };
        match chain_object(bytes).map_err(|e| ScanError::Header(e).of(id))? {
            ChainObject::Seal(seal) if seal.volume != *volume || seal.at != id => {
                Err(wrong(format!("a seal of {} stands there", seal.at)))
            }
            ChainObject::Seal(seal) => Ok(Self::Seal(seal)),
            ChainObject::Segment(header) if header.volume != *volume || header.id != id => {
                Err(wrong(format!("{} of another place stands there", header.id)))
            }
            ChainObject::Segment(_) => {
                Ok(Self::Segment(Box::new(scan_sealed(bytes).map_err(|e| e.of(id))?)))
            }
        }
    }
}

impl Recovery {
    /// Reads the segment at `self.at`, or finds the end of the chain there.
    pub(super) async fn read_one(&mut self) -> Result<(), LogError> {
        let id = self.at;
        if let Some(next) = self.epochs.as_ref().and_then(|epochs| epochs.successor(id)) {
            return self.cross(id, next).await;
        }
        let damaged = match self.fetch_good(id).await {
            Ok((object, bytes)) => return self.stored(id, object, &bytes),
            Err(LogError::Store(e)) if e.is_not_found() => None,
            // What a put that never ended well left there is no loss where the journal has it whole.
            Err(e @ LogError::Corrupt { .. }) => match self.whole_in_journal(id)? {
                true => {
                    tracing::warn!(error = %e, "the journal has it whole: it is stored anew");
                    Some(e)
                }
                false => return Err(e),
            },
            Err(e) => return Err(e),
        };
        if damaged.is_some() || self.owns_journal(id).await? {
            let there = self.in_journal(id)?;
            match self.unless_void(id, there)? {
                InJournal::Absent => {
                    if let Some(damaged) = damaged {
                        return Err(damaged);
                    }
                }
                InJournal::Vanished => {
                    // Look again, in the store first.
                    self.files = self.journal.as_ref().map_or(Ok(Vec::new()), Journal::segments)?;
                    return Ok(());
                }
                InJournal::Whole(found, scanned, bytes) => {
                    let len = scanned.sealed_len().unwrap_or(bytes.len() as u64);
                    self.take(id, &scanned, &bytes)?;
                    let footer = scanned.footer;
                    self.backlog.push(Backlog { found, footer, len, wreck: damaged.is_some() });
                    self.at = after(id);
                    return Ok(());
                }
                InJournal::Open(found, scanned, bytes) => {
                    if let Some(locks) = &self.locks {
                        // Whoever has overruled us closes this segment, and stores what follows.
                        locks.still_ours()?;
                    }
                    self.refuse_damage(id, scanned.end).await?;
                    if let Tail::Torn(fault) = &scanned.tail {
                        tracing::warn!(
                            segment = %id, offset = scanned.end, %fault,
                            "torn tail: what follows was never acknowledged"
                        );
                    }
                    self.take(id, &scanned, &bytes)?;
                    self.tail = Some(OpenTail { found, scanned, bytes });
                    self.end = Some(after(id));
                    return Ok(());
                }
            }
        }
        if id < self.stored_through {
            return Err(LogError::Corrupt {
                segment: id,
                offset: 0,
                reason: format!(
                    "missing, though everything below {} was stored",
                    self.stored_through
                ),
            });
        }
        self.refuse_claims(id, 0)?;
        if let Some(later) = self.goes_on_behind(id).await? {
            // Another opener may have ended the epoch here meanwhile, or the last put landed.
            match self.config.store.head(&segment_name(id)).await {
                Ok(_) => return Ok(()),
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e.into()),
            }
            return Err(LogError::Corrupt {
                segment: id,
                offset: 0,
                reason: format!(
                    "missing, though {later} shows that it was stored: checkpoints or segments \
                     were lost. `esker rebuild` looks for a root in the log"
                ),
            });
        }
        if self.config.abandon_journal {
            self.side_marks_lost(id.epoch());
        }
        self.end = Some(id);
        Ok(())
    }

    /// A segment that ends without its footer is the last of its epoch. Where anything says that a
    /// later one was durable, or that this one was stored, durable bytes are damaged (R3, R11):
    /// closing it here would bury what was acknowledged behind it.
    async fn refuse_damage(&self, id: SegmentId, end: u32) -> Result<(), LogError> {
        let damaged =
            |reason: String| Err(LogError::Corrupt { segment: id, offset: u64::from(end), reason });
        if id < self.stored_through {
            return damaged(format!(
                "cut off, and not in the store, though everything below {} was stored",
                self.stored_through
            ));
        }
        self.refuse_claims(id, end)?;
        // A segment is stored only after all before it are durable (R4).
        match self.config.store.head(&segment_name(after(id))).await {
            Ok(_) => damaged(format!("cut off, though {} is stored", after(id))),
            Err(e) if e.is_not_found() => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// A later object of the epoch of `id` which shows that `id` was stored: a seal, which stands only
    /// where the chain below it was whole, or a segment whose header says so (R3). Others may stand
    /// there: they were put beside it and never acknowledged (R19).
    async fn goes_on_behind(&self, id: SegmentId) -> Result<Option<SegmentId>, LogError> {
        let (store, mut last) = (&self.config.store, segment_name(id));
        let prefix = format!("seg/{:08x}/", id.epoch());
        loop {
            let page = store.list(&prefix, Some(last.as_str()), PAGE).await?;
            for name in &page {
                let Some(ChainName::Segment(later)) = parse_name(name.as_str()) else { continue };
                let begin = match store.get(name, 0..BEGIN_BYTES).await {
                    Err(e) if e.is_not_found() => continue,
                    other => other?,
                };
                let shows = match chain_object(&begin) {
                    Ok(ChainObject::Seal(seal)) => seal.at == later,
                    Ok(ChainObject::Segment(header)) => {
                        let ours = header.id == later && header.volume == self.header.uuid;
                        ours && header.stored_through > id
                    }
                    // Damage proves nothing.
                    Err(_) => false,
                };
                if shows {
                    return Ok(Some(later));
                }
            }
            match page.into_iter().next_back() {
                Some(name) => last = name,
                None => return Ok(None),
            }
        }
    }

    /// A mark other than 0 in a later segment says that all before it were durable (R11).
    fn refuse_claims(&self, id: SegmentId, end: u32) -> Result<(), LogError> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let later = self.files.iter().filter(|f| f.id.epoch() == id.epoch() && f.id > id);
        for found in later {
            let path = journal.segment_path(found.id, found.generation);
            let bytes = match journal.disk.open_read(&path).and_then(|file| read_whole(&*file)) {
                // Unlinked since it was listed: its writer is alive and has stored it.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.map_err(|e| journal_error("read", &path, e))?,
            };
            let ours = |h: &SegmentHeader| self.belongs(found.id, h);
            let claims = match scan(&bytes) {
                Ok(scanned) => ours(&scanned.header) && scanned.mark > 0,
                Err(ScanError::Damaged { .. }) => {
                    SegmentHeader::decode(&bytes).is_ok_and(|h| ours(&h))
                }
                Err(ScanError::Header(_)) => false,
            };
            if claims {
                return Err(LogError::Corrupt {
                    segment: id,
                    offset: u64::from(end),
                    reason: format!("cut off or missing, though {} was synced after it", found.id),
                });
            }
        }
        Ok(())
    }

    fn whole_in_journal(&mut self, id: SegmentId) -> Result<bool, LogError> {
        Ok(matches!(self.in_journal(id)?, InJournal::Whole(..)))
    }

    /// What the store has under `id`, good in itself; its bytes.
    async fn fetch_good(&mut self, id: SegmentId) -> Result<(Stored, Bytes), LogError> {
        let (first, volume) = (self.fetch(id).await?, self.header.uuid);
        let open = |bytes: &Bytes| Ok((Stored::of(id, &volume, bytes)?, bytes.clone()));
        good(&*self.config.store, &segment_name(id), first, open).await
    }

    fn stored(&mut self, id: SegmentId, object: Stored, bytes: &Bytes) -> Result<(), LogError> {
        match object {
            Stored::Seal(seal) => self.ended_by(id, &seal),
            Stored::Segment(scanned) => {
                self.take(id, &scanned, bytes)?;
                let journal_copies = self.files.iter().filter(|f| f.id == id).cloned();
                self.leftovers.extend(journal_copies);
                self.at = after(id);
                Ok(())
            }
        }
    }

    fn ended_by(&mut self, id: SegmentId, seal: &Seal) -> Result<(), LogError> {
        self.ended.push((id.epoch(), id.counter()));
        if seal.abandon_journal {
            self.side_marks_lost(id.epoch());
        }
        self.owner = Some(Owner { journal: seal.journal, holder: seal.holder.clone() });
        self.closed = false;
        self.at = SegmentId::chain(id.epoch() + 1, 0);
        self.enter_epoch()
    }

    /// R7, R8: with the journal of `epoch` the records were given up that reserve its last side
    /// ids: what it stored under them is to be found all the same.
    pub(super) fn side_marks_lost(&mut self, epoch: u32) {
        let known = self.side_marks.iter().filter(|(of, _)| *of == epoch).map(|(_, mark)| *mark);
        let mark = known.max().unwrap_or(0) + SIDE_IDS_LOST;
        self.side_marks.push((epoch, mark));
    }

    /// R5: where somebody's lock was overruled, the mark that makes a stale writer acknowledge
    /// nothing more stands before its files are looked at.
    pub(super) fn enter_epoch(&mut self) -> Result<(), LogError> {
        let Some(journal) = &self.journal else { return Ok(()) };
        if let Some(locks) = &self.locks {
            // Who has overruled us serves, perhaps, the epoch that we are entering. A seal of ours
            // in the store would end it and its writer would not hear of it in the journal.
            locks.still_ours()?;
        }
        if self.locks.as_ref().is_some_and(crate::lock::Locks::overruled) {
            let config = &self.config;
            journal.seal_epoch(self.at.epoch(), &config.holder, &config.env)?;
        }
        self.files = journal.segments()?;
        Ok(())
    }

    /// The object `id`, whole. Read ahead where the store is remote (R20).
    async fn fetch(&mut self, id: SegmentId) -> Result<Bytes, StoreError> {
        let store = self.config.store.clone();
        if store.local_dir().is_some() {
            return store.get(&segment_name(id), 0..u64::MAX).await;
        }
        while self.ahead.front().is_some_and(|(ahead, _)| *ahead < id) {
            self.ahead.pop_front();
        }
        let mut next = self.ahead.back().map_or(id, |(last, _)| after(*last));
        if next.epoch() != id.epoch() {
            self.ahead.clear();
            next = id;
        }
        while self.ahead.len() < REPLAY_READ_AHEAD {
            let store = store.clone();
            let name = segment_name(next);
            let get = async move { store.get(&name, 0..AHEAD_BYTES).await };
            self.ahead.push_back((next, self.config.pool.spawn(get)));
            next = after(next);
        }
        let Some((_, task)) = self.ahead.pop_front() else {
            return store.get(&segment_name(id), 0..u64::MAX).await;
        };
        let begin = match task.await {
            Ok(outcome) => outcome,
            Err(e) => Err(StoreError::Unavailable {
                what: format!("read {id}"),
                reason: format!("the store's pool has stopped: {e}"),
                retry_after: None,
            }),
        };
        match begin {
            Ok(bytes) if (bytes.len() as u64) < AHEAD_BYTES => Ok(bytes),
            // Longer; or absent when it was read ahead, and perhaps there by now.
            Ok(_) => store.get(&segment_name(id), 0..u64::MAX).await,
            Err(e) if e.is_not_found() => store.get(&segment_name(id), 0..u64::MAX).await,
            Err(e) => Err(e),
        }
    }

    /// True where the journal at hand is the one that the epoch of `id` is written with. R5: false
    /// only where the chain ends here whatever another journal has.
    pub(super) async fn owns_journal(&mut self, id: SegmentId) -> Result<bool, LogError> {
        let Some(owner) = self.owner_of(id.epoch()).await? else {
            // Nobody ever wrote this epoch.
            return Ok(false);
        };
        if owner.journal == [0; 16] {
            return Ok(false);
        }
        let ours = self.journal.as_ref().map(|j| j.uuid);
        if ours == Some(owner.journal) {
            return Ok(true);
        }
        if self.closed {
            return Ok(false);
        }
        let uuid = uuid::Uuid::from_bytes(owner.journal);
        if self.config.abandon_journal {
            tracing::warn!(journal = %uuid, at = %id, "the journal is abandoned with what only it has");
            return Ok(false);
        }
        let here = match (&self.config.journal, ours) {
            (None, _) => "no journal is given".to_owned(),
            (Some(dir), None) => format!("there is none in {}", dir.display()),
            (Some(dir), Some(other)) => {
                format!("{} is journal {}", dir.display(), uuid::Uuid::from_bytes(other))
            }
        };
        Err(LogError::Refused(format!(
            "the volume was not closed, and was last written with the journal {uuid} by {}; {here}. \
             The store has the log below {id}. Acknowledged changes behind that may be only there: \
             without them names, contents and attributes are as before. Start with that journal, or \
             give them up with --abandon-journal",
            owner.holder
        )))
    }

    /// Who writes `epoch`: from its beginning seal, else from its own object.
    async fn owner_of(&mut self, epoch: u32) -> Result<Option<Owner>, LogError> {
        if self.owner.is_some() {
            return Ok(self.owner.clone());
        }
        let begun = read_epoch(&*self.config.store, epoch).await?;
        self.owner = begun.map(|seal| Owner { journal: seal.journal, holder: seal.holder });
        Ok(self.owner.clone())
    }

    /// The best of the files that the journal has of `id` (R10: the one with more good entries).
    pub(super) fn in_journal(&mut self, id: SegmentId) -> Result<InJournal, LogError> {
        let Some(journal) = self.journal.clone() else { return Ok(InJournal::Absent) };
        let mut best: Option<(Found, Scanned, Bytes)> = None;
        let mut bad = None;
        for found in self.files.iter().filter(|f| f.id == id) {
            let path = journal.segment_path(id, found.generation);
            // Who holds the locks may go on to sync and store it.
            let opened = match self.locks {
                Some(_) => journal.disk.open(&path),
                None => journal.disk.open_read(&path),
            };
            let file = match opened {
                // The last put of a writer that has just ended: it is stored by now.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    return Ok(InJournal::Vanished);
                }
                other => other.map_err(|e| journal_error("open", &path, e))?,
            };
            let bytes = read_whole(&*file).map_err(|e| journal_error("read", &path, e))?;
            match scan(&bytes) {
                Ok(scanned) if self.belongs(id, &scanned.header) => {
                    let rank = |s: &Scanned| (s.entries.len(), s.sealed_len().is_some());
                    if !scanned.entries.is_empty()
                        && best.as_ref().is_none_or(|(_, b, _)| rank(b) <= rank(&scanned))
                    {
                        self.homes.0.lock().insert(id, file);
                        best = Some((found.clone(), scanned, Bytes::from(bytes)));
                    }
                }
                // Made in advance, never written: absent (R4).
                Err(ScanError::Header(FormatError::Blank { .. })) => {}
                Ok(_) => tracing::warn!(file = %path.display(), "a foreign file is passed over"),
                Err(e) => bad = Some(e.of(id)),
            }
        }
        match (best, bad) {
            (Some((found, scanned, bytes)), _) if scanned.sealed_len().is_some() => {
                Ok(InJournal::Whole(found, scanned, bytes))
            }
            // A generation that was damaged below its mark may have held more than an unfinished
            // copy of it does.
            (_, Some(e)) => Err(e),
            (Some((found, scanned, bytes)), None) => Ok(InJournal::Open(found, scanned, bytes)),
            (None, None) => Ok(InJournal::Absent),
        }
    }

    /// A writer that was overruled may write on behind the tail that its taker has closed, until it
    /// sees the taker's mark: of that it acknowledged nothing, and to who comes next it is absent
    /// (R4: never grafted), also where the taker died before its seal stood.
    fn unless_void(&self, id: SegmentId, there: InJournal) -> Result<InJournal, LogError> {
        let (InJournal::Whole(found, scanned, _) | InJournal::Open(found, scanned, _)) = &there
        else {
            return Ok(there);
        };
        let Some(journal) = &self.journal else { return Ok(there) };
        let follows = self.last.is_none_or(|last| scanned.header.first_seq == Seq(last.0 + 1));
        let mark = journal.sealed_path(id.epoch());
        let looked = journal.disk.exists(&mark);
        if follows || !looked.map_err(|e| journal_error("look at", &mark, e))? {
            return Ok(there);
        }
        tracing::warn!(
            segment = %found.id, first = scanned.header.first_seq.0,
            "void: written after the volume was taken over"
        );
        self.homes.0.lock().remove(&id);
        Ok(InJournal::Absent)
    }

    fn belongs(&self, id: SegmentId, header: &SegmentHeader) -> bool {
        let journal = self.journal.as_ref().map(|j| j.uuid);
        header.id == id && header.volume == self.header.uuid && Some(header.journal) == journal
    }

    /// Takes the records of a segment whose entries are verified.
    fn take(&mut self, id: SegmentId, scanned: &Scanned, bytes: &Bytes) -> Result<(), LogError> {
        let wrong = |reason: String| LogError::Corrupt { segment: id, offset: 0, reason };
        let header = &scanned.header;
        if header.id != id || header.volume != self.header.uuid {
            return Err(wrong(format!("{} of another place stands there", header.id)));
        }
        if header.encrypted != self.config.key.is_some() {
            return Err(wrong("encrypted and plain do not agree with the volume".into()));
        }
        let wanted = Seq(self.last.unwrap_or(self.start.seq).0 + 1);
        let joined = match self.last {
            Some(_) => header.first_seq == wanted,
            // The replay start may lie before what the checkpoint contains.
            None => header.first_seq <= wanted,
        };
        if !joined {
            return Err(wrong(format!(
                "it begins with seq {}, but {} comes next",
                header.first_seq.0, wanted.0
            )));
        }
        let cipher = self.config.key.as_ref().map(|k| SegmentCipher::new(k, &header.nonce));
        let mut next = header.first_seq;
        for entry in &scanned.entries {
            let e = &entry.header;
            let damaged = |reason: String| LogError::Corrupt {
                segment: id,
                offset: u64::from(entry.offset),
                reason,
            };
            if e.kind.takes_seq() {
                if e.seq != next {
                    return Err(damaged(format!("seq {} where {} comes next", e.seq.0, next.0)));
                }
                next = Seq(next.0 + 1);
            }
            self.closed = e.kind == Kind::Closed || (self.closed && e.kind == Kind::Mark);
            let body = bytes.slice_ref(entry.body(bytes));
            match e.kind {
                Kind::Record if e.seq > self.start.seq => {
                    let record = open_body(e, entry.offset, &body, cipher.as_ref())
                        .map_err(|fault| damaged(fault.to_string()))?;
                    // Copied: a small record must not pin its segment.
                    let record = Bytes::copy_from_slice(&record);
                    self.queue.push_back(Replayed { seq: e.seq, segment: id, record });
                }
                Kind::SideReserve => {
                    let below = body.first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
                    self.note_side(id.epoch(), below);
                }
                _ => {}
            }
        }
        self.last = Some(Seq(next.0 - 1));
        self.stored_through = self.stored_through.max(header.stored_through);
        if self.owner.is_none() {
            let holder = "the writer of the last segment".to_owned();
            self.owner = Some(Owner { journal: header.journal, holder });
        }
        Ok(())
    }

    fn note_side(&mut self, epoch: u32, below: u32) {
        match self.side_marks.last_mut() {
            Some((e, mark)) if *e == epoch => *mark = below.max(*mark),
            _ => self.side_marks.push((epoch, below)),
        }
    }
}

/// All bytes of a journal file.
pub(crate) fn read_whole(file: &dyn DiskFile) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(0)];
    let mut have = 0;
    while have < bytes.len() {
        match file.read_at(have as u64, &mut bytes[have..])? {
            0 => break,
            n => have += n,
        }
    }
    bytes.truncate(have);
    Ok(bytes)
}

fn after(id: SegmentId) -> SegmentId {
    SegmentId::chain(id.epoch(), id.counter() + 1)
}
