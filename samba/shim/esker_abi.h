/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * esker_abi.h - what lies between the C and the Rust half of vfs_esker.
 *
 *	smbd -> C (knows Samba, nothing of the protocol) -> this -> Rust (knows the protocol,
 *	nothing of Samba) -> socket -> esker serve
 *
 * Rules for both sides:
 *
 * 1. Results: 0 or more is success, less than 0 is -errno. Nothing is said through errno.
 * 2. Everything is plain data and may be called from any thread (a directory's stream from one at a
 *    time). Pointers are only read or written during the call. No call is made back.
 * 3. Who asks is named in each call (`struct ek_who`), never taken from the thread: smbd changes the
 *    identity of its main thread alone, and a thread of the pool keeps whatever it was born with.
 * 4. A file (`struct ek_file`) counts its holders: ek_keep adds one, ek_release takes one away. It
 *    stands for an inode, not for a path; directories are files too. It knows its share.
 * 5. Names are bytes up to NUL, 255 at most and without '/', where a parameter is called `name`;
 *    a `path` may have several, and is taken from the file that stands before it, or from the share's
 *    root if it begins with '/'. No path leaves the share: the root's ".." is the root.
 * 6. Panics end as -EIO of that call. A call waits for a server that restarts as long as the share's
 *    patience says and is then -EIO; what was asked is done once, however often it was sent.
 *
 * The Rust side is src/abi.rs; tests there hold the sizes of these structures.
 */
#ifndef ESKER_ABI_H
#define ESKER_ABI_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ek_share;
struct ek_file;
struct ek_dir;

struct ek_who {
	uint32_t uid;
	uint32_t gid;
	uint32_t count;			/* of groups */
	uint32_t zero;
	const uint32_t *groups;
};

struct ek_time {
	int64_t sec;			/* since 1970, negative before */
	uint32_t nsec;			/* 0 .. 999999999 */
	uint32_t zero;
};

struct ek_attr {
	uint64_t ino;			/* never used again */
	uint64_t generation;
	uint64_t size;			/* bytes */
	uint64_t used;			/* bytes that take room */
	uint32_t mode;			/* S_IFMT and permission bits */
	uint32_t nlink;
	uint32_t uid;
	uint32_t gid;
	uint32_t rdev_major;
	uint32_t rdev_minor;
	struct ek_time atime;
	struct ek_time mtime;
	struct ek_time ctime;
};

struct ek_statfs {
	uint64_t total_bytes;
	uint64_t free_bytes;
	uint64_t total_files;
	uint64_t free_files;
};

/* ---- a share: one connection to one server, below one directory of its volume ---------------- */

struct ek_options {
	const char *server;		/* path of a Unix socket, or HOST:PORT */
	const char *secret;		/* file with the shared secret, NULL on a Unix socket */
	const char *root;		/* directory of the volume that is the share's root */
	uint32_t patience;		/* seconds that a call waits for a server that is away */
	uint32_t zero;
};

/* Connects; as root, since the server asks the kernel who is there. `device` names the volume, the
 * same in each smbd. -ENOENT, -ENOTDIR: the root; -EACCES: the server does not trust us. `why` gets a
 * sentence for the log. */
int ek_connect(const struct ek_options *options, struct ek_share **share, struct ek_file **root,
	       struct ek_attr *attr, uint64_t *device, char *why, size_t room);
/* Makes everything durable and ends the session. */
void ek_disconnect(struct ek_share *share);
int ek_statfs(struct ek_share *share, const struct ek_who *who, struct ek_statfs *out);

/* A turn of the event loop is over: what was said of files within it counts no more. Until then, and
 * until a change by this process, an answer may be one that was given before. */
void ek_turn(struct ek_share *share);

/* ---- files ----------------------------------------------------------------------------------- */

void ek_keep(struct ek_file *file);
void ek_release(struct ek_file *file);

#define EK_FOLLOW	1u	/* resolve a symbolic link at the end of the path too */
#define EK_NO_LINKS	2u	/* -ELOOP for any symbolic link on the way */

/* Finds what a path leads to. `canonical` (may be NULL) gets the path from the share's root, without
 * '/' before or behind, "" for the root itself; `file` (may be NULL) gets a holder. */
int ek_walk(struct ek_file *from, const struct ek_who *who, const char *path, uint32_t how,
	    char *canonical, size_t room, struct ek_file **file, struct ek_attr *attr);
/* One step; "." and ".." too. */
int ek_lookup(struct ek_file *dir, const struct ek_who *who, const char *name, struct ek_attr *attr);

/* open(2)'s flags. With O_PATH it makes nothing, needs no right to the file itself and does not follow
 * a symbolic link; without, a symbolic link is -ELOOP. `created`: this very call made it. */
