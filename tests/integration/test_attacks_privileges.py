"""What a container may do: capabilities (CVE-2022-29162), kernel parameters (CVE-2022-0811), cgroups (CVE-2022-0492,
CVE-2023-25809), and what of /proc and /sys can be written.

Seen red:
    the five sets of an init that waits      inheritable set to the bounding set
    the five sets of the program             the same; with root, all that is permitted kept in the bounding set
    `spec` has nothing inheritable           an inheritable set in the default config
    a kernel parameter of the host's         the rule about sysctls left out
    the host's cgroups without a namespace   their mount not made read-only
    cgroup v1 cannot be mounted              no capability dropped; `cgroup` mounted as the config calls it
    what is read-only                        MOUNT_ATTR_RDONLY not set on what is bound, or on new mounts
"""

from __future__ import annotations

import json
import pathlib
import subprocess
from typing import Any

import pytest

from tests.integration.attack_scene import assert_refused, lean
from tests.integration.conftest import Bundle, Run

QUICK = "--cgroup-manager=disabled"
CAP = {"CAP_CHOWN": 1 << 0, "CAP_KILL": 1 << 5, "CAP_NET_BIND_SERVICE": 1 << 10, "CAP_NET_RAW": 1 << 13}
CHOWN, KILL, BIND, RAW = CAP.values()
SETS = ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb")

# uid, new privileges, then (bounding, permitted, effective, inheritable, ambient): asked, of the init, of the program.
# capabilities(7), "Transformation of capabilities during execve()": without new privileges root gets what is in the
# bounding set or inheritable, but no more than it had; another user keeps what is ambient. What is ambient must be
# permitted and inheritable.
COMBINATIONS = {
    "root": (0, False, (KILL, KILL, KILL, 0, 0), (KILL, KILL, KILL, 0, 0), (KILL, KILL, KILL, 0, 0)),
    "root without any": (0, False, (0, 0, 0, 0, 0), (0, 0, 0, 0, 0), (0, 0, 0, 0, 0)),
    "root, less effective": (
        (0, False, (KILL | RAW, KILL | RAW, KILL, 0, 0))
        + ((KILL | RAW, KILL | RAW, KILL, 0, 0), (KILL | RAW, KILL | RAW, KILL | RAW, 0, 0))
    ),
    "root, less permitted": (
        (0, False, (KILL | RAW, KILL, KILL, 0, 0), (KILL | RAW, KILL, KILL, 0, 0), (KILL | RAW, KILL, KILL, 0, 0))
    ),
    "root, new privileges": (
        (0, True, (KILL | RAW, KILL, KILL, 0, 0))
        + ((KILL | RAW, KILL, KILL, 0, 0), (KILL | RAW, KILL | RAW, KILL | RAW, 0, 0))
    ),
    "root, inheritable": (
        (0, False, (KILL, KILL, KILL, KILL, 0), (KILL, KILL, KILL, KILL, 0), (KILL, KILL, KILL, KILL, 0))
    ),
    "user": (1000, False, (KILL, KILL, KILL, 0, 0), (KILL, KILL, KILL, 0, 0), (KILL, 0, 0, 0, 0)),
    "user, ambient": (
        (1000, False, (KILL | BIND, BIND, BIND, BIND, BIND))
        + ((KILL | BIND, BIND, BIND, BIND, BIND), (KILL | BIND, BIND, BIND, BIND, BIND))
    ),
    "user, inheritable": (1000, False, (BIND, BIND, BIND, BIND, 0), (BIND, BIND, BIND, BIND, 0), (BIND, 0, 0, BIND, 0)),
    "user, ambient without inheritable": (
        (1000, False, (BIND, BIND, BIND, 0, BIND), (BIND, BIND, BIND, 0, 0), (BIND, 0, 0, 0, 0))
    ),
    "user, one of two ambient": (
        (1000, False, (KILL | CHOWN, KILL | CHOWN, KILL | CHOWN, KILL | CHOWN, CHOWN))
        + ((KILL | CHOWN, KILL | CHOWN, KILL | CHOWN, KILL | CHOWN, CHOWN),)
        + ((KILL | CHOWN, CHOWN, CHOWN, KILL | CHOWN, CHOWN),)
    ),
}
MORE = "+chown,+kill,+net_raw,+sys_admin"
Masks = tuple[int, int, int, int, int]


def sets_in(status: str) -> Masks:
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    bounding, permitted, effective, inheritable, ambient = (int(fields[name], 16) for name in SETS)
    return bounding, permitted, effective, inheritable, ambient


