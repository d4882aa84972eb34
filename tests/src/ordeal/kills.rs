//! kill -9 while segments are on their way to the store, again and again.

use std::time::Duration;

use parking_lot::Mutex;

use super::{
    Bed, Dice, Outcome,
    told::{Broken, Told},
};
use crate::{
    load::now,
    nfsclient::Client,
    server::{Esker, pause},
};

/// Clients at work at a time.
const CLIENTS: u64 = 4;
/// Kills between two looks at every byte.
const WHOLE_EVERY: u64 = 25;

/// Kills the server `kills` times under load and looks each time whether all that was acknowledged
/// is there; in the end the volume must be whole, and no segment in the store that nothing
/// refers to.
pub fn kills(kills: u64, seed: u64) -> Outcome<()> {
    let bed = Bed::new("kills")?;
    let work = bed.dir("server")?;
    let journal = bed.dir("journal")?.display().to_string();
    // Segments leave five times a second, so that some are under way whenever the server dies.
    let args = ["--journal", &journal, "--flush-interval", "200ms", "--memory", "128MiB"];
    let mut server = bed.serve(&work, &args)?;
    let mut told = directories(&server, seed)?;
    let (mut dice, mut steps, mut flying) = (Dice::new(seed), 0, 0);
    let began = now();
    for round in 1..=kills {
        let (done, waiting) = work_and_kill(&mut server, &told, &mut dice)?;
        steps += done;
        flying += u64::from(waiting);
        server.start_again().map_err(|e| format!("kill {round}: no start: {e}"))?;
        look(&server, &mut told, round % WHOLE_EVERY == 0 || round == kills)
            .map_err(|e| format!("after kill {round}: {e}"))?;
    }
    println!("{} ms a kill", (now() - began).as_millis() / u128::from(kills.max(1)));
    let most = bed.objects()?.len();
    println!(
        "{kills} kills, {steps} steps, {flying} kills with bytes on their way, {most} objects"
    );
    if flying * 2 < kills || steps < kills * 4 {
        return Err("the server was killed at rest: this showed nothing".into());
    }
    settle(&bed, server, &mut told, &args[..2])?;
    bed.done()
}

fn directories(server: &Esker, seed: u64) -> Outcome<Vec<Mutex<Told>>> {
    let root = server.mount("/").map_err(|e| e.to_string())?;
    let mut c = client(server)?;
    (0..CLIENTS)
        .map(|i| {
            let dir = c.mkdir(&root, &format!("d{i}"), 0o755).map_err(|e| format!("MKDIR: {e}"))?;
            Ok(Mutex::new(Told::new(dir, seed * 100 + i)))
        })
        .collect()
}

pub(super) fn client(server: &Esker) -> Outcome<Client> {
    server.root_client().map_err(|e| format!("no connection: {e}"))
}

/// Lets the clients work until the server is killed at a random moment. Steps done, and whether
/// bytes were in the journal alone at that moment.
fn work_and_kill(
    server: &mut Esker,
    told: &[Mutex<Told>],
    dice: &mut Dice,
) -> Outcome<(u64, bool)> {
    let clients = told.iter().map(|_| client(server)).collect::<Outcome<Vec<_>>>()?;
    std::thread::scope(|scope| {
        let at_work: Vec<_> = clients
            .into_iter()
            .zip(told)
            .map(|(mut c, told)| scope.spawn(move || until_death(&mut c, &mut told.lock())))
            .collect();
        pause(Duration::from_millis(20 + dice.below(380)));
        let waiting = unstored(server) > 0;
        server.kill().map_err(|e| format!("kill: {e}"))?;
        let mut steps = 0;
        for one in at_work {
            steps += one.join().map_err(|_| "a client panicked")??;
        }
        Ok((steps, waiting))
    })
}

fn until_death(c: &mut Client, told: &mut Told) -> Outcome<u64> {
    let mut steps = 0;
    loop {
        match told.step(c) {
            Ok(()) => steps += 1,
            Err(Broken::Gone) => return Ok(steps),
            Err(Broken::Refused(what, status)) => return Err(format!("{what}: {status:?}")),
            Err(Broken::Wrong(what)) => return Err(what),
        }
    }
}

/// Bytes in the journal and not in the store, as the server says.
fn unstored(server: &Esker) -> u64 {
    let metrics = server.metrics().unwrap_or_default();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count of bytes
    metrics.get("esker_log_unstored_bytes").map_or(0, |v| *v as u64)
}

fn look(server: &Esker, told: &mut [Mutex<Told>], whole: bool) -> Outcome<()> {
    let mut c = client(server)?;
    for told in told {
        told.get_mut().verify(&mut c, whole)?;
    }
    Ok(())
}

/// A clean stop and three more starts, each of which ends with a checkpoint: the two that sweep, and
/// one that shows nothing is missing. Then the check, strays included.
pub(super) fn settle(
    bed: &Bed,
    mut server: Esker,
    told: &mut [Mutex<Told>],
    journal: &[&str],
) -> Outcome<()> {
    for _ in 0..3 {
        let mut c = client(&server)?;
        for told in told.iter_mut() {
            match told.get_mut().step(&mut c) {
                Ok(()) => (),
                Err(broken) => return Err(format!("a step at rest: {broken:?}")),
            }
        }
        let began = now();
        server.restart().map_err(|e| e.to_string())?;
        let started = now() - began;
        look(&server, told, true)?;
        let looked = now() - began - started;
        println!("restarted in {} ms, looked for {} ms", started.as_millis(), looked.as_millis());
    }
    let status = server.stop().map_err(|e| e.to_string())?;
    if !status.success() {
        return Err(format!("stopped with {status}"));
    }
    let line = bed.check(journal)?;
    let stored: u64 = bed.objects()?.iter().map(|(size, _)| size).sum();
    let mut live = 0;
    for told in told.iter_mut() {
        live += told.get_mut().len();
    }
    println!("check: {line}; {live} bytes of files, {stored} bytes in the store");
    if stored < live {
        return Err("the store holds less than the files: where are they?".into());
    }
    Ok(())
}
