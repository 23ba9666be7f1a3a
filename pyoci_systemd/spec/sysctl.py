"""Names below /proc/sys, and the namespace that keeps each a matter of the container alone."""

from __future__ import annotations

from .formats import ALNUM, made_of

IPC = ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")


def parts(key: str) -> list[str]:
    """Return the file names that `key` stands for: `net.ipv4.conf.eth0/1.proxy_arp` has five, the fourth is `eth0.1`.

    As sysctl(8) reads it: of `.` and `/` the one that comes first separates, the other is the other's escape.
    An empty list stands for a key that names no file, or would leave /proc/sys (CVE-2022-0811).
    """
    before_slash = key.split("/", 1)[0]
    dotted = "." in before_slash or before_slash == key
    names = [name.replace("/", ".") for name in key.split(".")] if dotted else key.split("/")
    if len(names) < 2 or any(name in ("", ".", "..") or not made_of(name, ALNUM + "_-.:@") for name in names):
        return []
    return names


def namespace(names: list[str]) -> str:
    """Return the type of the namespace that holds the sysctl `names` (see `parts`), or "": it is the machine's."""
    first, second = names[0], names[1]
    if first == "net":
        return "network"
    if first == "user":
        return "user"
    if names[:2] == ["fs", "mqueue"] and len(names) == 3 or first == "kernel" and second in IPC and len(names) == 2:
        return "ipc"
    if names == ["kernel", "domainname"]:
        return "uts"
    return ""
