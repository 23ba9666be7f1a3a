/*
 * The container's init: it reads a list of ops and performs one after another. It decides nothing.
 *
 *   runtime                         first process                 container's first process
 *   spawn ───────────────────────►  close what is not ours
 *   ops (+ descriptors) ─────────►  namespaces … clone ─────────► rootfs, mounts, devices …
 *   ◄─────────────────────── PID ── exit                          │
 *   StartTransientUnit(PID)                                       │
 *   ◄────────────────────────────────────────── GATE (scope) ───  waits
 *   the scope stands ────────────────────────────────────────►    cgroup namespace, pivot_root, process …
 *   ◄────────────────────────────────────────── GATE (state) ───  waits
 *   state written ───────────────────────────────────────────►    from here on it outlives the runtime
 *   start: connect ──────────────────────────────────────────►    await_start (create only)
 *   ◄────────────────────────── end of file: the workload runs ── execve
 *
 * `exec` and hooks that run inside are the same, shorter: the first process enters the container's namespaces, and
 * what it clones has only the process part, with the gate of the state.
 *
 * Whatever fails is answered by ERROR with the op's index and its errno, and the init is gone. Until the state is
 * written it also dies with the runtime: by PR_SET_PDEATHSIG, and by the end of file on the channel.
 */
#include "init.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "ops.h"

struct descriptors fds = {-1, -1, -1, -1, -1, 0};

#define DECLARE(name, signature) OP(name);
OPS(DECLARE)
SYSTEM_CALLS

static const struct op {
	int (*play)(const struct arg *);
	const char *signature;
} table[] = {
#define ENTRY(name, signature) {op_##name, signature},
	OPS(ENTRY)
};

static uint32_t current; /* the index of the op that is being performed */

struct message {
	uint32_t kind, index;
	int32_t error, spare;
	int64_t value;
};

/* Say something, and send none, one or two descriptors with it. */
void reply(enum reply_kind kind, int error, int64_t value, int one, int other)
{
	struct message message = {kind, current, error, 0, value};
	struct iovec part = {&message, sizeof message};
	const int sent[2] = {one, other};
	size_t size = sizeof(int) * (size_t)((one >= 0) + (other >= 0));
	union {
		char space[CMSG_SPACE(sizeof sent)];
		struct cmsghdr align;
	} control = {0};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

	if (size) {
		header.msg_control = control.space;
		header.msg_controllen = CMSG_SPACE(size);
		struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(size);
		memcpy(CMSG_DATA(rights), sent, size);
	}
	/* a runtime that is gone is found out at the next gate */
	sendmsg(fds.channel, &header, MSG_NOSIGNAL);
}

/* -- what ops name by its number: the descriptors that came with the ops, then those that ops take for later ones */

enum { HANDLES = 253 }; /* the most that one message carries (unix(7), SCM_MAX_FD) */
static int handles[HANDLES];
static size_t taken;

int handle(int64_t number)
{
	errno = EBADF;
	return (uint64_t)number < taken ? handles[number] : -1;
}

int keep(int fd)
{
	errno = fd < 0 ? errno : EMFILE;
	if (fd < 0 || taken == HANDLES)
		return done(-1, fd, -1);
	handles[taken++] = fd;
	return 0;
}

static void fail(int error)
{
	reply(REPLY_ERROR, error, 0, -1, -1);
	_exit(1);
}

/* Say something and wait to be let through. */
void ask(enum reply_kind kind, int64_t value, int one, int other)
{
	char byte;

	reply(kind, 0, value, one, other);
	if (read(fds.channel, &byte, 1) != 1)
		_exit(1);
}

