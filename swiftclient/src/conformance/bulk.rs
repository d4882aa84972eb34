//! Bytes: ranges, sizes, deletion, readers at once.

use std::sync::Arc;

use bytes::Bytes;

use super::{Trial, Verdict, clauses, ensure, pattern};
use crate::{ObjectName, StoreError};

clauses![
    ranges_are_clipped_to_the_object,
    an_empty_object_is_an_object,
    head_tells_length_and_a_true_checksum,
    pieces_are_joined_in_order,
    twenty_mebibytes_come_back_by_put_and_by_stream,
    deletion_takes_many_and_absent_ones_are_deleted,
    readers_at_once_get_their_own_bytes,
];

async fn ranges_are_clipped_to_the_object(t: &Trial) -> Verdict {
    let name = t.name("range")?;
    let whole = pattern(9, 10_000);
    t.put(&name, whole.clone()).await?;
    let ranges = [
        (0, 10_000),
        (0, 1),
        (9_999, 10_000),
        (4_096, 8_192),
        (1, 9_999),
        (0, 10_001),
        (9_999, u64::MAX),
        (0, u64::MAX),
        (10_000, 10_000),
        (10_000, 10_001),
        (5, 5),
        (0, 0),
        (20_000, 30_000),
        (u64::MAX, u64::MAX),
        (u64::MAX - 1, u64::MAX),
    ];
    for (start, end) in ranges {
        let got = t.store.get(&name, start..end).await;
        let got = got.map_err(|e| format!("get {start}..{end}: {e}"))?;
        let clip = |at: u64| usize::try_from(at.min(10_000)).unwrap_or(0);
        let want = whole.slice(clip(start)..clip(end));
        ensure!(got == want, "get {start}..{end}: {} bytes, or others", got.len());
    }
    let (start, end) = (7, 3);
    let backwards = t.store.get(&name, start..end).await;
    let refused = matches!(backwards, Err(StoreError::Invalid { .. }));
    ensure!(refused, "a range that ends before it begins is not Invalid: {backwards:?}");
    Ok(())
}

async fn an_empty_object_is_an_object(t: &Trial) -> Verdict {
    let (put, nothing, streamed) =
        (t.name("empty/put")?, t.name("empty/nothing")?, t.name("empty/stream")?);
    t.put(&put, Bytes::new()).await?;
    t.store.put_new(&nothing, Vec::new()).await.map_err(|e| e.to_string())?;
    let writer = t.store.put_stream(&streamed).await.map_err(|e| e.to_string())?;
    writer.finish().await.map_err(|e| e.to_string())?;
    for name in [&put, &nothing, &streamed] {
        ensure!(t.whole(name).await?.is_empty(), "{name} is not empty");
        let info = t.store.head(name).await.map_err(|e| e.to_string())?;
        ensure!(info.len == 0, "{name} has {} bytes", info.len);
        ensure!(info.crc32c.is_none_or(|c| c == 0), "{name}: checksum of nothing is 0");
    }
    let listed = t.listed(&format!("{}/empty/", t.prefix), None, 10).await?;
    ensure!(listed.len() == 3, "listed: {listed:?}");
    Ok(())
}

async fn head_tells_length_and_a_true_checksum(t: &Trial) -> Verdict {
    for len in [1, 4_095, 4_096, 70_000] {
        let name = t.name(&format!("head/{len}"))?;
        let bytes = pattern(2, len);
        t.put(&name, bytes.clone()).await?;
        let info = t.store.head(&name).await.map_err(|e| e.to_string())?;
        ensure!(info.len == len as u64, "head says {} bytes, put were {len}", info.len);
        let crc = crc_fast::crc32_iscsi(&bytes);
        ensure!(info.crc32c.is_none_or(|c| c == crc), "head's checksum is not that of the bytes");
    }
    Ok(())
}

