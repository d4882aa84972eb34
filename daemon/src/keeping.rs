//! How the bytes of a volume are kept: when a sync may answer, where bytes wait for the store, how
//! long, how many, and which of them are cached. Decided from wishes, before anything is opened.

use std::{path::PathBuf, time::Duration};

use logseg::{DestageConfig, DiskCacheConfig};
use serde::{Deserialize, Serialize};

use crate::{interval::Interval, size::Size, store_url::StoreUrl};

/// Least time-based flush: below it a lone writer's every sync could make a segment of its own.
const LEAST_FLUSH: Duration = Duration::from_millis(100);
/// Longest: what is committed should not stay out of the store for more than a day.
const LONGEST_FLUSH: Duration = Duration::from_secs(86_400);
/// Least dirty budget, bytes: four segments.
const LEAST_BUDGET: u64 = 64 << 20;
/// Least and default size of the cache on disk, bytes.
const LEAST_CACHE: u64 = 64 << 20;
const DEFAULT_CACHE: u64 = 1 << 30;

/// What a sync answers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The bytes are fdatasynced in the journal directory: they survive the machine's crash, and
    /// its loss if that disk survives.
    Journal,
    /// The bytes are in the store: they survive the loss of the machine.
    Store,
}

/// What file and command line ask for.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    pub durability: Option<Durability>,
    pub journal: Option<PathBuf>,
    pub flush_interval: Option<Interval>,
    pub dirty_budget: Option<Size>,
    pub cache: Option<PathBuf>,
    pub cache_size: Option<Size>,
}

/// What holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeping {
    pub durability: Durability,
    /// With durability `journal`: its directory; `None` where it lies inside a directory store.
    pub journal: Option<PathBuf>,
    pub destage: DestageConfig,
    pub cache: Option<DiskCacheConfig>,
}

impl Keeping {
    /// Decides for a volume in `store`.
    pub fn decide(store: &StoreUrl, wishes: Wishes) -> Result<Self, String> {
        let Wishes { durability, journal, flush_interval, dirty_budget, cache, cache_size } =
            wishes;
        // A directory store has a place for a journal in itself.
        let possible = journal.is_some() || matches!(store, StoreUrl::Directory(_));
        let durability = match durability {
            Some(Durability::Journal) if !possible => {
                return Err(format!(
                    "durability \"journal\" needs a directory for the journal, and {store} has no \
                     place for one: name a directory on a local disk by --journal DIR, or say \
                     durability \"store\" (each sync then waits for one PUT to the store)"
                ));
            }
            Some(Durability::Store) if journal.is_some() => {
                return Err(
                    "durability \"store\" keeps no journal: leave --journal out, or say durability \
                     \"journal\""
                        .into(),
                );
            }
            Some(durability) => durability,
            None if possible => Durability::Journal,
            None => Durability::Store,
        };
        Ok(Self {
            durability,
            cache: disk_cache(store, journal.as_ref(), cache, cache_size)?,
            journal,
            destage: destage(flush_interval, dirty_budget)?,
        })
    }

    /// The durability in a sentence: what a sync promises, what it costs, what changes it.
    pub fn promise(&self, store: &StoreUrl) -> String {
        match (self.durability, store) {
            (_, StoreUrl::Memory) => "none: mem: forgets everything with the process".into(),
            (Durability::Journal, _) => {
                "journal: a sync answers when the bytes are on the journal's disk; they survive \
                 the machine's crash as long as that disk survives"
                    .into()
            }
            (Durability::Store, StoreUrl::Directory(_)) => {
                "store: a sync answers when its segment is stored; each sync costs a file of its \
                 own (durability \"journal\" makes syncs cheaper)"
                    .into()
            }
            (Durability::Store, _) => {
                "store: a sync answers when the store has the bytes; they survive the loss of this \
                 machine, and each sync costs one round of PUT to the store (--journal DIR on a \
                 fast local disk makes syncs local)"
                    .into()
            }
        }
    }
}

fn destage(interval: Option<Interval>, budget: Option<Size>) -> Result<DestageConfig, String> {
    let mut config = DestageConfig::default();
    if let Some(Interval(age)) = interval {
        if !(LEAST_FLUSH..=LONGEST_FLUSH).contains(&age) {
            let (least, longest) = (Interval(LEAST_FLUSH), Interval(LONGEST_FLUSH));
            return Err(format!(
                "flush_interval {}: must be from {least} to {longest}",
                Interval(age)
            ));
        }
        config.age = Some(age);
    }
    if let Some(Size(bytes)) = budget {
        if bytes < LEAST_BUDGET {
            return Err(format!(
                "dirty_budget {} is too little: at least {}",
                Size(bytes),
                Size(LEAST_BUDGET)
            ));
        }
        config.budget_bytes = bytes;
    }
    Ok(config)
}

