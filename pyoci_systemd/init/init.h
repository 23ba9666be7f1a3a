/* The init: a player of ops. See init.c for the dialogue, path.c for how names in the rootfs are resolved. */
#ifndef PYOCI_INIT_H
#define PYOCI_INIT_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* One argument of an op: a number, a string, a blob of `length` bytes, or a vector of `length` strings. */
struct arg {
	int64_t number;
	const char *text;
	uint32_t length;
};

enum { MAX_ARGS = 11 };

/* What the init tells the runtime. */
enum reply_kind { REPLY_PID = 1, REPLY_GATE, REPLY_ERROR, REPLY_CONSOLE, REPLY_COPY_UP };

/* The descriptors the init works with; -1 when there is none (yet). All are close-on-exec. */
struct descriptors {
	int channel;  /* to the runtime: create and run, later start */
	int root;     /* the root filesystem */
	int proc;     /* the private procfs */
	int null;     /* the host's /dev/null */
	int offer;    /* what the runtime gets at the next gate */
	int preserve; /* how many descriptors from 3 on belong to the workload */
};
extern struct descriptors fds;

/* init.c */
void reply(enum reply_kind kind, int error, int64_t value, int one, int other);
void ask(enum reply_kind kind, int64_t value, int one, int other);
void guard(void);
char **vector(const struct arg *a);
enum { GIVEN }; /* the number of what comes first: the socket on which to wait for start, or whom to enter, as a pidfd */
int handle(int64_t number);
int keep(int fd);

/* path.c: every name below the root filesystem goes through these. -1 and errno on failure. */
enum kind { DIRECTORY, REGULAR };
enum resolve { NO_SYMLINKS = 1, TARGET_NOFOLLOW = 2, COVERED_MODE = 4, COPY_UP = 8 };
int below(int dir, const char *path, int flags, unsigned long long resolve);
#define in_root(path, flags, resolve) below(fds.root, path, flags, resolve)
int ensure(const char *path, enum kind kind);
int ensure_parent(const char *path, const char **name);
int write_proc(const char *path, const char *value);
int write_text(int fd, const char *value);
int done(int result, int one, int other);

/* process.c */
extern char **more; /* the next variable that the environment gets besides */

/* mounts.c */
int new_mount(const char *type, const char *source, const struct arg *data);

#define OP(name) int op_##name(__attribute__((unused)) const struct arg *a)

#endif
