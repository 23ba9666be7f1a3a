"""process: from the change of root to the execve."""

from __future__ import annotations

from ..errors import SpecError
from ..spec import sysctl
from . import credentials, ops
from .facts import Facts, Request
from .rootfs import STATE_GATE
from .words import RLIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config, Process

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PERSONALITIES = {"LINUX": 0, "LINUX32": 8}


def plan(config: Config, facts: Facts, request: Request, program: bytes, flags: int) -> tuple[list[ops.Op], list[str]]:
    """Return the ops from the hostname to the execve, and warnings.

    `program` is the compiled seccomp filter, empty for none.

    Everything that can fail is done before the wait for `start`, so that `create` reports it; only what must be
    last is left for afterwards. A filter that is loaded without noNewPrivileges needs CAP_SYS_ADMIN, so the
    capabilities are given up after it; with noNewPrivileges it is the very last thing.
    """
    process = config.get("process") or _nothing()
    sets = credentials.Sets(process, credentials.available(config, facts))
    annotations = config.get("annotations", {})
    uid = process.get("user", {}).get("uid", 0)
    final = ops.Capabilities(sets.permitted, sets.effective, sets.inheritable, sets.ambient)
    filtered: list[ops.Op] = [ops.Seccomp(program, flags)] if program else []
    privileged_filter = bool(filtered) and not process.get("noNewPrivileges")
    steps: list[ops.Op] = [
        *_system(config, request),
        *_limits(process),
        *([ops.OwnStdio(uid)] if uid or process.get("terminal") else []),
        ops.Chdir(process["cwd"], 0),
        ops.Bounding(sets.bounding),
        credentials.user(process, annotations),
        ops.Chdir(process["cwd"], 1),
        *([] if privileged_filter else [final]),
        *([ops.NoNewPrivileges()] if process.get("noNewPrivileges") else []),
        *_executable(process),
        ops.Await(STATE_GATE),
        *([ops.AwaitStart()] if request.wait_for_start else []),
        *filtered,
        *([final] if privileged_filter else []),
        *([ops.Execute(process["args"], process.get("env", []))] if process.get("args") else []),
    ]
    return steps, sets.warnings


def _nothing() -> Process:
    """Return the process of a config without one: `create` makes the environment, `start` refuses (spec: PRC1)."""
    return {"cwd": "/", "args": [], "env": [], "user": {"uid": 0, "gid": 0}}


def _system(config: Config, request: Request) -> list[ops.Op]:
    """Return what belongs to the container's namespaces rather than to its first process."""
    result: list[ops.Op] = []
    if config.get("hostname"):
        result.append(ops.Hostname(config["hostname"]))
    if config.get("domainname"):
        result.append(ops.Domainname(config["domainname"]))
    linux = config.get("linux", {})
    for key, value in linux.get("sysctl", {}).items():
        result.append(ops.Sysctl("/".join(["sys", *sysctl.parts(key)]), value))
    if request.new_keyring:
        result.append(ops.Keyring(request.id))
    domain = linux.get("personality", {}).get("domain")
    if domain:
        result.append(ops.Personality(PERSONALITIES[domain]))
    return result


def _limits(process: Process) -> list[ops.Op]:
    """Return the resource limits and the umask."""
    result: list[ops.Op] = []
    for index, limit in enumerate(process.get("rlimits") or ()):
        if limit["type"] not in RLIMITS:
            raise SpecError(f"config.json: process.rlimits[{index}].type: unknown limit `{limit['type']}`")
        if limit["soft"] > limit["hard"]:
            raise SpecError(f"config.json: process.rlimits[{index}]: soft is greater than hard")
        result.append(ops.Rlimit(RLIMITS.index(limit["type"]), limit["soft"], limit["hard"]))
    result.append(ops.Umask(process.get("user", {}).get("umask", 0o022)))
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
