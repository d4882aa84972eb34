//! `--take-over` from a server that is stopped in the middle of its work, and goes on afterwards.
//!
//! ```text
//!   first    ──calls──► SIGSTOP ............................ SIGCONT ──► refused, for ever
//!   second                       --take-over ──► open, works ─────────────────► works
//! ```
//!
//! Whoever takes over has all that the first acknowledged; the first, once it goes on, acknowledges
//! nothing that the second does not have. Where the second cannot reach the first's journal it says so
//! and wants `--abandon-journal`; then only what was in the store counts, and the first may go on
//! until it meets the store.

use std::{
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread::ScopedJoinHandle,
    time::Duration,
};

use parking_lot::Mutex;
use rustix::process::Signal;

use super::{
    Bed, Dice, Outcome,
    kills::{client, settle},
    run,
    told::{Broken, Told},
};
use crate::{
    load::now,
    nfsclient::{Fh, Status},
    server::{Esker, binary, pause, until},
};

/// Clients of the first at a time: so many calls are in flight when it is stopped.
const CLIENTS: u64 = 4;
/// Steps of the second before the first goes on.
const STEPS: u64 = 8;
/// Longest until a stopped server that goes on has refused all its clients.
const FATE: Duration = Duration::from_secs(90);

/// Longest that a call of the first is waited for: beyond the time for which it is stopped, in which a
/// store may hold on to its half-sent put.
const STOPPED: Duration = Duration::from_secs(200);

/// How a volume keeps what is acknowledged, and what its taker has of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arm {
    /// Durability `store`.
    Store,
    /// Durability `journal`, which the taker has.
    AtHand,
    /// Durability `journal`, each server with one that the others cannot reach.
    Away,
}

impl Arm {
    const ALL: [Self; 3] = [Self::Store, Self::AtHand, Self::Away];

    fn name(self) -> &'static str {
        match self {
            Self::Store => "take-over-store",
            Self::AtHand => "take-over-journal",
            Self::Away => "take-over-away",
        }
    }

    /// Arguments of server `nth` of the volume.
    fn args(self, bed: &Bed, nth: u64) -> Outcome<Vec<String>> {
        let journal = |name: &str| -> Outcome<[String; 2]> {
            Ok(["--journal".into(), bed.dir(name)?.display().to_string()])
        };
        let keeping = match self {
            Self::Store => ["--durability", "store"].map(String::from),
            Self::AtHand => journal("journal")?,
            Self::Away => journal(&format!("journal{nth}"))?,
        };
        // So long a server that has its journal does not meet the store.
        let more = ["--flush-interval", "1s", "--memory", "128MiB"].map(String::from);
        Ok(keeping.into_iter().chain(more).collect())
    }
}

/// Servers of one volume, one after the other.
struct Chain {
    arm: Arm,
    bed: Bed,
    dice: Dice,
    /// Number of the newest server.
    nth: u64,
    /// What the volume must hold.
    told: Vec<Told>,
    /// Calls that were refused after their server was overruled; steps that were acknowledged by
    /// overruled servers whose journal nobody has.
    refused: u64,
    unheard: u64,
}

/// How one client of the first ended.
struct End {
    told: Told,
    /// Steps acknowledged that began after the server went on.
    late: u64,
    how: Status,
}

/// `rounds` take-overs in a row of each kind of volume.
pub fn take_over(rounds: u64, seed: u64) -> Outcome<()> {
    for arm in Arm::ALL {
        let began = now();
        let mut chain = Chain::new(arm, seed)?;
        let mut first = chain.serve(0, &[])?;
        for round in 1..=rounds {
            first = chain.round(first).map_err(|e| format!("{arm:?}, take-over {round}: {e}"))?;
        }
        let Chain { refused, unheard, .. } = chain;
        chain.finish(first).map_err(|e| format!("{arm:?}, after all take-overs: {e}"))?;
        println!(
            "{arm:?}: {rounds} take-overs from a stopped server, {refused} calls refused when it \
             went on, {unheard} steps acknowledged into an abandoned journal, {} s",
            (now() - began).as_secs()
        );
        if refused < rounds * CLIENTS || (arm == Arm::Away) != (unheard > 0) {
            return Err(format!("{arm:?}: this showed nothing"));
        }
    }
    Ok(())
}

