"""A bundle as it is read: its config.json, with what the caller's side of the matter adds to it."""

from __future__ import annotations

import posix

from .. import jsonio
from ..errors import because
from ..record import Record
from ..spec.load import load
from .caller import absolute, nameable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Options
    from ..spec.types import Config
    from .secrets import Secrets


class Bundle(Record):
    """What the container is made of."""

    path: str
    """absolute"""
    config_path: str
    """where config.json was read; absolute"""
    config: Config
    text: bytes
    """the config as the container's directory keeps it"""
    secrets: Secrets | None = None
    """the credentials that the container is to have"""


def read(options: Options) -> Bundle:
    """Return the bundle that the options name. Raises Error."""
    path = nameable(absolute(options.bundle or "."))
    file = options.config or f"{path}/config.json"
    try:
        posix.stat(path)
    except OSError as error:
        raise because(f"bundle `{path}`", error) from None
    text = jsonio.contents(file)
    config = load(text)
    given = None
    if options.credential or options.credentials:
        from . import secrets  # for who has any

        given = secrets.Secrets(options)
        config, text = secrets.announced(config)
    if posix.geteuid():
        from . import subids  # for users alone

        config, text = subids.with_user_namespace(config, text)
    return Bundle(path, nameable(absolute(file)), config, text, given)
