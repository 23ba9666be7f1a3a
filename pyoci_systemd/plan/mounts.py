"""mounts[]: the words of mount(8) as attributes of mount_setattr(2), parameters of the filesystem, or flags of ours."""

from __future__ import annotations

from ..errors import SpecError
from ..record import Record
from . import namespaces, ops
from .words import ATTRIBUTES, PROPAGATION, RECURSIVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config, Mount

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

NO_SYMLINKS, SOURCE_NOFOLLOW, TARGET_NOFOLLOW = 1, 2, 4
_RESOLVE_WORDS = {"src-nofollow": SOURCE_NOFOLLOW, "dest-nofollow": TARGET_NOFOLLOW}

# superblocks that all mounts of their kind share: `ro` is for the mount alone
_SHARED = ("proc", "sysfs", "cgroup2", "mqueue", "devpts")

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
            "bind",
            "rbind",
            "remount",
            *_ATTRIBUTE_WORDS,
            *("r" + word for word in _ATTRIBUTE_WORDS),
            *_PARAMETER_WORDS,
            *_NOTHING,
            *_PROPAGATION_WORDS,
            *_RESOLVE_WORDS,
        }
    )
)

# words that mean something the init cannot do yet; handing them to the filesystem as data would only confuse
_LATER = ("idmap", "ridmap", "tmpcopyup", "copy-symlink")


class Words(Record):
    """The options of one mount, sorted."""

    data: list[str]
    bind: bool = False
    recursive: bool = False
    remount: bool = False
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


def sort_words(options: object, where: str) -> Words:
    """Sort mount options into what the init needs. Raises SpecError for a word that is not supported."""
    words = Words(data=[])
    for word in options or ():  # type: ignore[attr-defined]
        if word in _ATTRIBUTE_WORDS:
            words.attribute(word, recursive=False)
        elif word in ("bind", "rbind"):
            words.bind, words.recursive = True, words.recursive or word == "rbind"
        elif word in _PROPAGATION_WORDS:
            words.propagation = _PROPAGATION_WORDS[word]
        elif word[:1] == "r" and word[1:] in _ATTRIBUTE_WORDS:
            words.attribute(word[1:], recursive=True)
        elif word == "remount":
            words.remount = True
        elif word in _RESOLVE_WORDS:
            words.resolve |= _RESOLVE_WORDS[word]
        elif word.split("=", 1)[0] in _LATER:
            raise SpecError(f"config.json: {where}.options: `{word}` is not supported yet")
        elif word not in _NOTHING:
            words.data.append(word)
    return words


def plan_one(mount: Mount, index: int, request_bundle: str, cgroup_namespace: bool) -> ops.Op:
    """Return the op of one mount."""
    target = "/" + mount["destination"].strip("/")
    where = f"mounts[{index}]"
    options = mount.get("options")
    words = sort_words(_DEFAULTS.get(target) if options is None else options, where)
    kind, source = mount.get("type") or "", mount.get("source") or ""
    for key in "uidMappings", "gidMappings":
        if mount.get(key):
            raise SpecError(f"config.json: {where}.{key} is not supported yet")
    if {*target.split("/")} <= {"", ".", ".."}:
        raise SpecError(f"config.json: {where}.destination: the root filesystem cannot be mounted over")
    if words.remount:
        return ops.Remount(target, *words.numbers())
    if kind == "bind" or words.bind:
        if not source:
            raise SpecError(f"config.json: {where}.source is required for a bind mount")
        source = source if source[0] == "/" else f"{request_bundle}/{source}"
        return ops.Bind(source, target, int(words.recursive), words.resolve, *words.numbers())
    if not kind:
        raise SpecError(f"config.json: {where}.type is required")
    if kind == "cgroup":
        # the unified hierarchy knows no names of controllers and no options of cgroup v1
        kind, words.data = "cgroup2", []
    if kind == "cgroup2" and not cgroup_namespace:
        # without a namespace of its own the container sees the host's whole tree (CVE-2023-25809)
        words.set |= ATTRIBUTES["ro"]
        words.clear &= ~ATTRIBUTES["ro"]
    if kind in ("proc", "sysfs"):
        words.resolve |= NO_SYMLINKS
    if words.set & ATTRIBUTES["ro"] and kind not in _SHARED:
        words.data.append("ro")
    if kind == "mqueue":
        source = source or "mqueue"
    return ops.Mount(kind, source or kind, target, words.data, words.resolve, *words.numbers())


def plan(config: Config, bundle: str) -> list[ops.Op]:
    """Return the ops of all mounts, in the listed order (spec: MNT1)."""
    cgroup_namespace = "cgroup" in namespaces.wanted(config)
    entries = config.get("mounts") or ()
    return [plan_one(mount, index, bundle, cgroup_namespace) for index, mount in enumerate(entries)]


def shows_cgroups(op: ops.Op) -> bool:
    """Must `op` wait until the container stands in its cgroup."""
    return isinstance(op, ops.Mount) and op.type == "cgroup2"
