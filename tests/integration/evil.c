/*
 * What an attacker puts into an image: a program, a dynamic linker and a library to be preloaded, all the same file.
 *
 *   look       until /tmp/over is there, reach for every process that is called as the init is; what was got goes to
 *              /tmp/hits, and whoever was met to /tmp/met
 *   push       type a character into the terminal on descriptor 0 (TIOCSTI), in two ways
 *   otherwise  as a linker or library: say in /tmp/loaded in which process it is
 *
 * It needs no C library and no relocation, for as a linker it has nobody who would do any.
 */
#include <fcntl.h>
#include <linux/ptrace.h>
#include <signal.h>
#include <sys/syscall.h>

#ifdef __x86_64__
__asm__(".globl start\nstart: mov %rsp, %rdi\nand $-16, %rsp\ncall run\n");
static long call(long number, long a, long b, long c, long d, long e)
{
	register long four __asm__("r10") = d, five __asm__("r8") = e;
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(four), "r"(five) : "rcx", "r11", "memory");
	return result;
}
#else
__asm__(".globl start\nstart: mov x0, sp\nbl run\n");
static long call(long number, long a, long b, long c, long d, long e)
{
	register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d, x4 __asm__("x4") = e;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
	return x0;
}
#endif

struct text {
	char bytes[64];
};

static unsigned long length(const char *text)
{
	unsigned long size = 0;

	while (text[size])
		size++;
	return size;
}

static int same(const char *one, const char *other)
{
	while (*one && *one == *other)
		one++, other++;
	return *one == *other;
}

static long open_at(const char *path, int flags)
{
	return call(SYS_openat, AT_FDCWD, (long)path, flags, 0666, 0);
}

static void note(const char *path, const char *line)
{
	long fd = open_at(path, O_WRONLY | O_CREAT | O_APPEND);

	call(SYS_write, fd, (long)line, length(line), 0, 0);
	call(SYS_close, fd, 0, 0, 0, 0);
}

static struct text in_proc(const char *process, const char *name)
{
	struct text path = {"/proc/"};
	unsigned long at = 6;

	for (const char *from = process; *from && at < 40; from++)
		path.bytes[at++] = *from;
	for (const char *from = name; *from && at < 60; from++)
		path.bytes[at++] = *from;
	return path;
}

static int is_init(const char *process)
{
	struct text path = in_proc(process, "/comm"), name = {""};
	long fd = open_at(path.bytes, O_RDONLY);

	if (fd < 0)
		return 0;
	call(SYS_read, fd, (long)name.bytes, sizeof name.bytes - 1, 0, 0);
	call(SYS_close, fd, 0, 0, 0, 0);
	return same(name.bytes, "pyoci-init\n");
}

/* The name does not come back once the program runs: what was got before it is found unchanged was the init's. */
static void got(const char *process, const char *what)
{
	if (is_init(process))
		note("/tmp/hits", what);
}

static void open_one(const char *process, const char *name, int flags)
{
	struct text path = in_proc(process, name);
	long fd = open_at(path.bytes, flags);

	if (fd >= 0) {
		got(process, name);
		call(SYS_close, fd, 0, 0, 0, 0);
	}
}

static void reach_for(const char *process)
{
	long pid = 0;

	for (const char *digit = process; *digit; digit++)
		pid = pid * 10 + *digit - '0';
	note("/tmp/met", "x");
	open_one(process, "/exe", O_RDONLY);
	open_one(process, "/exe", O_WRONLY);
	open_one(process, "/mem", O_RDWR);
	open_one(process, "/environ", O_RDONLY);
	open_one(process, "/root/etc/hostname", O_RDONLY);
	open_one(process, "/cwd/.", O_RDONLY);
	long pidfd = call(SYS_pidfd_open, pid, 0, 0, 0, 0);
	for (int fd = 0; pidfd >= 0 && fd < 16; fd++) {
		long taken = call(SYS_pidfd_getfd, pidfd, fd, 0, 0, 0);
		if (taken >= 0) {
			got(process, "/fd");
			call(SYS_close, taken, 0, 0, 0, 0);
		}
	}
	call(SYS_close, pidfd, 0, 0, 0, 0);
	long child = call(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (child == 0) {
		if (call(SYS_ptrace, PTRACE_SEIZE, pid, 0, 0, 0) == 0)
			got(process, "/ptrace");
		call(SYS_exit_group, 0, 0, 0, 0, 0); /* which lets go of it */
	}
	call(SYS_wait4, child, 0, 0, 0, 0);
}

struct entry {
	unsigned long number, offset;
	unsigned short size;
	unsigned char type;
	char name[];
};

static void look(void)
{
	static char buffer[32768];

	note("/tmp/ready", "");
	while (call(SYS_faccessat, AT_FDCWD, (long)"/tmp/over", 0, 0, 0) < 0) {
		long fd = open_at("/proc", O_RDONLY | O_DIRECTORY), size;
		while ((size = call(SYS_getdents64, fd, (long)buffer, sizeof buffer, 0, 0)) > 0)
			for (long at = 0; at < size; at += ((struct entry *)(buffer + at))->size) {
				struct entry *found = (struct entry *)(buffer + at);
				if (found->name[0] >= '1' && found->name[0] <= '9' && is_init(found->name))
					reach_for(found->name);
			}
		call(SYS_close, fd, 0, 0, 0, 0);
	}
}

static void push(void)
{
	call(SYS_ioctl, 0, 0x5412 /* TIOCSTI */, (long)"x", 0, 0);
	call(SYS_ioctl, 0, 0x5412 | 1L << 32, (long)"y", 0, 0);
}

/* Also what the linker calls when this is preloaded; there is no stack to look at then. */
void loaded(void)
{
	static char name[64], link[256];
	long fd = open_at("/proc/self/comm", O_RDONLY);

	call(SYS_read, fd, (long)name, sizeof name - 2, 0, 0);
	call(SYS_close, fd, 0, 0, 0, 0);
	note("/tmp/loaded", name);
	long size = call(SYS_readlinkat, AT_FDCWD, (long)"/proc/self/exe", (long)link, sizeof link - 2, 0);
	link[size > 0 ? size : 0] = '\n';
	note("/tmp/loaded", link);
}

void run(const long *stack)
{
	const char *const *argv = (const char *const *)(stack + 1);

	if (stack[0] > 1 && same(argv[1], "look"))
		look();
	else if (stack[0] > 1 && same(argv[1], "push"))
		push();
	else
		loaded();
	call(SYS_exit_group, 0, 0, 0, 0, 0);
}
