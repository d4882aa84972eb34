use std::fmt::Write as _;
use std::path::Path;

use super::pairs::RowPlan;

/// Ratios are noisy: a bound counts as missed only beyond this share.
const BAND: f64 = 0.05;

/// One row of the side-by-side table, medians; pairs are (Esker, ganesha).
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Measured {
    pub name: String,
    pub unit: &'static str,
    pub plan: RowPlan,
    pub ours: f64,
    pub theirs: f64,
    pub ratio: f64,
    pub cpu: (f64, f64),
    pub p50: (f64, f64),
    pub p99: (f64, f64),
}

impl Measured {
    fn verdict(&self) -> &'static str {
        let slow = self.plan.ratio > 0.0 && self.ratio < self.plan.ratio * (1.0 - BAND);
        let dear = self.plan.cpu_us.is_some_and(|most| self.cpu.0 > most);
        match (slow, dear, self.plan.ratio > 0.0) {
            (true, true, _) => "MISSED: slow, CPU",
            (true, ..) => "MISSED: slow",
            (_, true, _) => "MISSED: CPU",
            (.., false) => "",
            _ => "met",
        }
    }
}

/// One figure of Esker alone, with its bound.
#[derive(Clone, Debug)]
pub struct Fact {
    /// What.
    pub name: String,
    /// The figure, as people read it.
    pub value: String,
    /// What was wanted.
    pub wanted: String,
    /// Whether it is so.
    pub met: bool,
}

/// Collects the tables.
#[derive(Default)]
pub struct Report {
    rows: Vec<(&'static str, Measured)>,
    facts: Vec<Fact>,
}

impl Report {
    /// Adds and prints a side-by-side row; `kind` is the promise Esker ran with.
    pub fn row(&mut self, kind: &'static str, m: Measured) {
        eprintln!(
            "{kind:<6} {:<22} {:>9.0} : {:>9.0} {:<5}  ratio {:.2}  CPU {:.1} : {:.1}  {}",
            m.name,
            m.ours,
            m.theirs,
            m.unit,
            m.ratio,
            m.cpu.0,
            m.cpu.1,
            m.verdict()
        );
        self.rows.push((kind, m));
    }

    /// Adds and prints a figure.
    pub fn fact(&mut self, f: Fact) {
        eprintln!("{}: {} (wanted {})", f.name, f.value, f.wanted);
        self.facts.push(f);
    }

    /// The whole as Markdown.
    pub fn markdown(&self, head: &str) -> String {
        let mut t = format!("{head}\n\n");
        t.push_str(
            "| row (connections x in flight) | promise | Esker | ganesha | unit | ratio | wanted \
             | CPU Esker : ganesha, µs | p50 µs | p99 µs | |\n|---|---|--:|--:|---|--:|--:|--:|--:|--:|---|\n",
        );
        for (kind, m) in &self.rows {
            let wanted =
                if m.plan.ratio > 0.0 { format!("≥ {}", m.plan.ratio) } else { "–".into() };
            // Writing to a String cannot fail.
            let _ = writeln!(
                t,
                "| {} | {kind} | {:.0} | {:.0} | {} | **{:.2}** | {wanted} | {:.1} : {:.1} \
                 | {:.0} : {:.0} | {:.0} : {:.0} | {} |",
                m.name,
                m.ours,
                m.theirs,
                m.unit,
                m.ratio,
                m.cpu.0,
                m.cpu.1,
                m.p50.0,
                m.p50.1,
                m.p99.0,
                m.p99.1,
                m.verdict()
            );
        }
        t.push_str("\n| Esker alone | measured | wanted | |\n|---|--:|--:|---|\n");
        for f in &self.facts {
            let _ = writeln!(
                t,
                "| {} | {} | {} | {} |",
                f.name,
                f.value,
                f.wanted,
                if f.met { "met" } else { "MISSED" }
            );
        }
        t
    }

    /// Prints the tables and writes them to `path`.
    pub fn publish(&self, head: &str, path: &Path) -> std::io::Result<()> {
        let text = self.markdown(head);
        println!("{text}");
        std::fs::write(path, text)
    }
}
