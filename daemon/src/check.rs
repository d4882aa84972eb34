//! `esker check`: everything that can be known of a volume without changing it.
//!
//! ```text
//!   checkpoint + log ─► index ─► tree, usage ─► files, names, extents      (metadata)
//!   extents ─► footers of the segments they point into                     (metadata)
//!   every object, every file of the journal, byte by byte                  (--data)
//!   what is damaged ─► whose bytes are these ─► a path
//! ```
//!
//! 1. It never writes: no lock, no seal, no epoch, no put. (A test counts, and compares the journal.)
//! 2. Damage ends no check: what can still be read is looked at.

mod command;
mod data;

use std::collections::{BTreeMap, BTreeSet};

pub use command::{online, refuse_held, run};
use fs::{Tuning, Volume};
use headhunter::{Index, IndexConfig, Looked, SegmentId};
use inode::Report;
use logseg::{LogError, Survey, format::Kind};

/// What is to be looked at beside the metadata.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Read every byte.
    pub data: bool,
}

/// What a check found.
#[derive(Clone, Debug, Default, serde::Deserialize, serde::Serialize)]
pub struct Outcome {
    /// What does not hold; empty: all is well.
    pub findings: Vec<String>,
    /// What an operator should know, and is no damage.
    pub notes: Vec<String>,
    /// Segments in the store that nothing refers to.
    pub strays: Vec<String>,
    pub inodes: u64,
    pub entries: u64,
    pub extents: u64,
    /// Objects and journal files read whole, and their bytes.
    pub objects: u64,
    pub bytes: u64,
}

/// Told while a check runs: what it does, how far it is, of how many.
pub type Progress<'a> = &'a (dyn Fn(&str, u64, u64) + Sync);

/// Bad bytes of segments: what blame is looked for with.
type Bad = BTreeMap<SegmentId, Vec<std::ops::Range<u32>>>;

/// Findings of one kind told at most.
const MOST: usize = 1_000;

impl Outcome {
    fn find(&mut self, text: String) {
        if self.findings.len() < MOST {
            self.findings.push(text);
        }
    }
}

/// Checks a volume that no server of this machine holds, as it was last left.
///
/// Errors: the store or the journal's disk does not answer.
pub async fn offline(
    config: &IndexConfig,
    options: Options,
    progress: Progress<'_>,
) -> Result<Outcome, String> {
    let mut outcome = Outcome::default();
    let mut bad = Bad::new();
    let survey = Survey::new(&config.log, &config.header);
    progress("reading the log", 0, 0);
    let looked = match Index::look(config).await {
        Ok(looked) => Some(looked),
        Err(LogError::Store(e)) if !e.is_not_found() => return Err(e.to_string()),
        Err(e @ LogError::Journal { .. }) => return Err(e.to_string()),
        Err(error) => {
            outcome.find(format!("the volume cannot be opened: {error}"));
            None
        }
    };
    if options.data {
        data::verify(&survey, &mut outcome, &mut bad, progress).await?;
    }
    let Some(Looked { index, trouble, torn, .. }) = looked else { return Ok(outcome) };
    outcome.findings.extend(trouble);
    outcome.notes.extend(torn.filter(|_| !options.data));
    let volume = Volume::still(index.clone(), Tuning::default()).await;
    files(&volume, &survey, None, &mut outcome, &mut bad, progress).await?;
    Ok(outcome)
}

/// The files of a volume, their segments, and whose bytes the bad places are. `epoch`: of a server
/// at work, whose newest segments may be in neither home yet.
async fn files(
    volume: &Volume,
    survey: &Survey,
    epoch: Option<u32>,
    outcome: &mut Outcome,
    bad: &mut Bad,
    progress: Progress<'_>,
) -> Result<(), String> {
    progress("checking files", 0, 0);
    let report = volume.check_places(true).await;
    let mut report = report.map_err(|e| format!("cannot read the index now: {e:?}"))?;
    for finding in std::mem::take(&mut report.findings) {
        outcome.find(finding);
    }
    (outcome.inodes, outcome.entries) = (report.inodes, report.entries);
    outcome.extents = report.extents;
    if !report.orphans.is_empty() {
        let some: Vec<String> = report.orphans.iter().take(10).map(u64::to_string).collect();
        outcome.notes.push(format!(
            "{} inodes without a name wait to be removed: {}{}",
            report.orphans.len(),
            some.join(", "),
            if report.orphans.len() > 10 { ", …" } else { "" }
        ));
    }
    places(survey, &report, epoch, outcome, bad, progress).await?;
    name_owners(volume, &report, outcome, bad).await?;
    let strays = match volume.files().index().strays().await {
        // Of a damaged index nobody can say what is referred to.
        _ if !report.lost.is_empty() => Vec::new(),
        Ok(strays) => strays,
        Err(e) => return Err(format!("cannot list the store: {e}")),
    };
    outcome.strays.extend(strays.iter().map(|id| logseg::format::segment_name(*id).to_string()));
    Ok(())
}

