//! The binary `esker`: it builds the house bottom-up and holds the operator's commands.
//!
//! ```text
//!   esker serve STORE      store → log → index → files → NFS, until SIGTERM
//!   esker format STORE     an empty volume
//!   esker check STORE      is everything whole, and if not, what is damaged and whose is it?
//!   esker inspect WHAT     what is in a segment, a page, a checkpoint, a journal
//!   esker dump STORE PATH  what the index says of a file, a directory, an inode
//!   esker rebuild STORE    a root from the log, where the checkpoints are gone
//!   esker status           what a running server says about itself
//!   esker ls, cat, stat, mkdir, rm, put, get: files of a running server
//!   esker flush [WHAT]     everything committed is durable and stored, or the reason why not
//! ```
//!
//! It hides nothing: whoever reads [`serve`] has read the architecture.

#[doc(hidden)]
pub mod fuzz;

mod admin;
mod args;
mod build;
#[doc(hidden)]
pub mod check;
mod config;
mod dump;
mod figures;
mod files;
mod flush;
mod inspect;
mod interval;
mod keeping;
mod logging;
mod mount_line;
mod prometheus;
#[doc(hidden)]
pub mod rebuild;
mod request;
mod rpc;
mod samba_share;
mod screen;
mod serve;
mod size;
mod status;
mod store;
mod store_url;

use std::process::ExitCode;

use args::{Args, Command};
use clap::Parser;

/// The program.
pub fn main() -> ExitCode {
    let args = Args::parse();
    few_arenas();
    let outcome = match args.command {
        // It knows only later where its trace goes.
        Command::Serve(serve) => serve::run(*serve),
        Command::Format(format) => logging::start(None).and_then(|()| build::format(&format)),
        Command::Check(check) => logging::start(None).and_then(|()| check::run(&check)),
        Command::Inspect(inspect) => inspect::run(&inspect),
        Command::Dump(dump) => logging::start(None).and_then(|()| dump::run(&dump)),
        Command::Rebuild(rebuild) => logging::start(None).and_then(|()| rebuild::run(&rebuild)),
        Command::Status(status) => status::run(&status),
        Command::Flush(flush) => flush::command(&flush),
        Command::Ls(args) => files::list(&args),
        Command::Cat(args) => files::cat(&args),
        Command::Stat(args) => files::stat(&args),
        Command::Mkdir(args) => files::make_dir(&args),
        Command::Rm(args) => files::remove(&args),
        Command::Put(args) => files::put(&args),
        Command::Get(args) => files::get(&args),
        Command::SambaShare(share) => {
            print!("{}", samba_share::section(&share));
            Ok(ExitCode::SUCCESS)
        }
    };
    match outcome {
        Ok(code) => code,
        Err(reason) => {
            eprintln!("esker: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Frame bodies are allocated by reactors and freed by the journal thread or the cache: with glibc's
/// arena per thread each keeps its own fragments. Measured after 400,000 small files: 637 MiB resident
/// with `--memory 512MiB` and still growing, 411 MiB with two arenas, at the same rate.
fn few_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: called before any thread is made; mallopt has no other condition (mallopt(3)).
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}
