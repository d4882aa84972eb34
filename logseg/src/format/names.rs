use swiftclient::ObjectName;

use crate::{CheckpointName, SegmentId};

/// What an object's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChainName {
    /// `volume`.
    Volume,
    /// `seg/EEEEEEEE/CCCCCCCC` or `side/EEEEEEEE/CCCCCCCC`: epoch and counter in lower-case
    /// hexadecimal.
    Segment(SegmentId),
    /// `ckpt/EEEEEEEE-NNNNNNNN`.
    Checkpoint(CheckpointName),
    /// `epoch/EEEEEEEE`: begins this epoch on a plain store.
    Epoch(u32),
}

fn name(text: String) -> ObjectName {
    match ObjectName::new(text) {
        Some(name) => name,
        // Digits, letters, '-' and '/' only: `names::tests` goes through all shapes.
        None => unreachable!("a name of the log is always legal"),
    }
}

/// `volume`.
pub fn volume_name() -> ObjectName {
    name("volume".to_owned())
}

/// Name of a chain or side segment.
pub fn segment_name(id: SegmentId) -> ObjectName {
    let kind = if id.is_side() { "side" } else { "seg" };
    name(format!("{kind}/{:08x}/{:08x}", id.epoch(), id.counter()))
}

/// Name of a checkpoint: sorts as the checkpoints do.
pub fn checkpoint_name(c: CheckpointName) -> ObjectName {
    name(format!("ckpt/{:08x}-{:08x}", c.epoch, c.number))
}

/// Name of the object that begins `epoch` on a plain store.
pub fn epoch_name(epoch: u32) -> ObjectName {
    name(format!("epoch/{epoch:08x}"))
}

/// Exactly eight lower-case hexadecimal digits.
fn word(text: &str) -> Option<u32> {
    let legal = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (text.len() == 8 && text.bytes().all(legal)).then(|| u32::from_str_radix(text, 16).ok())?
}

/// Reads a name back; `None` for any other.
pub fn parse_name(text: &str) -> Option<ChainName> {
    if text == "volume" {
        return Some(ChainName::Volume);
    }
    let (kind, rest) = text.split_once('/')?;
    match kind {
        "seg" | "side" => {
            let (epoch, counter) = rest.split_once('/')?;
            let (epoch, counter) = (word(epoch)?, word(counter)?);
            if counter >= 1 << 31 {
                return None;
            }
            let make = if kind == "side" { SegmentId::side } else { SegmentId::chain };
            Some(ChainName::Segment(make(epoch, counter)))
        }
        "ckpt" => {
            let (epoch, number) = rest.split_once('-')?;
            let name = CheckpointName { epoch: word(epoch)?, number: word(number)? };
            Some(ChainName::Checkpoint(name))
        }
        "epoch" => Some(ChainName::Epoch(word(rest)?)),
        _ => None,
    }
}