impl Chain {
    fn new(arm: Arm, seed: u64) -> Outcome<Self> {
        let bed = Bed::new(arm.name())?;
        let (told, dice) = (Vec::new(), Dice::new(seed));
        Ok(Self { arm, bed, dice, nth: 0, told, refused: 0, unheard: 0 })
    }

    /// Starts server `nth` in a directory of its own.
    fn serve(&self, nth: u64, more: &[&str]) -> Outcome<Esker> {
        let args = self.arm.args(&self.bed, nth)?;
        let all: Vec<&str> = args.iter().map(String::as_str).chain(more.iter().copied()).collect();
        self.bed.serve(&self.work(nth)?, &all)
    }

    fn work(&self, nth: u64) -> Outcome<PathBuf> {
        self.bed.dir(&format!("server{nth}"))
    }

    /// New directories for so many clients.
    fn directories(&mut self, server: &Esker, kind: &str, n: u64) -> Outcome<Vec<Told>> {
        let root = server.mount("/").map_err(|e| e.to_string())?;
        let mut c = client(server)?;
        (0..n)
            .map(|i| {
                let name = format!("{kind}{}.{i}", self.nth);
                let dir = c.mkdir(&root, &name, 0o755).map_err(|e| format!("MKDIR: {e}"))?;
                Ok(Told::new(dir, self.dice.below(u64::MAX)))
            })
            .collect()
    }

    /// The server is stopped under load, another takes over, the first goes on; the other, and with
    /// it all that it must have.
    fn round(&mut self, mut first: Esker) -> Outcome<Esker> {
        let hands = self.directories(&first, "first", CLIENTS)?;
        if self.arm == Arm::Away {
            // All that the second will have is what the store has.
            let admin = first.admin.to_string();
            run(Command::new(binary().map_err(|e| e.to_string())?)
                .args(["flush", "--admin", &admin]))?;
        }
        let goes_on = AtomicBool::new(false);
        let goes_on = &goes_on;
        let clients = hands.iter().map(|_| client(&first)).collect::<Outcome<Vec<_>>>()?;
        for c in &clients {
            c.conn.set_timeout(Some(STOPPED)).map_err(|e| format!("set_timeout: {e}"))?;
        }
        let (second, ends) = std::thread::scope(|scope| {
            let at_work: Vec<_> = clients
                .into_iter()
                .zip(hands)
                .map(|(mut c, told)| scope.spawn(move || until_refused(&mut c, told, goes_on)))
                .collect();
            let second = self.stop_and_take(&first, goes_on);
            // Who is stopped never answers, and who waits for it never ends.
            let refused = second.is_ok()
                && until(FATE, || at_work.iter().all(ScopedJoinHandle::is_finished).then_some(()))
                    .is_some();
            if !refused {
                first.kill().map_err(|e| format!("kill: {e}"))?;
            }
            let ends = at_work.into_iter().map(|one| {
                one.join().map_err(|_| String::from("a client panicked")).and_then(|end| end)
            });
            let ends = ends.collect::<Outcome<Vec<End>>>();
            match (second, refused) {
                (Err(why), _) => Err(why),
                (Ok(_), false) => Err(format!("the first goes on after {FATE:?}")),
                (Ok(second), true) => Ok((second, ends?)),
            }
        })?;
        self.judge(ends)?;
        let overruler = second.pid();
        fate(first, overruler)?;
        self.look(&second)?;
        Ok(second)
    }

    /// Stops the first, has another take over and work, lets the first go on.
    fn stop_and_take(&mut self, first: &Esker, goes_on: &AtomicBool) -> Outcome<Esker> {
        pause(Duration::from_millis(50 + self.dice.below(700)));
        first.signal(Signal::STOP).map_err(|e| format!("SIGSTOP: {e}"))?;
        // What it had answered has arrived by then.
        pause(Duration::from_millis(100));
        self.nth += 1;
        let mut flags = vec!["--take-over"];
        if self.arm == Arm::Away {
            self.names_what_is_missing(first)?;
            flags.push("--abandon-journal");
        }
        let second = self.serve(self.nth, &flags)?;
        if self.arm == Arm::Away {
            self.look(&second)?;
        }
        let mut own = self.directories(&second, "second", 1)?;
        for told in &mut own {
            work(&second, told, STEPS)?;
        }
        goes_on.store(true, Ordering::SeqCst);
        first.signal(Signal::CONT).map_err(|e| format!("SIGCONT: {e}"))?;
        for told in &mut own {
            work(&second, told, STEPS)?;
        }
        self.told.append(&mut own);
        Ok(second)
    }

