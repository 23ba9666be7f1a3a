"""The MUSTs of config.md and config-linux.md on the container's process, seen by that process."""

from __future__ import annotations

import fcntl
import json
import pathlib
import resource
import struct
import termios
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.conftest import Container, Run
from tests.integration.must_scene import console, crun_does_not, read_until_closed, user_namespace
from tests.integration.needs import needs
from tests.unit.bad_configs import drop, put
from tests.unit.bad_documents import Change

CRUN_LEAVES_IT = crun_does_not("leaves a cgroup behind")


@crun_does_not("wants a process at create")
def test_must_PRC1(container: Container, run: Run) -> None:
    """A container can be created without a process, but not started."""
    bundle = container.bundle
    del container.config["process"]
    bundle.write()
    run("create", "--bundle", bundle.path, container.name, check=True)
    assert container.state()["status"] == "created"
    done = run("start", container.name)
    assert done.returncode != 0
    assert "process" in done.stderr
    run("delete", "--force", container.name, check=True)


SIZES = [
    ({"height": 33, "width": 111}, "33 111"),
    ({"height": 2, "width": 3}, "2 3"),
    ({"height": 500, "width": 9999}, "500 9999"),
]


@pytest.mark.parametrize(("size", "seen"), SIZES, ids=str)
def test_must_PRC2(container: Container, tmp_path: pathlib.Path, size: dict[str, int], seen: str) -> None:
    """consoleSize is the size of the terminal."""
    container.config["process"].update(terminal=True, consoleSize=size)
    with console(tmp_path) as socket:
        container.create("stty size", "--console-socket", socket.path)
        terminal = socket.master()
        rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8)))
        assert f"{rows} {columns}" == seen
        container.start()
        assert read_until_closed(terminal) == f"{seen}\n"
        container.delete()


@pytest.mark.parametrize("size", [{"height": 33, "width": 111}, {"height": 0, "width": 0}], ids=str)
def test_must_PRC2_ignored(container: Container, size: dict[str, int]) -> None:
    """Without a terminal it says nothing."""
    container.config["process"]["consoleSize"] = size
    assert container.says("test -t 0 || echo no terminal") == "no terminal"


@crun_does_not("takes half a size for none")
@pytest.mark.parametrize("size", [{"height": 33}, {"width": 111}, {}], ids=str)
@pytest.mark.parametrize("terminal", [True, False])
def test_must_PRC2_required(container: Container, size: dict[str, int], terminal: bool) -> None:
    container.config["process"].update(terminal=terminal, consoleSize=size)
    container.refused("process.consoleSize")


@pytest.mark.parametrize("cwd", ["/", "/etc", "/etc/..//root", "/link"])
def test_must_PRC3(container: Container, cwd: str) -> None:
    """cwd is an absolute path in the container."""
    (container.bundle.rootfs / "link").symlink_to("/root")
    container.config["process"]["cwd"] = cwd
    assert container.says("/bin/pwd -P") == {"/etc/..//root": "/root", "/link": "/root"}.get(cwd, cwd)


@pytest.mark.parametrize(
    "change",
    [drop("process.cwd"), put("process.cwd", "etc"), put("process.cwd", "")],
    ids=["none", "relative", "empty"],
)
@crun_does_not("takes the root directory instead, or what is there")
def test_must_PRC3_required(container: Container, change: Change) -> None:
    change(container.config)
    container.refused("process.cwd")


# Arguments, the PATH of the process, and what the program says: like execvp(3).
PROGRAMS = {
    "an absolute path": (["/one/program", "a"], "", "/one/program a"),
    "the first in PATH": (["program"], "/one:/two", "/one/program"),
    "another first in PATH": (["program"], "/two:/one", "/two/program"),
    "past a missing one": (["program"], "/nowhere:/three:/one", "/one/program"),
    "past one that is no program": (["program"], "/four:/one", "/one/program"),
    "relative to cwd": (["two/program"], "/one", "/two/program"),
    "arguments as they are": (["program", "", "a b", "$PATH", "*"], "/one", "/one/program  a b $PATH *"),
}


