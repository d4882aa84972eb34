//! Side by side: Esker and nfs-ganesha on one disk, in one run, the same generator.
//!
//! ```text
//!   pairs     rows measured alternately on both, medians of ratios
//!   alone     what only Esker is asked: destage, objects, start, memory
//!   recovery  starts after a kill, by the length of the log
//!   log       the log by itself: group commit against a bare append
//!   echo      our own protocol beside a bare echo, and beside our NFS
//!   report    the table, in Markdown
//! ```
//!
//! It must never weaken Esker's promises to win: Esker runs in `sync` but for the one row that
//! says `async`, ganesha over VFS does not make CREATE durable in any row.
//!
//! Invariants: 1. both servers are idle while the other is measured; 2. a ratio is a median of
//! ratios taken within one pair, never of figures from different minutes; 3. what is measured is
//! printed, passed or missed.

mod alone;
mod echo;
mod log;
mod pairs;
mod recovery;
mod report;
mod stores;

pub use alone::{bare_append, destage, objects, start_time};
pub use echo::rpc_beside_echo;
pub use log::group_commit;
pub use pairs::{ASYNC_ROWS, ROWS, RowPlan, measure};
pub use recovery::recovery;
pub use report::{Fact, Report};
pub use stores::Stores;

/// The value in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}
