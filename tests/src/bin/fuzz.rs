//! Throws changed bytes at the decoders for a given time.
//!
//!     fuzz --seconds 120 [--seed N] [TARGET...]      all targets share the time
//!     fuzz --input FILE TARGET                       one input, to see a failure again
//!     fuzz --unpack DIR TARGET                       its corpus as files, for other fuzzers
//!     fuzz --list                                    the targets, a line each
//!
//! Times are of this process's processor time: on a busy machine it does as much as on a quiet one, it
//! only takes longer.
//!
//! The first failure is printed with target, seed, number and bytes, kept in target/fuzz/, and the
//! status is 1. An input that takes more memory or time than any honest one fails too.
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use clap::Parser;
use esker_tests::fuzz::{Failure, TARGETS, Target, bear, corpus, input};
use esker_tests::server::pause;

/// Most memory that one input may hold at a time, bytes: the largest record is 2 MiB decoded.
const MEMORY_BYTES: usize = 32 << 20;
/// Longest time that one input may take, of the processor.
const PATIENCE: Duration = Duration::from_secs(10);
/// Inputs between two looks at the clock.
const ROUND: u64 = 256;

#[derive(Parser)]
struct Args {
    /// For how long, all targets together, seconds of processor time.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Repeats a run; without it one is drawn.
    #[arg(long)]
    seed: Option<u64>,
    /// Only this file, for the one target named.
    #[arg(long)]
    input: Option<PathBuf>,
    /// Writes the inputs of the corpora there, a file each.
    #[arg(long)]
    unpack: Option<PathBuf>,
    /// Prints the names of all targets.
    #[arg(long)]
    list: bool,
    /// All where none is named.
    targets: Vec<String>,
}

/// Processor time of this process.
fn now() -> Duration {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes one timespec, which is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut t) };
    Duration::new(u64::try_from(t.tv_sec).unwrap_or(0), u32::try_from(t.tv_nsec).unwrap_or(0))
}

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// Counts what is held, so that an allocation by a length from the wire is seen.
struct Counting;

// SAFETY: hands everything to the system's allocator and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(held, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static MEMORY: Counting = Counting;

/// What runs now, for the watch: target, number, and inputs begun.
static NOW: Mutex<(&str, u64)> = Mutex::new(("", 0));
static BEGUN: AtomicU64 = AtomicU64::new(0);

fn bear_within(target: &'static Target, bytes: &[u8], number: u64) -> Result<(), String> {
    *NOW.lock().unwrap() = (target.name, number);
    BEGUN.fetch_add(1, Relaxed);
    let before = HELD.load(Relaxed);
    MOST.store(before, Relaxed);
    bear(target, bytes)?;
    let most = MOST.load(Relaxed).saturating_sub(before);
    if most > MEMORY_BYTES {
        return Err(format!("{most} bytes of memory for {} bytes", bytes.len()));
    }
    Ok(())
}

/// Ends the process when one input takes too long.
#[allow(clippy::disallowed_methods)] // the watch must run beside what hangs
fn watch(seed: u64) {
    std::thread::spawn(move || {
        let (mut seen, mut since) = (0, now());
        loop {
            pause(Duration::from_millis(500));
            let begun = BEGUN.load(Relaxed);
            if begun != seen {
                (seen, since) = (begun, now());
            } else if now() - since > PATIENCE {
                let (target, number) = *NOW.lock().unwrap();
                println!(
                    "fuzz: {target} takes more than {PATIENCE:?}: seed {seed} number {number}"
                );
                std::process::exit(1);
            }
        }
    });
}

fn report(seed: u64, failure: &Failure) -> ExitCode {
    let Failure { target, number, input, said } = failure;
    println!("fuzz: {target} FAILED: {said}");
    match number {
        Some(number) => println!("  seed {seed} number {number}"),
        None => println!("  an input of its corpus"),
    }
    let hex: String = input.iter().take(4096).map(|b| format!("{b:02x}")).collect();
    println!("  {} bytes: {hex}", input.len());
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/fuzz");
    let file = dir.join(format!("{target}-{seed}-{}", number.unwrap_or(0)));
    if std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&file, input)).is_ok() {
        println!("  kept in {}", file.display());
    }
    ExitCode::FAILURE
}

fn throw(target: &'static Target, seed: u64, time: Duration) -> Result<u64, Failure> {
    let corpus = corpus(target.name);
    let fail = |number, input: Vec<u8>, said| Failure { target: target.name, number, input, said };
    for bytes in &corpus {
        bear_within(target, bytes, 0).map_err(|said| fail(None, bytes.clone(), said))?;
    }
    let (end, mut number) = (now() + time, 0);
    while now() < end {
        for _ in 0..ROUND {
            let bytes = input(&corpus, seed, number);
            if let Err(said) = bear_within(target, &bytes, number) {
                return Err(fail(Some(number), bytes, said));
            }
            number += 1;
        }
    }
    Ok(number)
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.list {
        TARGETS.iter().for_each(|target| println!("{}", target.name));
        return ExitCode::SUCCESS;
    }
    let wanted = |t: &&Target| args.targets.is_empty() || args.targets.iter().any(|n| n == t.name);
    let targets: Vec<&'static Target> = TARGETS.iter().filter(wanted).collect();
    let known = |n: &String| TARGETS.iter().any(|t| t.name == n);
    if let Some(unknown) = args.targets.iter().find(|n| !known(n)) {
        let names: Vec<&str> = TARGETS.iter().map(|t| t.name).collect();
        println!("fuzz: no target {unknown}; there are {}", names.join(" "));
        return ExitCode::from(2);
    }
    if let Some(dir) = args.unpack {
        for (n, bytes) in targets.iter().flat_map(|target| corpus(target.name)).enumerate() {
            std::fs::write(dir.join(format!("corpus-{n:04}")), bytes).unwrap();
        }
        return ExitCode::SUCCESS;
    }
    let seed = args.seed.unwrap_or_else(|| swiftclient::seam::Env::real().random_u64());
    println!("fuzz: seed {seed}");
    if let Some(path) = args.input {
        let bytes = std::fs::read(path).unwrap();
        for target in targets {
            if let Err(said) = bear_within(target, &bytes, 0) {
                let failure = Failure { target: target.name, number: None, input: bytes, said };
                return report(seed, &failure);
            }
        }
        return ExitCode::SUCCESS;
    }
    // What a panic says is in the report.
    std::panic::set_hook(Box::new(|_| {}));
    watch(seed);
    let share = u32::try_from(targets.len()).unwrap_or(1).max(1);
    for target in targets {
        match throw(target, seed, Duration::from_secs(args.seconds) / share) {
            Ok(inputs) => println!("{:<10} {inputs} inputs", target.name),
            Err(failure) => return report(seed, &failure),
        }
    }
    ExitCode::SUCCESS
}
