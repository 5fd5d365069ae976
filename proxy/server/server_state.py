"""State that all client connections share: limits, timers, admission, and how a response head is written."""

import asyncio
import socket
import struct
from asyncio import Transport
from collections.abc import Callable, Sequence
from email.utils import formatdate
from hashlib import sha256
from http import HTTPStatus
from typing import Protocol

from proxy.clock import Clock
from proxy.config.settings import Listen
from proxy.exchange.handler import RequestHandler
from proxy.exchange.ports import Client
from proxy.http.fields import Fields, Lines
from proxy.http.message import BODILESS, BY_CHUNKS, BY_LENGTH, NO_BODY, UNIX, Peer, Request, Response
from proxy.http.problem_response import own_response
from proxy.http.problems import Refusal, refused
from proxy.http1.body import framed
from proxy.http1.head import HeadLimits, encode_head
from proxy.policy.correlation import correlate
from proxy.runtime.random import RandomSource
from proxy.server.admission import AdmissionQueue
from proxy.server.memory_pressure import Relief, Yielding
from proxy.server.trusted_proxies import TrustedProxies
from proxy.transport.write_batch import WriteBatch

MOST_REFUSED_AT_ONCE = 1024  # refused connections that may be open at once to read the refusal
SWEPT_AT_ONCE = 500  # connections, below 1 ms: then requests continue
DRAIN_IDLE_S = 0.25  # seconds; at the end of a drain a connection that was idle for less may be about to send a request
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
REFUSED = "bad-request"  # the operation in the record of what was refused on the wire
_CLOSE = (b"Connection", b"close")
_NO_MEMORY = "the sidecar's memory budget is used up; try again shortly"


class ServedConnection(Yielding, Protocol):
    """A downstream connection, as `ServerState` uses it."""

    def sweep(self, now: float) -> None:
        """Apply all timeouts."""
        ...

    def abort(self) -> None:
        """Close the connection at once."""
        ...

    def retire(self) -> None:
        """Start no further request for this client; close after the current response."""
        ...

    @property
    def vouched_for(self) -> bool:
        """Tell whether the authority of the client's certificate, if it sent one, is still trusted."""
        ...


