/* The root filesystem: mounts are made detached, given their attributes, and only then attached to a descriptor. */
#include "init.h"

#include <linux/mount.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

enum { PROC_MAGIC = 0x9fa0, DEVPTS_MAGIC = 0x1cd1, PTS_MAJOR = 136, PTS_MAJORS = 8, BIND_RECURSIVE = 0x4000, MOVE = 0x2000, DETACH = 2 };
enum { LOCKED = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODIRATIME | MOUNT_ATTR__ATIME };

static int set_attributes(int tree, unsigned flags, struct mount_attr attr)
{
	if (!attr.attr_set && !attr.attr_clr && !attr.propagation)
		return 0;
	int result = (int)syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | flags, &attr, sizeof attr);
	/* what a mount has brought into a user namespace is locked (mount_namespaces(7)) and is kept, for clients say `rw` of each;
	 * what is to be set is never left out, and an access time is set by clearing the one that there is */
	uint64_t kept = attr.attr_clr & (attr.attr_set & MOUNT_ATTR__ATIME ? LOCKED & ~MOUNT_ATTR__ATIME : LOCKED);
	attr.attr_clr &= ~kept;
	return result < 0 && errno == EPERM && kept ? set_attributes(tree, flags, attr) : result;
}

/* Apply the five numbers with which every mount op ends: set, clear, recursive set and clear, propagation. */
static int finish(int tree, const struct arg *a)
{
	uint64_t propagation = (uint64_t)a[4].number;
	unsigned recursive = propagation & BIND_RECURSIVE ? AT_RECURSIVE : 0;

	if (set_attributes(tree, AT_RECURSIVE, (struct mount_attr){.attr_set = (uint64_t)a[2].number, .attr_clr = (uint64_t)a[3].number}) < 0)
		return -1;
	if (set_attributes(tree, 0, (struct mount_attr){.attr_set = (uint64_t)a[0].number, .attr_clr = (uint64_t)a[1].number}) < 0)
		return -1;
	return set_attributes(tree, recursive, (struct mount_attr){.propagation = propagation & ~(uint64_t)BIND_RECURSIVE});
}

