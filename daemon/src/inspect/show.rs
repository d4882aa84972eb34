//! The same for a person: a line for each thing.

use logseg::format::Examined;
use serde_json::{Value, json};

/// A uuid as people write it.
pub fn uuid(bytes: &[u8; 16]) -> String {
    uuid::Uuid::from_bytes(*bytes).to_string()
}

/// A segment's header.
pub fn header(examined: &Examined) -> Value {
    match &examined.header {
        Ok(h) => json!({
            "segment": h.id.to_string(),
            "volume": uuid(&h.volume),
            "journal": uuid(&h.journal),
            "nonce": uuid(&h.nonce).replace('-', ""),
            "first_seq": h.first_seq.0,
            "stored_through": h.stored_through.to_string(),
            "segment_bytes": h.segment_bytes,
            "durability": format!("{:?}", h.durability).to_lowercase(),
            "encrypted": h.encrypted,
        }),
        Err(e) => json!({"damaged": e.to_string()}),
    }
}

/// What [`super::run`] prints without `--json`.
pub fn text(shown: &Value) -> String {
    let mut out = format!("{} {}\n", word(&shown["what"]), word(&shown["name"]));
    for (key, value) in shown.as_object().into_iter().flatten() {
        match (key.as_str(), value) {
            ("what" | "name" | "damaged" | "torn", _) => {}
            ("entries", Value::Array(all)) => all.iter().for_each(|e| out += &line(e)),
            ("files", Value::Array(all)) => all.iter().for_each(|f| out += &file(f)),
            _ => more(&mut out, key, value, 0),
        }
    }
    if let Some(torn) = shown["torn"].as_object() {
        out += &format!(
            "torn at byte {}: {}; never acknowledged\n",
            torn["offset"],
            word(&torn["what"])
        );
    }
    for fault in shown["damaged"].as_array().into_iter().flatten() {
        let place = match &fault["file"] {
            Value::Null => format!("at byte {}", fault["offset"]),
            file => word(file),
        };
        out += &format!("DAMAGED {place}: {}\n", word(&fault["what"]));
    }
    out
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A field, its parts below it.
fn more(out: &mut String, key: &str, value: &Value, depth: usize) {
    let pad = "  ".repeat(depth);
    match value {
        Value::Object(fields) => {
            let flat: Vec<String> = fields
                .iter()
                .filter(|(_, v)| !v.is_array() && !v.is_object())
                .map(|(k, v)| format!("{k} {}", word(v)))
                .collect();
            *out += &format!("{pad}{key}: {}\n", flat.join(", "));
            for (key, value) in fields.iter().filter(|(_, v)| v.is_array() || v.is_object()) {
                more(out, key, value, depth + 1);
            }
        }
        Value::Array(all) if all.is_empty() => {}
        Value::Array(all) => {
            *out += &format!("{pad}{key}:\n");
            for one in all {
                *out += &format!("{pad}  {}\n", word(one));
            }
        }
        Value::Null => {}
        other => *out += &format!("{pad}{key}: {}\n", word(other)),
    }
}

/// One stretch of a segment.
fn line(e: &Value) -> String {
    let field = |name: &str| match &e[name] {
        Value::Null => String::new(),
        value => format!(" {name} {}", word(value)),
    };
    let (offset, bytes) = (word(&e["offset"]), word(&e["bytes"]));
    let mut line = format!("{offset:>10} {:<10} {bytes:>8} bytes", word(&e["kind"]));
    for name in ["seq", "owner", "codec", "checksum", "entries", "last_seq", "digest"] {
        line += &field(name);
    }
    line += &format!("  {}", word(&e["state"]));
    if let Some(says) = e["says"].as_str() {
        line += &format!("  ({says})");
    }
    line.push('\n');
    for lost in e["lost"].as_array().into_iter().flatten() {
        line += &format!(
            "           lost: {} at byte {}, seq {}\n",
            word(&lost["kind"]),
            lost["offset"],
            lost["seq"]
        );
    }
    line
}

/// One file of a journal.
fn file(f: &Value) -> String {
    let mut line = format!("{:<24} {}", word(&f["name"]), word(&f["is"]));
    for (key, value) in f.as_object().into_iter().flatten() {
        match (key.as_str(), value) {
            ("name" | "is" | "header" | "damaged", _) | (_, Value::Null) => {}
            ("torn", torn) => {
                line += &format!(", torn at byte {}: {}", torn["offset"], word(&torn["what"]));
            }
            (key, value) => line += &format!(", {key} {}", word(value)),
        }
    }
    if let Some(first) = f["header"]["first_seq"].as_u64() {
        line += &format!(", first seq {first}");
    }
    line.push('\n');
    line
}
