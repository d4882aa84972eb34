//! Reading every byte.

use logseg::{Damage, Survey};

use super::{Bad, Outcome, Progress};

/// What a volume's objects are called.
const PREFIXES: [&str; 5] = ["volume", "epoch/", "ckpt/", "side/", "seg/"];

/// Reads every object and every file of the journal.
pub async fn verify(
    survey: &Survey,
    outcome: &mut Outcome,
    bad: &mut Bad,
    progress: Progress<'_>,
) -> Result<(), String> {
    let mut names = Vec::new();
    for prefix in PREFIXES {
        names.extend(survey.names(prefix).await.map_err(|e| e.to_string())?);
    }
    let all = names.len() as u64;
    for (n, name) in names.iter().enumerate() {
        progress("reading objects", n as u64, all);
        let (bytes, damage) = survey.verify(name).await.map_err(|e| e.to_string())?;
        outcome.objects += 1;
        outcome.bytes += bytes;
        for one in damage {
            note(&one, outcome, bad);
        }
    }
    progress("reading the journal", 0, 0);
    let mut found = survey.verify_journal().map_err(|e| e.to_string())?;
    if !found.damage.is_empty() {
        // A server at work may have written between two looks: damage stays.
        let again = survey.verify_journal().map_err(|e| e.to_string())?;
        found.damage.retain(|one| again.damage.contains(one));
        found.torn = again.torn;
    }
    outcome.objects += found.files;
    outcome.bytes += found.bytes;
    outcome.notes.extend(found.torn);
    for one in &found.damage {
        note(one, outcome, bad);
    }
    Ok(())
}

fn note(damage: &Damage, outcome: &mut Outcome, bad: &mut Bad) {
    outcome.find(damage.to_string());
    let Some(id) = damage.segment else { return };
    // Without its header nothing of a segment can be read.
    let range = if damage.range.start == 0 { 0..u32::MAX } else { damage.range.clone() };
    bad.entry(id).or_default().push(range);
}
