"""What the plan must know of the host and of the request: values, made elsewhere, so that planning stays pure."""

from __future__ import annotations

from ..record import Record


class Facts(Record):
    """The host, as one probe found it."""

    uid: int
    """effective user id of the runtime"""
    capabilities: int
    """what the runtime itself holds, and so can give; a bit mask in the order of capability(7)"""
    in_user_namespace: bool
    """is the runtime already in a user namespace that is not the host's first one"""


class Request(Record):
    """What the caller asked for besides config.json."""

    id: str
    bundle: str
    """absolute path"""
    config_path: str = ""
    """where config.json was read, for the unit's SourcePath"""
    state_dir: str = ""
    """where the container's state is kept; also the marker by which its unit is known"""
    manager: str = "auto"
    preserve_fds: int = 0
    no_pivot: bool = False
    new_keyring: bool = True
    wait_for_start: bool = True
    """create waits for `start`; run goes on at once"""