async fn pieces_are_joined_in_order(t: &Trial) -> Verdict {
    let name = t.name("pieces")?;
    let whole = pattern(4, 50_000);
    // More than one vectored write takes, empty ones among them.
    let mut pieces: Vec<Bytes> = whole.chunks(31).map(|c| whole.slice_ref(c)).collect();
    for at in [0, 7, 1024, pieces.len()] {
        pieces.insert(at, Bytes::new());
    }
    t.store.put_new(&name, pieces).await.map_err(|e| e.to_string())?;
    ensure!(t.whole(&name).await? == whole, "the pieces were not joined in order");
    Ok(())
}

const BIG: usize = 20 << 20;

async fn twenty_mebibytes_come_back_by_put_and_by_stream(t: &Trial) -> Verdict {
    let whole = pattern(6, BIG + 13);
    let (put, streamed) = (t.name("big/put")?, t.name("big/stream")?);
    let pieces = whole.chunks(1 << 20).map(|c| whole.slice_ref(c)).collect();
    t.store.put_new(&put, pieces).await.map_err(|e| e.to_string())?;
    let mut writer = t.store.put_stream(&streamed).await.map_err(|e| e.to_string())?;
    for piece in whole.chunks(300_000) {
        writer.write(whole.slice_ref(piece)).await.map_err(|e| e.to_string())?;
    }
    writer.finish().await.map_err(|e| format!("finish: {e}"))?;
    for name in [&put, &streamed] {
        ensure!(t.whole(name).await? == whole, "{name}: other bytes came back");
        let (at, len) = ((BIG - 5) as u64, 4096);
        let got = t.store.get(name, at..at + len).await.map_err(|e| e.to_string())?;
        ensure!(got == whole[BIG - 5..], "{name}: other bytes at its end");
    }
    let both = [put, streamed];
    t.store.delete_many(&both).await.map_err(|e| e.to_string())?;
    Ok(())
}

async fn deletion_takes_many_and_absent_ones_are_deleted(t: &Trial) -> Verdict {
    let mut names: Vec<ObjectName> = Vec::new();
    for i in 0..40 {
        names.push(t.name(&format!("delete/{}/{i}", i % 3))?);
    }
    for (i, name) in names.iter().enumerate() {
        if i % 4 != 0 {
            t.put(name, i.to_string()).await?;
            ensure!(t.whole(name).await? == i.to_string().as_bytes(), "{name}: other bytes");
        }
    }
    names.push(t.name("delete/no/such/directory")?);
    names.push(names[1].clone()); // once more
    let kept = t.name("delete/0/kept")?;
    t.put(&kept, &b"kept"[..]).await?;
    let outcomes = t.store.delete_many(&names).await.map_err(|e| e.to_string())?;
    ensure!(outcomes.len() == names.len(), "{} outcomes", outcomes.len());
    for (name, outcome) in names.iter().zip(outcomes) {
        outcome.map_err(|e| format!("delete {name}: {e}"))?;
        t.absent(name).await?;
    }
    let rest = t.listed(&format!("{}/delete/", t.prefix), None, 100).await?;
    ensure!(rest == [kept.to_string()], "left: {rest:?}");
    let none = t.store.delete_many(&[]).await.map_err(|e| e.to_string())?;
    ensure!(none.is_empty(), "deleting nothing gave {} outcomes", none.len());
    Ok(())
}

async fn readers_at_once_get_their_own_bytes(t: &Trial) -> Verdict {
    let whole = pattern(8, 1 << 20);
    let mut readers = Vec::new();
    for object in 0..4 {
        let name = t.name(&format!("readers/{object}"))?;
        t.put(&name, whole.slice(object * 1000..)).await?;
        for reader in 0..8_usize {
            let (store, name, whole) = (Arc::clone(&t.store), name.clone(), whole.clone());
            readers.push(tokio::spawn(async move {
                for i in 0..16_usize {
                    let at = (reader * 7919 + i * 65_537) % 900_000;
                    let range = at as u64..(at + 4096) as u64;
                    let got = store.get(&name, range).await.map_err(|e| e.to_string())?;
                    let from = object * 1000 + at;
                    ensure!(got == whole[from..from + 4096], "{name}: other bytes at {at}");
                }
                Ok(())
            }));
        }
    }
    for reader in readers {
        reader.await.map_err(|e| format!("a reader panicked: {e}"))??;
    }
    Ok(())
}
