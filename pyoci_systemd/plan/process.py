"""process: from the change of root to the execve."""

from __future__ import annotations

from ..errors import SpecError
from ..spec import sysctl
from . import credentials, handover, labels, namespaces, ops, scheduling
from .facts import Facts, Request
from .managers import manager
from .words import CAPABILITIES, LISTENER_GATE, NEW_LISTENER, PERSONALITIES, RLIMITS, START_GATE, STATE_GATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..spec.types import Config, Process

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def plan(config: Config, facts: Facts, request: Request, program: bytes, flags: int) -> tuple[list[ops.Op], list[str]]:
    """Return the ops from the hostname to the execve, and warnings.

    `program` is the compiled seccomp filter, empty for none.
    """
    process = config.get("process") or nothing()
    gates: list[ops.Op] = [ops.Await(STATE_GATE)]
    if request.wait_for_start:
        gates.append(ops.AwaitStart())
    if config.get("hooks", {}).get("startContainer"):
        if facts.uid:
            # it would have to look into an init that as yet has no filter, and so could whatever the image brings
            raise SpecError("config.json: hooks.startContainer: only root's containers can have such hooks")
        gates.append(ops.Await(START_GATE))
    own_pid = handover.own_pid(process, request.handover)
    steps, warnings = become(process, config, facts, gates, program, flags, own_pid)
    return [
        *_system(config),
        *labels.message_queues(config, facts),
        *(keyring(process, facts, request.id) if request.new_keyring else []),
        *([ops.EveryCpu()] if manager(config, request.manager) != "disabled" else []),
        *steps,
    ], warnings


def become(
    process: Process,
    config: Config,
    facts: Facts,
    gates: list[ops.Op],
    program: bytes,
    flags: int,
    own_pid: Sequence[str] = (),
) -> tuple[list[ops.Op], list[str]]:
    """Return the ops that make a process of the container's one that runs the program, and warnings.

    `own_pid` are the variables that say which process it is.

    Everything that can fail is done before the gates, so that `create` reports it; only what must be last is left
    for afterwards. A filter that is loaded without noNewPrivileges needs CAP_SYS_ADMIN, so that is given up after it;
    with noNewPrivileges the filter is the very last thing.
    The process stands in its cgroup by now: the kernel weighs against the cpuset there what it may run on.
    """
    sets = credentials.Sets(process, credentials.available(config, facts))
    uid = process.get("user", {}).get("uid", 0)
    final = ops.Capabilities(sets.permitted, sets.effective, sets.inheritable, sets.ambient)
    filtered: list[ops.Op] = [ops.Seccomp(program, flags)] if program else []
    if flags & NEW_LISTENER:
        # whoever answers for the filter has its listener before anything else of ours runs into it
        filtered.append(ops.Await(LISTENER_GATE))
    privileged_filter = bool(filtered) and not process.get("noNewPrivileges")
    steps: list[ops.Op] = [
        *_execution(config),
        *scheduling.memory(config),
        *([] if in_user_namespace(config) else privileged(process)),
        ops.Umask(process.get("user", {}).get("umask", 0o022)),
        *labels.program(process, facts),
        *([ops.OwnStdio(uid)] if uid or process.get("terminal") else []),
        ops.Chdir(process["cwd"], 0),
        ops.Bounding(sets.bounding),
        credentials.user(process, config, facts),
        ops.Chdir(process["cwd"], 1),
        *([_with_admin(sets)] if privileged_filter else [final]),
        *([ops.NoNewPrivileges()] if process.get("noNewPrivileges") else []),
        *_executable(process),
        *[ops.OwnPid(variable) for variable in own_pid],
        *gates,
        ops.CloseOnExec(),
        *filtered,
        *([final] if privileged_filter else []),
        *([ops.Execute(process["args"], process.get("env", []))] if process.get("args") else []),
    ]
    return steps, sets.warnings


def _with_admin(sets: credentials.Sets) -> ops.Op:
    """Return what the init holds until the filter is there: effective, for a change of user leaves nothing so."""
    admin = 1 << CAPABILITIES.index("CAP_SYS_ADMIN")
    return ops.Capabilities(sets.permitted | admin, sets.effective | admin, sets.inheritable, 0)


def nothing() -> Process:
    """Return the process of a config without one: `create` makes the environment, `start` refuses (spec: PRC1)."""
    return {"cwd": "/", "args": [], "env": [], "user": {"uid": 0, "gid": 0}}


def _system(config: Config) -> list[ops.Op]:
    """Return what belongs to the container's namespaces rather than to its first process."""
    result: list[ops.Op] = []
    if config.get("hostname"):
        result.append(ops.Hostname(config["hostname"]))
    if config.get("domainname"):
        result.append(ops.Domainname(config["domainname"]))
    linux = config.get("linux", {})
    for key, value in linux.get("sysctl", {}).items():
        result.append(ops.Sysctl("/".join(["sys", *sysctl.parts(key)]), value))
    return result


def _execution(config: Config) -> list[ops.Op]:
    """Return the execution domain: a process has it, not a namespace."""
    domain = config.get("linux", {}).get("personality", {}).get("domain")
    return [ops.Personality(PERSONALITIES[domain])] if domain else []


def keyring(process: Process, facts: Facts, container: str) -> list[ops.Op]:
    """Return the ops that keep the caller's keys from the program: a session keyring of its own."""
    return [*labels.keyring(process, facts), ops.Keyring(f"_ses.{container}")]


def in_user_namespace(config: Config) -> bool:
    """Has the container a user namespace, new or joined."""
    return "user" in namespaces.wanted(config)


def privileged(process: Process) -> list[ops.Op]:
    """Return the ops that only root of the first user namespace may do: priorities, and limits above those inherited.

    The init does them itself where it stays there. Else they are done to it from outside when it waits for the last
    time: before it enters the user namespace it could not, for limits as low as a config may ask would stop its work.
    """
    return [*scheduling.priorities(process), *_limits(process)]


def outside(process: Process, config: Config) -> list[ops.Op]:
    """Return what is to be done to the init from outside its user namespace."""
    return privileged(process) if in_user_namespace(config) else []


def _limits(process: Process) -> list[ops.Op]:
    """Return the resource limits."""
    result: list[ops.Op] = []
    for index, limit in enumerate(process.get("rlimits") or ()):
        if limit["type"] not in RLIMITS:
            raise SpecError(f"config.json: process.rlimits[{index}].type: unknown limit `{limit['type']}`")
        if limit["soft"] > limit["hard"]:
            raise SpecError(f"config.json: process.rlimits[{index}]: soft is greater than hard")
        result.append(ops.Rlimit(0, RLIMITS.index(limit["type"]), limit["soft"], limit["hard"]))
    return result


def _executable(process: Process) -> list[ops.Op]:
    """Return the search for the executable and, where the config names none, for the home directory."""
    args, env = process.get("args") or (), process.get("env") or ()
    if not args:
        return []
    home = any(entry.startswith("HOME=") for entry in env)
    path = next((entry[5:] for entry in reversed(list(env)) if entry.startswith("PATH=")), DEFAULT_PATH)
    uid = process.get("user", {}).get("uid", 0)
    return [*([] if home else [ops.Home(uid)]), ops.FindExecutable(args[0], path)]
