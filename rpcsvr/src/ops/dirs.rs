//! Directories as wholes, and the volume as one.

use bytes::Bytes;
use fs::{Caller, FsError};
use rpc::{
    Entry, List, Wire,
    calls::{FindName, Listed, ReadDir, RealName, Room, readdir as flag},
    limits::PAYLOAD_BYTES,
};

use super::known;
use crate::{
    call::{Cx, Fail},
    convert,
    limits::{BLOCK_BYTES, DIR_ENTRIES, FIND_ENTRIES},
    wire::Reply,
};

/// READDIR.
pub async fn readdir(cx: Cx, call: ReadDir) -> Result<Reply, Fail> {
    known(call.flags, flag::ATTRIBUTES)?;
    let spot = cx.walk(&call.place, true).await?;
    let granted = spot.handle.is_some_and(|handle| handle.read);
    let dir = spot.there()?.id;
    let reader = if granted {
        Caller { uid: 0, gid: 0, groups: Vec::new(), owner_override: false }
    } else {
        cx.caller.clone()
    };
    let plus = call.flags & flag::ATTRIBUTES != 0;
    let (mut cookie, mut count, mut out) = (call.cookie, 0, Vec::new());
    let most = call.count.max(1);
    loop {
        let limit = (most as usize - count as usize).min(DIR_ENTRIES);
        let page = cx.volume().readdir(&reader, dir, cookie, limit, plus).await?;
        let attributes = convert::attributes(&page.dir);
        let empty = page.entries.is_empty();
        for entry in page.entries {
            let along = match &entry.attributes {
                Some(found) => cx.along(found, &call.wanted).await?,
                None => List::default(),
            };
            let before = out.len();
            let listed = Entry {
                cookie: entry.cookie,
                ino: entry.ino,
                name: rpc::Blob(entry.name),
                attributes: entry.attributes.as_ref().map(convert::attributes),
                along,
            };
            listed.put(&mut out);
            if out.len() > PAYLOAD_BYTES {
                out.truncate(before);
                let listed = Listed { count, end: false, attributes };
                return Ok(cx.reply_with(&listed, vec![out.into()]));
            }
            cookie = entry.cookie;
            count += 1;
        }
        if page.end || empty || count >= most {
            let listed = Listed { count, end: page.end, attributes };
            let data: Bytes = out.into();
            return Ok(cx.reply_with(&listed, vec![data]));
        }
    }
}

/// FINDNAME.
pub async fn find_name(cx: Cx, call: FindName) -> Result<Reply, Fail> {
    let (dir, name) = cx.name(&call.place).await?;
    match cx.volume().lookup(&cx.caller, dir, &name).await {
        Ok((found, _)) => {
            let attributes = convert::attributes(&found);
            return Ok(cx.reply(&RealName { name: rpc::Blob(name), attributes }));
        }
        Err(failure) if failure.error == FsError::NoEnt => {}
        Err(failure) => return Err(failure.into()),
    }
    let wanted = folded(&name);
    let mut cookie = 0;
    loop {
        let page = cx.volume().readdir(&cx.caller, dir, cookie, FIND_ENTRIES, false).await?;
        for entry in &page.entries {
            if folded(&entry.name) != wanted {
                continue;
            }
            match cx.volume().lookup(&cx.caller, dir, &entry.name).await {
                Ok((found, _)) => {
                    let attributes = convert::attributes(&found);
                    let name = rpc::Blob(entry.name.clone());
                    return Ok(cx.reply(&RealName { name, attributes }));
                }
                // Removed meanwhile.
                Err(failure) if failure.error == FsError::NoEnt => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        match page.entries.last() {
            Some(last) if !page.end => cookie = last.cookie,
            _ => return Err(FsError::NoEnt.into()),
        }
    }
}

/// A name with every letter that has one upper-case letter as that one: what SMB compares. Where a
/// name is not UTF-8, ASCII only.
fn folded(name: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(name) else { return name.to_ascii_uppercase() };
    let upper = text.chars().map(|c| {
        let mut upper = c.to_uppercase();
        match (upper.next(), upper.next()) {
            (Some(one), None) => one,
            _ => c,
        }
    });
    upper.collect::<String>().into_bytes()
}

/// STATFS.
pub async fn statfs(cx: Cx) -> Result<Reply, Fail> {
    let stat = cx.volume().statfs().await?;
    let as_u32 = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Ok(cx.reply(&Room {
        total_bytes: stat.total_bytes,
        free_bytes: stat.free_bytes,
        total_files: stat.total_files,
        free_files: stat.free_files,
        name_bytes: as_u32(fs::NAME_BYTES),
        target_bytes: as_u32(fs::TARGET_BYTES),
        block_bytes: BLOCK_BYTES,
        file_bytes: fs::MAX_FILE_BYTES,
        fsid: cx.service().fsid,
    }))
}

#[cfg(test)]
mod tests {
    use super::folded;

    #[test]
    fn names_are_compared_letter_by_letter() {
        let same = |a: &str, b: &str| folded(a.as_bytes()) == folded(b.as_bytes());
        assert!(same("README.txt", "readme.TXT") && same("ÄÖÜ", "äöü") && same("Ωμέγα", "ωΜΈΓΑ"));
        // One letter is never two: what a disk of Windows holds side by side stays apart.
        assert!(!same("straße", "strasse") && !same("a", "b"));
        assert_eq!(folded(&[b'a', 0xff]), [b'A', 0xff]);
    }
}
