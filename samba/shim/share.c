/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * share.c - connecting, the room of the volume, and where in it smbd stands.
 *
 * A share's path (`path = /esker/NAME`) is no directory of this machine: it is what all paths that
 * smbd makes begin with, and what within() cuts off.  It is not "/", because smbd then resolves no
 * symbolic link; and it is another one for each share, because smbd remembers where it has changed
 * to by the path alone.
 */
#include "vfs_esker.h"

/* Where this process stands, as the kernel would keep it: one for all shares. NULL: elsewhere. */
static struct {
	char *path;			/* absolute, with the share's prefix, links resolved */
	struct ek_file *file;
} cwd;

static void turned(struct tevent_context *ev, struct tevent_immediate *turn, void *p)
{
	struct share *s = p;

	s->armed = false;
	ek_turn(s->share);
}

/* Each call begins here, so each turn of the event loop with a call in it is followed by turned(). */
struct share *share_of(struct vfs_handle_struct *handle)
{
	struct share *s = handle->data;

	if (s != NULL && !s->armed) {
		s->armed = true;
		tevent_schedule_immediate(s->turn, global_event_context(), turned, s);
	}
	return s;
}

struct ek_who who(void)
{
	/* What smbd set last, become_root() too; smbd is the only one to change it. */
	const struct security_unix_token *token = get_current_utok(NULL);

	return (struct ek_who){ .uid = token->uid, .gid = token->gid, .count = token->ngroups,
				.groups = (const uint32_t *)token->groups };
}

bool who_copy(TALLOC_CTX *mem, struct ek_who *out)
{
	*out = who();
	if (out->count == 0) {
		out->groups = NULL;
		return true;
	}
	out->groups = talloc_memdup(mem, out->groups, out->count * sizeof(uint32_t));
	return out->groups != NULL;
}

int result(int r)
{
	if (r >= 0) {
		return r;
	}
	errno = -r;
	return -1;
}

ssize_t length(ssize_t r)
{
	if (r >= 0) {
		return r;
	}
	errno = -r;
	return -1;
}

off_t offset(int64_t r)
{
	if (r >= 0) {
		return r;
	}
	errno = -r;
	return -1;
}

const char *within(const struct share *s, const char *path)
{
	if (strncmp(path, s->prefix, s->prefix_len) != 0) {
		return NULL;
	}
	switch (path[s->prefix_len]) {
	case '\0':
		return "/";
	case '/':
		return path + s->prefix_len;
	default:
		return NULL;
	}
}

struct ek_file *current(const struct share *s)
{
	return cwd.path != NULL && within(s, cwd.path) != NULL ? cwd.file : NULL;
}

static void stand(char *path, struct ek_file *file)
{
	TALLOC_FREE(cwd.path);
	if (cwd.file != NULL) {
		ek_release(cwd.file);
	}
	cwd.path = path;
	cwd.file = file;
}

