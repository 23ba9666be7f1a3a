/* Namespaces and the process: what it is, may do, and runs. */
#include "init.h"

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>

enum { FILTER = 1, MAX_PASSWD = 1 << 20 };

static char executable[PATH_MAX];
static char home[PATH_MAX], *added[4];
char **more = added; /* what the environment gets besides */
static bool arrived; /* the working directory has been reached */

OP(open_namespace)
{
	int fd = open(a[1].text, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, NS_GET_NSTYPE) == (int)a[0].number)
		return keep(fd);
	errno = EINVAL;
	return done(-1, fd, -1);
}

/* Become somebody in a user namespace, for whom it does not know can make no file. Whom it does not map stays as he is, with
 * the rights of whoever made it. */
static int become(uid_t uid, gid_t gid)
{
	return (setresgid(gid, gid, gid) < 0 && errno != EINVAL) || (setresuid(uid, uid, uid) < 0 && errno != EINVAL) ? -1 : 0;
}

OP(join_namespace)
{
	int type = (int)a[0].number;

	return setns(handle(a[1].number), type) < 0 || (type == CLONE_NEWUSER && become(0, 0) < 0) ? -1 : 0;
}

enum { GATE_MAPPED = 2 };

/* By the pidfd of the container's first process, which cannot be another's by now. */
OP(enter)
{
	int namespaces = (int)a[0].number;

	if (setns(handle(GIVEN), namespaces) < 0 || (namespaces & CLONE_NEWUSER && become(0, 0) < 0))
		return -1;
	close(fds.root);
	fds.root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	guard();
	return fds.root < 0 ? -1 : 0;
}

OP(new_user_namespace)
{
	if (unshare(CLONE_NEWUSER) < 0)
		return -1;
	ask(REPLY_GATE, GATE_MAPPED, -1, -1);
	return become((uid_t)a[0].number, (gid_t)a[1].number);
}

OP(time_offset)
{
	char text[80];

	snprintf(text, sizeof text, "%s %lld %lld", a[0].text, (long long)a[1].number, (long long)a[2].number);
	return write_text(open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC), text);
}

/* The new process is a sibling of this one (CLONE_PARENT), so the caller can wait for it, as its clients do. */
OP(clone)
{
	uint64_t flags = CLONE_PARENT | (uint64_t)a[0].number;
	int cgroup = handle(a[1].number);
	/* struct clone_args (clone(2)); to be born in a cgroup is free, to be moved there costs a grace period of RCU */
	const uint64_t how[11] = {[0] = flags | 0x200000000U /* CLONE_INTO_CGROUP */, [10] = (uint64_t)cgroup};
	long pid = cgroup < 0 ? syscall(SYS_clone, flags, 0, 0, 0, 0) : syscall(SYS_clone3, how, sizeof how);

	if (pid < 0)
		return -1;
	if (pid > 0) {
		reply(REPLY_PID, 0, pid, -1, -1);
		_exit(0);
	}
	guard();
	/* who may look into it in there must not find the way to the host's cgroups (CVE-2024-21626) */
	return done(setsid() < 0 ? -1 : 0, cgroup, -1);
}

OP(loopback)
{
	const struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? -1 : done(ioctl(fd, SIOCSIFFLAGS, &request), fd, -1);
}

OP(route_socket)
{
	fds.offer = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	return fds.offer;
}

OP(own_stdio)
{
	struct stat found;

	/* best effort: a pipe or terminal that cannot be given away is used as it is */
	for (int fd = 0; fd < 3; fd++)
		if (fstat(fd, &found) == 0 && found.st_rdev != makedev(1, 3) && fchown(fd, (uid_t)a[0].number, (gid_t)-1) < 0)
			continue;
	return 0;
}

/* -- who it is */

OP(bounding)
{
	for (int capability = 0; capability < 64; capability++) {
		int held = prctl(PR_CAPBSET_READ, capability);
		if (held < 0)
			break;
		if (held && !(a[0].number >> capability & 1) && prctl(PR_CAPBSET_DROP, capability) < 0)
			return -1;
	}
	return 0;
}

OP(user)
{
	uid_t uid = (uid_t)a[0].number;
	gid_t gid = (gid_t)a[1].number;

	if (prctl(PR_SET_KEEPCAPS, 1) < 0)
		return -1;
	/* syscall: the C library's wrapper is written for threads, which the init has not */
	if (!a[3].number && syscall(SYS_setgroups, a[2].length / sizeof(gid_t), a[2].text) < 0)
		return -1;
	if (setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return -1;
	guard();
	return 0;
}

static int take_capabilities(uint64_t permitted, uint64_t effective, uint64_t inheritable)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	const struct __user_cap_data_struct wanted[2] = {
		{(uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable},
		{(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32)},
	};
	struct __user_cap_data_struct got[2];

	if (syscall(SYS_capset, &header, wanted) < 0 || syscall(SYS_capget, &header, got) < 0)
		return -1;
	errno = EPERM;
	return memcmp(wanted, got, sizeof got) ? -1 : 0;
}

/* Exactly the sets that were asked for, read back (CVE-2022-29162). */
OP(capabilities)
{
	uint64_t ambient = (uint64_t)a[3].number;

	if (take_capabilities((uint64_t)a[0].number, (uint64_t)a[1].number, (uint64_t)a[2].number) < 0)
		return -1;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return -1;
	for (unsigned capability = 0; capability < 64; capability++)
		if (ambient >> capability & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) < 0)
			return -1;
	return 0;
}

