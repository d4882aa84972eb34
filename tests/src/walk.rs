//! Whole trees, as the model and as a volume show them, and one random operation on both: what the
//! simulations are made of.

#![allow(clippy::expect_used, clippy::unwrap_used)] // a model that is wrong must stop the test

use std::collections::BTreeMap;

use bytes::Bytes;
use fs::{Caller, Context, CreateHow, Failure, FileId, FsError, Kind, Seq, SetAttributes, Volume};
use swiftclient::seam::sim::SeededDice;

use crate::model::{self, Model};

/// What one path shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// Type.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Hard links.
    pub nlink: u32,
    /// Content, or the target of a link.
    pub bytes: Vec<u8>,
}

/// Every path and what it shows.
pub type Tree = BTreeMap<Vec<u8>, Shown>;

/// The caller who may everything.
pub fn root() -> Caller {
    Caller { uid: 0, gid: 0, groups: Vec::new(), owner_override: false }
}

/// A call of [`root`]'s.
pub fn context() -> Context {
    Context { caller: root(), request: None }
}

/// The model's tree.
pub fn shown_by_model(model: &Model) -> Tree {
    fn walk(model: &Model, ino: u64, path: &[u8], tree: &mut Tree) {
        let node = model.node(ino).unwrap();
        for (name, child) in &node.entries {
            let path = [path, b"/", name].concat();
            let node = model.node(*child).unwrap();
            let bytes = node.bytes.clone();
            let shown = Shown { kind: node.kind, mode: node.mode, nlink: node.nlink, bytes };
            tree.insert(path.clone(), shown);
            if node.kind == Kind::Directory {
                walk(model, *child, &path, tree);
            }
        }
    }
    let mut tree = Tree::new();
    walk(model, model::ROOT, b"", &mut tree);
    tree
}

/// The volume's tree.
pub async fn shown_by_volume(volume: &Volume) -> Result<Tree, Failure> {
    let mut tree = Tree::new();
    let mut todo = vec![(Vec::new(), volume.root())];
    while let Some((path, dir)) = todo.pop() {
        let mut cookie = 0;
        loop {
            let page = volume.readdir(&root(), dir, cookie, 5, true).await?;
            for entry in &page.entries {
                cookie = entry.cookie;
                if matches!(&entry.name[..], b"." | b"..") {
                    continue;
                }
                let path = [&path[..], b"/", &entry.name].concat();
                let object = volume.lookup(&root(), dir, &entry.name).await?.0;
                let bytes = match object.kind {
                    Kind::File => {
                        let len = u32::try_from(object.size).unwrap();
                        volume.read(&root(), object.id, 0, len).await?.pieces.concat()
                    }
                    Kind::Symlink => volume.readlink(&root(), object.id).await?.0.to_vec(),
                    _ => Vec::new(),
                };
                let (kind, mode, nlink) = (object.kind, object.mode, object.nlink);
                tree.insert(path.clone(), Shown { kind, mode, nlink, bytes });
                if kind == Kind::Directory {
                    todo.push((path, object.id));
                }
            }
            if page.end {
                break;
            }
        }
    }
    Ok(tree)
}

/// A short account of where two trees differ.
pub fn difference(found: &Tree, wanted: &Tree) -> String {
    let show = |s: Option<&Shown>| match s {
        None => "nothing".to_owned(),
        Some(s) => format!("{:?} {:o} ×{}, {} bytes", s.kind, s.mode, s.nlink, s.bytes.len()),
    };
    let paths: std::collections::BTreeSet<_> = found.keys().chain(wanted.keys()).collect();
    let differing = paths.into_iter().filter(|p| found.get(*p) != wanted.get(*p));
    let lines = differing.take(5).map(|p| {
        let (found, wanted) = (show(found.get(p)), show(wanted.get(p)));
        format!("{}: found {found}, wanted {wanted}", String::from_utf8_lossy(p))
    });
    lines.collect::<Vec<_>>().join("; ")
}

/// A random directory of the model, and its counterpart.
async fn directory(
    volume: &Volume,
    model: &Model,
    dice: &SeededDice,
) -> Result<(u64, FileId), Failure> {
    let (mut m, mut v) = (model::ROOT, volume.root());
    while dice.below(2) == 0 {
        let node = model.node(m).unwrap();
        let is_dir = |ino: &u64| model.node(*ino).unwrap().kind == Kind::Directory;
        let dirs: Vec<_> = node.entries.iter().filter(|(_, ino)| is_dir(ino)).collect();
        if dirs.is_empty() {
            break;
        }
        let (name, ino) = dirs[usize::try_from(dice.below(dirs.len() as u64)).unwrap()];
        v = volume.lookup(&root(), v, name).await?.0.id;
        m = *ino;
    }
    Ok((m, v))
}

