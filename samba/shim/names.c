/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * names.c - opening, looking up, and changing names.
 *
 * An at-call goes by the inode of its directory and one name: no path is walked, and nobody can swap
 * a directory in between.  Only where smbd gives a path, or a directory that we did not open, we walk.
 */
#include "vfs_esker.h"

struct timespec to_timespec(struct ek_time t)
{
	return (struct timespec){ .tv_sec = t.sec, .tv_nsec = t.nsec };
}

void to_stat(const struct share *s, const struct ek_attr *a, SMB_STRUCT_STAT *st)
{
	*st = (SMB_STRUCT_STAT){
		.st_ex_dev = s->device,
		.st_ex_ino = a->ino,
		.st_ex_mode = a->mode,
		.st_ex_nlink = a->nlink,
		.st_ex_uid = a->uid,
		.st_ex_gid = a->gid,
		.st_ex_rdev = makedev(a->rdev_major, a->rdev_minor),
		.st_ex_size = a->size,
		.st_ex_atime = to_timespec(a->atime),
		.st_ex_mtime = to_timespec(a->mtime),
		.st_ex_ctime = to_timespec(a->ctime),
		.st_ex_blksize = 4096,
		/* In whole pieces of 4 KiB, as clients expect of an allocation. */
		.st_ex_blocks = (a->used + 4095) / 4096 * 8,
		/* The volume keeps no birth time; smbd keeps it in user.DOSATTRIB and reads it there. */
		.st_ex_iflags = ST_EX_IFLAG_CALCULATED_BTIME,
#if SMB_VFS_INTERFACE_VERSION >= 48
		.cached_dos_attributes = FILE_ATTRIBUTE_INVALID,
#endif
	};
	st->st_ex_btime = st->st_ex_mtime;
	if (timespec_compare(&st->st_ex_ctime, &st->st_ex_btime) < 0) {
		st->st_ex_btime = st->st_ex_ctime;
	}
	if (timespec_compare(&st->st_ex_atime, &st->st_ex_btime) < 0) {
		st->st_ex_btime = st->st_ex_atime;
	}
}

static void forget(void *p)
{
	struct open_file *open = p;

	ek_release(open->file);
}

static struct open_file *remember(struct vfs_handle_struct *handle, struct files_struct *fsp,
				  struct ek_file *file)
{
	struct open_file *open = VFS_ADD_FSP_EXTENSION(handle, fsp, struct open_file, forget);

	if (open == NULL) {
		ek_release(file);
		errno = ENOMEM;
		return NULL;
	}
	*open = (struct open_file){ .file = file };
	return open;
}

struct ek_file *file_of(struct vfs_handle_struct *handle, const struct files_struct *fsp)
{
	struct share *s = share_of(handle);
	struct open_file *open;
	struct ek_file *file = NULL;
	struct ek_attr attr;
	struct ek_who me;

	if (s == NULL) {
		errno = ENOTCONN;
		return NULL;
	}
	open = VFS_FETCH_FSP_EXTENSION(handle, fsp);
	if (open != NULL) {
		return open->file;
	}
	if (fsp == fsp->conn->cwd_fsp && current(s) != NULL) {
		return current(s);
	}
	/* smbd made this one without an open; from here on it has one. */
	me = who();
	{
		const char *name = fsp->fsp_name->base_name;
		const char *inside = name[0] == '/' ? within(s, name) : name;
		struct ek_file *from = name[0] == '/' ? s->root : current(s);
		int r = -ENOENT;

		if (inside != NULL && from != NULL) {
			r = ek_walk(from, &me, inside, 0, NULL, 0, &file, &attr);
		}
		if (result(r) != 0) {
			return NULL;
		}
	}
	open = remember(handle, discard_const_p(struct files_struct, fsp), file);
	return open != NULL ? open->file : NULL;
}

struct ek_file *dir_of(struct vfs_handle_struct *handle, const struct files_struct *dirfsp,
		       const char *name, const char **rest)
{
	struct share *s = share_of(handle);

	if (s == NULL) {
		errno = ENOTCONN;
		return NULL;
	}
	*rest = name;
	if (name[0] == '/') {
		const char *inside = within(s, name);

		if (inside == NULL) {
			errno = ENOENT;
			return NULL;
		}
		/* "/" is the root itself, else what stands behind the slash. */
		*rest = inside[1] != '\0' ? inside + 1 : ".";
		return s->root;
	}
	return file_of(handle, dirfsp);
}

