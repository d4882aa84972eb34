//! What is printed of files.

use std::io::{self, IsTerminal, Write};

use client::rpc::{Attributes, Kind, Time};

/// A name as it may stand on a terminal: no controls, `?` for what is no text.
pub fn printable(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    text.chars().map(|c| if c.is_control() || c == '\u{fffd}' { '?' } else { c }).collect()
}

/// A name as whoever reads it wants it: on a terminal printable, else its bytes.
fn name(out: &mut impl Write, name: &[u8]) -> io::Result<()> {
    if io::stdout().is_terminal() {
        out.write_all(printable(name).as_bytes())
    } else {
        out.write_all(name)
    }
}

/// The title of a directory, where several are listed.
pub fn title(path: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    name(&mut out, path)?;
    out.write_all(b":\n")
}

/// One line of a list.
pub fn entry(path: &[u8], about: &Attributes, long: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if long {
        let Attributes { nlink, uid, gid, size, .. } = about;
        let (mode, time) = (mode(about), date(about.mtime));
        write!(out, "{mode} {nlink:>3} {uid:>6} {gid:>6} {size:>13} {time} ")?;
    }
    name(&mut out, path)?;
    out.write_all(b"\n")
}

/// All that is known.
pub fn all(path: &[u8], about: &Attributes) -> io::Result<()> {
    let mut out = io::stdout().lock();
    name(&mut out, path)?;
    let Attributes { id, nlink, uid, gid, size, used, major, minor, .. } = about;
    writeln!(out, "\n  type   {}", kind(about.kind))?;
    writeln!(out, "  inode  {} of epoch {}", id.ino, id.generation)?;
    writeln!(out, "  mode   {:04o} ({})", about.mode, mode(about))?;
    writeln!(out, "  links  {nlink}\n  owner  {uid}\n  group  {gid}")?;
    writeln!(out, "  size   {size}\n  used   {used}")?;
    if matches!(about.kind, Kind::Block | Kind::Char) {
        writeln!(out, "  device {major}:{minor}")?;
    }
    for (what, time) in [("atime ", about.atime), ("mtime ", about.mtime), ("ctime ", about.ctime)]
    {
        writeln!(out, "  {what} {}.{:09} UTC", date(time), time.nsec)?;
    }
    Ok(())
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symbolic link",
        Kind::Block => "block device",
        Kind::Char => "character device",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
    }
}

/// As ls(1) writes it.
fn mode(about: &Attributes) -> String {
    let kind = match about.kind {
        Kind::File => '-',
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::Block => 'b',
        Kind::Char => 'c',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
    };
    let mut out = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = about.mode >> shift;
        out.push(if bits & 4 != 0 { 'r' } else { '-' });
        out.push(if bits & 2 != 0 { 'w' } else { '-' });
        out.push(match (bits & 1 != 0, about.mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    out
}

/// `2026-01-31 23:59:59`, UTC.
fn date(time: Time) -> String {
    let (days, second) = (time.sec.div_euclid(86_400), time.sec.rem_euclid(86_400));
    // Days to a date of the Gregorian calendar, in eras of 400 years that begin in March.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let of = |sec| date(Time { sec, nsec: 0 });
        assert_eq!(of(0), "1970-01-01 00:00:00");
        assert_eq!(of(951_782_399), "2000-02-28 23:59:59");
        assert_eq!(of(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(of(4_107_542_400), "2100-03-01 00:00:00");
        assert_eq!(of(-1), "1969-12-31 23:59:59");
    }
}
