//! A server as a child process, on ports of its own.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Command, Output, Stdio},
};

/// The program.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_esker"));
    // What the caller's machine knows of stores is not the test's.
    for name in ["AWS_", "OS_", "ST_"].iter().flat_map(|prefix| {
        std::env::vars_os()
            .map(|(name, _)| name)
            .filter(move |name| name.to_string_lossy().starts_with(prefix))
    }) {
        command.env_remove(name);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// `esker serve STORE` on these ports, not yet started.
pub fn serve(store: &str, (nfs, admin): (u16, u16)) -> Command {
    let mut command = program();
    command.args(["serve", store, "--memory", "64MiB"]);
    command.args(["--nfs", &format!("127.0.0.1:{nfs}"), "--admin", &format!("127.0.0.1:{admin}")]);
    command
}

/// Two ports that were free a moment ago.
pub fn ports() -> (u16, u16) {
    let port = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (a, b) = (port(), port());
    (a.local_addr().unwrap().port(), b.local_addr().unwrap().port())
}

/// A running server, killed when dropped.
pub struct Running {
    pub child: Child,
    /// The first line that it printed.
    pub said: String,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert!(said.starts_with("esker serves"), "{said:?}");
        Self { child, said }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command that must fail said.
pub fn refusal(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(status.code(), Some(1), "{said}");
    said
}