# not `+all`: the machine may lack one
HELD = ",".join(
    f"+{name}" for name in "chown dac_override kill setgid setuid setpcap net_admin sys_chroot sys_admin mknod".split()
)


@pytest.mark.parametrize("callers", [[], ["setpriv", "--inh-caps", HELD, "--ambient-caps", HELD]], ids=["", "ambient"])
@pytest.mark.parametrize(("uid", "new", "asked", "init", "program"), COMBINATIONS.values(), ids=COMBINATIONS)
def test_the_five_sets(
    run: Run,
    runtime: str,
    bundle: Bundle,
    container_id: str,
    uid: int,
    new: bool,
    asked: Masks,
    init: Masks,
    program: Masks,
    callers: list[str],
) -> None:
    lean(bundle)
    names = ("bounding", "permitted", "effective", "inheritable", "ambient")
    bundle.config["process"]["capabilities"] = {
        name: [capability for capability, bit in CAP.items() if mask & bit] for name, mask in zip(names, asked)
    }
    bundle.config["process"]["user"] = {"uid": uid, "gid": uid}
    bundle.config["process"]["noNewPrivileges"] = not new
    bundle.sh("cat /proc/self/status >/tmp/status")
    (bundle.rootfs / "tmp").chmod(0o777)
    command: list[Any] = [*callers, runtime, QUICK, "create", "--bundle", bundle.path, container_id]
    silent = subprocess.DEVNULL
    subprocess.run(command, stdin=silent, stdout=silent, stderr=silent, check=True, timeout=20)
    pid = json.loads(run("state", container_id, check=True).stdout)["pid"]
    assert sets_in(pathlib.Path(f"/proc/{pid}/status").read_text()) == init
    with open(f"/proc/{pid}/status") as alive:
        run("start", container_id, check=True)
        try:
            while any(line.startswith("State:\t") and "Z" not in line for line in alive):
                alive.seek(0)
        except ProcessLookupError:
            pass
    assert sets_in((bundle.rootfs / "tmp/status").read_text()) == program


def test_spec_has_nothing_inheritable(bundle: Bundle) -> None:
    sets = bundle.config["process"]["capabilities"]
    assert sets["bounding"]
    assert not sets.get("inheritable")
    assert not sets.get("ambient")


# Of the host's: each is set to what it is, so that nothing would happen if it were.
OF_THE_HOST = [
    "kernel.core_pattern",
    "kernel/core_pattern",
    "kernel.modprobe",
    "kernel.sysrq",
    "kernel.panic",
    "kernel.hostname",
    "kernel.pid_max",
    "kernel.yama.ptrace_scope",
    "kernel.randomize_va_space",
    "vm.swappiness",
    "vm.overcommit_memory",
    "fs.file-max",
    "fs.suid_dumpable",
    "fs/protected_symlinks",
    "fs.binfmt_misc.status",
    "net/../kernel/core_pattern",
    "net.../kernel.core_pattern",
    "net/../../self/oom_score_adj",
    "kernel.shmmax/../core_pattern",
    "kernel.domainname/../core_pattern",
    "/kernel/core_pattern",
    "../sys/kernel/core_pattern",
    "fs/mqueue/../file-max",
    "",
    ".",
    "net",
]


@pytest.mark.parametrize("name", OF_THE_HOST)
def test_a_kernel_parameter_of_the_hosts(run: Run, bundle: Bundle, container_id: str, name: str) -> None:
    path = pathlib.Path("/proc/sys") / (name if "/" in name else name.replace(".", "/")).lstrip("/")
    value = path.read_text().strip() if path.is_file() else "1"
    lean(bundle)
    bundle.config["linux"]["sysctl"] = {name: value}
    bundle.args("true")
    assert_refused(run(QUICK, "run", "--bundle", bundle.path, container_id), "sysctl", "kernel parameter")


