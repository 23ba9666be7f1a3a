"""The credentials of the service that we are, for its container."""

from __future__ import annotations

from ..errors import Error
from ..jsonio import dumps
from ..plan import secrets
from ..settings import environ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config


def handed_on(config: Config) -> tuple[Config, bytes]:
    """Return the config with them, and its text: what is run in the container later reads them too. Raises Error."""
    directory = environ(secrets.VARIABLE)
    if not directory:
        raise Error(f"--credentials: {secrets.VARIABLE} is not set", hint="it is for a service with `LoadCredential=`")
    config = secrets.handed_on(config, directory)
    return config, dumps(config).encode()
