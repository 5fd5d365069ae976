"""Where clients connect: a TCP port or a Unix socket, opened and closed without losing anybody (W17)."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable

from proxy.config.addresses import Address, Unix, parse_address
from proxy.errors import StartError
from proxy.threads import in_daemon_thread
from proxy.wire.dial import as_protocol
from proxy.wire.socket_file import BACKLOG, SocketFile


class Listener:
    """One address. `make` returns the protocol of a connection; with `tls`, connections begin with a handshake.

    `mode` is that of a Unix socket's file, None: as the process's umask has it.
    """

    def __init__(
        self, address: str, make: Callable[[], object], tls: ssl.SSLContext | None = None, mode: int | None = None
    ) -> None:
        self._named = address
        self._address: Address = parse_address(address)
        self._make = as_protocol(make)
        self._tls = tls
        self._file = SocketFile(self._address.path, mode) if isinstance(self._address, Unix) else None
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Begin to listen. Raises StartError."""
        try:
            self._server = await self._open()
        except OSError as error:
            reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
            raise StartError(f"cannot listen on {self._named} (listen.address): {reason}") from error

    async def _open(self) -> asyncio.Server:
        loop, address = asyncio.get_running_loop(), self._address
        if self._file is not None:
            listening = await in_daemon_thread(self._file.open)
            return await loop.create_unix_server(self._make, sock=listening, backlog=BACKLOG, ssl=self._tls)
        assert not isinstance(address, Unix)
        return await loop.create_server(
            self._make, address.host, address.port, backlog=BACKLOG, reuse_address=True, ssl=self._tls
        )

    @property
    def url(self) -> str:
        """Return where clients ask; `port` is the real one, also where 0 was asked for."""
        assert self._server is not None
        listening = self._server.sockets[0]
        if listening.family == socket.AF_UNIX:
            return f"unix:{listening.getsockname()}"
        host, port = listening.getsockname()[:2]
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    async def drain_backlog(self) -> None:
        """Stop listening. Connections that are made, but were not accepted yet, would be reset: take them in."""
        if self._server is None:
            return
        doors = [socket.fromfd(door.fileno(), door.family, door.type) for door in self._server.sockets]
        self.close()
        for visitor in [visitor for door in doors for visitor in _last_visitors(door)]:
            try:
                await asyncio.get_running_loop().connect_accepted_socket(self._make, visitor, ssl=self._tls)
            except OSError:  # it has left again, or its handshake failed
                visitor.close()

    def close(self) -> None:
        """Stop listening at once."""
        if self._server is not None:
            self._server.close()
        if self._file is not None:
            self._file.remove()


def _last_visitors(door: socket.socket) -> list[socket.socket]:
    """Accept everybody who waits, and close. No await may stand between: who comes in it is lost."""
    visitors: list[socket.socket] = []
    with door:
        door.setblocking(False)
        while True:
            try:
                visitors.append(door.accept()[0])
            except OSError:  # nobody else waits
                return visitors
