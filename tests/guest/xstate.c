/* xstate.c - preloaded into User Mode Linux, so that it runs on processors with AMX.
 *
 * UML moves the vector registers of its processes by PTRACE_GETREGSET and PTRACE_SETREGSET with
 * NT_X86_XSTATE.  Its buffer (2,696 bytes in 6.1) is smaller than the XSAVE area of a processor
 * with AMX (11,008 bytes).  The host truncates a read but refuses a short write with EFAULT, and
 * UML then kills the guest's first process.  Here a short write is filled up to the host's size;
 * the components beyond UML's buffer are marked "in their initial state" in XSTATE_BV, the first
 * word of the XSAVE header (Intel SDM volume 1, section 13.4.2).  Tile registers are therefore
 * lost over a context switch in the guest, where nothing uses them.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

enum { XSTATE_BV = 512, AREA_BYTES = 65536 };
#define TILE_COMPONENTS (3ull << 17)

/* Not on the stack: UML calls from a 16 KiB kernel stack, and only from one thread. */
static unsigned char area[AREA_BYTES] __attribute__((aligned(64)));

long ptrace(enum __ptrace_request request, ...)
{
	static long (*next)(enum __ptrace_request, ...);
	static size_t whole;
	va_list args;

	va_start(args, request);
	pid_t pid = va_arg(args, pid_t);
	void *addr = va_arg(args, void *);
	void *data = va_arg(args, void *);
	va_end(args);

	if (!next)
		next = (long (*)(enum __ptrace_request, ...))dlsym(RTLD_NEXT, "ptrace");
	if (request != PTRACE_SETREGSET || (uintptr_t)addr != NT_X86_XSTATE)
		return next(request, pid, addr, data);

	const struct iovec *given = data;
	if (!whole) {
		struct iovec probe = { area, sizeof area };
		if (next(PTRACE_GETREGSET, pid, addr, &probe) == 0)
			whole = probe.iov_len;
	}
	if (given->iov_len >= whole)
		return next(request, pid, addr, data);

	uint64_t present;
	memset(area + given->iov_len, 0, whole - given->iov_len);
	memcpy(area, given->iov_base, given->iov_len);
	memcpy(&present, area + XSTATE_BV, sizeof present);
	present &= ~TILE_COMPONENTS;
	memcpy(area + XSTATE_BV, &present, sizeof present);

	struct iovec padded = { area, whole };
	return next(request, pid, addr, &padded);
}
