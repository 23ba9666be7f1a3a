"""SELinux and AppArmor: who is confined how, what is labelled, and that nobody runs without what was asked."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci_systemd.errors import SpecError
from pyoci_systemd.plan import labels, ops, rootfs
from pyoci_systemd.plan.handles import Handles
from tests.unit.plans import config, facts, request

LABEL = "system_u:object_r:container_file_t:s0:c1,c2"


def confined(host: str, **asked: Any) -> list[ops.Op]:
    return labels.program(config(process=asked)["process"], facts(apparmor=host, selinux=True))


@pytest.mark.parametrize(("host", "profile", "command"), [
    ("unconfined", "docker-default", "exec docker-default"),
    # a profile may attach itself to a program by its path: unconfined must be said
    ("unconfined", "unconfined", "exec unconfined"),
    # Ubuntu's profiles that confine nothing
    ("crun (unconfined)", "docker-default", "exec docker-default"),
    # a runtime that is confined itself, as in a container: no way out
    ("docker-default (enforce)", "inner", "stack inner"),
    ("lxc-container//&:ns:unconfined (mixed)", "inner", "stack inner"),
    ("unconfined_foo (enforce)", "inner", "stack inner"),
    ("unconfined_foo", "inner", "stack inner"),
    ("x (complain)", "unconfined", "stack unconfined"),
])  # fmt: skip
def test_apparmor(host: str, profile: str, command: str) -> None:
    assert confined(host, apparmorProfile=profile) == [ops.AppArmor(command)]


def test_selinux() -> None:
    assert confined("", selinuxLabel="u:r:t:s0") == [ops.SelinuxLabel("u:r:t:s0")]


def test_nothing_asked() -> None:
    assert confined("unconfined", apparmorProfile="", selinuxLabel="") == []
    # it is unconfined already
    assert confined("", apparmorProfile="unconfined") == []


@pytest.mark.parametrize(("asked", "message"), [
    ({"process": {"apparmorProfile": "x"}}, "process.apparmorProfile: AppArmor is not enabled on this machine"),
    ({"process": {"selinuxLabel": "x"}}, "process.selinuxLabel: SELinux is not enabled on this machine"),
    ({"linux": {"mountLabel": "x"}}, "linux.mountLabel: SELinux is not enabled on this machine"),
])  # fmt: skip
def test_machine_without(asked: Any, message: str) -> None:
    made = config(**asked)
    with pytest.raises(SpecError) as caught:
        labels.program(made["process"], facts()), labels.option(made, facts())
    assert caught.value.message == f"config.json: {message}"


def test_keyring_is_labelled_for_the_program() -> None:
    made: Any = {"selinuxLabel": "u:r:t:s0"}
    assert labels.keyring(made, facts(selinux=True)) == [ops.KeyLabel("u:r:t:s0")]
    assert labels.keyring({"cwd": "/", "args": []}, facts(selinux=True)) == []


# -- mountLabel


def mounted(kind: str, user: bool = False, options: Any = (), annotations: Any = None, label: str = LABEL) -> Any:
    spaces = [{"type": "mount"}, *([{"type": "user"}] if user else [])]
    made = config(
        linux={"namespaces": spaces, "mountLabel": label, "maskedPaths": ["/proc/acpi"]},
        mounts=[{"destination": "/m", "type": kind, "source": "s", "options": list(options)}],
        annotations=annotations or {},
    )
    steps = rootfs.plan(made, facts(selinux=True), request(), Handles(1, []))
    return next(op for op in steps if getattr(op, "target", "") == "/m"), next(
        op for op in steps if isinstance(op, ops.Mask)
    )


@pytest.mark.parametrize(("kind", "first", "user"), [
    ("tmpfs", True, True), ("ramfs", True, True), ("devpts", True, True), ("overlay", True, True),
    # a user namespace may not (EACCES)
    ("ext4", True, False),
    # the kernel's policy says what is in them
    ("proc", False, False), ("sysfs", False, False), ("cgroup2", False, False), ("cgroup", False, False),
    # takes no option: see below
    ("mqueue", False, False),
])  # fmt: skip
def test_new_filesystems_are_labelled(kind: str, first: bool, user: bool) -> None:
    for labelled, in_user_namespace in ((first, False), (user, True)):
        op, mask = mounted(kind, in_user_namespace)
        assert (f"context={LABEL}" in op.data) is labelled
        assert mask.data == [f"context={LABEL}"]


def test_what_is_bound_keeps_its_labels() -> None:
    assert isinstance(mounted("bind")[0], ops.Bind)


def test_no_label_no_option() -> None:
    op, mask = mounted("tmpfs", label="")
    assert (op.data, mask.data) == ([], [])


@pytest.mark.parametrize("word", ["context", "fscontext", "defcontext", "rootcontext"])
def test_the_mount_s_own_label_wins(word: str) -> None:
    assert mounted("tmpfs", options=["size=1m", f"{word}=a:b:c:s0"])[0].data == ["size=1m", f"{word}=a:b:c:s0"]


@pytest.mark.parametrize("word", ["context", "fscontext", "defcontext", "rootcontext"])
def test_kind_of_context(word: str) -> None:  # F113
    annotations = {"run.oci.mount_context_type": word}
    assert mounted("tmpfs", annotations=annotations)[0].data == [f"{word}={LABEL}"]


def test_unknown_kind_of_context() -> None:
    with pytest.raises(SpecError) as caught:
        mounted("tmpfs", annotations={"run.oci.mount_context_type": "x"})
    assert caught.value.message == (
        "config.json: annotations: run.oci.mount_context_type: `x` is not one of "
        "context, fscontext, defcontext, rootcontext"
    )


def test_message_queues_are_labelled_by_name() -> None:
    made = config(
        linux={"mountLabel": LABEL},
        mounts=[{"destination": "/dev/mqueue", "type": "mqueue"}, {"destination": "/m", "type": "tmpfs"}],
    )
    assert labels.message_queues(made, facts(selinux=True)) == [ops.LabelFile("/dev/mqueue", LABEL)]
