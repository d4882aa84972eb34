//! The suite for stores on a real Swift, or whatever else speaks its API, where
//! `ESKER_TEST_SWIFT_AUTH` (v1 address), `ESKER_TEST_SWIFT_USER` and `ESKER_TEST_SWIFT_KEY` name
//! one. Otherwise each test says by its name that it is skipped.
//!
//! Each run uses containers of its own, and empties them at its end.

#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use swiftclient::{
    ObjectName, ObjectStore, StoreError, Swift,
    conformance::{Trial, assert_conforms},
    disk::OsDisk,
    seam::Env,
    swift::SwiftConfig,
};

/// The store of this run, and the name of its container.
fn store(test: &str) -> Option<(Swift, String)> {
    let get = |name: &str| std::env::var(format!("ESKER_TEST_SWIFT_{name}")).ok();
    let (Some(url), Some(user), Some(key)) = (get("AUTH"), get("USER"), get("KEY")) else {
        eprintln!("skipped: {test} (ESKER_TEST_SWIFT_AUTH, _USER and _KEY name no Swift)");
        return None;
    };
    let container = format!("esker-test-{test}-{:016x}", Env::real().random_u64());
    Some((open(&url, &user, &key, &container), container))
}

fn open(url: &str, user: &str, key: &str, container: &str) -> Swift {
    let lookup = |name: &str| match name {
        "ST_AUTH" => Some(url.to_owned()),
        "ST_USER" => Some(user.to_owned()),
        "ST_KEY" => Some(key.to_owned()),
        _ => None,
    };
    Swift::new(&SwiftConfig::from_env(lookup, container, "v").unwrap(), &Env::real()).unwrap()
}

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

/// Deletes everything that is listed.
async fn emptied(store: &Swift) {
    let names = store.list("", None, 100_000).await.unwrap();
    for outcome in store.delete_many(&names).await.unwrap() {
        outcome.unwrap();
    }
    assert_eq!(store.list("", None, 10).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_real_swift_conforms() {
    let Some((store, _)) = store("a_real_swift_conforms") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let trial =
        Trial::new(Arc::new(store.clone()), "trial").with_files(Arc::new(OsDisk), scratch.path());
    assert_conforms(&trial).await;
    emptied(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbered_names_are_spread_and_listed_in_order() {
    let Some((store, container)) = store("numbered_names_are_spread_and_listed_in_order") else {
        return;
    };
    let counters = [0, 1, 0xf, 0x10, 0xfff, 0x1000, 0xffff, 0x1_0000, 0xf_ffff, 0x10_0000];
    let mut names = vec![name("ckpt/00000001-00000001"), name("volume")];
    for epoch in [1_u32, 2, 255, 256] {
        for counter in counters {
            names.push(name(&format!("seg/{epoch:08x}/{counter:08x}")));
            names.push(name(&format!("side/{epoch:08x}/{counter:08x}")));
        }
    }
    assert_eq!(store.list("", None, 10).await.unwrap(), []);
    for n in &names {
        store.put_new(n, vec![Bytes::copy_from_slice(n.as_str().as_bytes())]).await.unwrap();
    }
    names.sort();
    assert_eq!(store.list("", None, 1000).await.unwrap(), names);
    for page in 1..7 {
        let mut paged: Vec<ObjectName> = Vec::new();
        loop {
            let after = paged.last().map(|n| n.as_str().to_owned());
            let more = store.list("s", after.as_deref(), page * 5).await.unwrap();
            if more.is_empty() {
                break;
            }
            paged.extend(more);
        }
        assert_eq!(paged, names[1..names.len() - 1]);
    }
    // Another process finds the containers by the account's listing.
    let get = |name: &str| std::env::var(format!("ESKER_TEST_SWIFT_{name}")).unwrap();
    let other = open(&get("AUTH"), &get("USER"), &get("KEY"), &container);
    assert_eq!(other.list("", None, 1000).await.unwrap(), names);
    for n in &names {
        assert_eq!(store.get(n, 0..u64::MAX).await.unwrap(), n.as_str().as_bytes());
        let twice = store.put_new(n, vec![Bytes::new()]).await;
        assert!(matches!(twice, Err(StoreError::Exists { .. })), "{n}: {twice:?}");
    }
    emptied(&store).await;
    for n in &names {
        assert!(store.head(n).await.unwrap_err().is_not_found());
    }
}

/// A stream whose writer is dropped after much was sent, or whose process would have died: the
/// server never shows it, and the name stays free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_stream_never_becomes_an_object() {
    let Some((store, _)) = store("an_abandoned_stream_never_becomes_an_object") else { return };
    let piece = Bytes::from(vec![7; 100_000]);
    for round in 0..20 {
        let n = name(&format!("seg/00000001/{round:08x}"));
        let mut writer = store.put_stream(&n).await.unwrap();
        for _ in 0..round {
            writer.write(piece.clone()).await.unwrap();
        }
        drop(writer);
    }
    // What was on its way has arrived by now.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(store.list("", None, 100).await.unwrap(), []);
    for round in 0..20 {
        let n = name(&format!("seg/00000001/{round:08x}"));
        assert!(store.head(&n).await.unwrap_err().is_not_found());
        store.put_new(&n, vec![piece.clone()]).await.unwrap();
    }
    emptied(&store).await;
}

#[tokio::test]
async fn a_wrong_key_says_which_variable_to_check() {
    let Some((_, container)) = store("a_wrong_key_says_which_variable_to_check") else { return };
    let get = |name: &str| std::env::var(format!("ESKER_TEST_SWIFT_{name}")).unwrap();
    let wrong = open(&get("AUTH"), &get("USER"), "no such key", &container);
    let error = wrong.head(&name("volume")).await.unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error}");
    assert!(error.to_string().contains("ST_USER and ST_KEY"), "{error}");
}