@pytest.mark.parametrize(("args", "path", "said"), PROGRAMS.values(), ids=PROGRAMS)
def test_must_PRC4(container: Container, run: Run, args: list[str], path: str, said: str) -> None:
    """args has a first entry, which is looked for as execvp(3) does."""
    for name, mode in (("one", 0o755), ("two", 0o755), ("four", 0o644)):
        (container.bundle.rootfs / name).mkdir()
        (container.bundle.rootfs / name / "program").write_text(f'#!/bin/sh\necho "/{name}/program${{1+ }}$*"\n')
        (container.bundle.rootfs / name / "program").chmod(mode)
    (container.bundle.rootfs / "three").mkdir()
    container.config["process"]["env"] = [f"PATH={path}"]
    container.bundle.args(*args)
    done = run("run", "--bundle", container.bundle.path, container.name, check=True)
    assert done.stdout == f"{said}\n"


NO_ARGS = [
    pytest.param(put("process.args", []), id="empty"),
    pytest.param(drop("process.args"), id="none", marks=crun_does_not("fails at start")),
]


@pytest.mark.parametrize("change", NO_ARGS)
def test_must_PRC4_required(container: Container, change: Change) -> None:
    change(container.config)
    container.refused("process.args")


@pytest.mark.parametrize("program", ["no-such-program", "/no/such/program", "/etc/passwd", "/etc", ""])
def test_must_PRC4_missing(container: Container, run: Run, program: str) -> None:
    container.bundle.args(program)
    done = run("run", "--bundle", container.bundle.path, container.name)
    assert done.returncode != 0
    assert done.stderr


# The limits, as /proc/self/limits names them, with values that no default has; 0 where who may not raise limits has 0.
LIMITS = {
    "RLIMIT_CPU": ("Max cpu time", 3600, 7200),
    "RLIMIT_FSIZE": ("Max file size", 1 << 40, 1 << 41),
    "RLIMIT_DATA": ("Max data size", 1 << 41, 1 << 42),
    "RLIMIT_STACK": ("Max stack size", 1 << 22, 1 << 24),
    "RLIMIT_CORE": ("Max core file size", 0, 4096),
    "RLIMIT_RSS": ("Max resident set", 1 << 40, 1 << 41),
    "RLIMIT_NPROC": ("Max processes", 4321, 5432),
    "RLIMIT_NOFILE": ("Max open files", 543, 654),
    "RLIMIT_MEMLOCK": ("Max locked memory", 65536, 131072),
    "RLIMIT_AS": ("Max address space", 1 << 42, 1 << 43),
    "RLIMIT_LOCKS": ("Max file locks", 76, 87),
    "RLIMIT_SIGPENDING": ("Max pending signals", 98, 109),
    "RLIMIT_MSGQUEUE": ("Max msgqueue size", 8192, 16384),
    "RLIMIT_NICE": ("Max nice priority", 0, 0),
    "RLIMIT_RTPRIO": ("Max realtime priority", 0, 0),
    "RLIMIT_RTTIME": ("Max realtime timeout", 1000000, 2000000),
}
UNLIMITED = 2**64 - 1


def own_hard_limit(kind: str) -> int:
    """Return a limit of ours, which the runtime may not be allowed to raise."""
    # the module knows no RLIMIT_LOCKS; the kernel calls it 10 and has not enforced it since 2.4
    return resource.getrlimit(getattr(resource, kind))[1] if hasattr(resource, kind) else 0


def limits(container: Container) -> Iterator[tuple[str, str, str]]:
    """Yield name, soft and hard value of each limit of the container's process."""
    for line in container.says("cat /proc/self/limits").splitlines()[1:]:
        yield line[:26].strip(), *line[26:].split()[:2]  # type: ignore[misc]


@pytest.mark.parametrize("unlimited", [False, True], ids=["exact", "unlimited"])
def test_must_PRC5(container: Container, unlimited: bool) -> None:
    """Every limit of getrlimit(2) can be set: soft and hard exactly as they stand."""
    boundless = {kind for kind in LIMITS if unlimited and own_hard_limit(kind) == resource.RLIM_INFINITY}
    values = {kind: (soft, UNLIMITED if kind in boundless else hard) for kind, (_, soft, hard) in LIMITS.items()}
    container.config["process"]["rlimits"] = [{"type": kind, "soft": s, "hard": h} for kind, (s, h) in values.items()]
    expected = {(LIMITS[kind][0], str(s), "unlimited" if h == UNLIMITED else str(h)) for kind, (s, h) in values.items()}
    assert set(limits(container)) == expected


