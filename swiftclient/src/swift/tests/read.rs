use bytes::Bytes;

use super::{
    super::read::content_range,
    fake::{Answer, Fake},
};
use crate::{ErrorKind, ObjectName, ObjectStore, Swift};

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

/// A store that holds `n` and a segment, ten bytes each.
async fn ten(fake: &Fake) -> Swift {
    let store = fake.store();
    for text in ["n", "seg/00000001/00000001"] {
        store.put_new(&name(text), vec![Bytes::from_static(b"0123456789")]).await.unwrap();
    }
    fake.forget_log();
    store
}

#[test]
fn content_ranges_are_read_strictly() {
    assert_eq!(content_range("bytes 3-7/10"), Some((Some(3..8), 10)));
    assert_eq!(content_range("bytes */10"), Some((None, 10)));
    for wrong in ["bytes 7-3/10", "bytes 3-10/10", "bytes 3-7/*", "items 3-7/10", "bytes 3-7", ""] {
        assert_eq!(content_range(wrong), None, "{wrong}");
    }
}

#[tokio::test]
async fn an_answer_must_be_what_was_asked_for() {
    use ErrorKind::{Corrupt, Denied, Invalid, Unavailable};
    let fake = Fake::start().await;
    let store = ten(&fake).await;
    let part = |range: &str, body: &str| {
        Answer::new(206).header("Content-Range", format!("bytes {range}")).body(body)
    };
    for (answer, kind) in [
        // Truncated, its length told truly or not.
        (part("2-5/10", "23").told(4), Unavailable),
        (part("2-5/10", "23"), Unavailable),
        // Other bytes than asked for, more, fewer, from nowhere.
        (part("3-6/10", "3456"), Corrupt),
        (part("2-4/10", "234"), Corrupt),
        (part("2-6/10", "23456"), Corrupt),
        (part("0-9/10", "0123456789"), Corrupt),
        (Answer::new(206).body("2345"), Corrupt),
        (part("2-5/10", "23456"), Corrupt),
        (Answer::new(416).header("Content-Range", "bytes */10"), Corrupt),
        (Answer::new(503), Unavailable),
        (Answer::new(500), Unavailable),
        (Answer::new(403), Denied),
        (Answer::new(400), Invalid),
    ] {
        let shown = answer.clone();
        fake.rule(move |seen| (seen.method == "GET").then(|| answer.clone()));
        let error = store.get(&name("n"), 2..6).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{shown:?}: {error}");
    }
    // A server that knows no ranges.
    fake.rule(|seen| (seen.method == "GET").then(|| Answer::new(200).body("0123456789")));
    assert_eq!(store.get(&name("n"), 2..6).await.unwrap(), "2345");
    assert_eq!(store.get(&name("n"), 8..60).await.unwrap(), "89");
    assert_eq!(store.get(&name("n"), 20..60).await.unwrap(), "");
    // One that says 416 and no length.
    fake.rule(|seen| (seen.method == "GET").then(|| Answer::new(416)));
    assert_eq!(store.get(&name("n"), 10..60).await.unwrap(), "");
    assert_eq!(store.get(&name("n"), 9..60).await.unwrap_err().kind(), Corrupt);
}

