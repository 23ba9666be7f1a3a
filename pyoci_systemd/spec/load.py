"""The door of the room: bytes in, a config that may be planned out. Every hot verb passes here."""

from __future__ import annotations

from .. import jsonio
from . import rules, validator
from .kept import drop_nulls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .types import Config, Mount, Process, Resources


def load(data: bytes, name: str = "config.json") -> Config:
    """Return the config that `data` holds: valid by schema and rules, and without nulls.

    A member that is null (Go writes empty lists and objects so) is taken away, so a reader need only ask whether
    a member is there. Members the spec does not know are kept and mean nothing (config.md, "Extensibility").
    Raises SpecError: one line with the JSON path of what is wrong.
    """
    config: Config = _checked(data, name, "config", validator.valid)
    rules.check(config, name)
    return config


def load_process(data: bytes, name: str = "process.json") -> Process:
    """Return the process that `exec --process` was given. Raises SpecError."""
    process: Process = _checked(data, name, "process", validator.valid_process)
    rules.check_process(process, name)
    return process


def load_resources(data: bytes, name: str = "resources.json") -> Resources:
    """Return the resources that `update --resources` was given. Raises SpecError."""
    resources: Resources = _checked(data, name, "resources", validator.valid_resources)
    rules.check_resources(resources, name)
    return resources


def load_mounts(data: bytes, name: str) -> list[Mount]:
    """Return the list that `mounts` was given: what stands in config.json as `mounts`. Raises SpecError."""
    # within an object: so the JSON path is the one that it would have there
    mounts: list[Mount] = _judged({"mounts": jsonio.loads(data, name)}, data, name, "mounts", validator.valid_mounts)[
        "mounts"
    ]
    return mounts


def _checked(data: bytes, name: str, part: str, valid: Callable[[object], bool]) -> Any:
    return _judged(jsonio.loads(data, name), data, name, part, valid)


def _judged(value: Any, data: bytes, name: str, part: str, valid: Callable[[object], bool]) -> Any:
    # the schema lets an optional section be null, but not the document
    if value is None or not valid(value):
        from .judge import explain  # 90 ms of jsonschema, paid for a refusal only

        raise explain(value, name, part)
    # most configs mask or bind `/dev/null`: that is not one
    if data.count(b"null") != data.count(b"/null"):
        drop_nulls(value)
    return value
