"""SELinux and AppArmor: how the program is confined, and how what is made for it is labelled."""

from __future__ import annotations

from ..errors import SpecError
from . import namespaces, ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config, Process
    from .facts import Facts

CONTEXTS = ("context", "fscontext", "defcontext", "rootcontext")  # mount(8), "context="

# proc and sysfs are labelled by the policy, file by file; the others have one superblock, made before we mount it
_NOT_BY_OPTION = ("proc", "sysfs", "cgroup", "cgroup2", "mqueue")
# all that the kernel lets be labelled from a user namespace (selinux_set_mnt_opts)
_BY_OPTION_IN_USER_NAMESPACE = ("tmpfs", "ramfs", "devpts", "overlay")


def program(process: Process, facts: Facts) -> list[ops.Op]:
    """Return the ops that say how the program is confined from its execve on.

    Before noNewPrivileges, which forbids AppArmor most changes. Raises SpecError when the machine cannot confine it so:
    to run it without would be a hole.
    """
    result: list[ops.Op] = []
    label, profile = process.get("selinuxLabel"), process.get("apparmorProfile")
    if label:
        if not facts.selinux:
            raise SpecError("config.json: process.selinuxLabel: SELinux is not enabled on this machine")
        result.append(ops.SelinuxLabel(label))
    if profile and facts.apparmor:
        free = facts.apparmor == "unconfined" or facts.apparmor.endswith(" (unconfined)")
        # who is confined itself, as in a container, can only be confined further
        result.append(ops.AppArmor(f"{'exec' if free else 'stack'} {profile}"))
    elif profile and profile != "unconfined":
        raise SpecError("config.json: process.apparmorProfile: AppArmor is not enabled on this machine")
    return result


def procfs(process: Process, facts: Facts) -> list[ops.Op]:
    """Return the op that a process which joins needs for labels: the container's own procfs may be anything."""
    return [ops.HostProc()] if program(process, facts) else []


def keyring(process: Process, facts: Facts) -> list[ops.Op]:
    """Return the op that labels the keyring to be made, so that the program may use it. The execve ends it."""
    label = process.get("selinuxLabel")
    return [ops.KeyLabel(label)] if label and facts.selinux else []


def mount_label(config: Config, facts: Facts) -> str:
    """Return linux.mountLabel. Raises SpecError on a machine that has no labels."""
    label = config.get("linux", {}).get("mountLabel") or ""
    if label and not facts.selinux:
        raise SpecError("config.json: linux.mountLabel: SELinux is not enabled on this machine")
    return label


def option(config: Config, facts: Facts) -> list[str]:
    """Return the mount option that labels a new filesystem, [] when nothing is to be labelled.

    fsconfig(2) takes each value whole: the commas of a category list need no quotes, and quotes would be taken for a
    part of the label. Raises SpecError.
    """
    label = mount_label(config, facts)
    word = config.get("annotations", {}).get("run.oci.mount_context_type", "context")
    if word not in CONTEXTS:
        raise SpecError(
            f"config.json: annotations: run.oci.mount_context_type: `{word}` is not one of {', '.join(CONTEXTS)}"
        )
    return [f"{word}={label}"] if label else []


def label_mounts(listed: list[ops.Op], config: Config, facts: Facts) -> list[ops.Op]:
    """Return the mounts with the label on each new filesystem that can have one and is not given another."""
    extra = option(config, facts)
    in_user_namespace = "user" in namespaces.wanted(config)
    for op in listed if extra else ():
        if not isinstance(op, ops.Mount) or op.type in _NOT_BY_OPTION:
            continue
        if in_user_namespace and op.type not in _BY_OPTION_IN_USER_NAMESPACE:
            continue
        if not any(word.partition("=")[0] in CONTEXTS for word in op.data):
            op.data = [*op.data, *extra]
    return listed


def message_queues(config: Config, facts: Facts) -> list[ops.Op]:
    """Return the ops that label message queues: their filesystem is the ipc namespace's, and takes no option."""
    label = mount_label(config, facts)
    queues = [mount for mount in config.get("mounts") or () if mount.get("type") == "mqueue"] if label else []
    return [ops.LabelFile(mount["destination"], label) for mount in queues]
