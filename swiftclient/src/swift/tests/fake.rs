//! A small Swift on a socket: enough of the API to be right about it, and a rule in front of it
//! that answers otherwise.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use bytes::Bytes;
use md5::{Digest, Md5};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    Swift,
    seam::{Env, sim::SeededDice, sim::VirtualClock},
    swift::SwiftConfig,
};

/// One request as it came.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub method: String,
    /// Decoded, without the query.
    pub path: String,
    pub query: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// False where the connection ended within the body.
    pub whole: bool,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// `METHOD path?query`.
    pub fn line(&self) -> String {
        let mark = if self.query.is_empty() { "" } else { "?" };
        format!("{} {}{mark}{}", self.method, self.path, self.query)
    }

    fn parameter(&self, name: &str) -> Option<String> {
        let pair = self.query.split('&').find_map(|p| p.strip_prefix(&format!("{name}=")))?;
        Some(percent_decode_str(pair).decode_utf8().unwrap().into_owned())
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Content-Length as told, where it is not the body's; the connection is closed after it.
    pub told: Option<usize>,
}

impl Answer {
    /// As Swift says it.
    pub fn new(status: u16) -> Self {
        Self::bare(status).header("X-Trans-Id", "tx0")
    }

    /// As something else on the way says it.
    pub fn bare(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), told: None }
    }

    pub fn header(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.headers.push((name.into(), value.to_string()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn told(mut self, len: usize) -> Self {
        self.told = Some(len);
        self
    }
}

type Rule = Box<dyn FnMut(&Seen) -> Option<Answer> + Send>;

#[derive(Default)]
pub struct World {
    pub log: Vec<Seen>,
    pub containers: BTreeMap<String, BTreeMap<String, Object>>,
    /// Tokens that are taken.
    pub tokens: BTreeSet<String>,
    pub tokens_given: u32,
    /// What X-Auth-Token-Expires says, seconds.
    pub life: Option<u64>,
    /// `None`: no answer to `/info`.
    pub info: Option<String>,
    /// POST ?bulk-delete is known.
    pub bulk: bool,
    rule: Option<Rule>,
    /// Each connection is one answer behind from now on: its second request gets what its first
    /// was to get.
    pub behind: bool,
    /// Bytes of a request's body after which it is answered at once.
    pub early: Option<usize>,
}

#[derive(Clone)]
pub struct Object {
    pub bytes: Bytes,
    pub crc: String,
}

#[derive(Clone)]
pub struct Fake {
    pub world: Arc<Mutex<World>>,
    pub address: SocketAddr,
    pub clock: Arc<VirtualClock>,
}

pub fn md5_of(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

impl Fake {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let world = World {
            info: Some(r#"{"swift": {}, "bulk_delete": {"max_deletes_per_request": 4}}"#.into()),
            bulk: true,
            life: Some(1000),
            ..World::default()
        };
        let fake = Self {
            world: Arc::new(Mutex::new(world)),
            address,
            clock: Arc::new(VirtualClock::new()),
        };
        let server = fake.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move { server.serve(socket).await });
            }
        });
        fake
    }

    pub fn rule(&self, rule: impl FnMut(&Seen) -> Option<Answer> + Send + 'static) {
        self.world.lock().rule = Some(Box::new(rule));
    }

    pub fn store(&self) -> Swift {
        let auth = format!("http://{}/auth/v1.0", self.address);
        self.store_of(&[("ST_AUTH", &auth), ("ST_USER", "test:tester"), ("ST_KEY", "testing")])
    }

    pub fn store_of(&self, variables: &[(&str, &str)]) -> Swift {
        let lookup = |name: &str| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        };
        let config = SwiftConfig::from_env(lookup, "c", "p").unwrap();
        let env = Env { clock: self.clock.clone(), dice: Arc::new(SeededDice::new(1)) };
        Swift::new(&config, &env).unwrap()
    }

    /// The requests so far, without what every store asks first.
    pub fn lines(&self) -> Vec<String> {
        let quiet = ["GET /auth/v1.0", "GET /info", "PUT /v1/A/c_none/none"];
        let log = &self.world.lock().log;
        log.iter().map(Seen::line).filter(|line| !quiet.contains(&line.as_str())).collect()
    }

    pub fn forget_log(&self) {
        self.world.lock().log.clear();
    }

    async fn serve(&self, mut socket: TcpStream) {
        let (mut buffer, mut before) = (Vec::new(), None);
        loop {
            let early = self.world.lock().early;
            let Some(seen) = read_request(&mut socket, &mut buffer, early).await else { return };
            let mut answer = self.answer(&seen);
            if self.world.lock().behind {
                let own = answer.clone();
                answer = before.replace(own).unwrap_or(answer);
            }
            let reason = "Reason";
            let len = answer.told.unwrap_or(answer.body.len());
            let mut head = format!("HTTP/1.1 {} {reason}\r\n", answer.status);
            for (name, value) in &answer.headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            if !answer.headers.iter().any(|(n, _)| n == "Content-Length") {
                head.push_str(&format!("Content-Length: {len}\r\n"));
            }
            head.push_str("\r\n");
            if socket.write_all(head.as_bytes()).await.is_err() {
                return;
            }
            if seen.method != "HEAD" && socket.write_all(&answer.body).await.is_err() {
                return;
            }
            if answer.told.is_some() || !seen.whole {
                // Let the answer arrive before the reset that unread bytes cause.
                let _ = socket.shutdown().await;
                let mut rest = [0; 1 << 16];
                while socket.read(&mut rest).await.is_ok_and(|n| n > 0) {}
                return;
            }
        }
    }

    fn answer(&self, seen: &Seen) -> Answer {
        let mut world = self.world.lock();
        world.log.push(seen.clone());
        let mut rule = world.rule.take();
        let ruled = rule.as_mut().and_then(|rule| rule(seen));
        world.rule = rule;
        if let Some(answer) = ruled {
            return answer;
        }
        if seen.path == "/auth/v1.0" {
            if seen.header("x-auth-key") != "testing" {
                return Answer::new(401);
            }
            world.tokens_given += 1;
            let token = format!("token-{}", world.tokens_given);
            world.tokens.insert(token.clone());
            let mut answer = Answer::new(200)
                .header("X-Auth-Token", token)
                .header("X-Storage-Url", format!("http://{}/v1/A", self.address));
            if let Some(life) = world.life {
                answer = answer.header("X-Auth-Token-Expires", life);
            }
            return answer;
        }
        if seen.path == "/info" {
            return match &world.info {
                Some(info) => Answer::new(200).body(info.clone()),
                None => Answer::new(404),
            };
        }
        if !world.tokens.contains(seen.header("x-auth-token")) {
            return Answer::new(401);
        }
        world.swift(seen)
    }
}