@pytest.mark.parametrize(
    ("kind", "name"), [("network", "net.ipv4.ip_forward"), ("ipc", "kernel.msgmax"), ("ipc", "fs.mqueue.msg_max")]
)
@pytest.mark.parametrize("path", [None, "/proc/self/ns/{}", "/proc/1/ns/{}"])
def test_a_kernel_parameter_of_a_namespace_that_is_the_hosts(
    run: Run, bundle: Bundle, container_id: str, kind: str, name: str, path: str | None
) -> None:
    lean(bundle)
    entries = [entry for entry in bundle.config["linux"]["namespaces"] if entry["type"] != kind]
    joined = [{"type": kind, "path": path.format({"network": "net", "ipc": "ipc"}[kind])}] if path else []
    bundle.config["linux"]["namespaces"] = entries + joined
    bundle.config["mounts"] = [entry for entry in bundle.config["mounts"] if entry["type"] not in ("mqueue", "sysfs")]
    now = (pathlib.Path("/proc/sys") / name.replace(".", "/")).read_text().strip()
    bundle.config["linux"]["sysctl"] = {name: now}
    bundle.args("true")
    assert_refused(run(QUICK, "run", "--bundle", bundle.path, container_id), "sysctl", "kernel parameter")


@pytest.mark.parametrize("options", [[], ["rw"], ["rw", "rrw"], ["nosuid", "noexec", "nodev", "relatime", "rw"], None])
@pytest.mark.parametrize("kind", ["cgroup", "cgroup2"])
def test_the_hosts_cgroups_without_a_namespace(
    run: Run, bundle: Bundle, container_id: str, kind: str, options: list[str] | None
) -> None:
    namespaces = bundle.config["linux"]["namespaces"]
    bundle.config["linux"]["namespaces"] = [entry for entry in namespaces if entry["type"] != "cgroup"]
    for entry in bundle.config["mounts"]:
        if entry["destination"] == "/sys/fs/cgroup":
            entry["type"] = kind
            entry.pop("options")
            entry |= {} if options is None else {"options": options}
    bundle.sh(
        "mkdir /sys/fs/cgroup/mine; echo 1 >/sys/fs/cgroup/cgroup.procs; grep /sys/fs/cgroup /proc/self/mountinfo"
    )
    done = run("run", "--bundle", bundle.path, container_id)
    [line] = done.stdout.splitlines()
    assert "ro" in line.split()[5].split(",")
    assert done.stderr.count("Read-only file system") == 2, done.stderr


@pytest.mark.parametrize("way", ["", "unshare -Ur ", "unshare -Urm "])
def test_cgroup_v1_cannot_be_mounted(run: Run, bundle: Bundle, container_id: str, way: str) -> None:
    lean(bundle).sh(f"{way}mount -t cgroup -o pids cgroup /tmp 2>&1; grep -e '- cgroup ' /proc/self/mountinfo")
    done = run(QUICK, "run", "--bundle", bundle.path, container_id)
    lines = done.stdout.splitlines()
    assert len(lines) == 1, lines
    assert "ermission denied" in lines[0] or "not permitted" in lines[0]


# What is mounted read-only by the default config, and a file there to try.
READ_ONLY = {
    "/": "/new",
    "/sys": "/sys/kernel/profiling",
    "/sys/fs/cgroup": "/sys/fs/cgroup/cgroup.procs",
    "/proc/sys": "/proc/sys/kernel/core_pattern",
    "/proc/sysrq-trigger": "/proc/sysrq-trigger",
    "/proc/irq": "/proc/irq/default_smp_affinity",
    "/proc/bus": "/proc/bus/new",
    "/proc/fs": "/proc/fs/new",
}


def test_what_is_read_only(run: Run, bundle: Bundle, container_id: str, tmp_path: pathlib.Path) -> None:
    # a path with another mount below it is read-only with all there is
    (tmp_path / "bound").mkdir()
    deep = [
        {"destination": "/tmp", "type": "bind", "source": str(tmp_path), "options": ["bind"]},
        {"destination": "/tmp/bound", "type": "tmpfs", "source": "tmpfs", "options": []},
    ]
    bundle.config["mounts"] += deep
    bundle.config["linux"]["readonlyPaths"].append("/tmp")
    places = {**READ_ONLY, "/tmp": "/tmp/new", "/tmp/bound": "/tmp/bound/new"}
    # an open for appending changes nothing even where it is let through
    tries = "\n".join(f"( : >>{path} ) 2>/dev/null && echo written: {path}" for path in places.values())
    bundle.sh(f"cat /proc/self/mountinfo\n{tries}\ntrue")
    lines = run("run", "--bundle", bundle.path, container_id, check=True).stdout.splitlines()
    assert [line for line in lines if line.startswith("written")] == []
    last = {line.split()[4]: line.split()[5].split(",") for line in lines}
    exist = {place for place in places if place in ("/", "/tmp/bound") or pathlib.Path(place).exists()}
    assert {place for place in exist if "ro" in last[place]} == exist
