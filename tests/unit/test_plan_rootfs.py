"""The root filesystem: the order is the security argument, so each of its sentences is a test."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci_systemd.plan import ops, rootfs
from pyoci_systemd.plan.handles import Handles
from pyoci_systemd.spec.defaults import default_config
from tests.unit.plans import config, facts, names, request

UNBINDABLE, PRIVATE, SLAVE, SHARED, REC = 1 << 17, 1 << 18, 1 << 19, 1 << 20, 1 << 14
SPACES = [{"type": kind} for kind in ("mount", "network", "cgroup")]


def planned(made: Any, host: Any = None, **asked: Any) -> list[ops.Op]:
    return rootfs.plan(made, host or facts(), request(**asked), Handles(1, []))


def full() -> Any:
    """A config with something of each kind."""
    return config(
        linux={
            "namespaces": SPACES,
            "maskedPaths": ["/proc/kcore", "/proc/keys"],
            "readonlyPaths": ["/proc/sys"],
            "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}],
            "rootfsPropagation": "shared",
        },
        process={"terminal": True, "cwd": "/srv"},
        mounts=[
            {"destination": "/proc", "type": "proc"},
            {"destination": "/dev", "type": "tmpfs"},
            {"destination": "/sys/fs/cgroup", "type": "cgroup"},
            {"destination": "/last", "type": "tmpfs"},
        ],
        root={"path": "rootfs", "readonly": True},
    )


def positions(made: list[ops.Op], *wanted: type[ops.Op]) -> list[int]:
    return [at for at, op in enumerate(made) if isinstance(op, wanted)]


def test_whole_order() -> None:
    assert names(planned(full())) == [
        "private_proc", "loopback", "propagation", "rootfs",
        "mount", "mount",
        "await", "new_cgroup_namespace",
        "mount", "mount",
        *["mknod"] * 7, *["symlink"] * 6,
        "console", "working_directory",
        "read_only", "mask", "mask",
        "read_only_root", "pivot_root", "propagation",
    ]  # fmt: skip


@pytest.mark.parametrize("made", [full(), default_config()], ids=["full", "default"])
def test_why_it_is_safe(made: Any) -> None:
    made = planned(made)
    # the private procfs comes before the rootfs is touched
    (private,), (root,) = positions(made, ops.PrivateProc), positions(made, ops.Rootfs)
    touching = positions(
        made,
        ops.Mount,
        ops.Bind,
        ops.Remount,
        ops.Mknod,
        ops.Symlink,
        ops.Mask,
        ops.ReadOnly,
        ops.Console,
    )
    assert private < root < min(touching)
    # nothing that is mounted gets out to the host: first of all the propagation is cut
    assert positions(made, ops.Propagation)[0] < root
    # devices and links come after the mounts, for they live on the container's own /dev
    mounted = positions(made, ops.Mount, ops.Bind, ops.Remount)
    made_in_dev = positions(made, ops.Mknod, ops.Symlink, ops.Console)
    assert max(mounted) < min(made_in_dev)
    # masked and read-only paths come after everything that could cover them
    covered = positions(made, ops.Mask, ops.ReadOnly)
    assert max(made_in_dev) < min(covered)
    # a read-only tree is cloned: bound after a mask below it, it would still carry it, but not the reverse
    assert max(positions(made, ops.ReadOnly)) < min(positions(made, ops.Mask))
    # the read-only root comes after everything that makes a mountpoint
    (read_only,), (pivot,) = positions(made, ops.ReadOnlyRoot), positions(made, ops.PivotRoot)
    assert max(touching) < read_only < pivot


PROC, SYSFS = 0x9FA0, 0x62656572


@pytest.mark.parametrize(("path", "mounts", "base", "magic"), [
    ("/proc/keys", [("/proc", "proc", [])], "/proc", PROC),
    ("/proc/keys", [("proc/", "proc", None)], "/proc", PROC),
    ("/sys/firmware", [("/proc", "proc", []), ("/sys", "sysfs", ["ro"])], "/sys", SYSFS),
    ("/proc", [("/proc", "proc", [])], "", 0),  # the filesystem itself is found as other paths are
    ("/process", [("/proc", "proc", [])], "", 0),
    ("/proc/keys", [], "", 0),
    ("/proc/keys", [("/proc", "tmpfs", [])], "", 0),
    ("/sys/firmware", [("/sys", "sysfs", ["rbind"])], "", 0),  # whatever is bound there
    ("/proc/keys", [("/proc", "proc", []), ("/proc", "bind", ["bind"])], "", 0),
    ("/proc/keys", [("/proc", "tmpfs", []), ("/proc", "proc", [])], "/proc", PROC),
])  # fmt: skip
def test_where_a_hidden_path_is_looked_for(path: str, mounts: list[Any], base: str, magic: int) -> None:
    entries = [
        {"destination": where, "type": kind, "source": "/x", "options": options} for where, kind, options in mounts
    ]
    made = planned(config(linux={"maskedPaths": [path], "readonlyPaths": [path]}, mounts=entries))
    hidden = [op for op in made if isinstance(op, (ops.Mask, ops.ReadOnly))]
    assert [(op.path, op.base, op.magic) for op in hidden] == 2 * [(path, base, magic)]


def test_the_scope_is_awaited_once_and_as_late_as_can_be() -> None:
    made = planned(full())
    (gate,) = positions(made, ops.Await)
    assert made[gate] == ops.Await(0)
    assert made[gate + 1] == ops.NewCgroupNamespace()
    assert isinstance(made[gate + 2], ops.Mount)
    assert made[gate + 2].type == "cgroup2"  # type: ignore[attr-defined]


def test_without_a_mount_of_cgroups_the_wait_comes_after_all_mounts() -> None:
    made = full()
    del made["mounts"][2]
    assert names(planned(made))[4:9] == ["mount", "mount", "mount", "await", "new_cgroup_namespace"]


@pytest.mark.parametrize("kind", [None, "/proc/7/ns/cgroup"])
def test_cgroup_namespace_only_when_a_new_one_is_asked_for(kind: str | None) -> None:
    made = full()
    made["linux"]["namespaces"] = [{"type": "mount"}, *([{"type": "cgroup", "path": kind}] if kind else [])]
    assert "new_cgroup_namespace" not in names(planned(made))
    assert "await" in names(planned(made))


def test_loopback_only_in_a_network_of_its_own() -> None:
    made = full()
    assert "loopback" in names(planned(made))
    made["linux"]["namespaces"] = [{"type": "mount"}, {"type": "network", "path": "/run/netns/x"}]
    assert "loopback" not in names(planned(made))
    made["linux"]["namespaces"] = [{"type": "mount"}]
    assert "loopback" not in names(planned(made))


# rootfsPropagation: of the mounts of the host as the container gets them, and of its root at the end
PROPAGATION = {
    None: (SLAVE | REC, None),
    "": (SLAVE | REC, None),
    "slave": (SLAVE | REC, None),
    "rslave": (SLAVE | REC, None),
    "private": (PRIVATE | REC, None),
    "rprivate": (PRIVATE | REC, None),
    "shared": (SLAVE | REC, SHARED),
    "rshared": (SLAVE | REC, SHARED | REC),
    "unbindable": (SLAVE | REC, UNBINDABLE),
    "runbindable": (SLAVE | REC, UNBINDABLE | REC),
}


@pytest.mark.parametrize("word", PROPAGATION)
def test_propagation(word: str | None) -> None:
    first, last = PROPAGATION[word]
    made = planned(config(linux={"namespaces": SPACES, **({} if word is None else {"rootfsPropagation": word})}))
    found = [made[at] for at in positions(made, ops.Propagation)]
    assert found == [ops.Propagation(first), *([] if last is None else [ops.Propagation(last)])]
    if last is not None:  # the root's own, not the host's: after the change of root
        assert positions(made, ops.Propagation)[-1] > positions(made, ops.PivotRoot)[0]


def test_no_pivot() -> None:
    assert "change_root" in names(planned(full(), no_pivot=True))
    assert "pivot_root" not in names(planned(full(), no_pivot=True))


@pytest.mark.parametrize(
    ("path", "expected"), [("rootfs", "/b/rootfs"), ("/abs", "/abs"), ("./r", "/b/./r"), ("../r", "/b/../r")]
)
def test_root_path(path: str, expected: str) -> None:
    assert rootfs.root_path(config(root={"path": path}), "/b") == expected
    assert ops.Rootfs(expected) in planned(config(root={"path": path}))


def test_root_is_writable_unless_asked() -> None:
    for root in ({"path": "r"}, {"path": "r", "readonly": False}):
        assert "read_only_root" not in names(planned(config(root=root)))


def test_console() -> None:
    sized = config(process={"terminal": True, "consoleSize": {"height": 25, "width": 80}})
    assert ops.Console(80, 25, 1) in planned(sized)
    assert ops.Console(0, 0, 1) in planned(config(process={"terminal": True}))
    assert "console" not in names(planned(config(process={"consoleSize": {"height": 25, "width": 80}})))  # PRC2


# -- devices

DEFAULTS = {
    "/dev/null": (1, 3), "/dev/zero": (1, 5), "/dev/full": (1, 7), "/dev/random": (1, 8), "/dev/urandom": (1, 9),
    "/dev/tty": (5, 0),
}  # fmt: skip
LINKS = {
    "/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1",
    "/dev/stderr": "/proc/self/fd/2", "/dev/core": "/proc/kcore", "/dev/ptmx": "pts/ptmx",
}  # fmt: skip


def test_default_devices_and_links() -> None:  # DEV3, LX1
    made = planned(config())
    nodes = [op for op in made if isinstance(op, ops.Mknod)]
    assert {op.path: (op.major, op.minor) for op in nodes} == DEFAULTS
    assert all((op.mode, op.uid, op.gid) == (0o020666, 0, 0) for op in nodes)
    assert {op.path: op.target for op in made if isinstance(op, ops.Symlink)} == LINKS


@pytest.mark.parametrize(("device", "expected"), [
    ({"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}, (0o020666, 10, 229, 0, 0)),
    ({"path": "/dev/u", "type": "u", "major": 10, "minor": 229}, (0o020666, 10, 229, 0, 0)),
    ({"path": "/dev/sda", "type": "b", "major": 8, "minor": 0, "fileMode": 0o600, "uid": 1, "gid": 6}, (0o060600, 8, 0, 1, 6)),
    ({"path": "/dev/queue", "type": "p", "fileMode": 0o644}, (0o010644, 0, 0, 0, 0)),
    # podman writes the type into the mode as well
    ({"path": "/dev/x", "type": "c", "major": 1, "minor": 1, "fileMode": 0o60640}, (0o020640, 1, 1, 0, 0)),
    ({"path": "/dev/x", "type": "c", "major": 1, "minor": 1, "fileMode": 0}, (0o020000, 1, 1, 0, 0)),
    ({"path": "/dev/x", "type": "c", "major": 1, "minor": 1, "fileMode": 0o4755}, (0o024755, 1, 1, 0, 0)),
])  # fmt: skip
def test_device(device: Any, expected: tuple[int, ...]) -> None:
    assert ops.Mknod(device["path"], *expected) in planned(config(linux={"namespaces": SPACES, "devices": [device]}))


def test_a_device_of_the_config_replaces_the_default_one() -> None:
    null = {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 7}
    made = planned(config(linux={"namespaces": SPACES, "devices": [null]}))
    found = [op for op in made if isinstance(op, ops.Mknod) and op.path == "/dev/null"]
    assert found == [ops.Mknod("/dev/null", 0o020600, 1, 3, 7, 0)]


@pytest.mark.parametrize(("space", "host"), [
    ([{"type": "mount"}, {"type": "user"}], facts()),
    ([{"type": "mount"}, {"type": "user", "path": "/u"}], facts()),
    ([{"type": "mount"}], facts(in_user_namespace=True)),
])  # fmt: skip
def test_in_a_user_namespace_the_host_s_nodes_are_bound(space: Any, host: Any) -> None:
    """mknod(2) of anything but a fifo is EPERM there."""
    devices = [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}, {"path": "/dev/q", "type": "p"}]
    handles = Handles(1, [])
    made = rootfs.plan(config(linux={"namespaces": space, "devices": devices}), host, request(), handles)
    bound = [op for op in made if isinstance(op, ops.Bind)]
    assert {op.target for op in bound} == {op.source for op in bound} == {*DEFAULTS, "/dev/fuse"}
    # each is taken in the runtime's namespaces, and what stands there must be that device
    assert [(op.source, number) for number, op in enumerate(handles.sources, 1)] == [  # type: ignore[attr-defined]
        (op.source, op.tree) for op in bound
    ]
    assert ("/dev/fuse", 0o020000, 10, 229) in handles.devices
    assert [op.path for op in made if isinstance(op, ops.Mknod)] == ["/dev/q"]
