"""Drop-ins for `pyoci@.service` and `pyoci@.socket`: what a container is to have otherwise than these say.

Pure: options in, text out. What systemd would read otherwise than it was meant is quoted or refused here.
"""

from __future__ import annotations

import ipaddress
import re

from ..errors import Error
from ..record import Record
from . import vsock

SUFFIXES = "service socket device mount automount swap target path timer slice scope".split()
UNIT = re.compile(rf"[A-Za-z0-9:_.\\@-]+\.({'|'.join(SUFFIXES)})", re.ASCII)
SPAN = re.compile(r"[0-9]+(\.[0-9]+)?(us|ms|s|min|h|d|w)?", re.ASCII)
CREDENTIAL = re.compile(r"[A-Za-z0-9_.-]{1,255}", re.ASCII)
LONGEST_UNIT, LONGEST_PATH = 255, 107
RESTART, NOTIFY = "on-failure", "runtime"  # what the shipped unit has
HEAD = "# Written by `pyoci unit`, and written anew by the next. Your own changes belong in another file beside it.\n"


class Wishes(Record):
    """What the container is to have."""

    bundle: str = ""
    """absolute path; "" for the place of the shipped unit"""
    sockets: list[str] = []
    restart: str = RESTART
    notify: str = NOTIFY
    watchdog: str = ""
    stop_timeout: str = ""
    credentials: list[str] = []
    after: list[str] = []


def instance(container_id: str) -> str:
    """Return the id as the instance of a unit. Raises Error: the unit takes it literally, so nothing is escaped."""
    if "+" in container_id:
        raise Error(f"container id `{container_id}`: `+` cannot stand in the name of a unit")
    return container_id


def service(wishes: Wishes) -> str:
    """Return the drop-in of the service, "" when it needs none. Raises Error."""
    unit = [f"After={unit_name(name)}" for name in wishes.after]
    if wishes.bundle:
        unit += [f"RequiresMountsFor={quoted(wishes.bundle, '--bundle')}"]
    lines = []
    if wishes.bundle:
        lines += [f"Environment={quoted(f'PYOCI_BUNDLE={wishes.bundle}', '--bundle')}"]
    notify = wishes.notify
    if notify == "none":
        if wishes.watchdog:
            raise Error("--watchdog: with `--notify none` nobody says that the program lives")
        lines += ["Type=exec"]  # a Type=notify would wait for a word that nobody says
    if wishes.watchdog:
        # a supervisor that says so says nothing of the program
        notify = "container"
        lines += [f"WatchdogSec={span(wishes.watchdog, '--watchdog')}"]
    if notify != NOTIFY:
        lines += [f"Environment=PYOCI_NOTIFY={notify}"]
    if wishes.stop_timeout:
        lines += [f"TimeoutStopSec={span(wishes.stop_timeout, '--stop-timeout')}"]
    if wishes.restart != RESTART:
        lines += [f"Restart={wishes.restart}"]
    lines += [f"LoadCredential={credential(text)}" for text in wishes.credentials]
    if wishes.credentials:
        lines += ["Environment=PYOCI_CREDENTIALS=--credentials"]
    return text(("Unit", unit), ("Service", lines))


def socket(wishes: Wishes) -> str:
    """Return the drop-in of the socket, "" when the container has none. Raises Error."""
    # an empty one first: the shipped unit's own address is for those who name none
    lines = [listen(address) for address in wishes.sockets]
    return text(("Socket", ["ListenStream=", *lines] if lines else []))


def text(*sections: tuple[str, list[str]]) -> str:
    """Return the sections that have lines as a file, "" when none has."""
    blocks = ["\n".join((f"[{name}]", *lines, "")) for name, lines in sections if lines]
    return "\n".join((HEAD, *blocks)) if blocks else ""


# -- values


def literal(value: str, what: str) -> str:
    """Return a value that reaches to the end of its line, specifiers escaped. Raises Error for what no line can say."""
    if not value.isprintable() or value.endswith("\\") or value != value.strip():
        raise Error(f"{what}: `{ascii(value)[1:-1]}` cannot stand in a unit")
    return value.replace("%", "%%")


def quoted(value: str, what: str) -> str:
    """Return a value as one word. Raises Error: settings differ in what a backslash or a quote says in a word."""
    if "\\" in value or '"' in value:
        raise Error(f"{what}: a path with backslashes or quotes cannot stand in a unit")
    value = literal(value, what)
    return f'"{value}"' if " " in value or "'" in value or ";" in value else value


def unit_name(name: str) -> str:
    """Return the name of a unit. Raises Error."""
    if not UNIT.fullmatch(name) or len(name) > LONGEST_UNIT:
        raise Error(f"--after: `{name}` is not the name of a unit", hint="it ends in `.service`, `.target` …")
    return name


def span(value: str, what: str) -> str:
    """Return a time span, in seconds where it has no unit. Raises Error."""
    if not SPAN.fullmatch(value) and value != "infinity":
        raise Error(f"{what}: `{value}` is not a time span", hint="seconds, or a number with `ms`, `s`, `min`, `h`")
    return value


def credential(value: str) -> str:
    """Return `NAME:PATH`, or `NAME` for one that the manager itself was given. Raises Error."""
    name, colon, path = value.partition(":")
    if not CREDENTIAL.fullmatch(name) or name in (".", "..") or (colon and not path):
        raise Error(f"--credential: `{value}` is not of the form `NAME:PATH`")
    written = literal(path, "--credential")
    if " " in path:  # 257 starts none, quoted or not, and does not say why
        reason = "systemd may start no service with a blank in it"
        raise Error(f"--credential: `{path}`: {reason}", hint="make a link to it that has none")
    if "/" in path and path[0] != "/":
        hint = "a plain name is looked for in /etc/credstore"
        raise Error(f"--credential: `{path}` is not absolute", hint=hint)
    return f"{name}:{written}" if colon else name


def listen(address: str) -> str:
    """Return the setting that listens on an address. Raises Error."""
    kind = "ListenDatagram" if address.startswith("datagram:") else "ListenStream"
    place = address.removeprefix("datagram:")
    if not (path(place) or port(place) or endpoint(place) or vsock.parse(place)):
        raise Error(
            f"--socket: `{address}` is not an address",
            hint="a path, `@NAME`, PORT, IPV4:PORT, [IPV6]:PORT, vsock:[CID]:PORT; `datagram:` before it for no stream",
        )
    return f"{kind}={literal(place, '--socket')}"


def path(place: str) -> bool:
    """Is this a path of a socket, or an abstract name."""
    return place[:1] in ("/", "@") and 1 < len(place.encode("utf-8", "surrogateescape")) <= LONGEST_PATH


def port(place: str) -> bool:
    """Is this a port."""
    return place.isascii() and place.isdigit() and len(place) < 6 and 0 < int(place) < 1 << 16


def endpoint(place: str) -> bool:
    """Is this a port of an address."""
    host, colon, number = place.rpartition(":")
    six = host.startswith("[") and host.endswith("]")
    try:
        known = ipaddress.IPv6Address(host[1:-1]) if six else ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return bool(known is not None and colon and port(number))
