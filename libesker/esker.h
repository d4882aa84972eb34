/* libesker: files of an Esker volume, by its RPC. See docs/client.md.
 *
 * Every function may be called by any thread. Results below 0 are -errno; esker_error() has words.
 * Nothing here raises signals, and nothing is known to a child of fork(): there each call fails.
 *
 * Made from libesker/src by cbindgen: change it there. */

#ifndef ESKER_H
#define ESKER_H

#include <stdint.h>
#include <stddef.h>

/*
 A connection to a server, with all that is open by it.
 */
typedef struct esker_client esker_client;

/*
 A directory that is being read.
 */
typedef struct esker_dir esker_dir;

/*
 Who asks. A server believes trusted programs only: see docs/rpc.md.
 */
typedef struct esker_who {
  /*
   Effective uid.
   */
  uint32_t uid;
  /*
   Effective gid.
   */
  uint32_t gid;
  /*
   Supplementary groups, `group_count` of them.
   */
  const uint32_t *groups;
  /*
   How many.
   */
  size_t group_count;
} esker_who;

/*
 What is known of a file.
 */
typedef struct esker_attributes {
  /*
   Inode number.
   */
  uint64_t ino;
  /*
   Length, bytes.
   */
  uint64_t size;
  /*
   Bytes allocated.
   */
  uint64_t used;
  /*
   Times: seconds since 1970, signed, and nanoseconds.
   */
  int64_t atime_sec;
  /*
   Last change of the content.
   */
  int64_t mtime_sec;
  /*
   Last change of anything.
   */
  int64_t ctime_sec;
  /*
   Nanoseconds of them.
   */
  uint32_t atime_nsec;
  /*
   Nanoseconds.
   */
  uint32_t mtime_nsec;
  /*
   Nanoseconds.
   */
  uint32_t ctime_nsec;
  /*
   Tells inodes of one number apart.
   */
  uint32_t generation;
  /*
   1 file, 2 directory, 3 symbolic link, 4 block, 5 character device, 6 fifo, 7 socket.
   */
  uint32_t kind;
  /*
   Permission bits.
   */
  uint32_t mode;
  /*
   Hard links.
   */
  uint32_t nlink;
  /*
   Owner.
   */
  uint32_t uid;
  /*
   Group.
   */
  uint32_t gid;
  /*
   Of a device.
   */
  uint32_t major;
  /*
   Of a device.
   */
  uint32_t minor;
} esker_attributes;

/*
 One entry.
 */
typedef struct esker_entry {
  /*
   Its name; valid until the next call with this directory.
   */
  const char *name;
  /*
   What it is.
   */
  struct esker_attributes attributes;
} esker_entry;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 Connects to `address` (unix:PATH or HOST:PORT), by `secret` where it asks for one (else null).
 A server that is away for longer than `patience_ms` (0: a minute), now or later, is -EIO.

 # Safety
 Strings end with a NUL; `out` may be written.
 */
int32_t esker_connect(const char *address,
                      const char *secret,
                      uint32_t patience_ms,
                      struct esker_client **out);

/*
 Makes all durable and ends the connection: open files are closed, locks released. Afterwards the
 pointer is no more, whatever the result.

 # Safety
 `client` came from `esker_connect`, and no other thread uses it.
 */
int32_t esker_close(struct esker_client *client);

/*
 Copies the words of this thread's last error, with a NUL, to `buffer`; gives their length.

 # Safety
 `size` bytes at `buffer` may be written.
 */
size_t esker_error(char *buffer,
                   size_t size);

/*
 Opens `path`: a handle, or -errno. `flags`: 1 read, 2 write, 4 create, 8 only if there is none,
 16 cut to no bytes, 32 only a directory. `mode`: permissions of a file that is made.

 # Safety
 `client` lives, `path` ends with a NUL, `who` is null or one.
 */
int64_t esker_open(const struct esker_client *client,
                   const struct esker_who *who,
                   const char *path,
                   uint32_t flags,
                   uint32_t mode);

/*
 Gives a handle back.

 # Safety
 `client` lives.
 */
int32_t esker_close_handle(const struct esker_client *client, uint32_t handle);

/*
 Reads up to `size` bytes at `offset`: how many, fewer only at the end of the file.

 # Safety
 `client` lives, `size` bytes at `buffer` may be written.
 */
int64_t esker_read(const struct esker_client *client,
                   uint32_t handle,
                   uint8_t *buffer,
                   size_t size,
                   uint64_t offset);

/*
 Writes `size` bytes at `offset`: all of them, or -errno.

 # Safety
 `client` lives, `size` bytes at `data` may be read.
 */
int64_t esker_write(const struct esker_client *client,
                    uint32_t handle,
                    const uint8_t *data,
                    size_t size,
                    uint64_t offset);

/*
 Writes `size` bytes, at most one request's payload (1 MiB), at the end of the file, wherever that
 is then.

 # Safety
 As `esker_write`.
 */
int64_t esker_append(const struct esker_client *client,
                     uint32_t handle,
                     const uint8_t *data,
                     size_t size);

/*
 Waits until all that was done to a file is durable. -EIO, once, also where changes were lost with
 a server that died, and could not be made again.

 # Safety
 `client` lives.
 */
int32_t esker_fsync(const struct esker_client *client,
                    uint32_t handle);

/*
 The same of everything.

 # Safety
 `client` lives.
 */
