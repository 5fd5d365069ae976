"""The backend as the exchange sees it: its address, its keep-alive connections, and how a request is put to it."""

import asyncio
import socket
from typing import NamedTuple
from urllib.parse import unquote

from proxy.errors import Reason
from proxy.message import Failure, Framing, Lines, Outcome, Request
from proxy.wire.forwarding import Forwarding
from proxy.wire.heads import encode_head, end_to_end
from proxy.wire.upstream import STALE, PoolRules, UpstreamConnection

OWN_FIELDS = frozenset(b"x-correlation-id x-attempt-count x-request-deadline-ms x-backstay-explain expect".split())


class Address(NamedTuple):
    """Where a backend listens: a host and port, or the path of a Unix socket; `authority` for a Host of its own."""

    host: str
    port: int
    path: str | None
    authority: bytes

    @classmethod
    def of(cls, url: str) -> "Address":
        """Return the address in `http://host:port` or `unix:/path`."""
        if url.startswith("unix:"):
            return cls("", 0, unquote(url.removeprefix("unix:")), b"localhost")
        authority = url.removeprefix("http://").split("/")[0]
        host, _, port = authority.rpartition(":") if not authority.endswith("]") else (authority, "", "")
        if not port.isdigit():
            host, port = authority, "80"
        return cls(host.strip("[]"), int(port), None, authority.encode("ascii"))


class UpstreamPool:
    """Keep-alive connections to one address, newest first, and the only place where they are made."""

    def __init__(self, address: Address, rules: PoolRules) -> None:
        self.address = address
        self.rules = rules
        self.tick = 0.0  # coarse time in seconds, moved by `sweep`
        self._retired = False
        self._idle: list[UpstreamConnection] = []
        self._all: set[UpstreamConnection] = set()

    def take(self, *, safe: bool) -> UpstreamConnection | None:
        """Return an idle connection that may carry the request, or None."""
        now = asyncio.get_running_loop().time()
        longest = self.rules.idle_timeout_s if safe else self.rules.unsafe_idle_s
        while self._idle:
            connection = self._idle[-1]
            if now - connection.idle_since > longest:
                return None
            self._idle.pop()
            if connection.usable:
                return connection
        return None

    async def connect(self, timeout_s: float) -> UpstreamConnection | Failure:
        """Return a new connection, or why there is none; nothing was sent."""
        loop, address = asyncio.get_running_loop(), self.address
        connection = UpstreamConnection(self)
        try:
            async with asyncio.timeout(min(timeout_s, self.rules.connect_timeout_s)):
                if address.path is not None:
                    await loop.create_unix_connection(lambda: connection, address.path)
                else:
                    await loop.create_connection(lambda: connection, address.host, address.port)
        except TimeoutError:
            return Failure(Reason.CONNECTION_TIMEOUT, sent=False)
        except socket.gaierror:
            return Failure(Reason.DNS_ERROR, sent=False)
        except OSError:
            return Failure(Reason.CONNECTION_REFUSED, sent=False)
        self._all.add(connection)
        return connection

    def release(self, connection: UpstreamConnection) -> None:
        """Take back a connection whose answer was read to its end."""
        if self._retired or not connection.usable or len(self._idle) >= self.rules.max_idle:
            connection.close()
            return
        if connection.reading_paused:
            connection.pace(False)
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.append(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """Forget a closed connection."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def sweep(self, now: float) -> None:
        """Close what was idle or silent for too long."""
        self.tick = now
        while self._idle and now - self._idle[0].idle_since > self.rules.idle_timeout_s:
            self._idle.pop(0).close()
        for connection in tuple(self._all):
            if connection.stalled:
                connection.close()

    def retire(self) -> None:
        """Close what is idle and keep nothing more; what is under way ends by itself."""
        self._retired = True
        while self._idle:
            self._idle.pop().close()

    def close(self) -> None:
        """Drop every connection."""
        for connection in tuple(self._all):
            connection.close()


class HttpUpstream:
    """One session backend, as the exchange sees it."""

    def __init__(self, pool: UpstreamPool, forwarding: Forwarding) -> None:
        self._pool = pool
        self._forwarding = forwarding
        self._dropped = OWN_FIELDS | forwarding.replaced

    async def send(self, request: Request, more: Lines, timeout_s: float) -> Outcome:
        """Return the answer or the failure. A pooled connection that had died unseen costs a safe request nothing."""
        if timeout_s <= 0:
            return Failure(Reason.RESPONSE_TIMEOUT, sent=False)
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        head = self._head(request, more)
        connection = self._pool.take(safe=request.safe)
        if connection is not None:
            outcome = await connection.ask(request, head, timeout_s)
            if outcome is not STALE or not (request.safe and request.replayable):
                return outcome
        fresh = await self._pool.connect(until - loop.time())
        if isinstance(fresh, Failure):
            return fresh
        return await fresh.ask(request, head, timeout_s if connection is None else max(0.001, until - loop.time()))

    def _head(self, request: Request, more: Lines) -> bytes:
        fields = request.fields
        if b"host" not in fields:
            more = ((b"Host", self._pool.address.authority), *more)
        lines = end_to_end(fields, self._dropped)
        if request.framing is Framing.CHUNKED:
            more = (*more, (b"Transfer-Encoding", b"chunked"))
        start = b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.target)
        return encode_head(start, lines, self._forwarding.lines(request) + more)