int ek_connect_fn(struct vfs_handle_struct *handle, const char *service, const char *user)
{
	int snum = SNUM(handle->conn);
	struct ek_options options = {
		.server = lp_parm_const_string(snum, "esker", "server", "/run/esker/rpc.sock"),
		.secret = lp_parm_const_string(snum, "esker", "secret file", NULL),
		.root = lp_parm_const_string(snum, "esker", "root", "/"),
		.patience = lp_parm_ulong(snum, "esker", "patience", 60),
	};
	unsigned threads = lp_parm_ulong(snum, "esker", "threads", 16);
	struct ek_attr attr;
	char why[256] = "";
	struct share *s;
	size_t n;
	int r;

	/* The modules below prepare the connection; vfs_default touches no file here. */
	if (SMB_VFS_NEXT_CONNECT(handle, service, user) < 0) {
		return -1;
	}
	s = talloc_zero(handle->conn, struct share);
	if (s == NULL) {
		errno = ENOMEM;
		return -1;
	}
	s->prefix = talloc_strdup(s, handle->conn->connectpath);
	s->prefix_len = s->prefix != NULL ? strlen(s->prefix) : 0;
	n = s->prefix_len;
	if (n < 2 || s->prefix[0] != '/' || s->prefix[n - 1] == '/') {
		DBG_ERR("share %s: path must be like /esker/%s, and not %s\n", service, service,
			s->prefix != NULL ? s->prefix : "");
		goto refused;
	}
	s->turn = tevent_create_immediate(s);
	if (s->turn == NULL || pthreadpool_tevent_init(s, threads, &s->pool) != 0) {
		goto refused;
	}
	r = ek_connect(&options, &s->share, &s->root, &attr, &s->device, why, sizeof(why));
	if (r != 0) {
		DBG_ERR("share %s: server %s: %s (%s)\n", service, options.server, why, strerror(-r));
		TALLOC_FREE(s);
		SMB_VFS_NEXT_DISCONNECT(handle);
		return result(r);
	}
	handle->data = s;
	/* Our descriptors are none of the kernel's: /proc/self/fd knows nothing of them. */
	handle->conn->have_proc_fds = false;
	/* A whole path in one call. */
	handle->conn->open_how_resolve |= VFS_OPEN_HOW_RESOLVE_NO_SYMLINKS;
	lp_do_parameter(snum, "smbd async dosmode", "false");
	lp_do_parameter(snum, "kernel oplocks", "false");
	lp_do_parameter(snum, "kernel share modes", "false");
	return 0;
refused:
	TALLOC_FREE(s);
	SMB_VFS_NEXT_DISCONNECT(handle);
	errno = EINVAL;
	return -1;
}

void ek_disconnect_fn(struct vfs_handle_struct *handle)
{
	struct share *s = share_of(handle);

	handle->data = NULL;
	if (s != NULL) {
		if (current(s) != NULL) {
			stand(NULL, NULL);
		}
		TALLOC_FREE(s->turn);
		TALLOC_FREE(s->pool);
		ek_release(s->root);
		ek_disconnect(s->share);
		TALLOC_FREE(s);
	}
	SMB_VFS_NEXT_DISCONNECT(handle);
}

static int room(struct vfs_handle_struct *handle, struct ek_statfs *out)
{
	struct share *s = share_of(handle);
	struct ek_who me = who();

	if (s == NULL) {
		errno = ENOTCONN;
		return -1;
	}
	return result(ek_statfs(s->share, &me, out));
}

#define BLOCK 4096
#define CAPABILITIES (FILE_CASE_SENSITIVE_SEARCH | FILE_CASE_PRESERVED_NAMES | FILE_SUPPORTS_SPARSE_FILES)

uint64_t ek_disk_free_fn(struct vfs_handle_struct *handle, const struct smb_filename *name,
			 uint64_t *bsize, uint64_t *dfree, uint64_t *dsize)
{
	struct ek_statfs fs;

	if (room(handle, &fs) != 0) {
		return (uint64_t)-1;
	}
	*bsize = BLOCK;
	*dfree = fs.free_bytes / BLOCK;
	*dsize = fs.total_bytes / BLOCK;
	return *dfree;
}

int ek_statvfs_fn(struct vfs_handle_struct *handle, const struct smb_filename *name,
		  struct vfs_statvfs_struct *out)
{
	struct ek_statfs fs;

	if (room(handle, &fs) != 0) {
		return -1;
	}
	*out = (struct vfs_statvfs_struct){
		.OptimalTransferSize = BLOCK,
		.BlockSize = BLOCK,
		.TotalBlocks = fs.total_bytes / BLOCK,
		.BlocksAvail = fs.free_bytes / BLOCK,
		.UserBlocksAvail = fs.free_bytes / BLOCK,
		.TotalFileNodes = fs.total_files,
		.FreeFileNodes = fs.free_files,
		.FsIdentifier = share_of(handle)->device,
		.FsCapabilities = CAPABILITIES,
	};
	return 0;
}

