/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * vfs_esker.h - what the C files of the module share.
 */
#ifndef VFS_ESKER_H
#define VFS_ESKER_H

#include "includes.h"
#include "smbd/smbd.h"
#include "lib/util/tevent_unix.h"
#include "lib/util/tevent_ntstatus.h"
#include "lib/pthreadpool/pthreadpool_tevent.h"
#include "lib/global_contexts.h"
#include "esker_abi.h"

#if SMB_VFS_INTERFACE_VERSION < 47 || SMB_VFS_INTERFACE_VERSION > 50
#error "vfs_esker knows the interfaces 47 (Samba 4.17) to 50 (4.22)"
#endif

/* Every open file has this number: no descriptor of the process, so that a call of the kernel's that
 * we forgot fails with EBADF and touches nobody's file. */
#define EK_FD 0x3ffffff0

/* handle->data */
struct share {
	struct ek_share *share;
	struct ek_file *root;
	uint64_t device;
	const char *prefix;		/* the share's path: no path of the kernel, only a name before ours */
	size_t prefix_len;
	struct pthreadpool_tevent *pool;
	struct tevent_immediate *turn;	/* comes when smbd is back in its event loop */
	bool armed;
};

/* On each open files_struct. */
struct open_file {
	struct ek_file *file;
};

struct share *share_of(struct vfs_handle_struct *handle);
struct ek_who who(void);
/* The calling process' groups copied below `mem`, for a thread. */
bool who_copy(TALLOC_CTX *mem, struct ek_who *out);
int result(int r);			/* -errno to errno and -1 */
ssize_t length(ssize_t r);
off_t offset(int64_t r);
void to_stat(const struct share *s, const struct ek_attr *a, SMB_STRUCT_STAT *st);
struct timespec to_timespec(struct ek_time t);

/* The file of an fsp, or NULL with errno. */
struct ek_file *file_of(struct vfs_handle_struct *handle, const struct files_struct *fsp);
/* The directory below which an at-call works, and the name or path there. */
struct ek_file *dir_of(struct vfs_handle_struct *handle, const struct files_struct *dirfsp,
		       const char *name, const char **rest);
/* The path within the share of an absolute path of smbd's; NULL: not ours. */
const char *within(const struct share *s, const char *path);
/* The current directory, if it is within the share; else NULL. */
struct ek_file *current(const struct share *s);

#define FN(ret, name) ret name(struct vfs_handle_struct *handle

/* share.c */
FN(int, ek_connect_fn), const char *service, const char *user);
FN(void, ek_disconnect_fn));
FN(uint64_t, ek_disk_free_fn), const struct smb_filename *name, uint64_t *bsize, uint64_t *dfree,
	uint64_t *dsize);
FN(int, ek_statvfs_fn), const struct smb_filename *name, struct vfs_statvfs_struct *out);
FN(uint32_t, ek_capabilities_fn), enum timestamp_set_resolution *resolution);
FN(int, ek_chdir_fn), const struct smb_filename *name);
FN(struct smb_filename *, ek_getwd_fn), TALLOC_CTX *mem);
FN(struct smb_filename *, ek_realpath_fn), TALLOC_CTX *mem, const struct smb_filename *name);

/* names.c */
FN(int, ek_openat_fn), const struct files_struct *dirfsp, const struct smb_filename *name,
	struct files_struct *fsp, const struct vfs_open_how *how);
FN(int, ek_close_fn), struct files_struct *fsp);
FN(int, ek_stat_fn), struct smb_filename *name);
FN(int, ek_lstat_fn), struct smb_filename *name);
FN(int, ek_fstat_fn), struct files_struct *fsp, SMB_STRUCT_STAT *st);
FN(int, ek_fstatat_fn), const struct files_struct *dirfsp, const struct smb_filename *name,
	SMB_STRUCT_STAT *st, int flags);
FN(int, ek_mkdirat_fn), struct files_struct *dirfsp, const struct smb_filename *name, mode_t mode);
FN(int, ek_unlinkat_fn), struct files_struct *dirfsp, const struct smb_filename *name, int flags);
FN(int, ek_renameat_fn), struct files_struct *from, const struct smb_filename *name,
	struct files_struct *to, const struct smb_filename *new_name
#if SMB_VFS_INTERFACE_VERSION >= 50
	, const struct vfs_rename_how *how
#endif
	);
FN(int, ek_symlinkat_fn), const struct smb_filename *target, struct files_struct *dirfsp,
	const struct smb_filename *name);
FN(int, ek_readlinkat_fn), const struct files_struct *dirfsp, const struct smb_filename *name,
	char *out, size_t room);
FN(int, ek_linkat_fn), struct files_struct *from, const struct smb_filename *name,
	struct files_struct *to, const struct smb_filename *new_name, int flags);
