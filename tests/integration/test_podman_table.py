"""What people ask podman for, as seen from inside the container: one row an option. Lifecycles are in test_podman.py."""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import pytest

from tests.integration.conftest import Podman


class Asked(NamedTuple):
    """Options, where DIR is a directory with a file; a script of the shell; what it prints; how it exits."""

    options: str
    script: str
    prints: str
    status: int = 0


STATUS = "grep -E '^{}:' /proc/self/status | tr -d '\\t'"
NONE = "0000000000000000"

TABLE = {
    "exits": Asked("", "exit 42", "", 42),
    "exits with the most": Asked("", "exit 255", "", 255),
    "env": Asked("-e A=b --env=C", "echo $A-$C-$container", "b--podman\n"),
    "env with spaces": Asked("-e A=b=c", 'echo "$A"', "b=c\n"),
    "workdir": Asked("-w /tmp", "pwd", "/tmp\n"),
    "workdir that is not there": Asked("-w /root", "pwd", "/root\n"),
    "hostname": Asked("--hostname web.example", "hostname; grep -c web.example /etc/hostname", "web.example\n1\n"),
    "volume": Asked("-v DIR:/data", "cat /data/file; echo new >/data/new; cat /data/new", "bound\nnew\n"),
    "volume, read-only": Asked("-v DIR:/data:ro", "cat /data/file; true >/data/new || echo no", "bound\nno\n"),
    "volume, relabelled": Asked("-v DIR:/data:z,rshared", "cat /data/file", "bound\n"),
    "volume, nothing executed": Asked("-v DIR:/data:noexec", "/data/run || echo no", "no\n"),
    "one file": Asked("-v DIR/file:/etc/some/file", "cat /etc/some/file", "bound\n"),
    "a volume below a volume": Asked("-v DIR:/data -v DIR/file:/data/other", "cat /data/other", "bound\n"),
    "mount": Asked("--mount type=bind,src=DIR,dst=/m,ro", "cat /m/file; true >/m/new || echo no", "bound\nno\n"),
    "tmpfs": Asked("--tmpfs /t:size=1m,notmpcopyup", "stat -fc %T /t; df -k /t | tail -1 | tr -s ' ' | cut -d' ' -f2", "tmpfs\n1024\n"),
    "shm": Asked("--shm-size 1m", "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2", "1024\n"),
    "read-only": Asked("--read-only --read-only-tmpfs=false", "true >/new || echo no; echo >/dev/null", "no\n"),
    "capabilities dropped": Asked("--cap-drop all", STATUS.format("Cap(Eff|Prm|Bnd)"), f"CapPrm:{NONE}\nCapEff:{NONE}\nCapBnd:{NONE}\n"),
    "one capability kept": Asked("--cap-drop all --cap-add CHOWN", STATUS.format("CapEff"), f"CapEff:{NONE[1:]}1\n"),
    "user": Asked("--user 1000:50", "id -u; id -g; id -G", "1000\n50\n50\n"),
    "user without capabilities": Asked("--user 1000", STATUS.format("CapEff"), f"CapEff:{NONE}\n"),
    "umask": Asked("--umask 0077", "umask", "0077\n"),
    "groups": Asked("--group-add 77", "id -G", "0 77\n"),
    "limits of a process": Asked("--ulimit nofile=100:200 --ulimit nproc=100", "ulimit -Sn; ulimit -Hn", "100\n200\n"),
    "kernel parameter": Asked("--sysctl kernel.msgmax=4096", "cat /proc/sys/kernel/msgmax", "4096\n"),
    "no new privileges": Asked("--security-opt no-new-privileges", STATUS.format("NoNewPrivs"), "NoNewPrivs:1\n"),
    "filtered": Asked("", STATUS.format("Seccomp"), "Seccomp:2\n"),
    "not filtered": Asked("--security-opt seccomp=unconfined", STATUS.format("Seccomp"), "Seccomp:0\n"),
    "masked": Asked("--security-opt mask=/proc/version", "wc -c </proc/version; ls /proc/acpi 2>&1 | wc -l", "0\n0\n"),
    "unmasked": Asked("--security-opt unmask=/proc/keys", "wc -l </proc/keys | grep -qv '^0' && echo shown", "shown\n"),
    "a device": Asked("--device /dev/null:/dev/nothing:rw", "echo >/dev/nothing && stat -c %F /dev/nothing", "character special file\n"),
    "first process": Asked("", "echo $$", "1\n"),
    "pids of the machine": Asked("--pid=host", "test $$ -gt 1 && cat /proc/1/comm", "systemd\n"),
    "no network": Asked("", "ls /sys/class/net", "lo\n"),
    "ids mapped": Asked("--uidmap 0:100000:1000 --gidmap 0:100000:1000", "tr -s ' ' </proc/self/uid_map", " 0 100000 1000\n"),
    "score": Asked("--oom-score-adj 500", "cat /proc/self/oom_score_adj", "500\n"),
    "stop signal and labels": Asked("--stop-signal USR1 --label a=b --annotation c=d", "echo ran", "ran\n"),
    "stdout and stderr": Asked("", "echo out; echo err >&2", "out\n"),
}  # fmt: skip


@pytest.fixture
def directory(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return a directory to bind, with what the scripts look for."""
    for above in (tmp_path, *tmp_path.parents):
        if above.stat().st_mode & 0o11 != 0o11:
            above.chmod(0o755)
    (tmp_path / "file").write_text("bound\n")
    (tmp_path / "run").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "run").chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("name", TABLE)
def test_run(podman: Podman, directory: pathlib.Path, name: str) -> None:
    asked = TABLE[name]
    options = asked.options.replace("DIR", str(directory)).split()
    done = podman("run", "--rm", *options, podman.image, "sh", "-c", asked.script, check=False)
    assert (done.stdout, done.returncode) == (asked.prints, asked.status), done.stderr
