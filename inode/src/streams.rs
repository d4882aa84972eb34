//! Who reads files from front to back, and how far ahead of them to read. Pure: no I/O, no clock.
//!
//! ```text
//!   one file:   ····[####################]··········[####]·······      # read   · not
//!                run ───────────────► end ─ ─ ─ ► ahead   another run
//! ```
//!
//! NFSv3 has no open, and clients send the READs of one stream in parallel and out of order. So
//! what was read of a file is kept as *runs*; reads that touch join them, whatever their order.
//! A run of two reads, or one that begins the file with a large one, is a stream: frames behind
//! its end are fetched ahead, a window that doubles each time the reader has used half of it.
//!
//! 1. A read that finds everything in memory, of a file in which nobody streams, costs one relaxed
//!    load.
//! 2. What was asked for ahead and not yet read is limited: per stream and, all together, to the
//!    share of the cache that the log grants. A stream nobody goes on with gives its share back.
//! 3. It only ever advises: whatever it gets wrong costs requests, never an answer.

use std::{
    collections::HashMap,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use parking_lot::Mutex;

use crate::limits::{
    AHEAD_FIRST_BYTES, AHEAD_MOST_BYTES, AHEAD_PIECE_BYTES, AHEAD_START_BYTES, STREAM_FILES,
    STREAM_IDLE_READS, STREAM_RUNS, STREAM_STALE_READS,
};

/// Slots that say whether somebody streams in a file, a power of two.
const SLOTS: usize = 1024;

/// What read-ahead has done since the volume was opened, bytes of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadAhead {
    /// Asked for ahead.
    pub asked: u64,
    /// Of these, read, or left behind by a reader who went on.
    pub used: u64,
    /// Of these, given up: their reader went elsewhere. The rest is still ahead of its reader.
    pub wasted: u64,
}

/// All streams of a volume.
pub(crate) struct Streams {
    /// Inode number of the file in which somebody may stream; 0: nobody.
    active: Box<[AtomicU64]>,
    table: Mutex<Table>,
    /// Most bytes ahead, of all streams; 0: read-ahead is off.
    most: u64,
}

#[derive(Default)]
struct Table {
    files: HashMap<u64, File>,
    /// Reads seen.
    tick: u64,
    done: ReadAhead,
}

#[derive(Default)]
struct File {
    runs: Vec<Run>,
    /// When it was last read.
    used: u64,
    /// Reads in a row that found all in memory and moved no stream.
    idle: u32,
}

/// A range that was read, and how far ahead of it frames were asked for.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: u64,
    end: u64,
    /// At least `end`.
    ahead: u64,
    window: u64,
    reads: u32,
    used: u64,
}

impl Run {
    fn unread(&self) -> u64 {
        self.ahead.saturating_sub(self.end)
    }
}

impl Streams {
    /// `most`: bytes that all streams together may have asked for and not read.
    pub fn new(most: u64) -> Self {
        let active = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self { active, table: Mutex::default(), most }
    }

    /// Bytes `from..to` of file `ino`, `size` bytes long, are being read; `missed`: not all of it
    /// is in memory. What to fetch ahead, if anything.
    pub fn note(
        &self,
        ino: u64,
        from: u64,
        to: u64,
        size: u64,
        missed: bool,
    ) -> Option<Range<u64>> {
        // Neighbouring numbers get neighbouring slots.
        let slot = &self.active[usize::try_from(ino % SLOTS as u64).unwrap_or(0)];
        if self.most == 0 || from >= to || (!missed && slot.load(Relaxed) != ino) {
            return None;
        }
        let mut table = self.table.lock();
        let ahead = table.note(ino, &Read { from, to, size, missed }, self.most);
        let streams = table.files.contains_key(&ino);
        drop(table);
        slot.store(if streams { ino } else { 0 }, Relaxed);
        ahead
    }

    /// Figures.
    pub fn done(&self) -> ReadAhead {
        self.table.lock().done
    }
}

struct Read {
    from: u64,
    to: u64,
    size: u64,
    missed: bool,
}

