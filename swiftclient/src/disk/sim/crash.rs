//! What a machine that dies leaves on its platter.

use super::world::{Body, DataChange, FileState, World, apply, resize};
use crate::seam::Dice;

/// Bytes that a disk writes whole or not at all.
pub const SECTOR: usize = 512;

/// What happens to one change that was not synced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    Lost,
    Torn,
}

/// How the fates of one crash are drawn.
#[derive(Clone, Copy)]
enum Mood {
    /// Nothing unsynced survives: the write-back had not begun.
    LoseAll,
    /// Everything survives: it had just ended.
    KeepAll,
    /// Each change has its own fate.
    Mixed,
}

impl Mood {
    fn draw(dice: &dyn Dice) -> Self {
        match dice.below(8) {
            0 => Self::LoseAll,
            1 => Self::KeepAll,
            _ => Self::Mixed,
        }
    }

    fn fate(self, dice: &dyn Dice) -> Fate {
        match self {
            Self::LoseAll => Fate::Lost,
            Self::KeepAll => Fate::Kept,
            Self::Mixed => match dice.below(3) {
                0 => Fate::Kept,
                1 => Fate::Lost,
                _ => Fate::Torn,
            },
        }
    }
}

impl World {
    /// The machine dies and starts again: each unsynced change is kept, lost, torn or overtaken by
    /// another, as the dice say. `None`: all unsynced changes are lost.
    pub(super) fn crash(&mut self, dice: Option<&dyn Dice>) {
        if let Some(dice) = dice {
            let mood = Mood::draw(dice);
            for inode in self.inodes.values_mut() {
                if let Body::File(file) = &mut inode.body {
                    tear(file, mood, dice);
                }
            }
            // Kept changes of one name stay in their order: an entry holds one of the values that
            // it had. A torn change of names is none.
            let changes = std::mem::take(&mut self.names);
            let kept = changes.into_iter().filter(|_| mood.fate(dice) == Fate::Kept).collect();
            self.settle(kept);
        }
        self.restart_from_durable();
        self.alive.clear();
        self.plan.clear();
    }
}

/// Decides the fate of each unsynced change of a file's bytes.
fn tear(file: &mut FileState, mood: Mood, dice: &dyn Dice) {
    let mut changes = std::mem::take(&mut file.pending);
    if matches!(mood, Mood::Mixed) {
        shuffle(&mut changes, dice);
    }
    for change in changes {
        let fate = mood.fate(dice);
        match change {
            _ if fate == Fate::Lost => {}
            DataChange::SetLen(len) => resize(&mut file.durable, len),
            DataChange::Write { offset, bytes } if fate == Fate::Kept => {
                apply(&mut file.durable, offset, &bytes);
            }
            DataChange::Write { offset, bytes } => {
                let mut done = 0;
                while done < bytes.len() {
                    let in_sector = SECTOR - (offset + done) % SECTOR;
                    let end = bytes.len().min(done + in_sector);
                    if dice.below(2) == 0 {
                        apply(&mut file.durable, offset + done, &bytes[done..end]);
                    }
                    done = end;
                }
            }
        }
    }
}

fn shuffle<T>(items: &mut [T], dice: &dyn Dice) {
    for i in (1..items.len()).rev() {
        let j = usize::try_from(dice.below(i as u64 + 1)).unwrap_or(0);
        items.swap(i, j);
    }
}
