"""What of the caller's reaches the container: descriptors (CVE-2016-9962, CVE-2024-21626), signals, umask, groups.

Seen red:
    only what is kept reaches the program       nothing closed at the init's beginning, nothing marked at its end
    more is kept than is there                  (no need: see the test)
    nothing leaked waits in the init            nothing closed at the init's beginning
    no descriptor is a working directory        the working directory not looked at after the chdir
    signals are as they are by default          the init's signals not reset; the mask not cleared
    the umask is not the caller's               the init's umask left as it was
    groups are exactly those of the config      setgroups left out
"""

from __future__ import annotations

import json
import os
import pathlib
import stat
import subprocess
import sys
from typing import Any

import pytest

from tests.integration.attack_scene import leaking, lean
from tests.integration.conftest import Bundle, Run

QUICK = "--cgroup-manager=disabled"
# of a shell, seen by a child of its: the shell holds nothing open that it was not given
DESCRIPTORS = "ls /proc/1/fd; true"
# a container's own /proc/self/fd/N, for as many N as a runtime ever had open
NUMBERS = range(65)


def output_of(*command: str | os.PathLike[str]) -> subprocess.CompletedProcess[str]:
    """Run a command that leaves no process behind."""
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)


@pytest.mark.parametrize("preserved", [0, 3])
def test_only_what_is_kept_reaches_the_program(
    runtime: str, bundle: Bundle, container_id: str, tmp_path: pathlib.Path, preserved: int
) -> None:
    lean(bundle).sh(DESCRIPTORS)
    run: list[Any] = [runtime, QUICK, "run", "--preserve-fds", str(preserved), "--bundle", bundle.path, container_id]
    done = output_of(*leaking(*run, source=tmp_path, first=3, last=200))
    assert (done.stdout.split(), done.stderr) == ([str(fd) for fd in range(3 + preserved)], "")


def test_more_is_kept_than_is_there(runtime: str, bundle: Bundle, container_id: str, tmp_path: pathlib.Path) -> None:
    # what the init opens for itself must not pass for something to be kept
    lean(bundle).sh("for fd in $(ls /proc/1/fd); do readlink /proc/1/fd/$fd; done | tail -n +4; true")
    run: list[Any] = [runtime, QUICK, "run", "--preserve-fds", "20", "--bundle", bundle.path, container_id]
    done = output_of(*leaking(*run, source=tmp_path, first=3, last=4))
    assert done.stdout.splitlines() in ([], 2 * [str(tmp_path)])


def test_nothing_leaked_waits_in_the_init(
    run: Run, runtime: str, bundle: Bundle, container_id: str, tmp_path: pathlib.Path
) -> None:
    lean(bundle)
    create: list[Any] = [runtime, QUICK, "create", "--bundle", bundle.path, container_id]
    with open(os.devnull, "r+b") as null:
        command = leaking(*create, source=tmp_path, first=3, last=200)
        subprocess.run(command, stdin=null, stdout=null, stderr=null, check=True, timeout=20)
    pid = json.loads(run("state", container_id, check=True).stdout)["pid"]
    held = [os.readlink(path) for path in pathlib.Path(f"/proc/{pid}/fd").iterdir()]
    assert len(held) >= 3
    assert str(tmp_path) not in held


