//! More than one page, more than one request, more than one buffer: what a store over a network
//! divides, and may divide wrongly. For [`Trial::thorough`], because it takes 64 MiB and some
//! thousand requests.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Trial, Verdict, clauses, ensure, pattern};
use crate::ObjectName;

clauses![
    sixty_four_mebibytes_are_streamed_and_read_in_parts,
    a_listing_of_many_pages_has_every_name_once,
    deletion_takes_more_names_than_one_request,
    many_puts_at_once_are_kept_apart,
];

const LARGE: usize = 64 << 20;
/// More than two pages of an S3 listing (1000 names each).
const MANY: usize = 2100;
/// Requests at a time.
const AT_ONCE: usize = 16;

async fn sixty_four_mebibytes_are_streamed_and_read_in_parts(t: &Trial) -> Verdict {
    let name = t.name("large/stream")?;
    let block = pattern(11, 1 << 20);
    // Each MiB is another rotation: no two places look alike.
    let part = |i: usize| {
        let cut = (i * 4099) % block.len();
        Bytes::from([&block[cut..], &block[..cut]].concat())
    };
    let mut writer = t.store.put_stream(&name).await.map_err(|e| e.to_string())?;
    for i in 0..LARGE >> 20 {
        writer.write(part(i)).await.map_err(|e| format!("write: {e}"))?;
    }
    writer.finish().await.map_err(|e| format!("finish: {e}"))?;
    let info = t.store.head(&name).await.map_err(|e| e.to_string())?;
    ensure!(info.len == LARGE as u64, "{} bytes are there", info.len);
    for i in 0..LARGE >> 20 {
        let at = (i << 20) as u64;
        let got = t.store.get(&name, at..at + (1 << 20)).await.map_err(|e| e.to_string())?;
        ensure!(got == part(i), "other bytes at {at}");
    }
    let (at, end) = (LARGE as u64 - 5, LARGE as u64 + 5);
    let got = t.store.get(&name, at..end).await.map_err(|e| e.to_string())?;
    ensure!(got == part((LARGE >> 20) - 1)[(1 << 20) - 5..], "other bytes at the end");
    t.store.delete_many(&[name]).await.map_err(|e| e.to_string())?;
    Ok(())
}

/// Puts `count` small objects below `dir`; gives their names in order.
async fn fill(t: &Trial, dir: &str, count: usize) -> Result<Vec<ObjectName>, String> {
    let mut names = Vec::new();
    for i in 0..count {
        // Spread, as the names of segments with their digits reversed are.
        names.push(t.name(&format!("{dir}/{:03}/{i:05}", i * 7919 % 997))?);
    }
    let put = |name: ObjectName| {
        let store = Arc::clone(&t.store);
        async move {
            let body = Bytes::from(name.to_string());
            store.put_new(&name, vec![body]).await.map_err(|e| format!("put {name}: {e}"))
        }
    };
    let puts = names.iter().cloned().map(put).collect::<Vec<_>>();
    stream::iter(puts).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    names.sort();
    Ok(names)
}

async fn a_listing_of_many_pages_has_every_name_once(t: &Trial) -> Verdict {
    let names = fill(t, "pages", MANY).await?;
    let want: Vec<String> = names.iter().map(ToString::to_string).collect();
    let prefix = format!("{}/pages/", t.prefix);
    for limit in [MANY + 1, MANY, MANY - 1, 1001, 1000, 999] {
        let got = t.listed(&prefix, None, limit).await?;
        let end = limit.min(MANY);
        ensure!(got == want[..end], "limit {limit}: {} names, or others", got.len());
        let after = &want[end / 2];
        let got = t.listed(&prefix, Some(after), limit).await?;
        let rest = &want[end / 2 + 1..];
        ensure!(got == rest[..rest.len().min(limit)], "after {after}: {} names", got.len());
    }
    t.store.delete_many(&names).await.map_err(|e| e.to_string())?;
    Ok(())
}

async fn deletion_takes_more_names_than_one_request(t: &Trial) -> Verdict {
    let mut names = fill(t, "sweep", MANY / 2).await?;
    let kept = t.name("sweep/zzz")?;
    t.put(&kept, &b"kept"[..]).await?;
    // Between those that are there, as many that never were.
    for i in 0..MANY / 2 {
        names.insert(2 * i, t.name(&format!("sweep/never/{i}"))?);
    }
    let outcomes = t.store.delete_many(&names).await.map_err(|e| e.to_string())?;
    ensure!(outcomes.len() == names.len(), "{} outcomes for {}", outcomes.len(), names.len());
    for (name, outcome) in names.iter().zip(outcomes) {
        outcome.map_err(|e| format!("delete {name}: {e}"))?;
    }
    let rest = t.listed(&format!("{}/sweep/", t.prefix), None, MANY).await?;
    ensure!(rest == [kept.to_string()], "{} are left, {:?} the first", rest.len(), rest.first());
    Ok(())
}

async fn many_puts_at_once_are_kept_apart(t: &Trial) -> Verdict {
    let mut writers = Vec::new();
    for i in 0..AT_ONCE {
        let (store, name) = (Arc::clone(&t.store), t.name(&format!("apart/{i}"))?);
        let body = pattern(100 + i as u64, (1 << 20) + i);
        writers.push(tokio::spawn(async move {
            let pieces = body.chunks(70_001).map(|c| body.slice_ref(c)).collect();
            store.put_new(&name, pieces).await.map_err(|e| format!("put {name}: {e}"))?;
            let got = store.get(&name, 0..u64::MAX).await.map_err(|e| format!("get: {e}"))?;
            ensure!(got == body, "{name}: other bytes came back");
            Ok(())
        }));
    }
    for writer in writers {
        writer.await.map_err(|e| format!("a writer panicked: {e}"))??;
    }
    Ok(())
}
