//! Each fault is done, and done as it says, seen by a client that knows only bytes.
#![allow(clippy::unwrap_used)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::*;

/// A connection that sends requests and takes answers, and believes everything.
struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Status, head and body.
type Got = (u16, Head, Vec<u8>);

impl Raw {
    fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    fn send(&mut self, method: &str, target: &str, fields: &str, body: &[u8]) -> io::Result<()> {
        let text = format!(
            "{method} {target} HTTP/1.1\r\nHost: store\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=test/x\r\nContent-Length: {}\r\n{fields}\r\n",
            body.len()
        );
        self.stream.write_all(text.as_bytes())?;
        self.stream.write_all(body)
    }

    fn more(&mut self) -> io::Result<()> {
        let mut piece = [0; 4096];
        match self.stream.read(&mut piece)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.buffer.extend_from_slice(&piece[..n]);
                Ok(())
            }
        }
    }

    fn take(&mut self, method: &str) -> io::Result<Got> {
        let end = loop {
            match self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                Some(at) => break at,
                None => self.more()?,
            }
        };
        let head = Head::parse(&self.buffer[..end])?;
        self.buffer.drain(..end + 4);
        let length = if method == "HEAD" { 0 } else { head.length().unwrap_or(0) };
        let length = usize::try_from(length).unwrap();
        while self.buffer.len() < length {
            self.more()?;
        }
        Ok((head.status(), head, self.buffer.drain(..length).collect()))
    }

    fn ask(&mut self, method: &str, target: &str, fields: &str, body: &[u8]) -> io::Result<Got> {
        self.send(method, target, fields, body)?;
        self.take(method)
    }

    fn put(&mut self, key: &str, body: &[u8]) -> io::Result<u16> {
        Ok(self.ask("PUT", &format!("/b/{key}"), "If-None-Match: *\r\n", body)?.0)
    }

    fn get(&mut self, key: &str) -> io::Result<(u16, Vec<u8>)> {
        let (status, _, body) = self.ask("GET", &format!("/b/{key}"), "", b"")?;
        Ok((status, body))
    }
}

struct Place {
    fake: Fake,
    proxy: Proxy,
}

impl Place {
    fn new() -> Self {
        let fake = Fake::start(&["b"]).unwrap();
        let proxy = Proxy::start(fake.addr(), 7).unwrap();
        Self { fake, proxy }
    }

    fn client(&self) -> Raw {
        Raw::open(self.proxy.addr())
    }

    /// One request at most is hit.
    fn once(&self, verb: Verb, fault: Fault) {
        self.proxy.rule(When::verbs(&[verb]).times(1), fault);
    }

    fn did(&self) -> u64 {
        self.proxy.done()[0]
    }
}

