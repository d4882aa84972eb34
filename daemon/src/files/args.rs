//! The words of the commands on files.

use std::{ffi::OsString, path::PathBuf};

use clap::Args as Group;

use crate::interval::Interval;

/// How to reach the server.
#[derive(Clone, Debug, Group)]
pub struct Reach {
    /// The server: unix:PATH or HOST:PORT, as its own --rpc.
    #[arg(long, value_name = "ADDR", default_value = "unix:/run/esker/rpc.sock")]
    pub rpc: String,
    /// A file with the secret that a server on TCP asks for; a newline at its end does not count.
    #[arg(long, value_name = "FILE")]
    pub rpc_secret: Option<PathBuf>,
    /// TLS on TCP: certificates (PEM) of whom to believe.
    #[arg(long, value_name = "FILE")]
    pub rpc_ca: Option<PathBuf>,
    /// A server that is away for longer is given up.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub patience: Interval,
}

#[derive(Debug, Group)]
pub struct List {
    #[command(flatten)]
    pub reach: Reach,
    /// Paths in the volume.
    #[arg(default_value = "/")]
    pub paths: Vec<OsString>,
    /// Type, mode, links, owner, group, length, time of the last change.
    #[arg(short, long)]
    pub long: bool,
}

#[derive(Debug, Group)]
pub struct Paths {
    #[command(flatten)]
    pub reach: Reach,
    /// Paths in the volume.
    #[arg(required = true)]
    pub paths: Vec<OsString>,
}

#[derive(Debug, Group)]
pub struct MakeDir {
    #[command(flatten)]
    pub reach: Reach,
    /// Paths in the volume.
    #[arg(required = true)]
    pub paths: Vec<OsString>,
    /// Those above too; none that is there already is an error.
    #[arg(short, long)]
    pub parents: bool,
}

#[derive(Debug, Group)]
pub struct Remove {
    #[command(flatten)]
    pub reach: Reach,
    /// Paths in the volume.
    #[arg(required = true)]
    pub paths: Vec<OsString>,
    /// Directories, with all that is in them.
    #[arg(short, long)]
    pub recursive: bool,
    /// What is not there is no error.
    #[arg(short, long)]
    pub force: bool,
}

#[derive(Debug, Group)]
pub struct Put {
    #[command(flatten)]
    pub reach: Reach,
    /// Files here (`-`: standard input), then a path in the volume: a directory, or a name for one
    /// file.
    #[arg(required = true, num_args = 2.., value_names = ["FILE", "PATH"])]
    pub words: Vec<OsString>,
    /// Directories, with all that is in them.
    #[arg(short, long)]
    pub recursive: bool,
}

#[derive(Debug, Group)]
pub struct Get {
    #[command(flatten)]
    pub reach: Reach,
    /// Paths in the volume, then a path here: a directory, or a name for one file.
    #[arg(required = true, num_args = 2.., value_names = ["PATH", "FILE"])]
    pub words: Vec<OsString>,
    /// Directories, with all that is in them.
    #[arg(short, long)]
    pub recursive: bool,
}
