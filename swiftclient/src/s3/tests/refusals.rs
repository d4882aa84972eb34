//! What refusals mean. The documents are those that AWS, MinIO and Ceph send.

use super::*;

async fn refusing(status: &'static str, body: &'static str) -> S3 {
    let fake = Fake::new(move |_| say(status, &[("content-type", "application/xml")], body)).await;
    let store = fake.store();
    std::mem::forget(fake); // until the test's runtime ends
    store
}

async fn put(status: &'static str, body: &'static str) -> (ErrorKind, String) {
    kind(refusing(status, body).await.put_new(&name("seg/1"), vec![Bytes::from_static(b"x")]).await)
}

async fn get(status: &'static str, body: &'static str) -> (ErrorKind, String) {
    kind(refusing(status, body).await.get(&name("seg/1"), 0..10).await)
}

const NO_KEY: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message><Key>seg/1</Key><RequestId>4442587FB7D0A2F9</RequestId></Error>"#;
const NO_BUCKET: &str = r#"<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchBucket</Code><BucketName>bucket</BucketName><RequestId>tx0</RequestId><HostId>5e-default</HostId></Error>"#;
const DENIED: &str = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
const SKEW: &str = "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the \
    request time and the current time is too large.</Message><RequestTime>20240101T000000Z\
    </RequestTime><ServerTime>2026-05-01T10:00:00Z</ServerTime>\
    <MaxAllowedSkewMilliseconds>900000</MaxAllowedSkewMilliseconds></Error>";
const REGION: &str = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization \
    header is malformed; the region 'us-east-1' is wrong; expecting 'eu-central-1'</Message>\
    <Region>eu-central-1</Region></Error>";

macro_rules! document {
    ($code:literal) => {
        concat!("<Error><Code>", $code, "</Code><Message>m</Message></Error>")
    };
}

#[tokio::test]
async fn only_no_such_key_is_not_found() {
    assert_eq!(get("404 Not Found", NO_KEY).await.0, ErrorKind::NotFound);
    let (denied, told) = get("404 Not Found", NO_BUCKET).await;
    assert_eq!(denied, ErrorKind::Denied);
    assert!(told.contains("no bucket bucket"), "{told}");
    for body in ["", "<html>404 page not found</html>", "<Error>", NO_BUCKET] {
        assert_ne!(get("404 Not Found", body).await.0, ErrorKind::NotFound, "{body}");
        let head = refusing("404 Not Found", body).await.head(&name("k")).await;
        assert_ne!(kind(head).0, ErrorKind::NotFound, "{body}");
    }
    let head = refusing("404 Not Found", NO_KEY).await.head(&name("k")).await;
    assert_eq!(kind(head).0, ErrorKind::NotFound);
}

