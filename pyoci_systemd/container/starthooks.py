"""`start` for a container that has hooks at this moment of its life."""

from __future__ import annotations

from .. import jsonio, log
from ..errors import Error
from ..init.dialogue import GATE
from ..plan.hooks import AT_START
from ..plan.words import START_GATE
from ..spec.kept import kept
from . import delete, hooks
from .laststeps import await_started, explain
from .store import CONFIG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..init.dialogue import Init
    from ..settings import Settings
    from .store import Container


def start(settings: Settings, container: Container, init: Init) -> None:
    """Let the program run, hooks before and after. Raises Error.

    When a hook fails the container is stopped and destroyed, as `delete` does it (runtime-spec, "Lifecycle").
    """
    known = container.known
    try:
        config = kept(jsonio.contents(f"{container.path}/{CONFIG}"), CONFIG)
        if AT_START in known.hooks:
            init.expect(GATE, lambda reply: explain(container, reply), START_GATE)
            hooks.run(AT_START, config, known, settings.root)
            init.let_through()
        await_started(container, init)
        hooks.run("poststart", config, known, settings.root)
    except Error:
        try:
            delete.remove(settings.root, container.id, force=True)
        except Error as error:
            log.warning(f"while deleting: {error}")
        raise
