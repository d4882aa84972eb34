//! `nfsload`: drives an NFSv3 server with one kind of call and prints one line per row.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use esker_tests::load::{LoadError, Prepared, Row, Shape, Target};

/// Load generator for NFSv3: NULL, GETATTR, LOOKUP, READ, WRITE and CREATE chains.
#[derive(Parser)]
struct Args {
    /// Address of NFS.
    #[arg(long)]
    nfs: SocketAddr,
    /// Address of MOUNT, if it is another one.
    #[arg(long)]
    mount: Option<SocketAddr>,
    /// What to mount.
    #[arg(long, default_value = "/")]
    export: String,
    /// Process id of the server, for its CPU time per call.
    #[arg(long)]
    pid: Option<u32>,
    /// Seconds per row.
    #[arg(long, default_value_t = 3.0)]
    secs: f64,
    /// Rows as NAME[:CONNECTIONSxWINDOW]; NAME is null, getattr, lookup, read4k, read1m,
    /// read1m-verify, write1m, sync4k or chain.
    #[arg(required = true)]
    rows: Vec<String>,
}

fn parse(row: &str, time: Duration) -> Result<(Row, Shape), LoadError> {
    let wrong = || LoadError::Wrong(format!("{row}: not NAME[:CONNECTIONSxWINDOW]"));
    let (name, shape) = row.split_once(':').unwrap_or((row, "1x1"));
    let (conns, window) = shape.split_once('x').ok_or_else(wrong)?;
    let kind = Row::NAMES.iter().find(|(n, _)| *n == name).ok_or_else(wrong)?.1;
    let conns = conns.parse().map_err(|_| wrong())?;
    let window = window.parse().map_err(|_| wrong())?;
    Ok((kind, Shape { conns, window, time }))
}

fn main() -> Result<(), LoadError> {
    let args = Args::parse();
    let time = Duration::from_secs_f64(args.secs);
    let rows = args.rows.iter().map(|r| parse(r, time)).collect::<Result<Vec<_>, _>>()?;
    let target = Target {
        nfs: args.nfs,
        mount: args.mount.unwrap_or(args.nfs),
        export: args.export,
        pid: args.pid,
    };
    let mut prepared = Prepared::new(target)?;
    for (row, shape) in rows {
        println!("{}", prepared.run(row, shape)?);
    }
    Ok(())
}
