use std::time::Duration;

use bytes::Bytes;

use super::fake::{Answer, Fake, Seen, md5_of};
use crate::{ErrorKind, ObjectName, ObjectStore, ObjectWriter, StoreError};

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

fn piece() -> Bytes {
    Bytes::from(vec![7; 100_000])
}

/// The first PUT of an object that the fake saw the end of.
async fn put_seen(fake: &Fake) -> Seen {
    loop {
        let log = fake.world.lock().log.clone();
        let put = log.into_iter().find(|s| s.method == "PUT" && s.path.ends_with("/p/n"));
        match put {
            Some(put) => return put,
            None => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}

#[tokio::test]
async fn it_travels_in_chunks_while_it_grows() {
    let fake = Fake::start().await;
    let store = fake.store();
    assert!(store.streams() && store.attests());
    let mut writer = store.put_stream(&name("n")).await.unwrap();
    for _ in 0..30 {
        writer.write(piece()).await.unwrap();
        writer.write(Bytes::new()).await.unwrap();
    }
    writer.finish().await.unwrap();
    let put = put_seen(&fake).await;
    assert_eq!((put.header("transfer-encoding"), put.header("content-length")), ("chunked", ""));
    assert_eq!(put.header("if-none-match"), "*");
    assert_eq!(put.body.len(), 3_000_000);
    assert_eq!(store.head(&name("n")).await.unwrap().len, 3_000_000);
}

#[tokio::test]
async fn dropped_it_ends_without_its_last_chunk() {
    let fake = Fake::start().await;
    let store = fake.store();
    for pieces in [0, 1, 30] {
        fake.forget_log();
        let mut writer = store.put_stream(&name("n")).await.unwrap();
        for _ in 0..pieces {
            writer.write(piece()).await.unwrap();
        }
        drop(writer);
        if pieces == 30 {
            // So much was sent that the request is known to have begun.
            assert!(!put_seen(&fake).await.whole);
        }
        assert!(store.head(&name("n")).await.unwrap_err().is_not_found());
        assert!(
            fake.world
                .lock()
                .log
                .iter()
                .all(|s| !s.path.ends_with("/p/n") || !s.whole || s.method == "HEAD")
        );
    }
}

/// Writes until the stream says that it is over.
async fn until_error(writer: &mut Box<dyn ObjectWriter>) -> StoreError {
    loop {
        if let Err(e) = writer.write(piece()).await {
            return e;
        }
    }
}

#[tokio::test]
async fn broken_it_says_so_and_the_whole_is_sent_again() {
    use ErrorKind::{Exists, Full, Unavailable};
    let fake = Fake::start().await;
    let store = fake.store();
    store.put_new(&name("first"), vec![]).await.unwrap();
    for (status, kind) in
        [(412, Exists), (413, Full), (507, Full), (503, Unavailable), (408, Unavailable)]
    {
        fake.world.lock().early = Some(300_000);
        fake.rule(move |seen| {
            let answer = Answer::new(status).body("Upload exceeds quota.");
            (seen.method == "PUT" && seen.path.ends_with("/p/n")).then_some(answer)
        });
        let mut writer = store.put_stream(&name("n")).await.unwrap();
        let error = until_error(&mut writer).await;
        // It may also have broken off before the answer could be read.
        assert!([kind, Unavailable].contains(&error.kind()), "{status}: {error}");
        let again = writer.write(piece()).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Invalid, "{again}");
        assert_eq!(writer.finish().await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    fake.world.lock().early = None;
    fake.rule(|_| None);
    assert!(store.head(&name("n")).await.unwrap_err().is_not_found());
    let mut writer = store.put_stream(&name("n")).await.unwrap();
    writer.write(piece()).await.unwrap();
    writer.finish().await.unwrap();
}

#[tokio::test]
async fn the_digest_of_what_was_sent_is_compared_at_its_end() {
    let fake = Fake::start().await;
    let store = fake.store();
    let lie = |status| Answer::new(status).header("Etag", md5_of(b"other"));
    fake.rule(move |seen| match (seen.method.as_str(), seen.path.ends_with("/p/n")) {
        ("PUT", true) => Some(lie(201)),
        ("HEAD", true) => Some(lie(200).header("Content-Length", 1)),
        _ => None,
    });
    let mut writer = store.put_stream(&name("n")).await.unwrap();
    writer.write(piece()).await.unwrap();
    let error = writer.finish().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(fake.lines().contains(&"DELETE /v1/A/c/p/n".to_owned()));
    // No answer once all was sent: nobody knows.
    fake.rule(|seen| {
        (seen.method == "PUT" && seen.path.ends_with("/p/n")).then(|| Answer::new(500))
    });
    let writer = store.put_stream(&name("n")).await.unwrap();
    assert_eq!(writer.finish().await.unwrap_err().kind(), ErrorKind::Unknown);
}

#[tokio::test]
async fn a_token_that_ended_is_renewed_for_the_next_stream() {
    let fake = Fake::start().await;
    let store = fake.store();
    store.put_new(&name("first"), vec![]).await.unwrap();
    fake.world.lock().tokens.clear();
    let writer = store.put_stream(&name("n")).await.unwrap();
    let error = writer.finish().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let writer = store.put_stream(&name("n")).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(fake.world.lock().tokens_given, 2);
}