static int move_to(int tree, int target)
{
	return (int)syscall(SYS_move_mount, tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

static int clone_tree(int at, const char *path, unsigned flags)
{
	return (int)syscall(SYS_open_tree, at, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags);
}

static enum kind kind_of(int fd)
{
	struct stat found;

	return fstat(fd, &found) == 0 && S_ISDIR(found.st_mode) ? DIRECTORY : REGULAR;
}

/* Make the root of a filesystem like the directory that it is going to cover; what is in that one, the runtime copies. */
static int like_covered(int tree, int place, int resolve)
{
	struct stat covered;

	if (resolve & COVERED_MODE && (fstat(place, &covered) < 0 || fchmodat(tree, ".", covered.st_mode & 07777, 0) < 0))
		return -1;
	if (resolve & COPY_UP)
		ask(REPLY_COPY_UP, resolve, place, tree);
	return 0;
}

/* Open `target` below the root for a mount, making it where it is missing; what was there may be taken over. */
static int open_place(int tree, const char *target, int resolve)
{
	/* /proc and /sys reached through a link would put them where the image likes (CVE-2019-19921) */
	uint64_t strict = resolve & NO_SYMLINKS ? RESOLVE_NO_SYMLINKS : 0;
	int nofollow = resolve & (NO_SYMLINKS | TARGET_NOFOLLOW) ? O_NOFOLLOW : 0;
	int place = in_root(target, O_PATH | nofollow, strict);

	if (place >= 0)
		return like_covered(tree, place, resolve) < 0 ? done(-1, place, -1) : place;
	if (errno != ENOENT && errno != ENOTDIR)
		return -1;
	place = ensure(target, kind_of(tree));
	return nofollow ? done(in_root(target, O_PATH | nofollow, strict), place, -1) : place;
}

static int configure(int fs, unsigned command, const char *key, const char *value)
{
	return (int)syscall(SYS_fsconfig, fs, command, key, value, 0);
}

/* Tell a filesystem its parameters, and then to come into being or to change. */
static int parameters(int fs, const struct arg *data, unsigned command)
{
	char *key = data ? (char *)data->text : NULL;

	for (uint32_t i = 0; data && i < data->length; i++) {
		char *next = key + strlen(key) + 1, *value = key;
		strsep(&value, "=");
		if (configure(fs, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key, value) < 0)
			return -1;
		key = next;
	}
	return configure(fs, command, NULL, NULL);
}

/* Make a filesystem and return it as a detached mount. */
int new_mount(const char *type, const char *source, const struct arg *data)
{
	int fs = (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC), tree = -1;

	if (fs < 0)
		return -1;
	if (*source && configure(fs, FSCONFIG_SET_STRING, "source", source) < 0)
		return done(-1, fs, -1);
	if (parameters(fs, data, FSCONFIG_CMD_CREATE) == 0)
		tree = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	return done(tree, fs, -1);
}

OP(private_proc)
{
	struct statfs found;

	fds.proc = new_mount("proc", "proc", NULL);
	if (fds.proc >= 0)
		return set_attributes(fds.proc, 0, (struct mount_attr){.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC});
	/* in a user namespace below a /proc that is partly covered the kernel makes no new one: take the host's,
	 * which is still where it was, for the root filesystem has not been touched */
	fds.proc = errno == EPERM ? open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fds.proc < 0 || fstatfs(fds.proc, &found) < 0)
		return -1;
	errno = EINVAL;
	return found.f_type == PROC_MAGIC ? 0 : -1;
}

static bool is_device(int fd, mode_t type, unsigned major_number, unsigned minor_number)
{
	struct stat found;

	return fstat(fd, &found) == 0 && (found.st_mode & S_IFMT) == type &&
	       (S_ISFIFO(type) || found.st_rdev == makedev(major_number, minor_number));
}

OP(rootfs)
{
	/* before the rootfs is touched: what masks files must be the host's own (CVE-2025-31133) */
	fds.null = open("/dev/null", O_PATH | O_CLOEXEC);
	if (fds.null < 0)
		return -1;
	errno = ENODEV;
	if (!is_device(fds.null, S_IFCHR, 1, 3))
		return -1;
	int place = open(a[0].text, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (place < 0)
		return -1;
	fds.root = clone_tree(place, "", AT_EMPTY_PATH | AT_RECURSIVE);
	return done(fds.root < 0 ? -1 : move_to(fds.root, place), place, -1);
}

/* Attach a detached mount to its target, with the attributes that follow in `a`, and let go of it. */
static int attach(int tree, const struct arg *target, const struct arg *a)
{
	int place = tree < 0 ? -1 : open_place(tree, target->text, (int)a[0].number);

	/* attributes last: what is read-only cannot be filled */
	return done(place < 0 || finish(tree, a + 1) < 0 ? -1 : move_to(tree, place), tree, place);
}

OP(mount)
{
	int tree = new_mount(a[0].text, a[1].text, &a[3]);

	if (tree < 0 && errno == EPERM && *a[4].text) {
		/* in place of what the kernel denies to a user namespace: all of what is there, no freer below than above */
		tree = clone_tree(AT_FDCWD, a[4].text, AT_RECURSIVE);
		if (tree >= 0 && set_attributes(tree, AT_RECURSIVE, (struct mount_attr){.attr_set = (uint64_t)a[6].number}) < 0)
			return done(-1, tree, -1);
	}
	return attach(tree, &a[2], a + 5);
}

OP(tree)
{
	int tree = clone_tree(AT_FDCWD, a[0].text, (unsigned)a[2].number);
	int result = tree < 0 ? -1 : set_attributes(tree, AT_RECURSIVE, (struct mount_attr){.propagation = (uint64_t)a[3].number});

	return result < 0 ? done(-1, tree, -1) : keep(tree);
}

OP(bind)
{
	return attach(handle(a[3].number), &a[1], a + 4);
}

OP(remount)
{
	int place = in_root(a[0].text, O_PATH, 0), fs = -1, result = place < 0 ? -1 : finish(place, a + 2);

	if (result == 0 && a[1].length) {
		fs = (int)syscall(SYS_fspick, place, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);
		result = fs < 0 ? -1 : parameters(fs, &a[1], FSCONFIG_CMD_RECONFIGURE);
	}
	return done(result, place, fs);
}

/* umount2(2) takes no descriptor: its name in the host's procfs, which nobody inside can make lead elsewhere. */
OP(unmount)
{
	char name[32];

	snprintf(name, sizeof name, "self/fd/%d", handle(a[1].number));
	return fchdir(fds.proc) < 0 ? -1 : (int)syscall(SYS_umount2, name, DETACH);
}

OP(mknod)
{
	const char *name;
	int dir = ensure_parent(a[0].text, &name), fd;
	mode_t type = (mode_t)a[1].number & S_IFMT;
	unsigned major_number = (unsigned)a[2].number, minor_number = (unsigned)a[3].number;

	if (dir < 0)
		return -1;
	bool made = mknodat(dir, name, (mode_t)a[1].number, makedev(major_number, minor_number)) == 0;
	if (!made && errno != EEXIST)
		return done(-1, dir, -1);
	fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return done(-1, dir, -1);
	errno = EEXIST; /* something else stands there, or was put there in between */
	int result = is_device(fd, type, major_number, minor_number) ? 0 : -1;
	if (result == 0 && made)
		result = fchownat(fd, "", (uid_t)a[4].number, (gid_t)a[5].number, AT_EMPTY_PATH);
	return done(result, fd, dir);
}

OP(symlink)
{
	const char *name;
	int dir = ensure_parent(a[1].text, &name);

	if (dir < 0)
		return -1;
	int result = symlinkat(a[0].text, dir, name);
	char found[PATH_MAX] = {0};
	if (result < 0 && errno == EEXIST && (!a[2].number || (readlinkat(dir, name, found, sizeof found - 1) > 0 && !strcmp(found, a[0].text))))
		result = 0;
	return done(result, dir, -1);
}

static int absent(void)
{
	return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
}

/* Lay `tree` over `place` with more attributes set; both are closed. */
static int cover(int tree, int place, uint64_t attributes)
{
	int result = tree < 0 ? -1 : set_attributes(tree, AT_RECURSIVE, (struct mount_attr){.attr_set = attributes});

	return done(result < 0 ? -1 : move_to(tree, place), tree, place);
}

/* Open what is to be hidden: a path, the filesystem it must be in (its mountpoint, or nothing), and the kind of that.
 * While names change places `/proc` may be another directory, and what is absent there is not absent. */
static int find_hidden(const struct arg *a)
{
	struct statfs found;
	int base = in_root(a[1].text, O_PATH, 0);

	if (a[2].number && (base < 0 || fstatfs(base, &found) < 0 || (int64_t)found.f_type != a[2].number)) {
		errno = ESTALE;
		return done(-1, base, -1);
	}
	return done(below(base, a[0].text + a[1].length, O_PATH, 0), base, -1);
}

OP(mask)
{
	int place = find_hidden(a);

	if (place < 0)
		return absent();
	if (kind_of(place) == DIRECTORY)
		return cover(new_mount("tmpfs", "tmpfs", &a[3]), place, MOUNT_ATTR_RDONLY);
	return cover(clone_tree(fds.null, "", AT_EMPTY_PATH), place, 0);
}

OP(read_only)
{
	int place = find_hidden(a);

	return place < 0 ? absent() : cover(clone_tree(place, "", AT_EMPTY_PATH | AT_RECURSIVE), place, MOUNT_ATTR_RDONLY);
}

OP(pivot_root)
{
	/* pivot_root(2), "pivot_root(".", ".")": the old root ends up mounted over the new one, and is let go. No mount of
	 * it is shared any more, so that never reaches the host. */
	if (fchdir(fds.root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || syscall(SYS_umount2, ".", DETACH) < 0)
		return -1;
	return done(chdir("/"), fds.root, fds.null);
}

OP(change_root)
{
	if (fchdir(fds.root) < 0 || syscall(SYS_mount, ".", "/", NULL, MOVE, NULL) < 0 || chroot(".") < 0)
		return -1;
	return done(chdir("/"), fds.root, fds.null);
}

/* -- the terminal */

/* Open the multiplexer of the container's own devpts, and make sure that it is one (CVE-2025-52565). */
static int open_multiplexer(void)
{
	struct statfs found;
	int fd = in_root("/dev/pts/ptmx", O_RDWR | O_NOCTTY, RESOLVE_NO_SYMLINKS);

	if (fd < 0)
		return -1;
	if (fstatfs(fd, &found) == 0 && found.f_type == DEVPTS_MAGIC && is_device(fd, S_IFCHR, 5, 2))
		return fd;
	errno = ENODEV;
	return done(-1, fd, -1);
}

static bool is_pts(int fd)
{
	struct stat found;

	return fstat(fd, &found) == 0 && S_ISCHR(found.st_mode) && major(found.st_rdev) - PTS_MAJOR < PTS_MAJORS;
}

static int bind_console(int terminal)
{
	int tree = clone_tree(terminal, "", AT_EMPTY_PATH);
	int place = tree < 0 ? -1 : ensure("/dev/console", REGULAR);

	return done(place < 0 ? -1 : move_to(tree, place), tree, place);
}

OP(console)
{
	struct winsize size = {.ws_col = (unsigned short)a[0].number, .ws_row = (unsigned short)a[1].number};
	int locked = 0, master = open_multiplexer();

	if (master < 0)
		return -1;
	if (ioctl(master, TIOCSPTLCK, &locked) < 0)
		return done(-1, master, -1);
	int terminal = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (terminal < 0 || !is_pts(terminal) || (size.ws_col && ioctl(terminal, TIOCSWINSZ, &size) < 0))
		return done(-1, master, terminal);
	if (ioctl(terminal, TIOCSCTTY, 0) < 0 || (a[2].number && bind_console(terminal) < 0))
		return done(-1, master, terminal);
	reply(REPLY_CONSOLE, 0, 0, master, -1);
	for (int fd = 0; fd < 3; fd++)
		if (dup2(terminal, fd) < 0)
			return done(-1, master, terminal);
	return done(0, master, terminal);
}
