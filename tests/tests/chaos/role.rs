//! Credentials of a role, which end: a service of the container hands out new ones.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use esker_tests::server::{pause, until};
use swiftclient::seam::Env;

use crate::place::{Backend, Place};
use crate::work::Work;

/// Credentials are renewed so long before they end (`swiftclient`'s limit), seconds.
const LEAD: u64 = 180;

/// Answers `GET /role` with credentials whose key says how many were given before.
struct Role {
    addr: SocketAddr,
    given: Arc<AtomicU64>,
    /// From the time of the answer, seconds.
    lives: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Days since 1970 as year, month, day (the proleptic Gregorian calendar, in eras of 400 years).
fn date(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    (yoe + era * 400 + u64::from(month <= 2), month, day)
}

fn rfc3339(seconds: u64) -> String {
    let ((y, m, d), s) = (date(seconds / 86_400), seconds % 86_400);
    format!("{y:04}-{m:02}-{d:02}T{:02}:{:02}:{:02}Z", s / 3600, s / 60 % 60, s % 60)
}

fn key(n: u64) -> String {
    format!("role-{n}")
}

impl Role {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let (given, lives) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(3600)));
        let over = Arc::new(AtomicBool::new(false));
        let (g, l, o) = (given.clone(), lives.clone(), over.clone());
        let answer = move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if o.load(Relaxed) {
                    return;
                }
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                while lines.next().is_some_and(|line| !line.is_empty()) {}
                let n = g.fetch_add(1, Relaxed) + 1;
                let ends = Env::real().clock.wall().as_secs() + l.load(Relaxed);
                let body = format!(
                    "{{\"AccessKeyId\":\"{}\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\
                     \"Expiration\":\"{}\"}}",
                    key(n),
                    rfc3339(ends)
                );
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                     Connection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = (&stream).write_all(answer.as_bytes());
            }
        };
        let thread = std::thread::Builder::new().name("role".into()).spawn(answer).unwrap();
        Self { addr, given, lives, over, thread: Some(thread) }
    }

    fn given(&self) -> u64 {
        self.given.load(Relaxed)
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        let _ = std::net::TcpStream::connect(self.addr);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// The server takes new credentials before the old ones end, and at once where the store says that
/// they have ended; no client sees any of it.
#[test]
fn a_roles_credentials_are_renewed_before_they_end_and_when_they_have() {
    let role = Role::start();
    let url = format!("http://{}/role", role.addr);
    let mut place = Place::new(23, true, &[]);
    place.role(&url);
    let Backend::Fake(fake) = &place.store else { return };
    fake.keys(&[key(1)]);
    let server = place.start().unwrap();
    let mut work = Work::new(23);
    work.steps(&server, 20).unwrap();
    // The store ends them before their time.
    let first = role.given();
    for round in 1..=3 {
        fake.keys(&[key(first + round)]);
        // What was asked with the old ones is refused, renewed once and asked again.
        let stored = server.metrics().unwrap()["esker_segments_stored_total"];
        let stored = || {
            work.steps(&server, 2).unwrap();
            (server.metrics().unwrap()["esker_segments_stored_total"] > stored + 1.0).then_some(())
        };
        until(Duration::from_secs(60), stored).expect("nothing is stored with new credentials");
        assert_eq!(role.given(), first + round, "asked for once each time");
    }
    // From now on they live two seconds longer than the server trusts them: each is replaced long
    // before it ends, and the store knows only those that were not.
    role.lives.store(LEAD + 2, Relaxed);
    let given = role.given();
    fake.keys(&[key(given + 1)]);
    let ended = || {
        work.steps(&server, 2).unwrap();
        (role.given() > given).then_some(())
    };
    until(Duration::from_secs(60), ended)
        .expect("what the store says has ended goes on being used");
    let renewed = || {
        work.steps(&server, 2).unwrap();
        let n = role.given();
        fake.keys(&[key(n), key(n + 1)]);
        pause(Duration::from_millis(100));
        (n >= given + 4).then_some(())
    };
    until(Duration::from_secs(60), renewed).expect("not renewed before they end");
    let log = server.log_text();
    assert!(!log.contains("ERROR"), "{log}");
    fake.keys(&(1..200).map(key).collect::<Vec<_>>());
    crate::writes::whole(&place, &mut work, server);
}
