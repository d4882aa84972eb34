//! What is asked.

use super::*;
use crate::disk::{Disk, OsDisk};

#[tokio::test]
async fn a_put_is_conditional_signed_and_carries_its_digests() {
    let fake = Fake::new(honest_put).await;
    let store = fake.store_below("pre");
    let pieces = vec![Bytes::from_static(b"hello "), Bytes::new(), Bytes::from_static(b"world")];
    store.put_new(&name("seg/1"), pieces).await.unwrap();
    let seen = &fake.seen()[0];
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("PUT", "/bucket/pre/seg/1"));
    assert_eq!(seen.body, b"hello world");
    assert_eq!(seen.header("if-none-match"), "*");
    assert_eq!(seen.header("content-length"), "11");
    assert_eq!(seen.header("content-md5"), "XrY7u+Ae7tCTyyK7j1rNww==");
    assert_eq!(seen.header("x-amz-checksum-crc32c"), "yZRlqg==");
    assert_eq!(seen.header("x-amz-content-sha256"), "UNSIGNED-PAYLOAD");
    assert_eq!(seen.header("transfer-encoding"), "");
    let authorization = seen.header("authorization");
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "{seen:?}");
    assert!(authorization.contains("/us-east-1/s3/aws4_request"), "{authorization}");
    for signed in ["host", "if-none-match", "content-md5", "x-amz-checksum-crc32c"] {
        assert!(authorization.contains(signed), "{signed} is not signed: {authorization}");
    }
    assert!(seen.header("user-agent").starts_with("esker/"), "{seen:?}");
}

#[tokio::test]
async fn a_file_and_a_stream_are_one_put_each() {
    let fake = Fake::new(honest_put).await;
    let store = fake.store();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("segment");
    let bytes: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&path, &bytes).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    store.clone().on_disk(disk).put_file(&name("f"), &path, 700_001).await.unwrap();
    let mut writer = store.put_stream(&name("s")).await.unwrap();
    writer.write(Bytes::from_static(b"one ")).await.unwrap();
    writer.write(Bytes::from_static(b"two")).await.unwrap();
    // The trial of its checksums, its removal, the file.
    assert_eq!(fake.seen().len(), 3, "nothing of a stream is sent before its end");
    writer.finish().await.unwrap();
    let seen = fake.seen();
    assert!(seen[0].target.contains("/probe/checksum-"), "{:?}", seen[0].target);
    assert!(seen[2].body == bytes[..700_001]);
    assert_eq!(seen[3].body, b"one two");
    assert_eq!(seen.len(), 4);
}

/// Checks CRC-32C as AWS and MinIO do, gives no MD5.
fn checking(seen: &Seen) -> Said {
    let sent = seen.header("x-amz-checksum-crc32c");
    if sent != crc_base64(&seen.body) {
        return refuse("400 Bad Request", "XAmzContentChecksumMismatch");
    }
    say("200 OK", &[("etag", "\"opaque\""), ("x-amz-checksum-crc32c", sent)], "")
}

#[tokio::test]
async fn md5_is_left_away_where_the_store_is_seen_to_check_crc32c() {
    let fake = Fake::new(checking).await;
    let store = fake.store();
    for i in 0..3 {
        store.put_new(&name(&format!("o{i}")), vec![vec![7; 300_000].into()]).await.unwrap();
    }
    let seen = fake.seen();
    assert_eq!(seen.len(), 4);
    assert!(seen[0].target.starts_with("/bucket/probe/checksum-"), "{:?}", seen[0]);
    assert_eq!(seen[0].header("if-none-match"), "*");
    for seen in &seen[1..] {
        assert_eq!(seen.header("content-md5"), "");
        assert_ne!(seen.header("x-amz-checksum-crc32c"), "");
    }
}

#[tokio::test]
async fn a_store_that_only_echoes_crc32c_goes_on_with_md5() {
    let fake = Fake::new(|seen| {
        let (etag, crc) = (md5_hex(&seen.body), seen.header("x-amz-checksum-crc32c"));
        match seen.method.as_str() {
            "PUT" => say("200 OK", &[("etag", &etag), ("x-amz-checksum-crc32c", crc)], ""),
            _ => say("204 No Content", &[], ""),
        }
    })
    .await;
    let store = fake.store();
    for i in 0..3 {
        store.put_new(&name(&format!("o{i}")), vec![vec![7; 300_000].into()]).await.unwrap();
    }
    let seen = fake.seen();
    let asked: Vec<&str> = seen.iter().map(|s| s.method.as_str()).collect();
    assert_eq!(
        asked,
        ["PUT", "DELETE", "PUT", "PUT", "PUT"],
        "the trial is undone and not repeated"
    );
    assert_eq!(seen[0].target, seen[1].target);
    for put in &seen[2..] {
        assert_ne!(put.header("content-md5"), "");
    }
}

#[tokio::test]
async fn ranges_are_asked_for_as_http_counts() {
    let fake = Fake::new(|_| refuse("404 Not Found", "NoSuchKey")).await;
    let store = fake.store();
    for (range, want) in
        [(0..10, "bytes=0-9"), (5..6, "bytes=5-5"), (5..u64::MAX, "bytes=5-"), (0..u64::MAX, "")]
    {
        let seen = fake.seen().len();
        assert_eq!(kind(store.get(&name("k"), range).await).0, ErrorKind::NotFound);
        assert_eq!(fake.seen()[seen].header("range"), want);
    }
}

