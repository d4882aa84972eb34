//! `esker dump`: all that the index says of one inode of a volume, as it was last left. Read-only; of
//! a volume that is being served it shows what is in store and journal.

use std::{io::Write, os::unix::ffi::OsStrExt, process::ExitCode};

use fs::{Tuning, Volume};
use headhunter::{Index, Looked};
use inode::{Dump, Extent, Inode, Timestamp};
use serde_json::{Value, json};

use crate::{
    args,
    build::{self, Plan},
};

/// Runs the command.
pub fn run(args: &args::Dump) -> Result<ExitCode, String> {
    let plan = Plan::offline(&args.store, args.journal.clone(), args.memory, false)?;
    let pool = build::pool()?;
    let (dump, told) = pool.block_on(async {
        let config = plan.look(pool.handle()).await?;
        let Looked { index, trouble, torn, .. } =
            Index::look(&config).await.map_err(|e| e.to_string())?;
        let volume = Volume::still(index, Tuning::default()).await;
        let files = volume.files();
        let failed = |e: headhunter::LogError| e.to_string();
        let ino = match (&args.path, args.inode) {
            (None, Some(ino)) => Some(ino),
            (Some(path), None) => files.resolve(path.as_bytes()).await.map_err(failed)?,
            _ => return Err("name a path in the volume, or an inode by --inode N".into()),
        };
        let dump = match ino {
            Some(ino) => files.dump(ino).await.map_err(failed)?,
            None => None,
        };
        Ok::<_, String>((dump, trouble.into_iter().chain(torn).collect::<Vec<_>>()))
    })?;
    for line in told {
        eprintln!("{line}");
    }
    let Some(dump) = dump else {
        return Err("there is no such file".into());
    };
    let text = if args.json { to_json(&dump).to_string() + "\n" } else { to_text(&dump) };
    // Whoever reads only the first lines ends nothing.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}

fn lossy(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn time(t: Timestamp) -> String {
    format!("{}.{:09}", t.sec, t.nsec)
}

fn extent_json(e: &Extent, of: &Inode) -> Value {
    json!({
        "offset": e.start,
        "bytes": e.len,
        "segment": e.location.segment.to_string(),
        "object": logseg::format::segment_name(e.location.segment).to_string(),
        "entry_offset": e.location.offset,
        "entry_bytes": e.location.stored,
        "skip": e.skip,
        "birth": e.birth.0,
        "dead": of.is_dead(e),
    })
}

fn to_json(dump: &Dump) -> Value {
    let i = &dump.inode;
    json!({
        "inode": i.id.ino,
        "generation": i.id.generation,
        "type": format!("{:?}", i.kind).to_lowercase(),
        "mode": format!("{:04o}", i.mode),
        "links": i.nlink,
        "uid": i.uid,
        "gid": i.gid,
        "device": [i.rdev.0, i.rdev.1],
        "size": i.size,
        "used": i.used,
        "atime": time(i.atime),
        "mtime": time(i.mtime),
        "ctime": time(i.ctime),
        "parent": i.parent,
        "last_seq": i.last.0,
        "marks": i.marks.iter().map(|m| json!([m.offset, m.seq.0])).collect::<Vec<_>>(),
        "pending": dump.pending.map(|p| format!("{p:?}").to_lowercase()),
        "target": lossy(&dump.target),
        "xattrs": dump.xattrs.iter().map(|(n, len)| json!([lossy(n), len])).collect::<Vec<_>>(),
        "entries": dump.entries.iter().map(|e| json!({
            "name": lossy(&e.name),
            "cookie": e.cookie,
            "inode": e.id.ino,
            "generation": e.id.generation,
            "type": format!("{:?}", e.kind).to_lowercase(),
        })).collect::<Vec<_>>(),
        "extents": dump.extents.iter().map(|e| extent_json(e, i)).collect::<Vec<_>>(),
    })
}

fn to_text(dump: &Dump) -> String {
    let i = &dump.inode;
    let mut out = format!(
        "inode {} (generation {}): {:?}, mode {:04o}, {} links, owner {}:{}\n\
         size {}, used {}, last changed by record {}\n\
         atime {}, mtime {}, ctime {}\n",
        i.id.ino,
        i.id.generation,
        i.kind,
        i.mode,
        i.nlink,
        i.uid,
        i.gid,
        i.size,
        i.used,
        i.last.0,
        time(i.atime),
        time(i.mtime),
        time(i.ctime),
    );
    if i.parent != 0 {
        out += &format!(".. is inode {}\n", i.parent);
    }
    if let Some(pending) = dump.pending {
        out += &format!("pending work: {pending:?}\n");
    }
    for mark in &i.marks {
        out += &format!("truncated at {} by record {}\n", mark.offset, mark.seq.0);
    }
    if !dump.target.is_empty() {
        out += &format!("target {}\n", lossy(&dump.target));
    }
    for (name, len) in &dump.xattrs {
        out += &format!("xattr {}: {len} bytes\n", lossy(name));
    }
    for e in &dump.entries {
        let kind = format!("{:?}", e.kind).to_lowercase();
        out += &format!("entry {:016x} {kind} {} {}\n", e.cookie, e.id.ino, lossy(&e.name));
    }
    let mut end = 0;
    for e in &dump.extents {
        let dead = if i.is_dead(e) { ", dead" } else { "" };
        if e.start > end {
            out += &format!("hole {} to {}\n", end, e.start - 1);
        }
        end = e.end();
        out += &format!(
            "extent {} to {}: {} at byte {}, {} into the frame of {} stored bytes, born {}{dead}\n",
            e.start,
            e.end() - 1,
            logseg::format::segment_name(e.location.segment),
            e.location.offset,
            e.skip,
            e.location.stored,
            e.birth.0,
        );
    }
    out
}
