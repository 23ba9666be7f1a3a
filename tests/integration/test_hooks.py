"""Hooks as their writers see them: where each runs, with what, in which order, and what follows when one fails.

Every hook is a shell script that leaves a record on the host. What crun 1.21 does otherwise is skipped for it (`ours`).
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from pyoci_systemd.plan.hooks import KINDS
from tests.integration.attack_scene import leaking
from tests.integration.exec_scene import OURS, Box, alive, box, cgroup, one_line, ours, settled

__all__ = ["box"]

AT_CREATE = ("prestart", "createRuntime", "createContainer")
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
INSIDE = ("createContainer", "startContainer")
SHELL = "/bin/sh"


class Records:
    """A directory that hooks of all kinds can write to: it is mounted in the container, under its own name."""

    def __init__(self, path: pathlib.Path, box: Box) -> None:
        self.path = path
        self.box = box
        path.mkdir(mode=0o777)
        path.chmod(0o777)
        mount = {"destination": str(path), "type": "bind", "source": str(path), "options": ["bind", "rw"]}
        box.config["mounts"].append(mount)
        box.config["hooks"] = {}

    def hook(self, kind: str, script: str, **more: Any) -> None:
        """Add a hook that runs a shell script in this directory."""
        args = ["sh", "-c", f"cd {self.path}; {script}"]
        hook = {"path": SHELL, "args": args, "env": ["PATH=/usr/bin:/bin"], **more}
        self.box.config["hooks"].setdefault(kind, []).append(hook)

    def read(self, name: str) -> str:
        return (self.path / name).read_text()

    def lines(self, name: str = "order") -> list[str]:
        path = self.path / name
        return path.read_text().split() if path.exists() else []

    def gone(self) -> None:
        """See that nothing of the container is there any more; the leak check looks for the rest."""
        assert self.box.run("state", self.box.id).returncode != 0


@pytest.fixture
def records(box: Box) -> Records:
    """Return where hooks of `box` leave what they see."""
    return Records(box.bundle.path / "records", box)


def life(box: Box, *options: str) -> None:
    """Create, start and delete it."""
    box.up(*options)
    box.run("delete", "--force", box.id, check=True)


def namespaces(pid: int | str) -> list[str]:
    return [os.readlink(f"/proc/{pid}/ns/{name}") for name in NAMESPACES]


# -- when and where


@pytest.mark.parametrize("verb", ["create", "run"])
def test_order(box: Box, records: Records, verb: str) -> None:
    for kind in reversed(KINDS):
        for number in (1, 2):
            records.hook(kind, f"echo {kind}{number} >>order")
    box.bundle.sh(f"echo program >>{records.path}/order")
    if verb == "run":
        box.run("run", "--bundle", box.bundle.path, box.id, check=True)
    else:
        box.run("create", "--bundle", box.bundle.path, box.id, check=True)
        assert records.lines() == [f"{kind}{n}" for kind in AT_CREATE for n in (1, 2)]
        box.run("start", box.id, check=True)
        assert settled(lambda: box.state()["status"] == "stopped")
        box.run("delete", box.id, check=True)
    seen = records.lines()
    # the program runs while the poststart hooks do
    assert sorted(seen) == sorted([f"{kind}{n}" for kind in KINDS for n in (1, 2)] + ["program"])
    assert [word for word in seen if word != "program"] == [f"{kind}{n}" for kind in KINDS for n in (1, 2)]
    assert seen.index("startContainer2") < seen.index("program")


@pytest.mark.parametrize("manager", ["systemd", "cgroupfs", "disabled"])
def test_namespaces(box: Box, records: Records, manager: str) -> None:
    for kind in KINDS:
        script = f"for n in {' '.join(NAMESPACES)}; do readlink /proc/self/ns/$n; done >{kind}; readlink /proc/1/root >{kind}.root; true"
        records.hook(kind, script)
    if manager == "disabled":
        del box.config["linux"]["resources"]
    box.up(f"--cgroup-manager={manager}")
    inside, outside = namespaces(box.pid), namespaces("self")
    assert not set(inside) & set(outside)
    box.run("delete", "--force", box.id, check=True)
    for kind in KINDS:
        seen = records.lines(kind)
        if not OURS and kind in INSIDE:
            seen[0] = inside[0]  # crun makes the cgroup namespace later
        assert seen == (inside if kind in INSIDE else outside), kind


def test_paths_are_the_runtimes_but_for_start_container(box: Box, records: Records) -> None:
    (box.bundle.path / "mark").touch()
    for kind in KINDS:
        records.hook(kind, f"if [ -e {box.bundle.path}/mark ]; then echo outside; else echo inside; fi >{kind}")
    life(box)
    found = {kind: records.read(kind).strip() for kind in KINDS}
    assert found == {kind: "inside" if kind == "startContainer" else "outside" for kind in KINDS}


def test_state(box: Box, records: Records) -> None:
    box.config["annotations"] = {"org.example.one": "1", "org.example.two": 'ü"\n'}
    for kind in KINDS:
        records.hook(kind, f"cat >{kind}")
    box.up()
    pid = box.pid
    box.run("delete", "--force", box.id, check=True)
    status = {"startContainer": "created", "poststart": "running", "poststop": "stopped"}
    for kind in KINDS:
        text = records.read(kind)
        state = json.loads(text)
        assert isinstance(state["ociVersion"], str)
        assert (state["id"], state["bundle"]) == (box.id, str(box.bundle.path))
        assert state["annotations"].items() >= box.config["annotations"].items()
        if OURS:  # crun has no pid for two of them, and `starting` for a status
            assert (state["status"], state["pid"]) == (
                status.get(kind, "creating"),
                0 if kind == "poststop" else pid,
            ), kind


def test_the_program_is_where_it_should_be(box: Box, records: Records) -> None:
    for kind in KINDS[:-1]:
        # in the container's own procfs the first process has the number 1
        pid = "1" if kind == "startContainer" else r"$(sed 's/.*\"pid\": *\([0-9]*\).*/\1/')"
        records.hook(kind, f"pid={pid}; tr '\\0' ' ' </proc/$pid/cmdline >{kind}; true")
    life(box)
    assert records.read("poststart").strip() == "sleep 1000"
    if OURS:
        for kind in KINDS[:-2]:
            assert "sleep" not in records.read(kind) and "init" in records.read(kind), kind


def test_state_can_be_asked_for(box: Box, records: Records) -> None:
    for kind in KINDS:
        if kind != "startContainer":
            records.hook(kind, f"{box.runtime} state {box.id} >{kind}; echo $? >{kind}.code")
    records.hook("poststart", f"{box.runtime} exec {box.id} echo in >exec")
    life(box)
    assert json.loads(records.read("poststart"))["status"] == "running"
    assert records.read("exec") == "in\n"
    assert records.read("poststop.code") != "0\n"
    if OURS:
        assert [json.loads(records.read(kind))["status"] for kind in ("prestart", "createRuntime")] == ["creating"] * 2


# -- with what


@pytest.mark.parametrize("kind", KINDS)
def test_args_and_env(box: Box, records: Records, kind: str) -> None:
    show = "cat /proc/self/environ"
    records.hook(kind, f"echo $0 $1 >args; {show} >env", env=["A=1", "B=x y", "C="])
    box.config["hooks"][kind][0]["args"][3:] = ["name", "first"]
    box.config["hooks"][kind].append({**box.config["hooks"][kind][0]})
    box.config["hooks"][kind][1]["env"] = []
    box.config["hooks"][kind][1]["args"] = ["sh", "-c", f"/bin/cat /proc/self/environ >{records.path}/empty; true"]
    life(box)
    assert records.read("args") == "name first\n"
    # what a shell adds for its children
    own = ("PWD=", "OLDPWD=", "SHLVL=", "PATH=", "_=")
    seen = sorted(entry for entry in records.read("env").rstrip("\0").split("\0") if not entry.startswith(own))
    assert seen == ["A=1", "B=x y", "C="]
    if OURS:  # crun takes an empty list for its own environment
        assert [entry for entry in records.read("empty").split("\0") if entry and not entry.startswith(own)] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("args", [None, []])
def test_no_args(box: Box, records: Records, kind: str, args: list[str] | None) -> None:
    script = f"#!/bin/sh\necho $0 $# >{records.path}/args\n"
    for path in (records.path / "hook",):
        path.write_text(script)
        path.chmod(0o755)
    box.config["hooks"][kind] = [{"path": str(records.path / "hook"), **({} if args is None else {"args": args})}]
    life(box)
    assert records.read("args") == f"{records.path}/hook 0\n"


@ours  # crun hands on all of its own
def test_an_absent_environment_has_nothing_of_the_callers(box: Box, records: Records) -> None:
    for kind in KINDS:
        records.hook(kind, f"cat /proc/self/environ >{kind}")
        del box.config["hooks"][kind][0]["env"]
    box.bundle.args("sleep", "1000")
    hostile = {
        **os.environ,
        "LD_PRELOAD": "",
        "PYTHONPATH": "/x",
        "CALLER": "1",
        "LC_ALL": "C.UTF-8",
        "PATH": "/bin:/usr/bin",
    }
    for words in (("create", "--bundle", str(box.bundle.path)), ("start",), ("delete", "--force")):
        box.run(*words, box.id, check=True, env=hostile)
    for kind in KINDS:
        env = records.read(kind).split("\0")
        seen = {entry.partition("=")[0] for entry in env}
        assert not seen & {"LD_PRELOAD", "PYTHONPATH", "PYTHONHOME", "CALLER", "LC_ALL"}, kind
        assert ("PATH=/bin:/usr/bin" in env) == (kind != "startContainer")


def test_working_directory(box: Box, records: Records) -> None:
    for kind in KINDS:
        records.hook(kind, "true")
        box.config["hooks"][kind][0]["args"] = ["sh", "-c", f"pwd >{records.path}/{kind}"]
    life(box)
    for kind in KINDS:
        if OURS or kind not in (*INSIDE, "poststart", "poststop"):
            assert records.read(kind).strip() == ("/" if kind == "startContainer" else str(box.bundle.path)), kind


def test_nothing_is_leaked_to_it(box: Box, records: Records, tmp_path: pathlib.Path) -> None:
    # umask, signals, descriptors: none of the caller's
    show = "grep ^Sig[BI] /proc/self/status; umask; ls -l /proc/$$/fd | grep -v ' \\(0\\|1\\|2\\|10\\|255\\) -> ' | grep -c -e '->'"
    for kind in KINDS:
        records.hook(kind, f"({show}) >{kind}; true")
    box.bundle.args("sleep", "1000")
    script = (
        "import os, signal, sys\n"
        "for n in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}: signal.signal(n, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGCHLD})\n"
        "os.umask(0o077)\nos.execv(sys.argv[1], sys.argv[1:])\n"
    )
    for words in (["create", "--bundle", str(box.bundle.path)], ["start"], ["delete", "--force"]):
        command = [
            sys.executable,
            "-c",
            script,
            *leaking(box.runtime, *words, box.id, source=tmp_path, first=3, last=20),
        ]
        with open(os.devnull, "r+b") as null:
            subprocess.run(command, stdin=null, stdout=null, stderr=null, timeout=20, check=True)
    if OURS:  # crun hands on everything of this
        for kind in KINDS:
            assert records.lines(kind) == ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16, "0022", "0"], (
                kind,
                records.read(kind),
            )


# -- failing

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "exit": ({"args": ["sh", "-c", "echo reason >&2; echo >&2; exit 3"]}, "exit status 3: reason"),
    "signal": ({"args": ["sh", "-c", "kill -SEGV $$"]}, "killed by signal 11"),
    "missing": ({"path": "/nothing/there"}, "no such file or directory"),
    "directory": ({"path": "/etc"}, "permission denied"),
    "not executable": ({"path": "/etc/passwd"}, "permission denied"),
    "timeout": ({"args": ["sh", "-c", "sleep 1000"], "timeout": 1}, "killed after 1 s"),
}


def after_failure(box: Box, records: Records, kind: str, done: subprocess.CompletedProcess[str], words: str) -> None:
    """See that it was told, that all is gone, and that the poststop hooks ran."""
    if OURS:
        one_line(done, f"hooks.{kind}[1]", words)
    assert done.returncode != 0 and done.stdout == ""
    if OURS or kind in AT_CREATE:
        records.gone()
    if OURS:
        assert records.lines() == ["before", "poststop"]


def fails(records: Records, kind: str, bad: dict[str, Any]) -> None:
    records.hook(kind, "echo before >>order")
    records.hook(kind, "true", **bad)
    records.hook(kind, "echo after >>order")
    records.hook("poststop", "echo poststop >>order")


@pytest.mark.parametrize("reason", BAD)
@pytest.mark.parametrize("kind", KINDS[:-1])
def test_a_failure_in_create_or_start(box: Box, records: Records, kind: str, reason: str) -> None:
    bad, words = BAD[reason]
    fails(records, kind, bad)
    box.bundle.args("sleep", "1000")
    pid_file = box.bundle.path / "pid"
    done = box.run("create", "--pid-file", pid_file, "--bundle", box.bundle.path, box.id)
    if kind not in AT_CREATE:
        assert done.returncode == 0
        done = box.run("start", box.id)
    else:
        assert not pid_file.exists()
    after_failure(box, records, kind, done, words)


@pytest.mark.parametrize("manager", ["systemd", "cgroupfs", "disabled"])
@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("kind", KINDS[:-1])
def test_a_failure_in_run(box: Box, records: Records, kind: str, manager: str, detach: bool) -> None:
    bad, words = BAD["exit"]
    fails(records, kind, bad)
    if manager == "disabled":
        del box.config["linux"]["resources"]
    box.bundle.args("sleep", "1000")
    options = ["--detach"] if detach else []
    done = box.run(f"--cgroup-manager={manager}", "run", *options, "--bundle", box.bundle.path, box.id)
    after_failure(box, records, kind, done, words)


@pytest.mark.parametrize("reason", BAD)
@pytest.mark.parametrize("verb", ["delete", "run"])
def test_a_failure_in_delete_is_only_warned_about(box: Box, records: Records, reason: str, verb: str) -> None:
    fails(records, "poststop", BAD[reason][0])
    log = box.bundle.path / "log"
    logging = ["--log", str(log), "--log-level=warning"] if OURS else ["--log", str(log)]
    box.bundle.args("true")
    if verb == "run":
        done = box.run(*logging, "run", "--bundle", box.bundle.path, box.id)
    else:
        box.up()
        done = box.run(*logging, "delete", "--force", box.id)
    assert (done.returncode, done.stdout) == (0, "")
    records.gone()
    assert records.lines() == ["before", "after", "poststop"]
    if OURS:
        assert "hooks.poststop[1]" in log.read_text() and BAD[reason][1] in log.read_text()


# -- hooks that misbehave


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_a_timeout_ends_its_children_too(box: Box, records: Records, kind: str) -> None:
    script = "trap '' TERM; sleep 1000 & (sleep 1000; true) & echo $! >child; sleep 1000"
    records.hook(kind, script, timeout=1)
    box.bundle.args("sleep", "1000")
    began = time.monotonic()
    done = box.run("create", "--bundle", box.bundle.path, box.id)
    if done.returncode == 0:
        done = box.run("start", box.id)
    assert 1 <= time.monotonic() - began < 3
    assert done.returncode != 0
    assert (records.path / "child").exists()
    if OURS:  # crun kills the hook alone: the leak check would find the others
        records.gone()
    else:
        subprocess.run(["pkill", "-x", "sleep"], check=False)


@ours  # crun reads no standard error
@pytest.mark.parametrize("kind", ["prestart", "startContainer", "poststop"])
def test_a_flood_is_not_kept(box: Box, records: Records, kind: str) -> None:
    records.hook(
        kind, "yes 0123456789012345678901234567890123456789 | head -c 200000000 >&2; echo >&2; echo last >&2; exit 1"
    )
    box.bundle.args("true")
    began = time.monotonic()
    # what it needs itself is 12 MB
    command: list[str | os.PathLike[str]] = [
        "prlimit",
        "--data=30000000",
        box.runtime,
        "--log-level=warning",
        "run",
        "--bundle",
        box.bundle.path,
        box.id,
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    assert "exit status 1: last" in done.stderr
    assert time.monotonic() - began < 15


@ours
def test_a_flood_does_not_stop_the_clock(box: Box, records: Records) -> None:
    records.hook("prestart", "exec yes >&2", timeout=1)
    box.bundle.args("true")
    began = time.monotonic()
    one_line(box.run("create", "--bundle", box.bundle.path, box.id), "killed after 1 s")
    assert time.monotonic() - began < 3


def test_state_that_is_not_read(box: Box, records: Records) -> None:
    box.config["annotations"] = {f"org.example.n{n}": "x" * 1000 for n in range(200)}
    for kind in KINDS:
        records.hook(kind, f"exec 0<&-; echo {kind} >>order")
    life(box)
    assert records.lines() == list(KINDS)


def test_a_daemon_is_left_alone(box: Box, records: Records) -> None:
    # passt and the like: the hook's own process ends well, what it has started stays, and writes as it likes
    records.hook(
        "createRuntime",
        "(setsid sh -c 'echo $$ >daemon; exec sleep 1000') & while [ ! -s daemon ]; do sleep 0.01; done",
    )
    if OURS:
        records.hook("createRuntime", "yes >&2 & echo $! >noisy; true")
    try:
        box.up()
        assert alive(int(records.read("daemon")))
    finally:
        for name in ("daemon", "noisy"):
            for word in records.lines(name):
                if alive(int(word)):
                    os.kill(int(word), signal.SIGKILL)


@ours
def test_output_goes_where_annotations_say(box: Box, records: Records) -> None:
    out, err = box.bundle.path / "out", box.bundle.path / "err"
    out.write_text("there already\n")
    box.config["annotations"] = {"run.oci.hooks.stdout": str(out), "run.oci.hooks.stderr": str(err)}
    for kind in KINDS:
        records.hook(kind, f"echo {kind}; echo {kind}! >&2")
    life(box)
    assert out.read_text().split() == ["there", "already", *KINDS]
    assert err.read_text().split() == [f"{kind}!" for kind in KINDS]
    box.config["annotations"] = {"run.oci.hooks.stdout": "/nowhere/out"}
    box.bundle.write()
    one_line(box.run("create", "--bundle", box.bundle.path, box.id), "/nowhere/out", "hooks.prestart[0]")


@pytest.mark.parametrize("kind", ["startContainer", "poststart", "poststop"])
def test_the_bundle_changes_afterwards(box: Box, records: Records, kind: str) -> None:
    records.hook(kind, "echo old >>order")
    box.make()
    box.config["hooks"] = {}
    records.hook(kind, "echo new >>order")
    box.bundle.write()
    box.run("start", box.id, check=True)
    box.run("delete", "--force", box.id, check=True)
    assert records.lines() == ["old"]


# -- the runtime is told to stop, or dies, while a hook hangs

HANGS = "echo $$ >pid; (sleep 1000; true) & echo $! >child; sleep 1000"
VERBS: dict[str, Callable[[Box], list[list[str]]]] = {
    "create": lambda box: [["create", "--bundle", str(box.bundle.path), box.id]],
    "run": lambda box: [["run", "--bundle", str(box.bundle.path), box.id]],
    "start": lambda box: [["create", "--bundle", str(box.bundle.path), box.id], ["start", box.id]],
    "delete": lambda box: [
        ["run", "--detach", "--bundle", str(box.bundle.path), box.id],
        ["delete", "--force", box.id],
    ],
}


def hang(box: Box, records: Records, verb: str) -> subprocess.Popen[bytes]:
    """Run a verb up to the hook that hangs."""
    *before, last = VERBS[verb](box)
    for words in before:
        box.run(*words, check=True)
    command = subprocess.Popen(
        [box.runtime, *last], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert settled(lambda: len(records.lines("child")) == 1, 5)
    return command


@ours  # crun dies of it and leaves everything
@pytest.mark.parametrize(("verb", "kind"), [("create", "prestart"), ("create", "createContainer"), ("run", "createRuntime"), ("run", "startContainer"), ("run", "poststart"), ("run", "poststop")])  # fmt: skip
def test_a_signal_while_a_hook_hangs(box: Box, records: Records, verb: str, kind: str) -> None:
    records.hook(kind, HANGS)
    records.hook("poststop", "sleep 0.1; echo poststop >>order")
    box.bundle.args("true")
    with hang(box, records, verb) as command:
        command.terminate()
        _, said = command.communicate(timeout=5)
    assert command.returncode == (0 if kind == "poststop" else 143), said
    records.gone()
    assert records.lines() == ["poststop"]


@ours
@pytest.mark.parametrize(
    ("verb", "kind"), [("start", "startContainer"), ("start", "poststart"), ("delete", "poststop")]
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_start_or_delete(box: Box, records: Records, verb: str, kind: str, number: int) -> None:
    records.hook(kind, HANGS)
    box.bundle.args("sleep", "1000")
    with hang(box, records, verb) as command:
        child = int(records.lines("pid")[0])
        command.send_signal(number)
        command.communicate(timeout=5)
    assert command.returncode == (0 if verb == "delete" else 128 + number)
    assert not alive(child)
    records.gone()


@ours
def test_an_ignored_signal_is_ignored(box: Box, records: Records) -> None:
    # nohup
    records.hook("prestart", "touch here; while [ ! -e go ]; do sleep 0.01; done")
    box.bundle.args("true")
    script = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    words = [sys.executable, "-c", script, box.runtime, *VERBS["create"](box)[0]]
    with open(os.devnull, "r+b") as null, subprocess.Popen(words, stdin=null, stdout=null, stderr=null) as command:
        assert settled((records.path / "here").exists)
        command.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        (records.path / "go").touch()
        assert command.wait(5) == 0


@ours
@pytest.mark.parametrize("kind", AT_CREATE)
@pytest.mark.parametrize("manager", ["systemd", "cgroupfs"])
def test_create_is_killed_in_a_hook(box: Box, records: Records, kind: str, manager: str) -> None:
    records.hook(kind, "echo $$ >>pid; exec sleep 1000")
    records.hook("poststop", "echo poststop >>order")
    box.bundle.args("sleep", "1000")
    words = [box.runtime, f"--cgroup-manager={manager}", *VERBS["create"](box)[0]]
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as command:
        assert settled(lambda: len(records.lines("pid")) == 1, 5)
        command.kill()
        command.wait(5)
    box.run("delete", "--force", box.id, check=True)
    records.gone()
    assert records.lines() == ["poststop"]


# -- user namespaces


@pytest.mark.parametrize("manager", ["systemd", "cgroupfs", "disabled"])
def test_in_a_user_namespace(box: Box, records: Records, manager: str) -> None:
    linux = box.config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": 200000, "size": 65536}]
    subprocess.run(["chown", "-R", "-h", "100000:200000", box.bundle.rootfs], check=True)
    for path in (box.bundle.path, *box.bundle.path.parents):
        path.chmod(0o755) if str(path).startswith("/tmp/pytest") else None
    if manager == "disabled":
        del linux["resources"]
    for kind in KINDS:
        records.hook(kind, f"readlink /proc/self/ns/user >{kind}; id -u >>{kind}; cat /proc/self/cgroup >{kind}.cgroup")
    box.up(f"--cgroup-manager={manager}")
    own, theirs = os.readlink("/proc/self/ns/user"), os.readlink(f"/proc/{box.pid}/ns/user")
    place = f"/{cgroup(box.pid).relative_to('/sys/fs/cgroup')}"
    box.run("delete", "--force", box.id, check=True)
    for kind in KINDS:
        assert records.lines(kind) == [theirs if kind in INSIDE else own, "0"], kind
    if manager != "disabled":
        assert place.endswith("container") or not OURS or manager == "cgroupfs"
