"""Why an init gave up, as the error that a user sees."""

from __future__ import annotations

import posix
from errno import EACCES, ENOSPC, EPERM

from ..errors import Error, failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..init.dialogue import Reply
    from ..plan.ops import Op


def explain(reply: Reply, ops: list[Op]) -> Error:
    """Return the error for the op of `ops` that failed."""
    from ..plan.reasons import hint

    op = ops[reply.index]
    said = hint(op, reply.error) or barred(ops[: reply.index + 1], reply.error)
    return Error(failure(op.complaint(), posix.strerror(reply.error)), hint=said)


def barred(played: list[Op], error: int) -> str:
    """Return what keeps a user without privileges from user namespaces, and what mends it; "" when it is not that.

    AppArmor lets one be made, and then denies what it is for.
    """
    from ..plan.ops import NewUserNamespace

    if not posix.geteuid() or error not in (EPERM, EACCES, ENOSPC):
        return ""
    if not any(isinstance(op, NewUserNamespace) for op in played):
        return ""
    from .userchecks import user_namespaces

    finding = user_namespaces()
    return f"{finding.found}; {finding.mend}" if finding.mend else ""
