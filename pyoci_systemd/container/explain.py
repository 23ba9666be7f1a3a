"""Why an init gave up, as the error that a user sees."""

from __future__ import annotations

import posix

from ..errors import Error, failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..init.dialogue import Reply
    from ..plan.ops import Op


def explain(reply: Reply, ops: list[Op]) -> Error:
    """Return the error for the op of `ops` that failed."""
    from ..plan.reasons import hint

    op = ops[reply.index]
    return Error(failure(op.complaint(), posix.strerror(reply.error)), hint=hint(op, reply.error))
