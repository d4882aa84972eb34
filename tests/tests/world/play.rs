//! A world: machines, a store, servers that start, work, stop, go on, die and contend; and its end.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use esker_tests::{model::Model, walk::Tree};
use fs::SyncMode;
use logseg::{LogError, SegmentId};
use swiftclient::{
    Memory,
    disk::{
        SimDisk,
        plan::{Harm, Harmed, Operation},
    },
    racy::{Manner, Racy},
    seam::sim::SeededDice,
};
use tokio::{
    task::{JoinHandle, spawn_local},
    time::{sleep, timeout},
};

use crate::{
    past::{Past, Since},
    server::{BESIDE, House, ROOT, Word, live, look, open, work},
    story::Story,
    weather::{Being, Forecast, LATEST, Nature, Sky},
};

/// What a world is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A directory, the journal in it.
    Inside,
    /// A directory, the journal beside it.
    Beside,
    /// A directory without a journal.
    Bare,
    /// A network store that fences, no journal: servers on two machines.
    Far,
    /// A network store that fences nobody, no journal: servers on two machines.
    Plain,
    /// A network store that fences and a journal: servers on one machine.
    Journal,
    /// The same on a store that fences nobody.
    PlainJournal,
    /// A network store that fences, two machines, a journal on each: the operator gives one up.
    Abandoned,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Inside,
        Self::Beside,
        Self::Bare,
        Self::Far,
        Self::Plain,
        Self::Journal,
        Self::PlainJournal,
        Self::Abandoned,
    ];

    pub fn plain(self) -> bool {
        matches!(self, Self::Plain | Self::PlainJournal)
    }

    fn directory(self) -> bool {
        matches!(self, Self::Inside | Self::Beside | Self::Bare)
    }

    fn machines(self) -> usize {
        if matches!(self, Self::Far | Self::Plain | Self::Abandoned) { 2 } else { 1 }
    }

    pub fn journal(self) -> Option<String> {
        match self {
            Self::Inside => Some(format!("{ROOT}/journal")),
            Self::Bare | Self::Far | Self::Plain => None,
            _ => Some(BESIDE.into()),
        }
    }
}

/// What happened in worlds, so that nobody takes idle ones for a proof.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deeds {
    pub openings: u64,
    pub refused: u64,
    pub acknowledged: u64,
    pub lost: u64,
    pub taken_over: u64,
}

/// Everything there is.
pub struct World {
    pub kind: Kind,
    pub sky: Option<Sky>,
    pub story: Story,
    pub past: RefCell<Past>,
    pub formatted: Cell<bool>,
    /// Servers that opened; servers that began to.
    pub openings: Cell<u64>,
    pub begun: Cell<u64>,
    machines: Vec<SimDisk>,
    beings: RefCell<Vec<(Arc<Being>, JoinHandle<()>)>>,
    /// Servers whose journal was given up: until they meet the store they acknowledge what is lost.
    excused: RefCell<BTreeSet<String>>,
    /// Machine of the newest server that opened.
    at: Cell<usize>,
    wrong: RefCell<Option<String>>,
    deeds: Cell<Deeds>,
}

const EIO: i32 = 5;
/// Starts at the end: each of up to three dead servers may have a seal on its way.
const LAST_TRIALS: usize = 5;
/// Small, because the reserve (R18), a part of it, is written anew by each server.
const DISK: u64 = 48 << 20;

impl World {
    fn new(kind: Kind, dice: &SeededDice, story: Story) -> Self {
        let manner = if dice.chance(500) { Manner::Ignores } else { Manner::CheckThenAct };
        let nature = Nature {
            plain: kind.plain(),
            attests: dice.chance(500),
            streams: kind.plain() && dice.chance(500),
        };
        let memory = Arc::new(Memory::new());
        let sky = (!kind.directory()).then(|| match kind.plain() {
            true => {
                Sky::new(Arc::new(Racy::new(memory, manner)), nature, dice.fork("weather"), &story)
            }
            false => Sky::new(memory, nature, dice.fork("weather"), &story),
        });
        let machine = |_| {
            let disk = SimDisk::new();
            disk.set_capacity(Some(DISK));
            disk
        };
        story.tell(|| format!("a world of kind {kind:?}, {manner:?}, {nature:?}"));
        Self {
            kind,
            sky,
            story,
            past: RefCell::new(Past::new(Model::new((0, 0), 32_000))),
            formatted: Cell::new(false),
            openings: Cell::new(0),
            begun: Cell::new(0),
            machines: (0..kind.machines()).map(machine).collect(),
            beings: RefCell::default(),
            excused: RefCell::default(),
            at: Cell::new(0),
            wrong: RefCell::new(None),
            deeds: Cell::default(),
        }
    }

