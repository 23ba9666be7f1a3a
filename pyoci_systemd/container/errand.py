"""What is done to a container's process from outside: ops that a second init plays in the runtime's own namespaces.

Some rights are those of the first user namespace's root alone, and the container's init has left it.
"""

from __future__ import annotations

from ..init.dialogue import GATE, Init
from ..init.wire import encode
from ..plan.ops import Await
from ..plan.words import STATE_GATE
from .explain import explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..errors import Error
    from ..init.dialogue import Reply
    from ..plan.ops import Op


def run(ops: list[Op], pid: int) -> None:
    """Have the ops done to the process. Raises Error for one that fails, and OSError."""
    for op in ops:
        op.pid = pid  # type: ignore[attr-defined]  # every op of an errand has one
    perform(ops)


def perform(ops: list[Op], given: Sequence[int] = (), failure: Callable[[Reply], Error] | None = None) -> None:
    """Have ops done, of which some may name what is `given`.

    Raises for one that fails what `failure` makes of it, Error by itself, and OSError.
    """
    # a gate is how an init says that it has come so far; this one goes no further
    init = Init.spawn(encode([*ops, Await(STATE_GATE)]), 0, given)
    try:
        init.expect(GATE, failure or (lambda reply: explain(reply, ops)))
    finally:
        init.abandon()
