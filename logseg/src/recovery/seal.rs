//! Ending the old epoch and beginning the new one (R2, R4, R5, R10).

use std::{collections::VecDeque, io, sync::Arc};

use bytes::Bytes;
use swiftclient::{ObjectName, StoreError, probe};

use super::{Backlog, OpenTail, Recovery, Sealed, chain::read_whole};
use crate::{
    Log, LogError, LogWriter, SegmentId,
    again::read_good,
    ballast::{self, Tries, is_full},
    chain::{JournalFile, Segment},
    core::{Birth, Core},
    equal::{Likeness, put_segment, remove_wreck},
    error::journal_error,
    format::{ChainObject, Seal, chain_object, epoch_name, segment_name},
    journal::{Found, Journal},
    log::Running,
    reserve::Reserve,
};

/// What an attempt to put the seal found.
enum Put {
    Ours,
    /// A segment: the chain goes on.
    Segment,
}

impl Recovery {
    /// Puts the seal at the first absent id (R2), after everything read from the journal is durable
    /// there, and the first id that the store lacks is created (R5). To be called when
    /// [`Recovery::next`] gave `None`. The caller then lists the checkpoints again: if the newest
    /// is not the one begun with, it starts over.
    ///
    /// Errors: `Fenced` naming the holder where a foreign seal is found; `Store`, `Journal`.
    pub async fn seal(mut self) -> Result<Sealed, LogError> {
        let (Some(end), Some(_)) = (self.end, &self.locks) else {
            let why = "the chain was not read to its end by who holds the locks";
            return Err(LogError::Refused(why.into()));
        };
        let reserve = self.open_reserve()?;
        let journal = self.ready_journal()?;
        if let Some(tail) = self.tail.take() {
            self.close_tail(tail, &reserve)?;
        }
        self.make_durable()?;
        self.remove_wrecks().await?;
        self.store_backlog(&reserve).await?;
        let seal = self.new_seal(end, journal.as_ref());
        let begun = if self.epochs.is_some() {
            self.on_plain(end, &seal, &reserve).await?
        } else {
            self.on_fencing(end, &seal, &reserve).await?
        };
        let Some(epoch) = begun else {
            (self.at, self.end) = (end, None);
            return Ok(Sealed::More(Box::new(self)));
        };
        self.ended.push((end.epoch(), end.counter()));
        self.tidy(end)?;
        if let Some(locks) = &mut self.locks {
            locks.settle(epoch, &self.config.env)?;
        }
        // A file that stays costs room and nothing else.
        match self.config.store.sweep().await {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "swept what a killed server left unfinished"),
            Err(error) => tracing::warn!(%error, "unfinished objects of a killed server stay"),
        }
        if self.config.store.local_dir().is_none()
            && let Err(error) = probe::sweep(&*self.config.store).await
        {
            tracing::warn!(%error, "objects of a killed probe stay");
        }
        let held = match self.config.destage.ballast_bytes {
            0 => Vec::new(),
            _ => ballast::find(&*self.config.store).await?,
        };
        self.open((epoch, seal.nonce), journal, reserve, held)
            .map(|(log, writer)| Sealed::Open(Box::new((log, writer))))
    }

    /// The seal under the name of the first absent segment decides; gives the epoch that begins,
    /// `None` where a segment stood there.
    async fn on_fencing(
        &mut self,
        end: SegmentId,
        seal: &Seal,
        reserve: &Reserve,
    ) -> Result<Option<u32>, LogError> {
        let mut tries = Tries::at(&*self.config.store);
        let put = loop {
            match self.put_seal(end, seal).await {
                Err(e) if tries.again(&e, self.make_room(&e, 1, reserve)).await => {}
                other => break other?,
            }
        };
        if let Put::Segment = put {
            return Ok(None);
        }
        let epoch = end.epoch() + 1;
        let mut tries = Tries::at(&*self.config.store);
        loop {
            match self.put_epoch(epoch, seal).await {
                Err(e) if tries.again(&e, self.make_room(&e, 1, reserve)).await => {}
                other => break other?,
            }
        }
        Ok(Some(epoch))
    }

    /// The object of the epoch decides.
    async fn on_plain(
        &mut self,
        end: SegmentId,
        seal: &Seal,
        reserve: &Reserve,
    ) -> Result<Option<u32>, LogError> {
        let mut tries = Tries::at(&*self.config.store);
        loop {
            match self.begin_epoch(end, seal).await {
                Err(e) if tries.again(&e, self.make_room(&e, 1, reserve)).await => {}
                other => return other,
            }
        }
    }

    /// After `error`: gives of the reserve or the ballast, and says whether to try again.
    async fn make_room(&self, error: &LogError, bytes: u64, reserve: &Reserve) -> bool {
        if !is_full(error) {
            return false;
        }
        if self.config.store.local_dir().is_some() {
            return reserve.release(bytes);
        }
        let store = &*self.config.store;
        let Ok(mut held) = ballast::find(store).await else { return false };
        let piece = (self.header.segment_bytes / 4).max(1);
        held.truncate(usize::try_from(bytes.div_ceil(piece)).unwrap_or(1));
        !held.is_empty() && store.delete_many(&held).await.is_ok()
    }

    fn open_reserve(&self) -> Result<Reserve, LogError> {
        let dir = self.config.store.local_dir().or(self.config.journal.as_deref());
        match dir {
            Some(dir) => Reserve::open(&self.config.disk, dir, self.header.segment_bytes),
            None => Ok(Reserve::none()),
        }
    }

    /// The journal to write to; made where there is none.
    fn ready_journal(&mut self) -> Result<Option<Journal>, LogError> {
        let (None, Some(dir)) = (&self.journal, &self.config.journal) else {
            return Ok(self.journal.clone());
        };
        let config = &self.config;
        let made = Journal::create(&config.disk, dir, &self.header.uuid, &config.env)?;
        self.journal = Some(made.clone());
        Ok(Some(made))
    }

    /// R4: a segment found open is closed at its last good entry. What stands in later files of
    /// the epoch must never be grafted behind it, so it goes first. R10: the bytes go to a new file,
    /// because whether the old one's pages ever reached the disk is not known.
    fn close_tail(&mut self, tail: OpenTail, reserve: &Reserve) -> Result<(), LogError> {
        let Some(journal) = self.journal.clone() else { return Ok(()) };
        let id = tail.found.id;
        let later: Vec<Found> = self.later_files(id).collect();
        journal.set_aside(id.epoch(), &later)?;
        self.files = journal.segments()?;
        let newest = self.files.iter().filter(|f| f.id == id).map(|f| f.generation).max();
        let generation = newest.unwrap_or(tail.found.generation) + 1;
        let footer = tail.scanned.footer.encode(tail.scanned.end, tail.scanned.mark);
        let good = tail.bytes.slice(..tail.scanned.end as usize);
        let path = journal.segment_path(id, generation);
        let write = || -> io::Result<JournalFile> {
            let made = journal.create_segment(id, generation)?;
            made.file.write_at(0, &[&good, &footer])?;
            made.file.sync_data()?;
            journal.disk.sync_dir(&journal.dir)?;
            Ok(made)
        };
        let made = match write() {
            Err(e)
                if e.kind() == io::ErrorKind::StorageFull && reserve.release(good.len() as u64) =>
            {
                let _ = journal.disk.unlink(&path);
                write()
            }
            other => other,
        };
        let made = made.map_err(|e| {
            let _ = journal.disk.unlink(&path);
            journal_error("write", &path, e)
        })?;
        self.homes.0.lock().insert(id, made.file);
        for old in self.files.iter().filter(|f| f.id == id) {
            journal.remove(id, old.generation)?;
        }
        self.files = journal.segments()?;
        let (footer, len) = (tail.scanned.footer, (good.len() + footer.len()) as u64);
        self.backlog.push(Backlog { found: Found { id, generation }, footer, len, wreck: false });
        Ok(())
    }

    fn later_files(&self, id: SegmentId) -> impl Iterator<Item = Found> + '_ {
        let same_epoch = move |f: &&Found| f.id.epoch() == id.epoch() && f.id > id;
        self.files.iter().filter(same_epoch).cloned()
    }

    /// What was read may so far be only in the page cache of a machine whose server was killed.
    fn make_durable(&self) -> Result<(), LogError> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let homes = self.homes.0.lock();
        for backlog in self.backlog.iter().chain(&self.behind) {
            if let Some(file) = homes.get(&backlog.found.id) {
                let path = journal.segment_path(backlog.found.id, backlog.found.generation);
                file.sync_data().map_err(|e| journal_error("sync", &path, e))?;
            }
        }
        drop(homes);
        let none = self.backlog.is_empty() && self.behind.is_empty();
        if none { Ok(()) } else { journal.sync_dir() }
    }

    /// What stands damaged in the store goes, now that the same bytes are durable here: what reads
    /// it would find it before the journal's copy.
    async fn remove_wrecks(&self) -> Result<(), LogError> {
        for backlog in self.backlog.iter().filter(|b| b.wreck) {
            let id = backlog.found.id;
            let Some(file) = self.homes.0.lock().get(&id).cloned() else { continue };
            let failed = |e| LogError::Journal { what: format!("read {id}"), source: e };
            let mut ours = read_whole(&*file).map_err(failed)?;
            ours.truncate(usize::try_from(backlog.len).unwrap_or(0));
            let name = segment_name(id);
            if !remove_wreck(&*self.config.store, &name, &ours).await? {
                let reason = format!("{name} is damaged, and no copy of what the journal has");
                return Err(LogError::Corrupt { segment: id, offset: 0, reason });
            }
        }
        Ok(())
    }

    /// R5: the first id that the store lacks is created before anything is acknowledged. Where a
    /// living writer was overruled all of them are, as copies: it may still put its own (R12).
    ///
    /// A server killed on a full disk must come back by itself: the copies are the reserve's (R18).
    async fn store_backlog(&mut self, reserve: &Reserve) -> Result<(), LogError> {
        let overruled = self.locks.as_ref().is_some_and(crate::lock::Locks::overruled);
        let count = if overruled { self.backlog.len() } else { self.backlog.len().min(1) };
        let first: Vec<Backlog> = self.backlog.drain(..count).collect();
        for backlog in first {
            let id = backlog.found.id;
            let file = self.homes.0.lock().get(&id).cloned();
            let Some(file) = file else { continue };
            let failed = |e| LogError::Journal { what: format!("read {id}"), source: e };
            let mut bytes = read_whole(&*file).map_err(failed)?;
            bytes.truncate(usize::try_from(backlog.len).unwrap_or(0));
            let ours = Likeness { len: backlog.len, digest: backlog.footer.digest() };
            if Likeness::of_bytes(&bytes) != Some(ours) {
                let reason = "it changed while it was read".to_owned();
                return Err(LogError::Corrupt { segment: id, offset: 0, reason });
            }
            let pieces = [Bytes::from(bytes)];
            let (store, name) = (&*self.config.store, segment_name(id));
            let far = store.local_dir().is_none();
            let mut tries = Tries::at(store);
            let put = loop {
                match put_segment(store, &name, &pieces, ours).await {
                    Err(e) if is_full(&e) && far && !overruled => break Err(e),
                    Err(e) if tries.again(&e, self.make_room(&e, ours.len, reserve)).await => {}
                    other => break other,
                }
            };
            match put {
                Err(e) if is_full(&e) && far && !overruled => {
                    self.nobody_stands_at(id, ours).await?;
                    self.backlog.insert(0, backlog);
                }
                put => {
                    put?;
                    self.leftovers.push(backlog.found);
                }
            }
        }
        Ok(())
    }

    /// On a full store, which has no room for the segment that R5 wants there: a start gives no ballast
    /// for it, or one server after another that is killed would use all of it up. What the put
    /// would tell is whether somebody has given our journal up before us; that a read tells too. Who
    /// does so later is not kept from it by the one segment either.
    async fn nobody_stands_at(&self, id: SegmentId, ours: Likeness) -> Result<(), LogError> {
        let name = segment_name(id);
        let open = |bytes: &Bytes| {
            let wrong = |reason: String| LogError::Corrupt { segment: id, offset: 0, reason };
            match chain_object(bytes).map_err(|e| wrong(e.to_string()))? {
                ChainObject::Seal(seal) => Err(LogError::Fenced { holder: seal.holder }),
                ChainObject::Segment(_) if Likeness::of_bytes(bytes) == Some(ours) => Ok(()),
                ChainObject::Segment(_) => Err(wrong(format!("{name} is another's"))),
            }
        };
        match read_good(&*self.config.store, &name, open).await {
            Err(LogError::Store(e)) if e.is_not_found() => Ok(()),
            other => other,
        }
    }

    fn new_seal(&self, at: SegmentId, journal: Option<&Journal>) -> Seal {
        let mut nonce = [0; 16];
        self.config.env.dice.fill(&mut nonce);
        Seal {
            volume: self.header.uuid,
            at,
            nonce,
            journal: journal.map_or([0; 16], |j| j.uuid),
            take_over: self.config.take_over,
            abandon_journal: self.config.abandon_journal,
            holder: self.config.holder.clone(),
        }
    }

    async fn put_seal(&self, at: SegmentId, seal: &Seal) -> Result<Put, LogError> {
        let name = segment_name(at);
        let store = &self.config.store;
        let error = match store.put_new(&name, vec![Bytes::from(seal.encode())]).await {
            Ok(()) => return Ok(Put::Ours),
            Err(e @ (StoreError::Exists { .. } | StoreError::Unknown { .. })) => e,
            Err(e) => return Err(e.into()),
        };
        let open = |bytes: &Bytes| {
            let refused = |reason: String| LogError::Refused(format!("{name}: {reason}"));
            let there = chain_object(bytes).map_err(|e| refused(e.to_string()))?;
            match there.id() == at {
                true => Ok(there),
                false => Err(refused(format!("{} stands there", there.id()))),
            }
        };
        match read_good(&**store, &name, open).await {
            Ok(ChainObject::Seal(there)) if there.nonce == seal.nonce => Ok(Put::Ours),
            Ok(ChainObject::Seal(there)) => Err(LogError::Fenced { holder: there.holder }),
            Ok(ChainObject::Segment(_)) => Ok(Put::Segment),
            Err(LogError::Store(e)) if e.is_not_found() => Err(error.into()),
            Err(e) => Err(e),
        }
    }

    /// Who writes the epoch, for an opener whose checkpoint lies behind the seal. An older one of
    /// that name is no harm: the seal decides, and it said the same.
    async fn put_epoch(&self, epoch: u32, seal: &Seal) -> Result<(), LogError> {
        let bytes = Bytes::from(seal.encode());
        match self.config.store.put_new(&epoch_name(epoch), vec![bytes]).await {
            Ok(()) | Err(StoreError::Exists { .. }) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Files that mean nothing any more.
    fn tidy(&mut self, end: SegmentId) -> Result<(), LogError> {
        let Some(journal) = &self.journal else { return Ok(()) };
        for found in &self.leftovers {
            journal.remove(found.id, found.generation)?;
        }
        let mut void = Vec::new();
        for found in journal.segments()? {
            let kept = self.backlog.iter().chain(&self.behind).any(|b| b.found == found);
            if kept {
                continue;
            }
            if found.id < self.start.segment || self.is_blank(journal, &found)? {
                // Stored long ago (R6), needed by nobody (R8), or a spare.
                journal.remove(found.id, found.generation)?;
            } else if found.id.epoch() <= end.epoch() {
                void.push(found);
            }
        }
        void.sort_by_key(|f| f.id);
        for files in void.chunk_by(|a, b| a.id.epoch() == b.id.epoch()) {
            journal.set_aside(files[0].id.epoch(), files)?;
        }
        Ok(())
    }

    fn is_blank(&self, journal: &Journal, found: &Found) -> Result<bool, LogError> {
        let path = journal.segment_path(found.id, found.generation);
        let failed = |e| journal_error("read", &path, e);
        let file = match journal.disk.open_read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
            other => other.map_err(failed)?,
        };
        let mut head = [0; 512];
        let n = file.read_at(0, &mut head).map_err(failed)?;
        Ok(head[..n].iter().all(|&b| b == 0))
    }

    fn open(
        mut self,
        (epoch, nonce): (u32, [u8; 16]),
        journal: Option<Journal>,
        reserve: Reserve,
        ballast: Vec<ObjectName>,
    ) -> Result<(Log, LogWriter), LogError> {
        let mut backlog = VecDeque::new();
        if let Some(journal) = &journal {
            let behind = std::mem::take(&mut self.behind);
            for b in behind.into_iter().chain(std::mem::take(&mut self.backlog)) {
                let Some(file) = self.homes.0.lock().get(&b.found.id).cloned() else { continue };
                let (id, generation) = (b.found.id, b.found.generation);
                let path = journal.segment_path(id, generation);
                let file = JournalFile { path, generation, file };
                backlog.push_back(Segment::recovered(b.footer, id, b.len, file));
            }
        }
        let birth = Birth { ballast, epoch, nonce, last: self.last_seq(), backlog };
        let core: Arc<Core> =
            Core::start(&self.config, self.header.clone(), journal, reserve, birth);
        let running = Running::start(core, self.locks.take())?;
        Ok((Log { running: running.clone() }, LogWriter::new(running)))
    }
}