    fn did(&self, deed: impl FnOnce(&mut Deeds)) {
        let mut deeds = self.deeds.get();
        deed(&mut deeds);
        self.deeds.set(deeds);
    }

    fn accuse(&self, what: String) {
        self.story.tell(|| format!("WRONG: {what}"));
        self.wrong.borrow_mut().get_or_insert(what);
    }

    pub fn lies(&self) -> u64 {
        self.sky.as_ref().map_or(0, Sky::lied)
    }

    /// `being` was told that the state `node` is durable.
    pub fn acknowledged(&self, being: &Being, node: usize) {
        if self.excused.borrow().contains(&being.name) {
            return;
        }
        self.story.tell(|| format!("{} acknowledges state {node}", being.name));
        self.did(|deeds| deeds.acknowledged += 1);
        if let Err(what) = self.past.borrow_mut().acknowledge(node) {
            self.accuse(format!("{}: {what}", being.name));
        }
    }

    /// `being` shows `tree`; gives the state that it stands on.
    pub fn found(
        &self,
        being: &Being,
        tree: &Tree,
        since: Since,
        overruled: bool,
        newest: bool,
    ) -> Option<usize> {
        if self.excused.borrow().contains(&being.name) {
            return None;
        }
        let found =
            self.past.borrow_mut().found(tree, since, newest && !self.kind.plain(), overruled);
        match found {
            Ok(found) => {
                // What a dead one had sent and not yet landed finds the place taken.
                let beings = self.beings.borrow();
                let lives = |name: &str| beings.iter().any(|(b, _)| b.name == name && !b.is_dead());
                self.past.borrow_mut().settled(|name| name == being.name || !lives(name));
                let (node, lost) = (found.node, found.lost);
                self.story.tell(|| format!("{} opened: state {node}", being.name));
                self.did(|deeds| {
                    deeds.openings += 1;
                    deeds.lost += u64::from(lost > 0);
                });
                self.at.set(being.machine);
                Some(node)
            }
            Err(what) => {
                self.accuse(format!("{}: {what}", being.name));
                None
            }
        }
    }

    /// An opening failed: nothing may be damaged but by a lie.
    pub fn not_opened(&self, being: &Being, error: &LogError, lied: u64) {
        self.story.tell(|| format!("{} does not open: {error}", being.name));
        self.did(|deeds| deeds.refused += 1);
        if matches!(error, LogError::Corrupt { .. }) && self.lies() == lied {
            self.accuse(format!("{}: {error}", being.name));
        }
        being.kill();
    }

    /// The operator's word: what is only in the journals of other machines may be lost.
    pub fn gives_up_other_journals(&self, being: &Being) {
        self.excuse_others(being.machine);
        self.past.borrow_mut().gives_up(&being.name);
    }

    /// Who writes to another machine's journal may acknowledge what will be lost.
    pub fn excuse_others(&self, machine: usize) {
        let beings = self.beings.borrow();
        let others = beings.iter().filter(|(b, _)| b.machine != machine);
        self.excused.borrow_mut().extend(others.map(|(b, _)| b.name.clone()));
    }

    fn alive(&self) -> Vec<Arc<Being>> {
        let beings = self.beings.borrow();
        beings.iter().filter(|(b, _)| !b.is_dead()).map(|(b, _)| b.clone()).collect()
    }

    /// What of a dead process would still run, ends.
    fn bury(&self) {
        for (being, task) in self.beings.borrow().iter() {
            if being.is_dead() {
                task.abort();
            }
        }
    }

    fn machine_dies(&self, machine: usize, dice: &SeededDice) {
        self.story.tell(|| format!("machine {machine} dies"));
        for (being, _) in self.beings.borrow().iter().filter(|(b, _)| b.machine == machine) {
            being.kill();
        }
        self.machines[machine].crash(dice);
        self.bury();
    }

    fn start(self: &Rc<Self>, machine: usize, word: Word, dice: &SeededDice) {
        let number = self.begun.get();
        self.begun.set(number + 1);
        let being = self.being(machine, number);
        let task = live(self.clone(), being.clone(), dice.fork(&being.name), word);
        if word.take_over {
            self.did(|deeds| deeds.taken_over += 1);
        }
        self.beings.borrow_mut().push((being, spawn_local(task)));
    }

    fn being(&self, machine: usize, number: u64) -> Arc<Being> {
        let disk = self.machines[machine].process();
        Arc::new(Being::new(format!("server-{number}"), machine, disk))
    }

