//! A volume on a disk, real or simulated, and openings of it.

#![allow(clippy::expect_used, clippy::cast_possible_truncation)]

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use logseg::{
    Codec, Frame, Location, Log, LogConfig, LogError, LogWriter, Owner, Recovery, Replayed, Sealed,
    Seq, Start, VolumeHeader,
};
use swiftclient::{Directory, ObjectStore, disk::Disk, seam::Env};

pub const UUID: [u8; 16] = *b"volume under tes";

pub fn header(segment_bytes: u64) -> VolumeHeader {
    VolumeHeader {
        uuid: UUID,
        segment_bytes,
        fencing: true,
        name_secret: [1; 16],
        handle_key: [2; 32],
        wrapped_key: None,
    }
}

/// A directory store in `root`, its journal inside.
pub fn config(disk: &Arc<dyn Disk>, root: &str, env: &Env) -> Result<LogConfig, LogError> {
    let store = Directory::create(disk.clone(), root, env)?;
    Ok(LogConfig {
        store: Arc::new(store),
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
        inline_only: false,
        destage: logseg::DestageConfig::default(),
        disk_cache: None,
    })
}

pub struct Opened {
    pub log: Log,
    pub writer: LogWriter,
    pub records: Vec<Replayed>,
}

/// Formats where the store is empty, replays everything, seals.
pub async fn open(config: &LogConfig, segment_bytes: u64) -> Result<Opened, LogError> {
    open_from(config, segment_bytes, Start::NEW).await
}

pub async fn open_from(
    config: &LogConfig,
    segment_bytes: u64,
    start: Start,
) -> Result<Opened, LogError> {
    let header = match Recovery::volume(config).await? {
        Some(header) => header,
        None => {
            let header = header(segment_bytes);
            Recovery::format(config, &header).await?;
            header
        }
    };
    let mut recovery = Recovery::begin(config.clone(), header, start).await?;
    let mut records = Vec::new();
    loop {
        while let Some(record) = recovery.next().await? {
            records.push(record);
        }
        match recovery.seal().await? {
            Sealed::Open(both) => {
                let (log, writer) = *both;
                return Ok(Opened { log, writer, records });
            }
            Sealed::More(more) => recovery = *more,
        }
    }
}

/// The records as numbers, for logs written by `commit`.
pub fn numbers(records: &[Replayed]) -> Vec<u64> {
    let number = |r: &Replayed| r.record.first_chunk().map(|b| u64::from_le_bytes(*b));
    records.iter().map(|r| number(r).expect("a record of ours")).collect()
}

/// Bytes that a frame of record `n` holds.
pub fn payload(n: u64, len: usize) -> Bytes {
    (0..len).map(|i| (n as usize * 31 + i * 7 + i / 251) as u8).collect()
}

/// One transaction: record `n`, with a frame of `len` bytes where that is not 0.
pub fn commit(
    writer: &mut LogWriter,
    n: u64,
    len: usize,
) -> Result<(Seq, Option<Location>), LogError> {
    writer.begin()?;
    let location =
        (len > 0).then(|| writer.stage(&Frame::data(Owner(n), payload(n, len), Codec::Stored)));
    Ok((writer.commit(&n.to_le_bytes()), location))
}

/// The store as the volume's own, to look at.
pub async fn objects(store: &dyn ObjectStore) -> Vec<String> {
    let names = store.list("", None, 10_000).await.expect("a listing");
    names.iter().map(|n| n.as_str().to_owned()).collect()
}
