//! Who may do what: export rules in the words of exports(5), applied to every call.
//!
//! A line names a directory of the volume and the clients that may use it:
//!
//! ```text
//! # path   default options   client(options) …
//! /        -sync             10.0.0.0/8(rw) 2001:db8::/32(rw,no_root_squash) *(ro)
//! /home    192.168.7.9(rw,all_squash,anonuid=1000,anongid=1000)
//! ```
//!
//! What a rule does not say is exports(5)'s own default: `ro,sync,secure,root_squash`.

use std::{
    fmt,
    hash::Hasher,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use fs::Caller;
use siphasher::sip::SipHasher24;

use crate::{
    limits::{EXPORT_RULES, EXPORTS},
    rpc::Auth,
};

/// Nobody, as exports(5) has it.
const NOBODY: u32 = 65534;

/// Options of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Changes are refused with NFS3ERR_ROFS.
    pub read_only: bool,
    /// uid and gid 0 become the anonymous ones.
    pub root_squash: bool,
    /// Every identity becomes the anonymous one.
    pub all_squash: bool,
    /// The anonymous uid.
    pub anonuid: u32,
    /// The anonymous gid.
    pub anongid: u32,
    /// Only source ports below 1024.
    pub secure: bool,
    /// Metadata is durable before the reply (RFC 1813 §4.7).
    pub sync: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            read_only: true,
            root_squash: true,
            all_squash: false,
            anonuid: NOBODY,
            anongid: NOBODY,
            secure: true,
            sync: true,
        }
    }
}

impl Options {
    /// Who acts when a client says it is `auth`.
    pub fn squash(&self, auth: &Auth) -> Caller {
        let nobody = || Caller {
            uid: self.anonuid,
            gid: self.anongid,
            groups: Vec::new(),
            owner_override: false,
        };
        let Auth::Sys { uid, gid, groups } = auth else { return nobody() };
        if self.all_squash {
            return nobody();
        }
        let uid_of = |id: u32| if self.root_squash && id == 0 { self.anonuid } else { id };
        let gid_of = |id: u32| if self.root_squash && id == 0 { self.anongid } else { id };
        Caller {
            uid: uid_of(*uid),
            gid: gid_of(*gid),
            groups: groups.iter().map(|g| gid_of(*g)).collect(),
            owner_override: false,
        }
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        match word {
            "" | "no_subtree_check" | "wdelay" | "no_wdelay" | "sec=sys" => {}
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "root_squash" => self.root_squash = true,
            "no_root_squash" => self.root_squash = false,
            "all_squash" => self.all_squash = true,
            "no_all_squash" => self.all_squash = false,
            "secure" => self.secure = true,
            "insecure" => self.secure = false,
            "sync" => self.sync = true,
            "async" => self.sync = false,
            _ => match word.split_once('=') {
                Some(("anonuid", id)) => self.anonuid = numeric_id(id)?,
                Some(("anongid", id)) => self.anongid = numeric_id(id)?,
                _ => return Err(format!("unknown option {word:?}")),
            },
        }
        Ok(())
    }
}

/// exports(5) writes ids signed too (-2 is 4294967294).
fn numeric_id(text: &str) -> Result<u32, String> {
    let id: i64 = text.parse().map_err(|_| format!("not a numeric id: {text:?}"))?;
    let id = if id < 0 { id + (1 << 32) } else { id };
    u32::try_from(id).map_err(|_| format!("id out of range: {text:?}"))
}

/// A set of client addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// `*`
    Any,
    /// An address is a network of full length.
    V4(Ipv4Addr, u8),
    /// Likewise.
    V6(Ipv6Addr, u8),
}

impl Network {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let wrong = || {
            format!(
                "client {text:?} is not an address, network or `*` \
                 (host names and netgroups are not resolved)"
            )
        };
        let (address, mask) = match text.split_once('/') {
            Some((a, m)) => (a, Some(m)),
            None => (text, None),
        };
        let address = address.strip_prefix('[').map_or(address, |a| a.trim_end_matches(']'));
        match address.parse().map_err(|_| wrong())? {
            IpAddr::V4(a) => {
                let bits = match mask {
                    None => 32,
                    Some(m) => v4_mask(m).ok_or_else(wrong)?,
                };
                Ok(Self::V4(Ipv4Addr::from(u32::from(a) & v4_bits(bits)), bits))
            }
            IpAddr::V6(a) => {
                let bits = mask.map_or(Ok(128), |m| m.parse::<u8>().map_err(|_| wrong()))?;
                if bits > 128 {
                    return Err(wrong());
                }
                Ok(Self::V6(Ipv6Addr::from(u128::from(a) & v6_bits(bits)), bits))
            }
        }
    }

    /// How many bits match, if all that must do.
    fn matches(&self, peer: IpAddr) -> Option<u8> {
        match (self, peer) {
            (Self::Any, _) => Some(0),
            (Self::V4(net, bits), IpAddr::V4(a)) => {
                (u32::from(a) & v4_bits(*bits) == u32::from(*net)).then_some(*bits + 1)
            }
            (Self::V6(net, bits), IpAddr::V6(a)) => {
                (u128::from(a) & v6_bits(*bits) == u128::from(*net)).then_some(*bits + 1)
            }
            _ => None,
        }
    }
}

