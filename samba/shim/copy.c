/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * copy.c - server-side copy (FSCTL_SRV_COPYCHUNK), [MS-SMB2] 3.3.5.15.6: the server copies, no byte
 * comes here. Where a stream is concerned, which lies in an extended attribute, smbd copies.
 */
#include "vfs_esker.h"
#include "modules/offload_token.h"

/* Of the process, and so of the client: a copy may go from one share to another. */
static struct vfs_offload_ctx *tokens;

struct token {
	DATA_BLOB blob;
};

struct tevent_req *ek_offload_read_send_fn(TALLOC_CTX *mem, struct tevent_context *ev,
					   struct vfs_handle_struct *handle, struct files_struct *fsp,
					   uint32_t fsctl, uint32_t ttl, off_t at, size_t n)
{
	struct tevent_req *req;
	struct token *token;
	NTSTATUS status;

	req = tevent_req_create(mem, &token, struct token);
	if (req == NULL) {
		return NULL;
	}
	if (fsctl != FSCTL_SRV_REQUEST_RESUME_KEY) {
		tevent_req_nterror(req, NT_STATUS_INVALID_DEVICE_REQUEST);
		return tevent_req_post(req, ev);
	}
	status = vfs_offload_token_ctx_init(NULL, &tokens);
	if (NT_STATUS_IS_OK(status)) {
		status = vfs_offload_token_create_blob(token, fsp, fsctl, &token->blob);
	}
	if (NT_STATUS_IS_OK(status)) {
		status = vfs_offload_token_db_store_fsp(tokens, fsp, &token->blob);
	}
	if (!tevent_req_nterror(req, status)) {
		tevent_req_done(req);
	}
	return tevent_req_post(req, ev);
}

NTSTATUS ek_offload_read_recv_fn(struct tevent_req *req, struct vfs_handle_struct *handle,
				 TALLOC_CTX *mem, uint32_t *flags, uint64_t *n, DATA_BLOB *token)
{
	struct token *made = tevent_req_data(req, struct token);
	NTSTATUS status = NT_STATUS_OK;

	if (!tevent_req_is_nterror(req, &status)) {
		*flags = 0;
		*n = 0;
		token->length = made->blob.length;
		token->data = talloc_move(mem, &made->blob.data);
	}
	tevent_req_received(req);
	return status;
}

struct copy {
	struct files_struct *to;
	off_t copied;
};

/* True if a byte-range lock forbids it; asked as the user and share of `fsp`. */
static bool locked(struct files_struct *fsp, off_t at, off_t n, enum brl_type kind)
{
	struct lock_struct lock;
	DATA_BLOB token;
	uint64_t holder;

	/* Locks are held by an open's persistent id, which stands in its token: the structure that
	 * has it needs headers that only Samba's own build makes. */
	if (!NT_STATUS_IS_OK(vfs_offload_token_create_blob(talloc_tos(), fsp,
							   FSCTL_SRV_REQUEST_RESUME_KEY, &token))) {
		return true;
	}
	holder = BVAL(token.data, SMB_VFS_ODX_TOKEN_OFFSET_PFID);
	data_blob_free(&token);
	init_strict_lock_struct(fsp, holder, at, n, kind, lp_posix_cifsu_locktype(fsp), &lock);
	return !SMB_VFS_STRICT_LOCK_CHECK(fsp->conn, fsp, &lock);
}

static NTSTATUS may_copy(uint32_t fsctl, DATA_BLOB *token, off_t at, struct files_struct *to,
			 off_t to_at, off_t n, struct files_struct **from)
{
	NTSTATUS status;

	switch (fsctl) {
	case FSCTL_SRV_COPYCHUNK:
	case FSCTL_SRV_COPYCHUNK_WRITE:
		break;
	case FSCTL_OFFLOAD_WRITE:
		return NT_STATUS_NOT_IMPLEMENTED;
	case FSCTL_DUP_EXTENTS_TO_FILE:
		return NT_STATUS_INVALID_PARAMETER;
	default:
		return NT_STATUS_INTERNAL_ERROR;
	}
	if (n < 0 || at < 0 || to_at < 0 || at > INT64_MAX - n || to_at > INT64_MAX - n) {
		return NT_STATUS_INVALID_PARAMETER;
	}
	if (n == 0) {
		return NT_STATUS_OK;
	}
	status = vfs_offload_token_db_fetch_fsp(tokens, token, from);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	return vfs_offload_token_check_handles(fsctl, *from, to);
}

/* As the source's user: its length and locks. */
static NTSTATUS check_source(struct files_struct *from, off_t at, off_t n)
{
	NTSTATUS status;

	if (!change_to_user_and_service_by_fsp(from)) {
		return NT_STATUS_ACCESS_DENIED;
	}
	status = vfs_stat_fsp(from);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (from->fsp_name->st.st_ex_size < at + n) {
		/* What Windows says, by the specification's note <240>. */
		return NT_STATUS_INVALID_VIEW_SIZE;
	}
	return locked(from, at, n, READ_LOCK) ? NT_STATUS_FILE_LOCK_CONFLICT : NT_STATUS_OK;
}

