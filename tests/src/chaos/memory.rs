//! What has gone by: bodies of objects, so that wrong ones can be served, and when they were put.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::wire::decoded;

/// Most bytes of bodies that are kept; beyond it the oldest are forgotten.
const KEPT_BYTES: usize = 256 << 20;

/// One object as it went by.
struct Object {
    now: Option<Bytes>,
    before: Option<Bytes>,
    etag: Option<String>,
    at: Instant,
}

/// Objects by path.
#[derive(Default)]
pub struct Memory {
    objects: BTreeMap<String, Object>,
    bytes: usize,
}

/// What to show of an object instead of what it is.
pub enum Shown {
    /// These bytes.
    Bytes(Bytes),
    /// Nothing is there.
    Absent,
}

impl Memory {
    /// An object was put.
    pub fn put(&mut self, path: &str, body: Option<Bytes>, etag: Option<String>, at: Instant) {
        self.bytes += body.as_ref().map_or(0, Bytes::len);
        let before = self.objects.remove(path).and_then(|o| o.now);
        self.bytes -= before.as_ref().map_or(0, Bytes::len);
        let mut object = Object { now: body, before, etag, at };
        if self.bytes > KEPT_BYTES {
            object.before = None;
        }
        self.objects.insert(path.to_owned(), object);
        while self.bytes > KEPT_BYTES {
            let oldest = self.objects.values_mut().filter(|o| o.now.is_some()).min_by_key(|o| o.at);
            let Some(object) = oldest else { return };
            self.bytes -= object.now.take().map_or(0, |b| b.len());
        }
    }

    /// An object was deleted.
    pub fn deleted(&mut self, path: &str, at: Instant) {
        if let Some(object) = self.objects.get_mut(path) {
            self.bytes -= object.now.as_ref().map_or(0, Bytes::len);
            object.before = object.now.take();
            object.at = at;
        }
    }

    /// The object as it was before its last change; `None` where it never went by.
    pub fn old(&self, path: &str) -> Option<Shown> {
        let object = self.objects.get(path)?;
        Some(object.before.clone().map_or(Shown::Absent, Shown::Bytes))
    }

    /// Bytes and ETag of another object in the same place of the tree that has more than `from`
    /// bytes; the longest, if several have.
    pub fn other(&self, path: &str, from: u64) -> Option<(Bytes, Option<String>)> {
        let container = |p: &str| p.split('/').nth(1).map(str::to_owned);
        let others = self
            .objects
            .iter()
            .filter(|(p, _)| p.as_str() != path && container(p) == container(path));
        let bodies = others.filter_map(|(_, o)| Some((o.now.clone()?, o.etag.clone())));
        bodies.filter(|(b, _)| b.len() as u64 > from).max_by_key(|(b, _)| b.len())
    }

    /// True where `key` of a listing was put less than `lag` before `at`.
    fn hidden(&self, key: &str, lag: Duration, at: Instant) -> bool {
        let late = |o: &Object| at.saturating_duration_since(o.at) < lag;
        self.objects.iter().any(|(path, o)| {
            late(o) && path.strip_suffix(key).is_some_and(|rest| rest.ends_with('/'))
        })
    }

    /// A listing (S3's XML, Swift's JSON or lines) without what was put less than `lag` ago; `None`
    /// where nothing is missing.
    pub fn lagging(&self, body: &[u8], lag: Duration, at: Instant) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(body).ok()?;
        let hidden = |key: &str| self.hidden(key, lag, at);
        let shown = match text.trim_start().chars().next()? {
            '<' => without_contents(text, hidden),
            '[' => {
                let mut rows: Vec<serde_json::Value> = serde_json::from_str(text).ok()?;
                rows.retain(|r| !r.get("name").and_then(|n| n.as_str()).is_some_and(hidden));
                serde_json::to_string(&rows).ok()?
            }
            _ => {
                let lines = text.lines().filter(|l| !hidden(l));
                lines.fold(String::new(), |all, l| all + l + "\n")
            }
        };
        let rows = |t: &str| t.matches("<Contents>").count() + t.matches("\"name\"").count();
        let fewer = rows(&shown) < rows(text) || shown.lines().count() < text.lines().count();
        fewer.then(|| shown.into_bytes())
    }
}