/* Die with the runtime. The kernel forgets it whenever the credentials change (prctl(2), PR_SET_PDEATHSIG). */
void guard(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

enum { GATE_STATE = 1 };

OP(await)
{
	/* The runtime may leave right after it has opened the last gate, and its end must not be taken for its death.
	 * Until then, waiting for it, the end of file on the channel is enough to notice that. */
	if (a[0].number == GATE_STATE)
		prctl(PR_SET_PDEATHSIG, 0);
	ask(REPLY_GATE, a[0].number, fds.offer, -1);
	fds.offer = -1; /* and not closed: a filter may be there by now that has not been asked about more than this */
	return 0;
}

/* -- the wire: numbers are in the machine's order, text ends in NUL, a blob and a vector begin with their length */

struct reader {
	const char *at, *end;
};

static bool take_bytes(struct reader *r, const char **bytes, size_t size)
{
	*bytes = r->at;
	r->at += (size_t)(r->end - r->at) < size ? 0 : size;
	return r->at == *bytes + size;
}

static bool take(struct reader *r, void *into, size_t size)
{
	const char *bytes;

	return take_bytes(r, &bytes, size) && memcpy(into, bytes, size);
}

static bool take_text(struct reader *r, struct arg *arg)
{
	return take(r, &arg->length, sizeof arg->length) && arg->length < INT_MAX &&
	       take_bytes(r, &arg->text, (size_t)arg->length + 1) && r->at[-1] == '\0';
}

static bool take_vector(struct reader *r, struct arg *arg)
{
	uint32_t size, ends = 0;

	if (!take(r, &arg->length, sizeof arg->length) || !take(r, &size, sizeof size) || !take_bytes(r, &arg->text, size))
		return false;
	for (uint32_t i = 0; i < size; i++)
		ends += arg->text[i] == '\0';
	return ends == arg->length && (size == 0 || r->at[-1] == '\0');
}

static bool take_arg(struct reader *r, char type, struct arg *arg)
{
	switch (type) {
	case 'i':
		return take(r, &arg->number, sizeof arg->number);
	case 's':
		return take_text(r, arg);
	case 'b':
		return take(r, &arg->length, sizeof arg->length) && take_bytes(r, &arg->text, arg->length);
	default:
		return take_vector(r, arg);
	}
}

/* Return a NULL-terminated array of the strings of a vector, with room for four more; NULL when memory is short. */
char **vector(const struct arg *a)
{
	char **strings = calloc((size_t)a->length + 5, sizeof *strings);
	const char *text = a->text;

	for (uint32_t i = 0; strings && i < a->length; i++) {
		strings[i] = (char *)text;
		text += strlen(text) + 1;
	}
	return strings;
}

static void play(struct reader r, uint32_t count)
{
	for (current = 0; current < count; current++) {
		struct arg args[MAX_ARGS] = {0};
		uint32_t code;

		if (!take(&r, &code, sizeof code) || code >= sizeof table / sizeof *table)
			fail(EBADMSG);
		for (int i = 0; table[code].signature[i]; i++)
			if (!take_arg(&r, table[code].signature[i], &args[i]))
				fail(EBADMSG);
		if (table[code].play(args) < 0)
			fail(errno);
	}
}

/* -- the beginning */

/* Read the size of the op list, and with it the descriptors that are sent. */
static bool receive_head(uint32_t head[2])
{
	struct iovec part = {head, 2 * sizeof *head};
	union {
		char space[CMSG_SPACE(sizeof handles)];
		struct cmsghdr align;
	} control;
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};

	if (recvmsg(fds.channel, &header, MSG_CMSG_CLOEXEC | MSG_WAITALL) != (ssize_t)part.iov_len)
		return false;
	struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
	if (rights && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS) {
		taken = (rights->cmsg_len - CMSG_LEN(0)) / sizeof *handles;
		memcpy(handles, CMSG_DATA(rights), taken * sizeof *handles);
	}
	return true;
}

/* By system calls: the C library keeps some signals for itself, and would leave them as the caller had them. */
static void reset_signals(void)
{
	static const char action[64]; /* struct sigaction of the kernel: no handler, no flags, no mask */
	static const uint64_t none;

	for (int number = 1; number <= 64; number++)
		syscall(SYS_rt_sigaction, number, action, NULL, sizeof none);
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
}

/* Close what the caller leaked: nothing of the host may reach the container (CVE-2016-9962, CVE-2024-21626). */
static void close_foreign(void)
{
	unsigned first = 3 + (unsigned)fds.preserve;

	if ((unsigned)fds.channel > first)
		syscall(SYS_close_range, first, fds.channel - 1, 0);
	syscall(SYS_close_range, (unsigned)fds.channel < first ? first : (unsigned)fds.channel + 1, ~0U, 0);
	fcntl(fds.channel, F_SETFD, FD_CLOEXEC);
}

int main(int argc, char **argv)
{
	uint32_t head[2];

	if (argc != 3)
		return 1; /* started by hand, or by a container through /proc/self/exe */
	fds.channel = atoi(argv[1]);
	fds.preserve = atoi(argv[2]);
	/* before any namespace is entered: nobody in it may look into this process (CVE-2016-9962) */
	prctl(PR_SET_DUMPABLE, 0);
	prctl(PR_SET_NAME, "pyoci-init");
	guard();
	close_foreign();
	reset_signals();
	umask(0);
	if (!receive_head(head))
		return 1;
	char *ops = mmap(NULL, head[1] + 1UL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ops == MAP_FAILED || (head[1] && recv(fds.channel, ops, head[1], MSG_WAITALL) != (ssize_t)head[1]))
		return 1;
	play((struct reader){ops, ops + head[1]}, head[0]);
	return 1; /* the last op is an execve */
}
