use bytes::Bytes;

use super::fake::{Answer, Fake, md5_of};
use crate::{ErrorKind, ObjectName, ObjectStore, StoreError};

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

fn body(text: &'static str) -> Vec<Bytes> {
    vec![Bytes::from_static(text.as_bytes())]
}

#[tokio::test]
async fn a_put_is_conditional_and_carries_its_digests() {
    let fake = Fake::start().await;
    let store = fake.store();
    store.put_new(&name("ckpt/1"), vec!["by".into(), "".into(), "tes".into()]).await.unwrap();
    let put = fake.world.lock().log.iter().find(|s| s.path == "/v1/A/c/p/ckpt/1").unwrap().clone();
    assert_eq!((put.header("if-none-match"), put.header("content-length")), ("*", "5"));
    assert_eq!(put.header("etag"), md5_of(b"bytes"));
    assert_eq!(put.body, b"bytes");
    let info = store.head(&name("ckpt/1")).await.unwrap();
    assert_eq!((info.len, info.crc32c), (5, Some(crc_fast::crc32_iscsi(b"bytes"))));
    let twice = store.put_new(&name("ckpt/1"), body("other")).await;
    assert!(matches!(twice, Err(StoreError::Exists { .. })), "{twice:?}");
    // The containers were asked for once, and made.
    let before = ["HEAD /v1/A/c", "PUT /v1/A/c"];
    assert_eq!(fake.lines()[..2], before);
    assert_eq!(fake.lines().iter().filter(|l| before.contains(&l.as_str())).count(), 2);
}

