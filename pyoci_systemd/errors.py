"""The errors a user sees: one line, lower case, backticks round paths, the errno's text last."""

from __future__ import annotations

from posix import strerror


class Error(Exception):
    """What a verb could not do.

    `message` is the one line that is printed and logged. `hint`, when there is one, says how to mend it
    and is shown on a terminal only. `status` is the exit status of the command.
    """

    def __init__(self, message: str, *, hint: str = "", status: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.status = status


class SpecError(Error):
    """config.json (or another JSON document handed to us) asks for something invalid."""


class NotFound(Error):
    """No such container. Clients look for the words `does not exist`."""


class BusError(Error):
    """The bus, or systemd behind it, refused or did not answer.

    `name` is the D-Bus error name, or `timeout`, `closed`, `connect` for what happened on our side.
    """

    def __init__(self, name: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.name = name


def because(what: str, error: OSError) -> Error:
    """Return an Error that says `what`, then the errno's text."""
    return Error(f"{what}: {reason(error)}")


def reason(error: OSError) -> str:
    """Return the errno's text; without one, the words of whoever raised it (a socket's timeout)."""
    return strerror(error.errno) if error.errno else str(error)


def quoted(string: str) -> str:
    """Return `string` as JSON writes it, in ASCII and cut short: safe to print, always one line."""
    try:
        from _json import encode_basestring
    except ImportError:  # an interpreter built without the accelerator
        from json.encoder import encode_basestring
    cut = string if len(string) <= 64 else string[:61] + "..."
    return encode_basestring(cut).encode("ascii", "backslashreplace").decode("ascii").replace("\x7f", "\\x7f")


def printable(text: str) -> str:
    """Return text of unknown origin so that it stays on its line and does nothing to a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def failure(complaint: str, reason: str) -> str:
    """Return the error line for a step of the init; `reason` is the errno's text.

    What concerns the executable has the exact words that clients look for, which are lower case throughout.
    """
    if not complaint.startswith("exec: "):
        return f"{complaint}: {reason}"
    if reason == "Permission denied":
        name = complaint[len(complaint) - (len(complaint) - len('exec: "": stat ')) // 2 :]
        if complaint == f'exec: "{name}": stat {name}':
            complaint = f'exec: "{name}"'
    return f"{complaint}: {reason[0].lower()}{reason[1:]}"