FN(int, ek_mknodat_fn), struct files_struct *dirfsp, const struct smb_filename *name, mode_t mode,
	SMB_DEV_T device);
FN(NTSTATUS, ek_real_filename_fn), struct files_struct *dirfsp, const char *name, TALLOC_CTX *mem,
	char **found);
FN(DIR *, ek_fdopendir_fn), struct files_struct *fsp, const char *mask, uint32_t attributes);
#if SMB_VFS_INTERFACE_VERSION >= 49
FN(struct dirent *, ek_readdir_fn), struct files_struct *dirfsp, DIR *dirp);
#else
FN(struct dirent *, ek_readdir_fn), struct files_struct *dirfsp, DIR *dirp, SMB_STRUCT_STAT *st);
FN(void, ek_seekdir_fn), DIR *dirp, long cookie);
FN(long, ek_telldir_fn), DIR *dirp);
#endif
FN(void, ek_rewinddir_fn), DIR *dirp);
FN(int, ek_closedir_fn), DIR *dirp);

/* data.c */
FN(ssize_t, ek_pread_fn), struct files_struct *fsp, void *data, size_t n, off_t at);
FN(ssize_t, ek_pwrite_fn), struct files_struct *fsp, const void *data, size_t n, off_t at);
FN(struct tevent_req *, ek_pread_send_fn), TALLOC_CTX *mem, struct tevent_context *ev,
	struct files_struct *fsp, void *data, size_t n, off_t at);
FN(struct tevent_req *, ek_pwrite_send_fn), TALLOC_CTX *mem, struct tevent_context *ev,
	struct files_struct *fsp, const void *data, size_t n, off_t at);
FN(struct tevent_req *, ek_fsync_send_fn), TALLOC_CTX *mem, struct tevent_context *ev,
	struct files_struct *fsp);
ssize_t ek_io_recv_fn(struct tevent_req *req, struct vfs_aio_state *state);
int ek_fsync_recv_fn(struct tevent_req *req, struct vfs_aio_state *state);
FN(off_t, ek_lseek_fn), struct files_struct *fsp, off_t at, int whence);
FN(int, ek_ftruncate_fn), struct files_struct *fsp, off_t size);
FN(int, ek_fallocate_fn), struct files_struct *fsp, uint32_t mode, off_t at, off_t n);
FN(bool, ek_lock_fn), struct files_struct *fsp, int op, off_t at, off_t n, int kind);
FN(bool, ek_getlock_fn), struct files_struct *fsp, off_t *at, off_t *n, int *kind, pid_t *pid);
/* For copies: a job of the pool. */
struct tevent_req *ek_copy_send(TALLOC_CTX *mem, struct tevent_context *ev,
	struct vfs_handle_struct *handle, struct ek_file *from, off_t at, struct ek_file *to,
	off_t to_at, size_t n);
ssize_t ek_copy_recv(struct tevent_req *req, int *error);

/* copy.c */
struct tevent_req *ek_offload_read_send_fn(TALLOC_CTX *mem, struct tevent_context *ev,
	struct vfs_handle_struct *handle, struct files_struct *fsp, uint32_t fsctl, uint32_t ttl,
	off_t at, size_t n);
NTSTATUS ek_offload_read_recv_fn(struct tevent_req *req, struct vfs_handle_struct *handle,
	TALLOC_CTX *mem, uint32_t *flags, uint64_t *n, DATA_BLOB *token);
FN(struct tevent_req *, ek_offload_write_send_fn), TALLOC_CTX *mem, struct tevent_context *ev,
	uint32_t fsctl, DATA_BLOB *token, off_t at, struct files_struct *to, off_t to_at, off_t n);
FN(NTSTATUS, ek_offload_write_recv_fn), struct tevent_req *req, off_t *copied);

/* attrs.c */
FN(uint64_t, ek_alloc_size_fn), struct files_struct *fsp, const SMB_STRUCT_STAT *st);
FN(int, ek_fchmod_fn), struct files_struct *fsp, mode_t mode);
FN(int, ek_fchown_fn), struct files_struct *fsp, uid_t uid, gid_t gid);
FN(int, ek_lchown_fn), const struct smb_filename *name, uid_t uid, gid_t gid);
FN(int, ek_fntimes_fn), struct files_struct *fsp, struct smb_file_time *times);
FN(ssize_t, ek_fgetxattr_fn), struct files_struct *fsp, const char *name, void *out, size_t room);
FN(ssize_t, ek_flistxattr_fn), struct files_struct *fsp, char *out, size_t room);
FN(int, ek_fsetxattr_fn), struct files_struct *fsp, const char *name, const void *value, size_t n,
	int flags);
FN(int, ek_fremovexattr_fn), struct files_struct *fsp, const char *name);

#endif
