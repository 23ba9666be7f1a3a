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
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* -I: nothing of the environment or the working directory is imported; -S: no site; -B: nothing is written */
static const char *isolated = "-ISB";

/*
 * Find the archive of byte code for this interpreter (archive.py), or the front door that works without one.
 * With the archive comes a home in which Python boots faster (encodings.py). An environment variable tells it so, which
 * -I would have it ignore: the other two things that -I does are asked for singly, the third is forget_steering().
 */
static const char *front_door(void)
{
	static char path[PATH_MAX + sizeof ".pyc"], home[PATH_MAX];
	char name[64];
	ssize_t size = readlink(PYTHON, name, sizeof name - 1);

	snprintf(home, sizeof home, LIBRARY "/%.*s", size < 0 ? 0 : (int)size, name);
	snprintf(path, sizeof path, "%s.pyc", home);
	if (size <= 0 || memchr(name, '/', (size_t)size) || access(path, R_OK) < 0)
		return LIBRARY "/pyoci_systemd/__main__.py";
	if (access(home, X_OK) == 0 && setenv("PYTHONHOME", home, 1) == 0)
		isolated = "-sPSB";
	return path;
}

/* What would steer Python, the C library, its linker, or libcrypto, which Python loads: by the beginnings of names. */
static const char *const steering[] = {"PYTHON", "LD_", "GLIBC_", "MALLOC_", "OPENSSL_", "GCONV_PATH=", "GETCONF_DIR=", "LOCPATH=", "NLSPATH="};

static void forget_steering(void)
{
	size_t i, n = sizeof steering / sizeof *steering;
	char **kept = environ;

	for (char **entry = environ; *entry; entry++) {
		for (i = 0; i < n && strncmp(*entry, steering[i], strlen(steering[i])); i++)
			;
		if (i == n)
			*kept++ = *entry;
	}
	*kept = NULL;
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
		if (strstr(*argv, "cgroupfs") || strstr(*argv, "disabled") || strstr(*argv, "split"))
			return 0;
		if (!strcmp(*argv, "run") || !strcmp(*argv, "create"))
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	char helper[20] = "0";
	char *arguments[argc + 6];

	sigset_t interrupt;

	if (argc < 1)
		return 1;
	/* Python that is interrupted while it boots has words of its own for it; main.py lets the signal through */
	sigemptyset(&interrupt);
	sigaddset(&interrupt, SIGINT);
	sigprocmask(SIG_BLOCK, &interrupt, NULL);
	if (makes_scope(argv)) {
		pid_t pid = fork();
		if (pid == 0) {
			warm_up();
			_exit(0);
		}
		snprintf(helper, sizeof helper, "%d", pid > 0 ? (int)pid : 0);
	}
	forget_steering();
	const char *door = front_door();
	const char *first[] = {PYTHON, isolated, "-Xutf8", door, helper};
	memcpy(arguments, first, sizeof first);
	memcpy(arguments + 5, argv, ((size_t)argc + 1) * sizeof *argv);
	execv(PYTHON, arguments);
	fprintf(stderr, "pyoci: `%s`: %s\n", PYTHON, strerror(errno));
	return 1;
}
