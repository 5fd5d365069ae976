"""A listen address: its sockets, and its file if it is a Unix socket."""

import asyncio
import errno
import os
import socket

from proxy.config.addresses import Address, Unix, parse_address
from proxy.config.objections import Objection
from proxy.errors import StartError
from proxy.runtime.threads import in_daemon_thread
from proxy.server.socket_file import BACKLOG, SocketFile

_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # errors for an address family that the machine does not have


class Endpoint:
    """One address, from the setting named `setting`. `mode` is the file mode of a Unix socket (None: umask)."""

    def __init__(self, named: str, setting: str, mode: int | None = None) -> None:
        """Parse an address. Raise StartError."""
        self._named = f"{named} ({setting})"
        try:
            self._address: Address = parse_address(named)
        except Objection:
            cure = "write HOST:PORT, such as 127.0.0.1:9901, or unix:/PATH"
            raise StartError(f"cannot listen on {self._named}: {cure}") from None
        self._file = SocketFile(self._address.path, mode, setting) if isinstance(self._address, Unix) else None
        self._opened: tuple[object, ...] = ()

    async def open(self) -> list[socket.socket]:
        """Return non-blocking listening sockets for all addresses of the host name. Raise StartError."""
        try:
            sockets = await self._open()
        except OSError as error:
            raise StartError(f"cannot listen on {self._named}: {reason(error)}") from error
        for listening in sockets:
            listening.setblocking(False)
        self._opened = sockets[0].getsockname() if self._file is None else ()
        return sockets

    async def _open(self) -> list[socket.socket]:
        if self._file is not None:
            return [await in_daemon_thread(self._file.open)]
        address = self._address
        assert not isinstance(address, Unix)
        found = await asyncio.get_running_loop().getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        return _bound(list(dict.fromkeys((family, where) for family, _, _, _, where in found)))

    @property
    def host(self) -> str | None:
        """Return the configured host, None for a Unix socket."""
        return None if isinstance(self._address, Unix) else self._address.host

    @property
    def port(self) -> int:
        """Return the bound port, also if 0 was configured; 0 for a Unix socket."""
        return int(str(self._opened[1])) if self._opened else 0

    def url(self, scheme: str) -> str:
        """Return the URL for clients."""
        if isinstance(self._address, Unix):
            return f"unix:{self._address.path}"
        host = str(self._opened[0])
        return f"{scheme}://[{host}]:{self.port}" if ":" in host else f"{scheme}://{host}:{self.port}"

    def remove(self) -> None:
        """Remove the file of a Unix socket."""
        if self._file is not None:
            self._file.remove()


def _bound(addresses: list[tuple[int, tuple[object, ...]]]) -> list[socket.socket]:
    """Return a bound socket for each address; skip missing address families, unless no other is left."""
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, where in addresses:
            try:
                sockets.append(socket.create_server(where, family=family, backlog=BACKLOG))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
        if absent is not None and not sockets:
            raise absent
    except BaseException:
        for listening in sockets:
            listening.close()
        raise
    return sockets


def reason(error: OSError) -> str:
    """Return the system's error text; resolver errors have their own numbers."""
    if error.errno is None or error.errno <= 0 or isinstance(error, socket.gaierror):
        return str(error.strerror or error).lower()
    return os.strerror(error.errno).lower()


def file_mode(text: str | None) -> int | None:
    """Return the mode that a setting gives in octal digits."""
    return None if text is None else int(text, 8)