/// ListBucketResult without some of its `Contents`.
fn without_contents(text: &str, hidden: impl Fn(&str) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut gone) = (text, 0u64);
    while let Some(begin) = rest.find("<Contents>") {
        let end = rest[begin..].find("</Contents>").map_or(rest.len(), |e| begin + e + 11);
        let block = &rest[begin..end];
        out.push_str(&rest[..begin]);
        if key(block).is_some_and(|k| hidden(&k)) {
            gone += 1;
        } else {
            out.push_str(block);
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    let count = between(&out, "<KeyCount>", "</KeyCount>").and_then(|n| n.parse::<u64>().ok());
    match count {
        Some(n) => out.replace(
            &format!("<KeyCount>{n}</KeyCount>"),
            &format!("<KeyCount>{}</KeyCount>", n.saturating_sub(gone)),
        ),
        None => out,
    }
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let from = text.find(begin)? + begin.len();
    Some(&text[from..from + text[from..].find(end)?])
}

fn key(block: &str) -> Option<String> {
    between(block, "<Key>", "</Key>").map(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::now;

    #[test]
    fn listings_lag_by_age() {
        let mut memory = Memory::default();
        let at = now() + Duration::from_secs(100);
        memory.put("/bucket/p/new", None, None, at);
        memory.put("/bucket/p/old", None, None, at - Duration::from_secs(60));
        let xml = "<R><KeyCount>2</KeyCount><Contents><Key>p/new</Key></Contents>\
                   <Contents><Key>p/old</Key></Contents></R>";
        let lag = Duration::from_secs(10);
        let shown = memory.lagging(xml.as_bytes(), lag, at).unwrap();
        assert_eq!(
            String::from_utf8(shown).unwrap(),
            "<R><KeyCount>1</KeyCount><Contents><Key>p/old</Key></Contents></R>"
        );
        let json = br#"[{"name":"p/new","bytes":1},{"name":"p/old","bytes":1}]"#;
        let shown = String::from_utf8(memory.lagging(json, lag, at).unwrap()).unwrap();
        assert!(shown.contains("p/old") && !shown.contains("p/new"));
        assert_eq!(memory.lagging(b"p/new\np/old\n", lag, at).unwrap(), b"p/old\n");
        // Later nothing is missing.
        let later = at + Duration::from_secs(11);
        assert!(memory.lagging(xml.as_bytes(), lag, later).is_none());
        // A key that only ends alike is not the same.
        assert!(memory.lagging(b"xp/new\n", lag, at).is_none());
    }

    #[test]
    fn old_versions_and_other_objects() {
        let mut memory = Memory::default();
        let at = now();
        assert!(memory.old("/b/a").is_none());
        memory.put("/b/a", Some(Bytes::from_static(b"one")), None, at);
        assert!(matches!(memory.old("/b/a"), Some(Shown::Absent)));
        memory.put("/b/a", Some(Bytes::from_static(b"two")), None, at);
        assert!(matches!(memory.old("/b/a"), Some(Shown::Bytes(b)) if &b[..] == b"one"));
        memory.deleted("/b/a", at);
        assert!(matches!(memory.old("/b/a"), Some(Shown::Bytes(b)) if &b[..] == b"two"));
        memory.put("/b/c", Some(Bytes::from_static(b"other")), Some("e".into()), at);
        assert_eq!(&memory.other("/b/a", 4).unwrap().0[..], b"other");
        assert!(memory.other("/b/a", 5).is_none());
        assert!(memory.other("/b/c", 0).is_none());
        assert!(memory.other("/x/a", 0).is_none());
    }

    #[test]
    fn memory_has_an_end() {
        let mut memory = Memory::default();
        let at = now();
        for i in 0..20u64 {
            let body = Bytes::from(vec![0; 32 << 20]);
            memory.put(&format!("/b/{i}"), Some(body), None, at + Duration::from_secs(i));
        }
        assert!(memory.bytes <= KEPT_BYTES);
        assert!(memory.objects["/b/0"].now.is_none() && memory.objects["/b/19"].now.is_some());
    }
}
