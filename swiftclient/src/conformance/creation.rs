//! Creating: only once, only whole.

use std::sync::Arc;

use bytes::Bytes;

use super::{Trial, Verdict, clauses, ensure, expect_exists, pattern};
use crate::{StoreClass, StoreError};

clauses![
    a_second_put_is_refused_and_changes_nothing,
    of_16_racing_puts_one_wins,
    of_16_racing_streams_one_wins,
    a_stream_is_visible_only_when_finished,
    a_dropped_stream_leaves_nothing,
    a_stream_does_not_replace,
    a_stream_loses_to_a_put_that_came_meanwhile,
    a_file_is_stored_by_its_first_bytes,
    a_file_does_not_replace,
    a_name_can_be_put_after_its_deletion,
];

const RACERS: u64 = 16;

async fn a_second_put_is_refused_and_changes_nothing(t: &Trial) -> Verdict {
    let name = t.name("twice")?;
    t.put(&name, &b"first"[..]).await?;
    expect_exists("put_new", t.store.put_new(&name, vec![Bytes::from_static(b"other")]).await)?;
    expect_exists("put_new of equal bytes", {
        t.store.put_new(&name, vec![Bytes::from_static(b"first")]).await
    })?;
    ensure!(t.whole(&name).await? == b"first"[..], "the first put's bytes were changed");
    Ok(())
}

/// Of the racers' outcomes: one `Ok` on a fencing store (at least one on a plain one), the others
/// `Exists`; the object is a winner's.
async fn judge(t: &Trial, tail: &str, outcomes: Vec<Result<(), StoreError>>) -> Verdict {
    let mut winners = Vec::new();
    for (racer, outcome) in (0..).zip(outcomes) {
        match outcome {
            Ok(()) => winners.push(racer),
            Err(e) => expect_exists("a racer", Err(e))?,
        }
    }
    ensure!(!winners.is_empty(), "nobody won");
    if t.store.class() == StoreClass::Fencing {
        ensure!(winners.len() == 1, "{} racers won: {winners:?}", winners.len());
    }
    let stored = t.whole(&t.name(tail)?).await?;
    let by_winner = winners.iter().any(|&w| stored == body_of(w));
    ensure!(by_winner, "the object is no winner's");
    Ok(())
}

fn body_of(racer: u64) -> Bytes {
    pattern(racer + 1, 10_000)
}

async fn of_16_racing_puts_one_wins(t: &Trial) -> Verdict {
    for round in 0..8 {
        let tail = format!("race/put-{round}");
        let name = t.name(&tail)?;
        let racers = (0..RACERS).map(|racer| {
            let (store, name) = (Arc::clone(&t.store), name.clone());
            tokio::spawn(async move { store.put_new(&name, vec![body_of(racer)]).await })
        });
        judge(t, &tail, all(racers.collect()).await?).await?;
    }
    Ok(())
}

async fn of_16_racing_streams_one_wins(t: &Trial) -> Verdict {
    for round in 0..4 {
        let tail = format!("race/stream-{round}");
        let name = t.name(&tail)?;
        let racers = (0..RACERS).map(|racer| {
            let (store, name) = (Arc::clone(&t.store), name.clone());
            tokio::spawn(async move {
                let mut writer = store.put_stream(&name).await?;
                let body = body_of(racer);
                writer.write(body.slice(..7)).await?;
                tokio::task::yield_now().await;
                writer.write(body.slice(7..)).await?;
                writer.finish().await
            })
        });
        judge(t, &tail, all(racers.collect()).await?).await?;
    }
    Ok(())
}

type Racer = tokio::task::JoinHandle<Result<(), StoreError>>;

async fn all(racers: Vec<Racer>) -> Result<Vec<Result<(), StoreError>>, String> {
    let mut outcomes = Vec::new();
    for racer in racers {
        outcomes.push(racer.await.map_err(|e| format!("a racer panicked: {e}"))?);
    }
    Ok(outcomes)
}

async fn a_stream_is_visible_only_when_finished(t: &Trial) -> Verdict {
    let name = t.name("stream/late")?;
    let whole = pattern(3, 100_000);
    let mut writer = t.store.put_stream(&name).await.map_err(|e| e.to_string())?;
    t.absent(&name).await?;
    for part in whole.chunks(33_000) {
        writer.write(whole.slice_ref(part)).await.map_err(|e| e.to_string())?;
        t.absent(&name).await?;
    }
    writer.finish().await.map_err(|e| format!("finish: {e}"))?;
    ensure!(t.whole(&name).await? == whole, "the object differs from what was streamed");
    let listed = t.listed(name.as_str(), None, 2).await?;
    ensure!(listed == [name.to_string()], "listed as {listed:?}");
    Ok(())
}