    /// One thing happens.
    fn happens(self: &Rc<Self>, dice: &SeededDice) {
        let alive = self.alive();
        let machine = usize::try_from(dice.below(self.machines.len() as u64)).unwrap();
        let one = |dice: &SeededDice| {
            let at = usize::try_from(dice.below(alive.len() as u64)).unwrap();
            alive.get(at).cloned()
        };
        match dice.below(20) {
            _ if alive.is_empty() => self.operator_starts(machine, false, dice),
            0..=5 if alive.len() < 3 => self.operator_starts(machine, true, dice),
            6..=8 => {
                let Some(being) = one(dice) else { return };
                self.story.tell(|| format!("{} is killed", being.name));
                being.kill();
            }
            9 | 10 => self.machine_dies(machine, dice),
            11 => {
                let n = dice.below(300);
                self.story.tell(|| format!("machine {machine} loses power at operation {n}"));
                self.machines[machine].harm(Harmed::power_off(n));
            }
            12 => {
                let of = [
                    Operation::SyncData,
                    Operation::Write,
                    Operation::SyncDir,
                    Operation::Link,
                    Operation::Create,
                ];
                let kind = of[usize::try_from(dice.below(5)).unwrap()];
                self.story.tell(|| format!("machine {machine}: {kind:?} is to fail once"));
                let harm = Harm::Errno(EIO);
                let harmed = Harmed { operation: Some(kind), harm, ..Harmed::power_off(0) };
                self.machines[machine].harm(Harmed { times: 1, skip: dice.below(20), ..harmed });
            }
            13 | 14 => {
                let Some(being) = one(dice) else { return };
                let stopped = being.is_stopped();
                let what = if stopped { "goes on" } else { "is stopped" };
                self.story.tell(|| format!("{} {what}", being.name));
                if stopped { being.go_on() } else { being.stop() }
            }
            _ => self.weather(dice),
        }
    }

    fn operator_starts(self: &Rc<Self>, machine: usize, take_over: bool, dice: &SeededDice) {
        // The journal is on another machine, as far as the operator knows.
        let elsewhere = self.kind == Kind::Abandoned && machine != self.at.get();
        let abandon_journal = elsewhere && self.formatted.get();
        let take_over = take_over || abandon_journal || dice.chance(500);
        self.start(machine, Word { take_over, abandon_journal }, dice);
    }

    fn weather(&self, dice: &SeededDice) {
        let Some(sky) = &self.sky else { return };
        let slow = [0, 1, 20, 200, 3_000][usize::try_from(dice.below(5)).unwrap()];
        let harsh = [0, 0, 20, 100, 300, 950][usize::try_from(dice.below(6)).unwrap()];
        if dice.chance(200) {
            self.story.tell(|| "one of the next answers is a lie".into());
            sky.lie_once();
        }
        let forecast = Forecast { harsh, slow: Duration::from_millis(slow) };
        self.story.tell(|| format!("weather: {forecast:?}"));
        sky.turn(forecast);
    }

    /// The power that is off comes back with a crash.
    fn lights(&self, dice: &SeededDice) {
        for (number, machine) in self.machines.iter().enumerate() {
            if machine.is_power_off() {
                self.machine_dies(number, dice);
            }
        }
    }
}

async fn pause(dice: &SeededDice) {
    let most = [20, 300, 3_000, 20_000, 100_000][usize::try_from(dice.below(5)).unwrap()];
    sleep(Duration::from_millis(dice.below(most))).await;
}

/// A life that nothing disturbs: whoever holds the volume is overruled, all is compared, and it
/// goes on.
async fn last_look(world: &Rc<World>, dice: &SeededDice, first: bool) -> Result<House, String> {
    let since = world.past.borrow().since();
    let mut errors = Vec::new();
    for trial in 0..LAST_TRIALS {
        let number = world.begun.get();
        world.begun.set(number + 1);
        // Where a journal was given up it may be either machine's, as an operator would find out.
        let machine = (world.at.get() + trial) % world.machines.len();
        let being = world.being(machine, number);
        let word = Word { take_over: first, abandon_journal: false };
        world.story.tell(|| format!("{} starts for the last look, {word:?}", being.name));
        let (volume, index) = match open(world, &being, dice, word).await {
            Ok(opened) => opened,
            // What a dead server had sent comes late, a seal for one.
            Err(error) => {
                world.story.tell(|| format!("{} does not open: {error}", being.name));
                errors.push(error.to_string());
                being.kill();
                continue;
            }
        };
        let tree = look(&volume).await.ok_or("the tree cannot be read in fine weather")?;
        let Some(node) = world.found(&being, &tree, since, false, true) else { break };
        being.has_opened();
        let done = tokio::spawn(std::future::pending());
        world.beings.borrow_mut().push((being, done));
        let seq = index.last_seq();
        return Ok(House { volume, index, node, seq });
    }
    Err(match world.wrong.borrow().clone() {
        Some(wrong) => wrong,
        None => format!("does not open in fine weather: {}", errors.join("; ")),
    })
}

