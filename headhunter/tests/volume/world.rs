//! A volume, its openings, and transactions whose every byte can be checked.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use bytes::Bytes;
use headhunter::{
    Abort, Codec, Frame, Index, IndexConfig, Location, LogError, Owner, SegmentId, Txn,
    VolumeHeader,
};
use logseg::{LogConfig, Recovery};
use swiftclient::{Directory, ObjectStore, disk::Disk, seam::Env};

pub type Never = std::convert::Infallible;

pub const SEGMENT: u64 = 256 << 10;

pub fn header() -> VolumeHeader {
    VolumeHeader {
        uuid: *b"an index to test",
        segment_bytes: SEGMENT,
        fencing: true,
        name_secret: [1; 16],
        handle_key: [2; 32],
        wrapped_key: None,
    }
}

/// A directory store in `root`, its journal inside; everything on the calling thread.
pub fn config(disk: &Arc<dyn Disk>, root: &str, env: &Env) -> IndexConfig {
    let store = Directory::create(disk.clone(), root, env).expect("the store's directory");
    over(Arc::new(store), disk, root, env)
}

/// Any store, the journal in `root`.
pub fn over(
    store: Arc<dyn ObjectStore>,
    disk: &Arc<dyn Disk>,
    root: &str,
    env: &Env,
) -> IndexConfig {
    let log = LogConfig {
        store,
        disk: disk.clone(),
        env: env.clone(),
        journal: Some(PathBuf::from(root).join("journal")),
        pool: tokio::runtime::Handle::current(),
        cache_bytes: 1 << 20,
        unsynced_bytes: 64 << 20,
        holder: "host test, pid 1".into(),
        take_over: false,
        abandon_journal: false,
        key: None,
        inline_only: true,
        destage: logseg::DestageConfig::default(),
        disk_cache: None,
    };
    IndexConfig { background: false, ..IndexConfig::new(log, header(), 8 << 20) }
}

/// Opens the volume, formatted first where there is none.
pub async fn open(config: &IndexConfig) -> Result<Index, LogError> {
    if Recovery::volume(&config.log).await?.is_none() {
        Recovery::format(&config.log, &config.header).await?;
    }
    Index::open(config.clone()).await
}

/// One transaction of the tests.
#[derive(Clone, Debug)]
pub enum Op {
    /// Key gets a frame of so many bytes.
    Write(u64, usize),
    Remove(u64),
}

/// What key holds: its payload's number and length.
pub type Model = BTreeMap<u64, (u64, usize)>;

pub fn model(ops: &[Op]) -> Model {
    let mut model = Model::new();
    for (n, op) in ops.iter().enumerate() {
        match op {
            Op::Write(key, len) => {
                model.insert(*key, (n as u64 + 1, *len));
            }
            Op::Remove(key) => {
                model.remove(key);
            }
        }
    }
    model
}

pub fn payload(n: u64, len: usize) -> Bytes {
    let byte = |i: usize| (n as usize * 31 + i * 7 + i / 251).to_le_bytes()[0];
    (0..len).map(byte).collect()
}

pub fn key(n: u64) -> Vec<u8> {
    [&(n + 2).to_be_bytes()[..], b"a key of usual length"].concat()
}

/// The number of operations so far.
fn counter() -> Vec<u8> {
    1u64.to_be_bytes().to_vec()
}

pub fn value(at: Location, n: u64, len: usize) -> Vec<u8> {
    let mut out = at.segment.0.to_le_bytes().to_vec();
    out.extend_from_slice(&at.offset.to_le_bytes());
    out.extend_from_slice(&at.stored.to_le_bytes());
    out.extend_from_slice(&n.to_le_bytes());
    out.extend_from_slice(&(len as u64).to_le_bytes());
    out
}

