//! One life of a server: it opens the volume, compares what it finds with the past, works, ends.

use std::{path::PathBuf, rc::Rc, sync::Arc, time::Duration};

use esker_tests::walk::{Tree, shown_by_volume, step};
use fs::{Failure, Seq, SyncMode, Volume};
use headhunter::{Index, IndexConfig, VolumeHeader};
use logseg::{LogConfig, LogError, Recovery};
use swiftclient::{
    Classed, Directory, ObjectStore, Retrying, StoreClass,
    disk::Disk,
    retrying::Policy,
    seam::{Env, sim::SeededDice},
};
use tokio::time::sleep;

use crate::{
    play::World,
    weather::{Being, Line},
};

pub const ROOT: &str = "/srv/volume";
pub const BESIDE: &str = "/var/journal";
/// Large enough that the largest write is one record: a longer one goes in several, and what is
/// found may be the state between them.
const SEGMENT: u64 = 512 << 10;
/// The largest write of `walk::step`, bytes.
const LARGEST: usize = 60_000;
/// Tries to read a whole tree: an answer may be a lie, or late.
const WALKS: u32 = 6;

/// What the operator says at a start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Word {
    pub take_over: bool,
    pub abandon_journal: bool,
}

/// An open volume.
pub struct House {
    pub volume: Volume,
    pub index: Index,
    /// The state that it stands on.
    pub node: usize,
    /// Newest seq of an operation here.
    pub seq: Seq,
}

fn header(fencing: bool) -> VolumeHeader {
    VolumeHeader {
        uuid: *b"a world in words",
        segment_bytes: SEGMENT,
        fencing,
        name_secret: [3; 16],
        handle_key: [4; 32],
        wrapped_key: None,
    }
}

/// Assembled as `esker serve` does it.
fn assemble(
    world: &World,
    being: &Arc<Being>,
    env: &Env,
    word: Word,
) -> Result<LogConfig, LogError> {
    let disk: Arc<dyn Disk> = Arc::new(being.disk.clone());
    let store: Arc<dyn ObjectStore> = match &world.sky {
        None => Arc::new(Directory::create(disk.clone(), ROOT, env)?),
        Some(sky) => {
            let line = Line { sky: sky.clone(), being: being.clone() };
            let patient = Retrying::new(Arc::new(line), Policy::default(), env);
            let class = if sky.nature.plain { StoreClass::Plain } else { StoreClass::Fencing };
            Arc::new(Classed::new(Arc::new(patient.on_disk(disk.clone())), class))
        }
    };
    Ok(LogConfig {
        store,
        disk,
        env: env.clone(),
        journal: world.kind.journal().map(PathBuf::from),
        pool: tokio::runtime::Handle::current(),
        cache_bytes: 1 << 20,
        unsynced_bytes: 16 << 20,
        holder: being.name.clone(),
        take_over: word.take_over,
        abandon_journal: word.abandon_journal,
        key: None,
        inline_only: true,
        destage: logseg::DestageConfig::default(),
        disk_cache: None,
    })
}

/// Opens the volume and looks at what is there.
pub async fn open(
    world: &World,
    being: &Arc<Being>,
    dice: &SeededDice,
    word: Word,
) -> Result<(Volume, Index), LogError> {
    let env = Env::simulated(dice.next_u64());
    let log = assemble(world, being, &env, word)?;
    let header = header(!world.kind.plain());
    if Recovery::volume(&log).await?.is_none() {
        if world.formatted.get() {
            return Err(LogError::Refused("no volume there".into()));
        }
        Recovery::format(&log, &header).await?;
        world.formatted.set(true);
    }
    let checkpoint_every = Duration::from_secs(2 + dice.below(6));
    let config = IndexConfig { checkpoint_every, ..IndexConfig::new(log, header, 4 << 20) };
    let index = Index::open(config).await?;
    assert!(index.payload_bytes() >= LARGEST, "{}", index.payload_bytes());
    let volume = Volume::open(index.clone(), (0, 0)).await.map_err(|e| {
        let what = format!("files: {e:?}");
        LogError::Refused(what)
    })?;
    Ok((volume, index))
}

