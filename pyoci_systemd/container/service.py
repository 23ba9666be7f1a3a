"""What our service manager gave us and is the container's: sockets, and its ear. Made only where there is something."""

from __future__ import annotations

import posix

from ..errors import Error, SpecError, because
from ..plan.facts import Handover
from ..plan.handover import names
from ..settings import environ
from ..systemd.notify import place
from . import activation, notify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Options
    from ..spec.types import Config
    from .sockets import Address
    from .store import Known

STORING = "org.pyoci.fdstore"


class Service:
    """The service that runs one container. `waits`: the container waits for `start`, which is not run by us."""

    def __init__(self, config: Config, options: Options, waits: bool) -> None:
        self.passed = activation.passed()
        self.addresses: list[Address] = []
        self.proxy: notify.Proxy | None = None
        self._waits = waits
        self._stays = not waits and not options.detach
        self._storing = stored(config)
        self._offset = clock_offset(config)
        # who hands over its own socket listens there itself, as conmon does
        theirs = "process" in config and "NOTIFY_SOCKET" in names(config["process"])
        # and where the runtime itself is asked to say that it runs, or nobody, the program has nobody to tell
        unheard = theirs or (not waits and options.notify != "container")
        self._address = "" if unheard else environ("NOTIFY_SOCKET")
        if self._address:
            place(self._address)  # it is one
        self._first = activation.FIRST + self.passed.count
        if options.sockets:
            from . import sockets  # for a try by hand

            if options.preserve_fds:
                raise Error("--socket and --preserve-fds cannot be given together: both number descriptors from 3 on")

            self.addresses = [sockets.parse(text) for text in options.sockets]
            sockets.check(self.addresses)
            for address in self.addresses:
                self.passed.add(address.name)
            self._reserve()

    def remember(self, known: Known) -> None:
        """Put into the state what `start` and `delete` have to know of it."""
        known.notify = bool(self._address)
        known.clock_offset = self._offset
        if self.addresses:
            from . import sockets

            known.sockets = sockets.paths(self.addresses)

    def handover(self, state_dir: str) -> Handover:
        """Return what the plan has to know of it."""
        variables, own_pid = self.passed.variables(), self.passed.own_pid()
        if not self._address:
            return Handover(variables, own_pid, [])
        variables.append(f"NOTIFY_SOCKET={notify.INSIDE}/{notify.NAME}")
        if self._stays and watchdog():
            # it waits for the program to say WATCHDOG=1, which somebody has to pass on
            variables.append(f"WATCHDOG_USEC={watchdog()}")
            own_pid.append("WATCHDOG_PID")
        source = f"{state_dir}/{notify.DIRECTORY}"
        options = ["bind", "ro", "nosuid", "nodev", "noexec"]
        return Handover(
            variables,
            own_pid,
            [{"destination": notify.INSIDE, "type": "bind", "source": source, "options": options}],
        )

    def _reserve(self) -> None:
        """Take the numbers of the sockets of our own making, before anything else of ours gets one of them."""
        for number in self._numbers():
            posix.dup2(0, number)

    def _numbers(self) -> range:
        return range(self._first, self._first + len(self.addresses))

    # -- the side effects

    def open(self, state_dir: str, known: Known) -> None:
        """Make what the container finds. Raises Error."""
        if self._address:
            try:
                posix.mkdir(f"{state_dir}/{notify.DIRECTORY}", 0o755)
            except OSError as error:
                raise because(f"cannot make `{state_dir}/{notify.DIRECTORY}`", error) from None
        if self._address and not self._waits:
            self.proxy = notify.Proxy(state_dir, self._address, known, self._storing, self._offset)
        try:
            for number, address in zip(self._numbers(), self.addresses):
                from . import sockets

                made = sockets.listen(address)
                posix.dup2(made.fileno(), number)
                made.close()
        except BaseException:
            self.given()
            raise

    def given(self) -> None:
        """Let go of the sockets of our own making: the container has them, and nobody listens when it has gone."""
        for number in self._numbers():
            posix.close(number)
        self.addresses = []


def watchdog() -> str:
    """Return how many µs our service manager's watchdog waits for us, "" when it does not (sd_watchdog_enabled(3))."""
    ours = environ("WATCHDOG_PID") in ("", str(posix.getpid()))
    return environ("WATCHDOG_USEC") if ours else ""


def stored(config: Config) -> bool:
    """Does the service keep descriptors for the container (FileDescriptorStoreMax=). Raises SpecError."""
    word = (config.get("annotations") or {}).get(STORING, "false")
    if word not in ("true", "false"):
        raise SpecError(f"config.json: annotations: {STORING}: `{word}` is neither true nor false")
    return word == "true"


def clock_offset(config: Config) -> int:
    """Return how many µs the container's monotonic clock is ahead of ours."""
    offset = config.get("linux", {}).get("timeOffsets", {}).get("monotonic", {})
    return int(offset.get("secs", 0)) * 1000000 + int(offset.get("nanosecs", 0)) // 1000


def listen_for_start(state_dir: str, known: Known) -> notify.Proxy:
    """Return where a container that `start` lets run says that it is ready. Raises Error."""
    storing = stored({"annotations": known.annotations})  # type: ignore[typeddict-item]
    return notify.Proxy(state_dir, environ("NOTIFY_SOCKET"), known, storing, known.clock_offset)
