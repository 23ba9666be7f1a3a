/* Names below the root filesystem, and below /proc: resolved once, by descriptor, never above the root. */
#include "init.h"

#include <linux/openat2.h>

/* Close up to two descriptors on the way out, keeping errno. */
int done(int result, int one, int other)
{
	int error = errno;

	if (one >= 0)
		close(one);
	if (other >= 0)
		close(other);
	errno = error;
	return result;
}

/* Write a text in one go and close. */
int write_text(int fd, const char *value)
{
	return fd < 0 ? -1 : done(write(fd, value, strlen(value)) < 0 ? -1 : 0, fd, -1);
}

static int open_how(int dir, const char *path, int flags, unsigned long long resolve)
{
	struct open_how how = {.flags = (unsigned)flags | O_CLOEXEC, .resolve = resolve};

	/* EAGAIN: a rename or a mount raced with `..`; a container that keeps renaming must not stop us for ever */
	for (int tries = 0; tries < 1000; tries++) {
		int fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
		if (fd >= 0 || errno != EAGAIN)
			return fd;
	}
	return -1;
}

int below(int dir, const char *path, int flags, unsigned long long resolve)
{
	return open_how(dir, *path ? path : ".", flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve);
}

static int ensure_linked(const char *path, enum kind kind, int links);

/* Make the place to which the dangling link `name`, the end of `path`, leads: inside the root, as all else. */
static int follow(int dir, const char *path, const char *name, enum kind kind, int links)
{
	char target[2 * PATH_MAX];
	size_t before = (size_t)(name - path);
	ssize_t size = readlinkat(dir, name, target + before, PATH_MAX - 1);

	if (size < 0)
		return -1;
	errno = ELOOP;
	if (links == 40)
		return -1;
	target[before + (size_t)size] = '\0';
	if (target[before] == '/')
		return ensure_linked(target + before, kind, links + 1);
	memcpy(target, path, before);
	return ensure_linked(target, kind, links + 1);
}

static int make(int dir, const char *name, enum kind kind)
{
	if (kind == DIRECTORY)
		return mkdirat(dir, name, 0755);
	int fd = openat(dir, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_WRONLY, 0644);
	return done(fd < 0 ? -1 : 0, fd, -1);
}

/* Open what `path` names, whose parent is `dir`; make it where it is missing. */
static int step(int dir, const char *path, const char *name, enum kind kind, int links)
{
	int fd = in_root(path, O_PATH, 0);

	if (fd >= 0 || errno != ENOENT)
		return fd;
	if (make(dir, name, kind) == 0)
		/* what was just made, not what a second walk would find (CVE-2024-45310) */
		return open_how(dir, name, O_PATH | O_NOFOLLOW, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
	return errno == EEXIST ? follow(dir, path, name, kind, links) : -1;
}

static int ensure_linked(const char *path, enum kind kind, int links)
{
	char prefix[PATH_MAX];
	size_t size = strlen(path), at = 0;
	int dir = in_root(path, O_PATH, 0);

	/* ENOTDIR: perhaps only for the slash at the end of a file's name */
	if (dir >= 0 || (errno != ENOENT && errno != ENOTDIR))
		return dir;
	errno = ENAMETOOLONG;
	if (size >= sizeof prefix)
		return -1;
	memcpy(prefix, path, size + 1);
	dir = in_root("/", O_PATH, 0);
	while (dir >= 0) {
		at += strspn(path + at, "/");
		if (at == size)
			return dir;
		size_t end = at + strcspn(path + at, "/");
		bool last = path[end + strspn(path + end, "/")] == '\0';
		prefix[end] = '\0';
		int next = step(dir, prefix, prefix + at, last ? kind : DIRECTORY, links);
		prefix[end] = path[end];
		dir = done(next, dir, -1);
		at = end;
	}
	return -1;
}

/* Open `path` (O_PATH), after making what is missing of it: directories, and at its end `kind`. */
int ensure(const char *path, enum kind kind)
{
	return ensure_linked(path, kind, 0);
}

/* Open the directory of `path`, making it where needed, and set `name` to the last component. */
int ensure_parent(const char *path, const char **name)
{
	char parent[PATH_MAX];
	const char *slash = strrchr(path, '/');

	*name = slash ? slash + 1 : path;
	size_t size = slash ? (size_t)(slash - path) : 0;
	errno = EINVAL;
	if (size >= sizeof parent || !**name || !strcmp(*name, "..") || !strcmp(*name, "."))
		return -1;
	memcpy(parent, path, size);
	parent[size] = '\0';
	return ensure(size ? parent : "/", DIRECTORY);
}

/* Write to a file of the private procfs, and to no other (CVE-2025-52881). */
int write_proc(const char *path, const char *value)
{
	return write_text(open_how(fds.proc, path, O_WRONLY, RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS), value);
}