#[tokio::test]
async fn not_found_takes_a_container_and_a_second_look() {
    let fake = Fake::start().await;
    let store = ten(&fake).await;
    let newest = |fake: &Fake| {
        let log = &fake.world.lock().log;
        let asked = log.iter().filter(|s| s.path != "/info");
        asked.map(|s| (s.line(), s.header("x-newest") == "true")).collect::<Vec<_>>()
    };
    // A segment that one replica missed: the second look finds it.
    fake.rule(|seen| {
        let blind = seen.path.contains("/seg/") && seen.header("x-newest").is_empty();
        blind.then(|| Answer::new(404))
    });
    assert_eq!(store.get(&name("seg/00000001/00000001"), 0..3).await.unwrap(), "012");
    let object = "/v1/A/c_seg_0_000000/p/seg/1/00000001/00000001";
    let looks = [
        (format!("GET {object}"), false),
        ("HEAD /v1/A/c_seg_0_000000".into(), true),
        (format!("GET {object}"), true),
    ];
    assert_eq!(newest(&fake), looks);
    // What recovery decides by is asked for in full at once; absent, it is looked for twice.
    fake.forget_log();
    store.head(&name("n")).await.unwrap();
    assert!(store.head(&name("ckpt/9")).await.unwrap_err().is_not_found());
    let looks =
        ["HEAD /v1/A/c/p/n", "HEAD /v1/A/c/p/ckpt/9", "HEAD /v1/A/c", "HEAD /v1/A/c/p/ckpt/9"];
    assert_eq!(newest(&fake), looks.map(|line| (line.to_owned(), true)));
    // With one storage policy there is no wrong ring: one look is enough, over a connection of its
    // own; but not for a segment.
    fake.world.lock().info = Some(r#"{"swift": {"policies": [{"name": "gold"}]}}"#.into());
    let plain = fake.store();
    for (text, looks) in [("ckpt/9", 2), ("ckpt/9", 1), ("seg/00000001/00000009", 3)] {
        fake.forget_log();
        assert!(plain.head(&name(text)).await.unwrap_err().is_not_found());
        assert_eq!(fake.lines().len(), looks, "{text}");
    }
    // No container, no object.
    fake.forget_log();
    assert!(store.head(&name("side/00000001/00000001")).await.unwrap_err().is_not_found());
    assert_eq!(fake.lines().len(), 2);
    // A balancer without a Swift behind it.
    fake.rule(|_| Some(Answer::bare(404)));
    let error = store.head(&name("ckpt/9")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("ST_AUTH"), "{error}");
    let error = store.list("", None, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let outcomes = store.delete_many(&[name("n")]).await.unwrap();
    assert_eq!(outcomes[0].as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
    // The container's record cannot be read: a 404 for the object then proves nothing.
    fake.rule(|seen| seen.path.ends_with("/A/c").then(|| Answer::new(503)));
    let error = store.head(&name("ckpt/9")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    // Nor does it where the second look fails.
    let mut looks = 0;
    fake.rule(move |seen| {
        looks += usize::from(seen.path.ends_with("ckpt/9"));
        (looks == 2).then(|| Answer::new(502))
    });
    let error = store.get(&name("ckpt/9"), 0..1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

/// On a connection that is one answer behind, an absence is that of the request before.
#[tokio::test]
async fn an_absence_is_not_taken_from_a_connection_that_is_one_answer_behind() {
    let fake = Fake::start().await;
    let store = ten(&fake).await;
    let (there, absent) = (name("seg/00000001/00000001"), name("seg/00000001/00000009"));
    fake.world.lock().behind = true;
    for _ in 0..4 {
        assert!(store.get(&absent, 0..3).await.unwrap_err().is_not_found());
        assert_eq!(store.get(&there, 0..3).await.unwrap(), "012");
        assert!(store.head(&absent).await.unwrap_err().is_not_found());
        assert_eq!(store.head(&there).await.unwrap().len, 10);
        // What only the caller can find out: the bytes of another object.
        store.distrust();
        assert_eq!(store.get(&there, 4..6).await.unwrap(), "45");
    }
    assert_eq!(store.list("seg/", None, 9).await.unwrap(), [there]);
}

/// A server that answers whatever comes with these bytes.
async fn deaf(answer: &'static [u8]) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 4096]).await;
            let _ = socket.write_all(answer).await;
        }
    });
    address
}

#[tokio::test]
async fn the_wrong_scheme_names_the_variable() {
    let fake = Fake::start().await;
    // An alert: unexpected message (RFC 8446 §6).
    let tls = format!("http://{}/auth/v1.0", deaf(&[0x15, 3, 3, 0, 2, 2, 10]).await);
    let plain = deaf(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    let plain = format!("https://{plain}/auth/v1.0");
    for (url, word) in [(tls, "https://"), (plain, "http")] {
        let store = fake.store_of(&[("ST_AUTH", &url), ("ST_USER", "u"), ("ST_KEY", "k")]);
        let error = store.head(&name("volume")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        let text = error.to_string();
        assert!(text.contains(word) && text.contains("ST_AUTH"), "{text}");
    }
}