/// Sound inside: names, links, extents; usage adds up.
async fn sound(house: &House) -> Result<(), String> {
    let files = house.volume.check().await.map_err(|e| format!("check: {e:?}"))?;
    if !files.findings.is_empty() {
        return Err(format!("files: {:?}", files.findings));
    }
    let refers = |key: &[u8], value: &[u8]| inode::referenced(key, value).into_iter().collect();
    let index = house.index.check(refers).await.map_err(|e| format!("index: {e}"))?;
    if !index.problems.is_empty() {
        return Err(format!("index: {:?}", index.problems));
    }
    Ok(())
}

async fn finale(world: &Rc<World>, dice: &SeededDice) -> Result<(), String> {
    if let Some(sky) = &world.sky {
        sky.calm();
    }
    world.machines.iter().for_each(SimDisk::heal);
    // Who is still opening was told to take the volume over, and would.
    world.alive().iter().filter(|being| !being.serves()).for_each(|being| being.kill());
    world.bury();
    let house = last_look(world, dice, true).await?;
    sound(&house).await?;
    // Who was stopped comes back, and may acknowledge nothing more.
    world.alive().iter().for_each(|being| being.go_on());
    sleep(LATEST).await;
    let seq = house.index.last_seq();
    let synced = house.volume.sync(seq, SyncMode::Inline).await;
    synced.map_err(|e| format!("the last server: {e:?}"))?;
    house.index.close().await.map_err(|e| format!("close: {e}"))?;
    let beings = world.alive();
    let last = beings.last().cloned().ok_or("nobody is left")?;
    world.acknowledged(&last, house.node);
    beings.iter().for_each(|being| being.kill());
    world.bury();
    drop(house);
    // Twice a checkpoint, and nothing is left that nobody refers to.
    let mut house = last_look(world, dice, false).await?;
    let being = world.alive().last().cloned().ok_or("nobody is left")?;
    for _ in 0..3 {
        work(world, &being, &mut house, dice, 4).await.map_err(|e| format!("work: {e:?}"))?;
        let written = house.index.checkpoint_now().await;
        written.map_err(|e| format!("checkpoint: {e}"))?;
    }
    sound(&house).await?;
    let strays = house.index.strays().await.map_err(|e| format!("strays: {e}"))?;
    // What lands after an epoch was swept is nobody's to find but `esker check --strays`.
    let overdue = |id: &SegmentId| {
        let name = logseg::format::segment_name(*id);
        world.sky.as_ref().is_some_and(|sky| sky.is_overdue(name.as_str()))
    };
    let left: Vec<_> = strays.iter().filter(|id| !overdue(id)).collect();
    if !left.is_empty() {
        return Err(format!("left in the store for ever: {left:?}"));
    }
    house.index.close().await.map_err(|e| format!("close: {e}"))
}

async fn play(kind: Kind, seed: u64, story: &Story) -> Result<Deeds, String> {
    let dice = SeededDice::new(seed ^ ((kind as u64) << 56));
    let world = Rc::new(World::new(kind, &dice, story.clone()));
    let acts = 6 + dice.below(14);
    for _ in 0..acts {
        world.lights(&dice);
        world.bury();
        world.happens(&dice);
        pause(&dice).await;
        if let Some(wrong) = world.wrong.borrow().clone() {
            return Err(wrong);
        }
    }
    world.lights(&dice);
    finale(&world, &dice).await?;
    if let Some(wrong) = world.wrong.borrow().clone() {
        return Err(wrong);
    }
    for (_, task) in world.beings.borrow().iter() {
        task.abort();
    }
    Ok(world.deeds.get())
}

/// Longest virtual time of a world.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// One world; what was wrong and the story, if told.
pub fn world(kind: Kind, seed: u64, told: bool) -> (Result<Deeds, String>, String) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let story = Story::new(told);
        let played = timeout(LONGEST, play(kind, seed, &story)).await;
        let result = played.unwrap_or_else(|_| Err("it does not end".into()));
        (result, story.text())
    })
}
