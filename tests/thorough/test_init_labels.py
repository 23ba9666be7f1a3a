"""What the init writes to label the program and its keys, seen in a made-up procfs; a machine with SELinux is another one."""

from __future__ import annotations

import errno
import pathlib

import pytest

from pyoci_systemd.plan import ops
from pyoci_systemd.plan.ops import Op
from tests.unit.player import ERROR, Reply, execute, play, private

LABEL = "system_u:system_r:container_t:s0:c1,c2"

WRITES: list[tuple[Op, str, str]] = [
    (ops.SelinuxLabel(LABEL), "exec", LABEL),
    (ops.KeyLabel(LABEL), "keycreate", LABEL),
    (ops.AppArmor("exec docker-default"), "apparmor/exec", "exec docker-default"),
    (ops.AppArmor("stack inner"), "apparmor/exec", "stack inner"),
]


def instead_of_proc(attributes: pathlib.Path) -> tuple[str, ...]:
    """Return the command that puts a directory in the place of /proc, but for what belongs to the process itself."""
    fake = attributes.parents[1]
    (fake / "real").mkdir()
    # the rest is for the sanitizer
    for name in ("fd", "exe", "maps", "cmdline", "environ", "task", "status"):
        (fake / "self" / name).symlink_to(f"{fake}/real/self/{name}")
    script = f'mount --rbind /proc {fake}/real && mount --rbind {fake} /proc && exec "$@"'
    return (*private(), "sh", "-c", script, "sh")


@pytest.mark.parametrize(("op", "name", "text"), WRITES, ids=lambda value: getattr(value, "name", None))
def test_label_is_written_where_the_module_reads_it(op: Op, name: str, text: str, tmp_path: pathlib.Path) -> None:
    attributes = tmp_path / "proc/self/attr"
    (attributes / "apparmor").mkdir(parents=True)
    for each in ("exec", "keycreate", "apparmor/exec"):
        (attributes / each).write_text("")
    replies, ended = play(ops.HostProc(), op, *execute("echo", "runs"), wrap=instead_of_proc(attributes))
    assert (replies, ended) == ([], (0, b"runs\n"))
    written = {each: (attributes / each).read_text() for each in ("exec", "keycreate", "apparmor/exec")}
    assert {each: found for each, found in written.items() if found} == {name: text}


@pytest.mark.parametrize(("op", "name", "text"), WRITES[:2], ids=lambda value: getattr(value, "name", None))
def test_label_is_not_written_to_what_is_mounted_over_it(op: Op, name: str, text: str, tmp_path: pathlib.Path) -> None:
    """CVE-2019-16884, CVE-2025-52881."""
    fake = tmp_path / "fake"
    fake.write_text("")
    script = f'mount --bind {fake} /proc/self/attr/{name} && exec "$@"'
    # `mount` is a child of the shell's: what it covers must be named by the shell's own number
    script = script.replace("/proc/self", "/proc/$$")
    replies, ended = play(ops.HostProc(), op, *execute("echo", "runs"), wrap=(*private(), "sh", "-c", script, "sh"))
    assert (replies, ended) == ([Reply(ERROR, 1, errno.EXDEV, 0)], (1, b""))
    assert fake.read_text() == ""


def test_machine_without_the_module_says_so(tmp_path: pathlib.Path) -> None:
    attributes = tmp_path / "proc/self/attr"
    attributes.mkdir(parents=True)
    replies, ended = play(ops.HostProc(), ops.AppArmor("exec x"), wrap=instead_of_proc(attributes))
    assert (replies, ended) == ([Reply(ERROR, 1, errno.ENOENT, 0)], (1, b""))
