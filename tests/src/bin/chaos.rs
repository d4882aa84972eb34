//! `chaos`: the proxy that does harm between a server and its object store, as a program.
//!
//! `chaos --store 127.0.0.1:9000 --listen 127.0.0.1:9001 --script faults.toml`; the script has a
//! table `line` and any number of `[[rule]]`, as `esker_tests::chaos::Script` describes. It says on
//! standard output where it listens, and at its end (end of standard input, or `--secs`) what it did.

use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use esker_tests::chaos::{Line, Proxy, Script};
use esker_tests::server::pause;

/// A proxy before an object store that delays, cuts, lies and mixes up, by rules and dice.
#[derive(Parser)]
struct Args {
    /// Where the store is.
    #[arg(long)]
    store: SocketAddr,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Rules, in TOML.
    #[arg(long)]
    script: Option<PathBuf>,
    /// Added to each request, ms.
    #[arg(long)]
    latency: Option<u64>,
    /// Most bytes a second towards the store.
    #[arg(long)]
    up: Option<u64>,
    /// Most bytes a second from the store.
    #[arg(long)]
    down: Option<u64>,
    /// Decides the dice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Lists every request at the end.
    #[arg(long)]
    list: bool,
    /// Ends after so many seconds; without it, with standard input.
    #[arg(long)]
    secs: Option<u64>,
}

fn run(args: &Args) -> Result<(), String> {
    let script = match &args.script {
        None => Script::default(),
        Some(path) => {
            let named = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
            let text = std::fs::read_to_string(path).map_err(|e| named(&e))?;
            toml::from_str(&text).map_err(|e| named(&e))?
        }
    };
    let proxy = Proxy::start_at(args.listen, args.store, args.seed).map_err(|e| e.to_string())?;
    proxy.line(Line {
        latency_ms: args.latency.unwrap_or(script.line.latency_ms),
        up: args.up.unwrap_or(script.line.up),
        down: args.down.unwrap_or(script.line.down),
    });
    let names: Vec<String> =
        script.rule.iter().map(|r| format!("{} {:?}", r.name, r.fault)).collect();
    proxy.rules(script.rule);
    println!("listening on {}", proxy.addr());
    match args.secs {
        Some(secs) => pause(std::time::Duration::from_secs(secs)),
        None => {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
        }
    }
    println!("{} requests on {} connections", proxy.requests(), proxy.connections());
    for s in proxy.seen().iter().filter(|_| args.list) {
        println!(
            "{:9.3} {:7.3} s {:?} {} {} up {} down {} {}",
            s.began.as_secs_f64(),
            (s.ended - s.began).as_secs_f64(),
            s.verb,
            s.status,
            s.path,
            s.up,
            s.down,
            s.rule.as_deref().unwrap_or_default()
        );
    }
    for (name, done) in names.iter().zip(proxy.done()) {
        println!("{done} x {name}");
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    match run(&Args::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("chaos: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}
