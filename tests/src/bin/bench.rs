//! `bench`: Esker beside nfs-ganesha on one disk. Needs root (namespaces), Debian (packages) and
//! some minutes; prints Markdown tables and writes them to `--out`.
//!
//! `cargo build --release --workspace && target/release/bench`

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use esker_tests::bench::{
    ASYNC_ROWS, Fact, ROWS, Report, Stores, bare_append, destage, group_commit, measure, objects,
    recovery, rpc_beside_echo, start_time,
};
use esker_tests::ganesha::{Ganesha, in_own_namespace, unpack};
use esker_tests::load::{LoadError, Prepared, now, rss_bytes};
use esker_tests::server::{Esker, Setup, pause};

/// Esker beside nfs-ganesha, medians of interleaved pairs.
#[derive(Parser)]
struct Args {
    /// Interleaved pairs per row.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Seconds per row and server.
    #[arg(long, default_value_t = 2.0)]
    secs: f64,
    /// Only this part: rows, log, destage, objects, start; or one that is measured alone: recovery
    /// and rpc (no other server, no root), and stores, on the store that --store and the environment name.
    #[arg(long)]
    part: Option<String>,
    /// Only rows whose name begins so (null, getattr, chain …).
    #[arg(long)]
    row: Option<String>,
    /// Files made before the start is timed.
    #[arg(long, default_value_t = 1_000_000)]
    files: u64,
    /// Files made before NULL and GETATTR are measured beside destage.
    #[arg(long, default_value_t = 100_000)]
    flood: u64,
    /// `--memory` of Esker, MiB.
    #[arg(long, default_value_t = 512)]
    memory: u64,
    /// STORE of Esker for the rows, where it is not a new directory on this disk (`mem:`); for the
    /// part `stores` an existing bucket or container.
    #[arg(long)]
    store: Option<String>,
    /// Part `stores`: what the store is called in the table.
    #[arg(long, default_value = "store")]
    label: String,
    /// Part `stores`: MiB of each stream.
    #[arg(long, default_value_t = 256)]
    mib: u64,
    /// Part `recovery`: MiB of the longer log.
    #[arg(long, default_value_t = 1024)]
    log_mib: u64,
    /// Part `stores`: requests that the bare client has under way.
    #[arg(long, default_value_t = 4)]
    parallel: usize,
    /// Where the tables go.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Watches the resident bytes of a process; gives the largest ever seen.
fn watch<T>(pid: u32, f: impl FnOnce() -> Result<T, LoadError>) -> Result<(T, u64), LoadError> {
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|s| {
        let watcher = s.spawn(|| {
            let mut most = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                most = most.max(rss_bytes(pid).unwrap_or(0));
                pause(Duration::from_millis(20));
            }
            most
        });
        let r = f();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        Ok((r?, watcher.join().unwrap_or(0)))
    })
}

fn rows(args: &Args, work: &Path, root: &Path, report: &mut Report) -> Result<(), LoadError> {
    let time = Duration::from_secs_f64(args.secs);
    let wanted = |p: &&esker_tests::bench::RowPlan| {
        args.row.as_ref().is_none_or(|n| p.row.name().starts_with(n.as_str()))
    };
    let ganesha = Ganesha::start(root, &work.join("ganesha"))?;
    let mut theirs = Prepared::new(ganesha.target())?;
    let memory = || vec!["--memory".to_string(), format!("{}MiB", args.memory)];
    for (kind, plans, exports) in [
        ("sync", &ROWS[..], vec![]),
        ("async", &ASYNC_ROWS[..], vec!["/ 127.0.0.0/8(rw,async,no_root_squash)".to_string()]),
    ] {
        let place = work.join(kind);
        std::fs::create_dir_all(&place)?;
        let setup =
            Setup { args: memory(), exports, store: args.store.clone(), ..Setup::default() };
        let esker = Esker::start(&place, &setup)?;
        let mut ours = Prepared::new(esker.target())?;
        let (mut most, mut at) = (0, "none");
        for plan in plans.iter().filter(wanted) {
            let (measured, seen) =
                watch(esker.pid(), || measure(plan, &mut ours, &mut theirs, args.pairs, time))?;
            report.row(kind, measured);
            if seen > most {
                (most, at) = (seen, plan.row.name());
            }
        }
        let bound = args.memory + 64;
        report.fact(Fact {
            name: format!("most resident memory during the `{kind}` rows"),
            value: format!("{} MiB (in `{at}`)", most >> 20),
            wanted: format!("≤ {bound} MiB"),
            met: most >> 20 <= bound,
        });
    }
    Ok(())
}

