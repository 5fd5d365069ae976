"""Connect to a backend: its address, and happy eyeballs over the addresses of its name (RFC 8305)."""

import asyncio
import socket
import ssl
from asyncio.staggered import staggered_race
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from itertools import chain, zip_longest
from typing import NamedTuple, TypeVar, cast
from urllib.parse import unquote

from proxy.transport.descriptors import is_certain, lacking
from proxy.transport.protocols import as_protocol

P = TypeVar("P")  # a protocol by asyncio's method names, regardless of its base class

HEAD_START_S = 0.25  # seconds before the next address is tried in parallel (RFC 8305 section 5)


class BackendAddress(NamedTuple):
    """Where a backend listens: host and port, or the path of a Unix socket; `authority` is its Host value."""

    host: str
    port: int
    path: str | None
    authority: bytes
    secure: bool = False

    @classmethod
    def of(cls, url: str) -> "BackendAddress":
        """Parse `http://host:port`, `https://host` or `unix:/path`."""
        if url.startswith("unix:"):
            return cls("", 0, unquote(url.removeprefix("unix:")), b"localhost")
        scheme, _, rest = url.partition("://")
        authority = rest.split("/")[0]
        host, _, port = authority.rpartition(":") if not authority.endswith("]") else (authority, "", "")
        if not port.isdigit():
            host, port = authority, "443" if scheme == "https" else "80"
        return cls(host.strip("[]"), int(port), None, authority.encode("ascii"), scheme == "https")


class Connector:
    """Connect to one address. The name is resolved each time, because its addresses change.

    `connection_made` is called before the TLS handshake and again after it, so that a cancelled dial can close the
    connection at any time. The transport that `create_connection` makes for TLS cannot be reached after a cancellation,
    and uvloop keeps it with its buffers for the handshake timeout of 60 s.
    """

    def __init__(self, address: BackendAddress) -> None:
        self._address = address
        self.tls: ssl.SSLContext | None = None
        self._literal = _is_literal(address.host)

    async def dial(self, make: Callable[[], P]) -> P:
        """Return the protocol of a new connection. Raise OSError, socket.gaierror or ssl.SSLError."""
        address, loop = self._address, asyncio.get_running_loop()
        if address.path is not None:
            return cast(P, (await loop.create_unix_connection(as_protocol(make), address.path))[1])
        if self._literal:
            return await self._reach(make, address.host)
        hosts = interleaved(await self._resolve())
        if len(hosts) == 1:
            return await self._reach(make, hosts[0])
        return await self._race(make, hosts)

    async def _resolve(self) -> list[tuple[int, str]]:
        loop, address = asyncio.get_running_loop(), self._address
        infos = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        return [(family, str(sockaddr[0])) for family, _, _, _, sockaddr in infos]

    async def _race(self, make: Callable[[], P], hosts: list[str]) -> P:
        attempts = [partial(self._reach, make, host) for host in hosts]
        winner, _, errors = await staggered_race(attempts, HEAD_START_S)
        if winner is None:
            raise _most_informative([error for error in errors if error is not None])
        return cast(P, winner)

    async def _reach(self, make: Callable[[], P], host: str) -> P:
        address, loop = self._address, asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(as_protocol(make), host, address.port)
        if self.tls is not None:
            if transport.is_closing():
                raise ConnectionResetError("the backend closed the connection before the TLS handshake")
            secure = await loop.start_tls(transport, protocol, self.tls, server_hostname=address.host)
            assert secure is not None
            protocol.connection_made(secure)
        return cast(P, protocol)


def _most_informative(errors: list[Exception]) -> Exception:
    """Return the most informative error: a local shortage, then a backend error, then an unreachable network.

    Without IPv6 a machine has no route to `::1`, which does not explain why 127.0.0.1 refused.
    """
    local = [error for error in errors if isinstance(error, OSError) and is_certain(error)]
    of_backend = [error for error in errors if not isinstance(error, OSError) or lacking(error) is None]
    return (local or of_backend or errors)[0]


def interleaved(found: list[tuple[int, str]]) -> list[str]:
    """Return the addresses with alternating families, the resolver's first family first (RFC 8305 section 4)."""
    families: dict[int, list[str]] = {}
    for family, host in found:
        families.setdefault(family, []).append(host)
    return [host for host in chain.from_iterable(zip_longest(*families.values())) if host is not None]


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