impl Table {
    fn note(&mut self, ino: u64, read: &Read, most: u64) -> Option<Range<u64>> {
        self.tick += 1;
        if self.files.len() >= STREAM_FILES && !self.files.contains_key(&ino) {
            self.drop_stale(u64::from(STREAM_STALE_READS) / 2);
            if self.files.len() >= STREAM_FILES {
                self.drop_stale(0);
            }
        }
        let tick = self.tick;
        let file = self.files.entry(ino).or_default();
        file.used = tick;
        let run = file.join(read, tick, &mut self.done);
        if run.end >= read.size {
            // At the end of the file nothing is ahead any more.
            self.done.wasted += run.unread();
            file.runs.pop();
            if file.runs.is_empty() {
                self.files.remove(&ino);
            }
            return None;
        }
        let asked = self.widen(ino, read, most);
        let Some(file) = self.files.get_mut(&ino) else { return asked };
        file.idle = if asked.is_some() || read.missed { 0 } else { file.idle + 1 };
        // While a stream still has frames ahead of it, its reads count as its own.
        if file.idle > STREAM_IDLE_READS && file.runs.iter().all(|r| r.unread() == 0) {
            self.files.remove(&ino);
        }
        asked
    }

    /// What the run just read, the last of its file, should ask for now.
    fn widen(&mut self, ino: u64, read: &Read, most: u64) -> Option<Range<u64>> {
        let run = *self.files.get(&ino)?.runs.last()?;
        let begins = run.start == 0 && run.end >= AHEAD_START_BYTES;
        let streams = run.reads >= 2 || begins;
        if !streams || run.unread() > run.window / 2 || run.ahead >= read.size {
            return None;
        }
        let widest = AHEAD_MOST_BYTES.min(most / 2);
        let window = match run.window {
            0 => AHEAD_FIRST_BYTES.max(read.to - read.from),
            window => window.saturating_mul(2),
        };
        let window = window.min(widest);
        let from = run.ahead.max(run.end);
        let mut to = run.end.saturating_add(window);
        if to < read.size && window >= 2 * AHEAD_PIECE_BYTES {
            // So that the log makes whole requests of it.
            to -= to % AHEAD_PIECE_BYTES;
        }
        let wanted = to.min(read.size).saturating_sub(from);
        let mut free = most.saturating_sub(self.unread());
        if free < wanted {
            self.drop_stale(u64::from(STREAM_STALE_READS));
            free = most.saturating_sub(self.unread());
        }
        let bytes = wanted.min(free);
        let run = self.files.get_mut(&ino)?.runs.last_mut()?;
        run.window = window;
        if bytes == 0 {
            return None;
        }
        run.ahead = from + bytes;
        self.done.asked += bytes;
        Some(from..from + bytes)
    }

    /// Bytes asked for and neither read nor given up.
    fn unread(&self) -> u64 {
        self.done.asked - self.done.used - self.done.wasted
    }

    /// Gives up the runs that were not read within the last `reads`, and files without any.
    fn drop_stale(&mut self, reads: u64) {
        let (tick, done) = (self.tick, &mut self.done);
        self.files.retain(|_, file| {
            file.runs.retain(|run| {
                let keep = tick - run.used <= reads;
                done.wasted += if keep { 0 } else { run.unread() };
                keep
            });
            !file.runs.is_empty()
        });
    }
}

impl File {
    /// Adds a read to the run that it touches, or begins one; gives that run, which is
    /// the last one now.
    fn join(&mut self, read: &Read, tick: u64, done: &mut ReadAhead) -> Run {
        // Among frames that were asked for ahead, order says nothing any more.
        let touches = |r: &Run| read.from <= r.ahead && read.to >= r.start;
        let mut new =
            Run { start: read.from, end: read.to, ahead: 0, window: 0, reads: 0, used: tick };
        let (mut known, mut before) = (0, 0);
        let runs = std::mem::take(&mut self.runs);
        for run in runs {
            if !touches(&run) {
                self.runs.push(run);
                continue;
            }
            new.start = new.start.min(run.start);
            new.end = new.end.max(run.end);
            new.window = new.window.max(run.window);
            new.reads += run.reads;
            known += run.ahead.saturating_sub(run.end);
            // Of two that meet, the one further ahead stays; the other's frames were read.
            new.ahead = new.ahead.max(run.ahead);
            before = before.max(run.end);
        }
        // A read of what was read before is no progress.
        new.reads += u32::from(new.end > before || before == 0);
        new.ahead = new.ahead.max(new.end);
        done.used += known - new.unread().min(known);
        if self.runs.len() >= STREAM_RUNS {
            let oldest = self.runs.iter().enumerate().min_by_key(|(_, r)| r.used);
            if let Some((at, _)) = oldest {
                done.wasted += self.runs.swap_remove(at).unread();
            }
        }
        self.runs.push(new);
        new
    }
}

#[cfg(test)]
mod tests;