fn disk_cache(
    store: &StoreUrl,
    journal: Option<&PathBuf>,
    dir: Option<PathBuf>,
    size: Option<Size>,
) -> Result<Option<DiskCacheConfig>, String> {
    let Some(dir) = dir else {
        return match size {
            Some(_) => Err("cache_size without a cache: name its directory by --cache DIR".into()),
            None => Ok(None),
        };
    };
    let bytes = size.map_or(DEFAULT_CACHE, |s| s.0);
    if bytes < LEAST_CACHE {
        return Err(format!(
            "cache_size {} is too little: at least {}",
            Size(bytes),
            Size(LEAST_CACHE)
        ));
    }
    if *store == StoreUrl::Memory {
        return Err("--cache: mem: is in memory already".into());
    }
    let full = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    if journal.is_some_and(|journal| full(journal) == full(&dir)) {
        return Err(format!(
            "{}: journal and cache need directories of their own: a cache may be deleted, a \
             journal never",
            dir.display()
        ));
    }
    Ok(Some(DiskCacheConfig { dir, bytes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3() -> StoreUrl {
        "s3://b/p".parse().unwrap()
    }

    fn decide(store: &StoreUrl, change: impl FnOnce(&mut Wishes)) -> Result<Keeping, String> {
        let mut wishes = Wishes::default();
        change(&mut wishes);
        Keeping::decide(store, wishes)
    }

    #[test]
    fn durability_follows_from_where_a_journal_can_be() {
        let dir: StoreUrl = "dir:/v".parse().unwrap();
        let durability = |store: &StoreUrl, change: fn(&mut Wishes)| {
            decide(store, change).map(|keeping| keeping.durability)
        };
        assert_eq!(durability(&dir, |_| ()), Ok(Durability::Journal));
        assert_eq!(durability(&s3(), |_| ()), Ok(Durability::Store));
        assert_eq!(durability(&StoreUrl::Memory, |_| ()), Ok(Durability::Store));
        let with_journal = |w: &mut Wishes| w.journal = Some("/j".into());
        assert_eq!(durability(&s3(), with_journal), Ok(Durability::Journal));
        let store = |w: &mut Wishes| w.durability = Some(Durability::Store);
        assert_eq!(durability(&dir, store), Ok(Durability::Store));
        let said = durability(&s3(), |w| w.durability = Some(Durability::Journal)).unwrap_err();
        assert!(said.contains("--journal DIR"), "{said}");
        let both = |w: &mut Wishes| {
            w.durability = Some(Durability::Store);
            w.journal = Some("/j".into());
        };
        assert!(durability(&s3(), both).unwrap_err().contains("--journal"));
    }

    #[test]
    fn the_cost_of_a_sync_is_said_with_the_option_that_changes_it() {
        let said = decide(&s3(), |_| ()).unwrap().promise(&s3());
        assert!(said.contains("one round of PUT") && said.contains("--journal DIR"), "{said}");
    }

    #[test]
    fn limits_are_kept_and_named() {
        let age = |text: &str| {
            let interval = text.parse().unwrap();
            decide(&s3(), |w| w.flush_interval = Some(interval)).map(|k| k.destage.age)
        };
        assert_eq!(age("5s"), Ok(Some(Duration::from_secs(5))));
        assert!(age("0s").is_err() && age("99ms").is_err() && age("25h").is_err());
        let budget = |mib: u64| {
            let keeping = decide(&s3(), |w| w.dirty_budget = Some(Size(mib << 20)));
            keeping.map(|k| k.destage.budget_bytes)
        };
        assert_eq!(budget(256), Ok(256 << 20));
        assert!(budget(63).unwrap_err().contains("64.0 MiB"));
    }

    #[test]
    fn a_cache_has_a_directory_of_its_own_and_a_size() {
        let cache = |change: fn(&mut Wishes)| decide(&s3(), change).map(|k| k.cache);
        let dir = PathBuf::from("/c");
        assert_eq!(
            cache(|w| w.cache = Some("/c".into())),
            Ok(Some(DiskCacheConfig { dir, bytes: DEFAULT_CACHE }))
        );
        assert!(cache(|w| w.cache_size = Some(Size(1 << 30))).is_err());
        let same = |w: &mut Wishes| {
            w.cache = Some("/c".into());
            w.journal = Some("/x/../c/.".into());
        };
        assert!(cache(same).is_ok(), "links decide what .. means");
        let same = |w: &mut Wishes| {
            w.cache = Some("/c/".into());
            w.journal = Some("/c".into());
        };
        assert!(cache(same).unwrap_err().contains("of their own"));
        let tiny = |w: &mut Wishes| {
            w.cache = Some("/c".into());
            w.cache_size = Some(Size(1));
        };
        assert!(cache(tiny).is_err());
        assert!(decide(&StoreUrl::Memory, |w| w.cache = Some("/c".into())).is_err());
    }
}
