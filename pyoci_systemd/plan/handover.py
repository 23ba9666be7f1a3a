"""What a service manager hands over to the container by way of us: variables of its environment, and mounts."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config, Process
    from .facts import Handover


def extended(config: Config, handed: Handover | None) -> Config:
    """Return the config with what is handed over; what it says itself is left as it is."""
    if handed is None:
        return config
    # after the others, one of which may be on a directory above
    more: Config = {**config, "mounts": [*(config.get("mounts") or ()), *handed.mounts]}
    if "process" in config:
        more["process"] = process(config["process"], handed)
    return more


def process(given: Process, handed: Handover) -> Process:
    """Return the process with the variables that its environment does not have yet."""
    own = set(names(given))
    variables = [variable for variable in handed.variables if variable.partition("=")[0] not in own]
    return {**given, "env": [*(given.get("env") or ()), *variables]}


def own_pid(given: Process, handed: Handover | None) -> list[str]:
    """Return the variables that are to say the program's own pid, less those that its environment has."""
    return [name for name in handed.own_pid if name not in names(given)] if handed else []


def names(given: Process) -> list[str]:
    """Return the names of the variables of a process."""
    return [variable.partition("=")[0] for variable in given.get("env") or ()]