#[tokio::test]
async fn what_a_status_means_for_a_put() {
    use ErrorKind::{Denied, Full, Invalid, Unavailable, Unknown};
    let fake = Fake::start().await;
    let store = fake.store();
    store.put_new(&name("first"), body("x")).await.unwrap();
    let with = |status| Answer::new(status);
    let quota = |status| Answer::new(status).body("<h1>Upload exceeds quota.</h1>");
    let wait = |status| Answer::new(status).header("Retry-After", 7);
    for (answer, kind) in [
        (with(403), Denied),
        (quota(413), Full),
        (Answer::new(413).body("QuotaExceeded"), Full),
        (quota(403), Full),
        (with(413), Invalid),
        (with(507), Full),
        (with(422), Unavailable),
        (wait(503), Unavailable),
        (with(503), Unknown),
        (wait(429), Unavailable),
        (with(498), Unavailable),
        (with(408), Unknown),
        (with(499), Unknown),
        (with(500), Unknown),
        (with(502), Unknown),
        (with(409), Unknown),
        (with(202), Unknown),
        (with(400), Invalid),
        (with(302).header("Location", "http://elsewhere/"), Invalid),
    ] {
        let status = answer.status;
        let shown = answer.clone();
        fake.rule(move |seen| seen.path.ends_with("/p/n").then(|| answer.clone()));
        let error = store.put_new(&name("n"), body("x")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{shown:?}: {error}");
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        if shown.headers.iter().any(|(n, _)| n == "Retry-After") {
            let StoreError::Unavailable { retry_after, .. } = error else { panic!("{error}") };
            assert_eq!(retry_after.unwrap().as_secs(), 7);
        }
    }
}

#[tokio::test]
async fn a_container_made_by_another_at_the_same_time_is_no_error() {
    let fake = Fake::start().await;
    // Many at once: one asks and makes.
    let store = fake.store();
    let puts = (0..20).map(|i| {
        let (store, n) = (store.clone(), name(&format!("seg/00000001/{i:08x}")));
        tokio::spawn(async move { store.put_new(&n, body("x")).await })
    });
    for put in puts.collect::<Vec<_>>() {
        put.await.unwrap().unwrap();
    }
    let made =
        |fake: &Fake| fake.lines().iter().filter(|l| *l == "PUT /v1/A/c_seg_0_000000").count();
    assert_eq!(made(&fake), 1);
    // Another process makes it between our look and our making: 202.
    let fake = Fake::start().await;
    let world = fake.world.clone();
    fake.rule(move |seen| {
        (seen.line() == "PUT /v1/A/c_seg_0_000000").then(|| {
            // The log's lock is held while a rule runs: the container is made by the rule itself.
            Answer::new(202)
        })
    });
    world.lock().containers.entry("c_seg_0_000000".into()).or_default();
    fake.store().put_new(&name("seg/00000001/00000001"), body("x")).await.unwrap();
    // It went after it was seen.
    let fake = Fake::start().await;
    let store = fake.store();
    store.put_new(&name("seg/00000001/00000001"), body("x")).await.unwrap();
    fake.world.lock().containers.clear();
    store.put_new(&name("seg/00000001/00000002"), body("x")).await.unwrap();
    assert_eq!(made(&fake), 2);
}

#[tokio::test]
async fn a_container_that_may_not_be_made_says_what_to_do() {
    for status in [403, 404] {
        let fake = Fake::start().await;
        fake.rule(move |seen| (seen.line() == "PUT /v1/A/c").then(|| Answer::new(status)));
        let error = fake.store().put_new(&name("volume"), body("x")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(error.to_string().contains("may not make it"), "{error}");
    }
    // A write ACL on an existing container alone: neither look nor make, yet put.
    let fake = Fake::start().await;
    fake.world.lock().containers.entry("c".into()).or_default();
    fake.rule(|seen| seen.path.ends_with("/c").then(|| Answer::new(403)));
    fake.store().put_new(&name("volume"), body("x")).await.unwrap();
}

/// *Created*, with another digest than ours.
#[tokio::test]
async fn an_etag_that_is_not_ours_is_looked_into() {
    // Only the answer was wrong: the object is ours.
    let fake = Fake::start().await;
    let store = fake.store();
    fake.world.lock().containers.entry("c".into()).or_default();
    let lie = |status| Answer::new(status).header("Etag", md5_of(b"other"));
    let mut lied = false;
    let world = fake.world.clone();
    world.lock().containers.get_mut("c").unwrap().insert(
        "p/n".into(),
        super::fake::Object { bytes: Bytes::from_static(b"bytes"), crc: String::new() },
    );
    fake.rule(move |seen| {
        let first = seen.line() == "PUT /v1/A/c/p/n" && !std::mem::replace(&mut lied, true);
        first.then(|| lie(201))
    });
    store.put_new(&name("n"), body("bytes")).await.unwrap();

    // It holds other bytes: they go, and nothing was stored.
    let fake = Fake::start().await;
    let store = fake.store();
    let (mut held, mut removed) = (false, false);
    fake.rule(move |seen| match seen.line().as_str() {
        "PUT /v1/A/c/p/n" if !held => {
            held = true;
            Some(lie(201))
        }
        "HEAD /v1/A/c/p/n" if held && !removed => Some(lie(200).header("Content-Length", 5)),
        "DELETE /v1/A/c/p/n" => {
            removed = true;
            Some(Answer::new(204))
        }
        _ => None,
    });
    let error = store.put_new(&name("n"), body("bytes")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(fake.lines().contains(&"DELETE /v1/A/c/p/n".to_owned()));
    store.put_new(&name("n"), body("bytes")).await.unwrap();

    // A rival's bytes in between: not ours to remove, nor to call stored.
    let fake = Fake::start().await;
    fake.rule(move |seen| match seen.line().as_str() {
        "PUT /v1/A/c/p/n" => Some(lie(201)),
        "HEAD /v1/A/c/p/n" => {
            Some(Answer::new(200).header("Etag", md5_of(b"a rival's")).header("Content-Length", 9))
        }
        _ => None,
    });
    let error = fake.store().put_new(&name("n"), body("bytes")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
    assert!(!fake.lines().iter().any(|line| line.starts_with("DELETE")));

    // It cannot be removed.
    let fake = Fake::start().await;
    fake.rule(move |seen| match seen.line().as_str() {
        "PUT /v1/A/c/p/n" => Some(lie(201)),
        "HEAD /v1/A/c/p/n" => Some(lie(200).header("Content-Length", 5)),
        "DELETE /v1/A/c/p/n" => Some(Answer::new(403)),
        _ => None,
    });
    let error = fake.store().put_new(&name("n"), body("bytes")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

/// RGW's Swift API overwrites: a HEAD comes first there, and only there.
#[tokio::test]
async fn where_conditions_are_ignored_it_looks_first() {
    let fake = Fake::start().await;
    let mut there = false;
    fake.rule(move |seen| match seen.line().as_str() {
        "PUT /v1/A/c_none/none" => Some(Answer::new(404)),
        "PUT /v1/A/c/p/n" => {
            there = true;
            Some(Answer::new(201).header("Etag", md5_of(&seen.body)))
        }
        "HEAD /v1/A/c/p/n" if there => Some(Answer::new(200).header("Content-Length", 1)),
        _ => None,
    });
    let store = fake.store();
    store.put_new(&name("n"), body("x")).await.unwrap();
    let twice = store.put_new(&name("n"), body("y")).await;
    assert!(matches!(twice, Err(StoreError::Exists { .. })), "{twice:?}");
    let stream = store.put_stream(&name("n")).await.err();
    assert!(matches!(stream, Some(StoreError::Exists { .. })), "{stream:?}");
    assert_eq!(fake.lines().iter().filter(|l| *l == "PUT /v1/A/c/p/n").count(), 1);
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_sent_is_not_stored() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    std::fs::write(&path, b"before").unwrap();
    let file = path.clone();
    fake.rule(move |seen| {
        if seen.line() == "PUT /v1/A/c" {
            std::fs::write(&file, b"after.").unwrap();
        }
        None
    });
    let store = fake.store();
    let error = store.put_file(&name("n"), &path, 6).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(store.head(&name("n")).await.unwrap_err().is_not_found());
    store.put_file(&name("n"), &path, 5).await.unwrap();
    assert_eq!(store.get(&name("n"), 0..9).await.unwrap(), "after");
}
