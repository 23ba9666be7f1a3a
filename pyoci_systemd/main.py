"""The front door. This runs on every call: it imports nothing that a hot verb can do without.

It understands every correct command line by itself; help, completion and mistakes are click's (cli/commands.py).
"""

from __future__ import annotations

import _signal
import posix
import sys

from . import log
from .cli.options import GLOBALS, HOT, arguments, split
from .errors import Error, because
from .settings import Options, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .cli.options import Command, Verb

COMPLETE = b"_PYOCI_COMPLETE"  # the variable by which a shell asks click for completions


def main() -> NoReturn:
    """Run the command in sys.argv, as an installed script has it, and leave the process."""
    leave(sys.argv[1:], 0, sys.argv[0])


def launched() -> NoReturn:
    """Run the command as the launcher hands it to us: SCRIPT WARM_PID ARGV0 ARG…, and leave the process."""
    leave(sys.argv[3:], int(sys.argv[1]), sys.argv[2])


def leave(args: list[str], warm_pid: int, argv0: str) -> NoReturn:
    """Perform the command and leave: nothing is left to tidy up, and the interpreter takes 1.5 ms to do it."""
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:
        plug()
    if sys.stdout.errors == "strict":
        # a path whose bytes are no UTF-8 is shown as it is
        sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    posix._exit(answer(args, warm_pid, argv0))


def answer(args: list[str], warm_pid: int = 0, argv0: str = "pyoci") -> int:
    """Perform the command and return its exit status. Never raises: a mistake is told in one line."""
    try:
        status = perform(args, warm_pid, argv0)
        flush()
        return status
    except SystemExit as leaving:  # click, after completion
        return leaving.code if isinstance(leaving.code, int) else 0
    except BaseException as mistake:
        return report(mistake)


def perform(args: list[str], warm_pid: int, argv0: str) -> int:
    """Understand the command line and hand it to its verb. Returns the exit status; raises what the verb raises."""
    # the launcher holds it back until there is somebody to say what happened
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGINT,))
    command = None if posix.environ.get(COMPLETE) else understand(args)
    if command is None:
        from .cli import commands

        command = commands.understand(args)
        if command is None:
            return 0
    refuse_handler(argv0.rpartition("/")[2])
    values, verb, chosen = command
    module = f"{__package__}.{'cli.version' if values.pop('version') else f'container.{verb}'}"
    __import__(module)
    settings = Settings(**values, warm_pid=warm_pid, argv0=argv0)  # type: ignore[arg-type]
    status: int = sys.modules[module].main(settings, Options(**chosen))
    return status


def understand(args: list[str]) -> Command | None:
    """Return what the command line says; None when click has to look at it.

    The log is set up on the way, before the verb is looked at: a client finds mistakes there too.
    """
    parted = split(args, GLOBALS, permute=False)
    if parted is None:
        return None
    values, words = parted
    log.use(log.Log(str(values["log"]), str(values["log_format"]), str(values["log_level"])))
    if values["version"]:
        return values, "", {}
    verb = named(words[0]) if words else None
    if verb is None:
        return None
    parted = split(words[1:], verb.options, permute=verb.permute)
    if parted is None:
        return None
    chosen, words = parted
    given = arguments(words, verb.arguments)
    if given is None:
        return None
    log.about(str(given.get("id", "")))
    return values, verb.name, {**chosen, **given}


def named(word: str) -> Verb | None:
    """Return the verb of that name, None when there is none."""
    if word in HOT:
        return HOT[word]
    from .cli.verbs import COLD

    return COLD.get(word)


def refuse_handler(name: str) -> None:
    """Raise Error when we are called by a name by which crun runs a container otherwise, in a virtual machine say."""
    if name == "krun" or name.startswith(("crun-", "pyoci-")):
        handler = name.partition("-")[2] or name
        raise Error(f"called as `{name}`: there is no handler `{handler}`", hint="called as `pyoci` it runs containers")


def report(mistake: BaseException) -> int:
    """Tell what went wrong, in one line, and return the exit status for it."""
    _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGINT,))  # this is the last word
    error = as_error(mistake)
    if log.wants("debug") and not isinstance(mistake, Error):
        import traceback

        traceback.print_exception(mistake)
    log.error(error.message)
    if error.hint and posix.isatty(2):
        log.hint(error.hint)
    try:
        flush()
    except Error:
        return error.status  # one line is enough, and the first mistake matters more
    return error.status


def as_error(mistake: BaseException) -> Error:
    """Return the mistake in the words of the house."""
    if isinstance(mistake, Error):
        return mistake
    if isinstance(mistake, KeyboardInterrupt):
        return Error("interrupted", status=130)
    if isinstance(mistake, MemoryError):
        return Error("out of memory")
    if isinstance(mistake, OSError) and mistake.errno:
        return because(f"`{mistake.filename}`" if mistake.filename else "input or output failed", mistake)
    return Error(f"internal error: {type(mistake).__name__}: {mistake}", hint="`--debug` shows where")


def flush() -> None:
    """Write out what was printed. Raises Error: a full disk or a closed pipe must not look like success."""
    try:
        sys.stdout.flush()
    except OSError as error:
        raise because("cannot write to standard output", error) from error


class Closed:
    """Standard output of a caller that closed it: what is printed is an error, not lost."""

    errors = "closed"

    def write(self, text: str) -> int:
        raise Error("standard output is closed")

    def flush(self) -> None:
        """Nothing was written."""


def plug() -> None:
    """Put /dev/null where standard streams are closed, or the next file we open would become one of them."""
    for fd in (0, 1, 2):
        try:
            posix.fstat(fd)
        except OSError:
            posix.set_inheritable(posix.open("/dev/null", posix.O_RDWR), True)  # the lowest free one: fd
    if sys.stdout is None:
        sys.stdout = Closed()
