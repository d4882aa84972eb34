use std::time::Duration;

use super::median;
use super::report::Measured;
use crate::load::{LoadError, Outcome, Prepared, Row, Shape};

/// A row of the table and what is wanted of it.
#[derive(Clone, Copy, Debug)]
pub struct RowPlan {
    /// What is measured.
    pub row: Row,
    /// Connections and calls in flight on each.
    pub shape: (usize, usize),
    /// Least ratio Esker : ganesha.
    pub ratio: f64,
    /// Most CPU of Esker per call or MiB, µs, where a bound is set.
    pub cpu_us: Option<f64>,
}

const fn plan(row: Row, shape: (usize, usize), ratio: f64, cpu_us: Option<f64>) -> RowPlan {
    RowPlan { row, shape, ratio, cpu_us }
}

/// The rows in `sync`. Bounds on CPU: 10 µs a GETATTR, 0.6 s/GiB read, 1.2 s/GiB written.
pub const ROWS: [RowPlan; 15] = [
    plan(Row::Null, (1, 64), 2.0, None),
    plan(Row::Null, (8, 8), 2.0, None),
    plan(Row::Getattr, (1, 64), 2.0, Some(10.0)),
    plan(Row::Getattr, (8, 8), 2.0, Some(10.0)),
    plan(Row::Lookup, (1, 64), 2.0, None),
    plan(Row::Lookup, (8, 8), 2.0, None),
    plan(Row::Read4k, (1, 16), 1.5, None),
    plan(Row::Read1m(true), (1, 8), 0.0, None),
    plan(Row::Read1m(false), (1, 8), 1.0, Some(0.6e6 / 1024.0)),
    plan(Row::Write1m, (1, 4), 0.8, Some(1.2e6 / 1024.0)),
    plan(Row::Sync4k, (1, 1), 1.0, None),
    plan(Row::Chain, (1, 1), 1.0, None),
    plan(Row::Chain, (8, 1), 1.5, None),
    plan(Row::Chain, (32, 1), 0.0, None),
    plan(Row::Null, (1, 1), 0.0, None),
];

/// The rows with `async` metadata, which is what ganesha over VFS does.
pub const ASYNC_ROWS: [RowPlan; 2] =
    [plan(Row::Chain, (1, 1), 1.3, None), plan(Row::Chain, (8, 1), 2.0, None)];

/// Measures a row `pairs` times on both, taking turns in going first.
pub fn measure(
    plan: &RowPlan,
    esker: &mut Prepared,
    other: &mut Prepared,
    pairs: usize,
    time: Duration,
) -> Result<Measured, LoadError> {
    let shape = Shape { conns: plan.shape.0, window: plan.shape.1, time };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for turn in 0..pairs {
        let run = |p: &mut Prepared, into: &mut Vec<Outcome>| {
            p.run(plan.row, shape).map(|o| into.push(o))
        };
        if turn % 2 == 0 {
            run(other, &mut theirs)?;
            run(esker, &mut ours)?;
        } else {
            run(esker, &mut ours)?;
            run(other, &mut theirs)?;
        }
    }
    let of = |v: &[Outcome], f: &dyn Fn(&Outcome) -> f64| median(v.iter().map(f).collect());
    let cpu = |o: &Outcome| o.cpu_us().unwrap_or(f64::NAN);
    let ratios = ours.iter().zip(&theirs).map(|(a, b)| a.rate().0 / b.rate().0).collect();
    Ok(Measured {
        name: ours.first().map_or_else(String::new, |o| o.name.clone()),
        unit: ours.first().map_or("", |o| o.rate().1),
        plan: *plan,
        ours: of(&ours, &|o| o.rate().0),
        theirs: of(&theirs, &|o| o.rate().0),
        ratio: median(ratios),
        cpu: (of(&ours, &cpu), of(&theirs, &cpu)),
        p50: (of(&ours, &|o| o.quantile_us(0.5)), of(&theirs, &|o| o.quantile_us(0.5))),
        p99: (of(&ours, &|o| o.quantile_us(0.99)), of(&theirs, &|o| o.quantile_us(0.99))),
    })
}
