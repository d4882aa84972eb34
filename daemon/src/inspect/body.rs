//! Entries and their bodies.

use bytes::Bytes;
use headhunter::{Described, Location, describe, describe_own};
use logseg::format::{Kind, ScannedEntry, Stretch, examine, open_body};
use serde_json::{Value, json};

/// One stretch of a segment, without its body.
pub fn stretch(stretch: &Stretch, bytes: &Bytes) -> Value {
    let range = stretch.range();
    let (offset, len) = (range.start, range.len());
    match stretch {
        Stretch::Entry(entry) => entry_json(entry, bytes, "good"),
        Stretch::Spoilt(entry, fault) => entry_json(entry, bytes, &fault.to_string()),
        Stretch::Unreadable { fault, lost, .. } => json!({
            "offset": offset, "bytes": len, "kind": "unreadable", "state": fault.to_string(),
            "lost": lost.iter().map(|e| json!({
                "offset": e.offset, "kind": kind(e.kind), "seq": e.seq.0, "ordinal": e.ordinal,
            })).collect::<Vec<_>>(),
        }),
        Stretch::Blank { .. } => {
            json!({"offset": offset, "bytes": len, "kind": "zeros", "state": "not written"})
        }
        Stretch::Footer(footer) => json!({
            "offset": offset, "bytes": len, "kind": "footer", "state": "good",
            "entries": footer.index.len(),
            "last_seq": footer.tail.last_seq.0,
            "digest": format!("{:016x}", footer.tail.digest),
            "mark": footer.tail.mark,
        }),
    }
}

fn kind(kind: Kind) -> String {
    format!("{kind:?}").to_lowercase()
}

fn entry_json(entry: &ScannedEntry, bytes: &Bytes, state: &str) -> Value {
    let h = &entry.header;
    let mut shown = json!({
        "offset": entry.offset,
        "bytes": h.stored(),
        "kind": kind(h.kind),
        "state": state,
        "ordinal": h.ordinal,
        "seq": h.seq.0,
        "codec": format!("{:?}", h.codec).to_lowercase(),
        "encrypted": h.encrypted,
        "decoded_bytes": h.decoded_len,
        "checksum": format!("{:08x}", h.body_crc),
        "mark": h.mark,
    });
    if h.owner.0 != 0 {
        shown["owner"] = json!(h.owner.0);
    }
    let decoded = decode(entry, bytes).and_then(|body| describe(h.kind, &body));
    if let Some(described) = decoded {
        shown["says"] = json!(in_short(&described));
    }
    shown
}

/// The decoded body, where it holds and is not encrypted.
fn decode(entry: &ScannedEntry, bytes: &Bytes) -> Option<Bytes> {
    let body = bytes.slice_ref(entry.body(bytes));
    open_body(&entry.header, entry.offset, &body, None).ok()
}

fn in_short(described: &Described) -> String {
    match described {
        Described::Record { writes, usage, reply } => format!(
            "{} writes, {} changes of usage{}",
            writes.len(),
            usage.len(),
            if *reply { ", a reply" } else { "" }
        ),
        Described::Page { level: 0, cells, .. } => format!("a leaf of {} items", cells.len()),
        Described::Page { level, children, .. } => {
            format!("level {level}, {} children", children.len())
        }
        Described::Root { seq, replay_start, .. } => {
            format!("the root of records up to {}, the log from {replay_start} on", seq.0)
        }
        Described::Replies(n) => format!("{n} remembered replies"),
    }
}

/// One entry with its body.
pub fn entry(name: &str, bytes: &Bytes, offset: u32) -> Result<Value, String> {
    let examined = examine(bytes);
    let found = examined.stretches.iter().find(|s| s.range().contains(&offset));
    let found = found.ok_or_else(|| format!("{name}: nothing is readable at byte {offset}"))?;
    let mut shown = json!({"what": "entry", "name": name, "entry": stretch(found, bytes)});
    match found {
        Stretch::Entry(entry) => {
            let described =
                decode(entry, bytes).and_then(|body| describe(entry.header.kind, &body));
            match described {
                Some(body) => shown["body"] = self::described(&body),
                None if entry.header.encrypted => shown["body"] = json!("encrypted"),
                None => {}
            }
            shown["damaged"] = json!([]);
        }
        other => {
            let what = other.fault().map_or("no entry".to_owned(), |fault| fault.to_string());
            shown["damaged"] = json!([{"offset": other.offset(), "what": what}]);
        }
    }
    Ok(shown)
}

fn place(at: &Location) -> Value {
    json!({
        "object": logseg::format::segment_name(at.segment).to_string(),
        "offset": at.offset,
        "bytes": at.stored,
    })
}

fn item(key: &[u8], value: &Bytes) -> String {
    describe_own(key, value)
        .or_else(|| inode::explain(key, value))
        .unwrap_or_else(|| format!("{} = {}", hex(key), hex(value)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn key_in_words(key: &[u8]) -> String {
    match inode::split_key(key) {
        Some((ino, kind, sub)) if ino != 0 => format!("inode {ino}, kind {kind}, {}", hex(sub)),
        _ => hex(key),
    }
}

/// A body of the index.
pub fn described(described: &Described) -> Value {
    let usage = |usage: &[(logseg::SegmentId, i64)]| {
        usage.iter().map(|(id, n)| json!([id.to_string(), n])).collect::<Vec<_>>()
    };
    match described {
        Described::Record { writes, usage: changes, reply } => json!({
            "writes": writes.iter().map(|(key, value)| match value {
                Some(value) => item(key, value),
                None => format!("removed: {}", key_in_words(key)),
            }).collect::<Vec<_>>(),
            "usage": usage(changes),
            "reply": reply,
        }),
        Described::Page { level, birth, low, high, children, cells } => json!({
            "level": level,
            "birth": birth.0,
            "from": key_in_words(low),
            "to": high.as_ref().map(|high| key_in_words(high)),
            "children": children.iter().map(|(at, birth)| {
                let mut child = place(at);
                child["birth"] = json!(birth.0);
                child
            }).collect::<Vec<_>>(),
            "items": cells.iter().map(|(key, value)| match level {
                0 => item(key, &Bytes::copy_from_slice(value)),
                _ => key_in_words(key),
            }).collect::<Vec<_>>(),
        }),
        Described::Root {
            seq,
            replay_start,
            wall,
            epoch,
            root,
            replies,
            usage: changes,
            ended,
            leans,
            entry,
        } => json!({
            "seq": seq.0,
            "replay_start": replay_start.to_string(),
            "made_ns": wall,
            "epoch": epoch.0,
            "side_mark": epoch.1,
            "root": place(&root.0),
            "root_birth": root.1.0,
            "replies": replies.as_ref().map(place),
            "usage": usage(changes),
            "ended": ended,
            "leans": leans.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "root_entry": entry.as_ref().map(place),
        }),
        Described::Replies(n) => json!({"replies": n}),
    }
}