    /// Without the first's journal the second does not start: it tells whose it is, what that means
    /// and what to do.
    fn names_what_is_missing(&self, first: &Esker) -> Outcome<()> {
        let Err(said) = self.serve(self.nth, &["--take-over"]) else {
            return Err("a taker without the journal was let in".into());
        };
        let pid = first.pid().to_string();
        for word in
            [&pid, "--abandon-journal", "Acknowledged changes", "The store has the log below"]
        {
            if !said.contains(word) {
                return Err(format!("a taker without the journal is not told {word:?}: {said}"));
            }
        }
        Ok(())
    }

    /// What the first's clients were told counts, where the second has what it was written to.
    fn judge(&mut self, ends: Vec<End>) -> Outcome<()> {
        for End { told, late, how } in ends {
            if how != Status::IO {
                return Err(format!("an overruled server answers {how:?}"));
            }
            self.refused += 1;
            match self.arm {
                Arm::Away => self.unheard += late,
                _ if late > 0 => {
                    return Err(format!("{late} steps were acknowledged by the first, afterwards"));
                }
                _ => self.told.push(told),
            }
        }
        Ok(())
    }

    fn look(&mut self, server: &Esker) -> Outcome<()> {
        let mut c = client(server)?;
        self.told.iter_mut().try_for_each(|told| told.verify(&mut c, true))
    }

    /// Without any flag the volume opens, holds everything, and is whole, with nothing in the store
    /// that nobody refers to: what overruled servers left there is swept.
    fn finish(mut self, last: Esker) -> Outcome<()> {
        self.look(&last)?;
        let status = last.stop().map_err(|e| e.to_string())?;
        if !status.success() {
            return Err(format!("stopped with {status}"));
        }
        let server = self.serve(self.nth, &[])?;
        let args = self.arm.args(&self.bed, self.nth)?;
        let journal: Vec<&str> = match self.arm {
            Arm::Store => Vec::new(),
            _ => args[..2].iter().map(String::as_str).collect(),
        };
        let mut told: Vec<_> = self.told.into_iter().map(Mutex::new).collect();
        settle(&self.bed, server, &mut told, &journal)?;
        self.bed.done()
    }
}

/// Steps until the server refuses one.
fn until_refused(
    c: &mut crate::nfsclient::Client,
    mut told: Told,
    goes_on: &AtomicBool,
) -> Outcome<End> {
    let mut late = 0;
    loop {
        let after = goes_on.load(Ordering::SeqCst);
        match told.step(c) {
            Ok(()) => late += u64::from(after),
            Err(Broken::Refused(_, how)) => return Ok(End { told, late, how }),
            Err(Broken::Gone) => return Err("the first's connection ended".into()),
            Err(Broken::Wrong(what)) => return Err(what),
        }
    }
}

fn work(server: &Esker, told: &mut Told, steps: u64) -> Outcome<()> {
    let mut c = client(server)?;
    for _ in 0..steps {
        told.step(&mut c).map_err(|broken| format!("a step of the second: {broken:?}"))?;
    }
    Ok(())
}

/// What becomes of an overruled server: it lives, so that it can be asked; says who has overruled it;
/// answers every call with EIO, those that read too; and ends with an error when it is told to.
fn fate(first: Esker, overruler: u32) -> Outcome<()> {
    let (status, said) = first.healthz().map_err(|e| format!("/healthz of the first: {e}"))?;
    if status != 503 || !said.contains(&overruler.to_string()) {
        return Err(format!("/healthz of an overruled server: {status} {said:?}"));
    }
    let mut c = client(&first)?;
    match first.mount("/") {
        Err(_) => (),
        Ok(root) => {
            let root: Fh = root;
            let answer = c.lookup(&root, "first0.0").map_err(|e| format!("LOOKUP: {e}"))?;
            if answer.status != Status::IO {
                return Err(format!("an overruled server answers a LOOKUP {:?}", answer.status));
            }
        }
    }
    drop(c);
    let log = first.log_text();
    let status = first.stop().map_err(|e| e.to_string())?;
    if status.success() || !log.contains(&overruler.to_string()) {
        return Err(format!("an overruled server ended with {status}; its log:\n{log}"));
    }
    Ok(())
}