/* Where the last component of `path` lies: `*dir` (with a holder of its own) and its name. */
static int parent_of(struct vfs_handle_struct *handle, const struct files_struct *dirfsp,
		     const char *path, struct ek_file **dir, const char **name)
{
	struct ek_file *from = dir_of(handle, dirfsp, path, &path);
	const char *slash = strrchr(path, '/');
	struct ek_who me = who();
	struct ek_attr attr;
	char *above;
	int r;

	if (from == NULL) {
		return -1;
	}
	if (slash == NULL) {
		ek_keep(from);
		*dir = from;
		*name = path;
		return 0;
	}
	above = talloc_strndup(talloc_tos(), path, slash - path);
	if (above == NULL) {
		errno = ENOMEM;
		return -1;
	}
	r = ek_walk(from, &me, above, EK_FOLLOW, NULL, 0, dir, &attr);
	TALLOC_FREE(above);
	*name = slash + 1;
	return result(r);
}

/* Streams are made above us, by streams_xattr, from extended attributes; the one called ::$DATA is the
 * file itself. */
static bool is_stream(const struct smb_filename *name)
{
	if (!is_named_stream(name)) {
		return false;
	}
	errno = ENOENT;
	return true;
}

int ek_openat_fn(struct vfs_handle_struct *handle, const struct files_struct *dirfsp,
		 const struct smb_filename *name, struct files_struct *fsp,
		 const struct vfs_open_how *how)
{
	struct ek_who me = who();
	int flags = how->flags, created = 0, r;
	struct ek_file *dir = NULL, *file = NULL;
	struct ek_attr attr;
	const char *last;

	if (is_stream(name)) {
		return -1;
	}
	fsp->fsp_flags.have_proc_fds = false;
	if (fsp->fsp_flags.is_pathref) {
		flags |= O_PATH;
	}
	if (how->resolve & ~VFS_OPEN_HOW_RESOLVE_NO_SYMLINKS) {
		errno = ENOSYS;
		return -1;
	}
	if (how->resolve & VFS_OPEN_HOW_RESOLVE_NO_SYMLINKS) {
		/* A whole path, of which nothing may be a link: only to look, never to make. */
		if (!(flags & O_PATH)) {
			errno = ENOSYS;
			return -1;
		}
		dir = dir_of(handle, dirfsp, name->base_name, &last);
		if (dir == NULL) {
			return -1;
		}
		r = ek_walk(dir, &me, last, EK_NO_LINKS, NULL, 0, &file, &attr);
	} else {
		if (parent_of(handle, dirfsp, name->base_name, &dir, &last) != 0) {
			return -1;
		}
		r = ek_open(dir, &me, last, flags, how->mode, &file, &attr, &created);
		ek_release(dir);
	}
	if (result(r) != 0) {
		return -1;
	}
	if ((flags & O_DIRECTORY) && !S_ISDIR(attr.mode)) {
		ek_release(file);
		errno = ENOTDIR;
		return -1;
	}
	return remember(handle, fsp, file) != NULL ? EK_FD : -1;
}

int ek_close_fn(struct vfs_handle_struct *handle, struct files_struct *fsp)
{
	if (VFS_FETCH_FSP_EXTENSION(handle, fsp) == NULL) {
		errno = EBADF;
		return -1;
	}
	/* Lets go of the file. What was written is committed, and durable when smbd asked for it. */
	VFS_REMOVE_FSP_EXTENSION(handle, fsp);
	return 0;
}

static int stat_path(struct vfs_handle_struct *handle, struct smb_filename *name, uint32_t how)
{
	struct share *s = share_of(handle);
	struct ek_who me = who();
	struct ek_file *from;
	struct ek_attr attr;
	const char *path;

	if (is_stream(name)) {
		return -1;
	}
	if (s == NULL) {
		errno = ENOTCONN;
		return -1;
	}
	from = dir_of(handle, handle->conn->cwd_fsp, name->base_name, &path);
	if (from == NULL || result(ek_walk(from, &me, path, how, NULL, 0, NULL, &attr)) != 0) {
		return -1;
	}
	to_stat(s, &attr, &name->st);
	return 0;
}

int ek_stat_fn(struct vfs_handle_struct *handle, struct smb_filename *name)
{
	struct share *s = share_of(handle);

	/* Having left the share, smbd stands somewhere in the machine. */
	if (s != NULL && current(s) == NULL && name->base_name[0] != '/') {
		return SMB_VFS_NEXT_STAT(handle, name);
	}
	return stat_path(handle, name, EK_FOLLOW);
}

int ek_lstat_fn(struct vfs_handle_struct *handle, struct smb_filename *name)
{
	return stat_path(handle, name, 0);
}