@pytest.mark.parametrize("way", ["/proc/self/fd/{}", "/way/{}", "/way/{}/.", "/proc/thread-self/fd/{}"])
def test_no_descriptor_is_a_working_directory(
    runtime: str, bundle: Bundle, container_id: str, tmp_path: pathlib.Path, way: str
) -> None:
    (bundle.rootfs / "way").symlink_to("/proc/self/fd")
    lean(bundle).args("pwd")
    script = (
        "import json, os, subprocess, sys\n"
        "path, way, run = sys.argv[1], sys.argv[2], sys.argv[3:]\n"
        "config = json.load(open(path))\n"
        f"for number in range({NUMBERS.stop}):\n"
        "    config['process']['cwd'] = way.format(number)\n"
        "    json.dump(config, open(path, 'w'))\n"
        "    done = subprocess.run(run, close_fds=False, capture_output=True, stdin=-3, text=True, timeout=10)\n"
        "    if done.returncode == 0: print(number, done.stdout)\n"
    )
    command: list[Any] = [sys.executable, "-ISc", script, bundle.path / "config.json", way]
    run: list[Any] = [runtime, QUICK, "run", "--bundle", bundle.path, container_id]
    done = output_of(*leaking(*command, *run, source=tmp_path, first=3, last=NUMBERS.stop))
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("ignored", ["all but SIGCHLD", "SIGCHLD"])
def test_signals_are_as_they_are_by_default(runtime: str, bundle: Bundle, container_id: str, ignored: str) -> None:
    if ignored == "SIGCHLD" and os.path.basename(runtime) == "crun":
        pytest.skip("crun waits for ever for children that the kernel has collected")
    lean(bundle).args("grep", "^Sig[BI]", "/proc/self/status")
    script = (
        "import os, signal, sys\n"
        "all = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}\n"
        "for number in [signal.SIGCHLD] if sys.argv[1] == 'SIGCHLD' else all:\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
        "os.execv(sys.argv[2], sys.argv[2:])\n"
    )
    command: list[Any] = [
        sys.executable,
        "-c",
        script,
        ignored,
        runtime,
        QUICK,
        "run",
        "--bundle",
        bundle.path,
        container_id,
    ]
    done = output_of(*command)
    assert done.returncode == 0, done
    assert dict(line.split(":\t") for line in done.stdout.splitlines()) == {"SigBlk": "0" * 16, "SigIgn": "0" * 16}


# What the runtime makes, and the mode it has whatever the umask of who calls.
MODES = {
    "dev/null": 0o666,
    "made": 0o755,
    "made/on/the": 0o755,
    "made/on/the/way": 0o755,
    "made/file": 0o644,
}


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_the_umask_is_not_the_callers(
    run: Run, bundle: Bundle, container_id: str, tmp_path: pathlib.Path, umask: int
) -> None:
    lean(bundle)
    (tmp_path / "source").touch()
    kept = [entry for entry in bundle.config["mounts"] if not entry["destination"].startswith("/dev")]
    bundle.config["mounts"] = [
        *kept,
        {"destination": "/made/on/the/way", "type": "bind", "source": str(bundle.rootfs / "etc"), "options": ["bind"]},
        {"destination": "/made/file", "type": "bind", "source": str(tmp_path / "source"), "options": ["bind"]},
    ]
    bundle.sh("umask; touch /tmp/workload")
    state = tmp_path / "state"
    before = os.umask(umask)
    try:
        arguments = ("--pid-file", tmp_path / "pid", "--bundle", bundle.path, container_id)
        done = run(QUICK, "--root", state, "run", "--keep", *arguments, check=True)
    finally:
        os.umask(before)
    assert done.stdout == "0022\n"
    modes = {name: stat.S_IMODE((bundle.rootfs / name).stat().st_mode) for name in MODES}
    assert modes == MODES
    assert stat.S_IMODE((bundle.rootfs / "tmp/workload").stat().st_mode) == 0o644
    ours = [state, *state.rglob("*"), tmp_path / "pid"]
    assert [path for path in ours if path.stat().st_mode & 0o022] == []
    run("--root", state, "delete", "--force", container_id, check=True)


@pytest.mark.parametrize("groups", [[], [5], [7, 6, 65534]])
@pytest.mark.parametrize("uid", [0, 1000])
def test_groups_are_exactly_those_of_the_config(
    runtime: str, bundle: Bundle, container_id: str, uid: int, groups: list[int]
) -> None:
    lean(bundle)
    bundle.config["process"]["user"] = {"uid": uid, "gid": 9, "additionalGids": groups}
    bundle.args("grep", "-E", "^(Uid|Gid|Groups):", "/proc/self/status")
    callers = ["setpriv", "--groups", "10,20,1000,4242"]
    done = output_of(*callers, runtime, QUICK, "run", "--bundle", bundle.path, container_id)
    found = {line.split()[0]: [int(number) for number in line.split()[1:]] for line in done.stdout.splitlines()}
    assert found == {"Uid:": 4 * [uid], "Gid:": 4 * [9], "Groups:": sorted(groups)}
