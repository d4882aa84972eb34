//! What an operator asks of a running server, and what it answers.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // tests
#[allow(dead_code)] // each test program uses its part
mod lab;

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Output,
};

use lab::{Running, ports, program, refusal};
use serde_json::Value;

struct Lab {
    _server: Running,
    admin: u16,
    _dir: tempfile::TempDir,
}

impl Lab {
    fn new(more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (nfs, admin) = ports();
        let mut command = lab::serve(dir.path().join("v").to_str().unwrap(), (nfs, admin));
        Self { _server: Running::start(command.args(more)), admin, _dir: dir }
    }

    fn ask(&self, words: &[&str]) -> std::process::Command {
        let mut command = program();
        command.args(words).args(["--admin", &format!("127.0.0.1:{}", self.admin)]);
        command
    }

    fn answer(&self, words: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.ask(words).output().unwrap();
        assert!(status.success(), "{words:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    fn http(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, path: &str) -> String {
        self.http(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    }
}

#[test]
fn the_status_is_for_people_and_for_programs() {
    let lab = Lab::new(&["--flush-interval", "7s", "--dirty-budget", "128MiB"]);
    let status: Value = serde_json::from_str(&lab.answer(&["status", "--json"])).unwrap();
    assert_eq!(status["durability"], "journal");
    assert_eq!(status["store"]["class"], "fencing");
    assert!(status["store"]["url"].as_str().unwrap().starts_with("dir:/"));
    assert!(status["journal"].as_str().unwrap().ends_with("/v/journal"));
    assert_eq!(status["flush_interval_ms"], 7_000);
    assert_eq!(status["destage"]["budget_bytes"], 128 << 20);
    let put = &status["store"]["requests"]["put"];
    assert!(put["ok"].as_u64().unwrap() > 0 && put["p99_ms"].as_f64().unwrap() > 0.0, "{put}");
    let screen = lab.answer(&["status"]);
    for line in ["volume ", "store ", "durability   journal, in ", "dirty ", "requests "] {
        assert!(screen.lines().any(|l| l.starts_with(line)), "no {line}:\n{screen}");
    }
    assert!(screen.lines().count() <= 24, "more than a screen:\n{screen}");
}

/// Every key that docs/operations.md promises is there, and every key that is there is promised.
#[test]
fn the_documented_keys_are_those_of_the_status() {
    fn keys(at: &str, value: &Value, into: &mut Vec<String>) {
        let Value::Object(map) = value else { return };
        for (key, value) in map {
            // Below these stand names of requests, errors, states: data, not keys.
            let data = at == "store.requests." || at.ends_with("errors.") || at == "destage.wakes.";
            let path = if data { format!("{at}*") } else { format!("{at}{key}") };
            into.push(path.clone());
            keys(&format!("{path}."), value, into);
        }
    }
    let lab = Lab::new(&[]);
    let status = serde_json::from_str(&lab.answer(&["status", "--json"])).unwrap();
    let mut found = Vec::new();
    keys("", &status, &mut found);
    let text = include_str!("../../docs/operations.md");
    let documented = |key: &str| text.contains(&format!("`{key}`"));
    let missing: Vec<&String> = found.iter().filter(|key| !documented(key)).collect();
    assert!(missing.is_empty(), "not in docs/operations.md: {missing:?}");
}

#[test]
fn metrics_are_histograms_that_add_up() {
    let lab = Lab::new(&[]);
    let text = lab.get("/metrics");
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|l| l.starts_with(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name}")).rsplit(' ').next().unwrap().parse().unwrap()
    };
    let of = |what: &str| format!("esker_store_request_seconds_{what}{{kind=\"put\"");
    let count = value(&format!("{}}}", of("count")));
    assert!(count >= 1.0);
    assert!((value(&format!("{},le=\"+Inf\"}}", of("bucket"))) - count).abs() < 0.5);
    assert!(value(&format!("{}}}", of("sum"))) > 0.0);
    let ok = value("esker_store_requests_total{kind=\"put\",outcome=\"ok\"}");
    assert!(ok >= 1.0 && ok <= count);
    // Each family once: the format demands it.
    let mut families: Vec<&str> = text.lines().filter(|l| l.starts_with("# TYPE")).collect();
    let all = families.len();
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), all);
}

#[test]
fn a_flush_is_done_or_says_why_not() {
    let lab = Lab::new(&[]);
    let status: Value = serde_json::from_str(&lab.answer(&["status", "--json"])).unwrap();
    let volume = status["volume"].as_str().unwrap();
    for what in [&["flush"][..], &["flush", volume], &["flush", "/"]] {
        let done: Value = serde_json::from_str(&lab.answer(what)).unwrap();
        assert!(done["seq"].as_u64().is_some(), "{done}");
    }
    let now: Value = serde_json::from_str(&lab.answer(&["status", "--json"])).unwrap();
    assert_eq!(now["destage"]["dirty_bytes"], 0);
    let no_file = refusal(&mut lab.ask(&["flush", "/no/such/file"]));
    assert!(no_file.contains("/no/such/file"), "{no_file}");
    let other = refusal(&mut lab.ask(&["flush", "00000000-0000-0000-0000-000000000000"]));
    assert!(other.contains(volume), "{other}");
    let nobody = refusal(program().args(["flush", "--admin", "127.0.0.1:1"]));
    assert!(nobody.contains("127.0.0.1:1"), "{nobody}");
}

#[test]
fn no_get_flushes() {
    let lab = Lab::new(&[]);
    assert!(lab.get("/flush").starts_with("HTTP/1.1 405"));
    let post = "POST /flush?timeout=never HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\
                Connection: close\r\n\r\n";
    assert!(lab.http(post).starts_with("HTTP/1.1 400"));
}
