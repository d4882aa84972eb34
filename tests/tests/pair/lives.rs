//! Lives of a volume that end: what is found after each is the model as it was after some operation,
//! at or behind the last one that was synced.

use esker_tests::model::Model;
use fs::{FileId, FsError, Seq, SyncMode, Tuning, Volume};

use super::{Pair, machine::Machine, now};

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order: everything is acknowledged.
    Closed,
    /// kill -9: the page cache lives, what was in memory is gone.
    Killed,
    /// The machine dies with what was not synced.
    Crashed,
}

/// What was true after which record.
pub struct History {
    states: Vec<(Seq, Model)>,
    acknowledged: Seq,
}

impl History {
    /// Begins with the state of now, made durable.
    pub fn begin(pair: &Pair) -> Self {
        let first = pair.index.last_seq();
        now(pair.v.sync(first, SyncMode::Inline)).unwrap();
        Self { states: vec![(first, pair.m.clone())], acknowledged: first }
    }

    /// Notes the state of now.
    pub fn note(&mut self, pair: &Pair) {
        let seq = pair.index.last_seq();
        match self.states.last_mut() {
            // Only what no record says can have changed: who holds what open.
            Some((last, state)) if *last == seq => *state = pair.m.clone(),
            _ => self.states.push((seq, pair.m.clone())),
        }
    }

    /// Everything up to now is durable.
    pub fn sync(&mut self, pair: &Pair) {
        let seq = pair.index.last_seq();
        now(pair.v.sync(seq, SyncMode::Inline)).unwrap();
        self.acknowledged = seq;
    }

    /// Ends this life, finds what is left, and puts the pair there.
    pub fn die(&mut self, machine: &mut Machine, pair: &mut Pair, tuning: Tuning, end: End) {
        let (last, durable) = (pair.index.last_seq(), pair.index.durable_seq());
        println!("  {end:?} at {last:?}, durable {durable:?}");
        match end {
            End::Closed => {
                now(pair.index.close()).unwrap();
                self.acknowledged = self.states.last().unwrap().0;
                machine.disk.crash(&*machine.dice);
            }
            End::Killed => machine.disk.kill(),
            End::Crashed => machine.disk.crash(&*machine.dice),
        }
        machine.disk = machine.disk.process();
        let index = machine.open();
        let last = index.last_seq();
        assert!(last >= self.acknowledged, "{last:?} lost {:?}", self.acknowledged);
        self.states.retain(|(seq, _)| *seq <= last);
        let (_, state) = self.states.last().unwrap();
        pair.m = state.clone();
        pair.m.restart();
        let (kept, lost) = pair.known.iter().partition(|(m, _)| pair.m.knew(*m));
        pair.known = kept;
        let lost: Vec<(u64, FileId)> = lost;
        pair.lost.extend(lost.iter().map(|(_, id)| id.ino));
        pair.ctimes.clear();
        pair.v = now(Volume::open_tuned(index.clone(), (9, 9), tuning)).unwrap();
        pair.index = index;
        for (_, id) in lost {
            assert_eq!(now(pair.v.getattr(id)), Err(FsError::Stale), "{id:?} was never made");
        }
        while now(pair.v.tend()).unwrap() {}
        pair.compare();
        // As of what was found: the opening's own records, and those of the slices above, may go with
        // the next death, and change nothing that the model knows.
        self.states = vec![(last, pair.m.clone())];
        self.acknowledged = last;
    }
}