fn listing(names: impl Iterator<Item = String>, seen: &Seen) -> Answer {
    let (prefix, marker) = (seen.parameter("prefix"), seen.parameter("marker"));
    let limit = seen.parameter("limit").map_or(10_000, |l| l.parse().unwrap());
    let rows: Vec<_> = names
        .filter(|n| n.starts_with(prefix.as_deref().unwrap_or("")))
        .filter(|n| marker.as_ref().is_none_or(|m| n > m))
        .take(limit)
        .map(|name| serde_json::json!({ "name": name, "bytes": 1 }))
        .collect();
    Answer::new(200).body(serde_json::to_vec(&rows).unwrap())
}

impl World {
    fn swift(&mut self, seen: &Seen) -> Answer {
        let path = seen.path.strip_prefix("/v1/A").unwrap().trim_start_matches('/').to_owned();
        let (container, object) = path.split_once('/').unwrap_or((&path, ""));
        match (seen.method.as_str(), container, object) {
            ("GET", "", "") => listing(self.containers.keys().cloned(), seen),
            ("POST", "", "") if seen.query == "bulk-delete" => self.bulk_delete(&seen.body),
            ("PUT", container, "") => {
                let new = !self.containers.contains_key(container);
                self.containers.entry(container.to_owned()).or_default();
                Answer::new(if new { 201 } else { 202 })
            }
            ("HEAD", container, "") => {
                Answer::new(if self.containers.contains_key(container) { 204 } else { 404 })
            }
            ("GET", container, "") => match self.containers.get(container) {
                Some(objects) => listing(objects.keys().cloned(), seen),
                None => Answer::new(404),
            },
            ("PUT", container, object) => self.put(seen, container, object),
            ("DELETE", container, object) => {
                let there = self.containers.get_mut(container).and_then(|c| c.remove(object));
                Answer::new(if there.is_some() { 204 } else { 404 })
            }
            (_, container, object) => {
                match self.containers.get(container).and_then(|c| c.get(object)) {
                    Some(object) => get(seen, object),
                    None => Answer::new(404).body("<html><h1>Not Found</h1></html>"),
                }
            }
        }
    }