/// Whether the data that a report's extents point to are there, and whose are missing.
///
/// Errors: store or journal do not answer.
pub async fn data_of(
    volume: &Volume,
    survey: &Survey,
    report: &Report,
    outcome: &mut Outcome,
) -> Result<(), String> {
    let mut bad = Bad::new();
    places(survey, report, None, outcome, &mut bad, &|_, _, _| ()).await?;
    name_owners(volume, report, outcome, &bad).await
}

/// Every place that an extent points to must be a data entry of a segment.
async fn places(
    survey: &Survey,
    report: &Report,
    epoch: Option<u32>,
    outcome: &mut Outcome,
    bad: &mut Bad,
    progress: Progress<'_>,
) -> Result<(), String> {
    let all = report.places.len() as u64;
    for (n, (id, places)) in report.places.iter().enumerate() {
        progress("checking segments", n as u64, all);
        let wanted: BTreeSet<(u32, u32)> = places.iter().copied().collect();
        let found = survey.entries(*id).await.map_err(|e| e.to_string())?;
        let Some(entries) = found else {
            if epoch.is_none_or(|epoch| epoch != id.epoch()) {
                outcome.find(format!("{id} is missing, and {} frames lie in it", wanted.len()));
                bad.entry(*id).or_default().push(0..u32::MAX);
            }
            continue;
        };
        let entries: BTreeMap<u32, (Kind, u32)> =
            entries.into_iter().map(|(offset, kind, stored)| (offset, (kind, stored))).collect();
        // A server at work appends: what it has not written yet is not there.
        let open = epoch == Some(id.epoch());
        for (offset, stored) in wanted {
            let wrong = match entries.get(&offset) {
                Some((Kind::Data, found)) if *found == stored => continue,
                None if open => continue,
                Some((Kind::Data, found)) => format!("{found} bytes, not {stored}"),
                Some((kind, _)) => format!("a {kind:?} entry"),
                None => "no entry".into(),
            };
            let known =
                bad.get(id).is_some_and(|known| known.iter().any(|range| range.contains(&offset)));
            if !known {
                outcome
                    .find(format!("{id}: at byte {offset}, where a frame should be, is {wrong}"));
                bad.entry(*id).or_default().push(offset..offset.saturating_add(stored));
            }
        }
    }
    Ok(())
}

/// Names the files whose bytes are damaged or missing.
async fn name_owners(
    volume: &Volume,
    report: &Report,
    outcome: &mut Outcome,
    bad: &Bad,
) -> Result<(), String> {
    if bad.is_empty() {
        return Ok(());
    }
    let failed = |e: LogError| e.to_string();
    let blamed = inode::blame(volume.files(), bad, &report.lost).await.map_err(failed)?;
    let inos: BTreeSet<u64> = blamed.iter().map(|b| b.ino).collect();
    let paths = inode::paths(volume.files(), &inos, &report.lost).await.map_err(failed)?;
    for blamed in blamed {
        let (extent, ino) = (blamed.extent, blamed.ino);
        let path = match paths.get(&ino) {
            Some(path) => String::from_utf8_lossy(path).into_owned(),
            None => "a file without a known name".into(),
        };
        outcome.find(format!(
            "{path} (inode {ino}): bytes {} to {} are in {} at byte {}, which is damaged",
            extent.start,
            extent.end() - 1,
            extent.location.segment,
            extent.location.offset
        ));
    }
    Ok(())
}
