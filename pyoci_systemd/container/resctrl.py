"""linux.intelRdt: a share of the caches and of the memory bandwidth, by the resctrl filesystem of Linux.

    MOUNT/                 the default class, `/`
    MOUNT/CLOSID/          a class: `schemata` says its share, `tasks` whose it is
    …/mon_groups/ID/       what is counted for one container alone

A fork stays in the class, so it is enough to put the container's first process there, and what `exec` adds.
"""

from __future__ import annotations

import posix
from errno import EEXIST, ENOENT

from .. import kernelfs, log
from ..errors import Error, SpecError, because
from ..jsonio import contents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import IntelRdt

MOUNTS = "/proc/self/mountinfo"
SECTION = "config.json: linux.intelRdt"
DECIMAL = ("MB", "SMBA")  # shares of bandwidth; those of caches are bit masks in hexadecimal
OF_THE_KERNEL = ("info", "mon_groups", "mon_data")


class Share:
    """What one container asks for, below a resctrl that is mounted on `mount`."""

    def __init__(self, asked: IntelRdt, container: str, mount: str) -> None:
        self._asked = asked
        self._mount = mount
        self._named = bool(asked.get("closID"))
        name = asked.get("closID") or container
        self.path = mount if name == "/" else f"{mount}/{name}"
        self.monitor = f"{self.path}/mon_groups/{container}" if asked.get("enableMonitoring") else ""
        self._name = name
        self._made: list[str] = []

    def check(self) -> None:
        """Refuse what cannot be had, before anything is done. Raises Error."""
        if not self._mount:
            raise Error(f"{SECTION}: no resctrl filesystem is mounted", hint="mount -t resctrl resctrl /sys/fs/resctrl")
        if self._name in OF_THE_KERNEL:
            raise Error(f"{SECTION}.closID is required: `{self._name}` is a name of the kernel's own")
        if kernelfs.exists(self.path):
            self._compare()
        elif self._named and not self._schemata():
            raise SpecError(f"{SECTION}.closID: there is no class `{self._name}`, and nothing says what its share is")

    def groups(self) -> list[str]:
        """Return the directories to whose `tasks` the container's processes belong, the class first."""
        return [self.path, *([self.monitor] if self.monitor else [])]

    def own(self) -> list[str]:
        """Return the directories that `delete` is to remove, in that order: to be asked before they are made.

        A class that the config names is whoever's named it, and stays (runtime-spec, "IntelRdt").
        """
        klass = [] if self._named or kernelfs.exists(self.path) else [self.path]
        return [*([self.monitor] if self.monitor else []), *klass]

    def admit(self, pid: int) -> None:
        """Make the class where it is missing, and put the process into it. Raises Error."""
        if not self._make(self.path):
            self._compare()
            schemata = list(self._asked.get("schemata") or ())
        else:
            schemata = self._schemata()
        for lines in schemata:
            write(self.path, lines, self._mount, SECTION)
        if self.monitor and not self._make(self.monitor):
            raise Error(f"{SECTION}.enableMonitoring: `{self.monitor}` is there already")
        enter(self.groups(), pid)

    def undo(self) -> None:
        """Remove what `admit` made. What stays is logged: there is more to be undone."""
        try:
            remove(self._made[::-1])
        except Error as error:
            log.warning(f"while undoing: {error}")

    def _make(self, path: str) -> bool:
        """Make a group; false when there is one. Raises Error."""
        try:
            posix.mkdir(path, 0o755)
        except OSError as error:
            if error.errno == EEXIST and kernelfs.exists(path):
                return False
            # ENOSPC: the hardware has so many classes and no more
            raise because(f"{SECTION}: cannot make `{path}`", error) from None
        self._made.append(path)
        return True

    def _schemata(self) -> list[str]:
        """Return what is written to `schemata`, in this order, each on its own: the kernel takes no resource twice."""
        asked = self._asked
        cache, bandwidth = asked.get("l3CacheSchema", ""), asked.get("memBwSchema", "")
        if bandwidth:
            # an old form of l3CacheSchema held both
            cache = "\n".join(line for line in cache.split("\n") if not line.startswith("MB:"))
        return [text for text in (cache.strip("\n"), bandwidth, *(asked.get("schemata") or ())) if text]

    def _compare(self) -> None:
        """Refuse a class that is there and has another share than l3CacheSchema and memBwSchema say. Raises Error."""
        for key in ("l3CacheSchema", "memBwSchema"):
            wanted = shares(str(self._asked.get(key) or ""))
            if wanted:
                found = shares(read(f"{self.path}/schemata"))
                for (resource, domain), share in wanted.items():
                    if found.get((resource, domain)) != share:
                        said = f"class `{self._name}` has another share of {resource} in domain {domain}"
                        raise SpecError(f"{SECTION}.{key}: {said}")


