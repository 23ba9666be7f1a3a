"""mounts[]: the words of mount(8) as attributes of mount_setattr(2), parameters of the filesystem, or flags of ours."""

from __future__ import annotations

from ..errors import SpecError
from ..record import Record
from . import idmaps, namespaces, ops
from .idmaps import CONFIG
from .words import ATTRIBUTES, BELOW, CLONE_TREE, NOFOLLOW, PROPAGATION, RECURSIVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config, Mount
    from .facts import Facts
    from .handles import Handles

RELATIME, ATIME_MASK = 0x00, 0x70

# word → (bits to set, bits to clear)
_ATTRIBUTE_WORDS = {
    **{word: (bit, 0) for word, bit in ATTRIBUTES.items() if word not in ("noatime", "strictatime")},
    "rw": (0, ATTRIBUTES["ro"]),
    "suid": (0, ATTRIBUTES["nosuid"]),
    "dev": (0, ATTRIBUTES["nodev"]),
    "exec": (0, ATTRIBUTES["noexec"]),
    "diratime": (0, ATTRIBUTES["nodiratime"]),
    "symfollow": (0, ATTRIBUTES["nosymfollow"]),
    # the access time is one field of three values, cleared as a whole (mount_setattr(2))
    "noatime": (ATTRIBUTES["noatime"], ATIME_MASK),
    "strictatime": (ATTRIBUTES["strictatime"], ATIME_MASK),
    "relatime": (RELATIME, ATIME_MASK),
    "atime": (RELATIME, ATIME_MASK),
    "norelatime": (0, 0),
    "nostrictatime": (RELATIME, ATIME_MASK),
}

# what the filesystem, not the mount, is told (fsconfig(2)); a bind has no filesystem of its own
_PARAMETER_WORDS = ("sync", "async", "dirsync", "mand", "nomand", "lazytime", "nolazytime")

# understood, and without effect: `defaults` is what there is anyhow, `silent` and `loud` concern messages of the old
# mount(2), and since Linux 5.17 a filesystem decides by itself whether it counts inode versions
_NOTHING = ("defaults", "silent", "loud", "iversion", "noiversion")

_PROPAGATION_WORDS = {
    **PROPAGATION,
    **{"r" + word: bit | RECURSIVE for word, bit in PROPAGATION.items()},
}

NO_SYMLINKS, TARGET_NOFOLLOW, COVERED_MODE, COPY_UP, COPY_OWNER = 1, 2, 4, 8, 16

# words that concern how a mount is made, rather than what it is
_HOW = ("bind", "rbind", "remount", "src-nofollow", "dest-nofollow", "copy-symlink", "tmpcopyup", *idmaps.OPTIONS)

# filesystems of which `ro` is for the mount alone: all mounts of their kind share one, or we have to fill it first
_WRITABLE = ("proc", "sysfs", "cgroup2", "mqueue", "devpts", "tmpfs")

# what may be bound where the kernel denies a filesystem to a user namespace
_FALLBACKS = {"sysfs": "/sys", "cgroup2": "/sys/fs/cgroup"}

AT_EMPTY_PATH = 0x1000

# F157: what a mount without options means
_DEFAULTS = {
    "/proc": ("nosuid", "noexec", "nodev"),
    "/dev": ("nosuid", "strictatime", "mode=755", "size=65536k"),
    "/dev/shm": ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
    "/dev/mqueue": ("nosuid", "noexec", "nodev"),
    "/dev/pts": ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    "/sys": ("nosuid", "noexec", "nodev"),
    "/sys/fs/cgroup": ("nosuid", "noexec", "nodev", "relatime"),
}

# every word of ours, for `pyoci features`
OPTIONS = tuple(
    sorted(
        {
            *_HOW,
            *_ATTRIBUTE_WORDS,
            *("r" + word for word in _ATTRIBUTE_WORDS),
            *_PARAMETER_WORDS,
            *("r" + word for word in _PARAMETER_WORDS[:5]),
            *_NOTHING,
            *_PROPAGATION_WORDS,
        }
    )
)


class Words(Record):
    """The options of one mount, sorted."""

    data: list[str]
    how: list[str]
    resolve: int = 0
    set: int = 0
    clear: int = 0
    recursive_set: int = 0
    recursive_clear: int = 0
    propagation: int = 0

    def attribute(self, word: str, recursive: bool) -> None:
        """Take one attribute word; a later one wins over an earlier one of the same bits."""
        on, off = _ATTRIBUTE_WORDS[word]
        touched = on | off
        if recursive:
            self.recursive_set = self.recursive_set & ~touched | on
            self.recursive_clear = self.recursive_clear & ~touched | off
        else:
            self.set = self.set & ~touched | on
            self.clear = self.clear & ~touched | off

    def numbers(self) -> tuple[int, int, int, int, int]:
        """Return what every mount op ends with."""
        return self.set, self.clear, self.recursive_set, self.recursive_clear, self.propagation

    def says(self, *keys: str) -> bool:
        """Does the filesystem get a parameter of one of these names."""
        return any(word.partition("=")[0] in keys for word in self.data)