/* Where a stream is at either end, or the two lie in different volumes. */
static NTSTATUS copy_by_hand(struct files_struct *from, off_t at, struct files_struct *to, off_t to_at,
			     off_t n, off_t *copied)
{
	size_t piece = MIN(n, 1 << 20);
	uint8_t *data = talloc_array(talloc_tos(), uint8_t, piece);
	NTSTATUS status = data != NULL ? NT_STATUS_OK : NT_STATUS_NO_MEMORY;

	while (NT_STATUS_IS_OK(status) && *copied < n) {
		size_t want = MIN(piece, n - *copied);
		ssize_t got;

		if (!change_to_user_and_service_by_fsp(from)) {
			status = NT_STATUS_ACCESS_DENIED;
			break;
		}
		got = SMB_VFS_PREAD(from, data, want, at + *copied);
		if (got != want) {
			status = got < 0 ? map_nt_error_from_unix(errno) : NT_STATUS_IO_DEVICE_ERROR;
			break;
		}
		if (!change_to_user_and_service_by_fsp(to)) {
			status = NT_STATUS_ACCESS_DENIED;
			break;
		}
		got = SMB_VFS_PWRITE(to, data, want, to_at + *copied);
		if (got != want) {
			status = got < 0 ? map_nt_error_from_unix(errno) : NT_STATUS_IO_DEVICE_ERROR;
			break;
		}
		*copied += got;
	}
	TALLOC_FREE(data);
	return status;
}

static void copied(struct tevent_req *sub)
{
	struct tevent_req *req = tevent_req_callback_data(sub, struct tevent_req);
	struct copy *copy = tevent_req_data(req, struct copy);
	int error = 0;
	ssize_t n = ek_copy_recv(sub, &error);

	TALLOC_FREE(sub);
	if (n < 0) {
		tevent_req_nterror(req, map_nt_error_from_unix(error));
		return;
	}
	copy->copied = n;
	tevent_req_done(req);
}

struct tevent_req *ek_offload_write_send_fn(struct vfs_handle_struct *handle, TALLOC_CTX *mem,
					    struct tevent_context *ev, uint32_t fsctl,
					    DATA_BLOB *token, off_t at, struct files_struct *to,
					    off_t to_at, off_t n)
{
	struct files_struct *from = NULL;
	struct tevent_req *req, *sub;
	struct ek_file *source, *target;
	struct copy *copy;
	NTSTATUS status;
	bool overlap;

	req = tevent_req_create(mem, &copy, struct copy);
	if (req == NULL) {
		return NULL;
	}
	copy->to = to;
	status = may_copy(fsctl, token, at, to, to_at, n, &from);
	if (tevent_req_nterror(req, status)) {
		return tevent_req_post(req, ev);
	}
	if (n == 0) {
		tevent_req_done(req);
		return tevent_req_post(req, ev);
	}
	status = check_source(from, at, n);
	/* smbd goes on as the target's user, whatever became of it. */
	if (!change_to_user_and_service_by_fsp(to)) {
		status = NT_STATUS_INTERNAL_ERROR;
	}
	if (NT_STATUS_IS_OK(status) && locked(to, to_at, n, WRITE_LOCK)) {
		status = NT_STATUS_FILE_LOCK_CONFLICT;
	}
	if (tevent_req_nterror(req, status)) {
		return tevent_req_post(req, ev);
	}
	/* A chunk of SMB has 1 MiB at most, so what overlaps is read as a whole before it is written. */
	overlap = file_id_equal(&from->file_id, &to->file_id) && at < to_at + n && to_at < at + n;
	if (overlap || fsp_is_alternate_stream(from) || fsp_is_alternate_stream(to) ||
	    from->conn != to->conn) {
		status = copy_by_hand(from, at, to, to_at, n, &copy->copied);
		if (!change_to_user_and_service_by_fsp(to)) {
			status = NT_STATUS_INTERNAL_ERROR;
		}
		if (!tevent_req_nterror(req, status)) {
			tevent_req_done(req);
		}
		return tevent_req_post(req, ev);
	}
	source = file_of(handle, from);
	target = file_of(handle, to);
	if (source == NULL || target == NULL) {
		tevent_req_nterror(req, map_nt_error_from_unix(errno));
		return tevent_req_post(req, ev);
	}
	sub = ek_copy_send(copy, ev, handle, source, at, target, to_at, n);
	if (tevent_req_nomem(sub, req)) {
		return tevent_req_post(req, ev);
	}
	tevent_req_set_callback(sub, copied, req);
	return req;
}

NTSTATUS ek_offload_write_recv_fn(struct vfs_handle_struct *handle, struct tevent_req *req,
				  off_t *done)
{
	struct copy *copy = tevent_req_data(req, struct copy);
	NTSTATUS status = NT_STATUS_OK;

	*done = tevent_req_is_nterror(req, &status) ? 0 : copy->copied;
	tevent_req_received(req);
	return status;
}