int ek_open(struct ek_file *dir, const struct ek_who *who, const char *name, int flags, uint32_t mode,
	    struct ek_file **file, struct ek_attr *attr, int *created);
int ek_getattr(struct ek_file *file, const struct ek_who *who, struct ek_attr *attr);

#define EK_SET_MODE	1u
#define EK_SET_UID	2u
#define EK_SET_GID	4u
#define EK_SET_SIZE	8u
#define EK_SET_ATIME	16u
#define EK_SET_MTIME	32u
int ek_setattr(struct ek_file *file, const struct ek_who *who, uint32_t which,
	       const struct ek_attr *attr);

/* ---- names ----------------------------------------------------------------------------------- */

int ek_mkdir(struct ek_file *dir, const struct ek_who *who, const char *name, uint32_t mode);
int ek_mknod(struct ek_file *dir, const struct ek_who *who, const char *name, uint32_t mode,
	     uint32_t rdev_major, uint32_t rdev_minor);
int ek_symlink(struct ek_file *dir, const struct ek_who *who, const char *name, const char *target);
/* The target's length, cut to `room`; no NUL is added. */
ssize_t ek_readlink(struct ek_file *dir, const struct ek_who *who, const char *name, char *out,
		    size_t room);
int ek_link(struct ek_file *from, const char *name, struct ek_file *to, const char *new_name,
	    const struct ek_who *who);
int ek_unlink(struct ek_file *dir, const struct ek_who *who, const char *name, int directory);
#define EK_NO_REPLACE	1u
int ek_rename(struct ek_file *from, const char *name, struct ek_file *to, const char *new_name,
	      uint32_t flags, const struct ek_who *who);

/* The spelling in `out` (256 bytes) of a name that differs in upper and lower case alone; one that is
 * equal goes before. -ENOENT if there is none. */
int ek_find(struct ek_file *dir, const struct ek_who *who, const char *name, char *out);

/* A stream over a directory, "." and ".." included. Cookies are never 0, nor 0x80000000, which smbd
 * takes for its own. */
int ek_opendir(struct ek_file *dir, const struct ek_who *who, struct ek_dir **out);
/* 1 and an entry (name: 256 bytes), 0 at the end. `attr` may be NULL; attr->mode 0: not known. */
int ek_readdir(struct ek_dir *dir, char *name, uint64_t *ino, struct ek_attr *attr);
int64_t ek_telldir(struct ek_dir *dir);
void ek_seekdir(struct ek_dir *dir, int64_t cookie);
void ek_closedir(struct ek_dir *dir);

/* ---- contents -------------------------------------------------------------------------------- */

ssize_t ek_pread(struct ek_file *file, const struct ek_who *who, void *out, size_t n, uint64_t at);
ssize_t ek_pwrite(struct ek_file *file, const struct ek_who *who, const void *data, size_t n,
		  uint64_t at);
int ek_fsync(struct ek_file *file, const struct ek_who *who);
/* Bytes copied: all, or fewer where the source ends. */
int64_t ek_copy(struct ek_file *from, uint64_t at, struct ek_file *to, uint64_t to_at, uint64_t n,
		const struct ek_who *who);
/* lseek(2)'s SEEK_DATA and SEEK_HOLE. */
int64_t ek_seek(struct ek_file *file, const struct ek_who *who, uint64_t at, int hole);
/* Makes a hole; the size stays. */
int ek_punch(struct ek_file *file, const struct ek_who *who, uint64_t at, uint64_t n);

/* ---- extended attributes: as xattr(7), sizes too --------------------------------------------- */

ssize_t ek_getxattr(struct ek_file *file, const struct ek_who *who, const char *name, void *out,
		    size_t room);
ssize_t ek_listxattr(struct ek_file *file, const struct ek_who *who, char *out, size_t room);
/* flags: XATTR_CREATE, XATTR_REPLACE */
int ek_setxattr(struct ek_file *file, const struct ek_who *who, const char *name, const void *value,
		size_t n, int flags);
int ek_removexattr(struct ek_file *file, const struct ek_who *who, const char *name);

/* ---- byte ranges: owned by this open file, gone with it -------------------------------------- */

/* kind: F_RDLCK, F_WRLCK, F_UNLCK; n 0: to the end, wherever that is. -EAGAIN: somebody has it. */
int ek_lock(struct ek_file *file, const struct ek_who *who, int kind, uint64_t at, uint64_t n);
/* What stands in the way; kind F_UNLCK if nothing. */
int ek_getlock(struct ek_file *file, const struct ek_who *who, int *kind, uint64_t *at, uint64_t *n,
	       uint32_t *pid);

#endif
