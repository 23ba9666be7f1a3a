"""hooks: programs that run at six moments of a container's life (runtime-spec, "POSIX-platform Hooks")."""

from __future__ import annotations

from . import labels, namespaces, ops, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config, Hook, Process
    from .facts import Door, Facts

INSIDE = "createContainer"
BEFORE_PIVOT = ("prestart", "createRuntime", INSIDE)
AT_START = "startContainer"
KINDS = (*BEFORE_PIVOT, AT_START, "poststart", "poststop")


def listed(config: Config, kind: str) -> list[Hook]:
    """Return the hooks of one kind."""
    hooks: list[Hook] = config.get("hooks", {}).get(kind) or []  # type: ignore[assignment]
    return hooks


def kinds(config: Config) -> list[str]:
    """Return the kinds of which there are hooks. Clients send empty lists of all: that asks for nothing."""
    return [kind for kind in KINDS if listed(config, kind)]


def outside(hook: Hook, env: list[str], cwd: str) -> list[ops.Op]:
    """Return the ops of a hook that runs in the runtime's namespaces. `env` is for one that brings none."""
    return [ops.Clone(0, -1), *_program(hook, env, cwd)]


def before_pivot(hook: Hook, env: list[str], cwd: str, door: Door) -> list[ops.Op]:
    """Return the ops of a hook that runs in the container's namespaces, before the change of root.

    Its root is still the host's, so its path is one of the host's, and it has the runtime's rights.
    """
    return [*namespaces.enter(door), *_program(hook, env, cwd)]


def inside(hook: Hook, config: Config, facts: Facts, door: Door, program: bytes, flags: int) -> list[ops.Op]:
    """Return the ops of a hook that runs in the container: what the image brings has the container's rights."""
    own = config.get("process") or process.nothing()
    as_process: Process = {**own, "cwd": "/", "args": arguments(hook), "env": hook.get("env") or [], "terminal": False}
    steps, _ = process.become(as_process, config, facts, [], program, flags)
    # argv[0] is the caller's to choose, so the file is looked for by its path; the environment is the hook's alone
    found = [ops.FindExecutable(hook["path"], "") if isinstance(op, ops.FindExecutable) else op for op in steps]
    own_env = [op for op in found if not isinstance(op, ops.Home)]
    return [*labels.procfs(as_process, facts), *namespaces.enter(door), *own_env]


def arguments(hook: Hook) -> list[str]:
    """Return the hook's argv."""
    return hook.get("args") or [hook["path"]]


def _program(hook: Hook, env: list[str], cwd: str) -> list[ops.Op]:
    own = hook.get("env")
    return [
        ops.Umask(0o022),
        ops.Chdir(cwd, 1),
        ops.FindExecutable(hook["path"], ""),
        ops.CloseOnExec(),
        ops.Execute(arguments(hook), env if own is None else own),
    ]
