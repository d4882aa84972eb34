/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * data.c - contents and byte ranges.
 *
 * SMB2 reads and writes come by the asynchronous calls: a thread of the share's pool makes the
 * blocking call, with nothing of smbd's or talloc's in its hands.  The synchronous calls serve
 * streams, copies and SMB1.
 */
#include "vfs_esker.h"

ssize_t ek_pread_fn(struct vfs_handle_struct *handle, struct files_struct *fsp, void *data, size_t n,
		    off_t at)
{
	struct ek_file *file = file_of(handle, fsp);
	struct ek_who me = who();

	return file == NULL ? -1 : length(ek_pread(file, &me, data, n, at));
}

ssize_t ek_pwrite_fn(struct vfs_handle_struct *handle, struct files_struct *fsp, const void *data,
		     size_t n, off_t at)
{
	struct ek_file *file = file_of(handle, fsp);
	struct ek_who me = who();

	if (file == NULL) {
		return -1;
	}
	return length(ek_pwrite(file, &me, data, n, at));
}

/* ---- jobs of the pool ------------------------------------------------------------------------ */

enum io_kind { IO_READ, IO_WRITE, IO_SYNC, IO_COPY };

struct io {
	enum io_kind kind;
	struct ek_file *file;		/* held until the job is done, whatever smbd closes meanwhile */
	struct ek_file *to;
	struct ek_who who;		/* with groups of its own */
	void *data;
	size_t n;
	uint64_t at, to_at;
	ssize_t done;			/* or -errno */
	bool ran;
};

/* On a thread of the pool. */
static void io_job(void *p)
{
	struct io *io = p;

	switch (io->kind) {
	case IO_READ:
		io->done = ek_pread(io->file, &io->who, io->data, io->n, io->at);
		break;
	case IO_WRITE:
		io->done = ek_pwrite(io->file, &io->who, io->data, io->n, io->at);
		break;
	case IO_SYNC:
		io->done = ek_fsync(io->file, &io->who);
		break;
	case IO_COPY:
		io->done = ek_copy(io->file, io->at, io->to, io->to_at, io->n, &io->who);
		break;
	}
	ek_release(io->file);
	if (io->to != NULL) {
		ek_release(io->to);
	}
	io->ran = true;
}

/* The buffer is the request's: nobody frees it while the thread uses it. */
static int io_busy(struct io *io)
{
	return -1;
}

static void io_done(struct tevent_req *sub)
{
	struct tevent_req *req = tevent_req_callback_data(sub, struct tevent_req);
	struct io *io = tevent_req_data(req, struct io);
	int error = pthreadpool_tevent_job_recv(sub);

	TALLOC_FREE(sub);
	talloc_set_destructor(io, NULL);
	if (!io->ran) {
		/* No thread was to be had. */
		DBG_WARNING("no thread: %s\n", strerror(error));
		io_job(io);
	}
	if (io->done < 0) {
		tevent_req_error(req, -io->done);
		return;
	}
	tevent_req_done(req);
}

static struct tevent_req *io_send(TALLOC_CTX *mem, struct tevent_context *ev,
				  struct vfs_handle_struct *handle, struct ek_file *file,
				  struct io what)
{
	struct tevent_req *req, *sub;
	struct io *io;

	req = tevent_req_create(mem, &io, struct io);
	if (req == NULL) {
		return NULL;
	}
	*io = what;
	if (file == NULL) {
		tevent_req_error(req, errno);
		return tevent_req_post(req, ev);
	}
	if (!who_copy(io, &io->who)) {
		tevent_req_oom(req);
		return tevent_req_post(req, ev);
	}
	ek_keep(file);
	io->file = file;
	if (io->to != NULL) {
		ek_keep(io->to);
	}
	sub = pthreadpool_tevent_job_send(io, ev, share_of(handle)->pool, io_job, io);
	if (tevent_req_nomem(sub, req)) {
		ek_release(file);
		if (io->to != NULL) {
			ek_release(io->to);
		}
		return tevent_req_post(req, ev);
	}
	tevent_req_set_callback(sub, io_done, req);
	talloc_set_destructor(io, io_busy);
	return req;
}

struct tevent_req *ek_pread_send_fn(struct vfs_handle_struct *handle, TALLOC_CTX *mem,
				    struct tevent_context *ev, struct files_struct *fsp, void *data,
				    size_t n, off_t at)
{
	struct io io = { .kind = IO_READ, .data = data, .n = n, .at = at };

	return io_send(mem, ev, handle, file_of(handle, fsp), io);
}

struct tevent_req *ek_pwrite_send_fn(struct vfs_handle_struct *handle, TALLOC_CTX *mem,
				     struct tevent_context *ev, struct files_struct *fsp,
				     const void *data, size_t n, off_t at)
{
	struct io io = { .kind = IO_WRITE, .data = discard_const(data), .n = n, .at = at };
	struct ek_file *file = file_of(handle, fsp);

	return io_send(mem, ev, handle, file, io);
}

