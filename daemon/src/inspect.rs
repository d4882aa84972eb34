//! `esker inspect`: what is in an object, a segment's file, or a journal directory, for a person. It
//! believes nothing and changes nothing; where bytes are damaged it names them and reads on, as far as
//! the format allows.

mod body;
mod show;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use bytes::Bytes;
use logseg::{
    JournalItemKind, Recovery, SegmentId,
    format::{
        ChainName, Examined, JournalIdentity, Seal, checkpoint_name, decode_checkpoint, examine,
        parse_name,
    },
    journal_items,
};
use serde_json::{Value, json};
use swiftclient::{
    ObjectName,
    disk::{Disk, os::OsDisk},
    seam::Env,
};

use crate::{args, build, build::Plan, store::Store};

/// Bytes and what they are called.
struct Found {
    name: String,
    bytes: Bytes,
}

/// Runs the command.
pub fn run(what: &args::Inspect) -> Result<ExitCode, String> {
    let (shown, json) = match what {
        args::Inspect::Segment(object) => (segment(&fetch(object, false)?), object.json),
        args::Inspect::Page(page) => {
            let found = fetch(&page.object, false)?;
            (body::entry(&found.name, &found.bytes, page.offset)?, page.object.json)
        }
        args::Inspect::Checkpoint(object) => (checkpoint(&fetch(object, true)?)?, object.json),
        args::Inspect::Journal(args) => (journal(&args.dir)?, args.json),
    };
    let text = if json { format!("{shown:#}\n") } else { show::text(&shown) };
    // Whoever reads only the first lines ends nothing.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    let whole = shown["damaged"] == json!([]) || shown["damaged"].is_null();
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A file, an object by name, or (`newest`) the store's newest checkpoint.
fn fetch(object: &args::Object, newest: bool) -> Result<Found, String> {
    let target = &object.target;
    let is_file = Path::new(target).is_file();
    if object.name.is_none() && is_file {
        let bytes = std::fs::read(target).map_err(|e| format!("{target}: {e}"))?;
        return Ok(Found { name: target.clone(), bytes: Bytes::from(bytes) });
    }
    if object.name.is_none() && !newest {
        return Err(format!("{target} is no file; of a store, name the object, e.g. seg/…"));
    }
    let plan = Plan::offline(target, None, None, false)?;
    let pool = build::pool()?;
    pool.block_on(async {
        plan.is_there()?;
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let store = Store::open(&plan.store, plan.store_timeout, &disk, &Env::real())?;
        let name = match &object.name {
            Some(name) => ObjectName::new(name.clone())
                .ok_or_else(|| format!("{name:?} is no name of an object"))?,
            None => {
                let config = plan.look(pool.handle()).await?;
                let names = Recovery::checkpoints(&config.log).await.map_err(|e| e.to_string())?;
                let last = names.last().ok_or(format!("{target}: there is no checkpoint"))?;
                checkpoint_name(*last)
            }
        };
        let bytes = store.objects.get(&name, 0..u64::MAX).await;
        let bytes = bytes.map_err(|e| format!("{target}: {e}"))?;
        Ok(Found { name: name.to_string(), bytes })
    })
}

/// What a segment, or the seal that stands in its place, holds.
fn segment(found: &Found) -> Value {
    if found.bytes.starts_with(b"EskerEnd") {
        return match Seal::decode(&found.bytes) {
            Ok(seal) => seal_json(&found.name, &seal),
            Err(e) => damaged(&found.name, &e.to_string()),
        };
    }
    let examined = examine(&found.bytes);
    let in_journal = parse_name(&found.name).is_none();
    segment_json(&found.name, &found.bytes, &examined, in_journal)
}

fn segment_json(name: &str, bytes: &Bytes, examined: &Examined, unfinished: bool) -> Value {
    // A file of the journal may end in a torn tail; an object of the store never.
    let (faults, torn) = if unfinished {
        examined.faults_of_unfinished()
    } else {
        (examined.faults_of_whole(), None)
    };
    let fault = |(offset, what): &(u32, String)| json!({"offset": offset, "what": what});
    let mut shown = json!({
        "what": "segment",
        "name": name,
        "bytes": examined.len,
        "header": show::header(examined),
        "entries": examined.stretches.iter().map(|s| body::stretch(s, bytes)).collect::<Vec<_>>(),
        "mark": examined.mark,
        "damaged": faults.iter().map(fault).collect::<Vec<_>>(),
    });
    if let Some((offset, fault)) = torn {
        shown["torn"] = json!({"offset": offset, "what": fault.to_string()});
    }
    shown
}

fn seal_json(name: &str, seal: &Seal) -> Value {
    json!({
        "what": "seal",
        "name": name,
        "volume": show::uuid(&seal.volume),
        "ends": seal.at.to_string(),
        "holder": seal.holder,
        "journal": show::uuid(&seal.journal),
        "take_over": seal.take_over,
        "abandon_journal": seal.abandon_journal,
        "damaged": [],
    })
}

fn damaged(name: &str, why: &str) -> Value {
    json!({"what": "damaged", "name": name, "damaged": [{"offset": 0, "what": why}]})
}

fn checkpoint(found: &Found) -> Result<Value, String> {
    let file = Path::new(&found.name).file_name().unwrap_or_default().to_string_lossy();
    let Some(ChainName::Checkpoint(called)) = parse_name(&format!("ckpt/{file}")) else {
        return Err(format!("{}: a checkpoint is called EEEEEEEE-NNNNNNNN", found.name));
    };
    // Bytes 16 to 31 of every envelope.
    let volume: [u8; 16] = match found.bytes.get(16..).and_then(|rest| rest.first_chunk()) {
        Some(volume) => *volume,
        None => return Ok(damaged(&found.name, "too short")),
    };
    let body = match decode_checkpoint(&volume, called, &found.bytes) {
        Ok(body) => body,
        Err(e) => return Ok(damaged(&found.name, &e.to_string())),
    };
    let Some(described) = headhunter::describe_checkpoint(&body) else {
        return Ok(damaged(&found.name, "its body does not decode"));
    };
    Ok(json!({
        "what": "checkpoint",
        "name": found.name,
        "volume": show::uuid(&volume),
        "body": body::described(&described),
        "damaged": [],
    }))
}

fn journal(dir: &Path) -> Result<Value, String> {
    let disk = OsDisk;
    let items = journal_items(&disk, dir).map_err(|e| e.to_string())?;
    let (mut files, mut bad) = (Vec::new(), Vec::new());
    let mut note = |path: &Path, why: &dyn std::fmt::Display| {
        bad.push(json!({"file": path.display().to_string(), "what": why.to_string()}));
    };
    for item in items {
        let name = item.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push(match &item.kind {
            JournalItemKind::Identity(Ok(JournalIdentity { volume, journal })) => json!({
                "name": name, "is": "identity",
                "volume": show::uuid(volume), "journal": show::uuid(journal),
            }),
            JournalItemKind::Identity(Err(e)) | JournalItemKind::Seal(Err(e)) => {
                note(&item.path, e);
                json!({"name": name, "is": "damaged", "why": e.to_string()})
            }
            JournalItemKind::Seal(Ok(seal)) => json!({
                "name": name, "is": "seal", "epoch": seal.epoch, "holder": seal.holder,
            }),
            JournalItemKind::Segment(id, generation) => {
                let file = journal_file(&item.path, *id, *generation)?;
                for fault in file["damaged"].as_array().into_iter().flatten() {
                    note(&item.path, &format!("at byte {}: {}", fault["offset"], fault["what"]));
                }
                file
            }
            JournalItemKind::Aside => json!({"name": name, "is": "void files, set aside"}),
            JournalItemKind::Other => json!({"name": name, "is": "other"}),
        });
    }
    let dir = dir.display().to_string();
    Ok(json!({"what": "journal", "name": dir, "files": files, "damaged": bad}))
}

/// One segment's file in short: `inspect segment FILE` tells the rest.
fn journal_file(path: &PathBuf, id: SegmentId, generation: u32) -> Result<Value, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let bytes = Bytes::from(bytes);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let examined = examine(&bytes);
    let blank = matches!(&examined.header, Err(logseg::format::FormatError::Blank { .. }));
    if blank {
        return Ok(json!({
            "name": name, "is": "spare", "segment": id.to_string(), "bytes": bytes.len(),
        }));
    }
    let whole = segment_json(&name, &bytes, &examined, true);
    let count = examined.entries().count();
    Ok(json!({
        "name": name,
        "is": if examined.footer().is_some() { "whole segment" } else { "open segment" },
        "segment": id.to_string(),
        "generation": generation,
        "bytes": bytes.len(),
        "entries": count,
        "header": whole["header"],
        "mark": examined.mark,
        "torn": whole["torn"],
        "damaged": whole["damaged"],
    }))
}
