//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args as Group, Parser, Subcommand};

use crate::{files::args as files, interval::Interval, keeping::Durability, size::Size};

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
    Serve(Box<Serve>),
    /// Make an empty volume.
    Format(Format),
    /// Check a volume, and change nothing; exit 1 where anything is damaged or an invariant broken.
    Check(Check),
    /// Show what is in an object of a store, in a segment's file, or in a journal directory.
    #[command(subcommand)]
    Inspect(Inspect),
    /// Show all that a volume's index says of a file, a directory, an inode. Changes nothing.
    Dump(Dump),
    /// Open a volume from a root in its log, where its checkpoints are gone or damaged. Without
    /// --write it only says what it would do.
    Rebuild(Rebuild),
    /// Show how a running server is.
    Status(Status),
    /// Have a running server make everything durable and store it now; exit 1 with the reason if
    /// that fails or takes too long.
    Flush(Flush),
    /// List directories of a volume that a server serves.
    Ls(files::List),
    /// Write files of the volume to standard output.
    Cat(files::Paths),
    /// Show all that is known of files of the volume.
    Stat(files::Paths),
    /// Make directories in the volume.
    Mkdir(files::MakeDir),
    /// Remove files of the volume.
    Rm(files::Remove),
    /// Copy files from here into the volume.
    Put(files::Put),
    /// Copy files of the volume to here.
    Get(files::Get),
    /// Print the section of smb.conf with which stock Samba serves a volume (docs/samba.md).
    SambaShare(SambaShare),
}

#[derive(Debug, Default, Group)]
pub struct Serve {
    /// PATH, dir:PATH, s3://BUCKET[/PREFIX], swift://CONTAINER[/PREFIX], or mem: (nothing survives
    /// the process). May stand in the configuration.
    pub store: Option<String>,
    /// Address of NFS and MOUNT [default: 127.0.0.1:2049]. Any but a loopback address needs an
    /// export rule in the configuration or by --export.
    #[arg(long, value_name = "ADDR")]
    pub nfs: Option<SocketAddr>,
    /// Address of the RPC server, for smbd and for Esker's own clients: unix:PATH or ADDRESS:PORT
    /// [default: none]. May be repeated. TCP needs --rpc-secret.
    #[arg(long = "rpc", value_name = "ADDR")]
    pub rpc: Vec<String>,
    /// A file with the secret that clients over TCP must know, at least 16 bytes; a newline at its
    /// end does not count. Nobody else may read it.
    #[arg(long, value_name = "FILE")]
    pub rpc_secret: Option<PathBuf>,
    /// Certificate chain (PEM) for RPC over TCP, which is TLS then; needs --rpc-key.
    #[arg(long, value_name = "FILE", requires = "rpc_key")]
    pub rpc_cert: Option<PathBuf>,
    /// Private key (PEM) of the certificate. Nobody else may read it.
    #[arg(long, value_name = "FILE", requires = "rpc_cert")]
    pub rpc_key: Option<PathBuf>,
    /// RPC over plain TCP also on addresses that others can reach: they could listen, and change
    /// what is said.
    #[arg(long)]
    pub rpc_plain_tcp: bool,
    /// Address of /metrics, /healthz and the status [default: 127.0.0.1:2050].
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<SocketAddr>,
    /// Journal directory, on a local disk [default: inside a directory store, else none].
    #[arg(long, value_name = "DIR")]
    pub journal: Option<PathBuf>,
    /// What a sync answers for [default: journal where there is one, else store].
    #[arg(long, value_name = "CLASS")]
    pub durability: Option<Durability>,
    /// What is committed goes to the store at the latest after this time, e.g. 500ms or 5s
    /// [default: 5s; 30s where the store is a directory].
    #[arg(long, value_name = "TIME")]
    pub flush_interval: Option<Interval>,
    /// Most bytes that may wait in the journal for the store; writers are slowed from 60 % of it
    /// [default: 1GiB].
    #[arg(long, value_name = "SIZE")]
    pub dirty_budget: Option<Size>,
    /// A directory for a cache on a local disk; it survives restarts and may be deleted.
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Its limit [default: 1GiB].
    #[arg(long, value_name = "SIZE")]
    pub cache_size: Option<Size>,
    /// A request to a network store on which no byte moves for so long has failed, and is tried
    /// again [default: 30s].
    #[arg(long, value_name = "TIME")]
    pub store_timeout: Option<Interval>,
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
    /// Write what happens between a change and the store to FILE, a line of JSON each
    /// (docs/operations.md).
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
}

