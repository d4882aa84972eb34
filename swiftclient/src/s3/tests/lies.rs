//! Stores that lie: nothing of theirs is believed.

use super::*;

/// Answers a PUT by `etag`, gets by `bytes` (or the range of them).
async fn holds(etag: &'static str, bytes: &'static [u8]) -> Fake {
    Fake::new(move |seen| {
        if seen.method == "PUT" {
            return say("200 OK", &[("etag", etag)], "");
        }
        let range = seen.header("range").strip_prefix("bytes=").unwrap_or("0-99999999");
        let (first, last) = range.split_once('-').unwrap();
        let first: usize = first.parse().unwrap();
        if first >= bytes.len() {
            return refuse("416 Range Not Satisfiable", "InvalidRange");
        }
        let last = last.parse::<usize>().unwrap().min(bytes.len() - 1);
        let said = format!("bytes {first}-{last}/{}", bytes.len());
        say("206 Partial Content", &[("content-range", &said)], &bytes[first..=last])
    })
    .await
}

#[tokio::test]
async fn a_put_whose_etag_is_not_our_md5_is_read_back() {
    let hello = || vec![Bytes::from_static(b"hello")];
    // An ETag of another kind (SSE-KMS): what is there is right.
    let fake = holds("\"b1946ac92492d2347c6235b4d2611184\"", b"hello").await;
    fake.store().put_new(&name("k"), hello()).await.unwrap();
    assert_eq!(fake.seen().len(), 3, "one put, the bytes, and that nothing follows them");
    for wrong in [&b"hellO"[..], b"hell", b"hello!", b""] {
        let wrong: &'static [u8] = wrong;
        for etag in ["\"b1946ac92492d2347c6235b4d2611184\"", ""] {
            let fake = holds(etag, wrong).await;
            let (corrupt, told) = kind(fake.store().put_new(&name("k"), hello()).await);
            assert_eq!(corrupt, ErrorKind::Corrupt, "{told}");
        }
    }
}

#[tokio::test]
async fn a_put_that_cannot_be_read_back_is_unknown() {
    let fake = Fake::new(|seen| match seen.method.as_str() {
        "PUT" => say("200 OK", &[("etag", "\"strange\"")], ""),
        _ => refuse("503 Service Unavailable", "ServiceUnavailable"),
    })
    .await;
    let put = fake.store().put_new(&name("k"), vec![Bytes::from_static(b"x")]).await;
    assert_eq!(kind(put).0, ErrorKind::Unknown);
    // Even where it says that nothing is there: it said before that something was created.
    let fake = Fake::new(|seen| match seen.method.as_str() {
        "PUT" => say("200 OK", &[("etag", "\"strange\"")], ""),
        _ => refuse("404 Not Found", "NoSuchKey"),
    })
    .await;
    let put = fake.store().put_new(&name("k"), vec![Bytes::from_static(b"x")]).await;
    assert_eq!(kind(put).0, ErrorKind::Unknown);
}

#[tokio::test]
async fn a_put_that_is_answered_by_another_success_is_unknown() {
    let fake = Fake::new(|seen| say("202 Accepted", &[("etag", &md5_hex(&seen.body))], "")).await;
    let put = fake.store().put_new(&name("k"), vec![Bytes::from_static(b"x")]).await;
    assert_eq!(kind(put).0, ErrorKind::Unknown);
}

#[tokio::test]
async fn ranges_that_were_not_asked_for_are_corrupt() {
    for said in [
        "bytes 0-4/100",
        "bytes 10-13/100",
        "bytes 10-15/100",
        "bytes 11-15/100",
        "bytes 10-14/12",
        "bytes 10-14/*",
        "bytes 14-10/100",
        "10-14/100",
        "",
    ] {
        let fake =
            Fake::new(move |_| say("206 Partial Content", &[("content-range", said)], "hello"))
                .await;
        let (corrupt, told) = kind(fake.store().get(&name("k"), 10..15).await);
        assert_eq!(corrupt, ErrorKind::Corrupt, "{said}: {told}");
    }
    // The right end and as many bytes as it says, but from another place on.
    let fake =
        Fake::new(|_| say("206 Partial Content", &[("content-range", "bytes 11-14/100")], "ello"))
            .await;
    assert_eq!(kind(fake.store().get(&name("k"), 10..15).await).0, ErrorKind::Corrupt);
    for said in ["bytes 10-14/100", "bytes 10-14/15"] {
        let fake =
            Fake::new(move |_| say("206 Partial Content", &[("content-range", said)], "hello"))
                .await;
        assert_eq!(fake.store().get(&name("k"), 10..15).await.unwrap(), &b"hello"[..]);
    }
}

#[tokio::test]
async fn a_range_of_another_length_than_its_header_is_corrupt() {
    for body in ["hell", "hello!", ""] {
        let fake = Fake::new(move |_| {
            say("206 Partial Content", &[("content-range", "bytes 10-14/100")], body)
        })
        .await;
        let (corrupt, told) = kind(fake.store().get(&name("k"), 10..15).await);
        assert_eq!(corrupt, ErrorKind::Corrupt, "{body}: {told}");
    }
}

