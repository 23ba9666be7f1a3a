"""`pyoci delete`: clear away all that create made."""

from __future__ import annotations

import _signal
from time import monotonic

from .. import jsonio, kernelfs
from ..cgroup import tree
from ..errors import Error, NotFound
from ..plan.marker import marker
from . import identity, process, scope
from .matching import matching
from .store import CONFIG, Container, Known, boot_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Options, Settings
    from ..spec.types import Config

DEADLINE = 10.0  # seconds for a killed process to go


def main(settings: Settings, options: Options) -> int:
    """Delete one container, or with --regex each that matches. Returns the exit status; raises Error."""
    within = ""
    if options.own_unit:
        from ..cgroup import split  # in services alone

        within = split.whole()
    if not options.regex:
        remove(settings.root, identity.check(options.id), options.force, within)
        return 0
    for container_id in matching(settings.root, options.id):
        remove(settings.root, container_id, options.force, within)
    return 0


def remove(root: str, container_id: str, force: bool, within: str = "") -> None:
    """Remove a container and whatever a killed create left of it. Raises Error.

    Of many that delete the same one each succeeds with `force`: there is no such container afterwards. One that did
    not live below `within` is left alone.
    """
    container = Container(root, container_id)
    try:
        container.lock()
        known = _known(container, force)
        if within and not _is_within(known, within):
            return
        status = container.status() if known else "stopped"
        if status not in ("stopped", "created") and not force:
            raise Error(
                f"cannot delete `{container_id}`: container is {status}", hint="stop it first, or use `--force`"
            )
        if known:
            _kill(known)
            _clear(container, known)
        else:
            from . import wreck

            rest = wreck.remembered(container)
            _kill(rest)
            if rest.unit:
                wreck.clear(container, rest.unit)
            else:
                _clear(container, rest)
        config = _config(container) if known and "poststop" in known.hooks else None
        container.remove()
        if known:
            known.tell("deleted")
        if config and known:
            from . import hooks

            hooks.run_last(config, known, root)
    except NotFound:
        if not force:
            raise
    finally:
        container.unlock()


def _is_within(known: Known | None, within: str) -> bool:
    """Did the container live below a cgroup. One that is nowhere by what is known, and lives, may live elsewhere."""
    if known is None:
        return False
    return known.cgroup.startswith(f"{within}/") if known.cgroup else not known.pid


def _known(container: Container, force: bool) -> Known | None:
    """Return the state, None when it is damaged and that does not matter. Raises NotFound, Error."""
    try:
        return container.known
    except NotFound:
        raise
    except Error:
        if not force:
            raise
        return None


def _config(container: Container) -> Config | None:
    """Return the copy of the config; None when a create was killed before it wrote that. Raises SpecError."""
    from ..spec.kept import kept

    path = f"{container.path}/{CONFIG}"
    return kept(jsonio.contents(path), CONFIG) if kernelfs.exists(path) else None


def _kill(known: Known) -> None:
    """Kill what runs of the container and wait until it is gone. Raises Error."""
    if known.boot_id != boot_id():
        return  # the pids and cgroups of another boot are not ours
    if known.has_its_cgroup():
        tree.kill(known.cgroup)
    if known.pid and process.lives(known.pid, known.start_time):
        process.send_signal(known.pid, known.start_time, _signal.SIGKILL)
        if not process.wait_gone(known.pid, known.start_time, DEADLINE):
            raise Error(f"container `{known.id}`: process {known.pid} does not die")


def _clear(container: Container, known: Known) -> None:
    """Remove the scope, or the cgroup that we made, what machined lists, and groups of resctrl. Raises Error."""
    if known.boot_id != boot_id():
        return
    deadline = monotonic() + DEADLINE
    if known.unit:
        lingers = known.lingers
        # systemd forgets the scope together with its cgroup, unless an annotation says otherwise
        own = known.cgroup and scope.directory(known.cgroup, known.unit)
        if not own or lingers or kernelfs.exists(own):
            scope.clear(known.unit, marker(container.absolute()), lingers)
        if own and known.has_its_cgroup():
            from ..cgroup import walk  # for what was too deep for systemd

            walk.remove(own, deadline)
    elif known.has_its_cgroup():
        tree.wait_empty(known.cgroup, deadline)
        tree.unmake(known.cgroup, deadline)
    if known.machine:
        from . import machine  # of those alone who are listed

        machine.forget(known)
    if known.resctrl_made:
        from . import resctrl  # of large servers alone

        resctrl.remove(known.resctrl_made)
