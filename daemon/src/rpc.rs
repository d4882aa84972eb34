//! The RPC server, as `serve` starts it.

use std::{
    fmt::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rpcsvr::{Bound, Limits, Server, ServerConfig, Tls};

use crate::{build::House, config::Settings};

/// A secret or a key is not longer than this, bytes: whatever is, is another file.
const PRIVATE_MOST: u64 = 64 << 10;

/// Binds where the settings say; `None`: nowhere.
pub fn bind(settings: &Settings) -> Result<Option<Bound>, String> {
    let listen = &settings.rpc.listen;
    if listen.is_empty() {
        return Ok(None);
    }
    Bound::new(listen).map(Some).map_err(|e| format!("rpc: {e}"))
}

/// Starts it.
pub fn start(bound: Bound, settings: &Settings, house: &House) -> Result<Server, String> {
    let bytes = usize::try_from(settings.memory.calls).unwrap_or(usize::MAX);
    // One share for both faces: NFS has half of it, requests and remembered replies a quarter each.
    let limits =
        Limits { total_bytes: bytes / 4, remembered_bytes: bytes / 4, ..Limits::default() };
    let config = ServerConfig {
        reactors: None,
        secret: settings.rpc.secret.as_deref().map(secret).transpose()?,
        tls: settings.rpc.tls.as_ref().map(tls).transpose()?,
        plain_tcp: settings.rpc.plain_tcp,
        uuid: house.header.uuid,
        fsid: house.fsid(),
        handle_key: house.header.handle_key,
        limits,
        env: house.env.clone(),
    };
    Server::start(bound, config, house.volume.clone()).map_err(|e| format!("rpc: {e}"))
}

/// Reads the secret; a newline at its end does not count.
fn secret(path: &Path) -> Result<Vec<u8>, String> {
    let mut secret = private("rpc_secret", path)?;
    if secret.last() == Some(&b'\n') {
        secret.pop();
    }
    Ok(secret)
}

fn tls((cert, key): &(PathBuf, PathBuf)) -> Result<Tls, String> {
    let chain = std::fs::read(cert).map_err(|e| format!("rpc_cert: {}: {e}", cert.display()))?;
    Tls::from_pem(&chain, &private("rpc_key", key)?).map_err(|e| format!("rpc: {e}"))
}

/// Reads a file that nobody else may read.
fn private(what: &str, path: &Path) -> Result<Vec<u8>, String> {
    let named = |e: std::io::Error| format!("{what}: {}: {e}", path.display());
    let about = std::fs::metadata(path).map_err(named)?;
    if about.mode() & 0o077 != 0 {
        return Err(format!("{what}: {}: others may read it: chmod 600", path.display()));
    }
    if about.len() > PRIVATE_MOST {
        return Err(format!("{what}: {}: over {PRIVATE_MOST} bytes", path.display()));
    }
    std::fs::read(path).map_err(named)
}

/// What a person, or a script, needs to know of it: a line for each address.
pub fn words(server: Option<&Server>) -> String {
    let mut out = String::new();
    for address in server.map(Server::local_addrs).unwrap_or_default() {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "rpc: {address}");
    }
    out
}