#[tokio::test]
async fn a_truncated_get_is_an_error_whatever_was_asked() {
    for range in [0..u64::MAX, 0..100, 3..u64::MAX] {
        let fake = Fake::new(|seen| {
            let close = ("connection", "close");
            match seen.header("range") {
                "" => say("200 OK", &[("content-length", "100"), close], "too short"),
                "bytes=3-" => {
                    let said =
                        [("content-range", "bytes 3-99/100"), ("content-length", "97"), close];
                    say("206 Partial Content", &said, "too short")
                }
                _ => {
                    let said =
                        [("content-range", "bytes 0-99/100"), ("content-length", "100"), close];
                    say("206 Partial Content", &said, "too short")
                }
            }
        })
        .await;
        let (away, told) = kind(fake.store().get(&name("k"), range).await);
        assert_eq!(away, ErrorKind::Unavailable, "{told}");
    }
}

#[tokio::test]
async fn a_server_that_answers_a_range_with_the_whole_object_is_understood() {
    let fake = Fake::new(|_| say("200 OK", &[], "0123456789")).await;
    let store = fake.store();
    for (range, want) in [
        (2..5, &b"234"[..]),
        (0..10, b"0123456789"),
        (8..20, b"89"),
        (10..20, b""),
        (50..60, b""),
        (3..u64::MAX, b"3456789"),
    ] {
        let range: std::ops::Range<u64> = range;
        assert_eq!(store.get(&name("k"), range.clone()).await.unwrap(), want, "{range:?}");
    }
}

#[tokio::test]
async fn a_whole_object_has_the_checksum_that_the_store_keeps_of_it() {
    for (body, good) in [("hello world", true), ("hello w0rld", false)] {
        let fake =
            Fake::new(move |_| say("200 OK", &[("x-amz-checksum-crc32c", "yZRlqg==")], body)).await;
        let got = fake.store().get(&name("k"), 0..u64::MAX).await;
        assert_eq!(got.is_ok(), good, "{got:?}");
    }
}

#[tokio::test]
async fn listings_that_are_none_are_no_empty_listings() {
    for body in [
        "",
        "<html><body>welcome</body></html>",
        "<Error><Code>InternalError</Code></Error>",
        "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a",
        "<ListBucketResult></ListBucketResult>",
        "<ListBucketResultat><IsTruncated>false</IsTruncated></ListBucketResultat>",
    ] {
        let fake = Fake::new(move |_| say("200 OK", &[], body)).await;
        let (corrupt, told) = kind(fake.store().list("", None, 10).await);
        assert_eq!(corrupt, ErrorKind::Corrupt, "{body}: {told}");
    }
}

#[tokio::test]
async fn a_listing_that_goes_back_or_repeats_ends() {
    for keys in [["b", "a"], ["b", "b"]] {
        let fake = Fake::new(move |_| {
            let [one, two] = keys;
            say("200 OK", &[], format!(
                "<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>{one}</Key></Contents>\
                 <Contents><Key>{two}</Key></Contents></ListBucketResult>"
            ))
        })
        .await;
        assert_eq!(kind(fake.store().list("", None, 10).await).0, ErrorKind::Corrupt);
    }
    // One that ignores where to begin.
    let fake = Fake::new(|_| {
        say(
            "200 OK",
            &[],
            "<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>a</Key>\
             </Contents></ListBucketResult>",
        )
    })
    .await;
    assert_eq!(kind(fake.store().list("", None, 10).await).0, ErrorKind::Corrupt);
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test]
async fn a_deletion_answered_by_nonsense_deleted_nothing_for_sure() {
    for body in ["", "<DeleteResult><Error>", "<Error><Code>InternalError</Code></Error>"] {
        let fake = Fake::new(move |_| say("200 OK", &[], body)).await;
        let (unknown, told) = kind(fake.store().delete_many(&[name("a")]).await);
        assert_eq!(unknown, ErrorKind::Unknown, "{body}: {told}");
    }
}

/// Answers tell of no request. On a connection that is one behind, an absence and a range are those
/// of the request before, and nothing may rest on them.
#[tokio::test]
async fn what_a_connection_that_is_one_answer_behind_says_is_asked_again() {
    let fake = Fake::one_behind(|seen| {
        if seen.target.contains("list-type") {
            let keys = "<Contents><Key>ckpt/1</Key></Contents>";
            let page = format!(
                "<ListBucketResult><IsTruncated>false</IsTruncated>{keys}</ListBucketResult>"
            );
            return say("200 OK", &[], page);
        }
        if seen.target.contains("absent") {
            return refuse("404 Not Found", "NoSuchKey");
        }
        let range = seen.header("range");
        match range {
            "" => say("200 OK", &[("content-length", "10")], "0123456789"),
            _ => {
                let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
                let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
                let said = format!("bytes {first}-{last}/10");
                let bytes = &b"0123456789"[first..=last];
                say("206 Partial Content", &[("content-range", &said)], bytes)
            }
        }
    })
    .await;
    let store = fake.store();
    for _ in 0..4 {
        assert_eq!(kind(store.get(&name("absent"), 0..3).await).0, ErrorKind::NotFound);
        assert_eq!(store.get(&name("there"), 0..3).await.unwrap(), "012");
        assert_eq!(store.get(&name("there"), 4..8).await.unwrap(), "4567");
        assert_eq!(kind(store.head(&name("absent")).await).0, ErrorKind::NotFound);
        assert_eq!(store.head(&name("there")).await.unwrap().len, 10);
        assert_eq!(store.list("ckpt/", None, 9).await.unwrap(), [name("ckpt/1")]);
        // What only the caller can find out: bytes of another object.
        store.distrust();
        assert_eq!(store.get(&name("there"), 4..8).await.unwrap(), "4567");
    }
}
