/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * attrs.c - modes, owners, times, extended attributes.
 */
#include "vfs_esker.h"

uint64_t ek_alloc_size_fn(struct vfs_handle_struct *handle, struct files_struct *fsp,
			  const SMB_STRUCT_STAT *st)
{
	uint64_t n = (uint64_t)st->st_ex_blocks * 512;

	if (S_ISDIR(st->st_ex_mode)) {
		return 0;
	}
	if (fsp != NULL && fsp->initial_allocation_size > n) {
		n = fsp->initial_allocation_size;
	}
	return smb_roundup(handle->conn, n);
}

static int set(struct vfs_handle_struct *handle, struct ek_file *file, uint32_t which,
	       const struct ek_attr *attr)
{
	struct ek_who me = who();

	if (file == NULL) {
		return -1;
	}
	return result(ek_setattr(file, &me, which, attr));
}

int ek_fchmod_fn(struct vfs_handle_struct *handle, struct files_struct *fsp, mode_t mode)
{
	struct ek_attr attr = { .mode = mode & 07777 };

	return set(handle, file_of(handle, fsp), EK_SET_MODE, &attr);
}

/* (uid_t)-1 and (gid_t)-1 leave what is, as in chown(2). */
static uint32_t owners(uid_t uid, gid_t gid)
{
	return (uid != (uid_t)-1 ? EK_SET_UID : 0) | (gid != (gid_t)-1 ? EK_SET_GID : 0);
}

int ek_fchown_fn(struct vfs_handle_struct *handle, struct files_struct *fsp, uid_t uid, gid_t gid)
{
	struct ek_attr attr = { .uid = uid, .gid = gid };

	return set(handle, file_of(handle, fsp), owners(uid, gid), &attr);
}

int ek_lchown_fn(struct vfs_handle_struct *handle, const struct smb_filename *name, uid_t uid, gid_t gid)
{
	struct ek_attr attr = { .uid = uid, .gid = gid }, found;
	struct ek_file *from, *file = NULL;
	struct ek_who me = who();
	const char *path;
	int r;

	from = dir_of(handle, handle->conn->cwd_fsp, name->base_name, &path);
	if (from == NULL || result(ek_walk(from, &me, path, 0, NULL, 0, &file, &found)) != 0) {
		return -1;
	}
	r = set(handle, file, owners(uid, gid), &attr);
	ek_release(file);
	return r;
}

static struct ek_time from_timespec(const struct timespec *t)
{
	return (struct ek_time){ .sec = t->tv_sec, .nsec = t->tv_nsec };
}

int ek_fntimes_fn(struct vfs_handle_struct *handle, struct files_struct *fsp,
		  struct smb_file_time *times)
{
	struct ek_attr attr = { .mode = 0 };
	uint32_t which = 0;

	if (!is_omit_timespec(&times->create_time)) {
		/* Kept by smbd in user.DOSATTRIB: the volume knows no birth times. */
		set_create_timespec_ea(fsp, times->create_time);
	}
	if (!is_omit_timespec(&times->atime)) {
		which |= EK_SET_ATIME;
		attr.atime = from_timespec(&times->atime);
	}
	if (!is_omit_timespec(&times->mtime)) {
		which |= EK_SET_MTIME;
		attr.mtime = from_timespec(&times->mtime);
	}
	return which == 0 ? 0 : set(handle, file_of(handle, fsp), which, &attr);
}

ssize_t ek_fgetxattr_fn(struct vfs_handle_struct *handle, struct files_struct *fsp, const char *name,
			void *out, size_t room)
{
	struct ek_file *file = file_of(handle, fsp);
	struct ek_who me = who();

	return file == NULL ? -1 : length(ek_getxattr(file, &me, name, out, room));
}

ssize_t ek_flistxattr_fn(struct vfs_handle_struct *handle, struct files_struct *fsp, char *out,
			 size_t room)
{
	struct ek_file *file = file_of(handle, fsp);
	struct ek_who me = who();

	return file == NULL ? -1 : length(ek_listxattr(file, &me, out, room));
}

int ek_fsetxattr_fn(struct vfs_handle_struct *handle, struct files_struct *fsp, const char *name,
		    const void *value, size_t n, int flags)
{
	struct ek_file *file = file_of(handle, fsp);
	struct ek_who me = who();

	if (file == NULL) {
		return -1;
	}
	return result(ek_setxattr(file, &me, name, value, n, flags));
}

int ek_fremovexattr_fn(struct vfs_handle_struct *handle, struct files_struct *fsp, const char *name)
{
	struct ek_file *file = file_of(handle, fsp);
	struct ek_who me = who();

	if (file == NULL) {
		return -1;
	}
	return result(ek_removexattr(file, &me, name));
}
