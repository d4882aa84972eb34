//! Which container holds which object, and under what name: pure functions, and their inverse
//! (`docs/format.md` §1.1 has them for a second implementation).
//!
//! Swift keeps one SQLite database per container, and every PUT is a row in it: past a million rows
//! it grows slow, and rows that arrive in ascending order all fall on the last of its shards. So
//! *numbered* names (`seg/EEEEEEEE/CCCCCCCC`, `side/EEEEEEEE/CCCCCCCC`) are spread:
//!
//! ```text
//! name                     container             object
//! volume                   C                     P/volume
//! seg/00000123/00000abc    C_seg_0_000001        P/seg/c/00000123/00000abc   counter below 2^12
//! seg/00000123/0000abcd    C_seg_1_0000012       P/seg/d/00000123/0000abcd   below 2^16
//! seg/00000123/000abcde    C_seg_2_00000123_000  P/seg/e/00000123/000abcde   the rest
//! ```
//!
//! Invariants
//! 1. A container of numbered names holds at most 2^20 of one volume: 256 epochs of 2^12, 16 of
//!    2^16, or 2^20 of one. (Short epochs share, so that a restart is no new container.)
//! 2. The *lane*, the counter's lowest digit, comes first in the object's name: neighbours in time
//!    lie in 16 places of the database. Within a lane the order of objects is the order of names, so
//!    that 16 listings merge into one in ascending order. With all digits reversed a listing would
//!    have to read and sort everything.
//! 3. `name_of` is the inverse of `place`: an object that lies elsewhere than its name says is
//!    somebody else's.

use std::fmt;

use crate::{ObjectName, StoreError};

/// Lanes of a container of numbered names.
pub(super) const LANES: u32 = 16;
/// Longest container name that Swift takes, bytes ("max_container_name_length" of `/info`).
const CONTAINER_BYTES: usize = 256;
/// What the longest suffix adds, bytes: `_side_2_EEEEEEEE_BBB`.
const SUFFIX_BYTES: usize = 20;

/// Longest prefix, bytes: with the longest name behind it within Swift's 1,024 of an object's name.
const PREFIX_BYTES: usize = 512;

/// One object in Swift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub container: String,
    pub object: String,
}

/// The two families of numbered names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    Seg,
    Side,
}

impl Family {
    pub(super) const ALL: [Self; 2] = [Self::Seg, Self::Side];

    /// What its names begin with.
    pub(super) fn head(self) -> &'static str {
        match self {
            Self::Seg => "seg/",
            Self::Side => "side/",
        }
    }

    fn word(self) -> &'static str {
        self.head().trim_end_matches('/')
    }
}

/// One container of numbered names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    /// Counters below 2^12 of 256 epochs: epoch >> 8.
    Short(u32),
    /// Counters from 2^12 below 2^16, of 16 epochs: epoch >> 4.
    Middle(u32),
    /// 2^20 counters of one epoch: epoch, counter >> 20.
    Long(u32, u32),
}

const SHORT: u32 = 1 << 12;
const MIDDLE: u32 = 1 << 16;
const LONG: u32 = 1 << 20;

impl Group {
    fn of(epoch: u32, counter: u32) -> Self {
        match counter {
            0..SHORT => Self::Short(epoch >> 8),
            SHORT..MIDDLE => Self::Middle(epoch >> 4),
            _ => Self::Long(epoch, counter / LONG),
        }
    }

    /// Least and greatest (epoch, counter) that it can hold; the greatest of those between may
    /// belong to others.
    fn bounds(self) -> [(u32, u32); 2] {
        match self {
            Self::Short(e) => [(e << 8, 0), (e << 8 | 0xff, SHORT - 1)],
            Self::Middle(e) => [(e << 4, SHORT), (e << 4 | 0xf, MIDDLE - 1)],
            Self::Long(e, 0) => [(e, MIDDLE), (e, LONG - 1)],
            Self::Long(e, block) => [(e, block * LONG), (e, block * LONG + (LONG - 1))],
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (tier, rest) = text.split_once('_')?;
        match tier {
            "0" => Some(Self::Short(hex(rest, 6)?)),
            "1" => Some(Self::Middle(hex(rest, 7)?)),
            "2" => {
                let (epoch, block) = rest.split_once('_')?;
                Some(Self::Long(hex(epoch, 8)?, hex(block, 3)?))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(e) => write!(f, "0_{e:06x}"),
            Self::Middle(e) => write!(f, "1_{e:07x}"),
            Self::Long(e, block) => write!(f, "2_{e:08x}_{block:03x}"),
        }
    }
}

/// Exactly `digits` lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u32> {
    let legal = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (text.len() == digits && text.bytes().all(legal)).then(|| u32::from_str_radix(text, 16).ok())?
}

/// A numbered name.
struct Numbered {
    family: Family,
    epoch: u32,
    counter: u32,
}

impl Numbered {
    fn parse(name: &str) -> Option<Self> {
        let family = Family::ALL.into_iter().find(|f| name.starts_with(f.head()))?;
        let (epoch, counter) = name[family.head().len()..].split_once('/')?;
        Some(Self { family, epoch: hex(epoch, 8)?, counter: hex(counter, 8)? })
    }
}

fn name_text(family: Family, (epoch, counter): (u32, u32)) -> String {
    format!("{}{epoch:08x}/{counter:08x}", family.head())
}

/// The containers of one volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    base: String,
    /// Empty, or ends in `/`.
    prefix: String,
}