int32_t esker_sync(const struct esker_client *client);

/*
 Attributes of an open file.

 # Safety
 `client` lives, `out` may be written.
 */
int32_t esker_fstat(const struct esker_client *client,
                    uint32_t handle,
                    struct esker_attributes *out);

/*
 Cuts an open file, or extends it with a hole.

 # Safety
 `client` lives.
 */
int32_t esker_truncate(const struct esker_client *client, uint32_t handle, uint64_t size);

/*
 Attributes of what is at a path; `follow` (not 0): of what a link at its end points to.

 # Safety
 `client` lives, `path` ends with a NUL, `who` is null or one, `out` may be written.
 */
int32_t esker_stat(const struct esker_client *client,
                   const struct esker_who *who,
                   const char *path,
                   int32_t follow,
                   struct esker_attributes *out);

/*
 Makes a directory.

 # Safety
 `client` lives, `path` ends with a NUL, `who` is null or one.
 */
int32_t esker_mkdir(const struct esker_client *client,
                    const struct esker_who *who,
                    const char *path,
                    uint32_t mode);

/*
 Removes a name that is no directory's.

 # Safety
 `client` lives, `path` ends with a NUL, `who` is null or one.
 */
int32_t esker_unlink(const struct esker_client *client,
                     const struct esker_who *who,
                     const char *path);

/*
 Removes an empty directory.

 # Safety
 As `esker_unlink`.
 */
int32_t esker_rmdir(const struct esker_client *client,
                    const struct esker_who *who,
                    const char *path);

/*
 Renames; what stands at the new name is replaced, unless `no_replace` (not 0).

 # Safety
 `client` lives, paths end with a NUL, `who` is null or one.
 */
int32_t esker_rename(const struct esker_client *client,
                     const struct esker_who *who,
                     const char *from,
                     const char *to,
                     int32_t no_replace);

/*
 Adds a hard link `to` for what is at `from`.

 # Safety
 As `esker_rename`.
 */
int32_t esker_link(const struct esker_client *client,
                   const struct esker_who *who,
                   const char *from,
                   const char *to);

/*
 Makes a symbolic link at `path` that says `target`.

 # Safety
 As `esker_rename`.
 */
int32_t esker_symlink(const struct esker_client *client,
                      const struct esker_who *who,
                      const char *target,
                      const char *path);

/*
 What a symbolic link says, without a NUL: its length; no more than `size` of it is copied.

 # Safety
 `client` lives, `path` ends with a NUL, `who` is null or one, `size` bytes at `buffer` may be
 written.
 */
int64_t esker_readlink(const struct esker_client *client,
                       const struct esker_who *who,
                       const char *path,
                       uint8_t *buffer,
                       size_t size);

/*
 Sets permissions.

 # Safety
 `client` lives, `path` ends with a NUL, `who` is null or one.
 */
int32_t esker_chmod(const struct esker_client *client,
                    const struct esker_who *who,
                    const char *path,
                    uint32_t mode);

/*
 Sets owner and group; 4294967295 (-1): leave.

 # Safety
 As `esker_chmod`.
 */
int32_t esker_chown(const struct esker_client *client,
                    const struct esker_who *who,
                    const char *path,
                    uint32_t uid,
                    uint32_t gid);

/*
 Value of an extended attribute: its length; no more than `size` of it is copied.

 # Safety
 As `esker_readlink`; `name` ends with a NUL.
 */
int64_t esker_getxattr(const struct esker_client *client,
                       const struct esker_who *who,
                       const char *path,
                       const char *name,
                       uint8_t *buffer,
                       size_t size);

/*
 Sets an extended attribute. `flags`: 1 only if there is none, 2 only if there is one.

 # Safety
 `client` lives, strings end with a NUL, `who` is null or one, `size` bytes at `value` may be read.
 */
int32_t esker_setxattr(const struct esker_client *client,
                       const struct esker_who *who,
                       const char *path,
                       const char *name,
                       const uint8_t *value,
                       size_t size,
                       uint32_t flags);

/*
 Begins to read a directory.

 # Safety
 `client` lives, `path` ends with a NUL, `who` is null or one, `out` may be written.
 */
int32_t esker_opendir(const struct esker_client *client,
                      const struct esker_who *who,
                      const char *path,
                      struct esker_dir **out);

/*
 The next entry: 1, and 0 behind the last one.

 # Safety
 `dir` lives and no other thread uses it, `out` may be written.
 */
int32_t esker_readdir(struct esker_dir *dir, struct esker_entry *out);

/*
 Ends reading.

 # Safety
 `dir` came from `esker_opendir`, or is null; it is no more afterwards.
 */
int32_t esker_closedir(struct esker_dir *dir);

/*
 Locks `len` bytes (0: to the end) from `start` of an open file for `owner`. `kind`: 1 shared,
 2 alone. `wait` (not 0): until it can be had, else -EAGAIN at once.

 # Safety
 `client` lives.
 */
int32_t esker_lock(const struct esker_client *client,
                   uint32_t handle,
                   uint64_t owner,
                   uint64_t start,
                   uint64_t len,
                   uint8_t kind,
                   int32_t wait);

/*
 Releases what `owner` holds there.

 # Safety
 `client` lives.
 */
int32_t esker_unlock(const struct esker_client *client,
                     uint32_t handle,
                     uint64_t owner,
                     uint64_t start,
                     uint64_t len);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* ESKER_H */