async fn a_dropped_stream_leaves_nothing(t: &Trial) -> Verdict {
    let name = t.name("stream/dropped")?;
    for pieces in 0..3 {
        let mut writer = t.store.put_stream(&name).await.map_err(|e| e.to_string())?;
        for _ in 0..pieces {
            writer.write(pattern(1, 5000)).await.map_err(|e| e.to_string())?;
        }
        drop(writer);
        t.absent(&name).await?;
    }
    t.put(&name, &b"free"[..]).await
}

/// Opens, writes and finishes; a store may refuse at any of the three.
async fn streamed(t: &Trial, tail: &str, bytes: Bytes) -> Result<(), StoreError> {
    let name = t.name(tail).map_err(|reason| StoreError::Invalid { what: tail.into(), reason })?;
    let mut writer = t.store.put_stream(&name).await?;
    writer.write(bytes).await?;
    writer.finish().await
}

async fn a_stream_does_not_replace(t: &Trial) -> Verdict {
    let name = t.name("stream/taken")?;
    t.put(&name, &b"first"[..]).await?;
    expect_exists("stream", streamed(t, "stream/taken", Bytes::from_static(b"second")).await)?;
    ensure!(t.whole(&name).await? == b"first"[..], "the first put's bytes were changed");
    Ok(())
}

async fn a_stream_loses_to_a_put_that_came_meanwhile(t: &Trial) -> Verdict {
    let name = t.name("stream/overtaken")?;
    let mut writer = t.store.put_stream(&name).await.map_err(|e| e.to_string())?;
    writer.write(Bytes::from_static(b"slow")).await.map_err(|e| e.to_string())?;
    t.put(&name, &b"fast"[..]).await?;
    let finished = writer.finish().await;
    if t.store.class() == StoreClass::Fencing {
        expect_exists("finish", finished)?;
        ensure!(t.whole(&name).await? == b"fast"[..], "the first put's bytes were changed");
    }
    Ok(())
}

/// A file of `bytes` in the scratch directory, closed and durable; `None` without one.
fn made_file(t: &Trial, file: &str, bytes: &[u8]) -> Result<Option<std::path::PathBuf>, String> {
    let Some((disk, dir)) = &t.scratch else { return Ok(None) };
    let path = dir.join(format!("{}-{file}", t.prefix.replace('/', "-")));
    let made = disk.create_new(&path).and_then(|f| {
        f.write_at(0, &[bytes])?;
        f.sync_data()
    });
    made.map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(Some(path))
}

async fn a_file_is_stored_by_its_first_bytes(t: &Trial) -> Verdict {
    let bytes = pattern(5, 3_000_001);
    for (tail, len) in [("file/whole", 3_000_001), ("file/part", 1_234_567), ("file/none", 0)] {
        let Some(path) = made_file(t, &tail.replace('/', "-"), &bytes)? else { return Ok(()) };
        let name = t.name(tail)?;
        t.store.put_file(&name, &path, len).await.map_err(|e| format!("put_file {tail}: {e}"))?;
        let want = bytes.slice(..usize::try_from(len).unwrap_or(0));
        ensure!(t.whole(&name).await? == want, "{tail}: differs from the file");
        let info = t.store.head(&name).await.map_err(|e| format!("head: {e}"))?;
        ensure!(info.len == len, "{tail}: head says {} bytes", info.len);
    }
    let Some(path) = made_file(t, "short", &bytes[..10])? else { return Ok(()) };
    let name = t.name("file/short")?;
    ensure!(t.store.put_file(&name, &path, 11).await.is_err(), "stored bytes that do not exist");
    t.absent(&name).await
}

async fn a_file_does_not_replace(t: &Trial) -> Verdict {
    let Some(path) = made_file(t, "second", b"second")? else { return Ok(()) };
    let name = t.name("file/taken")?;
    t.put(&name, &b"first"[..]).await?;
    expect_exists("put_file", t.store.put_file(&name, &path, 6).await)?;
    ensure!(t.whole(&name).await? == b"first"[..], "the first put's bytes were changed");
    Ok(())
}

async fn a_name_can_be_put_after_its_deletion(t: &Trial) -> Verdict {
    let name = t.name("again")?;
    t.put(&name, &b"one"[..]).await?;
    ensure!(t.whole(&name).await? == b"one"[..], "not what was put");
    t.store.delete_many(std::slice::from_ref(&name)).await.map_err(|e| e.to_string())?;
    t.put(&name, &b"and two"[..]).await?;
    ensure!(t.whole(&name).await? == b"and two"[..], "the deleted object's bytes came back");
    Ok(())
}
