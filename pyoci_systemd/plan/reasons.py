"""Why the kernel may have refused an op, where its errno alone does not say: shown on a terminal, below the error."""

from __future__ import annotations

from errno import EBUSY, EDQUOT, EINVAL, ENOENT, EOPNOTSUPP, EPERM

from . import ops

REASONS: dict[tuple[type[ops.Op], int, str], str] = {
    # sched(7), "Deadline scheduling"; sched_setattr(2)
    (ops.Scheduler, EPERM, "SCHED_DEADLINE"): "it needs CAP_SYS_NICE, and every processor: no cpuset, no CPU affinity",
    (ops.Scheduler, EPERM, ""): "it needs CAP_SYS_NICE, and with CONFIG_RT_GROUP_SCHED realtime quota for its cgroup",
    (ops.Scheduler, EBUSY, ""): "there is not that much processor time left to reserve: lower runtime / period",
    (ops.Scheduler, EINVAL, "SCHED_DEADLINE"): "see /proc/sys/kernel/sched_deadline_period_min_us and …_max_us",
    (ops.Scheduler, EOPNOTSUPP, ""): "SCHED_FLAG_UTIL_CLAMP_* needs a kernel with CONFIG_UCLAMP_TASK",
    (ops.IoPriority, EPERM, ""): "IOPRIO_CLASS_RT needs CAP_SYS_NICE",
    (ops.MemoryPolicy, EINVAL, ""): "none of the nodes has memory that its cgroup may use, or the kernel is too old",
    (ops.Keyring, EDQUOT, ""): "the user has too many keys (keyrings(7)); `--no-new-keyring` does without",
    (ops.AppArmor, ENOENT, ""): "the profile is not loaded: apparmor_parser(8)",
    (ops.SelinuxLabel, EINVAL, ""): "the loaded policy does not know this label",
    (ops.Rlimit, EPERM, ""): "raising a hard limit needs CAP_SYS_RESOURCE; RLIMIT_NOFILE is at most fs.nr_open",
}


def hint(op: ops.Op, error: int) -> str:
    """Return the likely reason, "" when there is nothing to add."""
    said = op.describe()
    fitting = (text for (kind, no, word), text in REASONS.items() if type(op) is kind and no == error and word in said)
    return next(fitting, "")
