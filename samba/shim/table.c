/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * table.c - the table that smbd calls by, and what is refused.
 *
 * A place left empty goes to the next module and at last to vfs_default, which calls the kernel with
 * our number for a descriptor, or with our path.  So what we have not is refused here; only what
 * vfs_default does by way of other places (which are ours) stays empty: create_file, file_id_create,
 * fs_file_id, fstreaminfo, brl_*, strict_lock_check, translate_name, parent_pathname, connectpath,
 * fsctl, DOS attributes (they live in user.DOSATTRIB), NT ACLs (acl_xattr above us keeps them in
 * security.NTACL), audit_file, durable_cookie and _reconnect, compression, snap_*, dfs referrals.
 */
#include "vfs_esker.h"

/* src/abi.rs asserts the same. */
_Static_assert(sizeof(struct ek_who) == 24 && sizeof(struct ek_time) == 16, "ABI");
_Static_assert(sizeof(struct ek_attr) == 104 && sizeof(struct ek_statfs) == 32, "ABI");
_Static_assert(sizeof(struct ek_options) == 32, "ABI");

static ssize_t no_sendfile(struct vfs_handle_struct *handle, int to, struct files_struct *fsp,
			   const DATA_BLOB *header, off_t at, size_t n)
{
	errno = ENOTSUP;
	return -1;
}

static ssize_t no_recvfile(struct vfs_handle_struct *handle, int from, struct files_struct *fsp,
			   off_t at, size_t n)
{
	errno = ENOTSUP;
	return -1;
}

/* The volume counts nothing by user. */
static int no_get_quota(struct vfs_handle_struct *handle, const struct smb_filename *name,
			enum SMB_QUOTA_TYPE type, unid_t id, SMB_DISK_QUOTA *out)
{
	errno = ENOSYS;
	return -1;
}

static int no_set_quota(struct vfs_handle_struct *handle, enum SMB_QUOTA_TYPE type, unid_t id,
			SMB_DISK_QUOTA *quota)
{
	errno = ENOSYS;
	return -1;
}

static int no_shadow_copies(struct vfs_handle_struct *handle, struct files_struct *fsp,
			    struct shadow_copy_data *data, bool labels)
{
	errno = ENOSYS;
	return -1;
}

static int no_sharemode(struct vfs_handle_struct *handle, struct files_struct *fsp, uint32_t share,
			uint32_t access)
{
	errno = ENOSYS;
	return -1;
}

static int no_lease(struct vfs_handle_struct *handle, struct files_struct *fsp, int type)
{
	errno = ENOSYS;
	return -1;
}

static int no_flags(struct vfs_handle_struct *handle, struct files_struct *fsp, unsigned int flags)
{
	errno = ENOSYS;
	return -1;
}

/* smbd clears O_NONBLOCK after an open; there is nothing to clear. */
static int no_fcntl(struct vfs_handle_struct *handle, struct files_struct *fsp, int command,
		    va_list arguments)
{
	if (command == F_GETFL || command == F_SETFL) {
		return 0;
	}
	errno = EINVAL;
	return -1;
}

/* Not supported means: the mode bits are all. */
static SMB_ACL_T no_acl(struct vfs_handle_struct *handle, struct files_struct *fsp,
			SMB_ACL_TYPE_T type, TALLOC_CTX *mem)
{
	errno = ENOTSUP;
	return NULL;
}

static int no_acl_blob(struct vfs_handle_struct *handle, struct files_struct *fsp, TALLOC_CTX *mem,
		       char **description, DATA_BLOB *blob)
{
	errno = ENOTSUP;
	return -1;
}

static int no_set_acl(struct vfs_handle_struct *handle, struct files_struct *fsp, SMB_ACL_TYPE_T type,
		      SMB_ACL_T acl)
{
	errno = ENOTSUP;
	return -1;
}

static int no_delete_acl(struct vfs_handle_struct *handle, struct files_struct *fsp)
{
	errno = ENOTSUP;
	return -1;
}

static bool never_force_aio(struct vfs_handle_struct *handle, struct files_struct *fsp)
{
	return false;
}

/* An open with byte-range locks is not kept for its client to come back: with `posix locking` Samba would
 * refuse the reconnect only when it has opened the file again, and then end by an assertion of its own
 * (vfs_default_durable_reconnect frees the files_struct with its descriptor, 4.17). Refused here, the
 * handle is closed as without durability, and the client opens anew. */
static NTSTATUS durable_disconnect(struct vfs_handle_struct *handle, struct files_struct *fsp,
				   const DATA_BLOB cookie, TALLOC_CTX *mem, DATA_BLOB *new_cookie)
{
	if (fsp->current_lock_count > 0 && lp_posix_locking(fsp->conn->params)) {
		return NT_STATUS_NOT_SUPPORTED;
	}
	return SMB_VFS_NEXT_DURABLE_DISCONNECT(handle, fsp, cookie, mem, new_cookie);
}