def change(groups: list[str], cache: str, bandwidth: str) -> None:
    """Give the class of a container, the first of its groups, another share; "" leaves one as it is. Raises Error."""
    if not groups:
        raise Error("the container is in no class of resctrl: its config.json has no linux.intelRdt")
    for option, lines in (("--l3-cache-schema", cache), ("--mem-bw-schema", bandwidth)):
        if lines:
            write(groups[0], lines, mount_point(), option)


def write(group: str, lines: str, mount: str, who: str) -> None:
    """Write lines to `schemata` of a class; `who` asks for it. Raises Error."""
    path = f"{group}/schemata"
    try:
        kernelfs.write(path, f"{lines}\n")
    except OSError as error:
        raise because(f"{who}: cannot write `{lines}` to `{path}`{last_status(mount)}", error) from None


def enter(groups: list[str], pid: int) -> None:
    """Put a process into a class and into a monitoring group of it. Raises Error."""
    for group in groups:
        try:
            kernelfs.write(f"{group}/tasks", str(pid))
        except OSError as error:
            raise because(f"cannot put process {pid} into `{group}`", error) from None


def remove(groups: list[str]) -> None:
    """Remove groups that are still there. Raises Error."""
    for group in groups:
        try:
            posix.rmdir(group)
        except OSError as error:
            if error.errno != ENOENT:
                raise because(f"cannot remove `{group}`", error) from None


def mount_point() -> str:
    """Return where resctrl is mounted, "" when it is not (proc_pid_mountinfo(5))."""
    for line in contents(MOUNTS).decode("utf-8", "surrogateescape").split("\n"):
        mount, _, filesystem = line.partition(" - ")
        if filesystem.startswith("resctrl "):
            return mount.split(" ")[4]
    return ""


def shares(text: str) -> dict[tuple[str, str], object]:
    """Return lines such as `L3:0=7f;1=00f` as numbers by resource and domain, however they are padded."""
    result: dict[tuple[str, str], object] = {}
    for line in text.split("\n"):
        resource, _, domains = line.strip().partition(":")
        for domain in domains.split(";"):
            name, equals, share = domain.partition("=")
            if equals:
                result[resource.strip(), name.strip().lstrip("0")] = number(
                    share.strip(), 10 if resource in DECIMAL else 16
                )
    return result


def number(text: str, base: int) -> object:
    """Return a number, or the text where it is none: then it is compared as it stands."""
    try:
        return int(text, base)
    except ValueError:
        return text


def last_status(mount: str) -> str:
    """Return what the kernel says of the last write that it refused, with `: ` before it."""
    try:
        said = kernelfs.read(f"{mount}/info/last_cmd_status").strip()
    except OSError:
        return ""
    return f": {said}" if said and said != "ok" else ""


def read(path: str) -> str:
    """Return the text of a file. Raises Error."""
    try:
        return kernelfs.read(path)
    except OSError as error:
        raise because(f"cannot read `{path}`", error) from None