BAD_LIMITS = [
    {"soft": 1, "hard": 1},
    {"type": "RLIMIT_NOTHING", "soft": 1, "hard": 1},
    {"type": "NOFILE", "soft": 1, "hard": 1},
]


@CRUN_LEAVES_IT
@pytest.mark.parametrize("limit", [*BAD_LIMITS, {"type": "RLIMIT_CORE", "soft": 2, "hard": 1}], ids=str)
def test_must_PRC5_invalid(container: Container, limit: dict[str, Any]) -> None:
    container.config["process"]["rlimits"] = [limit]
    container.refused("process.rlimits.0")


@crun_does_not("lets the last one win (D13)")
@pytest.mark.parametrize("same", [True, False], ids=["the same values", "other values"])
def test_must_PRC6(container: Container, same: bool) -> None:
    """A limit stands in the list once."""
    first = {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}
    container.config["process"]["rlimits"] = [first, first if same else first | {"soft": 99}]
    container.refused("RLIMIT_NOFILE")


SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")


@crun_does_not("takes it for an error (D13)")
@pytest.mark.parametrize("names", [SETS, *[[name] for name in SETS]], ids=lambda names: "+".join(names))
def test_must_PRC7(container: Container, run: Run, tmp_path: pathlib.Path, names: list[str]) -> None:
    """A capability that nobody knows is said in a warning, and the others are granted."""
    container.config["process"]["capabilities"] = {
        name: ["CAP_KILL", *(["CAP_OF_THE_FUTURE"] if name in names else [])] for name in SETS
    }
    container.bundle.sh("grep ^Cap /proc/self/status")
    log = tmp_path / "log"
    done = run(
        "--log", log, "--log-level=warning", "run", "--bundle", container.bundle.path, container.name, check=True
    )
    assert [int(line.split()[1], 16) for line in done.stdout.splitlines()] == [1 << 5] * 5
    assert "CAP_OF_THE_FUTURE" in log.read_text() + done.stderr


# nobody else may set what is lower than it was
LOW = [pytest.param(score, marks=needs("CAP_SYS_RESOURCE")) for score in (-1, -1000)]
OWN_SCORE = pathlib.Path("/proc/self/oom_score_adj")


@pytest.fixture
def own_score() -> Iterator[int]:
    """Give us, and so the runtime, a score that nothing else has."""
    before = OWN_SCORE.read_text()
    OWN_SCORE.write_text("123")
    yield 123
    OWN_SCORE.write_text(before)


@pytest.mark.parametrize("score", [None, 0, 1, 700, 1000, *LOW])
def test_must_PRC8(container: Container, own_score: int, score: int | None) -> None:
    """oomScoreAdj is written as it stands; without one, the score is not touched."""
    if score is not None:
        container.config["process"]["oomScoreAdj"] = score
    assert container.says(f"cat {OWN_SCORE}") == str(own_score if score is None else score)


@pytest.mark.parametrize(
    ("scheduler", "seen"),
    [
        ({"policy": "SCHED_OTHER", "nice": 7}, "0 7"),
        ({"policy": "SCHED_BATCH", "nice": 3}, "3 3"),
        ({"policy": "SCHED_IDLE"}, "5 0"),
    ],
    ids=str,
)
def test_must_PRC9(container: Container, scheduler: dict[str, Any], seen: str) -> None:
    """The policy of the scheduler is what the process has: fields 41 and 19 of its stat."""
    container.config["process"]["scheduler"] = scheduler
    assert container.says("set -- $(cat /proc/self/stat); echo ${41} ${19}") == seen


@pytest.mark.parametrize(
    ("priority", "seen"),
    [
        ({"class": "IOPRIO_CLASS_BE", "priority": 2}, "best-effort: prio 2"),
        ({"class": "IOPRIO_CLASS_RT", "priority": 5}, "realtime: prio 5"),
        ({"class": "IOPRIO_CLASS_IDLE", "priority": 0}, "idle"),
    ],
    ids=str,
)
def test_must_PRC9_io(container: Container, priority: dict[str, Any], seen: str) -> None:
    container.config["process"]["ioPriority"] = priority
    assert container.says("ionice").startswith(seen)


