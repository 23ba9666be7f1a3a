"""The op table: everything the init can do, written once.

Each class is one op of the init: its fields, in order, are the op's arguments on the wire, and its docstring is
the sentence that says it (in the dry run, under `--debug`, and in the error when it fails). `plan/header.py`
makes the C side from this file, so the two cannot disagree. An op that is one system call and no more says in
`syscall` which, with its arguments; then the C side is made whole, and nobody writes it. So it is for one that is a
single call of the init's own (`function`).

Field types on the wire: `int` (64 bits), `str` (a path or name, no NUL inside), `bytes` (a blob), `list` (of str).
A `str` field holds what the config says; it is encoded as UTF-8 with surrogateescape.
"""

from __future__ import annotations

from ..record import Record
from .words import mounted, spoken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

WIRE = {"int": "i", "str": "s", "bytes": "b", "list[str]": "v"}


class Name:
    """The name of an op's C function. Made when it is asked for, which no hot verb does."""

    def __get__(self, op: Op | None, kind: type[Op]) -> str:
        return "".join("_" + c.lower() if c.isupper() else c for c in kind.__name__)[1:]


class Op(Record):
    """One step of the init."""

    name: ClassVar[Name] = Name()
    code: ClassVar[int] = -1
    signature: ClassVar[str] = ""
    syscall: ClassVar[str] = ""
    """the call and its arguments in C: a field by its name, the length of a text as `name.length`"""
    tolerates: ClassVar[str] = ""
    """the errno of the system call that is no failure"""
    function: ClassVar[str] = ""
    """the same for an op that is one call of a function of init.h"""
    takes: ClassVar[bool] = False
    """does the call return a descriptor, for later ops to name by its number (handles.py)"""

    def __init_subclass__(cls) -> None:
        # run for each op by every verb that makes a plan: a third of what it takes to define them
        notes = cls.__dict__.get("__annotations__", {})
        cls.fields = tuple(notes)
        cls.code = len(TABLE)
        cls.signature = "".join([WIRE[kind] for kind in notes.values()])
        TABLE.append(cls)

    def values(self) -> list[object]:
        """Return the arguments in wire order."""
        return [getattr(self, field) for field in self.fields]

    def describe(self) -> str:
        """Return the sentence of this op with its values filled in."""
        sentence = (self.__doc__ or "").split("\n", 1)[0]
        said = {field: spoken(field, getattr(self, field)) for field in self.fields}
        if "propagation" in said and "set" in said:
            said["mounted"] = mounted(self.__dict__)
        return sentence.format_map(said)

    def complaint(self) -> str:
        """Return what an error line about this op begins with."""
        return self.describe()


TABLE: list[type[Op]] = []


# -- what is to be bound: performed by the first process, in the runtime's own namespaces and with its rights


class Tree(Op):
    """take `{source}`{reach} for `{target}` ({propagation})

    Mounts made at the source later on reach the container, none goes the other way (`propagation`, mount(2)).
    `reach` are flags of open_tree(2).
    """

    source: str
    target: str
    reach: int
    propagation: int

    def complaint(self) -> str:
        """Return what was meant by it: one asked for a bind, and not for two steps of one."""
        return f"bind `{self.source}` to `{self.target}`"


class Filesystem(Op):
    """make {type} `{source}` for `{target}`{data}"""

    type: str
    source: str
    target: str
    data: list[str]

    function = "keep(new_mount(type, source, data))"


class MapIds(Op):
    """show the ids of `{source}`{reach} as {ids}

    `mapping` is the number of a user namespace, `tree` that of what shall be seen through its maps (mount_setattr(2)).
    """

    source: str
    ids: str
    tree: int
    mapping: int
    reach: int

    # struct mount_attr: set MOUNT_ATTR_IDMAP, clear nothing, propagation as it is, the user namespace
    syscall = 'mount_setattr, handle(tree), "", reach, &(uint64_t[]){0x100000, 0, 0, (uint64_t)handle(mapping)}, 32'


# -- namespaces: performed by the first process, in the runtime's own namespaces


class OomScore(Op):
    """set the oom score adjustment to {score}

    Before a user namespace is entered: the file belongs to the runtime's own (see Dumpable).
    """

    score: str

    function = 'write_text(open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC), score)'