fn listing(keys: &[String], truncated: bool) -> Said {
    let mut body = format!(
        "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Name>bucket</Name><IsTruncated>{truncated}</IsTruncated><EncodingType>url</EncodingType>"
    );
    for key in keys {
        body.push_str(&format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>"));
    }
    say("200 OK", &[], body + "</ListBucketResult>")
}

#[tokio::test]
async fn listing_goes_from_page_to_page_and_skips_what_is_not_ours() {
    let fake = Fake::new(|seen| {
        let page = |keys: &[&str], truncated| {
            let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
            listing(&keys, truncated)
        };
        match seen.target.split("start-after=").nth(1) {
            None => page(&["p/seg/a%20b", "p/seg/b"], true),
            Some("p%2Fseg%2Fb") => page(&["p/seg/c", "p/seg/d%2Be"], true),
            Some("p%2Fseg%2Fd%2Be") => page(&["p/seg/f"], false),
            Some(other) => panic!("{other}"),
        }
    })
    .await;
    let names = fake.store_below("p").list("seg/", None, 100).await.unwrap();
    assert_eq!(names, ["seg/b", "seg/c", "seg/f"].map(name));
    let first = &fake.seen()[0].target;
    assert_eq!(first, "/bucket/?list-type=2&prefix=p%2Fseg%2F&max-keys=100&encoding-type=url");
    let asked = fake.seen().len();
    assert!(fake.store().list("", None, 0).await.unwrap().is_empty());
    assert_eq!(fake.seen().len(), asked, "a limit of 0 asks nothing");
}

#[tokio::test]
async fn deletion_is_a_thousand_keys_at_a_time_with_an_outcome_for_each() {
    let fake = Fake::new(|seen| {
        let body = String::from_utf8(seen.body.clone()).unwrap();
        let mut errors = String::new();
        for (key, code) in
            [("p/x7", "AccessDenied"), ("p/x8", "NoSuchKey"), ("p/x1500", "InternalError")]
        {
            if body.contains(&format!("<Key>{key}</Key>")) {
                errors.push_str(&format!("<Error><Key>{key}</Key><Code>{code}</Code></Error>"));
            }
        }
        say("200 OK", &[], format!("<DeleteResult>{errors}</DeleteResult>"))
    })
    .await;
    let names: Vec<_> = (0..2500).map(|i| name(&format!("x{i}"))).collect();
    let outcomes = fake.store_below("p").delete_many(&names).await.unwrap();
    assert_eq!(outcomes.len(), 2500);
    for (i, outcome) in outcomes.into_iter().enumerate() {
        match i {
            7 => assert_eq!(kind(outcome).0, ErrorKind::Denied),
            1500 => assert_eq!(kind(outcome).0, ErrorKind::Unknown),
            _ => outcome.unwrap(),
        }
    }
    let seen = fake.seen();
    let keys = |s: &Seen| String::from_utf8_lossy(&s.body).matches("<Key>").count();
    assert_eq!(seen.iter().map(keys).collect::<Vec<_>>(), [1000, 1000, 500]);
    assert_eq!(seen[0].target, "/bucket/?delete=");
    assert_ne!(seen[0].header("content-md5"), "");
}

#[tokio::test]
async fn a_store_without_bulk_deletion_is_asked_for_each() {
    let fake = Fake::new(|seen| match (seen.method.as_str(), seen.target.as_str()) {
        ("POST", _) => refuse("501 Not Implemented", "NotImplemented"),
        (_, "/bucket/b") => refuse("404 Not Found", "NoSuchKey"),
        (_, "/bucket/c") => refuse("403 Forbidden", "AccessDenied"),
        _ => say("204 No Content", &[], ""),
    })
    .await;
    let store = fake.store();
    let names = ["a", "b", "c"].map(name);
    for _ in 0..2 {
        let outcomes = store.delete_many(&names).await.unwrap();
        assert!(outcomes[0].is_ok() && outcomes[1].is_ok());
        assert_eq!(kind(outcomes[2].clone()).0, ErrorKind::Denied);
    }
    let posts = fake.seen().iter().filter(|s| s.method == "POST").count();
    assert_eq!(posts, 1, "it is not asked again for what it cannot do");
}

#[tokio::test]
async fn head_tells_length_and_the_checksum_of_a_whole_object_only() {
    let fake = Fake::new(|seen| match seen.target.as_str() {
        "/bucket/whole" => {
            say("200 OK", &[("content-length", "11"), ("x-amz-checksum-crc32c", "yZRlqg==")], "")
        }
        _ => say("200 OK", &[("content-length", "9"), ("x-amz-checksum-crc32c", "yZRlqg==-3")], ""),
    })
    .await;
    let store = fake.store();
    let info = store.head(&name("whole")).await.unwrap();
    assert_eq!((info.len, info.crc32c), (11, Some(crc_fast::crc32_iscsi(b"hello world"))));
    let info = store.head(&name("parts")).await.unwrap();
    assert_eq!((info.len, info.crc32c), (9, None));
    assert_eq!(fake.seen()[0].header("x-amz-checksum-mode"), "ENABLED");
}
