//! The command itself, and the same on a running server.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::{Bad, Options, Outcome, data, files, offline};
use crate::{
    args,
    build::{self, House, Plan},
    request,
};

/// How long a server may take to check itself: a day.
const PATIENCE: Duration = Duration::from_secs(86_400);

/// `esker check`.
pub fn run(args: &args::Check) -> Result<ExitCode, String> {
    let options = Options { data: args.data };
    let outcome = match (&args.store, args.admin) {
        (None, Some(admin)) => {
            let path = if args.data { "/check.json?data" } else { "/check.json" };
            let text = request::get_within(admin, path, PATIENCE)?;
            serde_json::from_str(&text)
                .map_err(|e| format!("{admin} answers with something else: {e}"))?
        }
        (Some(store), None) => stopped(store, args, options)?,
        _ => {
            return Err("name the STORE of a stopped volume, or --admin ADDR of a server".into());
        }
    };
    if args.json {
        println!("{}", serde_json::json!(outcome));
    } else {
        print(&outcome);
    }
    let tidy = !args.strays || outcome.strays.is_empty();
    let well = tidy && outcome.findings.is_empty();
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn stopped(store: &str, args: &args::Check, options: Options) -> Result<Outcome, String> {
    let plan = Plan::offline(store, args.journal.clone(), args.memory, false)?;
    let pool = build::pool()?;
    let line = Line::new();
    let outcome = pool.block_on(async {
        let config = plan.look(pool.handle()).await?;
        refuse_held(&config.log, store)?;
        let outcome = offline(&config, options, &|what, n, of| line.show(what, n, of)).await?;
        // Who opened it meanwhile has changed it under our eyes.
        refuse_held(&config.log, store)?;
        Ok::<_, String>(outcome)
    });
    line.clear();
    outcome
}

/// Errors with the holder's name where a server of this machine has the volume.
pub fn refuse_held(log: &logseg::LogConfig, store: &str) -> Result<(), String> {
    match logseg::Recovery::holder(log).map_err(|e| e.to_string())? {
        None => Ok(()),
        Some(holder) => Err(format!(
            "{store}: the volume is in use by {holder}; ask that server (esker check --admin ADDR), \
             or stop it"
        )),
    }
}

fn print(outcome: &Outcome) {
    for note in &outcome.notes {
        println!("note: {note}");
    }
    for stray in &outcome.strays {
        println!("{stray} is in the store, and nothing refers to it");
    }
    for finding in &outcome.findings {
        println!("{finding}");
    }
    if outcome.objects > 0 {
        println!("{} objects and files read, {} bytes", outcome.objects, outcome.bytes);
    }
    println!(
        "{} inodes, {} entries, {} extents, {} findings",
        outcome.inodes,
        outcome.entries,
        outcome.extents,
        outcome.findings.len()
    );
}

/// The same on the volume of a running server. Its newest changes may be in memory only; they are
/// checked as far as the index goes.
pub async fn online(house: &House, options: Options) -> Result<Outcome, String> {
    let mut outcome = Outcome::default();
    let mut bad = Bad::new();
    let Some(survey) = house.index.survey() else { return Err("no log".into()) };
    let quiet = |_: &str, _: u64, _: u64| ();
    // While it lives, no segment that it can see is retired.
    let view = house.index.view();
    if options.data {
        data::verify(&survey, &mut outcome, &mut bad, &quiet).await?;
        // What looks torn is being written.
        outcome.notes.clear();
    }
    let epoch = house.index.epoch();
    files(&house.volume, &survey, Some(epoch), &mut outcome, &mut bad, &quiet).await?;
    drop(view);
    Ok(outcome)
}

/// A line on a terminal that says how far it is; nothing where nobody looks.
struct Line {
    shown: bool,
    /// Tenths of a per cent shown last.
    last: AtomicU64,
}

impl Line {
    fn new() -> Self {
        Self { shown: std::io::stderr().is_terminal(), last: AtomicU64::new(u64::MAX) }
    }

    fn show(&self, what: &str, n: u64, of: u64) {
        const WIDTH: u64 = 30;
        let share = (n * 1_000).checked_div(of).unwrap_or(u64::MAX - 1);
        if !self.shown || self.last.swap(share, Relaxed) == share {
            return;
        }
        let text = match of {
            0 => format!("{what} …"),
            _ => {
                let full = usize::try_from(n * WIDTH / of).unwrap_or(0);
                let bar = "#".repeat(full) + &"-".repeat(30_usize.saturating_sub(full));
                format!("{what} [{bar}] {n} of {of}")
            }
        };
        let mut err = std::io::stderr().lock();
        let _ = write!(err, "\r\x1b[K{text}").and_then(|()| err.flush());
    }

    fn clear(&self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
