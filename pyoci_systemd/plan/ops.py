"""The op table: everything the init can do, written once.

Each class is one op of the init: its fields, in order, are the op's arguments on the wire, and its docstring is
the sentence that says it (in the dry run, under `--debug`, and in the error when it fails). `plan/header.py`
makes the C side from this file, so the two cannot disagree.

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


class Op(Record):
    """One step of the init."""

    name: ClassVar[str] = ""
    code: ClassVar[int] = -1
    signature: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.name = "".join("_" + c.lower() if c.isupper() else c for c in cls.__name__)[1:]
        cls.code = len(TABLE)
        cls.signature = "".join(WIRE[cls.__annotations__[field]] for field in cls.fields)
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


# -- namespaces: performed by the first process, in the runtime's own namespaces


class OomScore(Op):
    """set the oom score adjustment to {score}

    Before a user namespace is entered: the file belongs to the global root while the init is not dumpable.
    """

    score: str


class OpenNamespace(Op):
    """open the {namespace} namespace `{path}`"""

    namespace: int
    path: str


class JoinNamespace(Op):
    """join the {namespace} namespace"""

    namespace: int


class NewUserNamespace(Op):
    """make a user namespace and wait until its ids are mapped"""


class NewTimeNamespace(Op):
    """make a time namespace for the container's first process"""


class TimeOffset(Op):
    """shift the clock `{clock}` by {seconds} s and {nanoseconds} ns"""

    clock: str
    seconds: int
    nanoseconds: int


class Clone(Op):
    """start the container's first process in new namespaces ({namespaces})"""

    namespaces: int


# -- the root filesystem: performed by the container's first process, before it changes root


class PrivateProc(Op):
    """make a private procfs

    Every later write below /proc goes through it, whatever the image or a racing mount put on /proc
    (CVE-2019-16884, CVE-2025-52881).
    """


class Loopback(Op):
    """bring the loopback interface up"""


class Propagation(Op):
    """make `/` {propagation}"""

    propagation: int


class Rootfs(Op):
    """take `{path}` as the root filesystem"""

    path: str


class Mount(Op):
    """mount {type} `{source}` on `{target}`{mounted}{data}"""

    type: str
    source: str
    target: str
    data: list[str]
    resolve: int
    set: int
    clear: int
    recursive_set: int
    recursive_clear: int
    propagation: int


class Bind(Op):
    """bind `{source}` to `{target}`{recursive}{mounted}"""

    source: str
    target: str
    recursive: int
    resolve: int
    set: int
    clear: int
    recursive_set: int
    recursive_clear: int
    propagation: int


class Remount(Op):
    """change the mount on `{target}`{mounted}"""

    target: str
    set: int
    clear: int
    recursive_set: int
    recursive_clear: int
    propagation: int


class Mknod(Op):
    """make the device `{path}` ({mode} {major}:{minor})"""

    path: str
    mode: int
    major: int
    minor: int
    uid: int
    gid: int


class BindDevice(Op):
    """bind the host's device `{path}` ({mode} {major}:{minor})"""

    path: str
    mode: int
    major: int
    minor: int


class Symlink(Op):
    """link `{path}` to `{target}`"""

    target: str
    path: str


class Mask(Op):
    """mask `{path}`"""

    path: str


class ReadOnly(Op):
    """make `{path}` read-only"""

    path: str


class Console(Op):
    """make a terminal of {columns} × {rows}

    It comes from the container's own devpts and is bound to /dev/console; the master goes to the runtime.
    """

    columns: int
    rows: int


class Await(Op):
    """wait until {gate}"""

    gate: int


class NewCgroupNamespace(Op):
    """make a cgroup namespace

    Only now: its root is the cgroup in which the process stands at this moment.
    """


class ReadOnlyRoot(Op):
    """make the root filesystem read-only"""


class PivotRoot(Op):
    """change root"""


class ChangeRoot(Op):
    """change root without pivot_root"""


# -- the process


class Hostname(Op):
    """set the hostname `{hostname}`"""

    hostname: str


class Domainname(Op):
    """set the domain name `{domainname}`"""

    domainname: str


class Sysctl(Op):
    """set the kernel parameter `{path}` to `{value}`"""

    path: str
    value: str


class Keyring(Op):
    """join the session keyring `{keyring}`"""

    keyring: str


class Personality(Op):
    """set the execution domain {domain}"""

    domain: int


class Rlimit(Op):
    """limit {resource} to {soft} (hard {hard})"""

    resource: int
    soft: int
    hard: int


class Umask(Op):
    """set the umask {mask}"""

    mask: int


class OwnStdio(Op):
    """give stdin, stdout and stderr to user {uid}"""

    uid: int


class Bounding(Op):
    """drop every capability outside the bounding set {capabilities}"""

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


class Chdir(Op):
    """change to the working directory `{path}`"""

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


class NoNewPrivileges(Op):
    """give up new privileges"""


class Seccomp(Op):
    """filter system calls with a program of {program} instructions"""

    program: bytes
    flags: int


class Execute(Op):
    """execute `{argv}`"""

    argv: list[str]
    env: list[str]

    def complaint(self) -> str:
        """Return the line in the form of FindExecutable's."""
        return f'exec: "{self.argv[0]}"'