/// Where a value's frame lies, its number and length.
pub fn parse(value: &[u8]) -> Option<(Location, u64, usize)> {
    let eight = |at: usize| value.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    let four = |at: usize| value.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let at = Location { segment: SegmentId(eight(0)?), offset: four(8)?, stored: four(12)? };
    Some((at, eight(16)?, eight(24)? as usize))
}

pub fn refers(_key: &[u8], value: &[u8]) -> Vec<(SegmentId, u64)> {
    parse(value).map(|(at, _, len)| (at.segment, len as u64)).into_iter().collect()
}

/// Runs a transaction until no page is missing.
pub async fn change<T>(
    index: &Index,
    mut body: impl FnMut(&mut Txn<'_>) -> Result<T, Abort<Never>>,
) -> Result<(T, headhunter::Seq), LogError> {
    loop {
        match index.transact(&mut body) {
            Ok(done) => return Ok((done.value, done.seq)),
            Err(Abort::Miss(miss)) => index.fault(miss).await?,
            Err(Abort::Log(error)) => return Err(error),
        }
    }
}

/// Carries out operation number `n` (from 1).
pub async fn run(index: &Index, n: u64, op: &Op) -> Result<headhunter::Seq, LogError> {
    let (k, len) = match op {
        Op::Write(k, len) => (*k, Some(*len)),
        Op::Remove(k) => (*k, None),
    };
    let frame = len.map(|len| Frame::data(Owner(k), payload(n, len), Codec::Stored));
    let done = change(index, |txn| {
        if let Some((at, _, old)) = txn.get(&key(k))?.and_then(|v| parse(&v)) {
            txn.account(at.segment, -(old as i64));
        }
        match (&frame, len) {
            (Some(frame), Some(len)) => {
                let at = txn.append(frame);
                txn.account(at.segment, len as i64);
                txn.put(key(k), value(at, n, len));
            }
            _ => txn.delete(key(k)),
        }
        txn.put(counter(), n.to_le_bytes().to_vec());
        Ok(())
    })
    .await?;
    Ok(done.1)
}

pub async fn get(index: &Index, key: &[u8]) -> Result<Option<Bytes>, LogError> {
    loop {
        let found = index.view().get(key);
        match found {
            Ok(value) => return Ok(value),
            Err(miss) => index.fault(miss).await?,
        }
    }
}

/// How many operations the index has seen.
pub async fn count(index: &Index) -> u64 {
    let value = get(index, &counter()).await.expect("the counter");
    value.map_or(0, |v| u64::from_le_bytes(v[..].try_into().expect("eight bytes")))
}

/// Checks that the index holds exactly what `ops` give: keys, every byte of every frame, and
/// invariant 6.
pub async fn verify(index: &Index, ops: &[Op]) {
    assert_eq!(count(index).await, ops.len() as u64);
    let report = index.check(refers).await.expect("a check");
    assert_eq!(report.problems, Vec::<String>::new());
    let mut found = Model::new();
    let mut from = 2u64.to_be_bytes().to_vec();
    loop {
        let view = index.view();
        let items = match view.range(&from, &[0xff; 40], 50) {
            Ok(items) => items,
            Err(miss) => {
                drop(view);
                index.fault(miss).await.expect("pages");
                continue;
            }
        };
        let Some((last, _)) = items.last() else { break };
        from = [&last[..], &[0]].concat();
        for (k, v) in &items {
            let (at, n, len) = parse(v).expect("a value of ours");
            let k = u64::from_be_bytes(k[..8].try_into().expect("eight bytes")) - 2;
            assert_eq!(index.read(&at).await.expect("a frame"), payload(n, len), "{k} at {at:?}");
            found.insert(k, (n, len));
        }
    }
    assert_eq!(found, model(ops));
}

/// Names of all objects.
pub async fn objects(store: &dyn ObjectStore) -> Vec<String> {
    let names = store.list("", None, 100_000).await.expect("a listing");
    names.iter().map(|n| n.as_str().to_owned()).collect()
}
