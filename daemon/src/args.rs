//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args as Group, Parser, Subcommand};

use crate::{size::Size, store_url::StoreUrl};

/// A log-structured file server.
#[derive(Debug, Parser)]
#[command(name = "esker", version)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a volume over NFSv3 until SIGTERM or SIGINT. An empty or absent directory is
    /// formatted first.
    Serve(Serve),
    /// Make an empty volume.
    Format(Format),
    /// Check a volume that is not being served; exit 1 where an invariant is broken.
    Check(Check),
    /// Show how a running server is.
    Status(Status),
}

#[derive(Debug, Group)]
pub struct Serve {
    /// PATH, dir:PATH, or mem: (nothing survives the process). May stand in the configuration.
    pub store: Option<StoreUrl>,
    /// Address of NFS and MOUNT [default: 127.0.0.1:2049]. Any but a loopback address needs an
    /// export rule in the configuration or by --export.
    #[arg(long, value_name = "ADDR")]
    pub nfs: Option<SocketAddr>,
    /// Address of /metrics, /healthz and the status [default: 127.0.0.1:2050].
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<SocketAddr>,
    /// Journal directory [default: inside a directory store].
    #[arg(long, value_name = "DIR")]
    pub journal: Option<PathBuf>,
    /// All caches and buffers together, e.g. 512MiB or 2GiB [default: 512MiB, least 64MiB].
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Size>,
    /// Take the volume over from another server that holds it. That server must not go on writing.
    #[arg(long)]
    pub take_over: bool,
    /// Open a volume without the journal it was last written with: what only that journal held is
    /// lost.
    #[arg(long)]
    pub abandon_journal: bool,
    /// Configuration file (TOML); the command line wins over it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// An export rule in the words of exports(5), e.g. '/ 10.0.0.0/8(rw,sync)'. May be repeated.
    #[arg(long = "export", value_name = "RULE")]
    pub exports: Vec<String>,
}

#[derive(Debug, Group)]
pub struct Format {
    /// PATH or dir:PATH.
    pub store: StoreUrl,
    /// Journal directory [default: inside a directory store].
    #[arg(long, value_name = "DIR")]
    pub journal: Option<PathBuf>,
}

#[derive(Debug, Group)]
pub struct Check {
    /// PATH or dir:PATH.
    pub store: StoreUrl,
    /// Journal directory [default: inside a directory store].
    #[arg(long, value_name = "DIR")]
    pub journal: Option<PathBuf>,
    /// As in `serve`.
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Size>,
}

#[derive(Debug, Group)]
pub struct Status {
    /// Admin address of the server.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:2050")]
    pub admin: SocketAddr,
    /// For a program.
    #[arg(long)]
    pub json: bool,
}
