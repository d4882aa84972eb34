use headhunter::{Abort, Index, LogError, Seq};
use parking_lot::Mutex;

use crate::{
    Fault,
    files::{get_counter, put_counter, sync, transact},
    key,
    limits::NUMBERS_LOW,
};

/// Hands out inode numbers from blocks whose reserving record is durable. Each mount begins a
/// block of its own, so a number is never given twice even if the record that used it was lost.
pub(crate) struct Numbers {
    /// Numbers in a block.
    block: u64,
    state: Mutex<State>,
}

struct State {
    next: u64,
    end: u64,
    /// Numbers that came back unused.
    spare: Vec<u64>,
    /// The block after this one: reserved, perhaps not durable yet.
    ahead: Option<Block>,
}

impl State {
    /// Goes on in `block`, of `size` numbers, if one is needed. Blocks are taken in rising order
    /// only: whoever was slow to come back from the sync may hold one that others have used up.
    fn go_on(&mut self, block: Block, size: u64) {
        let ours = self.ahead.is_none() || self.ahead == Some(block);
        if self.next < self.end || !ours {
            return;
        }
        self.ahead = None;
        if block.start >= self.end {
            (self.next, self.end) = (block.start, block.start + size);
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
struct Block {
    start: u64,
    seq: Seq,
}

/// Most unused numbers that are remembered.
const SPARE: usize = 1_024;

impl Numbers {
    /// Reserves this mount's first block, durably.
    pub(crate) async fn open(index: &Index, size: u64) -> Result<Self, LogError> {
        let block = reserve(index, size).await?;
        sync(index, block.seq).await?;
        let state =
            State { next: block.start, end: block.start + size, spare: Vec::new(), ahead: None };
        Ok(Self { block: size, state: Mutex::new(state) })
    }

    /// Of who makes no inode.
    pub(crate) fn none() -> Self {
        let state = State { next: 0, end: 0, spare: Vec::new(), ahead: None };
        Self { block: 0, state: Mutex::new(state) }
    }

    /// A number never handed out before.
    pub(crate) async fn take(&self, index: &Index) -> Result<u64, LogError> {
        loop {
            let ahead = {
                let mut s = self.state.lock();
                if let Some(ino) = s.spare.pop() {
                    return Ok(ino);
                }
                if s.next < s.end {
                    let ino = s.next;
                    s.next += 1;
                    let low = s.end - s.next < self.block / NUMBERS_LOW && s.ahead.is_none();
                    drop(s);
                    if low {
                        self.reserve_ahead(index);
                    }
                    return Ok(ino);
                }
                s.ahead
            };
            let block = match ahead {
                Some(block) => block,
                None => reserve(index, self.block).await?,
            };
            sync(index, block.seq).await?;
            let mut s = self.state.lock();
            s.go_on(block, self.block);
        }
    }

    /// Takes a number back that no transaction used.
    pub(crate) fn give_back(&self, ino: u64) {
        let mut s = self.state.lock();
        if s.spare.len() < SPARE {
            s.spare.push(ino);
        }
    }

    /// Reserves the next block without waiting; where that is not possible now, the next caller
    /// tries again.
    fn reserve_ahead(&self, index: &Index) {
        if let Ok(committed) = index.transact(|txn| next_block(txn, self.block).map_err(abort)) {
            let block = Block { start: committed.value, seq: committed.seq };
            let mut s = self.state.lock();
            if s.ahead.is_none() {
                s.ahead = Some(block);
            }
        }
    }
}

async fn reserve(index: &Index, size: u64) -> Result<Block, LogError> {
    let (start, seq) = transact(index, |txn| Ok((next_block(txn, size)?, txn.seq()))).await?;
    Ok(Block { start, seq })
}

fn next_block(txn: &mut headhunter::Txn<'_>, size: u64) -> Result<u64, Fault> {
    let start = get_counter(txn, key::NEXT_NUMBER)?;
    put_counter(txn, key::NEXT_NUMBER, start.saturating_add(size));
    Ok(start)
}

fn abort(fault: Fault) -> Abort<Fault> {
    match fault {
        Fault::Miss(miss) => Abort::Miss(miss),
        other => Abort::Refused(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_others_used_up_is_not_used_again() {
        let mut state = State { next: 10, end: 10, spare: Vec::new(), ahead: None };
        let block = Block { start: 20, seq: Seq(1) };
        state.go_on(block, 4);
        assert_eq!((state.next, state.end), (20, 24));
        state.next = 24;
        // A second taker, slow, with the same block; then one with a block reserved before it.
        state.go_on(block, 4);
        assert_eq!((state.next, state.end), (24, 24));
        let before = Block { start: 12, seq: Seq(0) };
        state.ahead = Some(before);
        state.go_on(before, 4);
        assert_eq!((state.next, state.end), (24, 24));
        assert!(state.ahead.is_none(), "the next taker reserves anew");
        state.go_on(Block { start: 24, seq: Seq(2) }, 4);
        assert_eq!((state.next, state.end), (24, 28));
    }
}
