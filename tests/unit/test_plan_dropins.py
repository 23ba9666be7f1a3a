"""Drop-ins: what stands in them, and what is refused because systemd would read it otherwise than it was meant."""

from __future__ import annotations

import pytest

from pyoci_systemd.errors import Error
from pyoci_systemd.plan import dropins
from pyoci_systemd.plan.dropins import Wishes

ALL = Wishes(
    bundle="/srv/web",
    sockets=["80", "/run/web.sock", "@web", "127.0.0.1:8080", "[::1]:8080", "datagram:53", "vsock::80"],
    restart="always",
    watchdog="30",
    stop_timeout="5min",
    credentials=["key:/etc/web%key", "token"],
    after=["postgresql.service", "srv-web.mount"],
)
SERVICE = """\
[Unit]
After=postgresql.service
After=srv-web.mount
RequiresMountsFor=/srv/web

[Service]
Environment=PYOCI_BUNDLE=/srv/web
WatchdogSec=30
Environment=PYOCI_NOTIFY=container
TimeoutStopSec=5min
Restart=always
LoadCredential=key:/etc/web%%key
LoadCredential=token
Environment=PYOCI_CREDENTIALS=--credentials
"""
SOCKET = """\
[Socket]
ListenStream=
ListenStream=80
ListenStream=/run/web.sock
ListenStream=@web
ListenStream=127.0.0.1:8080
ListenStream=[::1]:8080
ListenDatagram=53
ListenStream=vsock::80
"""


def test_whole() -> None:
    assert dropins.service(ALL) == f"{dropins.HEAD}\n{SERVICE}"
    assert dropins.socket(ALL) == f"{dropins.HEAD}\n{SOCKET}"


def test_what_the_shipped_units_say_is_not_said_again() -> None:
    assert dropins.service(Wishes()) == ""
    assert dropins.socket(Wishes()) == ""
    assert dropins.service(Wishes(restart="on-failure", notify="runtime")) == ""


@pytest.mark.parametrize(("bundle", "said"), [
    ("/srv/a b", 'Environment="PYOCI_BUNDLE=/srv/a b"'),
    ("/srv/100%", "Environment=PYOCI_BUNDLE=/srv/100%%"),
    ("/srv/$HOME", "Environment=PYOCI_BUNDLE=/srv/$HOME"),  # no variable there (systemd.exec(5), Environment=)
    ("/srv/it's", 'Environment="PYOCI_BUNDLE=/srv/it\'s"'),
    ("/srv/ü", "Environment=PYOCI_BUNDLE=/srv/ü"),
])  # fmt: skip
def test_quoting(bundle: str, said: str) -> None:
    assert said in dropins.service(Wishes(bundle=bundle)).splitlines()


REFUSED: list[tuple[dict[str, object], str]] = [
    ({"bundle": "/srv/a\nExecStart=/bin/evil"}, "--bundle: `/srv/a\\nExecStart=/bin/evil` cannot stand in a unit"),
    ({"bundle": '/srv/"'}, "--bundle: a path with backslashes or quotes cannot stand in a unit"),
    ({"bundle": "/srv/\\"}, "--bundle: a path with backslashes or quotes cannot stand in a unit"),
    ({"bundle": "/srv/\u2028"}, "--bundle: `/srv/\\u2028` cannot stand in a unit"),
    ({"sockets": [""]}, "--socket: `` is not an address"),
    ({"sockets": ["0"]}, "--socket: `0` is not an address"),
    ({"sockets": ["65536"]}, "--socket: `65536` is not an address"),
    ({"sockets": ["８０"]}, "--socket: `８０` is not an address"),
    ({"sockets": ["web:80"]}, "--socket: `web:80` is not an address"),
    ({"sockets": ["::1:80"]}, "--socket: `::1:80` is not an address"),
    ({"sockets": ["[::1]"]}, "--socket: `[::1]` is not an address"),
    ({"sockets": ["vsock:2"]}, "--socket: `vsock:2` is not an address"),
    ({"sockets": ["@"]}, "--socket: `@` is not an address"),
    ({"sockets": ["run/web"]}, "--socket: `run/web` is not an address"),
    ({"sockets": ["/" + "x" * 107]}, f"--socket: `/{'x' * 107}` is not an address"),
    ({"sockets": ["/run/a\nExec"]}, "--socket: `/run/a\\nExec` cannot stand in a unit"),
    ({"sockets": ["/run/a "]}, "--socket: `/run/a ` cannot stand in a unit"),
    ({"watchdog": "soon"}, "--watchdog: `soon` is not a time span"),
    ({"watchdog": "1\n"}, "--watchdog: `1\n` is not a time span"),
    ({"stop_timeout": "-1"}, "--stop-timeout: `-1` is not a time span"),
    ({"credentials": ["key:"]}, "--credential: `key:` is not of the form `NAME:PATH`"),
    ({"credentials": [":/etc/key"]}, "--credential: `:/etc/key` is not of the form `NAME:PATH`"),
    ({"credentials": ["../key:/etc/key"]}, "--credential: `../key:/etc/key` is not of the form `NAME:PATH`"),
    ({"credentials": ["key:/etc/key\\"]}, "--credential: `/etc/key\\\\` cannot stand in a unit"),
    (
        {"credentials": ["key:/etc/web key"]},
        "--credential: `/etc/web key`: systemd may start no service with a blank in it",
    ),
    ({"credentials": ["key:./key"]}, "--credential: `./key` is not absolute"),
    ({"after": ["postgresql"]}, "--after: `postgresql` is not the name of a unit"),
    ({"after": ["a.service b.service"]}, "--after: `a.service b.service` is not the name of a unit"),
    ({"after": ["a.service\n"]}, "--after: `a.service\n` is not the name of a unit"),
    ({"after": ["%i.service"]}, "--after: `%i.service` is not the name of a unit"),
]


def test_refused() -> None:
    for wishes, message in REFUSED:
        with pytest.raises(Error) as caught:
            dropins.service(Wishes(**wishes)) + dropins.socket(Wishes(**wishes))  # type: ignore[arg-type]
        assert caught.value.message == message, wishes


def test_instance() -> None:
    assert dropins.instance("my-web_1.2") == "my-web_1.2"
    with pytest.raises(Error, match=r"container id `a\+b`: `\+` cannot stand in the name of a unit"):
        dropins.instance("a+b")
