//! `ordeal`: what a server on a real store must survive; see `esker_tests::ordeal`. The store is the
//! one that `tests/stores/up` has described in the environment, or a directory.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use esker_tests::ordeal;

/// Ordeals of a server on a store.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    what: What,
    /// Seed of all random choices.
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
}

#[derive(Subcommand)]
enum What {
    /// kill -9 while segments are on their way.
    Kills {
        /// How often.
        kills: u64,
    },
    /// The machine is lost, another goes on with what is in the store.
    Lost {
        /// How often.
        rounds: u64,
    },
    /// The store is full, and has room again.
    Full {
        /// Gives the store room.
        #[arg(long)]
        more: Option<String>,
    },
    /// Another server takes over from one that is stopped, which then goes on.
    TakeOver {
        /// How often, for each kind of volume.
        rounds: u64,
    },
    /// Tokens end, and are forgotten.
    Token {
        /// How long it works with tokens that end.
        seconds: u64,
        /// Makes the store forget all tokens.
        #[arg(long)]
        forget: String,
    },
    /// create, write of 10 MB, the timer, flush: in this order.
    Sequence,
}

fn main() -> ExitCode {
    let args = Args::parse();
    println!("seed {}", args.seed);
    let outcome = match args.what {
        What::Kills { kills } => ordeal::kills(kills, args.seed),
        What::Lost { rounds } => ordeal::lost(rounds, args.seed),
        What::Full { more } => ordeal::full(more.as_deref()),
        What::TakeOver { rounds } => ordeal::take_over(rounds, args.seed),
        What::Token { seconds, forget } => ordeal::token(seconds, &forget, args.seed),
        What::Sequence => ordeal::sequence(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("FAILED: {why}");
            ExitCode::FAILURE
        }
    }
}