#[derive(Debug, Group)]
pub struct SambaShare {
    /// What clients call the share.
    #[arg(value_parser = crate::samba_share::share_name)]
    pub name: String,
    /// Where the server of the volume is: unix:PATH.
    #[arg(long, value_name = "ADDR", default_value = "unix:/run/esker/rpc.sock")]
    #[arg(value_parser = crate::samba_share::one_line)]
    pub server: String,
    /// The directory of the volume that is the share's root.
    #[arg(long, value_name = "DIR", default_value = "/")]
    #[arg(value_parser = crate::samba_share::one_line)]
    pub root: String,
}

#[derive(Debug, Group)]
pub struct Format {
    /// PATH, dir:PATH, s3://BUCKET[/PREFIX] or swift://CONTAINER[/PREFIX].
    pub store: String,
    /// Journal directory [default: inside a directory store, else none].
    #[arg(long, value_name = "DIR")]
    pub journal: Option<PathBuf>,
}

#[derive(Debug, Group)]
pub struct Check {
    /// PATH, dir:PATH, s3://BUCKET[/PREFIX] or swift://CONTAINER[/PREFIX] of a volume that no server
    /// holds.
    pub store: Option<String>,
    /// Instead of STORE: have a running server check its volume.
    #[arg(
        long,
        value_name = "ADDR",
        num_args = 0..=1,
        default_missing_value = "127.0.0.1:2050",
        conflicts_with = "store"
    )]
    pub admin: Option<SocketAddr>,
    /// Journal directory [default: inside a directory store, else none].
    #[arg(long, value_name = "DIR")]
    pub journal: Option<PathBuf>,
    /// As in `serve`.
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Size>,
    /// Read every byte of every object and of the journal, and verify every checksum.
    #[arg(long)]
    pub data: bool,
    /// Count it as damage, too, where segments lie in the store that nothing refers to. (A killed
    /// server leaves some; the next one removes them after its first two checkpoints.)
    #[arg(long)]
    pub strays: bool,
    /// For a program.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Inspect {
    /// A segment: header, entries, footer.
    Segment(Object),
    /// One entry of a segment: an index page with its items, a record, a root.
    Page(Page),
    /// A checkpoint [default: the newest of the store].
    Checkpoint(Object),
    /// A journal directory: what each file is and holds.
    Journal(Journal),
}

#[derive(Debug, Group)]
pub struct Object {
    /// A file; with NAME, a store.
    pub target: String,
    /// Name of an object in that store, e.g. seg/00000002/00000000.
    pub name: Option<String>,
    /// For a program.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Group)]
pub struct Page {
    #[command(flatten)]
    pub object: Object,
    /// Where the entry begins in the segment, bytes.
    #[arg(long, value_name = "BYTES")]
    pub offset: u32,
}

#[derive(Debug, Group)]
pub struct Journal {
    /// The journal's directory.
    pub dir: PathBuf,
    /// For a program.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Group)]
pub struct Dump {
    /// PATH, dir:PATH, s3://BUCKET[/PREFIX] or swift://CONTAINER[/PREFIX].
    pub store: String,
    /// A path in the volume: /a/b. Symbolic links are not followed.
    pub path: Option<std::ffi::OsString>,
    /// Instead of a path, the number of an inode.
    #[arg(long, value_name = "N", conflicts_with = "path")]
    pub inode: Option<u64>,
    /// Journal directory [default: inside a directory store, else none].
    #[arg(long, value_name = "DIR")]
    pub journal: Option<PathBuf>,
    /// As in `serve`.
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Size>,
    /// For a program.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Group)]
pub struct Rebuild {
    /// PATH, dir:PATH, s3://BUCKET[/PREFIX] or swift://CONTAINER[/PREFIX] of a volume that no server
    /// holds.
    pub store: String,
    /// Open the volume from what was found, and publish new checkpoints.
    #[arg(long)]
    pub write: bool,
    /// With --write: also where segments stand behind the end of the log, and one before them is
    /// missing. What they hold is given up.
    #[arg(long, requires = "write")]
    pub accept_loss: bool,
    /// Journal directory [default: inside a directory store, else none].
    #[arg(long, value_name = "DIR")]
    pub journal: Option<PathBuf>,
    /// As in `serve`: give up what only a lost journal has.
    #[arg(long)]
    pub abandon_journal: bool,
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

#[derive(Debug, Group)]
pub struct Flush {
    /// The volume's uuid (everything, as without it), or the path of a file in the volume: /a/b.
    #[arg(value_name = "VOLUME|PATH")]
    pub what: Option<std::ffi::OsString>,
    /// Admin address of the server.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:2050")]
    pub admin: SocketAddr,
    /// Give up waiting after this time [default: 1m]. What was begun goes on.
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Interval>,
}
