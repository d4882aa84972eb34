//! The flusher: pending bytes of the chain, in id order, to the journal files; fdatasync; a look
//! for a seal of our epoch; and only then the acknowledgement (R5, R10, DESIGN §8.3).
//!
//! At most one flush runs at a time: who holds `State::flushing`. There is no gathering window:
//! whatever was committed while one flush ran is the next group.

mod rescue;
mod rewrite;
mod thread;

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;

use crate::{
    SegmentId, Seq, ZERO_AHEAD_BYTES,
    chain::{JournalFile, Readable, Segment},
    core::{Core, Failure},
    journal::Journal,
};

pub(crate) use rescue::Rescue;
pub(crate) use thread::JournalThread;

/// How far a flush goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Hand the bytes to the file and start their way to the disk: no durability.
    WriteOut,
    /// Durable.
    Sync,
}

/// The flusher's part; given back when dropped, so that a panic leaves nobody waiting.
pub(crate) struct Flusher<'a>(pub(crate) &'a Core);

impl Drop for Flusher<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Failure::ReadOnly("a flush panicked".into()));
        }
        let mut state = self.0.lock();
        state.flushing = false;
        // The next group is the journal thread's, and so is the end that it waits for.
        let more =
            !state.syncs.is_empty() || state.flush_wanted || state.writeout_wanted || state.stop;
        drop(state);
        if more {
            self.0.work.notify_all();
        }
    }
}

/// What one flush does to one segment.
struct Work {
    id: SegmentId,
    /// Where the pieces go.
    from: u64,
    end: u64,
    durable: u64,
    last_seq: Seq,
    pieces: Vec<Bytes>,
    file: Option<Arc<JournalFile>>,
    /// Bytes of the file written already, zeros included.
    zeros: u64,
    /// Sealed: no zeros go behind the footer.
    ended: bool,
}

/// Groups of so much leave the machine's page cache once they are durable, bytes.
const FORGET_BYTES: u64 = 1 << 20;
/// Zeros are written up to a multiple of this, bytes.
const PAGE: u64 = 4 << 10;
#[allow(clippy::cast_possible_truncation)] // 260 KiB
static ZEROS: [u8; (ZERO_AHEAD_BYTES + PAGE) as usize] = [0; (ZERO_AHEAD_BYTES + PAGE) as usize];