OP(seccomp)
{
	const struct sock_fprog program = {
		.len = (unsigned short)(a[0].length / sizeof(struct sock_filter)),
		.filter = (struct sock_filter *)a[0].text,
	};

	long listener = syscall(SYS_seccomp, FILTER, (unsigned)a[1].number, &program);
	if (listener > 0)
		fds.offer = (int)listener;
	return listener < 0 ? -1 : 0;
}

/* -- what it runs */

/* Take the home directory of `uid` from a passwd file's text: name:password:uid:gid:gecos:home:shell */
static void find_home(char *text, uid_t uid)
{
	for (char *rest = text, *line; (line = strsep(&rest, "\n"));) {
		char *field[6];
		int count = 0;
		while (count < 6 && (field[count] = strsep(&line, ":")))
			count++;
		if (count < 6 || !*field[2] || strtoul(field[2], NULL, 10) != uid || strspn(field[2], "0123456789") != strlen(field[2]))
			continue;
		if (field[5][0] == '/' && strlen(field[5]) < sizeof home - 5)
			snprintf(home, sizeof home, "HOME=%s", field[5]);
		return;
	}
}

/* By descriptor and with a limit, never through NSS, which would run what the image brings. */
OP(home)
{
	struct stat found;
	int fd = open("/etc/passwd", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	strcpy(home, "HOME=/");
	*more++ = home;
	if (fd < 0)
		return 0;
	if (fstat(fd, &found) == 0 && S_ISREG(found.st_mode) && found.st_size < MAX_PASSWD) {
		char *text = calloc(1, MAX_PASSWD);
		if (text && read(fd, text, MAX_PASSWD - 1) > 0)
			find_home(text, (uid_t)a[0].number);
		free(text);
	}
	return done(0, fd, -1);
}

/* A directory that only one of root and the user may enter is tried as both; `last` is the user's try. */
OP(chdir)
{
	char where[PATH_MAX];

	if (arrived)
		return 0;
	if (chdir(a[0].text) < 0)
		return errno == EACCES && !a[1].number ? 0 : -1;
	/* a directory outside the root has no path in here (CVE-2024-21626) */
	if (syscall(SYS_getcwd, where, sizeof where) < 0)
		return -1;
	errno = ENOENT;
	arrived = where[0] == '/';
	return arrived ? 0 : -1;
}

static bool runnable(const char *path)
{
	struct stat found;

	if (stat(path, &found) < 0)
		return false;
	if (S_ISREG(found.st_mode))
		return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0;
	errno = EACCES;
	return false;
}

OP(find_executable)
{
	const char *name = a[0].text, *path = a[1].text;
	int error = ENOENT;

	errno = ENAMETOOLONG;
	if (strlen(name) >= sizeof executable)
		return -1;
	if (strchr(name, '/')) {
		strcpy(executable, name);
		return runnable(name) ? 0 : -1;
	}
	while (*name && path) {
		size_t size = strcspn(path, ":");
		const char *next = path[size] ? path + size + 1 : NULL;
		if (size + strlen(name) + 2 <= sizeof executable) {
			snprintf(executable, sizeof executable, "%.*s%s%s", (int)size, path, size ? "/" : "./", name);
			if (runnable(executable))
				return 0;
			if (errno == EACCES)
				error = EACCES;
		}
		path = next;
	}
	errno = error;
	return -1;
}

static void leave(int number)
{
	_exit(128 + number);
}

/* Wait for a `start` to connect. One that goes away without its byte is forgotten; the first to send it has won, and
 * closing the socket turns all others away. */
OP(await_start)
{
	int listener = handle(GIVEN);
	char byte;

	close(fds.channel);
	/* the first process of a pid namespace does not hear what it has no handler for, and `systemctl stop` is to stop
	 * a container that has not been started; the execve takes the handler away */
	signal(SIGTERM, leave);
	for (;;) {
		fds.channel = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fds.channel < 0 && errno != EINTR && errno != ECONNABORTED)
			return -1;
		if (fds.channel >= 0 && read(fds.channel, &byte, 1) == 1)
			break;
		close(fds.channel);
	}
	close(listener);
	reply(REPLY_GATE, 0, 0, -1, -1);
	return 0;
}

OP(execute)
{
	char **argv = vector(&a[0]), **env = vector(&a[1]);

	if (!argv || !env)
		return -1;
	memcpy(env + a[1].length, added, sizeof added);
	execve(executable, argv, env);
	return -1;
}
