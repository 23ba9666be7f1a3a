"""What we ask of systemd's manager, org.freedesktop.systemd1(5): scopes to begin with, then all that may befall them.

Every function takes the Bus first and a deadline (a value of time.monotonic()), and raises BusError with the name of
the unit in its text. Imported by every hot verb: nothing but C modules.
"""

from __future__ import annotations

from time import monotonic, sleep

from ..errors import BusError
from ..record import Record
from .bus import BROKER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar

    T = TypeVar("T")

    from .bus import Bus
    from .wire import Message

Property = tuple[str, str, object]  # name, D-Bus signature, value (see wire)

SYSTEMD = "org.freedesktop.systemd1"
ROOT = "/org/freedesktop/systemd1"
MANAGER = f"{SYSTEMD}.Manager"
PROPERTIES = "org.freedesktop.DBus.Properties"

NO_SUCH_UNIT = f"{SYSTEMD}.NoSuchUnit"
UNIT_EXISTS = f"{SYSTEMD}.UnitExists"
DESTRUCTIVE = f"{SYSTEMD}.TransactionIsDestructive"  # a job that waits wants the contrary: that of a shutdown, mostly
READ_ONLY = "org.freedesktop.DBus.Error.PropertyReadOnly"
LOST = (
    "org.freedesktop.DBus.Error.NoReply"  # systemd re-executed itself, and with that what it had not answered is gone
)
BUSY = f"{SYSTEMD}.UnitBusy"  # it is still being frozen or thawed: whoever asked for that may be dead by now
CLOSED = "closed"  # the broker restarts, and with that what it had not passed on is gone
JOB_FAILED = "job"
FROZEN = "frozen"  # a job that failed because the unit, or its slice, is frozen
JOBS = f"type='signal',sender='{SYSTEMD}',interface='{MANAGER}',member='JobRemoved'"

LOOK = 1.0  # seconds without a signal after which the unit itself is looked at; also the deadline of that look
PAUSE = 0.02  # seconds before what was lost is asked or looked at again; a re-exec takes 0.2
MOST_PROPERTIES = 256
MOST_UNKNOWN = 32  # properties that a systemd may not know
NEEDED = ("PIDs", "Slice", "Delegate", "DeviceAllow", "DevicePolicy")  # without these it is another scope than asked
LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
DIGITS = frozenset("0123456789")


class Unsupported(BusError):
    """This manager does not know (or does not let us set) the property named `property`: drop it and ask again."""

    def __init__(self, name: str, message: str, property: str) -> None:
        super().__init__(name, message)
        self.property = property


class Start(Record):
    """A StartTransientUnit that is under way."""

    serial: int
    unit: str
    properties: tuple[Property, ...]
    mode: str
    again: bool = False
    """it was asked before, and the answer was lost: it may have been done"""


class Job(Record):
    """A job of systemd's: its object path, the unit it is for, the unique bus name of the systemd that has it."""

    path: str
    unit: str
    sender: str


def begin_start(
    bus: Bus, unit: str, properties: Sequence[Property], *,
    mode: str = "fail", fds: Sequence[int] = (), deadline: float,
) -> Start:  # fmt: skip
    """Ask for the transient `unit` and return at once; finish_start() collects. `fds` are those that `h` values index.

    ValueError for properties over our limits or of a wrong type.
    """
    if len(properties) > MOST_PROPERTIES:
        raise ValueError(f"{len(properties)} unit properties, at most {MOST_PROPERTIES} are allowed")
    pairs = [(name, (kind, value)) for name, kind, value in properties]
    values = (unit, mode, pairs, ())

    def send() -> int:
        _watch(bus, unit)
        kind = "ssa(sv)a(sa(sv))"
        return bus.send(SYSTEMD, ROOT, MANAGER, "StartTransientUnit", kind, values, fds=fds, deadline=deadline)

    try:
        serial = send()
    except BusError as error:  # it has not gone out whole, so it has not been heard
        if not _reconnected(bus, error, deadline):
            raise
        serial = send()
    return Start(serial, unit, tuple(properties), mode)