static struct vfs_fn_pointers table = {
	.connect_fn = ek_connect_fn,
	.disconnect_fn = ek_disconnect_fn,
	.disk_free_fn = ek_disk_free_fn,
	.statvfs_fn = ek_statvfs_fn,
	.fs_capabilities_fn = ek_capabilities_fn,
	.get_quota_fn = no_get_quota,
	.set_quota_fn = no_set_quota,
	.get_shadow_copy_data_fn = no_shadow_copies,
	.chdir_fn = ek_chdir_fn,
	.getwd_fn = ek_getwd_fn,
	.realpath_fn = ek_realpath_fn,
	.create_dfs_pathat_fn = vfs_not_implemented_create_dfs_pathat,
	.read_dfs_pathat_fn = vfs_not_implemented_read_dfs_pathat,

	.openat_fn = ek_openat_fn,
	.close_fn = ek_close_fn,
	.stat_fn = ek_stat_fn,
	.lstat_fn = ek_lstat_fn,
	.fstat_fn = ek_fstat_fn,
	.fstatat_fn = ek_fstatat_fn,
	.mkdirat_fn = ek_mkdirat_fn,
	.unlinkat_fn = ek_unlinkat_fn,
	.renameat_fn = ek_renameat_fn,
	.symlinkat_fn = ek_symlinkat_fn,
	.readlinkat_fn = ek_readlinkat_fn,
	.linkat_fn = ek_linkat_fn,
	.mknodat_fn = ek_mknodat_fn,
	.get_real_filename_at_fn = ek_real_filename_fn,

	.fdopendir_fn = ek_fdopendir_fn,
	.readdir_fn = ek_readdir_fn,
	.rewind_dir_fn = ek_rewinddir_fn,
	.closedir_fn = ek_closedir_fn,
#if SMB_VFS_INTERFACE_VERSION < 49
	.seekdir_fn = ek_seekdir_fn,
	.telldir_fn = ek_telldir_fn,
#endif

	/* Each _send has its _recv: one alone ends smbd at its first use. */
	.pread_fn = ek_pread_fn,
	.pread_send_fn = ek_pread_send_fn,
	.pread_recv_fn = ek_io_recv_fn,
	.pwrite_fn = ek_pwrite_fn,
	.pwrite_send_fn = ek_pwrite_send_fn,
	.pwrite_recv_fn = ek_io_recv_fn,
	.fsync_send_fn = ek_fsync_send_fn,
	.fsync_recv_fn = ek_fsync_recv_fn,
	.lseek_fn = ek_lseek_fn,
	.ftruncate_fn = ek_ftruncate_fn,
	.fallocate_fn = ek_fallocate_fn,
	.sendfile_fn = no_sendfile,
	.recvfile_fn = no_recvfile,
	.offload_read_send_fn = ek_offload_read_send_fn,
	.offload_read_recv_fn = ek_offload_read_recv_fn,
	.offload_write_send_fn = ek_offload_write_send_fn,
	.offload_write_recv_fn = ek_offload_write_recv_fn,

	.durable_disconnect_fn = durable_disconnect,
	.lock_fn = ek_lock_fn,
	.getlock_fn = ek_getlock_fn,
	.filesystem_sharemode_fn = no_sharemode,
	.linux_setlease_fn = no_lease,
	.fcntl_fn = no_fcntl,

	.get_alloc_size_fn = ek_alloc_size_fn,
	.fchmod_fn = ek_fchmod_fn,
	.fchown_fn = ek_fchown_fn,
	.lchown_fn = ek_lchown_fn,
	.fchflags_fn = no_flags,
	.fntimes_fn = ek_fntimes_fn,
	.getxattrat_send_fn = vfs_not_implemented_getxattrat_send,
	.getxattrat_recv_fn = vfs_not_implemented_getxattrat_recv,
	.fgetxattr_fn = ek_fgetxattr_fn,
	.flistxattr_fn = ek_flistxattr_fn,
	.fsetxattr_fn = ek_fsetxattr_fn,
	.fremovexattr_fn = ek_fremovexattr_fn,
	.sys_acl_get_fd_fn = no_acl,
	.sys_acl_blob_get_fd_fn = no_acl_blob,
	.sys_acl_set_fd_fn = no_set_acl,
	.sys_acl_delete_def_fd_fn = no_delete_acl,
	.aio_force_fn = never_force_aio,
};

NTSTATUS samba_init_module(TALLOC_CTX *mem)
{
	return smb_register_vfs(SMB_VFS_INTERFACE_VERSION, "esker", &table);
}