int ek_fstat_fn(struct vfs_handle_struct *handle, struct files_struct *fsp, SMB_STRUCT_STAT *st)
{
	struct share *s = share_of(handle);
	struct ek_file *file = file_of(handle, fsp);
	struct ek_who me = who();
	struct ek_attr attr;

	if (file == NULL || result(ek_getattr(file, &me, &attr)) != 0) {
		return -1;
	}
	to_stat(s, &attr, st);
	return 0;
}

int ek_fstatat_fn(struct vfs_handle_struct *handle, const struct files_struct *dirfsp,
		  const struct smb_filename *name, SMB_STRUCT_STAT *st, int flags)
{
	struct ek_who me = who();
	struct ek_file *from;
	struct ek_attr attr;
	const char *path;
	uint32_t how = flags & AT_SYMLINK_NOFOLLOW ? 0 : EK_FOLLOW;

	if (is_stream(name)) {
		return -1;
	}
	from = dir_of(handle, dirfsp, name->base_name, &path);
	if (from == NULL || result(ek_walk(from, &me, path, how, NULL, 0, NULL, &attr)) != 0) {
		return -1;
	}
	to_stat(share_of(handle), &attr, st);
	return 0;
}

/* What changes one name: `did` is the call's own result. */
#define AT_NAME(handle, dirfsp, path, call) ({ \
	struct ek_file *dir_; \
	const char *name_; \
	int did_ = parent_of((handle), (dirfsp), (path), &dir_, &name_); \
	if (did_ == 0) { \
		struct ek_who me_ = who(); \
		did_ = result(call); \
		ek_release(dir_); \
	} \
	did_; \
})

int ek_mkdirat_fn(struct vfs_handle_struct *handle, struct files_struct *dirfsp,
		  const struct smb_filename *name, mode_t mode)
{
	return AT_NAME(handle, dirfsp, name->base_name, ek_mkdir(dir_, &me_, name_, mode));
}

int ek_unlinkat_fn(struct vfs_handle_struct *handle, struct files_struct *dirfsp,
		   const struct smb_filename *name, int flags)
{
	if (is_stream(name)) {
		return -1;
	}
	return AT_NAME(handle, dirfsp, name->base_name,
		       ek_unlink(dir_, &me_, name_, (flags & AT_REMOVEDIR) != 0));
}

int ek_symlinkat_fn(struct vfs_handle_struct *handle, const struct smb_filename *target,
		    struct files_struct *dirfsp, const struct smb_filename *name)
{
	return AT_NAME(handle, dirfsp, name->base_name,
		       ek_symlink(dir_, &me_, name_, target->base_name));
}

int ek_mknodat_fn(struct vfs_handle_struct *handle, struct files_struct *dirfsp,
		  const struct smb_filename *name, mode_t mode, SMB_DEV_T device)
{
	return AT_NAME(handle, dirfsp, name->base_name,
		       ek_mknod(dir_, &me_, name_, mode, major(device), minor(device)));
}

int ek_readlinkat_fn(struct vfs_handle_struct *handle, const struct files_struct *dirfsp,
		     const struct smb_filename *name, char *out, size_t room)
{
	struct ek_who me = who();
	struct ek_file *dir;
	const char *last;
	ssize_t n;

	if (parent_of(handle, dirfsp, name->base_name, &dir, &last) != 0) {
		return -1;
	}
	n = length(ek_readlink(dir, &me, last, out, room));
	ek_release(dir);
	return n;
}

/* Two places at once, for renames and links. */
struct two {
	struct ek_file *from, *to;
	const char *name, *new_name;
};

static int two_places(struct vfs_handle_struct *handle, const struct files_struct *from,
		      const struct smb_filename *name, const struct files_struct *to,
		      const struct smb_filename *new_name, struct two *out)
{
	if (is_stream(name) || is_stream(new_name)) {
		return -1;
	}
	if (parent_of(handle, from, name->base_name, &out->from, &out->name) != 0) {
		return -1;
	}
	if (parent_of(handle, to, new_name->base_name, &out->to, &out->new_name) != 0) {
		ek_release(out->from);
		return -1;
	}
	return 0;
}

static void two_done(struct vfs_handle_struct *handle, struct two *p)
{
	ek_release(p->from);
	ek_release(p->to);
}

