"""The one look at the host that a plan needs."""

from __future__ import annotations

import posix

from .. import kernelfs
from ..errors import Error, because
from ..plan.facts import Facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config


APPARMOR, APPARMOR_SELF = "/sys/module/apparmor/parameters/enabled", "/proc/self/attr/apparmor/current"
SELINUX = "/sys/fs/selinux/status"


def facts(config: Config, bundle: str = "") -> Facts:
    """Return what this process is and may do, and what this config needs to know. Raises OSError without a /proc."""
    fields = dict(line.split(":\t", 1) for line in kernelfs.read("/proc/self/status").split("\n") if ":\t" in line)
    # what can be given to a container: held, and within our own bounding set
    capabilities = int(fields["CapPrm"], 16) & int(fields["CapBnd"], 16)
    outer = kernelfs.read("/proc/self/uid_map").split() != ["0", "0", "4294967295"]
    process = config.get("process", {})
    labelled = process.get("selinuxLabel") or config.get("linux", {}).get("mountLabel")
    return Facts(
        posix.geteuid(),
        posix.getegid(),
        capabilities,
        outer,
        apparmor() if process.get("apparmorProfile") else "",
        selinux() if labelled else False,
        links(config, bundle),
    )


def apparmor() -> str:
    """Return how AppArmor confines us (`unconfined`, `PROFILE (MODE)`), "" where there is none."""
    try:
        if kernelfs.read(APPARMOR).strip() != "Y":
            return ""
        return kernelfs.read(APPARMOR_SELF).strip("\0\n")
    except OSError:
        return ""


def selinux() -> bool:
    """Is SELinux there: selinuxfs is mounted, and not hidden from a container that we are in."""
    try:
        posix.stat(SELINUX)
    except OSError:
        return False
    return True


def links(config: Config, bundle: str) -> dict[str, str]:
    """Return the sources of mounts with the option `copy-symlink` that are links, and where each leads."""
    found = {}
    for mount in config.get("mounts") or ():
        if "copy-symlink" in (mount.get("options") or ()) and mount.get("source"):
            source = mount["source"] if mount["source"][0] == "/" else f"{bundle}/{mount['source']}"
            try:
                found[source] = posix.readlink(source)
            except OSError:
                continue  # no link, or not there: it is bound, and that says what is wrong
    return found


def check_devices(devices: list[tuple[str, int, int, int]]) -> None:
    """Refuse to bind what is not the device that the container is to get. Raises Error."""
    for path, kind, major, minor in devices:
        try:
            found = posix.stat(path)
        except OSError as error:
            raise because(f"the host's device `{path}`", error) from None
        if (found.st_mode & 0o170000, found.st_rdev) != (kind, posix.makedev(major, minor)):
            raise Error(f"the host's `{path}` is not the device {major}:{minor}")