impl Layout {
    /// The volume at `swift://container/prefix`.
    ///
    /// Errors: `Invalid` where Swift would not take the names.
    pub(super) fn new(container: &str, prefix: &str) -> Result<Self, StoreError> {
        let invalid = |reason: String| {
            Err(StoreError::Invalid { what: format!("swift://{container}/{prefix}"), reason })
        };
        if container.is_empty() {
            return invalid("a container is missing: swift://CONTAINER/PREFIX".into());
        }
        if container.contains('/') || container.chars().any(char::is_control) {
            return invalid("a container's name has no '/' and no control characters".into());
        }
        if container == "." || container == ".." {
            return invalid("no container can be called that".into());
        }
        let most = CONTAINER_BYTES - SUFFIX_BYTES;
        if container.len() > most {
            return invalid(format!("the container's name may have {most} bytes"));
        }
        let prefix = prefix.trim_matches('/');
        if prefix.is_empty() {
            return Ok(Self { base: container.into(), prefix: String::new() });
        }
        let legal = prefix.split('/').all(|part| ObjectName::new(part).is_some());
        if prefix.len() > PREFIX_BYTES || !legal {
            return invalid(format!(
                "a prefix has up to {PREFIX_BYTES} bytes of A-Z a-z 0-9 . _ -, in parts divided \
                 by '/', no part empty, '.' or '..'"
            ));
        }
        Ok(Self { base: container.into(), prefix: format!("{prefix}/") })
    }

    /// The container of everything that is not numbered.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// What every object's name begins with: empty, or ends in `/`.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Where the object of that name lies.
    pub(super) fn place(&self, name: &ObjectName) -> Place {
        let text = name.as_str();
        match Numbered::parse(text) {
            None => {
                Place { container: self.base.clone(), object: format!("{}{text}", self.prefix) }
            }
            Some(n) => Place {
                container: self.container(n.family, Group::of(n.epoch, n.counter)),
                object: format!(
                    "{}{:08x}/{:08x}",
                    self.lane(n.family, n.counter % LANES),
                    n.epoch,
                    n.counter
                ),
            },
        }
    }

    /// True where the name lies in the base container: nothing of that kind is ever numerous, and
    /// what recovery decides by is among it.
    pub(super) fn in_base(name: &ObjectName) -> bool {
        Numbered::parse(name.as_str()).is_none()
    }

    /// The name of an object found in the base container; `None`: it is somebody else's.
    pub(super) fn base_name(&self, object: &str) -> Option<ObjectName> {
        let name = ObjectName::new(object.strip_prefix(&self.prefix)?)?;
        Self::in_base(&name).then_some(name)
    }

    /// The name of an object found in a container of numbered names.
    pub(super) fn numbered_name(
        &self,
        family: Family,
        group: Group,
        object: &str,
    ) -> Option<ObjectName> {
        let rest = object.strip_prefix(&self.prefix)?.strip_prefix(family.head())?;
        let (lane, tail) = rest.split_once('/')?;
        let name = ObjectName::new(format!("{}{tail}", family.head()))?;
        let n = Numbered::parse(name.as_str())?;
        let here = Group::of(n.epoch, n.counter) == group && hex(lane, 1)? == n.counter % LANES;
        here.then_some(name)
    }

    /// What the objects of one lane begin with.
    pub(super) fn lane(&self, family: Family, lane: u32) -> String {
        format!("{}{}{lane:x}/", self.prefix, family.head())
    }

    /// What the names of a family's containers begin with.
    pub(super) fn containers(&self, family: Family) -> String {
        format!("{}_{}_", self.base, family.word())
    }

    /// One container's name.
    pub(super) fn container(&self, family: Family, group: Group) -> String {
        format!("{}{group}", self.containers(family))
    }

    /// Which group the container of that name holds; `None`: it is none of ours.
    pub(super) fn group(&self, family: Family, container: &str) -> Option<Group> {
        Group::parse(container.strip_prefix(&self.containers(family))?)
    }

    /// Least and greatest name that a container can hold.
    pub(super) fn bounds(family: Family, group: Group) -> [String; 2] {
        group.bounds().map(|id| name_text(family, id))
    }
}