fn name(dice: &SeededDice) -> Vec<u8> {
    format!("name-{}", dice.below(7)).into_bytes()
}

/// Runs one random operation on both. `Ok(None)`: refused by both, or nothing done.
pub async fn step(
    volume: &Volume,
    model: &mut Model,
    dice: &SeededDice,
) -> Result<Option<Seq>, Failure> {
    let (cx, who) = (context(), root());
    let (md, vd) = directory(volume, model, dice).await?;
    let (name, other) = (name(dice), name(dice));
    let (wanted, got): (Result<(), FsError>, Result<Seq, Failure>) = match dice.below(12) {
        0..=2 => {
            let how = CreateHow::Guarded(SetAttributes { mode: Some(0o640), ..Default::default() });
            let wanted = model.create(&who, md, &name, &how).map(drop);
            (wanted, volume.create(&cx, vd, &name, how).await.map(|made| made.seq))
        }
        3 => {
            let set = SetAttributes { mode: Some(0o750), ..Default::default() };
            let wanted = model.mkdir(&who, md, &name, &set).map(drop);
            (wanted, volume.mkdir(&cx, vd, &name, set).await.map(|made| made.seq))
        }
        4 => {
            let wanted = model.symlink(&who, md, &name, &other).map(drop);
            let made = volume.symlink(&cx, vd, &name, &other, SetAttributes::default()).await;
            (wanted, made.map(|made| made.seq))
        }
        5 => {
            let directory = dice.below(2) == 0;
            let wanted = model.remove(&who, md, &name, directory);
            let got = match directory {
                true => volume.rmdir(&cx, vd, &name).await,
                false => volume.remove(&cx, vd, &name).await,
            };
            (wanted, got.map(|changed| changed.seq))
        }
        6 => {
            let (mt, vt) = directory(volume, model, dice).await?;
            let wanted = model.rename(&who, md, &name, mt, &other);
            (wanted, volume.rename(&cx, vd, &name, vt, &other).await.map(|moved| moved.seq))
        }
        which => {
            // Of a file that is there.
            let Ok(ino) = model.lookup(&who, md, &name) else { return Ok(None) };
            let id = volume.lookup(&who, vd, &name).await?.0.id;
            on_object(volume, model, dice, (ino, id), (md, vd, &other), which).await
        }
    };
    match (wanted, got) {
        (Ok(()), Ok(seq)) => Ok(Some(seq)),
        // Refused by both; or the machine is failing, and nobody knows better than the model does.
        (Err(wanted), Err(got)) if wanted == got.error => Ok(None),
        (_, Err(got)) => Err(got),
        (Err(wanted), Ok(_)) => panic!("not refused, though the model says {wanted:?}"),
    }
}

async fn on_object(
    volume: &Volume,
    model: &mut Model,
    dice: &SeededDice,
    (ino, id): (u64, FileId),
    (md, vd, other): (u64, FileId, &[u8]),
    which: u64,
) -> (Result<(), FsError>, Result<Seq, Failure>) {
    let (cx, who) = (context(), root());
    match which {
        7 => {
            let wanted = model.link(&who, ino, md, other);
            (wanted, volume.link(&cx, id, vd, other).await.map(|moved| moved.seq))
        }
        8 => {
            let set = match dice.below(2) {
                0 => SetAttributes { size: Some(dice.below(60_000)), ..Default::default() },
                _ => SetAttributes { mode: Some(0o600 | 0o77), ..Default::default() },
            };
            let wanted = model.setattr(&who, ino, &set);
            let got = volume.setattr(&cx, id, set, None).await;
            (wanted, got.map(|changed| changed.seq))
        }
        _ => {
            let (offset, len) = (dice.below(50_000), dice.below(60_000) + 1);
            let byte = u8::try_from(dice.below(255)).unwrap() + 1;
            let data = vec![byte; usize::try_from(len).unwrap()];
            let wanted = model.write(&who, ino, usize::try_from(offset).unwrap(), &data);
            let got = volume.write(&cx, id, offset, Bytes::from(data)).await;
            (wanted, got.map(|changed| changed.seq))
        }
    }
}
