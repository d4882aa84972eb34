//! Checkpoints, recovery, retirement and memory on a log in memory, where everything can be
//! looked at and made to fail.

mod golden;
mod memory_bound;
mod recovery;
mod retirement;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use logseg::{Codec, Frame, LogError, Owner, SegmentId, VolumeHeader};
use swiftclient::seam::Env;

use crate::{
    Abort, Index, RequestTag,
    checkpoint::{Keeper, Kept, format::Checkpoint},
    home::{Home, Memory, Pen},
    index::Settings,
    open::rebuild::{Past, Rebuild},
    tree::Shape,
};

type Never = std::convert::Infallible;
type Model = BTreeMap<Vec<u8>, Vec<u8>>;

pub(crate) fn settings(memory: u64) -> Settings {
    Settings {
        memory,
        shape: Shape { leaf: 1024, inner: 512 },
        codec: Codec::Stored,
        header: VolumeHeader {
            uuid: [1; 16],
            segment_bytes: 1 << 20,
            fencing: true,
            name_secret: [2; 16],
            handle_key: [3; 32],
            wrapped_key: None,
        },
        env: Env::real(),
        checkpoint_every: Duration::from_secs(30),
    }
}

/// What a crash now would leave behind, opened.
pub(crate) async fn recover(memory: &Memory, settings: Settings) -> Index {
    let mut checkpoints = memory.checkpoints();
    let newest = checkpoints.pop().map(|(name, bytes)| (name, Checkpoint::decode(&bytes).unwrap()));
    let (from, seq) = match &newest {
        Some((_, checkpoint)) => (checkpoint.body.replay_start, checkpoint.body.seq),
        None => (SegmentId(0), logseg::Seq(0)),
    };
    let records = memory.replay(from, seq).into_iter();
    let mut past = Past::Memory(memory.clone(), records);
    let mut rebuild = match &newest {
        Some((_, checkpoint)) => {
            Rebuild::from_checkpoint(settings, checkpoint, &past, false).await.unwrap()
        }
        None => Rebuild::empty(settings),
    };
    rebuild.replay(&mut past).await.unwrap();
    let mut keeper = Keeper::default();
    for (name, checkpoint) in checkpoints
        .pop()
        .map(|(name, bytes)| (name, Checkpoint::decode(&bytes).unwrap()))
        .into_iter()
        .chain(newest)
    {
        let (replay_start, held) = (Some(checkpoint.body.replay_start), checkpoint.held());
        keeper.ended = checkpoint.body.ended.clone();
        keeper.chain_from = Some(replay_start.unwrap());
        keeper.kept.push(Kept { name, replay_start, held, freeze: 0 });
    }
    if let [older, _] = &mut keeper.kept[..] {
        older.freeze = -1;
    }
    keeper.ended.extend(memory.ended());
    rebuild.finish(Home::Memory(memory.clone()), Pen::Memory(memory.pen()), keeper)
}

/// A value that refers to `bytes` bytes of a segment.
fn value(segment: SegmentId, bytes: u32, rest: &[u8]) -> Vec<u8> {
    [&segment.0.to_le_bytes()[..], &bytes.to_le_bytes(), rest].concat()
}

pub(crate) fn refers(_key: &[u8], value: &[u8]) -> Vec<(SegmentId, u64)> {
    let Some((segment, rest)) = value.split_first_chunk::<8>() else { return Vec::new() };
    let bytes = u32::from_le_bytes(*rest.first_chunk().unwrap());
    vec![(SegmentId(u64::from_le_bytes(*segment)), u64::from(bytes))]
}

pub(crate) fn key(n: u64) -> Vec<u8> {
    [&(n + 1).to_be_bytes()[..], b"some more of a key"].concat()
}

/// Runs a transaction until no page is missing.
pub(crate) async fn change(
    index: &Index,
    mut body: impl FnMut(&mut crate::Txn<'_>) -> Result<(), Abort<Never>>,
) -> Result<(), LogError> {
    loop {
        match index.transact(&mut body) {
            Ok(_) => return Ok(()),
            Err(Abort::Miss(miss)) => index.fault(miss).await?,
            Err(Abort::Log(error)) => return Err(error),
        }
    }
}

/// Gives key `n` a frame of `size` bytes, and takes away what it had.
pub(crate) async fn write(index: &Index, n: u64, size: usize) -> Result<(), LogError> {
    let frame = Frame::data(Owner(n), Bytes::from(vec![7; size]), Codec::Stored);
    change(index, |txn| {
        for (segment, bytes) in txn.get(&key(n))?.iter().flat_map(|v| refers(&[], v)) {
            txn.account(segment, -bytes.cast_signed());
        }
        let location = txn.append(&frame);
        let bytes = u32::try_from(size).unwrap();
        txn.account(location.segment, i64::from(bytes));
        txn.put(key(n), value(location.segment, bytes, &n.to_le_bytes()));
        txn.remember(RequestTag { client: [4; 16], id: n, digest: 0 }, n.to_le_bytes().to_vec());
        Ok(())
    })
    .await
}

pub(crate) async fn remove(index: &Index, n: u64) -> Result<(), LogError> {
    change(index, |txn| {
        for (segment, bytes) in txn.get(&key(n))?.iter().flat_map(|v| refers(&[], v)) {
            txn.account(segment, -bytes.cast_signed());
        }
        txn.delete(key(n));
        Ok(())
    })
    .await
}

/// Everything but the index's own keys.
pub(crate) async fn contents(index: &Index) -> Model {
    let mut all = Model::new();
    let mut from = vec![0, 0, 0, 0, 0, 0, 0, 1];
    loop {
        let items = loop {
            match index.view().range(&from, &[0xff; 40], 100) {
                Ok(items) => break items,
                Err(miss) => index.fault(miss).await.unwrap(),
            }
        };
        let Some((last, _)) = items.last() else { return all };
        from = [&last[..], &[0]].concat();
        all.extend(items.into_iter().map(|(k, v)| (k.to_vec(), v.to_vec())));
    }
}

pub(crate) async fn check(index: &Index) {
    let report = index.check(refers).await.unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
}

/// A small generator: tests are repeatable.
pub(crate) struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

pub(crate) fn fresh(memory_bytes: u64) -> (Memory, Index) {
    let memory = Memory::new(true);
    let index = Index::over_memory(settings(memory_bytes), &memory);
    (memory, index)
}

/// One poll of a future.
pub(crate) async fn poll<F: Future + Unpin>(future: &mut F) -> std::task::Poll<F::Output> {
    std::future::poll_fn(|cx| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx)))
        .await
}