uint32_t ek_capabilities_fn(struct vfs_handle_struct *handle,
			    enum timestamp_set_resolution *resolution)
{
	*resolution = TIMESTAMP_SET_NT_OR_BETTER;
	return CAPABILITIES;
}

/* The absolute path, within the share, of a path that smbd gives. */
static char *absolute(const struct share *s, TALLOC_CTX *mem, const char *path)
{
	const char *inside = path;

	if (path[0] == '/') {
		inside = within(s, path);
		if (inside == NULL) {
			errno = ENOENT;
			return NULL;
		}
		return talloc_strdup(mem, inside);
	}
	if (current(s) == NULL) {
		errno = ENOENT;
		return NULL;
	}
	return talloc_asprintf(mem, "%s/%s", within(s, cwd.path), path);
}

/* Resolves `path`: the path with the share's prefix, below `mem`. */
static char *resolved(const struct share *s, TALLOC_CTX *mem, const char *path,
		      struct ek_file **file, struct ek_attr *attr)
{
	struct ek_who me = who();
	char *from = absolute(s, talloc_tos(), path);
	char *canonical = talloc_array(talloc_tos(), char, PATH_MAX);
	char *out = NULL;
	int r;

	if (from == NULL || canonical == NULL) {
		goto done;
	}
	r = ek_walk(s->root, &me, from, EK_FOLLOW, canonical, PATH_MAX, file, attr);
	if (result(r) != 0) {
		goto done;
	}
	out = talloc_asprintf(mem, "%s%s%s", s->prefix, canonical[0] != '\0' ? "/" : "", canonical);
	if (out == NULL && file != NULL) {
		ek_release(*file);
	}
done:
	TALLOC_FREE(from);
	TALLOC_FREE(canonical);
	return out;
}

int ek_chdir_fn(struct vfs_handle_struct *handle, const struct smb_filename *name)
{
	struct share *s = share_of(handle);
	struct ek_file *file = NULL;
	struct ek_attr attr;
	char *path;

	/* smbd leaves a share for the machine's root. */
	if (s == NULL || strcmp(name->base_name, "/") == 0) {
		stand(NULL, NULL);
		return SMB_VFS_NEXT_CHDIR(handle, name);
	}
	path = resolved(s, NULL, name->base_name, &file, &attr);
	if (path == NULL) {
		return -1;
	}
	if (!S_ISDIR(attr.mode)) {
		ek_release(file);
		TALLOC_FREE(path);
		errno = ENOTDIR;
		return -1;
	}
	stand(path, file);
	return 0;
}

struct smb_filename *ek_getwd_fn(struct vfs_handle_struct *handle, TALLOC_CTX *mem)
{
	struct share *s = share_of(handle);

	if (s == NULL || current(s) == NULL) {
		return SMB_VFS_NEXT_GETWD(handle, mem);
	}
	return synthetic_smb_fname(mem, cwd.path, NULL, NULL, 0, 0);
}

struct smb_filename *ek_realpath_fn(struct vfs_handle_struct *handle, TALLOC_CTX *mem,
				    const struct smb_filename *name)
{
	struct share *s = share_of(handle);
	struct smb_filename *out;
	struct ek_attr attr;
	char *path;

	if (s == NULL) {
		errno = ENOTCONN;
		return NULL;
	}
	/* Asked before nearly each open, and known since the chdir. */
	if (ISDOT(name->base_name) && current(s) != NULL) {
		return synthetic_smb_fname(mem, cwd.path, NULL, NULL, 0, 0);
	}
	path = resolved(s, talloc_tos(), name->base_name, NULL, &attr);
	if (path == NULL) {
		return NULL;
	}
	out = synthetic_smb_fname(mem, path, NULL, NULL, 0, 0);
	TALLOC_FREE(path);
	return out;
}