int ek_renameat_fn(struct vfs_handle_struct *handle, struct files_struct *from,
		   const struct smb_filename *name, struct files_struct *to,
		   const struct smb_filename *new_name
#if SMB_VFS_INTERFACE_VERSION >= 50
		   , const struct vfs_rename_how *how
#endif
	)
{
	uint32_t flags = 0;
	struct ek_who me = who();
	struct two p;
	int r;

#if SMB_VFS_INTERFACE_VERSION >= 50
	flags = how->flags & VFS_RENAME_HOW_NO_REPLACE ? EK_NO_REPLACE : 0;
#endif
	if (two_places(handle, from, name, to, new_name, &p) != 0) {
		return -1;
	}
	r = ek_rename(p.from, p.name, p.to, p.new_name, flags, &me);
	two_done(handle, &p);
	return result(r);
}

int ek_linkat_fn(struct vfs_handle_struct *handle, struct files_struct *from,
		 const struct smb_filename *name, struct files_struct *to,
		 const struct smb_filename *new_name, int flags)
{
	struct ek_who me = who();
	struct two p;
	int r;

	if (two_places(handle, from, name, to, new_name, &p) != 0) {
		return -1;
	}
	r = ek_link(p.from, p.name, p.to, p.new_name, &me);
	two_done(handle, &p);
	return result(r);
}

NTSTATUS ek_real_filename_fn(struct vfs_handle_struct *handle, struct files_struct *dirfsp,
			     const char *name, TALLOC_CTX *mem, char **found)
{
	struct ek_file *dir = file_of(handle, dirfsp);
	struct ek_who me = who();
	char spelled[256];

	if (dir == NULL || result(ek_find(dir, &me, name, spelled)) != 0) {
		/* Without this answer smbd reads the directory itself. */
		return errno == EOPNOTSUPP ? NT_STATUS_NOT_SUPPORTED : map_nt_error_from_unix(errno);
	}
	*found = talloc_strdup(mem, spelled);
	return *found != NULL ? NT_STATUS_OK : NT_STATUS_NO_MEMORY;
}

/* ---- directories: smbd never looks into a DIR, so it can be ours ----------------------------- */

struct stream {
	struct ek_dir *dir;
	struct dirent entry;
};

DIR *ek_fdopendir_fn(struct vfs_handle_struct *handle, struct files_struct *fsp, const char *mask,
		     uint32_t attributes)
{
	struct ek_file *file = file_of(handle, fsp);
	struct ek_who me = who();
	struct stream *stream;
	int r;

	if (file == NULL) {
		return NULL;
	}
	stream = talloc_zero(share_of(handle), struct stream);
	if (stream == NULL) {
		errno = ENOMEM;
		return NULL;
	}
	r = ek_opendir(file, &me, &stream->dir);
	if (result(r) != 0) {
		int saved = errno;

		TALLOC_FREE(stream);
		errno = saved;
		return NULL;
	}
	return (DIR *)stream;
}

static struct dirent *next_entry(struct vfs_handle_struct *handle, DIR *dirp, SMB_STRUCT_STAT *st)
{
	struct stream *stream = (struct stream *)dirp;
	struct ek_attr attr = { .mode = 0 };
	uint64_t ino = 0;

	errno = 0;
	if (result(ek_readdir(stream->dir, stream->entry.d_name, &ino, &attr)) != 1) {
		return NULL;
	}
	stream->entry.d_ino = ino;
	stream->entry.d_type = IFTODT(attr.mode);
	if (st != NULL) {
		SET_STAT_INVALID(*st);
		if (attr.mode != 0 && !S_ISLNK(attr.mode)) {
			to_stat(share_of(handle), &attr, st);
		}
	}
	return &stream->entry;
}

#if SMB_VFS_INTERFACE_VERSION >= 49
struct dirent *ek_readdir_fn(struct vfs_handle_struct *handle, struct files_struct *dirfsp, DIR *dirp)
{
	return next_entry(handle, dirp, NULL);
}
#else
struct dirent *ek_readdir_fn(struct vfs_handle_struct *handle, struct files_struct *dirfsp, DIR *dirp,
			     SMB_STRUCT_STAT *st)
{
	return next_entry(handle, dirp, st);
}

void ek_seekdir_fn(struct vfs_handle_struct *handle, DIR *dirp, long cookie)
{
	ek_seekdir(((struct stream *)dirp)->dir, cookie);
}

long ek_telldir_fn(struct vfs_handle_struct *handle, DIR *dirp)
{
	return ek_telldir(((struct stream *)dirp)->dir);
}
#endif

void ek_rewinddir_fn(struct vfs_handle_struct *handle, DIR *dirp)
{
	ek_seekdir(((struct stream *)dirp)->dir, 0);
}

int ek_closedir_fn(struct vfs_handle_struct *handle, DIR *dirp)
{
	struct stream *stream = (struct stream *)dirp;

	ek_closedir(stream->dir);
	TALLOC_FREE(stream);
	return 0;
}
