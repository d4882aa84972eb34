//! Every operation as a method of its name; blocking and asynchronous clients have the same ones.

/// Operations without payloads: name, request, what they do.
macro_rules! plain {
    ($then:ident) => {
        $then! {
            ping: Ping, "Nothing; tells what is durable.";
            sync: Sync, "Waits until everything that is committed now is durable. Tells once, by \
[`Error::Lost`], of changes that were lost with a server.";
            stat: Stat, "Attributes, and extended ones, of what is at a place.";
            set_attributes: SetAttr, "Sets attributes.";
            open: Open, "Looks up, creates if wanted, opens. Take the handle's number from \
`new_handle`.";
            close_handle: Close, "Gives a handle back.";
            make_dir: MkDir, "Makes a directory.";
            make_symlink: Symlink, "Makes a symbolic link.";
            make_node: MkNod, "Makes a device, fifo, socket.";
            link: Link, "Adds a hard link.";
            unlink: Unlink, "Removes a name.";
            rename: Rename, "Renames.";
            read_link: ReadLink, "What a symbolic link says.";
            access: Access, "What the caller may do.";
            find_name: FindName, "The name as it is written, whatever its case.";
            stat_fs: StatFs, "Room and numbers of the volume.";
            fsync: FSync, "Waits until all that was done to a file is durable. Tells of lost \
changes as `sync` does.";
            seek: Seek, "The next data or hole.";
            ranges: Ranges, "All stretches that hold data.";
            allocate: Allocate, "Allocates, punches, zeroes.";
            copy: Copy, "Copies within the volume.";
            remove_xattr: RemoveXattr, "Removes an extended attribute.";
            lock: Lock, "Takes, changes or waits for a byte-range lock.";
            unlock: Unlock, "Releases what an owner holds in a range.";
            test_lock: TestLock, "What stands in the way of a lock.";
        }
    };
}
pub(crate) use plain;

/// The entries in the payload of an answer to READDIR.
pub(crate) fn entries(
    listed: &rpc::calls::Listed,
    payload: &bytes::Bytes,
) -> Result<Vec<rpc::Entry>, rpc::Malformed> {
    use rpc::Wire as _;
    let mut from = rpc::Reader::new(payload);
    // Each takes 25 bytes at least: a count alone costs no memory.
    let count = (listed.count as usize).min(payload.len() / 25 + 1);
    let mut entries = Vec::with_capacity(count);
    for _ in 0..listed.count {
        entries.push(rpc::Entry::take(&mut from)?);
    }
    from.end()?;
    Ok(entries)
}

/// The names in the payload of an answer to LISTXATTR.
pub(crate) fn names(payload: &[u8]) -> Vec<Vec<u8>> {
    payload.split(|b| *b == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}
