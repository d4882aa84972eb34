//! `esker rebuild` (R25): a volume whose checkpoints are gone, or whose newest one refers to pages that
//! cannot be read, opened again from a root that stands in the log.
//!
//! It looks at the roots, newest first, and takes the first whose whole tree and whose log can be
//! read. Without `--write` that is all it does.

use std::process::ExitCode;

use fs::{Tuning, Volume};
use headhunter::{Index, IndexConfig, LogError, RootEntry, SegmentId};
use logseg::Survey;

use crate::{
    args,
    build::{self, Plan},
    check::{self, Outcome},
};

/// What a search for a root found.
#[derive(Debug, Default)]
pub struct Search {
    /// The root to open from; `None`: none is whole.
    pub root: Option<RootEntry>,
    /// The newest checkpoint is whole itself: nothing needs to be rebuilt.
    pub whole: bool,
    /// Segments stand behind the log's end: if they were ever acknowledged, what they hold is lost.
    pub gap: Option<String>,
    /// What was looked at, and what is wrong with it.
    pub story: Vec<String>,
    /// Data that the tree refers to and that is not there.
    pub lost: Vec<String>,
    /// Inodes of the tree.
    pub inodes: u64,
}

/// Looks for the newest root with a whole tree and a whole log. Writes nothing.
///
/// Errors: store or journal do not answer.
pub async fn search(config: &IndexConfig) -> Result<Search, String> {
    let mut search = Search::default();
    match Index::look(config).await {
        Ok(looked) if looked.checkpoint.is_some() && looked.trouble.is_empty() => {
            let wrong = tree(&looked.index, config, &mut search).await?;
            search.whole = wrong.is_empty();
            search.story.extend(wrong.iter().map(|w| format!("the newest checkpoint: {w}")));
        }
        Ok(looked) => {
            search.story.extend(looked.trouble);
            if looked.checkpoint.is_none() {
                search.story.push("there is no checkpoint".into());
            }
        }
        Err(LogError::Store(e)) if !e.is_not_found() => return Err(e.to_string()),
        Err(e @ LogError::Journal { .. }) => return Err(e.to_string()),
        Err(error) => search.story.push(error.to_string()),
    }
    if search.whole {
        return Ok(search);
    }
    let (roots, trouble) = Index::roots(config).await.map_err(|e| e.to_string())?;
    search.story.extend(trouble);
    if roots.is_empty() {
        search.story.push("no root entry is left in any side segment".into());
    }
    for root in roots {
        let name = in_words(&root);
        let wrong = match Index::look_from(config, &root).await {
            Ok(looked) if looked.trouble.is_empty() => {
                search.story.extend(looked.torn);
                search.gap = gap(config, looked.end).await?;
                tree(&looked.index, config, &mut search).await?
            }
            Ok(looked) => looked.trouble,
            Err(LogError::Store(e)) if !e.is_not_found() => return Err(e.to_string()),
            Err(e @ LogError::Journal { .. }) => return Err(e.to_string()),
            Err(error) => vec![error.to_string()],
        };
        if wrong.is_empty() {
            search.story.push(format!("{name}: whole"));
            search.root = Some(root);
            return Ok(search);
        }
        search.story.extend(wrong.iter().map(|wrong| format!("{name}: {wrong}")));
    }
    Ok(search)
}

/// What stands in the store behind the end of the log.
async fn gap(config: &IndexConfig, end: Option<SegmentId>) -> Result<Option<String>, String> {
    let survey = Survey::new(&config.log, &config.header);
    let Some(end) = end else { return Ok(None) };
    let behind = survey.stands_behind(end).await.map_err(|e| e.to_string())?;
    Ok(behind.map(|id| {
        format!(
            "the log ends at {end}, and {id} stands behind it in store or journal: what was committed \
             from {end} on is lost, if it was ever acknowledged"
        )
    }))
}

/// What is wrong with the tree of an index; data that it refers to and that is not there goes into
/// the search.
async fn tree(
    index: &Index,
    config: &IndexConfig,
    search: &mut Search,
) -> Result<Vec<String>, String> {
    let volume = Volume::still(index.clone(), Tuning::default()).await;
    let report = volume.check_places(true).await;
    let report = report.map_err(|e| format!("cannot read the index now: {e:?}"))?;
    if !report.findings.is_empty() {
        return Ok(report.findings);
    }
    let mut outcome = Outcome::default();
    let survey = Survey::new(&config.log, &config.header);
    check::data_of(&volume, &survey, &report, &mut outcome).await?;
    search.lost = outcome.findings;
    search.inodes = report.inodes;
    Ok(Vec::new())
}

fn in_words(root: &RootEntry) -> String {
    let at = root.location();
    format!(
        "root in {} at byte {} (made {} s after 1970, records up to {}, the log from {} on)",
        logseg::format::segment_name(at.segment),
        at.offset,
        root.wall() / 1_000_000_000,
        root.seq().0,
        root.replay_start()
    )
}

/// Opens the volume from `root`, lets it publish its checkpoints, and closes it.
///
/// Errors: in words.
pub async fn write(config: &IndexConfig, root: &RootEntry) -> Result<(), String> {
    let index = Index::open_from(config, root).await.map_err(|e| e.to_string())?;
    index.close().await.map_err(|e| e.to_string())
}

/// `esker rebuild`.
pub fn run(args: &args::Rebuild) -> Result<ExitCode, String> {
    let mut plan = Plan::offline(&args.store, args.journal.clone(), args.memory, false)?;
    plan.abandon_journal = args.abandon_journal;
    let pool = build::pool()?;
    pool.block_on(async {
        let config = plan.look(pool.handle()).await?;
        check::refuse_held(&config.log, &args.store)?;
        let search = search(&config).await?;
        for line in &search.story {
            println!("{line}");
        }
        for line in &search.lost {
            println!("data are missing: {line}");
        }
        if search.whole {
            println!("the newest checkpoint and the log after it are whole: nothing to rebuild");
            return Ok(ExitCode::SUCCESS);
        }
        let Some(root) = &search.root else {
            println!("the volume cannot be rebuilt: no root has a whole tree and a whole log");
            return Ok(ExitCode::FAILURE);
        };
        if let Some(gap) = &search.gap {
            println!("{gap}");
            if args.write && !args.accept_loss {
                println!("nothing was written: with --accept-loss it is");
                return Ok(ExitCode::FAILURE);
            }
        }
        if !args.write {
            println!(
                "nothing was written; with --write the volume is opened from {}, with {} inodes",
                in_words(root),
                search.inodes
            );
            return Ok(ExitCode::SUCCESS);
        }
        write(&config, root).await?;
        println!("rebuilt: {} inodes, two new checkpoints", search.inodes);
        Ok(ExitCode::SUCCESS)
    })
}