class ServerState:
    """The state of one listener that its connections and requests share."""

    def __init__(
        self,
        rules: Listen,
        limits: HeadLimits,
        trusted: TrustedProxies,
        open_handler: Callable[[Request, Client], RequestHandler],
        on_refusal: Callable[[Refusal, Peer], None],
        clock: Clock,
        random: RandomSource,
    ) -> None:
        self.rules = rules
        self.limits = limits
        self.trusted = trusted
        self.open = open_handler
        self.tick = 0.0  # coarse time in seconds, updated by `sweep`
        self.crowded = False  # the memory budget is used up: requests are refused
        self.trusts_since = 0  # certificates that were verified with older TLS files are no longer trusted
        self.draining = False  # each response has Connection: close
        self.keepalive_s = rules.keepalive_timeout
        self.begun = 0  # exchanges that were started
        self.connections: dict[ServedConnection, None] = {}  # in the order of arrival
        self.turns = AdmissionQueue()
        self.outgoing = WriteBatch()
        self._relief = Relief()
        self._on_refusal = on_refusal
        self._clock = clock
        self._random = random
        self._date = (0, b"")

    def enter(self, connection: ServedConnection) -> Refusal | None:
        """Register a connection; return the refusal if there is no capacity for it."""
        full = len(self.connections) >= self.rules.max_connections
        self.connections[connection] = None
        return Refusal(503, "max_connections", "too many connections; try again shortly") if full else self.no_room()

    @property
    def overrun(self) -> bool:
        """Tell whether too many refused connections are open to send a further refusal."""
        return len(self.connections) > self.rules.max_connections + MOST_REFUSED_AT_ONCE

    def has_room(self, beginning: int) -> bool:
        """Tell whether a connection fits, with `beginning` others that have not been registered yet."""
        return not self.crowded and len(self.connections) + beginning < self.rules.max_connections

    def no_room(self) -> Refusal | None:
        """Return the refusal for lack of memory, None if there is enough."""
        if not self.crowded:
            return None
        return no_memory()

    def relieve(self, most: int) -> int:
        """Make the heaviest connections release memory until all use at most `most` bytes, a few in each iteration.

        Return how many connections did since the last call.
        """
        return self._relief.relieve(self.connections, most)

    def leave(self, connection: ServedConnection) -> None:
        """Unregister a closed connection."""
        self.connections.pop(connection, None)

    def sweep(self, now: float) -> None:
        """Update the coarse clock and apply all timeouts."""
        self.tick = now
        self._sweep(tuple(self.connections), now)

    def _sweep(self, connections: Sequence[ServedConnection], now: float) -> None:
        for connection in connections[:SWEPT_AT_ONCE]:
            connection.sweep(now)
        if len(connections) > SWEPT_AT_ONCE:
            asyncio.get_running_loop().call_soon(self._sweep, connections[SWEPT_AT_ONCE:], now)

    def distrust(self, before: int, within_s: float) -> None:
        """End connections whose client certificate was verified with TLS files of a generation before `before`.

        They start no further request; a running one has `within_s` seconds.
        """
        self.trusts_since = before
        gone = [connection for connection in tuple(self.connections) if not connection.vouched_for]
        for connection in gone:
            connection.retire()
        if gone:
            asyncio.get_running_loop().call_later(within_s, self._abort, gone)

    def _abort(self, connections: Sequence[ServedConnection]) -> None:
        for connection in connections:
            if connection in self.connections:
                connection.abort()

    def drain(self) -> None:
        """Close each connection after its current response; new connections are still accepted."""
        self.draining = True

    def close_idle(self) -> None:
        """Close connections that wait for a next request, except recently used ones."""
        self.draining = True
        self.keepalive_s = DRAIN_IDLE_S
        self.sweep(self.tick)

    def refusal(self, refusal: Refusal, peer: Peer) -> bytes:
        """Return the complete response to a refused message, which is counted and never echoed."""
        self._on_refusal(refusal, peer)
        if refusal.hangs_up:
            return b""
        problem = refused(refusal)
        response = own_response(problem, refusal.correlation_id)
        more: Lines = (_CLOSE, (b"Date", self.date()))
        if refusal.correlation_id:
            more = ((b"X-Correlation-ID", refusal.correlation_id.encode("ascii")), *more)
        if self.rules.expose:
            more = ((b"Proxy-Status", f"backstay; error={problem.error}".encode("ascii")), *more)
        assert isinstance(response.body, bytes)
        body = b"" if refusal.to_head else response.body
        return encode_head(_status_line(response), response.fields.encode(), more) + body

    def name(self, refusal: Refusal, fields: Fields) -> None:
        """Give the refusal of a request whose head was read the id that its client sent, or a new one."""
        sent = fields.get(b"x-correlation-id")
        refusal.correlation_id = correlate(REFUSED, sent, self._clock.wall(), self._random).id

    def head(self, response: Response, more: Lines, request: Request, closing: bool) -> bytes:
        """Return a response head with the fields of this connection: Date if missing, and Connection."""
        own = b"" if b"date" in response.fields else b"Date: %b\r\n" % self.date()
        if closing:
            own += b"Connection: close\r\n"
        elif request.minor == 0:
            own += b"Connection: keep-alive\r\n"
        return encode_head(_status_line(response), response.fields.encode(), more, own)

    def switched(self, response: Response, more: Lines) -> bytes:
        """Return the head of a 101."""
        return encode_head(_status_line(response), response.fields.encode(), more)

    def interim(self, response: Response) -> bytes:
        """Return an interim response in wire format, without fields of the sidecar."""
        return encode_head(_status_line(response), response.fields.encode(), ())

    def date(self) -> bytes:
        """Return the HTTP date, updated once a second."""
        second = int(self._clock.wall())
        if second != self._date[0]:
            self._date = (second, formatdate(second, usegmt=True).encode("ascii"))
        return self._date[1]


def no_memory() -> Refusal:
    """Return the refusal for lack of memory."""
    return Refusal(503, "max_memory", _NO_MEMORY)


def _status_line(response: Response) -> bytes:
    return b"HTTP/1.1 %d %b" % (response.status, response.reason or _REASONS.get(response.status, b""))


def whole_body(response: Response, request: Request) -> tuple[Lines, bytes]:
    """Return a complete response body in a framing that this client reads, and the field for a changed framing."""
    body, framing = response.body, response.framing
    assert isinstance(body, bytes)
    if request.method == "HEAD" or framing is NO_BODY or response.status in BODILESS:
        return (), b""
    if framing is BY_CHUNKS and request.minor:
        return ((b"Transfer-Encoding", b"chunked"),), framed(body, framing, response.trailers)
    return () if framing is BY_LENGTH else ((b"Content-Length", b"%d" % len(body)),), body


def cut(transport: Transport, *, plain_end_would_lie: bool) -> None:
    """End an incomplete response so that the client notices the truncation."""
    if plain_end_would_lie:
        reset(transport)
    else:
        transport.close()  # buffered data is still sent; the framing shows what is missing


def peer_of(transport: Transport) -> Peer:
    """Return the remote end. A client certificate is identified by its SHA-256."""
    name, tls = transport.get_extra_info("peername"), transport.get_extra_info("ssl_object")
    address, port = (name[0], name[1]) if isinstance(name, tuple) else (UNIX, 0)
    if tls is None:
        return Peer(address, port)
    shown = tls.getpeercert(binary_form=True)
    return Peer(address, port, "https", sha256(shown).hexdigest() if shown else None)


def reset(transport: Transport) -> None:
    """Close a connection with a reset, which no peer takes for a clean end: `abort` alone sends a FIN."""
    raw = transport.get_extra_info("socket")
    if raw is not None and raw.family != socket.AF_UNIX:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
