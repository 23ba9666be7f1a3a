"""A web server in a container, and who asks it: lighttpd, which takes the sockets it is passed when LISTEN_PID is its pid."""

from __future__ import annotations

import socket

from tests.integration.conftest import Bundle
from tests.integration.needs import SLOWER
from tests.integration.program_scene import with_tools

PORT = 48210
SERVER = ["lighttpd", "-D", "-f", "/lighttpd.conf"]
CONFIG = f"""
server.systemd-socket-activation = "enable"
server.bind = "127.0.0.1"
server.port = {PORT}
server.document-root = "/pages"
index-file.names = ( "index.html" )
"""


def with_server(bundle: Bundle) -> Bundle:
    """Make the container a web server of one page."""
    with_tools(bundle)
    (bundle.rootfs / "lighttpd.conf").write_text(CONFIG)
    (bundle.rootfs / "pages").mkdir()
    (bundle.rootfs / "pages/index.html").write_text("hello")
    return bundle.args(*SERVER)


def connected(address: str) -> socket.socket:
    """Connect to a path or a port."""
    stream = socket.socket(socket.AF_UNIX if address.startswith("/") else socket.AF_INET)
    stream.settimeout(20 * SLOWER)
    stream.connect(address if address.startswith("/") else ("127.0.0.1", int(address.rpartition(":")[2])))
    return stream


def page(address: str) -> str:
    """Ask for the page."""
    with connected(address) as stream, stream.makefile("rw", newline="") as text:
        text.write("GET / HTTP/1.0\r\nHost: web\r\n\r\n")
        text.flush()
        head, _, body = text.read().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.0 200"), head
    return body
