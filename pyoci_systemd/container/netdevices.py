"""linux.netDevices: moved from our network namespace to the container's, and back when the creation fails.

Everything in the container's is said over a socket that its init has opened there: nobody changes the namespace.
"""

from __future__ import annotations

import posix
from errno import ENODEV

from .. import log
from ..errors import Error, because, printable
from ..plan import namespaces
from ..record import Record
from .rtnetlink import Address, Link, Network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config

OURS = "/proc/self/ns/net"


class Moved(Record):
    """A device that is in the container, and what it was outside."""

    before: Link
    addresses: list[Address]
    index: int
    """its number in the container"""


class Devices:
    """The devices of one container that is being created."""

    def __init__(self, config: Config) -> None:
        """Look for them. Raises Error for those that are not there, and when the container's network is our own."""
        self._wanted = config["linux"]["netDevices"]
        self._moved: list[Moved] = []
        self._check_namespace(namespaces.wanted(config).get("network", ""))
        self._outside = Network()
        self._inside = self._outside
        for name in self._wanted:
            try:
                self._outside.link(name)
            except OSError as error:
                raise because(f"config.json: linux.netDevices: network device `{printable(name)}`", error) from None

    def _check_namespace(self, path: str) -> None:
        try:
            if path and posix.stat(path).st_ino == posix.stat(OURS).st_ino:
                raise Error(f"config.json: linux.netDevices: the network namespace `{path}` is the host's own")
        except OSError as error:
            raise because(f"network namespace `{path}`", error) from None

    def take(self, route_socket: int, pid: int) -> None:
        """Move them all to the network namespace of process `pid`, to which the socket belongs, and bring them up.

        Raises Error; some may have been moved by then.
        """
        self._inside = Network(route_socket)
        theirs = posix.open(f"/proc/{pid}/ns/net", posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            for outside, device in self._wanted.items():
                inside = device.get("name", outside)
                try:
                    self._take(outside, inside, theirs)
                except OSError as error:
                    said = f" as `{printable(inside)}`" if inside != outside else ""
                    what = f"cannot move the network device `{printable(outside)}` to the container{said}"
                    raise because(f"config.json: linux.netDevices: {what}", error) from None
        finally:
            posix.close(theirs)

    def _take(self, outside: str, inside: str, theirs: int) -> None:
        before = self._outside.link(outside)
        addresses = self._outside.addresses(before.index)
        # under a name that nobody has: its number may be another one in there, and the name it is to have may be
        # taken (NET2), or be found by the kernel
        passage = f"pyoci{posix.getpid()}"
        self._outside.move(before.index, theirs, passage)
        index = self._inside.link(passage).index
        self._moved.append(Moved(before, addresses, index))
        self._inside.rename(index, inside)
        settle(self._inside, index, before.name, addresses)
        self._inside.bring_up(index)

    def give_back(self) -> None:
        """Undo it. A device that cannot be brought back is warned about: the container's failure is what is told."""
        for moved in reversed(self._moved):
            name = moved.before.name
            try:
                index = self._bring_back(moved)
                settle(self._outside, index, name, moved.addresses)
                if moved.before.up:
                    self._outside.bring_up(index)
            except OSError as error:
                if error.errno != ENODEV:  # its other end has been taken away meanwhile
                    log.warning(because(f"cannot bring back the network device `{printable(name)}`", error).message)
        self.close()

    def _bring_back(self, moved: Moved) -> int:
        """Move one device back and return its number: the one that it had, for others know it by that."""
        before = moved.before
        ours = posix.open(OURS, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            try:
                self._inside.move(moved.index, ours, before.name, before.index)
            except OSError:
                self._inside.move(moved.index, ours, before.name)
        finally:
            posix.close(ours)
        return self._outside.link(before.name).index

    def close(self) -> None:
        """Leave them to the container."""
        self._moved = []
        self._outside.close()
        self._inside.close()


def settle(network: Network, index: int, old: str, addresses: list[Address]) -> None:
    """Give a device the addresses that it had elsewhere, when it was called `old`. Raises OSError."""
    link = network.link_at(index)
    for address in addresses:
        network.add(link, address, old)
