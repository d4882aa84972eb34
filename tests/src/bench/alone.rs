//! Figures of Esker by itself.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::median;
use super::report::Fact;
use crate::load::{LoadError, Prepared, Row, Shape, now};
use crate::server::{Esker, Setup, pause, until};

/// Appends 4 KiB and fdatasyncs for one second on a growing file: what the disk itself takes.
/// Gives the median time of one, µs, and how many there were.
pub fn bare_append(dir: &Path) -> Result<(f64, f64), LoadError> {
    let mut file = tempfile::tempfile_in(dir)?;
    let end = now() + Duration::from_secs(1);
    let mut took = Vec::new();
    while now() < end {
        let begin = now();
        file.write_all(&[0x5a; 4096])?;
        file.sync_data()?;
        took.push((now() - begin).as_secs_f64() * 1e6);
    }
    let n = took.len() as f64;
    Ok((median(took), n))
}

/// NULL and GETATTR at rest, and right after 100,000 files were made, while they are destaged.
pub fn destage(work: &Path, files: u64, time: Duration) -> Result<Vec<Fact>, LoadError> {
    let server = Esker::start(work, &Setup::default())?;
    let mut p = Prepared::new(server.target())?;
    let shape = Shape { conns: 1, window: 64, time };
    let mut facts = Vec::new();
    let rates = |p: &mut Prepared| -> Result<(f64, f64), LoadError> {
        let mut all = (Vec::new(), Vec::new());
        for _ in 0..3 {
            all.0.push(p.run(Row::Null, shape)?.ops_per_s());
            all.1.push(p.run(Row::Getattr, shape)?.ops_per_s());
        }
        Ok((median(all.0), median(all.1)))
    };
    let rest = rates(&mut p)?;
    let took = p.flood(files)?;
    let busy = rates(&mut p)?;
    for (name, rest, busy) in [("NULL", rest.0, busy.0), ("GETATTR", rest.1, busy.1)] {
        facts.push(Fact {
            name: format!("{name} while {files} new files are destaged, of its rate at rest"),
            value: format!("{:.2} ({busy:.0} of {rest:.0} op/s)", busy / rest),
            wanted: "≥ 0.7".into(),
            met: busy / rest >= 0.7,
        });
    }
    facts.push(Fact {
        name: format!("{files} files of 4 KiB made over 8 × 16, `sync`"),
        value: format!("{:.0} files/s", files as f64 / took.as_secs_f64()),
        wanted: "–".into(),
        met: true,
    });
    Ok(facts)
}

fn objects_in(dir: &Path) -> Result<u64, LoadError> {
    let mut n = 0;
    for name in ["seg", "side", "ckpt", "epoch"] {
        let mut stack = vec![dir.join(name)];
        while let Some(d) = stack.pop() {
            let Ok(entries) = std::fs::read_dir(&d) else { continue };
            for e in entries {
                let e = e?;
                if e.file_type()?.is_dir() { stack.push(e.path()) } else { n += 1 }
            }
        }
    }
    Ok(n)
}

/// Objects that 20,000 durable files of 4 KiB leave in the store, per 1,000.
pub fn objects(work: &Path) -> Result<Fact, LoadError> {
    let server = Esker::start(work, &Setup::default())?;
    let mut p = Prepared::new(server.target())?;
    let before = objects_in(&server.dir)?;
    let files = 20_000;
    p.flood(files)?;
    let mut last = objects_in(&server.dir)?;
    // Destage also acts by age: wait until nothing has come for three seconds.
    until(Duration::from_secs(40), || {
        pause(Duration::from_secs(3));
        let n = objects_in(&server.dir).unwrap_or(last);
        let still = n == last;
        last = n;
        still.then_some(())
    });
    let per = (last - before) as f64 * 1000.0 / files as f64;
    Ok(Fact {
        name: format!("objects per 1,000 small files ({files} made)"),
        value: format!("{per:.2}"),
        wanted: "≤ 5".into(),
        met: per <= 5.0 && last > before,
    })
}

/// Makes `files` files, stops cleanly and starts three times.
pub fn start_time(work: &Path, files: u64) -> Result<Vec<Fact>, LoadError> {
    let fast = Setup::exporting(&["/ 127.0.0.0/8(rw,async,no_root_squash,insecure)"]);
    let mut server = Esker::start(work, &fast)?;
    let root = server.mount("/")?;
    let begin = now();
    crate::load::make_files(&server.target(), &root, files)?;
    let made = now() - begin;
    let (mut starts, mut rss) = (Vec::new(), 0);
    for _ in 0..3 {
        server.restart()?;
        // Healthy is not enough: a file is looked up, too.
        let begin = now();
        let root = server.mount("/")?;
        let mut c = server.target().client()?;
        let dir = c.walk(&root, &format!("dir-{:06}", (files - 1) / 1000))?;
        c.walk(&dir, "file-0000000")?;
        starts.push((server.started_in + (now() - begin)).as_secs_f64());
        rss = rss.max(server.rss());
    }
    let t = median(starts);
    Ok(vec![
        Fact {
            name: format!("start to first LOOKUP with {files} files, after a clean stop"),
            value: format!("{t:.3} s, {} MiB resident", rss >> 20),
            wanted: "< 1 s".into(),
            met: t < 1.0,
        },
        Fact {
            name: format!("{files} empty files made, `async`"),
            value: format!("{:.0} files/s", files as f64 / made.as_secs_f64()),
            wanted: "–".into(),
            met: true,
        },
    ])
}