#[tokio::test]
async fn an_empty_range_of_what_is_absent_is_not_found() {
    let store = refusing("404 Not Found", NO_KEY).await;
    for range in [0..0, 5..5, u64::MAX - 1..u64::MAX] {
        assert_eq!(kind(store.get(&name("k"), range).await).0, ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn what_an_operator_must_do_is_said() {
    for (status, body, words) in [
        ("403 Forbidden", DENIED, "s3:ListBucket"),
        ("403 Forbidden", document!("InvalidAccessKeyId"), "AWS_ACCESS_KEY_ID"),
        ("403 Forbidden", document!("SignatureDoesNotMatch"), "AWS_SECRET_ACCESS_KEY"),
        ("403 Forbidden", SKEW, "2026-05-01T10:00:00Z"),
        ("400 Bad Request", REGION, "AWS_REGION=eu-central-1"),
        ("301 Moved Permanently", document!("PermanentRedirect"), "AWS_REGION"),
        ("400 Bad Request", document!("InvalidToken"), "AWS_SESSION_TOKEN"),
        ("400 Bad Request", document!("ExpiredToken"), "expired"),
        ("400 Bad Request", "Client sent an HTTP request to an HTTPS server.\n", "https://"),
        ("404 Not Found", "<html>nginx</html>", "AWS_ENDPOINT_URL"),
        ("400 Bad Request", document!("InvalidBucketName"), "no legal name"),
    ] {
        let (denied, told) = get(status, body).await;
        assert_eq!(denied, ErrorKind::Denied, "{told}");
        assert!(told.contains(words), "{words} not in: {told}");
    }
    let (denied, told) = put("403 Forbidden", DENIED).await;
    assert_eq!(denied, ErrorKind::Denied);
    assert!(told.contains("s3:PutObject"), "{told}");
}

#[tokio::test]
async fn a_wrong_region_is_told_by_the_header_too() {
    let fake =
        Fake::new(|_| say("400 Bad Request", &[("x-amz-bucket-region", "eu-west-3")], "")).await;
    let (denied, told) = kind(fake.store().head(&name("k")).await);
    assert_eq!(denied, ErrorKind::Denied);
    assert!(told.contains("AWS_REGION=eu-west-3"), "{told}");
}

#[tokio::test]
async fn a_put_says_what_surely_did_not_happen_and_what_may_have() {
    for (status, body, want) in [
        ("412 Precondition Failed", document!("PreconditionFailed"), ErrorKind::Exists),
        ("412 Precondition Failed", "", ErrorKind::Exists),
        ("409 Conflict", document!("ConditionalRequestConflict"), ErrorKind::Unavailable),
        ("409 Conflict", document!("OperationAborted"), ErrorKind::Unavailable),
        ("500 Internal Server Error", document!("InternalError"), ErrorKind::Unknown),
        ("500 Internal Server Error", "", ErrorKind::Unknown),
        ("502 Bad Gateway", "<html>", ErrorKind::Unknown),
        ("503 Service Unavailable", "", ErrorKind::Unknown),
        ("503 Service Unavailable", document!("ServiceUnavailable"), ErrorKind::Unknown),
        ("503 Service Unavailable", document!("SlowDownWrite"), ErrorKind::Unknown),
        ("503 Service Unavailable", document!("SlowDown"), ErrorKind::Unavailable),
        ("429 Too Many Requests", "", ErrorKind::Unavailable),
        ("400 Bad Request", document!("BadDigest"), ErrorKind::Unavailable),
        ("400 Bad Request", document!("IncompleteBody"), ErrorKind::Unavailable),
        ("400 Bad Request", document!("RequestTimeout"), ErrorKind::Unavailable),
        ("400 Bad Request", document!("InvalidArgument"), ErrorKind::Invalid),
        ("501 Not Implemented", document!("NotImplemented"), ErrorKind::Invalid),
        ("507 Insufficient Storage", "", ErrorKind::Full),
        ("507 Insufficient Storage", document!("XMinioStorageFull"), ErrorKind::Full),
        ("403 Forbidden", document!("QuotaExceeded"), ErrorKind::Full),
        ("400 Bad Request", document!("XMinioAdminBucketQuotaExceeded"), ErrorKind::Full),
        ("413 Request Entity Too Large", document!("EntityTooLarge"), ErrorKind::Full),
    ] {
        let (got, told) = put(status, body).await;
        assert_eq!(got, want, "{status} {body}: {told}");
    }
}

#[tokio::test]
async fn a_read_that_fails_is_unavailable_and_never_unknown() {
    for status in [
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway Timeout",
        "429 Too Many Requests",
    ] {
        for body in ["", document!("InternalError"), "<html>"] {
            assert_eq!(get(status, body).await.0, ErrorKind::Unavailable, "{status} {body}");
        }
    }
}

#[tokio::test]
async fn the_stores_wish_for_a_pause_is_passed_on() {
    let fake = Fake::new(|_| {
        let body = document!("SlowDown");
        say("503 Slow Down", &[("retry-after", "7")], body)
    })
    .await;
    let put = fake.store().put_new(&name("k"), vec![Bytes::from_static(b"x")]).await;
    match put {
        Err(StoreError::Unavailable { retry_after, .. }) => {
            assert_eq!(retry_after, Some(Duration::from_secs(7)));
        }
        other => panic!("{other:?}"),
    }
}

/// Serves `first` on its connection, reads the next request there and closes without a word; later
/// connections get `then`.
async fn forgetful(
    first: fn(&Seen) -> Said,
    then: fn(&Seen) -> Said,
) -> (S3, Arc<Mutex<Vec<Seen>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let kept = Arc::clone(&seen);
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut buffer = Vec::new();
        let asked = request(&mut tcp, &mut buffer).await.unwrap();
        let Said(head, body) = first(&asked);
        let head = format!("{head}content-length: {}\r\n\r\n", body.len());
        tcp.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
        let second = request(&mut tcp, &mut buffer).await.unwrap();
        kept.lock().push(second);
        drop(tcp);
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(tcp, Arc::clone(&kept), Arc::new(then), false));
        }
    });
    let config = S3Config::from_env(|n| variable(n, &url), "bucket", "").unwrap();
    (S3::new(config, &Env::simulated(1)).unwrap(), seen)
}

#[tokio::test]
async fn a_put_on_a_connection_that_was_closed_is_sent_again_and_its_own_success_not_taken_for_anothers()
 {
    for (then, want) in [
        (honest_put as fn(&Seen) -> Said, None),
        (
            |_: &Seen| refuse("412 Precondition Failed", "PreconditionFailed"),
            Some(ErrorKind::Unknown),
        ),
        (|_: &Seen| refuse("503 Slow Down", "SlowDown"), Some(ErrorKind::Unknown)),
    ] {
        let (store, seen) = forgetful(honest_put, then).await;
        store.put_new(&name("a"), vec![Bytes::from_static(b"a")]).await.unwrap();
        let put = store.put_new(&name("b"), vec![Bytes::from_static(b"bb")]).await;
        assert_eq!(put.as_ref().err().map(StoreError::kind), want, "{put:?}");
        let bodies: Vec<Vec<u8>> = seen.lock().iter().map(|s| s.body.clone()).collect();
        assert_eq!(bodies, [b"bb", b"bb"]);
    }
}

/// What a put cannot be answered with is the answer to another request.
#[tokio::test]
async fn an_absence_is_no_answer_to_a_put() {
    let fake = Fake::new(|_| refuse("404 Not Found", "NoSuchKey")).await;
    let put = fake.store().put_new(&name("k"), vec![Bytes::from_static(b"x")]).await;
    assert_eq!(kind(put).0, ErrorKind::Unknown);
}
