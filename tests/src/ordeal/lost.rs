//! The machine is lost with everything on it: with durability `store` another one goes on.

use parking_lot::Mutex;

use super::{
    Bed, Outcome,
    told::{Broken, Told},
};

/// Steps that are synced before the machine is lost.
const STEPS: u64 = 12;

/// A server without a journal works and is killed; a second one, in a directory of its own and
/// without anything of the first's, opens the store and finds every synced byte. `rounds` times in
/// a row.
pub fn lost(rounds: u64, seed: u64) -> Outcome<()> {
    let bed = Bed::new("lost")?;
    let args = ["--durability", "store", "--memory", "128MiB"];
    let mut told: Vec<Mutex<Told>> = Vec::new();
    for round in 0..rounds {
        let work = bed.dir(&format!("machine{round}"))?;
        let mut server = bed.serve(&work, &args)?;
        let mut c = server.root_client().map_err(|e| e.to_string())?;
        for one in &told {
            let mut one = one.lock();
            one.verify(&mut c, true).map_err(|e| format!("machine {round}: {e}"))?;
        }
        if told.is_empty() {
            let root = server.mount("/").map_err(|e| e.to_string())?;
            for i in 0..3 {
                let name = format!("d{i}");
                let dir = c.mkdir(&root, &name, 0o755).map_err(|e| format!("MKDIR: {e}"))?;
                told.push(Mutex::new(Told::new(dir, seed + i)));
            }
        }
        at_work(&server, &told)?;
        // Without a word of farewell, and with all that it had on its disk.
        server.kill().map_err(|e| e.to_string())?;
        let left = std::fs::read_dir(&work).map_or(0, Iterator::count);
        if left > 1 {
            return Err(format!("the server left {left} files on its machine, its log is one"));
        }
        std::fs::remove_dir_all(&work).map_err(|e| e.to_string())?;
    }
    let work = bed.dir("last")?;
    let server = bed.serve(&work, &args)?;
    let mut c = server.root_client().map_err(|e| e.to_string())?;
    let mut bytes = 0;
    for one in &told {
        let mut one = one.lock();
        one.verify(&mut c, true).map_err(|e| format!("the last machine: {e}"))?;
        bytes += one.len();
    }
    println!("{rounds} machines lost, {bytes} bytes of files found by the next");
    let status = server.stop().map_err(|e| e.to_string())?;
    if !status.success() {
        return Err(format!("stopped with {status}"));
    }
    bed.done()
}

/// Some steps of each client at once, so that syncs share their puts.
fn at_work(server: &crate::server::Esker, told: &[Mutex<Told>]) -> Outcome<()> {
    std::thread::scope(|scope| {
        let all: Vec<_> = told
            .iter()
            .map(|told| {
                scope.spawn(move || {
                    let mut c = server.root_client().map_err(|e| e.to_string())?;
                    let mut told = told.lock();
                    for _ in 0..STEPS {
                        match told.step(&mut c) {
                            Ok(()) => (),
                            Err(Broken::Gone) => return Err("the server went away".to_owned()),
                            Err(Broken::Refused(what, status)) => {
                                return Err(format!("{what}: {status:?}"));
                            }
                            Err(Broken::Wrong(what)) => return Err(what),
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        all.into_iter().try_for_each(|one| one.join().map_err(|_| "a client panicked")?)
    })
}
