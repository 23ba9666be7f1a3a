"""`pyoci unit`: drop-ins that fit the shipped units to one container. Whole units are never written."""

from __future__ import annotations

import posix
import sys

from .. import kernelfs, log
from ..errors import Error, because, reason
from ..plan import dropins
from ..settings import environ
from . import identity
from .caller import absolute, nameable
from .store import remove_file, write_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Options, Settings

SYSTEM = "/etc/systemd/system"
NAME = "50-pyoci.conf"
KINDS = ("service", "socket")


def main(settings: Settings, options: Options) -> int:
    """Write a container's drop-ins, or remove them, and say what comes next. Raises Error."""
    posix.umask(0o022)
    name = dropins.instance(identity.check(options.id))
    if options.remove:
        refuse_others(options)
        texts = dict.fromkeys(KINDS, "")
    else:
        asked = wishes(options)
        forgot_user = posix.geteuid() and not options.of_user
        hint = "`--user` is for the units of a user" if forgot_user else ""
        check_bundle(asked.bundle or place(options.of_user, name), hint)
        texts = {"service": dropins.service(asked), "socket": dropins.socket(asked)}
    directory = home(options.of_user)
    wanted = {f"{directory}/pyoci@{name}.{kind}.d/{NAME}": text for kind, text in texts.items()}
    done = replace(wanted)
    sys.stdout.write("".join(f"{line}\n" for line in [*done, *next_steps(name, options, bool(texts["socket"]))]))
    return 0


def refuse_others(options: Options) -> None:
    """Refuse what asks for drop-ins together with their removal. Raises Error."""
    asked, nothing = wishes(options), dropins.Wishes()
    for field in asked.fields:
        if getattr(asked, field) != getattr(nothing, field):
            option = field.rstrip("s").replace("_", "-")  # what may be given several times is a list
            raise Error(f"unit: `--{option}` has no effect on `--remove`", status=2)


def wishes(options: Options) -> dropins.Wishes:
    """Return what the command line asks for."""
    return dropins.Wishes(
        bundle=nameable(absolute(options.bundle)) if options.bundle else "",
        sockets=options.sockets,
        restart=options.restart,
        notify=options.notify,
        watchdog=options.watchdog,
        stop_timeout=options.stop_timeout,
        credentials=options.load_credentials,
        after=options.after,
    )


def user_directory(variable: str, below: str) -> str:
    """Return the directory that a variable names, or the one below the home directory. Raises Error."""
    named = environ(variable)
    if named.startswith("/"):  # a relative one is to be ignored (XDG Base Directory)
        return named
    home = environ("HOME")
    if not home.startswith("/"):
        raise Error("HOME is not set")
    return f"{home}/{below}"


def home(user: bool) -> str:
    """Return the directory of the manager's drop-ins."""
    return f"{user_directory('XDG_CONFIG_HOME', '.config')}/systemd/user" if user else SYSTEM


def place(user: bool, name: str) -> str:
    """Return the bundle of the shipped unit."""
    return f"{environ('HOME')}/.local/share/pyoci/{name}" if user else f"/var/lib/pyoci/{name}"


def check_bundle(path: str, hint: str = "") -> None:
    """Raise Error, with a hint, when there is no bundle at `path`."""
    try:
        posix.stat(f"{path}/config.json")
    except OSError as error:
        raise Error(f"bundle: `{path}/config.json`: {reason(error)}", hint=hint) from None


def replace(wanted: dict[str, str]) -> list[str]:
    """Make files have their texts, "" for not to be there: all or none. Returns what was done; raises Error."""
    before = {path: contents(path) for path in wanted}
    done = []
    try:
        for path, text in wanted.items():
            if text != before[path]:
                put(path, text)
                done.append(f"{'wrote' if text else 'removed'} `{path}`")
            elif text:
                done.append(f"`{path}` stays as it is")
    except Error:
        for path, text in before.items():
            try:
                put(path, text)
            except Error as another:
                log.warning(another.message)
        raise
    return done


def contents(path: str) -> str:
    """Return the text of a file, "" where there is none. Raises Error."""
    try:
        return kernelfs.whole(path)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise because(f"cannot read `{path}`", error) from None


def put(path: str, text: str) -> None:
    """Write a file and the directories above it; or remove it, and a directory that is empty then. Raises Error."""
    directory = path.rpartition("/")[0]
    if text:
        make(directory)
        try:
            write_whole(path, text.encode(), 0o644)
        except Error:
            remove_directory(directory)
            raise
        return
    remove_file(path)
    if kernelfs.exists(path):
        raise Error(f"cannot remove `{path}`")
    remove_directory(directory)


def make(path: str) -> None:
    """Make a directory and those above it that are missing. Raises Error."""
    try:
        try:
            posix.mkdir(path, 0o755)
        except FileNotFoundError:
            make(path.rpartition("/")[0])
            posix.mkdir(path, 0o755)  # once more and not again: what is above may be a link that leads nowhere
    except FileExistsError:
        return
    except OSError as error:
        raise because(f"cannot make `{path}`", error) from None


def remove_directory(path: str) -> None:
    """Remove a directory that is empty."""
    try:
        posix.rmdir(path)
    except OSError:
        return  # not ours alone


def next_steps(name: str, options: Options, socket: bool) -> list[str]:
    """Return the commands that come next, as a person would type them."""
    systemctl = "systemctl --user" if options.of_user else "systemctl"
    if options.remove:
        steps = [f"{systemctl} disable --now pyoci@{name}.socket pyoci@{name}.service", f"{systemctl} daemon-reload"]
    else:
        started = f"pyoci@{name}.{'socket' if socket else 'service'}"
        steps = [f"{systemctl} daemon-reload", f"{systemctl} enable --now {started}"]
        if options.of_user:
            steps.append("loginctl enable-linger    # to have it run without a login")
    return ["next:", *(f"    {step}" for step in steps)]
