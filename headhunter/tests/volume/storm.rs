//! Writers, readers that hold views, checkpoints and retirement, all at once on several threads,
//! with hardly any memory for pages.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use headhunter::{Codec, Frame, Index, Intent, LogError, Owner, Seq, SyncMode};
use swiftclient::{
    disk::{Disk, OsDisk},
    seam::{Env, sim::SeededDice},
};

use crate::world::{Op, change, config, key, open, parse, payload, refers, value};

/// Keys of each writer.
const KEYS: u64 = 1000;

/// Values are padded, so that the index is larger than its memory.
const PAD: [u8; 1000] = [5; 1000];

async fn run(index: &Index, n: u64, op: &Op) -> Result<Seq, LogError> {
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
                txn.put(key(k), [&value(at, n, len), &PAD[..]].concat());
            }
            _ => txn.delete(key(k)),
        }
        Ok(())
    })
    .await?;
    Ok(done.1)
}

/// What a writer left: number and length of each of its keys.
type Left = BTreeMap<u64, (u64, usize)>;

async fn write(index: Index, writer: u64, round: u64, steps: u64) -> Left {
    let dice = SeededDice::new(writer * 1000 + round);
    let mut left = Left::new();
    for step in 0..steps {
        let key = writer * KEYS + dice.below(KEYS);
        let op = match dice.below(5) {
            0 => Op::Remove(key),
            1 => Op::Write(key, dice.below(20_000) as usize),
            _ => Op::Write(key, dice.below(300) as usize),
        };
        let (n, bytes) = match op {
            Op::Write(_, len) => ((round << 32) + step * 4 + writer + 1, len as u64),
            Op::Remove(_) => (0, 0),
        };
        let intent = if n == 0 { Intent::Shrink } else { Intent::Grow { bytes } };
        index.admit(intent).await.unwrap();
        let seq = run(&index, n, &op).await.unwrap();
        match op {
            Op::Write(key, len) => left.insert(key, (n, len)),
            Op::Remove(key) => left.insert(key, (0, 0)),
        };
        if dice.below(50) == 0 {
            index.sync(seq, SyncMode::Queued).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
    left
}

/// Reads all that one view shows, slowly: none of it may be retired meanwhile.
async fn look(index: &Index, pause: Duration) -> Left {
    let view = index.view();
    let mut found = Left::new();
    let mut from = 2u64.to_be_bytes().to_vec();
    loop {
        let items = match view.range(&from, &[0xff; 40], 200) {
            Ok(items) => items,
            Err(miss) => {
                index.fault(miss).await.unwrap();
                continue;
            }
        };
        let Some((last, _)) = items.last() else { return found };
        from = [&last[..], &[0]].concat();
        for (k, v) in &items {
            let (at, n, len) = parse(v).unwrap();
            assert_eq!(index.read(&at).await.unwrap(), payload(n, len), "{at:?}");
            found.insert(u64::from_be_bytes(k[..8].try_into().unwrap()) - 2, (n, len));
        }
        tokio::time::sleep(pause).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_while_everything_happens_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let mut config = config(&disk, dir.path().to_str().unwrap(), &Env::real());
    config.background = true;
    config.log.inline_only = false;
    config.log.cache_bytes = 0;
    config.memory_bytes = 4 << 20;
    config.checkpoint_every = Duration::from_millis(3);
    let mut model = Left::new();
    for round in 1..4 {
        let index = loop {
            match open(&config).await {
                Ok(index) => break index,
                Err(LogError::Refused(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        let found = look(&index, Duration::ZERO).await;
        model.retain(|_, left| left.0 > 0);
        assert!(found == model, "round {round}");
        let over = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..2u64)
            .map(|n| {
                let (index, over) = (index.clone(), over.clone());
                tokio::spawn(async move {
                    while !over.load(Ordering::Relaxed) {
                        look(&index, Duration::from_millis(5 * n)).await;
                    }
                })
            })
            .collect();
        let writers: Vec<_> =
            (0..4).map(|w| tokio::spawn(write(index.clone(), w, round, 500))).collect();
        for writer in writers {
            model.extend(writer.await.unwrap());
        }
        over.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.await.unwrap();
        }
        let report = index.check(refers).await.unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        assert!(index.status().checkpoints > 1, "{:?}", index.status());
        if round % 2 == 0 {
            index.close().await.unwrap();
        } else {
            index.sync(index.last_seq(), SyncMode::Queued).await.unwrap();
        }
    }
}
