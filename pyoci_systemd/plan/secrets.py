"""The credentials of a service (systemd.exec(5), "Credentials"), handed on to its container.

They stay where systemd keeps them, in memory that is not swapped out, and readable by root alone.
"""

from __future__ import annotations

from ..errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config

INSIDE = "/run/host/credentials"  # where containers look for them (systemd.io/CONTAINER_INTERFACE)
VARIABLE = "CREDENTIALS_DIRECTORY"
OPTIONS = ["rbind", "ro", "nosuid", "nodev", "noexec"]


def handed_on(config: Config, directory: str) -> Config:
    """Return the config with the credentials in `directory` to be seen in the container. Raises SpecError."""
    if "process" not in config:
        raise SpecError("config.json: process is required to hand credentials to")
    process = config["process"]
    if process["user"]["uid"]:
        raise SpecError("config.json: process.user.uid: root alone can read the credentials of a service")
    env = [entry for entry in process.get("env") or [] if not entry.startswith(f"{VARIABLE}=")]
    mount = {"destination": INSIDE, "type": "bind", "source": directory, "options": OPTIONS}
    return {
        **config,
        "process": {**process, "env": [*env, f"{VARIABLE}={INSIDE}"]},
        "mounts": [*(config.get("mounts") or []), mount],  # type: ignore[list-item]
    }
