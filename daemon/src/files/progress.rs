//! How far a long copy has come: a line on a terminal, nothing elsewhere.

use std::io::{IsTerminal, Write, stderr};

use crate::size::Size;

/// Shorter copies need no line, bytes.
const LONG: u64 = 8 << 20;

/// A line that is drawn again whenever a hundredth more is done.
pub struct Progress {
    name: String,
    total: u64,
    done: u64,
    shown: Option<u64>,
    seen: bool,
}

impl Progress {
    /// Of `total` bytes; 0: nobody knows.
    pub fn new(name: &[u8], total: u64) -> Self {
        let name = super::show::printable(name);
        Self { name, total, done: 0, shown: None, seen: stderr().is_terminal() }
    }

    /// `bytes` more are done.
    pub fn more(&mut self, bytes: usize) {
        self.done += bytes as u64;
        if !self.seen || self.done.max(self.total) < LONG {
            return;
        }
        let mark = self.done / (self.total / 100).max(1 << 20);
        if self.shown != Some(mark) {
            self.shown = Some(mark);
            // Whoever has closed the terminal does not look.
            let _ = write!(stderr(), "\r\x1b[K{}", self.line());
        }
    }

    fn line(&self) -> String {
        let Self { name, total, done, .. } = self;
        match (done * 100).checked_div(*total) {
            // A file that grows while it is read has more than all of it.
            Some(per_cent) if per_cent <= 100 => {
                let bar = "#".repeat(usize::try_from(per_cent / 4).unwrap_or(0));
                format!("{name} [{bar:<25}] {per_cent:>3} % of {}", Size(*total))
            }
            _ => format!("{name} {}", Size(*done)),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = writeln!(stderr(), "\r\x1b[K{}", self.line());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_much_of_how_much() {
        let mut progress = Progress::new(b"a\nb", 64 << 20);
        progress.more(32 << 20);
        assert_eq!(progress.line(), "a?b [############             ]  50 % of 64.0 MiB");
        let mut endless = Progress::new(b"-", 0);
        endless.more(1 << 20);
        assert_eq!(endless.line(), "- 1.0 MiB");
    }
}
