//! `esker status`.

use std::process::ExitCode;

use crate::{args, request};

/// Prints the status of the server at `args.admin`.
pub fn run(args: &args::Status) -> Result<ExitCode, String> {
    let path = if args.json { "/status.json" } else { "/status" };
    println!("{}", request::get(args.admin, path)?.trim_end());
    Ok(ExitCode::SUCCESS)
}