#[test]
fn without_rules_nothing_changes() {
    let place = Place::new();
    let mut c = place.client();
    let long: Vec<u8> = (0..300_000u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
    assert_eq!(c.put("p/a", &long).unwrap(), 200);
    assert_eq!(c.put("p/a", b"again").unwrap(), 412);
    assert_eq!(c.get("p/a").unwrap(), (200, long.clone()));
    let part = c.ask("GET", "/b/p/a", "Range: bytes=10-19\r\n", b"").unwrap();
    assert_eq!((part.0, &part.2[..]), (206, &long[10..20]));
    assert_eq!(part.1.field("content-range"), Some("bytes 10-19/300000"));
    let head = c.ask("HEAD", "/b/p/a", "", b"").unwrap();
    assert_eq!((head.0, head.1.length()), (200, Some(300_000)));
    assert_eq!(c.ask("GET", "/b/p/a", "Range: bytes=300000-\r\n", b"").unwrap().0, 416);
    assert_eq!(c.get("p/none").unwrap().0, 404);
    c.put("p/z", b"").unwrap();
    let page = c.ask("GET", "/b?list-type=2&prefix=p%2F&max-keys=1", "", b"").unwrap().2;
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains("<Key>p/a</Key>") && page.contains("<IsTruncated>true</IsTruncated>"));
    let gone = "<Delete><Object><Key>p/a</Key></Object></Delete>";
    let md5 = {
        use base64::Engine as _;
        use md5::Digest as _;
        base64::engine::general_purpose::STANDARD.encode(md5::Md5::digest(gone))
    };
    let deletes = format!("Content-MD5: {md5}\r\n");
    assert_eq!(c.ask("POST", "/b?delete", &deletes, gone.as_bytes()).unwrap().0, 200);
    assert_eq!(c.ask("POST", "/b?delete", "", gone.as_bytes()).unwrap().0, 400);
    assert_eq!(place.fake.names("b"), ["p/z"]);
    assert_eq!(c.ask("DELETE", "/b/p/z", "", b"").unwrap().0, 204);
    // A request is noted when its answer has gone out: a moment after it came in here.
    let twelve = || Some(place.proxy.seen()).filter(|seen| seen.len() == 12);
    let seen = crate::server::until(Duration::from_secs(10), twelve).unwrap();
    let verbs: Vec<Verb> = seen.iter().map(|s| s.verb).collect();
    use Verb::{Bulk, Delete, Get, Head as Ask, List, Put};
    assert_eq!(verbs, [Put, Put, Get, Get, Ask, Get, Get, Put, List, Bulk, Bulk, Delete]);
    assert_eq!((seen[0].up, seen[0].status, seen[2].down), (300_000, 200, 300_000));
    assert_eq!((place.proxy.requests(), place.proxy.connections()), (12, 1));
}

#[test]
fn chunked_bodies_pass_and_can_be_shortened() {
    // The fake wants a length, as S3 does: a chunked body gets 411, whole or not.
    let place = Place::new();
    let mut c = place.client();
    let text = "PUT /b/x HTTP/1.1\r\nHost: s\r\nAuthorization: AWS4-HMAC-SHA256 Credential=test/x\r\n\
                Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5;x=y\r\ndefgh\r\n0\r\n\r\n";
    c.stream.write_all(text.as_bytes()).unwrap();
    assert_eq!(c.take("PUT").unwrap().0, 411);
    assert_eq!(c.put("x", b"abc").unwrap(), 200);
    assert_eq!(place.proxy.seen()[0].up, 8);
}

#[test]
fn requests_are_cut_shortened_and_turned() {
    let place = Place::new();
    for how in [Cut::Rst, Cut::Fin] {
        for at in [At::Head, At::Byte(5), At::Somewhere] {
            place.once(Verb::Put, Fault::CutRequest { at, how });
            assert!(place.client().put("cut", b"0123456789").is_err(), "{at:?} {how:?}");
            assert_eq!(place.did(), 1);
            assert!(place.fake.names("b").is_empty(), "{at:?}");
        }
    }
    let mut c = place.client();
    place.once(Verb::Put, Fault::TruncateRequest { at: At::Byte(4) });
    assert_eq!(c.put("short", b"0123456789").unwrap(), 200);
    assert_eq!(&place.fake.object("b", "short").unwrap()[..], b"0123");
    place.once(Verb::Put, Fault::CorruptRequest { at: At::Byte(4) });
    assert_eq!(c.put("turned", b"0123456789").unwrap(), 200);
    assert_eq!(&place.fake.object("b", "turned").unwrap()[..], b"0123556789");
    assert_eq!(place.did(), 1);
    assert_eq!(c.put("whole", b"0123456789").unwrap(), 200);
    assert_eq!(&place.fake.object("b", "whole").unwrap()[..], b"0123456789");
}

#[test]
fn answers_are_cut_shortened_and_turned() {
    let place = Place::new();
    let mut c = place.client();
    c.put("a", b"0123456789").unwrap();
    for how in [Cut::Rst, Cut::Fin] {
        for at in [At::Head, At::Byte(0), At::Byte(5)] {
            place.once(Verb::Get, Fault::CutAnswer { at, how });
            assert!(place.client().get("a").is_err(), "{at:?}");
            assert_eq!(place.did(), 1);
        }
        // The object is there, the client does not know.
        place.once(Verb::Put, Fault::CutAnswer { at: At::Head, how });
        let key = format!("unknown-{how:?}");
        assert!(place.client().put(&key, b"x").is_err());
        assert!(place.fake.object("b", &key).is_some());
    }
    place.once(Verb::Get, Fault::TruncateAnswer { at: At::Byte(3) });
    assert_eq!(c.get("a").unwrap(), (200, b"012".to_vec()));
    place.once(Verb::Get, Fault::CorruptAnswer { at: At::Byte(9) });
    assert_eq!(c.get("a").unwrap(), (200, b"0123456788".to_vec()));
    assert_eq!(c.get("a").unwrap(), (200, b"0123456789".to_vec()));
}

