//! `bench`
use esker_tests::ganesha::{Ganesha, in_own_namespace, unpack};
use esker_tests::load::*;
use std::time::Duration;
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let exe = std::env::current_exe()?;
    let target = exe.parent().and_then(|p| p.parent()).unwrap();
    let cache = target.join("ganesha");
    let root = unpack(&cache)?;
    if let Some(code) = in_own_namespace()? {
        std::process::exit(code);
    }
    let work = tempfile::tempdir_in(target)?;
    let g = Ganesha::start(&root, work.path())?;
    let mut p = Prepared::new(g.target())?;
    let time = Duration::from_secs(2);
    for (row, conns, window) in [
        (Row::Null, 1, 64),
        (Row::Null, 8, 8),
        (Row::Null, 1, 1),
        (Row::Getattr, 1, 64),
        (Row::Getattr, 8, 8),
        (Row::Lookup, 1, 64),
        (Row::Read4k, 1, 16),
        (Row::Read1m(true), 1, 8),
        (Row::Read1m(false), 1, 8),
        (Row::Write1m, 1, 4),
        (Row::Sync4k, 1, 1),
        (Row::Chain, 1, 1),
        (Row::Chain, 8, 1),
        (Row::Chain, 32, 1),
    ] {
        println!("{}", p.run(row, Shape { conns, window, time })?);
    }
    println!("flood 20000: {:?}", p.flood(20000)?);
    Ok(())
}