REQUIRED = [
    ("process.scheduler", {"nice": 1}),
    ("process.scheduler", {}),
    ("process.scheduler", {"policy": "SCHED_NOTHING"}),
    ("process.ioPriority", {"class": "IOPRIO_CLASS_BE"}),
    ("process.ioPriority", {"priority": 1}),
    ("process.ioPriority", {"class": "IOPRIO_CLASS_NOTHING", "priority": 1}),
]


@crun_does_not("takes it for none, or leaves a cgroup behind")
@pytest.mark.parametrize(("where", "value"), REQUIRED, ids=str)
def test_must_PRC9_required(container: Container, where: str, value: dict[str, Any]) -> None:
    put(where, value)(container.config)
    container.refused(where)


@pytest.mark.parametrize(
    "user", [{"uid": 0, "gid": 0}, {"uid": 5, "gid": 6}, {"uid": 7, "gid": 8, "additionalGids": [9, 10]}], ids=str
)
def test_must_PRC10(container: Container, wait_until: Callable[..., Any], user: dict[str, Any]) -> None:
    """The ids of the user are those inside: 5 is 100005 to the host."""
    user_namespace(container.bundle, 100000)
    container.config["process"]["user"] = user
    container.config["root"]["readonly"] = False
    said = container.bundle.rootfs / "said"
    said.touch()
    said.chmod(0o666)
    container.create("echo $(id -u) $(id -g) $(id -G) >/said; exec sleep 1000")
    container.start()
    wait_until(said.read_text, "the program to say its ids")
    groups = user.get("additionalGids", [])
    assert said.read_text().split() == [str(it) for it in (user["uid"], user["gid"], user["gid"], *groups)]
    status = pathlib.Path(f"/proc/{container.state()['pid']}/status").read_text()
    of_the_host = dict(line.split(":", 1) for line in status.splitlines())
    assert {int(it) for it in of_the_host["Uid"].split()} == {100000 + user["uid"]}
    assert {int(it) for it in of_the_host["Gid"].split()} == {100000 + user["gid"]}
    assert [int(it) for it in of_the_host["Groups"].split()] == [100000 + it for it in groups]
    container.delete()


@pytest.mark.parametrize(("domain", "machine"), [("LINUX", "x86_64"), ("LINUX32", "i686")])
def test_must_PER1(container: Container, domain: str, machine: str) -> None:
    """personality has a domain: that of 32 bit programs shows in uname(2)."""
    container.config["linux"]["personality"] = {"domain": domain}
    assert container.says("uname -m") == machine


@pytest.mark.parametrize("personality", [{}, {"flags": []}, {"domain": ""}, {"domain": "linux"}], ids=json.dumps)
@crun_does_not("takes it in silence, or leaves a cgroup behind")
def test_must_PER1_required(container: Container, personality: dict[str, Any]) -> None:
    container.config["linux"]["personality"] = personality
    container.refused("linux.personality")


POLICIES = {
    "MPOL_BIND": "bind:0",
    "MPOL_INTERLEAVE": "interleave:0",
    "MPOL_PREFERRED": "prefer:0",
    "MPOL_LOCAL": "local",
}


@crun_does_not("has no memory policies before 1.25")
@pytest.mark.parametrize(("mode", "seen"), POLICIES.items())
def test_must_MP1(container: Container, mode: str, seen: str) -> None:
    """memoryPolicy is that of the process: /proc/self/numa_maps names it."""
    container.config["linux"]["memoryPolicy"] = {"mode": mode} if mode == "MPOL_LOCAL" else {"mode": mode, "nodes": "0"}
    maps = container.says("cat /proc/self/numa_maps").splitlines()
    assert seen in {line.split()[1] for line in maps}


@crun_does_not("has no memory policies before 1.25")
@pytest.mark.parametrize("policy", [{"nodes": "0"}, {}, {"mode": "MPOL_NOTHING", "nodes": "0"}], ids=str)
def test_must_MP1_required(container: Container, policy: dict[str, Any]) -> None:
    container.config["linux"]["memoryPolicy"] = policy
    container.refused("linux.memoryPolicy")