#[test]
fn storms_answer_without_or_after_the_work() {
    let place = Place::new();
    let mut c = place.client();
    for status in [500, 503, 409, 412, 403, 429] {
        for after in [false, true] {
            place.once(Verb::Put, Fault::Answer { status, retry_after: Some(2), after });
            let key = format!("{status}-{after}");
            let got = c.ask("PUT", &format!("/b/{key}"), "", b"body").unwrap();
            assert_eq!((got.0, got.1.field("retry-after")), (status, Some("2")));
            assert_eq!(place.fake.object("b", &key).is_some(), after);
            assert_eq!(place.did(), 1);
        }
    }
    // Only so many, only some, only there.
    let when = When::verbs(&[Verb::Get]).path("/b/403").skip(1).times(2);
    place.proxy.rule(when, Fault::Answer { status: 500, retry_after: None, after: false });
    let statuses = ["403-true", "500-true", "403-true", "403-true", "403-true"];
    let statuses = statuses.map(|key| c.get(key).unwrap().0);
    assert_eq!(statuses, [200, 200, 500, 500, 200]);
    let when = When::verbs(&[Verb::Get]).per_mille(500);
    place.proxy.rule(when, Fault::Answer { status: 500, retry_after: None, after: false });
    let hit = (0..200).filter(|_| c.get("403-true").unwrap().0 == 500).count();
    assert!((60..140).contains(&hit), "{hit} of 200");
    assert_eq!(place.did(), hit as u64);
}

#[test]
fn answers_come_twice_late_and_to_the_wrong_request() {
    let place = Place::new();
    let mut c = place.client();
    for key in ["a", "b", "c"] {
        c.put(key, key.as_bytes()).unwrap();
    }
    place.once(Verb::Get, Fault::Duplicate);
    assert_eq!(c.get("a").unwrap().1, b"a");
    assert_eq!(c.take("GET").unwrap().2, b"a");
    assert_eq!((c.get("b").unwrap().1, place.did()), (b"b".to_vec(), 1));
    place.once(Verb::Get, Fault::Shift);
    let got = ["a", "b", "c"].map(|key| c.get(key).unwrap().1);
    assert_eq!(got, [b"a", b"a", b"b"].map(|b| b.to_vec()));
    assert_eq!(place.client().get("c").unwrap().1, b"c");
    // Once the rule is gone, so are connections that are out of step.
    place.proxy.calm();
    assert!(c.get("a").is_err());
    // Two connections change places.
    place.proxy.rule(When::verbs(&[Verb::Get]).times(2), Fault::Swap { wait: 10_000 });
    let (mut one, mut two) = (place.client(), place.client());
    one.send("GET", "/b/a", "", b"").unwrap();
    two.send("GET", "/b/b", "", b"").unwrap();
    assert_eq!(one.take("GET").unwrap().2, b"b");
    assert_eq!(two.take("GET").unwrap().2, b"a");
    assert_eq!(place.did(), 2);
    // Without a partner nothing is done, and nothing counted.
    place.proxy.rule(When::verbs(&[Verb::Get]), Fault::Swap { wait: 1 });
    assert_eq!((one.get("a").unwrap().1, place.did()), (b"a".to_vec(), 0));
}

