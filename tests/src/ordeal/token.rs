//! Tokens that end while a server is at work, and tokens that the store forgets.

use std::{process::Command, time::Duration};

use super::{
    Bed, Outcome, run,
    told::{Broken, Told},
};
use crate::{
    load::now,
    server::{Esker, binary, pause},
};

/// Something must be stored at least so often.
const STORED_WITHIN: Duration = Duration::from_secs(10);
/// Work behind the moment at which the store has forgotten all tokens.
const AFTER: Duration = Duration::from_secs(5);

/// A client works for `seconds`, which must be several lives of a token, and some more once `forget`, a
/// command, has made the store refuse every token that it gave before. Storing goes on all the time,
/// and no request ends as refused.
pub fn token(seconds: u64, forget: &str, seed: u64) -> Outcome<()> {
    let bed = Bed::new("token")?;
    let work = bed.dir("server")?;
    let journal = bed.dir("journal")?.display().to_string();
    let args = ["--journal", &journal, "--flush-interval", "500ms", "--memory", "128MiB"];
    let server = bed.serve(&work, &args)?;
    let root = server.mount("/").map_err(|e| e.to_string())?;
    let mut c = server.root_client().map_err(|e| e.to_string())?;
    let dir = c.mkdir(&root, "d", 0o755).map_err(|e| format!("MKDIR: {e}"))?;
    let mut told = Told::new(dir, seed);
    let mut work = |time: Duration| -> Outcome<u64> {
        let (begun, mut stored) = (now(), (now(), segments(&server)?));
        let first = stored.1;
        while now() - begun < time {
            match told.step(&mut c) {
                Ok(()) => {}
                Err(Broken::Gone) => return Err("the server went away".into()),
                Err(Broken::Refused(what, status)) => return Err(format!("{what}: {status:?}")),
                Err(Broken::Wrong(what)) => return Err(what),
            }
            pause(Duration::from_millis(50));
            let count = segments(&server)?;
            if count > stored.1 {
                stored = (now(), count);
            } else if now() - stored.0 > STORED_WITHIN {
                let silent = STORED_WITHIN.as_secs();
                return Err(format!("nothing was stored for {silent} s\n{}", server.log_text()));
            }
        }
        Ok(stored.1 - first)
    };
    let stored = work(Duration::from_secs(seconds))?;
    println!("{stored} segments stored in {seconds} s with tokens that end");
    let forgotten = Command::new("bash").args(["-c", forget]).status();
    if !forgotten.is_ok_and(|status| status.success()) {
        return Err(format!("the store forgot nothing: {forget}"));
    }
    let stored = work(AFTER)?;
    println!("{stored} segments stored in {} s after all tokens were forgotten", AFTER.as_secs());
    let admin = server.admin.to_string();
    run(Command::new(binary().map_err(|e| e.to_string())?).args(["flush", "--admin", &admin]))?;
    let refused: Vec<_> = server
        .metrics()
        .map_err(|e| e.to_string())?
        .into_iter()
        .filter(|(name, n)| name.contains("outcome=\"denied\"") && *n > 0.0)
        .collect();
    if !refused.is_empty() {
        return Err(format!("requests ended as refused: {refused:?}"));
    }
    told.verify(&mut c, true)?;
    let status = server.stop().map_err(|e| e.to_string())?;
    if !status.success() {
        return Err(format!("stopped with {status}"));
    }
    println!("check: {}", bed.check(&args[..2])?);
    bed.done()
}

fn segments(server: &Esker) -> Outcome<u64> {
    let metrics = server.metrics().map_err(|e| e.to_string())?;
    let stored = metrics.get("esker_segments_stored_total").copied();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count
    stored.map(|n| n as u64).ok_or_else(|| "no such figure".into())
}
