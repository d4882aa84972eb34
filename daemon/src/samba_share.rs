//! The section of smb.conf that serves a volume: printed by `esker samba-share`, used verbatim by the
//! tests with stock Samba.

use crate::args::SambaShare;

/// Longest name of a share, bytes.
const NAME_BYTES: usize = 80;

/// A share's name as Samba takes it (its `INVALID_SHARENAME_CHARS`), or why not.
pub fn share_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > NAME_BYTES {
        return Err(format!("a share's name has 1 to {NAME_BYTES} bytes"));
    }
    let refused = |c: char| c.is_control() || "%<>*?|/\\+=;:\",[]".contains(c);
    if let Some(c) = text.chars().find(|c| refused(*c)) {
        return Err(format!("{c:?} cannot stand in a share's name"));
    }
    if ["global", "homes", "printers"].contains(&text.to_lowercase().as_str()) {
        return Err(format!("{text} is no share to Samba"));
    }
    Ok(text.to_owned())
}

/// A value that stays on its line.
pub fn one_line(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_control) || text.contains('%') {
        return Err("empty, or with a character that smb.conf reads as its own".into());
    }
    Ok(text.to_owned())
}

/// The section.
pub fn section(share: &SambaShare) -> String {
    let SambaShare { name, server, root } = share;
    format!(
        "# Once, in [global]: getwd cache = no, host msdfs = no, kernel change notify = no\n\
         [{name}]\n\
         \x20   # No directory of this machine: any name, but another one for each share.\n\
         \x20   path = /esker/{name}\n\
         \x20   read only = no\n\
         \x20   vfs objects = acl_xattr streams_xattr esker\n\
         \x20   acl_xattr:ignore system acls = yes\n\
         \x20   esker:server = {server}\n\
         \x20   esker:root = {root}\n\
         \x20   kernel oplocks = no\n\
         \x20   kernel share modes = no\n\
         \x20   posix locking = yes\n\
         \x20   store dos attributes = yes\n\
         \x20   ea support = yes\n\
         \x20   map archive = no\n\
         \x20   map hidden = no\n\
         \x20   map system = no\n\
         \x20   map readonly = no\n\
         \x20   mangled names = no\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_names_its_share_twice_and_its_server() {
        let share = SambaShare {
            name: "Grüße 1".into(),
            server: "unix:/run/esker/rpc.sock".into(),
            root: "/projects".into(),
        };
        let text = section(&share);
        for line in [
            "[Grüße 1]",
            "    path = /esker/Grüße 1",
            "    vfs objects = acl_xattr streams_xattr esker",
            "    esker:server = unix:/run/esker/rpc.sock",
            "    esker:root = /projects",
            "    posix locking = yes",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn what_would_break_out_of_its_line_is_refused() {
        assert_eq!(share_name("data").as_deref(), Ok("data"));
        for bad in ["", "a]", "[a", "a/b", "a%S", "a\nb", "Global", "homes", "a;b"] {
            assert!(share_name(bad).is_err(), "{bad:?}");
        }
        assert!(share_name(&"x".repeat(81)).is_err());
        for bad in ["", "a\npath = /", "%S"] {
            assert!(one_line(bad).is_err(), "{bad:?}");
        }
    }
}