#[test]
fn other_objects_old_versions_and_listings_that_lag() {
    let place = Place::new();
    let mut c = place.client();
    place.once(Verb::Get, Fault::Other);
    c.put("a", b"aaaaaaaa").unwrap();
    assert_eq!((c.get("a").unwrap().1, place.did()), (b"aaaaaaaa".to_vec(), 0));
    c.put("b", b"bbbbbbbbbb").unwrap();
    let got = c.ask("GET", "/b/a", "Range: bytes=2-5\r\n", b"").unwrap();
    assert_eq!((got.0, &got.2[..], place.did()), (206, &b"bbbb"[..], 1));
    assert_eq!(c.get("a").unwrap().1, b"aaaaaaaa");
    let old = || place.proxy.rule(When::verbs(&[Verb::Get, Verb::Head]), Fault::Old);
    old();
    assert_eq!((c.get("a").unwrap().0, c.ask("HEAD", "/b/b", "", b"").unwrap().0), (404, 404));
    c.ask("PUT", "/b/a", "", b"new").unwrap();
    assert_eq!(c.get("a").unwrap(), (200, b"aaaaaaaa".to_vec()));
    c.ask("DELETE", "/b/a", "", b"").unwrap();
    assert_eq!(c.get("a").unwrap(), (200, b"new".to_vec()));
    assert_eq!(place.did(), 4);
    let list = |c: &mut Raw| {
        let got = c.ask("GET", "/b?list-type=2&prefix=", "", b"").unwrap().2;
        String::from_utf8(got).unwrap().contains("<Key>b</Key>")
    };
    place.proxy.rule(When::verbs(&[Verb::List]), Fault::Lag { ms: 3_600_000 });
    assert!(!list(&mut c));
    assert_eq!(place.did(), 1);
    place.proxy.rule(When::verbs(&[Verb::List]), Fault::Lag { ms: 0 });
    assert!(list(&mut c));
    assert_eq!(place.did(), 0);
}

#[test]
fn a_stalled_request_lands_after_its_client_has_gone() {
    let place = Place::new();
    place.once(Verb::Put, Fault::Stall { ms: 150, lands: true });
    let mut c = place.client();
    c.send("PUT", "/b/late", "", b"late").unwrap();
    let landed =
        || crate::server::until(Duration::from_secs(20), || place.fake.object("b", "late"));
    drop(c);
    assert_eq!(&landed().unwrap()[..], b"late");
    // One that still waits gets the answer; one that never lands gets none.
    place.once(Verb::Put, Fault::Stall { ms: 1, lands: true });
    assert_eq!(place.client().put("waited", b"x").unwrap(), 200);
    place.once(Verb::Put, Fault::Stall { ms: 1, lands: false });
    assert!(place.client().put("never", b"x").is_err());
    assert!(place.fake.object("b", "never").is_none());
}

#[test]
fn a_store_that_is_away_and_comes_back() {
    let place = Place::new();
    let mut c = place.client();
    c.put("a", b"a").unwrap();
    place.proxy.away(true);
    assert!(c.get("a").is_err());
    let reset = |mut c: Raw| c.get("a").is_err();
    assert!(reset(place.client()));
    place.proxy.away(false);
    assert_eq!(place.client().get("a").unwrap().0, 200);
    place.fake.quota(Some(10));
    let mut c = place.client();
    assert_eq!(c.put("b", b"0123456789").unwrap(), 403);
    place.fake.quota(None);
    assert_eq!(c.put("b", b"0123456789").unwrap(), 200);
}

#[test]
fn a_script_is_read_and_nonsense_refused() {
    let text = "line = { latency_ms = 20, up = 20000000 }\n[[rule]]\nname = 'x'\n\
                when = { verbs = ['put'], path = 'seg/', per_mille = 100 }\n\
                fault = { cut-request = { at = { byte = 5 }, how = 'rst' } }\n\
                [[rule]]\nfault = 'duplicate'\n";
    let script: Script = toml::from_str(text).unwrap();
    assert_eq!(script.line.latency(), Duration::from_millis(20));
    let cut = Fault::CutRequest { at: At::Byte(5), how: Cut::Rst };
    assert_eq!((&script.rule[0].fault, &script.rule[1].fault), (&cut, &Fault::Duplicate));
    assert!(toml::from_str::<Script>("[[rule]]\nfault = 'nonsense'\n").is_err());
}
