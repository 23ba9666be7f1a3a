"""When the program runs, on which processors, and which memory it takes: scheduler, ioPriority, affinity, memoryPolicy.

All of it is set when the process stands in its cgroup, for the kernel weighs it against the cpuset there.
"""

from __future__ import annotations

from _struct import pack

from ..errors import SpecError
from ..spec.numbers import MOST_CPUS, bits
from . import ops
from .words import IO_CLASSES, MEMORY_FLAGS, MEMORY_MODES, SCHEDULER_ATTRIBUTES, SCHEDULER_FLAGS, SCHEDULER_POLICIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config, Process, Scheduler

UNCLAMPED = 0, 1024  # SCHED_CAPACITY_SCALE


def priorities(process: Process) -> list[ops.Op]:
    """Return the ops for the scheduler and the I/O priority: sched_setattr(2), ioprio_set(2).

    What is above the ordinary needs CAP_SYS_NICE in the first user namespace, and is not inherited by a clone
    (SCHED_FLAG_RESET_ON_FORK): see `process.privileged`.
    """
    result: list[ops.Op] = []
    if "scheduler" in process:
        result.append(ops.Scheduler(0, attributes(process["scheduler"])))
    if "ioPriority" in process:
        asked = process["ioPriority"]
        result.append(ops.IoPriority(0, IO_CLASSES[asked["class"]] << 13 | asked["priority"]))
    return result


def attributes(asked: Scheduler) -> bytes:
    """Return struct sched_attr.

    The spec has the flags SCHED_FLAG_UTIL_CLAMP_* and no values for them. So it is the whole range: a maximum of 0
    would hold the processor at its slowest.
    """
    flags = sum(SCHEDULER_FLAGS[flag] for flag in {*(asked.get("flags") or ())})
    numbers = (asked.get(key, 0) for key in ("nice", "priority", "runtime", "deadline", "period"))
    policy = SCHEDULER_POLICIES[asked["policy"]]
    return pack(SCHEDULER_ATTRIBUTES, 56, policy, flags, *numbers, *UNCLAMPED)


def memory(config: Config) -> list[ops.Op]:
    """Return the op for the memory policy: set_mempolicy(2). It stays over the execve."""
    asked = config.get("linux", {}).get("memoryPolicy")
    if not asked:
        return []
    mode = MEMORY_MODES[asked["mode"]] | sum(MEMORY_FLAGS[flag] for flag in {*(asked.get("flags") or ())})
    nodes = bits(asked["nodes"], 1024) if asked.get("nodes", "").strip() else 0
    # in words of 64 bits, as the kernel reads it
    return [ops.MemoryPolicy(mode, nodes.to_bytes((nodes.bit_length() + 63) // 64 * 8, "little"))]


def exec_affinity(process: Process, moves: bool) -> tuple[list[ops.Op], list[ops.Op]]:
    """Return the ops of an `exec` before it enters the container's cgroup, and after.

    process.execCPUAffinity is of no concern to the container's first process. Without `final` whatever was inherited is
    undone, as for that one, unless it `moves` into no cgroup.
    """
    asked = process.get("execCPUAffinity", {})

    def on(moment: str) -> list[ops.Op]:
        text = str(asked.get(moment) or "")
        return [ops.CpuAffinity(cpus(text, f"process.execCPUAffinity.{moment}"))] if text.strip() else []

    return on("initial"), on("final") or ([ops.EveryCpu()] if moves else [])


def cpus(text: str, where: str) -> bytes:
    """Return a list of processors as sched_setaffinity(2) takes it. Raises SpecError when it is none."""
    mask = bits(text, MOST_CPUS)
    if mask < 0:
        raise SpecError(f"config.json: {where}: `{text}` is not a list of processors")
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")
