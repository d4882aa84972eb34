//! A small S3 store in this process: what the API reference says of the requests that Esker makes
//! (PutObject with If-None-Match, GetObject with Range, HeadObject, DeleteObject, DeleteObjects,
//! ListObjectsV2), path style, in memory. Digests that a request carries are checked; of its
//! signature only that it is there and names the right key.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use md5::{Digest as _, Md5};
use parking_lot::Mutex;
use sha2::Sha256;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::answer::{Answer, WHOLE_BYTES, range};
use super::wire::{Head, Source, decoded, parameter};

/// Most names in one answer to a listing (API reference, ListObjectsV2).
const PAGE: usize = 1000;

#[derive(Clone)]
struct Object {
    body: Bytes,
    etag: String,
}

#[derive(Default)]
struct State {
    buckets: BTreeMap<String, BTreeMap<String, Object>>,
    quota: Option<u64>,
    puts: u64,
    /// Access keys that it knows.
    keys: Vec<String>,
}

impl State {
    fn bytes(&self) -> u64 {
        let objects = self.buckets.values().flat_map(BTreeMap::values);
        objects.map(|o| o.body.len() as u64).sum()
    }
}

/// Why the store says no: status and code of the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(pub u16, pub &'static str);

/// A running store. Dropping ends it and forgets its objects.
pub struct Fake {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
    over: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Fake {
    /// The access key that it knows.
    pub const KEY: &'static str = "test";
    /// The secret that goes with it (not looked at).
    pub const SECRET: &'static str = "testing-secret";

    /// A store with these empty buckets on a free port of loopback.
    pub fn start(buckets: &[&str]) -> io::Result<Self> {
        let mut state = State::default();
        state.keys.push(Self::KEY.to_owned());
        state.buckets.extend(buckets.iter().map(|b| ((*b).to_owned(), BTreeMap::new())));
        let state = Arc::new(Mutex::new(state));
        let (over, mut ends) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let (addr, owned) = (listener.local_addr()?, state.clone());
        let serve = async move {
            loop {
                tokio::select! {
                    Ok((client, _)) = listener.accept() => {
                        tokio::spawn(connection(client, owned.clone()));
                    }
                    _ = ends.wait_for(|over| *over) => return,
                }
            }
        };
        let body = move || runtime.block_on(serve);
        let thread = std::thread::Builder::new().name("fake-s3".into()).spawn(body)?;
        Ok(Self { addr, state, over, thread: Some(thread) })
    }

    /// Where it is.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Most bytes of all objects together from here on.
    pub fn quota(&self, bytes: Option<u64>) {
        self.state.lock().quota = bytes;
    }

    /// The access keys that it knows from here on: of all others it says that they have expired.
    pub fn keys(&self, keys: &[String]) {
        self.state.lock().keys = keys.to_vec();
    }

    /// Names of the objects in a bucket, in order.
    pub fn names(&self, bucket: &str) -> Vec<String> {
        let state = self.state.lock();
        state.buckets.get(bucket).map(|b| b.keys().cloned().collect()).unwrap_or_default()
    }

    /// An object's bytes.
    pub fn object(&self, bucket: &str, key: &str) -> Option<Bytes> {
        Some(self.state.lock().buckets.get(bucket)?.get(key)?.body.clone())
    }

    /// Puts an object, or takes it away, behind everybody's back.
    pub fn plant(&self, bucket: &str, key: &str, body: Option<Bytes>) {
        let mut state = self.state.lock();
        let bucket = state.buckets.entry(bucket.to_owned()).or_default();
        match body {
            Some(body) => bucket.insert(key.to_owned(), Object { etag: etag(&body), body }),
            None => bucket.remove(key),
        };
    }

    /// Bytes of all objects.
    pub fn bytes(&self) -> u64 {
        self.state.lock().bytes()
    }

    /// Objects that were put.
    pub fn puts(&self) -> u64 {
        self.state.lock().puts
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.over.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}

fn etag(body: &[u8]) -> String {
    format!("\"{}\"", hex(&Md5::digest(body)))
}

async fn connection(client: TcpStream, state: Arc<Mutex<State>>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (from, mut to) = client.into_split();
    let mut from = Source::new(from);
    while let Some(head) = from.head().await? {
        if head.field("expect").is_some() {
            to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let body = from.whole(&mut head.request_body(), WHOLE_BYTES).await?;
        let answer = answer(&mut state.lock(), &head, &body).unwrap_or_else(|refusal| {
            let mut answer = Answer::error(refusal.0, None, "GET");
            let text = format!("<Error><Code>{}</Code><Message>no</Message></Error>", refusal.1);
            answer = answer.with_body(text.into());
            if head.method() == "HEAD" {
                answer.body = Bytes::new();
            }
            answer
        });
        answer.write(&mut to).await?;
        if head.closes() {
            break;
        }
    }
    to.shutdown().await
}

type Said = Result<Answer, Refusal>;

fn empty(status: u16) -> Answer {
    let mut head = Head::answer(status, "OK");
    if status != 204 {
        head.set("Content-Length", 0);
    }
    Answer { head, body: Bytes::new() }
}

fn xml(text: String) -> Answer {
    let mut answer = empty(200).with_body(text.into());
    answer.head.set("Content-Type", "application/xml");
    answer
}

fn answer(state: &mut State, head: &Head, body: &Bytes) -> Said {
    let signed = head.field("authorization").ok_or(Refusal(403, "AccessDenied"))?;
    let key = signed.strip_prefix("AWS4-HMAC-SHA256 Credential=").and_then(|s| s.split_once('/'));
    match key {
        Some((key, _)) if state.keys.iter().any(|known| known == key) => {}
        // Those of a role are temporary.
        Some(_) if head.field("x-amz-security-token").is_some() => {
            return Err(Refusal(400, "ExpiredToken"));
        }
        _ => return Err(Refusal(403, "InvalidAccessKeyId")),
    }
    digests(head, body)?;
    let path = head.path().trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let (bucket, key) = (decoded(bucket), decoded(key));
    if key.is_empty() {
        return of_bucket(state, head, body, bucket);
    }
    let (quota, used) = (state.quota, state.bytes());
    let objects = state.buckets.get_mut(&bucket).ok_or(Refusal(404, "NoSuchBucket"))?;
    match head.method() {
        "PUT" => {
            if head.length().is_none() {
                return Err(Refusal(411, "MissingContentLength"));
            }
            if head.field("if-none-match") == Some("*") && objects.contains_key(&key) {
                return Err(Refusal(412, "PreconditionFailed"));
            }
            if quota.is_some_and(|q| used + body.len() as u64 > q) {
                return Err(Refusal(403, "QuotaExceeded"));
            }
            let etag = etag(body);
            let mut answer = empty(200);
            answer.head.set("ETag", &etag);
            if let Some(sum) = head.field("x-amz-checksum-crc32c") {
                answer.head.set("x-amz-checksum-crc32c", sum);
            }
            objects.insert(key, Object { body: body.clone(), etag });
            state.puts += 1;
            Ok(answer)
        }
        "DELETE" => {
            objects.remove(&key);
            Ok(empty(204))
        }
        "GET" | "HEAD" => {
            let object = objects.get(&key).ok_or(Refusal(404, "NoSuchKey"))?;
            let asked = head.field("range");
            if asked.is_some_and(|r| range(r, object.body.len() as u64).is_none()) {
                return Err(Refusal(416, "InvalidRange"));
            }
            let mut answer = empty(200).of_object(head, &object.body, Some(&object.etag));
            answer.head.set("Accept-Ranges", "bytes");
            Ok(answer)
        }
        _ => Err(Refusal(405, "MethodNotAllowed")),
    }
}

/// Digests that the request carries are those of its body.
fn digests(head: &Head, body: &[u8]) -> Result<(), Refusal> {
    let is = |name: &str, real: String, code| match head.field(name) {
        Some(said) if said != real => Err(Refusal(400, code)),
        _ => Ok(()),
    };
    is("content-md5", BASE64.encode(Md5::digest(body)), "BadDigest")?;
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, body);
    let crc = u32::try_from(crc).unwrap_or(0).to_be_bytes();
    is("x-amz-checksum-crc32c", BASE64.encode(crc), "BadDigest")?;
    is("x-amz-checksum-sha256", BASE64.encode(Sha256::digest(body)), "BadDigest")?;
    if head.field("x-amz-content-sha256").is_some_and(|v| v.len() == 64) {
        is("x-amz-content-sha256", hex(&Sha256::digest(body)), "XAmzContentSHA256Mismatch")?;
    }
    Ok(())
}

fn of_bucket(state: &mut State, head: &Head, body: &[u8], bucket: String) -> Said {
    let query = head.query();
    if head.method() == "PUT" {
        state.buckets.entry(bucket).or_default();
        return Ok(empty(200));
    }
    let objects = state.buckets.get_mut(&bucket).ok_or(Refusal(404, "NoSuchBucket"))?;
    match head.method() {
        "HEAD" => Ok(empty(200)),
        "GET" if parameter(query, "location").is_some() => {
            Ok(xml("<LocationConstraint></LocationConstraint>".into()))
        }
        "GET" if parameter(query, "list-type").as_deref() == Some("2") => {
            Ok(listing(objects, &bucket, query))
        }
        "POST" if parameter(query, "delete").is_some() => {
            let sums = ["content-md5", "x-amz-checksum-crc32c", "x-amz-checksum-sha256"];
            if sums.iter().all(|s| head.field(s).is_none()) {
                return Err(Refusal(400, "MissingContentMD5"));
            }
            delete(objects, &String::from_utf8_lossy(body))
        }
        _ => Err(Refusal(501, "NotImplemented")),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn listing(objects: &BTreeMap<String, Object>, bucket: &str, query: &str) -> Answer {
    let prefix = parameter(query, "prefix").unwrap_or_default();
    let after = parameter(query, "continuation-token").or(parameter(query, "start-after"));
    let most = parameter(query, "max-keys").and_then(|n| n.parse().ok()).unwrap_or(PAGE).min(PAGE);
    let after = after.unwrap_or_default();
    let wanted = |k: &&String| k.starts_with(&prefix) && (after.is_empty() || **k > after);
    let mut keys = objects.keys().filter(wanted);
    let page: Vec<&String> = keys.by_ref().take(most).collect();
    let more = keys.next().is_some();
    let rows: String = page
        .iter()
        .map(|k| {
            let (len, etag) = (objects[*k].body.len(), &objects[*k].etag);
            let (key, etag) = (escaped(k), etag.replace('"', "&quot;"));
            format!(
                "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
                 <ETag>{etag}</ETag><Size>{len}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            )
        })
        .collect();
    let next = page.last().filter(|_| more).map_or_else(String::new, |k| {
        format!("<NextContinuationToken>{}</NextContinuationToken>", escaped(k))
    });
    xml(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>{bucket}</Name>\
         <Prefix>{}</Prefix><KeyCount>{}</KeyCount><MaxKeys>{most}</MaxKeys>\
         <IsTruncated>{more}</IsTruncated>{next}{rows}</ListBucketResult>",
        escaped(&prefix),
        page.len()
    ))
}

fn delete(objects: &mut BTreeMap<String, Object>, body: &str) -> Said {
    let keys: BTreeSet<String> = body
        .split("<Key>")
        .skip(1)
        .filter_map(|k| k.split_once("</Key>"))
        .map(|(k, _)| k.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
        .collect();
    if keys.is_empty() || keys.len() > PAGE {
        return Err(Refusal(400, "MalformedXML"));
    }
    let quiet = body.contains("<Quiet>true</Quiet>");
    let mut rows = String::new();
    for key in keys {
        objects.remove(&key);
        if !quiet {
            rows.push_str(&format!("<Deleted><Key>{}</Key></Deleted>", escaped(&key)));
        }
    }
    Ok(xml(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <DeleteResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{rows}</DeleteResult>"
    )))
}