def sort_words(options: object) -> Words:
    """Sort mount options into what the init needs."""
    words = Words(data=[], how=[])
    for word in options or ():  # type: ignore[attr-defined]
        if word in _ATTRIBUTE_WORDS:
            words.attribute(word, recursive=False)
        elif word.partition("=")[0] in _HOW and (word in _HOW or word.partition("=")[0] in idmaps.OPTIONS):
            words.how.append(word.partition("=")[0])
        elif word in _PROPAGATION_WORDS:
            words.propagation = _PROPAGATION_WORDS[word]
        elif word[:1] == "r" and word[1:] in _ATTRIBUTE_WORDS:
            words.attribute(word[1:], recursive=True)
        elif word[:1] == "r" and word[1:] in _PARAMETER_WORDS:
            # a filesystem is told once, and has nothing below it yet
            words.data.append(word[1:])
        elif word and word not in _NOTHING:  # podman's `--systemd` sends an empty one
            words.data.append(word)
    if "dest-nofollow" in words.how:
        words.resolve |= TARGET_NOFOLLOW
    return words


def outside(propagation: int) -> int:
    """Return how mounts of the host's are to be kept apart from ours, given linux.rootfsPropagation."""
    return PROPAGATION["private"] if propagation & PROPAGATION["private"] else PROPAGATION["slave"]


class Mounting:
    """The mounts of one config on their way into ops."""

    def __init__(
        self, config: Config, facts: Facts, bundle: str, propagation: int, handles: Handles, name: str = CONFIG
    ) -> None:
        self.config = config
        self.name = name
        """what the user knows the document as in which the mounts stand"""
        self.bundle = bundle
        self.handles = handles
        self.links = facts.links or {}
        wanted = namespaces.wanted(config)
        self.cgroup_namespace = "cgroup" in wanted
        # where the kernel may deny a filesystem, for it belongs to a namespace that is not the user namespace's
        confined = "user" in wanted or facts.in_user_namespace
        self.may_lack = {
            "sysfs": confined and (wanted.get("network") != "" or facts.in_user_namespace),
            "cgroup2": confined and (wanted.get("cgroup") != "" or facts.in_user_namespace),
        }
        self.outside = outside(propagation)
        self.shared_root = bool(propagation & PROPAGATION["shared"])
        self.no_tty_group = wanted.get("user") == "" and not namespaces.maps(config, "gid", 5)

    def plan(self, mount: Mount, index: int) -> ops.Op:
        """Return the op of one mount. Raises SpecError."""
        target = "/" + mount["destination"].strip("/")
        where = f"{self.name}: mounts[{index}]"
        words = self._words(mount, target)
        kind = mount.get("type") or ""
        if {*target.split("/")} <= {"", ".", ".."}:
            raise SpecError(f"{where}.destination: the root filesystem cannot be mounted over")
        if "remount" in words.how:
            # of a bind there is nothing to change but the mount
            return ops.Remount(target, [] if "bind" in words.how else words.data, *words.numbers())
        bind = kind == "bind" or "bind" in words.how or "rbind" in words.how
        if not bind and not kind:
            raise SpecError(f"{where}.type is required")
        if "tmpcopyup" in words.how and (bind or kind != "tmpfs"):
            raise SpecError(f"{where}.options: `tmpcopyup` is for a tmpfs")
        return self._bind(mount, index, target, words) if bind else self._filesystem(mount, index, target, kind, words)

    def _words(self, mount: Mount, target: str) -> Words:
        options = mount.get("options")
        if options and self.no_tty_group and mount.get("type") == "devpts":
            options = [word for word in options if word != "gid=5"]
        if options is not None:
            return sort_words(options)
        defaults = _DEFAULTS.get(target, ())
        # a group that the container does not have is nobody's
        return sort_words([word for word in defaults if word != "gid=5" or not self.no_tty_group])

    def _bind(self, mount: Mount, index: int, target: str, words: Words) -> ops.Op:
        source = mount.get("source") or ""
        if not source:
            raise SpecError(f"{self.name}: mounts[{index}].source is required for a bind mount")
        source = source if source[0] == "/" else f"{self.bundle}/{source}"
        if "copy-symlink" in words.how and source in self.links:
            return ops.Symlink(self.links[source], target, 1)
        recursive = int("rbind" in words.how)
        if recursive and source.rstrip("/") == "/sys" and words.set & ATTRIBUTES["ro"]:
            # the cgroups of the host are below it, and those of a user's are the user's to write (CVE-2023-25809)
            words.recursive_set |= ATTRIBUTES["ro"]
        flags = CLONE_TREE | BELOW * recursive | NOFOLLOW * ("src-nofollow" in words.how)
        # who asks for both a shared root and a shared mount wants mounts to go to and fro (mount(2), peer groups)
        peers = self.shared_root and words.propagation & PROPAGATION["shared"]
        self.handles.sources.append(ops.Tree(source, target, flags, 0 if peers else self.outside))
        tree = self._taken(mount, index, source)
        return ops.Bind(source, target, recursive, tree, words.resolve, *words.numbers())

    def _taken(self, mount: Mount, index: int, source: str) -> int:
        """Return the number of what has just been taken, with its ids mapped where the mount asks for that."""
        tree = self.handles.take()
        option = idmaps.asked(mount)
        if option is not None:
            mapping = idmaps.mapping(mount, index, self.config, self.name)
            flags = AT_EMPTY_PATH | BELOW * option.startswith("ridmap")
            number = self.handles.mapping(mapping)
            self.handles.sources.append(ops.MapIds(source, idmaps.spoken(mapping), tree, number, flags))
        return tree

    def _filesystem(self, mount: Mount, index: int, target: str, kind: str, words: Words) -> ops.Op:
        source = mount.get("source") or ""
        if kind == "cgroup":
            # the unified hierarchy knows no names of controllers and no options of cgroup v1
            kind, words.data = "cgroup2", []
        if kind == "cgroup2" and not self.cgroup_namespace:
            # without a namespace of its own the container sees the host's whole tree (CVE-2023-25809)
            words.set |= ATTRIBUTES["ro"]
            words.clear &= ~ATTRIBUTES["ro"]
        if kind in ("proc", "sysfs"):
            words.resolve |= NO_SYMLINKS
        if words.set & ATTRIBUTES["ro"] and kind not in _WRITABLE:
            words.data.append("ro")
        if kind == "tmpfs":
            words.resolve |= covered(words)
        source = source or kind
        if idmaps.asked(mount) is not None:
            self.handles.sources.append(ops.Filesystem(kind, source, target, words.data))
            tree = self._taken(mount, index, source)
            return ops.Bind(source, target, 0, tree, words.resolve, *words.numbers())
        fallback = _FALLBACKS[kind] if self.may_lack.get(kind) else ""
        return ops.Mount(kind, source, target, words.data, fallback, words.resolve, *words.numbers())


