/*
 * /usr/bin/pyoci: start the interpreter, isolated, on the front door.
 *
 * For create and run under systemd it does one thing more, at time 0. When PID 1 moves the container into its scope,
 * it waits for a grace period of RCU in the kernel, 7 to 11 ms of a run. Any process that writes itself into the
 * cgroup in which it stands starts that grace period early, so a helper does that while Python boots. The runtime
 * reaps it (its pid is the first argument).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef PYTHON
#define PYTHON "/usr/bin/python3"
#endif
#ifndef LIBRARY
#define LIBRARY "/usr/lib/pyoci"
#endif

/* Find the archive of byte code for this interpreter (archive.py), or the front door that works without one. */
static const char *front_door(void)
{
	static char path[PATH_MAX];
	char name[64];
	ssize_t size = readlink(PYTHON, name, sizeof name - 1);

	if (size > 0 && !memchr(name, '/', (size_t)size)) {
		snprintf(path, sizeof path, LIBRARY "/%.*s.pyc", (int)size, name);
		if (access(path, R_OK) == 0)
			return path;
	}
	return LIBRARY "/pyoci_systemd/__main__.py";
}

/* Write ourselves into our own cgroup. Where that is not possible nothing is lost but time. */
static void warm_up(void)
{
	char text[4096] = "\n", path[sizeof text + 40];
	int fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : read(fd, text + 1, sizeof text - 2);

	if (size <= 0)
		return;
	text[size + 1] = '\0';
	char *line = strstr(text, "\n0::");
	if (!line)
		return;
	line += 4;
	line[strcspn(line, "\n")] = '\0';
	snprintf(path, sizeof path, "/sys/fs/cgroup%s/cgroup.procs", line);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, "0", 1) == 1)
		return;
}

/* Is this a create or run that will make a scope? A wrong answer costs a little time and is otherwise harmless. */
static int makes_scope(char **argv)
{
	while (*++argv) {
		if (strstr(*argv, "cgroupfs") || strstr(*argv, "disabled"))
			return 0;
		if (!strcmp(*argv, "run") || !strcmp(*argv, "create"))
			return 1;
	}
	return 0;
}

/* What would steer the C library, its linker, or libcrypto, which Python loads; PYTHON* is nothing to `-I`. */
static const char *const steering[] = {
	"LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "LD_DEBUG", "LD_DEBUG_OUTPUT", "LD_PROFILE", "LD_PROFILE_OUTPUT", "LD_SHOW_AUXV", "LD_TRACE_LOADED_OBJECTS", "LD_BIND_NOW", "LD_ORIGIN_PATH", "LD_HWCAP_MASK", "GLIBC_TUNABLES", "GCONV_PATH", "GETCONF_DIR", "LOCPATH", "NLSPATH", "MALLOC_CHECK_", "MALLOC_TRACE", "MALLOC_ARENA_MAX", "OPENSSL_CONF", "OPENSSL_MODULES", "OPENSSL_ENGINES"};

int main(int argc, char **argv)
{
	char helper[20] = "0";
	char *arguments[argc + 8];
	int n = 0;

	if (argc < 1)
		return 1;
	if (makes_scope(argv)) {
		pid_t pid = fork();
		if (pid == 0) {
			warm_up();
			_exit(0);
		}
		snprintf(helper, sizeof helper, "%d", pid > 0 ? (int)pid : 0);
	}
	arguments[n++] = PYTHON;
	/* -I: nothing of the environment or the working directory is imported; -S: no site; -B: nothing is written */
	arguments[n++] = "-ISB";
	arguments[n++] = "-Xutf8";
	arguments[n++] = (char *)front_door();
	arguments[n++] = helper;
	for (int i = 0; i < argc; i++)
		arguments[n++] = argv[i];
	arguments[n] = NULL;
	for (size_t i = 0; i < sizeof steering / sizeof *steering; i++)
		unsetenv(steering[i]);
	execv(PYTHON, arguments);
	fprintf(stderr, "pyoci: `%s`: %s\n", PYTHON, strerror(errno));
	return 1;
}