def _watch(bus: Bus, unit: str) -> None:
    """Have JobRemoved of `unit` come to us.

    systemd sends it without Subscribe to whoever asked for the job, but as a broadcast: the broker needs a rule.
    The first unit gets a rule of its own, so that 100 creates at a time do not wake each other 100 times; with a
    second unit all jobs are let in, since the broker allows a connection only so many rules.
    """
    own = f"{JOBS},arg2='{unit}'"
    if "'" in unit:
        raise ValueError(f"invalid unit name {unit!r}")
    if own not in bus.matches and JOBS not in bus.matches:
        bus.add_match(JOBS if bus.matches else own)


def finish_start(bus: Bus, start: Start, *, deadline: float) -> Job:
    """Return the job of `start`, for wait_job().

    A unit of that name that has failed or lies about dead is reset, and the start tried once more (without fds);
    one that lives is never touched: BusError `…UnitExists`. Unsupported for a property this systemd does not know.
    A start whose answer is lost, with systemd's or the broker's end, is looked for, and asked for again if need be.
    """
    try:
        return _job(bus, start, deadline)
    except BusError as error:
        if error.name not in (UNIT_EXISTS, LOST) and not _reconnected(bus, error, deadline):
            raise
        lost = start.again or error.name != UNIT_EXISTS
    state = _settled_state(bus, start.unit, deadline) if lost else _active_state(bus, start.unit, deadline)
    if lost and state not in ("inactive", "failed") and _holds_ours(bus, start, deadline):
        return Job("", start.unit, "")  # it was done, only the answer is lost
    if state not in ("inactive", "failed"):
        raise BusError(UNIT_EXISTS, f"start `{start.unit}`: a unit of this name exists and is {state}")
    reset_failed_unit(bus, start.unit, deadline=deadline)
    again = begin_start(bus, start.unit, start.properties, mode=start.mode, deadline=deadline)
    again.again = lost
    return finish_start(bus, again, deadline=deadline) if lost else _job(bus, again, deadline)


def _settled_state(bus: Bus, unit: str, deadline: float) -> str:
    """Return the ActiveState of a unit that has no job any more: one that is to start is still `inactive`."""
    while True:
        found = unit_properties(bus, unit, "Unit", ("ActiveState", "Job"), deadline=deadline)
        if not found["Job"][0] or monotonic() >= deadline:
            return str(found["ActiveState"])
        sleep(PAUSE)


def _reconnected(bus: Bus, error: BusError, deadline: float) -> bool:
    """Connect anew if that is what `error` is about. Tells whether it is, and was done. BusError."""
    return error.name == CLOSED and bus.reconnect(deadline)


def _job(bus: Bus, start: Start, deadline: float) -> Job:
    try:
        answer = bus.reply(start.serial, deadline)
    except BusError as error:
        raise _explained("start", start.unit, error) from None
    return Job(answer.values()[0], start.unit, answer.sender)


def _holds_ours(bus: Bus, start: Start, deadline: float) -> bool:
    """Tell whether the processes that `start` names are in its unit."""
    pids = [pid for name, _, value in start.properties if name == "PIDs" and isinstance(value, list) for pid in value]
    return bool(pids) and all(get_unit_by_pid(bus, pid, deadline=deadline) == start.unit for pid in pids)


def start_transient_unit(
    bus: Bus, unit: str, properties: Sequence[Property], *, mode: str = "fail", deadline: float
) -> Job:
    """Begin and finish: return the job that starts the transient `unit`. Errors as begin_start and finish_start."""
    start = begin_start(bus, unit, properties, mode=mode, deadline=deadline)
    return finish_start(bus, start, deadline=deadline)


def wait_job(bus: Bus, job: Job, *, wanted: tuple[str, ...] = ("active",), deadline: float) -> None:
    """Wait until `job` is done. BusError `job` or `frozen` if it ended otherwise, `timeout` a second after that.

    The signal can be lost when systemd re-executes itself. So after each second of silence the unit itself is looked
    at, and one of the `wanted` ActiveStates is as good as the signal.
    """
    since = monotonic()
    while True:
        try:
            pause = LOOK if job.path else PAUSE  # without a path there is no signal to come
            removed = bus.wait_signal(lambda signal: _ends(signal, job), min(deadline, monotonic() + pause))
        except BusError as error:
            if _reconnected(bus, error, deadline):
                job.path = ""  # its signal went to the connection that is gone
            elif error.name != "timeout":
                raise
            if _looks(bus, job.unit, wanted):
                return
            if monotonic() >= deadline:
                text = f"`{job.unit}`: systemd did not finish the job within {round(deadline - since, 1):g} s"
                raise BusError("timeout", text) from None
            continue
        # anyone on the bus may send us a signal: only systemd's counts, under the name it has after a re-exec as well
        if removed.sender == job.sender or removed.sender == _owner(bus, deadline):
            break
    result = removed.values()[3]
    if result != "done":
        name = FROZEN if result == FROZEN else JOB_FAILED
        raise BusError(name, f"`{job.unit}`: the job ended with `{result}`")


