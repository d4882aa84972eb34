//! What mutation begins with: files of this repository.

use std::path::{Path, PathBuf};

/// Directories of a target's corpus: its own, and golden files of formats.
fn directories(target: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let golden: &[&str] = match target {
        "segment" | "entries" | "envelope" => &["logseg/tests/golden"],
        "page" | "index" => &["headhunter/tests/golden"],
        _ => &[],
    };
    let own = root.join("tests/fuzz").join(target);
    golden.iter().map(|dir| root.join(dir)).chain([own]).collect()
}

/// The inputs of `target`'s corpus, in order of their names. Text files may hold several inputs,
/// divided by lines of `---`.
pub fn corpus(target: &str) -> Vec<Vec<u8>> {
    let mut inputs = Vec::new();
    for dir in directories(target) {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        let mut files: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        files.sort();
        for file in files {
            let Ok(bytes) = std::fs::read(&file) else { continue };
            match (file.extension().and_then(|e| e.to_str()), std::str::from_utf8(&bytes)) {
                (Some("txt"), Ok(text)) => {
                    inputs.extend(text.split("---\n").map(|part| part.as_bytes().to_vec()));
                }
                (Some("hex"), Ok(text)) => inputs.extend(text.lines().filter_map(unhex)),
                _ => inputs.push(bytes),
            }
        }
    }
    inputs
}

/// A line of hexadecimal digits; blanks and what follows `#` are not looked at.
fn unhex(line: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = line.split('#').next()?.chars().filter_map(|c| c.to_digit(16)).collect();
    let byte = |pair: &[u32]| u8::try_from(pair[0] << 4 | pair[1]).ok();
    (!digits.is_empty()).then(|| digits.chunks_exact(2).filter_map(byte).collect())
}