/// The tree of a volume whose store may answer badly; `None`: it cannot be seen.
pub async fn look(volume: &Volume) -> Option<Tree> {
    for _ in 0..WALKS {
        if let Ok(tree) = shown_by_volume(volume).await {
            return Some(tree);
        }
        sleep(Duration::from_millis(100)).await;
    }
    None
}

/// Works as the dice say; ends with the first error.
pub async fn work(
    world: &World,
    being: &Being,
    house: &mut House,
    dice: &SeededDice,
    steps: u64,
) -> Result<(), Failure> {
    for _ in 0..steps {
        being.gate().await;
        let mut model = (*world.past.borrow().model(house.node)).clone();
        match step(&house.volume, &mut model, dice).await {
            Ok(None) => {}
            // Nothing to do, as a rename onto another link of the file: nothing to acknowledge.
            Ok(Some(seq)) if seq <= house.seq => {}
            Ok(Some(seq)) => {
                house.seq = seq;
                house.node = world.past.borrow_mut().add(house.node, Rc::new(model));
                if dice.chance(250) {
                    let node = house.node;
                    house.volume.sync(seq, SyncMode::Inline).await.map_err(Failure::from)?;
                    being.gate().await;
                    world.acknowledged(being, node);
                }
            }
            Err(failed) => {
                // Committed or not: both may be found.
                world.past.borrow_mut().add(house.node, Rc::new(model));
                return Err(failed);
            }
        }
        match dice.below(16) {
            // Time for destage, checkpoints, retirement.
            0 => sleep(Duration::from_millis(dice.below(8_000))).await,
            1..=3 => sleep(Duration::from_millis(dice.below(100))).await,
            4..=6 => tokio::task::yield_now().await,
            _ => {}
        }
    }
    Ok(())
}

/// One life, until it ends by itself.
pub async fn live(world: Rc<World>, being: Arc<Being>, dice: SeededDice, word: Word) {
    let since = world.past.borrow().since();
    let lied = world.lies();
    let openings = world.openings.get();
    world.story.tell(|| format!("{} starts on machine {}, {word:?}", being.name, being.machine));
    if word.abandon_journal {
        world.gives_up_other_journals(&being);
    }
    let opened = open(&world, &being, &dice, word).await;
    being.gate().await;
    let (volume, index) = match opened {
        Ok(opened) => opened,
        Err(error) => return world.not_opened(&being, &error, lied),
    };
    let number = world.openings.get() + 1;
    world.openings.set(number);
    if word.abandon_journal {
        // Also of who came while this one was opening.
        world.excuse_others(being.machine);
    }
    let Some(tree) = look(&volume).await else {
        world.story.tell(|| format!("{} opened, and cannot see the tree", being.name));
        return being.kill();
    };
    being.gate().await;
    let overruled = world.kind.plain() && world.begun.get() > openings + 1;
    // While it looked, the next one has opened: what it shows binds nobody.
    let newest = world.openings.get() == number;
    let Some(node) = world.found(&being, &tree, since, overruled, newest) else {
        return being.kill();
    };
    being.has_opened();
    let seq = index.last_seq();
    let mut house = House { volume, index, node, seq };
    let steps = 10 + dice.below(50);
    if let Err(failed) = work(&world, &being, &mut house, &dice, steps).await {
        being.gate().await;
        world.story.tell(|| format!("{} ends: {:?}", being.name, failed.error));
        return being.kill();
    }
    if dice.chance(300) {
        let closed = house.index.close().await;
        being.gate().await;
        if closed.is_ok() {
            world.acknowledged(&being, house.node);
        }
        world.story.tell(|| format!("{} stops: {closed:?}", being.name));
        return being.kill();
    }
    // Idle, until something happens to it.
    world.story.tell(|| format!("{} is idle in state {}", being.name, house.node));
    std::future::pending::<()>().await;
}
