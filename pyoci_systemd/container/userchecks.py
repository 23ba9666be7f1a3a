"""What a user without privileges needs besides, looked at for `doctor`."""

from __future__ import annotations

import os

from .. import kernelfs
from ..cgroup import tree
from ..errors import Error
from ..settings import runtime_dir
from . import subids
from .caller import owner
from .finding import BAD, GOOD, NOTE, Finding, controllers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LINGER = "/var/lib/systemd/linger"
APPARMOR = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
# files that say 0 where nobody without privileges gets a user namespace
BARS = {
    "/proc/sys/kernel/unprivileged_userns_clone": "sysctl -w kernel.unprivileged_userns_clone=1",
    "/proc/sys/user/max_user_namespaces": "sysctl -w user.max_user_namespaces=15000",
}

DELEGATE = (
    "mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n'"
    " >/etc/systemd/system/user@.service.d/delegate.conf && systemctl daemon-reload, then log in anew"
)


def findings() -> Iterator[Finding]:
    """Yield what there is to say of this user."""
    yield session()
    yield linger()
    yield delegation()
    yield user_namespaces()
    yield from ranges()
    yield helpers()


def session() -> Finding:
    """Look at the directory of the session."""
    try:
        return Finding("session", GOOD, f"`{runtime_dir()}`")
    except Error as error:
        return Finding("session", BAD, error.message, error.hint)


def linger() -> Finding:
    """Does the user's systemd outlive the last login, and containers with it."""
    if kernelfs.exists(f"{LINGER}/{owner()}"):
        return Finding("linger", GOOD, "containers outlive the session")
    return Finding("linger", NOTE, "containers end with the last session", f"loginctl enable-linger {owner()}")


def delegation() -> Finding:
    """Which controllers has systemd given to the user's own."""
    uid = os.getuid()
    path = f"{tree.ROOT}/user.slice/user-{uid}.slice/user@{uid}.service"
    try:
        have = kernelfs.read(f"{path}/cgroup.controllers").split()
    except OSError as error:
        found = f"no `{path}`: {os.strerror(error.errno or 0)}"
        return Finding("delegation", NOTE, found, f"loginctl enable-linger {owner()}")
    return controllers("delegation", have, f"as root: {DELEGATE}")


def user_namespaces() -> Finding:
    """Does the kernel, or AppArmor, let the user make user namespaces."""
    for path, mend in BARS.items():
        if kernelfs.exists(path) and kernelfs.read(path).strip() == "0":
            return Finding("user namespaces", BAD, f"`{path}` is 0", f"as root: {mend}")
    if kernelfs.exists(APPARMOR) and kernelfs.read(APPARMOR).strip() == "1":
        mend = f"as root: echo 0 >{APPARMOR}, or a profile with `userns,` for pyoci"
        return Finding("user namespaces", BAD, f"AppArmor confines them: `{APPARMOR}` is 1", mend)
    return Finding("user namespaces", GOOD, "allowed")


def ranges() -> Iterator[Finding]:
    """Look for ids besides the own one."""
    for kind in ("uid", "gid"):
        own = subids.ranges(f"/etc/sub{kind}")
        if own:
            said = ", ".join(f"{first}-{first + count - 1}" for first, count in own)
            yield Finding(f"sub{kind}", GOOD, said)
        else:
            found = f"no range for `{owner()}`: containers have one id only"
            yield Finding(f"sub{kind}", NOTE, found, subids.more(kind))


def helpers() -> Finding:
    """Look for newuidmap(1) and newgidmap(1)."""
    try:
        found = [subids.find(f"new{kind}map") for kind in ("uid", "gid")]
    except Error as error:
        return Finding("id map helpers", NOTE, error.message, error.hint)
    return Finding("id map helpers", GOOD, " ".join(f"`{path}`" for path in found))
