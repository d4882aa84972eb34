use bytes::{BufMut, Bytes, BytesMut};
use headhunter::Txn;

use crate::{
    Fault, Files, Source,
    files::damaged,
    key,
    limits::{SCAN_KEYS, XATTR_EACH_BYTES, XATTR_PART_BYTES},
};

impl Files {
    /// Value of extended attribute `name` of `ino`.
    pub fn xattr(&self, from: &impl Source, ino: u64, name: &[u8]) -> Result<Option<Bytes>, Fault> {
        let first = key::xattr(ino, name, 0);
        let Some(value) = from.get(&first)? else { return Ok(None) };
        let (len, head) = split(&value).ok_or_else(|| damaged(&first))?;
        if head.len() == len {
            return Ok(Some(value.slice(4..)));
        }
        let mut whole = BytesMut::with_capacity(len);
        whole.extend_from_slice(head);
        for (_, part) in from.range(&key::xattr(ino, name, 1), &after(ino, name), SCAN_KEYS)? {
            whole.extend_from_slice(&part);
        }
        if whole.len() != len {
            return Err(damaged(&first));
        }
        Ok(Some(whole.freeze()))
    }

    /// Names and value lengths (bytes) of the extended attributes of `ino`, in order of their bytes.
    pub fn xattrs(&self, from: &impl Source, ino: u64) -> Result<Vec<(Bytes, usize)>, Fault> {
        let high = key::end(ino, key::XATTR);
        let mut next = key::prefix(ino, key::XATTR).to_vec();
        let mut names = Vec::new();
        loop {
            let items = from.range(&next, &high, SCAN_KEYS)?;
            for (k, v) in &items {
                let (name, part) = k.slice(9..).split_last_part().ok_or_else(|| damaged(k))?;
                if part == 0 {
                    let (len, _) = split(v).ok_or_else(|| damaged(k))?;
                    names.push((name, len));
                }
            }
            match items.last() {
                Some((k, _)) if items.len() == SCAN_KEYS => {
                    next = k.to_vec();
                    next.push(0);
                }
                _ => return Ok(names),
            }
        }
    }

    /// What the extended attributes of `ino` weigh, that of `but` left out, bytes.
    pub fn xattr_weight(&self, from: &impl Source, ino: u64, but: &[u8]) -> Result<usize, Fault> {
        let all = self.xattrs(from, ino)?;
        Ok(all.iter().filter(|(n, _)| n != but).map(|(n, l)| n.len() + l + XATTR_EACH_BYTES).sum())
    }

    /// Sets extended attribute `name` (1..=255 bytes, no NUL) of `ino`, or removes it.
    pub fn set_xattr(
        &self,
        txn: &mut Txn<'_>,
        ino: u64,
        name: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), Fault> {
        for (k, _) in txn.range(&key::xattr(ino, name, 0), &after(ino, name), SCAN_KEYS)? {
            txn.delete(k);
        }
        let Some(value) = value else { return Ok(()) };
        let (head, tail) = value.split_at(value.len().min(XATTR_PART_BYTES));
        let mut first = BytesMut::with_capacity(4 + head.len());
        first.put_u32_le(u32::try_from(value.len()).unwrap_or(u32::MAX));
        first.put_slice(head);
        txn.put(key::xattr(ino, name, 0), first.freeze());
        for (n, part) in tail.chunks(XATTR_PART_BYTES).enumerate() {
            let part_number = u8::try_from(n + 1).unwrap_or(u8::MAX);
            txn.put(key::xattr(ino, name, part_number), Bytes::copy_from_slice(part));
        }
        Ok(())
    }
}

/// First key behind all parts of `name`.
fn after(ino: u64, name: &[u8]) -> Vec<u8> {
    let mut key = key::xattr(ino, name, u8::MAX);
    key.push(0);
    key
}

/// Length of the whole value, and the bytes in the first part.
fn split(first: &[u8]) -> Option<(usize, &[u8])> {
    let (len, head) = first.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*len) as usize, head))
}

trait SplitPart {
    /// `name ‖ 0 ‖ part` taken apart.
    fn split_last_part(self) -> Option<(Bytes, u8)>;
}

impl SplitPart for Bytes {
    fn split_last_part(self) -> Option<(Bytes, u8)> {
        match self.as_ref() {
            [name @ .., 0, part] => Some((self.slice(..name.len()), *part)),
            _ => None,
        }
    }
}