def covered(words: Words) -> int:
    """Return what a tmpfs takes over from the directory that it covers, unless an option says it."""
    mode = 0 if words.says("mode") else COVERED_MODE
    if "tmpcopyup" not in words.how:
        return mode
    return mode | COPY_UP | (0 if words.says("uid", "gid") else COPY_OWNER)


def plan(config: Config, facts: Facts, bundle: str, propagation: int, handles: Handles) -> list[ops.Op]:
    """Return the ops of all mounts, in the listed order (spec: MNT1); what takes their sources goes to `handles`.

    `propagation` is the root's. Raises SpecError.
    """
    mounting = Mounting(config, facts, bundle, propagation, handles)
    return [mounting.plan(mount, index) for index, mount in enumerate(config.get("mounts") or ())]


def leave_open(listed: list[ops.Op]) -> list[ops.Op]:
    """Make each read-only tmpfs of `listed` writable, and return the ops that end this.

    It begins empty: mount points and devices are made in it first (podman's pods have a read-only /dev).
    """
    closing: list[ops.Op] = []
    for index, op in enumerate(listed):
        if not isinstance(op, ops.Mount) or op.type != "tmpfs" or not op.set & ATTRIBUTES["ro"]:
            continue
        # one that is mounted over is out of reach: its path leads to the other
        if all(getattr(later, "target", "") != op.target for later in listed[index + 1 :]):
            op.set &= ~ATTRIBUTES["ro"]
            op.data = [word for word in op.data if word != "ro"]
            closing.append(ops.Remount(op.target, [], ATTRIBUTES["ro"], 0, 0, 0, 0))
    return closing


def shows_cgroups(op: ops.Op) -> bool:
    """Must `op` wait until the container stands in its cgroup."""
    return isinstance(op, ops.Mount) and op.type == "cgroup2"