impl Core {
    /// Flushes on this thread, if nobody else does.
    pub(crate) fn flush_inline(&self, goal: Goal) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.flushing, true) {
            drop(state);
            let _part = Flusher(self);
            self.flush(goal);
        }
    }

    /// One group, by the holder of the flusher's part. Where the journal fails, the store is to take
    /// it (R10).
    pub(crate) fn flush(&self, goal: Goal) {
        let Some(journal) = &self.journal else { return };
        if self.check().is_err() {
            // R10: a file that failed is never written or synced again, whoever asks.
            self.lock().flush_wanted = false;
            return;
        }
        if self.lock().rescue.is_some() {
            return;
        }
        self.encode_later();
        let mut work = self.collect(goal);
        match self.carry_out(journal, &mut work, goal) {
            Ok(()) => {}
            Err(Failure::ReadOnly(reason)) => return self.begin_rescue(reason),
            Err(fenced) => return self.fail(fenced),
        }
        if goal == Goal::Sync {
            let done: Vec<_> = work.iter().map(|w| (w.id, w.end, w.last_seq)).collect();
            self.keep_readable(self.made_durable(&done));
        }
    }

    /// Makes the bytes of what was appended to encrypted segments, outside the lock (R26). By the
    /// holder of the flusher's part, or by the one who stores a sealed segment.
    pub(crate) fn encode_later(&self) {
        if self.key.is_none() {
            return;
        }
        let unwritten = |s: &&Segment| s.is_bare() || s.written < s.end;
        let state = self.lock();
        let ids: Vec<_> =
            state.chain.segments.iter().rev().take_while(unwritten).map(|s| s.id).collect();
        drop(state);
        for id in ids {
            self.encode_segment(id);
        }
    }

    /// The same for one segment.
    pub(crate) fn encode_segment(&self, id: SegmentId) {
        let taken = self.lock().chain.find_mut(id).and_then(Segment::take_later);
        let Some((mut encoder, later)) = taken else { return };
        for item in &later {
            encoder.make(item);
        }
        if let Some(segment) = self.lock().chain.find_mut(id) {
            segment.bring_back(encoder);
        }
    }

    fn collect(&self, goal: Goal) -> Vec<Work> {
        let mut state = self.lock();
        state.writeout_wanted = false;
        if goal == Goal::Sync {
            state.flush_wanted = false;
        }
        let wanted = |s: &Segment| s.written < s.end || (goal == Goal::Sync && s.durable < s.end);
        // The durable ones are a prefix; behind them only a few.
        let segments = &mut state.chain.segments;
        let old = segments.iter().rev().take_while(|s| wanted(s)).count();
        let first = segments.len() - old;
        let mut work = Vec::new();
        for segment in segments.iter_mut().skip(first).filter(|s| !s.is_bare()) {
            let whole = segment.made().0 == segment.end;
            work.push(Work::of(segment));
            if !whole {
                // Nothing behind it may become durable before it is (the meaning of marks).
                break;
            }
        }
        work
    }

    fn carry_out(&self, journal: &Journal, work: &mut [Work], goal: Goal) -> Result<(), Failure> {
        let mut new_files = false;
        for item in work.iter_mut() {
            new_files |= self.ready_file(journal, item)?;
            if let Err(e) = self.write(item, goal) {
                self.rewrite(journal, item, "write", &e)?;
            }
            self.note_written(item);
        }
        if goal == Goal::WriteOut {
            return Ok(());
        }
        for item in work.iter_mut() {
            let Some(file) = item.file.clone() else { continue };
            self.counts.syncs.fetch_add(1, Ordering::Relaxed);
            if let Err(e) = file.file.sync_data() {
                self.rewrite(journal, item, "fdatasync", &e)?;
            } else if item.end - item.durable >= FORGET_BYTES && self.links() {
                // A stream: what will be read again of it is in the frame cache, and its pages are
                // better used for what comes next than fresh ones. Where it must still travel it
                // would have to be read from the disk for that.
                file.file.forget(item.durable, item.end - item.durable);
            }
        }
        // A file made by an earlier write-out is made durable here, too.
        if std::mem::take(&mut self.lock().dir_dirty) || new_files {
            journal.sync_dir().map_err(|e| Failure::ReadOnly(e.to_string()))?;
        }
        self.counts.groups.fetch_add(1, Ordering::Relaxed);
        match journal.sealed_by(&self.sealed_path) {
            Ok(None) => Ok(()),
            Ok(Some(holder)) => Err(Failure::Fenced(holder)),
            Err(e) => Err(Failure::ReadOnly(format!("look for a seal: {e}"))),
        }
    }

    /// Makes the segment's file where it has none; true where its directory must be synced.
    fn ready_file(&self, journal: &Journal, item: &mut Work) -> Result<bool, Failure> {
        if item.file.is_some() {
            return Ok(false);
        }
        // A spare of that name may be in the making: generations keep the two apart.
        let mut generation = 0;
        let file = loop {
            match self.with_reserve(PAGE, || journal.create_segment(item.id, generation)) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => generation += 1,
                Err(e) => return Err(Failure::ReadOnly(format!("create {}: {e}", item.id))),
                Ok(file) => break Arc::new(file),
            }
        };
        let mut state = self.lock();
        state.dir_dirty = true;
        if let Some(segment) = state.chain.find_mut(item.id) {
            segment.file = Some(file.clone());
        }
        item.file = Some(file);
        Ok(true)
    }

    fn write(&self, item: &mut Work, goal: Goal) -> io::Result<()> {
        let Some(file) = &item.file else { return Ok(()) };
        let mut slices: Vec<&[u8]> = item.pieces.iter().map(AsRef::as_ref).collect();
        let len = item.end - item.from;
        let mut reach = item.end;
        if goal == Goal::Sync && !item.ended && len < ZERO_AHEAD_BYTES && item.end > item.zeros {
            reach = (item.end + ZERO_AHEAD_BYTES).next_multiple_of(PAGE);
            let zeros = usize::try_from(reach - item.end).unwrap_or(0).min(ZEROS.len());
            reach = item.end + zeros as u64;
            slices.push(&ZEROS[..zeros]);
        }
        self.with_reserve(reach.saturating_sub(item.zeros), || {
            file.file.write_at(item.from, &slices)
        })?;
        item.zeros = item.zeros.max(reach);
        if goal == Goal::WriteOut {
            // Only so that the next fdatasync finds little left: its failure means nothing.
            let _ = file.file.start_writeout(item.from, len);
        }
        Ok(())
    }

    /// Tries once more after giving a part of the reserve away, where the disk is full (R18).
    pub(crate) fn with_reserve<T>(
        &self,
        bytes: u64,
        mut call: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::StorageFull => {
                if self.reserve.release(bytes) {
                    call()
                } else {
                    Err(e)
                }
            }
            other => other,
        }
    }

    fn note_written(&self, item: &Work) {
        let mut state = self.lock();
        let Some(segment) = state.chain.find_mut(item.id) else { return };
        segment.written = segment.written.max(item.end);
        segment.zeros = segment.zeros.max(item.zeros);
        segment.tell_stream(item.end);
        if self.store.streams() && state.view.wrote(item.id, item.end) {
            self.keeper.notify_one();
        }
    }

    /// What became durable may be asked for again soon.
    pub(crate) fn keep_readable(&self, bodies: Vec<Readable>) {
        for body in bodies {
            self.reader.insert(&body.location, &body.decoded);
        }
    }
}

impl Work {
    fn of(segment: &mut Segment) -> Self {
        let from = segment.written;
        // Encrypted bytes that were appended since are the next group's.
        let (end, last_seq) = segment.made();
        Self {
            id: segment.id,
            from,
            end,
            durable: segment.durable,
            last_seq,
            pieces: segment.pieces(from, end),
            file: segment.file.clone(),
            zeros: segment.zeros,
            ended: segment.sealed && end == segment.end,
        }
    }
}