def _ends(signal: Message, job: Job) -> bool:
    named = signal.member == "JobRemoved" and signal.interface == MANAGER and signal.signature == "uoss"
    return named and bool(signal.values()[1] == job.path)


def _looks(bus: Bus, unit: str, wanted: tuple[str, ...]) -> bool:
    try:
        return _active_state(bus, unit, monotonic() + LOOK) in wanted
    except BusError as error:
        if error.name != "timeout":
            raise
        return False


def _active_state(bus: Bus, unit: str, deadline: float) -> str:
    return str(unit_properties(bus, unit, "Unit", ("ActiveState",), deadline=deadline)["ActiveState"])


def _owner(bus: Bus, deadline: float) -> str:
    (owner,) = bus.call(BROKER, "/org/freedesktop/DBus", BROKER, "GetNameOwner", "s", (SYSTEMD,), deadline=deadline)
    return str(owner)


def _explained(verb: str, unit: str, error: BusError) -> BusError:
    """Return `error` with what was asked before its text, as Unsupported if a property is the cause."""
    text = f"{verb} `{unit}`: {error.message}"
    if error.name == READ_ONLY:
        # `Cannot set property X, or unknown property`: the only place that names the property
        _, _, tail = error.message.partition(" property ")
        return Unsupported(error.name, text, tail.partition(",")[0].strip())
    hint = "while systemd goes down it starts nothing: `systemctl list-jobs`" if error.name == DESTRUCTIVE else ""
    return BusError(error.name, text, hint=hint)


def _ask(
    bus: Bus, verb: str, unit: str, member: str, signature: str, values: tuple[Any, ...], deadline: float
) -> Message:
    """Call the manager's method `member` about `unit`; `verb` opens the text of an error."""
    try:
        return insist(
            bus,
            lambda: bus.reply(bus.send(SYSTEMD, ROOT, MANAGER, member, signature, values, deadline=deadline), deadline),
            deadline,
        )
    except BusError as error:
        raise _explained(verb, unit, error) from None


def insist(bus: Bus, ask: Callable[[], T], deadline: float) -> T:
    """Return what `ask` does; ask again while answers are lost or the unit is busy. Only a start is never repeated."""
    while True:
        try:
            return ask()
        except BusError as error:
            if error.name not in (LOST, BUSY) and not _reconnected(bus, error, deadline):
                raise
            refused = error
        sleep(PAUSE)
        if monotonic() >= deadline:
            raise refused


def stop_unit(bus: Bus, unit: str, *, deadline: float) -> bool:
    """Stop `unit` and wait for it. False if there is no such unit. BusError."""
    _watch(bus, unit)
    try:
        answer = _ask(bus, "stop", unit, "StopUnit", "ss", (unit, "replace"), deadline)
    except BusError as error:
        if error.name == NO_SUCH_UNIT:
            return False
        raise
    job = Job(answer.values()[0], unit, answer.sender)
    wait_job(bus, job, wanted=("inactive", "failed"), deadline=deadline)
    return True


def reset_failed_unit(bus: Bus, unit: str, *, deadline: float) -> bool:
    """Let systemd forget that `unit` failed. False if there is no such unit. BusError."""
    try:
        _ask(bus, "reset", unit, "ResetFailedUnit", "s", (unit,), deadline)
    except BusError as error:
        if error.name == NO_SUCH_UNIT:
            return False
        raise
    return True


def kill_unit(bus: Bus, unit: str, signal: int, *, who: str = "all", deadline: float) -> None:
    """Send the signal number `signal` to the processes of `unit`. BusError."""
    _ask(bus, "kill", unit, "KillUnit", "ssi", (unit, who, signal), deadline)