struct tevent_req *ek_fsync_send_fn(struct vfs_handle_struct *handle, TALLOC_CTX *mem,
				    struct tevent_context *ev, struct files_struct *fsp)
{
	struct io io = { .kind = IO_SYNC };

	return io_send(mem, ev, handle, file_of(handle, fsp), io);
}

struct tevent_req *ek_copy_send(TALLOC_CTX *mem, struct tevent_context *ev,
				struct vfs_handle_struct *handle, struct ek_file *from, off_t at,
				struct ek_file *to, off_t to_at, size_t n)
{
	struct io io = { .kind = IO_COPY, .to = to, .at = at, .to_at = to_at, .n = n };

	return io_send(mem, ev, handle, from, io);
}

ssize_t ek_copy_recv(struct tevent_req *req, int *error)
{
	struct io *io = tevent_req_data(req, struct io);
	ssize_t done = tevent_req_is_unix_error(req, error) ? -1 : io->done;

	tevent_req_received(req);
	return done;
}

ssize_t ek_io_recv_fn(struct tevent_req *req, struct vfs_aio_state *state)
{
	*state = (struct vfs_aio_state){ .error = 0 };
	return ek_copy_recv(req, &state->error);
}

int ek_fsync_recv_fn(struct tevent_req *req, struct vfs_aio_state *state)
{
	return ek_io_recv_fn(req, state);
}

/* ---- length and holes ------------------------------------------------------------------------ */

off_t ek_lseek_fn(struct vfs_handle_struct *handle, struct files_struct *fsp, off_t at, int whence)
{
	struct ek_file *file = file_of(handle, fsp);
	struct ek_who me = who();
	struct ek_attr attr;

	if (file == NULL) {
		return -1;
	}
	switch (whence) {
	case SEEK_DATA:
	case SEEK_HOLE:
		return offset(ek_seek(file, &me, at, whence == SEEK_HOLE));
	case SEEK_SET:
		return at;
	case SEEK_END:
		if (result(ek_getattr(file, &me, &attr)) != 0) {
			return -1;
		}
		return attr.size + at;
	default:
		/* smbd keeps where it is; there is no place in a file of ours. */
		errno = EINVAL;
		return -1;
	}
}

static int set_size(struct ek_file *file, uint64_t size)
{
	struct ek_attr attr = { .size = size };
	struct ek_who me = who();

	return result(ek_setattr(file, &me, EK_SET_SIZE, &attr));
}

int ek_ftruncate_fn(struct vfs_handle_struct *handle, struct files_struct *fsp, off_t size)
{
	struct ek_file *file = file_of(handle, fsp);

	if (file == NULL) {
		return -1;
	}
	return set_size(file, size);
}

int ek_fallocate_fn(struct vfs_handle_struct *handle, struct files_struct *fsp, uint32_t mode,
		    off_t at, off_t n)
{
	struct ek_file *file = file_of(handle, fsp);
	struct ek_who me = who();
	struct ek_attr attr;

	if (file == NULL) {
		return -1;
	}
	switch (mode) {
	case 0:
		/* A log sets no place aside: only the length is made. */
		if (result(ek_getattr(file, &me, &attr)) != 0) {
			return -1;
		}
		return attr.size >= at + n ? 0 : set_size(file, at + n);
	case VFS_FALLOCATE_FL_KEEP_SIZE:
		return 0;
	case VFS_FALLOCATE_FL_PUNCH_HOLE | VFS_FALLOCATE_FL_KEEP_SIZE:
		return result(ek_punch(file, &me, at, n));
	default:
		errno = ENOTSUP;
		return -1;
	}
}

/* ---- byte ranges (`posix locking = yes`) ----------------------------------------------------- */

/* smbd has looked into its own locks before; here other hosts and our own clients are asked. It never
 * waits here: what is refused it tries again itself. */
bool ek_lock_fn(struct vfs_handle_struct *handle, struct files_struct *fsp, int op, off_t at, off_t n,
		int kind)
{
	struct ek_file *file = file_of(handle, fsp);
	struct ek_who me = who();

	return file != NULL && result(ek_lock(file, &me, kind, at, n)) == 0;
}

bool ek_getlock_fn(struct vfs_handle_struct *handle, struct files_struct *fsp, off_t *at, off_t *n,
		   int *kind, pid_t *pid)
{
	struct ek_file *file = file_of(handle, fsp);
	struct ek_who me = who();
	uint64_t start = *at, count = *n;
	uint32_t holder = 0;

	if (file == NULL || result(ek_getlock(file, &me, kind, &start, &count, &holder)) != 0) {
		return false;
	}
	*at = start;
	*n = count;
	*pid = holder;
	return true;
}