fn v4_bits(bits: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)
}

fn v6_bits(bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}

/// A prefix length, or a netmask such as 255.255.0.0.
fn v4_mask(text: &str) -> Option<u8> {
    if let Ok(bits) = text.parse::<u8>() {
        return (bits <= 32).then_some(bits);
    }
    let mask = u32::from(text.parse::<Ipv4Addr>().ok()?);
    let bits = u8::try_from(mask.leading_ones()).ok()?;
    (v4_bits(bits) == mask).then_some(bits)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::V4(a, 32) => write!(f, "{a}"),
            Self::V4(a, bits) => write!(f, "{a}/{bits}"),
            Self::V6(a, 128) => write!(f, "{a}"),
            Self::V6(a, bits) => write!(f, "{a}/{bits}"),
        }
    }
}

/// One exported directory.
#[derive(Clone, Debug)]
pub struct Export {
    /// Components of its path; none for the volume's root.
    pub path: Vec<Vec<u8>>,
    /// Id in handles: depends on the path alone, so that it survives restarts.
    pub id: u32,
    /// Clients and their options, in the order given.
    pub rules: Vec<(Network, Options)>,
}

impl Export {
    fn new(path: Vec<Vec<u8>>) -> Self {
        let mut h = SipHasher24::new();
        for part in &path {
            h.write(part);
            h.write(b"/");
        }
        // The root's id is 0; any 32 bits of the others' will do, clashes are refused below.
        #[allow(clippy::cast_possible_truncation)]
        let id = if path.is_empty() { 0 } else { h.finish() as u32 | 1 };
        Self { path, id, rules: Vec::new() }
    }

    /// The path as text of bytes.
    pub fn path_bytes(&self) -> Vec<u8> {
        join_path(&self.path)
    }

    fn options(&self, peer: IpAddr) -> Option<Options> {
        let mut best: Option<(u8, Options)> = None;
        for (network, options) in &self.rules {
            if let Some(bits) = network.matches(peer)
                && best.is_none_or(|(b, _)| bits > b)
            {
                best = Some((bits, *options));
            }
        }
        best.map(|(_, options)| options)
    }
}

/// `/a/b` of its components.
pub fn join_path(parts: &[Vec<u8>]) -> Vec<u8> {
    if parts.is_empty() {
        return b"/".to_vec();
    }
    parts.iter().flat_map(|p| std::iter::once(b'/').chain(p.iter().copied())).collect()
}

/// The components of an absolute path. `..` steps back and never above the root; `.` and empty
/// components mean nothing. `None` for a relative path.
pub fn split_path(path: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for part in path.strip_prefix(b"/")?.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            name => parts.push(name.to_vec()),
        }
    }
    Some(parts)
}

/// A line that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("exports, line {line}: {reason}")]
pub struct ExportError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// All export rules. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Exports {
    list: Arc<Vec<Export>>,
}

/// What one client may do: index of the export in [`Exports::list`] → its options.
pub type Grants = Vec<Option<Options>>;

impl Exports {
    /// What holds when the server is bound to loopback and there is no rule: the whole volume for
    /// this machine's privileged ports, `rw,sync,secure,no_root_squash`.
    pub fn loopback() -> Self {
        let mut root = Export::new(Vec::new());
        let options = Options { read_only: false, root_squash: false, ..Options::default() };
        root.rules.push((Network::V4(Ipv4Addr::new(127, 0, 0, 0), 8), options));
        root.rules.push((Network::V6(Ipv6Addr::LOCALHOST, 128), options));
        Self { list: Arc::new(vec![root]) }
    }

