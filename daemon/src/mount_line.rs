//! The command that mounts a volume: printed at start, run verbatim by a test.

use std::net::SocketAddr;

/// The mount command for a server on `nfs`. Locks stay local to each client (`nolock`) until the
/// server speaks a protocol that has them; both ports are named, so no port mapper is asked.
pub fn mount_line(nfs: SocketAddr) -> String {
    let port = nfs.port();
    let host = match nfs {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    };
    let proto = if nfs.is_ipv4() { "tcp" } else { "tcp6" };
    format!(
        "mount -t nfs -o vers=3,proto={proto},port={port},mountproto={proto},mountport={port},\
         nolock,hard {host}:/ /mnt"
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_both_ports() {
        assert_eq!(
            super::mount_line("127.0.0.1:2049".parse().unwrap()),
            "mount -t nfs -o vers=3,proto=tcp,port=2049,mountproto=tcp,mountport=2049,\
             nolock,hard 127.0.0.1:/ /mnt"
        );
        assert!(super::mount_line("[::1]:5".parse().unwrap()).ends_with(" [::1]:/ /mnt"));
    }
}