class Dumpable(Op):
    """{dumpable}

    What the kernel has below /proc of a process that nobody may look into belongs to root of the first user namespace.
    So a user lets it be looked into for as long as something is written there: while nothing of a container is near.
    """

    dumpable: int

    syscall = "prctl, PR_SET_DUMPABLE, dumpable, 0, 0, 0"


class OpenNamespace(Op):
    """open the {namespace} namespace `{path}`"""

    namespace: int
    path: str


class JoinNamespace(Op):
    """join the {namespace} namespace"""

    namespace: int
    number: int


class OpenCgroup(Op):
    """open the cgroup `{path}`, for the process to be born in"""

    path: str

    syscall = "openat, AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC"
    takes = True


class Enter(Op):
    """enter the container's namespaces ({namespaces})"""

    namespaces: int


class NewUserNamespace(Op):
    """make a user namespace, wait until its ids are mapped, and be user {uid} and group {gid} in it"""

    uid: int = 0
    gid: int = 0


class NewTimeNamespace(Op):
    """make a time namespace for the container's first process"""

    syscall = "unshare, 0x80"  # CLONE_NEWTIME, which C libraries do not know yet


class TimeOffset(Op):
    """shift the clock `{clock}` by {seconds} s and {nanoseconds} ns"""

    clock: str
    seconds: int
    nanoseconds: int


class Clone(Op):
    """start the container's first process in new namespaces ({namespaces})"""

    namespaces: int
    cgroup: int


# -- the root filesystem: performed by the container's first process, before it changes root


class PrivateProc(Op):
    """make a private procfs

    Every later write below /proc goes through it, whatever the image or a racing mount put on /proc
    (CVE-2019-16884, CVE-2025-52881).
    """


class HostProc(Op):
    """keep the host's procfs at hand"""

    function = 'fds.proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC)'


class Loopback(Op):
    """bring the loopback interface up"""


class RouteSocket(Op):
    """open a socket to the container's network, for the runtime"""


class Propagation(Op):
    """make `/` {propagation}"""

    propagation: int

    syscall = 'mount, NULL, "/", NULL, propagation, NULL'


class Rootfs(Op):
    """take `{path}` as the root filesystem"""

    path: str


class Mount(Op):
    """mount {type} `{source}` on `{target}`{mounted}{data}{fallback}

    Where the kernel denies that to a user namespace, what is at `fallback` is bound instead.
    """

    type: str
    source: str
    target: str
    data: list[str]
    fallback: str
    resolve: int
    set: int
    clear: int
    recursive_set: int
    recursive_clear: int
    propagation: int


class Bind(Op):
    """bind `{source}` to `{target}`{recursive}{mounted}

    `tree` is the number of what `Tree` or `Filesystem` has taken.
    """

    source: str
    target: str
    recursive: int
    tree: int
    resolve: int
    set: int
    clear: int
    recursive_set: int
    recursive_clear: int
    propagation: int


class Remount(Op):
    """change the mount on `{target}`{mounted}{data}"""

    target: str
    data: list[str]
    set: int
    clear: int
    recursive_set: int
    recursive_clear: int
    propagation: int


class Offer(Op):
    """show the mount for `{target}` to the runtime

    If something fails later the runtime takes it away again, by this descriptor: a name may lead elsewhere by then.
    """

    target: str
    number: int

    function = "fds.offer = handle(number)"


class NewFile(Op):
    """make `{path}`, for its owner to read

    It is `file` in the filesystem `tree`, which is attached nowhere yet; `Written` shows it to the runtime.
    """

    path: str
    tree: int
    file: str

    function = "fds.offer = openat(handle(tree), file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400)"


class Own(Op):
    """give `{path}` to user {uid}, group {gid}

    It is `file` in the filesystem `tree`, "" for its root.
    """

    path: str
    tree: int
    file: str
    uid: int
    gid: int

    syscall = "fchownat, handle(tree), file, uid, gid, AT_EMPTY_PATH"


class Written(Op):
    """have the runtime write the {size} bytes of `{path}`

    Closed before the next step: what is open to be written to cannot become read-only.
    """

    path: str
    size: int
    gate: int

    function = "(ask(REPLY_GATE, gate, fds.offer, -1), close(fds.offer), fds.offer = -1, 0)"