def freeze_unit(bus: Bus, unit: str, *, deadline: float) -> None:
    """Freeze the processes of `unit`; they are frozen on return. BusError."""
    try:
        _ask(bus, "freeze", unit, "FreezeUnit", "s", (unit,), deadline)
    except BusError as error:
        if error.name == "timeout":  # it may yet be done, and must not last: what comes after it is done after it
            bus.send(SYSTEMD, ROOT, MANAGER, "ThawUnit", "s", (unit,), deadline=monotonic() + LOOK)
        raise


def thaw_unit(bus: Bus, unit: str, *, deadline: float) -> None:
    """Let the processes of `unit` run again. BusError."""
    _ask(bus, "thaw", unit, "ThawUnit", "s", (unit,), deadline)


def attach_processes(bus: Bus, unit: str, pids: Sequence[int], *, subgroup: str = "", deadline: float) -> None:
    """Move `pids` into `unit`, or into the cgroup `subgroup` (`/name`) below it. BusError."""
    values = (unit, subgroup, list(pids))
    _ask(bus, "attach processes to", unit, "AttachProcessesToUnit", "ssau", values, deadline)


def set_unit_properties(
    bus: Bus, unit: str, properties: Sequence[Property], *, runtime: bool = True, deadline: float
) -> None:
    """Change properties of `unit` that lives; `runtime` ones are gone after a reboot. BusError, Unsupported."""
    values = (unit, runtime, [(name, (kind, value)) for name, kind, value in properties])
    _ask(bus, "set properties of", unit, "SetUnitProperties", "sba(sv)", values, deadline)


def unit_properties(bus: Bus, unit: str, interface: str, names: Sequence[str], *, deadline: float) -> dict[str, Any]:
    """Return the properties `names` of `unit`; `interface` is `Unit`, `Scope`, `Service`, … BusError.

    A unit that does not exist has the LoadState `not-found` and the ActiveState `inactive`.
    """
    try:
        return _get(bus, unit_path(unit), f"{SYSTEMD}.{interface}", names, deadline)
    except BusError as error:
        raise _explained("look at", unit, error) from None


def _get(bus: Bus, path: str, interface: str, names: Sequence[str], deadline: float) -> dict[str, Any]:
    def get() -> dict[str, Any]:
        # all are asked for before the first answer is awaited: one switch to systemd and back
        asked = [bus.send(SYSTEMD, path, PROPERTIES, "Get", "ss", (interface, n), deadline=deadline) for n in names]
        return {name: bus.reply(serial, deadline).values()[0][1] for name, serial in zip(names, asked, strict=True)}

    return insist(bus, get, deadline)


def unit_path(unit: str) -> str:
    """Return the object path of `unit`. All but ASCII letters and digits becomes `_` and hex; so does a first digit."""
    escaped = [
        chr(b) if chr(b) in LETTERS or (at and chr(b) in DIGITS) else f"_{b:02x}" for at, b in enumerate(unit.encode())
    ]
    return f"{ROOT}/unit/{''.join(escaped) or '_'}"


def get_unit_by_pid(bus: Bus, pid: int, *, deadline: float) -> str:
    """Return the name of the unit that the process `pid` is in. BusError (`…NoUnitForPID`)."""
    path = _ask(bus, "find the unit of", f"pid {pid}", "GetUnitByPID", "u", (pid,), deadline).values()[0]
    return str(_get(bus, path, f"{SYSTEMD}.Unit", ("Id",), deadline)["Id"])


def full_version(bus: Bus, *, deadline: float) -> str:
    """Return the version of systemd as it says it: `257.9-1~deb13u1`. BusError."""
    return str(_get(bus, ROOT, MANAGER, ("Version",), deadline)["Version"])


def version(bus: Bus, *, deadline: float) -> int:
    """Return the major version of systemd: 257. BusError."""
    return major(full_version(bus, deadline=deadline))


def major(text: str) -> int:
    """Return the number of a systemd that calls itself `257.9-1~deb13u1` or `v258~rc1`. BusError for no number."""
    rest = text.lstrip("v")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    if not digits:
        raise BusError("malformed", f"systemd calls its version `{text}`")
    return int(digits)
