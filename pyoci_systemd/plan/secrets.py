"""Credentials (systemd.exec(5), "Credentials"): small files that the program alone may read, in memory only.

Pure: here are their names and sizes. What is in them the runtime has, and writes it itself.
"""

from __future__ import annotations

from ..errors import Error, SpecError, printable
from . import labels, ops
from .words import ATTRIBUTES, CREDENTIAL_GATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config
    from .facts import Facts

INSIDE = "/run/host/credentials"  # where containers look for them (systemd.io/CONTAINER_INTERFACE)
VARIABLE = "CREDENTIALS_DIRECTORY"
LARGEST = 1 << 20  # bytes of all of them together (systemd.exec(5), LoadCredential=)
LONGEST_NAME = 255
HOW = ATTRIBUTES["ro"] | ATTRIBUTES["nosuid"] | ATTRIBUTES["nodev"] | ATTRIBUTES["noexec"]


def parse(text: str) -> tuple[str, str]:
    """Return name and path of `NAME:PATH`. Raises Error."""
    name, _, path = text.partition(":")
    if not name or not path:
        raise Error(f"--credential: `{printable(text)}` is not of the form `NAME:PATH`")
    return check_name(name), path


def check_name(name: str) -> str:
    """Return a name that systemd takes for a credential: one of a file, in printable ASCII. Raises Error."""
    plain = name.isascii() and name.isprintable() and "/" not in name and ":" not in name
    if not plain or name in ("", ".", "..") or len(name) > LONGEST_NAME:
        rule = f"up to {LONGEST_NAME} characters of printable ASCII, and no `/` or `:`"
        raise Error(f"credential `{printable(name)}`: not the name of a credential: {rule}")
    return name


def announced(config: Config) -> Config:
    """Return the config with the variable that says where they are. Raises SpecError."""
    if "process" not in config:
        raise SpecError("config.json: process is required to hand credentials to")
    process = config["process"]
    env = [entry for entry in process.get("env") or () if not entry.startswith(f"{VARIABLE}=")]
    return {**config, "process": {**process, "env": [*env, f"{VARIABLE}={INSIDE}"]}}


def plan(config: Config, facts: Facts, sizes: dict[str, int], tree: int) -> list[ops.Op]:
    """Return the ops that make the credentials of `sizes`, by name in bytes; `tree` is the number of their filesystem.

    The order is the security argument:
    a ramfs, for what is in it never goes to swap, made inside, for it belongs to the container's user namespace;
    all in it is given away while the init is root there, which knows the ids as the process will: no map is asked;
    the runtime writes, by a descriptor of each file, for it may be nobody who has a name or a right there;
    it is attached when it is complete and read-only, after the config's mounts, which could cover it. Raises SpecError.
    """
    user = config["process"].get("user", {})
    uid, gid = user.get("uid", 0), user.get("gid", 0)
    made: list[ops.Op] = [ops.Filesystem("ramfs", "ramfs", INSIDE, ["mode=0500", *labels.option(config, facts)])]
    for name, size in sizes.items():
        path = f"{INSIDE}/{name}"
        made += [ops.NewFile(path, tree, name), ops.Own(path, tree, name, uid, gid)]
        made += [ops.Written(path, size, CREDENTIAL_GATE)]
    return [*made, ops.Own(INSIDE, tree, "", uid, gid), ops.Bind("ramfs", INSIDE, 0, tree, 0, HOW, 0, 0, 0, 0)]
