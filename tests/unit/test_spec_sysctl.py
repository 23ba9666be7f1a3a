"""Which file a sysctl is, and which namespace it belongs to."""

from __future__ import annotations

import pytest

from pyoci_systemd.spec import sysctl

# key, its file below /proc/sys as sysctl(8) finds it (empty: refused), the namespace (empty: the host's)
TABLE = [
    ("net.ipv4.ip_forward", "net/ipv4/ip_forward", "network"),
    ("net/ipv4/ip_forward", "net/ipv4/ip_forward", "network"),
    ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding", "network"),
    ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding", "network"),
    ("kernel.msgmax", "kernel/msgmax", "ipc"),
    ("kernel/shm_rmid_forced", "kernel/shm_rmid_forced", "ipc"),
    ("fs.mqueue.msg_max", "fs/mqueue/msg_max", "ipc"),
    ("kernel.domainname", "kernel/domainname", "uts"),
    ("user.max_user_namespaces", "user/max_user_namespaces", "user"),
    ("kernel.hostname", "kernel/hostname", ""),
    ("kernel.core_pattern", "kernel/core_pattern", ""),
    ("kernel.sem.x", "kernel/sem/x", ""),
    ("kernel.domainname.x", "kernel/domainname/x", ""),
    ("fs.mqueue", "fs/mqueue", ""),
    ("fs.mqueue.x.y", "fs/mqueue/x/y", ""),
    ("fs.suid_dumpable", "fs/suid_dumpable", ""),
    ("vm.overcommit_memory", "vm/overcommit_memory", ""),
    ("network.x", "network/x", ""),
    ("Net.ipv4.ip_forward", "Net/ipv4/ip_forward", ""),
    ("net", "", ""),
    ("", "", ""),
    (".net.x", "", ""),
    ("net.", "", ""),
    ("net..ipv4", "", ""),
    ("/net/ipv4", "", ""),
    ("net/../kernel/core_pattern", "", ""),
    ("net/./x", "", ""),
    ("net.//.kernel", "", ""),  # two slashes stand for two dots
    ("net./.x", "", ""),
    ("net.ipv4.a b", "", ""),
    ("net.ipv4.a+b=c", "", ""),
    ("net.ipv4.a\n", "", ""),
    ("net.ipv4.é", "", ""),
]


@pytest.mark.parametrize(("key", "file", "kind"), TABLE)
def test_table(key: str, file: str, kind: str) -> None:
    names = sysctl.parts(key)
    assert "/".join(names) == file
    if names:
        assert sysctl.namespace(names) == kind