fn run(args: &Args, target: &Path, root: &Path) -> Result<(), LoadError> {
    let work = tempfile::tempdir_in(target)?;
    let time = Duration::from_secs_f64(args.secs);
    for name in ["ganesha", "destage", "objects", "start", "log"] {
        std::fs::create_dir_all(work.path().join(name))?;
    }
    let mut report = Report::default();
    let begin = now();
    let wanted = |part: &str| args.part.as_ref().is_none_or(|p| p == part);
    if wanted("rows") {
        let bare = bare_append(work.path())?.0;
        rows(args, work.path(), root, &mut report)?;
        report.fact(Fact {
            name: "4 KiB append + fdatasync on this disk, before and after, p50".into(),
            value: format!("{bare:.0} µs, {:.0} µs", bare_append(work.path())?.0),
            wanted: "–".into(),
            met: true,
        });
    }
    let place = |name: &str| work.path().join(name);
    type Part<'a> = (&'a str, Box<dyn Fn() -> Result<Vec<Fact>, LoadError> + 'a>);
    let parts: [Part; 4] = [
        ("log", Box::new(|| group_commit(&place("log")))),
        ("destage", Box::new(|| destage(&place("destage"), args.flood, time))),
        ("objects", Box::new(|| objects(&place("objects")).map(|f| vec![f]))),
        ("start", Box::new(|| start_time(&place("start"), args.files))),
    ];
    for (name, measure) in parts.iter().filter(|(name, _)| wanted(name)) {
        match measure() {
            Ok(facts) => facts.into_iter().for_each(|f| report.fact(f)),
            Err(e) => report.fact(Fact {
                name: (*name).into(),
                value: format!("failed: {e}"),
                wanted: "a figure".into(),
                met: false,
            }),
        }
    }
    let cores = std::thread::available_parallelism()?;
    let head = format!(
        "{} pairs of {} s a row, {cores} cores, {:.0} s in all. Pairs are Esker : ganesha.",
        args.pairs,
        args.secs,
        (now() - begin).as_secs_f64()
    );
    let out = args.out.clone().unwrap_or_else(|| target.join("bench.md"));
    Ok(report.publish(&head, &out)?)
}

/// Esker on an object store beside a bare client: no other server, no namespace.
fn stores(args: &Args, target: &Path) -> Result<(), LoadError> {
    let url = args.store.clone().ok_or_else(|| {
        LoadError::Wrong("say --store s3://BUCKET or --store swift://CONTAINER".into())
    })?;
    let work = tempfile::tempdir_in(target)?;
    let out = args.out.clone().unwrap_or_else(|| target.join(format!("bench-{}.md", args.label)));
    let mut report = Report::default();
    let begin = now();
    let plan = Stores {
        url,
        label: args.label.clone(),
        pairs: args.pairs,
        mib: args.mib,
        parallel: args.parallel,
        work: work.path().to_owned(),
    };
    let done = plan.run(args.row.as_deref().unwrap_or_default(), &mut report, &out);
    let cores = std::thread::available_parallelism()?;
    let time = (now() - begin).as_secs_f64();
    report.publish(&format!("{cores} cores, {time:.0} s in all."), &out)?;
    done
}

/// Starts after a kill: no other server, no namespace.
fn alone_recovery(args: &Args, target: &Path) -> Result<(), LoadError> {
    let work = tempfile::tempdir_in(target)?;
    let out = args.out.clone().unwrap_or_else(|| target.join("bench-recovery.md"));
    let mut report = Report::default();
    let begin = now();
    let log = args.log_mib << 20;
    recovery(work.path(), args.files, log)?.into_iter().for_each(|fact| report.fact(fact));
    let cores = std::thread::available_parallelism()?;
    let time = (now() - begin).as_secs_f64();
    Ok(report.publish(&format!("{cores} cores, {time:.0} s in all."), &out)?)
}

/// RPC beside a bare echo: no other server, no namespace.
fn alone_rpc(args: &Args, target: &Path) -> Result<(), LoadError> {
    esker_tests::server::binary()?;
    let work = tempfile::tempdir_in(target)?;
    let out = args.out.clone().unwrap_or_else(|| target.join("bench-rpc.md"));
    let mut report = Report::default();
    let begin = now();
    let time = Duration::from_secs_f64(args.secs);
    rpc_beside_echo(work.path(), args.pairs, time)?.into_iter().for_each(|fact| report.fact(fact));
    let cores = std::thread::available_parallelism()?;
    let took = (now() - begin).as_secs_f64();
    Ok(report.publish(&format!("{cores} cores, {took:.0} s in all."), &out)?)
}

fn main() -> Result<(), LoadError> {
    let args = Args::parse();
    let exe = std::env::current_exe()?;
    let target = exe
        .parent()
        .and_then(Path::parent)
        .ok_or_else(|| LoadError::Wrong("this program is in no target directory".into()))?;
    if args.part.as_deref() == Some("recovery") {
        return alone_recovery(&args, target);
    }
    if args.part.as_deref() == Some("rpc") {
        return alone_rpc(&args, target);
    }
    if args.part.as_deref() == Some("stores") {
        esker_tests::server::binary()?;
        return stores(&args, target);
    }
    // Outside of the namespace, which has no way to the packages.
    let root = unpack(&target.join("ganesha"))?;
    esker_tests::server::binary()?;
    if let Some(code) = in_own_namespace()? {
        std::process::exit(code);
    }
    run(&args, target, &root)
}