class FindMount(Op):
    """find what is mounted on `{target}`

    A link at its end is not followed.
    """

    target: str

    function = "keep(in_root(target, O_PATH | O_NOFOLLOW, 0))"

    def complaint(self) -> str:
        """Return what was meant by it."""
        return f"unmount `{self.target}`"


class Unmount(Op):
    """unmount `{target}`

    Of several mounts, one on another, the last. `number` is that of what `FindMount` or `Offer` is about.
    """

    target: str
    number: int


class Mknod(Op):
    """make the device `{path}` ({mode} {major}:{minor})"""

    path: str
    mode: int
    major: int
    minor: int
    uid: int
    gid: int


class Symlink(Op):
    """link `{path}` to `{target}`

    What is there already stays; where `exact`, it must be the same link.
    """

    target: str
    path: str
    exact: int


class WorkingDirectory(Op):
    """make the working directory `{path}` where it is missing

    Images name ones that they do not bring. Where it cannot be made the change to it says why.
    """

    path: str

    function = "done(0, ensure(path, DIRECTORY), -1)"


class Mask(Op):
    """mask `{path}`{data}

    It is looked for in what is mounted on `base`, which must be a filesystem of the kind `magic` (statfs(2)); "" and 0
    for anywhere below the root filesystem.
    """

    path: str
    base: str = ""
    magic: int = 0
    data: list[str] = []
    """options of the filesystem that covers a directory"""


class ReadOnly(Op):
    """make `{path}` read-only

    `base` and `magic` as for a mask.
    """

    path: str
    base: str = ""
    magic: int = 0


class Console(Op):
    """make a terminal{columns}{rows}{bind}

    It comes from the container's own devpts; the master goes to the runtime. With `bind` it is /dev/console too.
    """

    columns: int
    rows: int
    bind: int


class Await(Op):
    """wait until {gate}"""

    gate: int


class NewCgroupNamespace(Op):
    """make a cgroup namespace

    Only now: its root is the cgroup in which the process stands at this moment.
    """

    syscall = "unshare, CLONE_NEWCGROUP"


class ReadOnlyRoot(Op):
    """make the root filesystem read-only"""

    # struct mount_attr: set MOUNT_ATTR_RDONLY, and nothing else
    syscall = 'mount_setattr, fds.root, "", AT_EMPTY_PATH, &(uint64_t[]){1, 0, 0, 0}, 32'


class PivotRoot(Op):
    """change root"""


class ChangeRoot(Op):
    """change root without pivot_root"""


# -- the process


class Hostname(Op):
    """set the hostname `{hostname}`"""

    hostname: str

    syscall = "sethostname, hostname, hostname.length"


class Domainname(Op):
    """set the domain name `{domainname}`"""

    domainname: str

    syscall = "setdomainname, domainname, domainname.length"


class Sysctl(Op):
    """set the kernel parameter `/proc/{path}` to `{value}`"""

    path: str
    value: str

    function = "write_proc(path, value)"


class LabelFile(Op):
    """label `{path}` `{label}`

    By name: the root has been changed, so it leads nowhere else. A filesystem that keeps no labels needs none.
    """

    path: str
    label: str

    syscall = 'lsetxattr, path, "security.selinux", label, label.length + 1UL, 0'
    tolerates = "ENOTSUP"


class KeyLabel(Op):
    """label keys that are made `{label}`"""

    label: str

    function = 'write_proc("self/attr/keycreate", label)'


class Keyring(Op):
    """join the session keyring `{keyring}`

    Who may search it stays as the kernel has it: an owner who may find it by name could join it from another container.
    """

    keyring: str

    syscall = "keyctl, 1, keyring"  # KEYCTL_JOIN_SESSION_KEYRING
    tolerates = "ENOSYS"


class Personality(Op):
    """set the execution domain {domain}"""

    domain: int

    syscall = "personality, domain"


class EveryCpu(Op):
    """let it run on every processor of its cgroup

    What its caller may run on, by `CPUAffinity=` of a unit or by taskset(1), is not what it may: its cgroup says that.
    Only when it stands there: the kernel takes what is set now and the cpuset of this moment together.
    """

    syscall = "sched_setaffinity, 0, 1024, (uint64_t[128]){[0 ... 127] = ~0UL}"