    fn put(&mut self, seen: &Seen, container: &str, object: &str) -> Answer {
        let condition = seen.header("if-none-match");
        if !["", "*"].contains(&condition) {
            return Answer::new(400).body("If-None-Match only supports *");
        }
        let Some(objects) = self.containers.get_mut(container) else { return Answer::new(404) };
        if condition == "*" && objects.contains_key(object) {
            return Answer::new(412);
        }
        if !seen.whole {
            return Answer::new(499);
        }
        let etag = md5_of(&seen.body);
        if !["", etag.as_str()].contains(&seen.header("etag")) {
            return Answer::new(422);
        }
        let crc = seen.header("x-object-meta-crc32c").to_owned();
        let bytes = Bytes::from(seen.body.clone());
        objects.insert(object.to_owned(), Object { bytes, crc });
        Answer::new(201).header("Etag", etag)
    }

    fn bulk_delete(&mut self, body: &[u8]) -> Answer {
        if !self.bulk {
            return Answer::new(204);
        }
        let (mut deleted, mut absent) = (0, 0);
        for line in std::str::from_utf8(body).unwrap().lines() {
            let path = percent_decode_str(line).decode_utf8().unwrap().into_owned();
            let (container, object) = path.trim_start_matches('/').split_once('/').unwrap();
            match self.containers.get_mut(container).and_then(|c| c.remove(object)) {
                Some(_) => deleted += 1,
                None => absent += 1,
            }
        }
        Answer::new(200).body(bulk_answer("200 OK", deleted, absent, &[]))
    }
}

pub fn bulk_answer(status: &str, deleted: u32, absent: u32, errors: &[(&str, &str)]) -> String {
    let document = serde_json::json!({
        "Response Status": status,
        "Response Body": "",
        "Number Deleted": deleted,
        "Number Not Found": absent,
        "Errors": errors,
    });
    format!("   {document}")
}

fn get(seen: &Seen, object: &Object) -> Answer {
    let (etag, len) = (md5_of(&object.bytes), object.bytes.len());
    let answer = |status| {
        let answer = Answer::new(status).header("Etag", &etag);
        let crc = &object.crc;
        if crc.is_empty() { answer } else { answer.header("X-Object-Meta-Crc32c", crc) }
    };
    if seen.method == "HEAD" {
        return answer(200).header("Content-Length", len);
    }
    let Some(range) = seen.header("range").strip_prefix("bytes=") else {
        return answer(200).body(object.bytes.clone());
    };
    let (first, last) = range.split_once('-').unwrap();
    let first: usize = first.parse().unwrap();
    let end = last.parse().map_or(len, |last: usize| last.saturating_add(1)).min(len);
    if first >= end {
        return answer(416).header("Content-Range", format!("bytes */{len}"));
    }
    answer(206)
        .header("Content-Range", format!("bytes {first}-{}/{len}", end - 1))
        .body(object.bytes.slice(first..end))
}

/// Reads a request; `None` where the connection ended before its head.
async fn read_request(
    socket: &mut TcpStream,
    buffer: &mut Vec<u8>,
    early: Option<usize>,
) -> Option<Seen> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer.drain(..end + 4).collect()).unwrap();
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut seen = Seen {
        method,
        path: percent_decode_str(path).decode_utf8().unwrap().into_owned(),
        query: query.to_owned(),
        ..Seen::default()
    };
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap();
        seen.headers.insert(name.to_lowercase(), value.to_owned());
    }
    let chunked = seen.header("transfer-encoding") == "chunked";
    let len = seen.header("content-length").parse().unwrap_or(0);
    let most = early.filter(|_| chunked || len > 0).unwrap_or(usize::MAX);
    loop {
        if chunked {
            if let Some(body) = unchunked(buffer) {
                (seen.body, seen.whole) = (body, true);
                buffer.clear(); // nobody pipelines here
                break;
            }
        } else if buffer.len() >= len {
            (seen.body, seen.whole) = (buffer.drain(..len).collect(), true);
            break;
        }
        if buffer.len() >= most || socket.read_buf(buffer).await.ok()? == 0 {
            break;
        }
    }
    Some(seen)
}

/// The body behind its chunks (RFC 9112 §7.1), where the last one is there.
fn unchunked(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = bytes.windows(2).position(|w| w == b"\r\n")?;
        let len = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).unwrap(), 16).unwrap();
        bytes = bytes.get(line + 2..)?;
        if len == 0 {
            return bytes.starts_with(b"\r\n").then_some(body);
        }
        body.extend_from_slice(bytes.get(..len)?);
        bytes = bytes.get(len + 2..)?;
    }
}