    /// Reads lines as exports(5) has them.
    pub fn parse(text: &str) -> Result<Self, ExportError> {
        let mut list: Vec<Export> = Vec::new();
        let mut rules = 0;
        let mut pending = String::new();
        for (n, raw) in text.lines().enumerate() {
            let line = n + 1;
            if let Some(more) = raw.strip_suffix('\\') {
                pending.push_str(more);
                continue;
            }
            pending.push_str(raw);
            let whole = std::mem::take(&mut pending);
            let wrong = |reason| ExportError { line, reason };
            let Some((path, clients)) = parse_line(&whole).map_err(wrong)? else { continue };
            rules += clients.len();
            let at = match list.iter().position(|e| e.path == path) {
                Some(at) => at,
                None => {
                    list.push(Export::new(path));
                    list.len() - 1
                }
            };
            list[at].rules.extend(clients);
            let same_id = list.iter().filter(|e| e.id == list[at].id).count();
            if same_id > 1 {
                return Err(wrong("the id of this path equals another's: rename one".into()));
            }
            if list.len() > EXPORTS || rules > EXPORT_RULES {
                return Err(wrong(format!("over {EXPORTS} paths or {EXPORT_RULES} rules")));
            }
        }
        if !pending.trim().is_empty() {
            let line = text.lines().count();
            return Err(ExportError { line, reason: "the last line goes on".into() });
        }
        Ok(Self { list: Arc::new(list) })
    }

    /// True when nobody may do anything.
    pub fn is_empty(&self) -> bool {
        self.list.iter().all(|e| e.rules.is_empty())
    }

    /// The exports, in the order given.
    pub fn list(&self) -> &[Export] {
        &self.list
    }

    /// What the client at `peer` may do: settled once per connection. Of several rules of one
    /// path the one with the longest prefix holds.
    pub fn grants(&self, peer: IpAddr) -> Grants {
        let peer = peer.to_canonical();
        self.list.iter().map(|e| e.options(peer)).collect()
    }

    /// The innermost export that holds the directory `path` and is granted.
    pub fn holding(&self, path: &[Vec<u8>], grants: &Grants) -> Option<&Export> {
        let held = self.list.iter().zip(grants);
        held.filter(|(e, grant)| grant.is_some() && path.starts_with(&e.path))
            .max_by_key(|(e, _)| e.path.len())
            .map(|(e, _)| e)
    }

    /// Index of the export with an id.
    pub fn index_of(&self, id: u32) -> Option<usize> {
        self.list.iter().position(|e| e.id == id)
    }
}

type Line = (Vec<Vec<u8>>, Vec<(Network, Options)>);

fn parse_line(line: &str) -> Result<Option<Line>, String> {
    let words = words(line)?;
    let Some((path, clients)) = words.split_first() else { return Ok(None) };
    let path = split_path(path).ok_or("the path must begin with `/`")?;
    let mut defaults = Options::default();
    let mut rules = Vec::new();
    for client in clients {
        let client = std::str::from_utf8(client).map_err(|_| "not UTF-8".to_owned())?;
        if let Some(options) = client.strip_prefix('-') {
            options.split(',').try_for_each(|w| defaults.word(w))?;
            continue;
        }
        let (host, options) = match client.split_once('(') {
            Some((host, rest)) => {
                let inner = rest.strip_suffix(')').ok_or("`)` is missing")?;
                (host, inner)
            }
            None => (client, ""),
        };
        let mut own = defaults;
        options.split(',').try_for_each(|w| own.word(w))?;
        // exports(5): options without a host hold for everyone.
        let host = if host.is_empty() { "*" } else { host };
        rules.push((Network::parse(host)?, own));
    }
    if rules.is_empty() {
        return Err("no client is named (write `*` for everyone)".into());
    }
    Ok(Some((path, rules)))
}

/// Words of a line: double quotes and `\ooo` as exports(5) has them, `#` begins a comment.
fn words(line: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quoted = false;
    let mut bytes = line.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            b'\\' => {
                let mut value = 0u32;
                for _ in 0..3 {
                    let digit = bytes.next().filter(|d| (b'0'..=b'7').contains(d));
                    let digit = digit.ok_or("a backslash needs three octal digits")?;
                    value = value * 8 + u32::from(digit - b'0');
                }
                let value = u8::try_from(value).map_err(|_| "octal value over 377")?;
                word.get_or_insert_default().push(value);
            }
            b'#' if !quoted && word.is_none() => break,
            b' ' | b'\t' if !quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(b),
        }
    }
    if quoted {
        return Err("a quote is not closed".into());
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests;