class CpuAffinity(Op):
    """let it run on {cpus}"""

    cpus: bytes

    syscall = "sched_setaffinity, 0, cpus.length + 0UL, cpus"


class Scheduler(Op):
    """schedule it by {attributes}"""

    pid: int
    """0: the init itself"""
    attributes: bytes
    """struct sched_attr"""

    syscall = "sched_setattr, pid, attributes, 0"


class IoPriority(Op):
    """give it the I/O priority {io_priority}"""

    pid: int
    io_priority: int

    syscall = "ioprio_set, 1, pid, io_priority"  # IOPRIO_WHO_PROCESS


class MemoryPolicy(Op):
    """take memory by {memory_mode}{nodes}"""

    memory_mode: int
    nodes: bytes

    # the kernel counts one bit less than it is told
    syscall = "set_mempolicy, memory_mode, nodes, nodes.length * 8UL + 1"


class Rlimit(Op):
    """limit {resource} to {soft} (hard {hard})"""

    pid: int
    resource: int
    soft: int
    hard: int

    syscall = "prlimit64, pid, resource, &(uint64_t[]){soft, hard}, NULL"


class Umask(Op):
    """set the umask {mask}"""

    mask: int

    syscall = "umask, mask"


class OwnStdio(Op):
    """give stdin, stdout and stderr to user {uid}"""

    uid: int


class SelinuxLabel(Op):
    """label the program `{label}`"""

    label: str

    function = 'write_proc("self/attr/exec", label)'


class AppArmor(Op):
    """have AppArmor `{command}` with the program

    Linux has had this name since 5.8; `attr/exec` is that of whichever module came first.
    """

    command: str

    function = 'write_proc("self/attr/apparmor/exec", command)'


class Bounding(Op):
    """limit the bounding set to {capabilities}"""

    capabilities: int


class User(Op):
    """become user {uid}, group {gid}, additional groups {groups}"""

    uid: int
    gid: int
    groups: bytes
    keep_groups: int


class Home(Op):
    """look up the home directory of user {uid} in the container"""

    uid: int


class OwnPid(Op):
    """say in the variable `{variable}` which process it is

    As it sees itself, which nobody outside knows beforehand: it compares (sd_listen_fds(3), sd_watchdog_enabled(3)).
    """

    variable: str

    function = 'asprintf(more++, "%s=%d", variable, getpid())'


class Chdir(Op):
    """change to the working directory `{path}`{last}

    Twice: as root, and if only the user may enter it, then as the user.
    """

    path: str
    last: int


class FindExecutable(Op):
    """find the executable `{argument}`"""

    argument: str
    path: str

    def complaint(self) -> str:
        """Return the line docker's and podman's clients look for: they map it to the statuses 126 and 127."""
        return f'exec: "{self.argument}": stat {self.argument}'


class AwaitStart(Op):
    """wait for `start`"""


class Capabilities(Op):
    """take the capabilities {permitted} (effective {effective}, inheritable {inheritable}, ambient {ambient})"""

    permitted: int
    effective: int
    inheritable: int
    ambient: int

    def describe(self) -> str:
        """Return the sentence, in which no long list is said again."""
        if not any(self.values()):
            return "give up every capability"
        same = f"effective {spoken('permitted', self.permitted)}, "
        return super().describe().replace(same, "effective the same, ")


class NoNewPrivileges(Op):
    """give up new privileges"""

    syscall = "prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0"


class CloseOnExec(Op):
    """let the program inherit nothing that is not meant for it

    Before the filter, which need not allow it. The descriptors that the program is to have came without the flag and
    are left so: a number among them that was free may have become one of ours.
    """

    syscall = "close_range, 3U + (unsigned)fds.preserve, ~0U, 4U"  # CLOSE_RANGE_CLOEXEC


class Seccomp(Op):
    """filter system calls with a program of {program} instructions{flags}"""

    program: bytes
    flags: int


class Execute(Op):
    """execute `{argv}`"""

    argv: list[str]
    env: list[str]

    def complaint(self) -> str:
        """Return the line in the form of FindExecutable's."""
        return f'exec: "{self.argv[0]}"'
