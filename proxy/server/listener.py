"""Where clients connect: a TCP port or a Unix socket, opened and closed without losing connections."""

import asyncio
import socket
from collections.abc import Callable

from proxy.server.acceptor import Acceptor
from proxy.server.endpoint import Endpoint
from proxy.server.handshakes import HandshakeRules, Handshakes
from proxy.server.socket_file import BACKLOG
from proxy.transport.protocols import as_protocol


class Listener:
    """One address. `make` returns the protocol of a connection; with `tls`, connections begin with a handshake.

    The loop accepts plain connections itself. It does not report pending TLS handshakes, so TLS connections are
    accepted here.
    """

    def __init__(self, endpoint: Endpoint, make: Callable[[], object], tls: HandshakeRules | None = None) -> None:
        self._endpoint = endpoint
        self._make = as_protocol(make)
        self._handshakes = None if tls is None else Handshakes(make, tls)
        self._doors: list[socket.socket] = []
        self._open: list[asyncio.Server | Acceptor] = []

    async def open(self) -> None:
        """Start listening. Raise StartError."""
        self._doors = await self._endpoint.open()
        try:
            for door in self._doors:
                self._open.append(await self._opened(door))
        except BaseException:
            self.close()
            raise

    async def _opened(self, door: socket.socket) -> asyncio.Server | Acceptor:
        loop = asyncio.get_running_loop()
        if self._handshakes is not None:
            return Acceptor(door, self._handshakes.begin)
        if door.family == socket.AF_UNIX:
            return await loop.create_unix_server(self._make, sock=door, backlog=BACKLOG)
        return await loop.create_server(self._make, sock=door, backlog=BACKLOG)

    def renew(self, make: Callable[[], object], tls: HandshakeRules) -> None:
        """Use these for further connections; the listener must already use TLS."""
        assert self._handshakes is not None
        self._make = as_protocol(make)
        self._handshakes.renew(make, tls)

    @property
    def url(self) -> str:
        """Return the URL for clients, with the bound port."""
        return self._endpoint.url("http" if self._handshakes is None else "https")

    @property
    def handshakes(self) -> int:
        """Return the number of pending TLS handshakes."""
        return 0 if self._handshakes is None else len(self._handshakes)

    async def drain_backlog(self) -> None:
        """Stop listening, but first accept the kernel's backlog, whose connections would be reset otherwise."""
        visitors = [visitor for door in self._doors for visitor in _last_visitors(door)]
        self._stop_listening()
        for visitor in visitors:
            if self._handshakes is not None:
                self._handshakes.begin(visitor)
                continue
            try:
                await asyncio.get_running_loop().connect_accepted_socket(self._make, visitor)
            except OSError:  # the client has left
                visitor.close()

    def close(self) -> None:
        """Stop listening at once and cancel pending handshakes."""
        self._stop_listening()
        if self._handshakes is not None:
            self._handshakes.close()

    def _stop_listening(self) -> None:
        for opened in self._open:
            opened.close()
        for door in self._doors[len(self._open) :]:
            door.close()
        self._open, self._doors = [], []
        self._endpoint.remove()


def _last_visitors(door: socket.socket) -> list[socket.socket]:
    """Accept the whole backlog. The caller closes without an await in between: later connections would be lost."""
    visitors: list[socket.socket] = []
    door.setblocking(False)
    while True:
        try:
            visitors.append(door.accept()[0])
        except OSError:  # the backlog is empty, or no file descriptor is left
            return visitors
