"""Entering a container that is there: `exec`, and the hooks that run inside."""

from __future__ import annotations

from . import console, labels, namespaces, ops, process, scheduling
from .words import STATE_GATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..spec.types import Config, Process
    from .facts import Door, Facts


def plan(
    joining: Process,
    config: Config,
    facts: Facts,
    door: Door,
    program: bytes,
    flags: int,
    keyring: str = "",
    own_pid: Sequence[str] = (),
) -> tuple[list[ops.Op], list[str]]:
    """Return the ops of a process that joins the container of `config`, and warnings.

    `program` is the compiled seccomp filter, empty for none: what confines the container confines whoever joins it.
    `keyring` is the name of the container whose session keyring it gets one like, "" to keep that of the caller.
    `own_pid` are the variables that say which process it is. Raises SpecError for what cannot be done.
    """
    steps, warnings = process.become(joining, config, facts, [ops.Await(STATE_GATE)], program, flags, own_pid)
    before, after = scheduling.exec_affinity(joining, moves=bool(door.cgroup) or door.waits)
    return [
        *labels.procfs(joining, facts),
        *before,
        *namespaces.oom_score(joining, facts),
        *namespaces.enter(door),
        *after,
        *console.plan(joining, bind=False),
        *(process.keyring(joining, facts, keyring) if keyring else []),
        *steps,
    ], warnings


def outside(joining: Process, config: Config) -> list[ops.Op]:
    """Return what is to be done to the process from outside the container's user namespace when it is ready."""
    return process.outside(joining, config)
