"""What all downstream connections share: limits, timers, the way in, and how an answer's head is written."""

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
from proxy.exchange.handler import RequestHandler
from proxy.exchange.ports import Client
from proxy.http.fields import Lines
from proxy.http.message import BODILESS, UNIX, Framing, Peer, Request, Response
from proxy.http.problem_response import own_answer
from proxy.http.problems import Refusal, refused
from proxy.http1.body import framed
from proxy.http1.head import HeadLimits, encode_head
from proxy.server.admission import AdmissionQueue
from proxy.server.client_limits import ClientLimits
from proxy.server.memory_pressure import Relief, Yielding
from proxy.server.trusted_proxies import TrustedProxies
from proxy.transport.write_batch import WriteBatch

MOST_REFUSED_AT_ONCE = 1024  # connections that are refused, and may still read why
SWEPT_AT_ONCE = 500  # connections, under 1 ms: then requests have their turn
DRAIN_IDLE_S = 0.25  # a connection that was idle for less, when the drain ends, may be about to ask
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_CLOSE = (b"Connection", b"close")
_NO_MEMORY = "the sidecar's memory budget is used up; try again shortly"


class ServedConnection(Yielding, Protocol):
    """A downstream connection, as the gate sees it."""

    def sweep(self, now: float) -> None:
        """End what has waited too long."""
        ...

    def abort(self) -> None:
        """Drop the connection."""
        ...

    def retire(self) -> None:
        """Begin nothing more for this client, and end with the answer that is under way."""
        ...

    @property
    def vouched_for(self) -> bool:
        """Tell whether the authority of the client's certificate still counts, if it showed one."""
        ...


class ServerState:
    """The way in for every request of one listener."""

    def __init__(
        self,
        rules: ClientLimits,
        limits: HeadLimits,
        trusted: TrustedProxies,
        open_handler: Callable[[Request, Client], RequestHandler],
        on_refusal: Callable[[Refusal, Peer], None],
        clock: Clock,
    ) -> None:
        self.rules = rules
        self.limits = limits
        self.trusted = trusted
        self.open = open_handler
        self.tick = 0.0  # coarse time in seconds, moved by `sweep`
        self.crowded = False  # the memory budget is used up: requests are refused
        self.trusts_since = 0  # certificates that were looked at with older TLS files count no more
        self.draining = False  # every answer says Connection: close
        self.keepalive_s = rules.keepalive_timeout_s
        self.begun = 0  # exchanges whose task was started
        self.connections: set[ServedConnection] = set()
        self.turns = AdmissionQueue()
        self.outgoing = WriteBatch()
        self._relief = Relief()
        self._on_refusal = on_refusal
        self._clock = clock
        self._date = (0, b"")

    def enter(self, connection: ServedConnection) -> Refusal | None:
        """Take in a connection; return why it is only told that there is no room for it."""
        full = len(self.connections) >= self.rules.max_connections
        self.connections.add(connection)
        return Refusal(503, "max_connections", "too many connections; try again shortly") if full else self.no_room()

    @property
    def overrun(self) -> bool:
        """Tell whether so many connections wait to be told that there is no room, that another is not told so."""
        return len(self.connections) > self.rules.max_connections + MOST_REFUSED_AT_ONCE

    def has_room(self, beginning: int) -> bool:
        """Tell whether a connection can be taken in while so many others have begun and have not entered yet."""
        return not self.crowded and len(self.connections) + beginning < self.rules.max_connections

    def no_room(self) -> Refusal | None:
        """Return why there is no memory for another request, or None where there is."""
        if not self.crowded:
            return None
        return no_memory()

    def relieve(self, most: int) -> int:
        """Have the heaviest connections give way until all hold at most `most` bytes, some in each turn of the loop.

        Return how many did since the last call.
        """
        return self._relief.relieve(self.connections, most)

    def leave(self, connection: ServedConnection) -> None:
        """Forget a closed connection."""
        self.connections.discard(connection)

    def sweep(self, now: float) -> None:
        """Move the coarse clock and end what has waited too long."""
        self.tick = now
        self._sweep(tuple(self.connections), now)

    def _sweep(self, connections: Sequence[ServedConnection], now: float) -> None:
        for connection in connections[:SWEPT_AT_ONCE]:
            connection.sweep(now)
        if len(connections) > SWEPT_AT_ONCE:
            asyncio.get_running_loop().call_soon(self._sweep, connections[SWEPT_AT_ONCE:], now)

    def distrust(self, before: int, within_s: float) -> None:
        """End connections whose client certificate was looked at with TLS files older than `before`.

        Nothing more is begun for them; what is under way has so many seconds.
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
        """Let every connection end with its current answer; new ones are still taken in."""
        self.draining = True

    def close_idle(self) -> None:
        """Let connections end that wait for a next request, but for those that may be about to ask."""
        self.draining = True
        self.keepalive_s = DRAIN_IDLE_S
        self.sweep(self.tick)

    def refusal(self, refusal: Refusal, peer: Peer) -> bytes:
        """Return the whole answer to a request that was refused on the wire; it is counted and never echoed."""
        self._on_refusal(refusal, peer)
        problem = refused(refusal)
        answer = own_answer(problem, "")
        more: Lines = (_CLOSE, (b"Date", self.date()))
        if self.rules.expose:
            more = ((b"Proxy-Status", f"backstay; error={problem.error}".encode("ascii")), *more)
        assert isinstance(answer.body, bytes)
        body = b"" if refusal.to_head else answer.body
        return encode_head(_status_line(answer), answer.fields.encode(), more) + body

    def head(self, response: Response, more: Lines, request: Request, *, closing: bool) -> bytes:
        """Return an answer's head with what this connection must say: Date where there is none, and how it goes on."""
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
        """Return an interim answer: it is passed on as it came, and says nothing of ours."""
        return encode_head(_status_line(response), response.fields.encode(), ())

    def date(self) -> bytes:
        """Return the HTTP date, made once a second."""
        second = int(self._clock.wall())
        if second != self._date[0]:
            self._date = (second, formatdate(second, usegmt=True).encode("ascii"))
        return self._date[1]


def no_memory() -> Refusal:
    """Return what is said to a request for which there is no memory."""
    return Refusal(503, "max_memory", _NO_MEMORY)


def _status_line(response: Response) -> bytes:
    return b"HTTP/1.1 %d %b" % (response.status, response.reason or _REASONS.get(response.status, b""))


def whole_body(response: Response, request: Request) -> tuple[Lines, bytes]:
    """Return a whole answer's body as this client can read it, and the field that frames it anew, if one must."""
    body, framing = response.body, response.framing
    assert isinstance(body, bytes)
    if request.method == "HEAD" or framing is Framing.NONE or response.status in BODILESS:
        return (), b""
    if framing is Framing.CHUNKED and request.minor:
        return ((b"Transfer-Encoding", b"chunked"),), framed(body, framing, response.trailers)
    return () if framing is Framing.LENGTH else ((b"Content-Length", b"%d" % len(body)),), body


def cut(transport: Transport, *, plain_end_would_lie: bool) -> None:
    """End an answer that is not whole, so that the client sees it."""
    if plain_end_would_lie:
        reset(transport)
    else:
        transport.close()  # what was relayed still goes out; its framing shows what is missing


def peer_of(transport: Transport) -> Peer:
    """Return who is on the other end. A client certificate is named by its SHA-256."""
    name, tls = transport.get_extra_info("peername"), transport.get_extra_info("ssl_object")
    address, port = (name[0], name[1]) if isinstance(name, tuple) else (UNIX, 0)
    if tls is None:
        return Peer(address, port)
    shown = tls.getpeercert(binary_form=True)
    return Peer(address, port, "https", sha256(shown).hexdigest() if shown else None)


def reset(transport: Transport) -> None:
    """Cut a connection so that the other side cannot take it for a clean end: `abort` alone sends a FIN."""
    raw = transport.get_extra_info("socket")
    if raw is not None and raw.family != socket.AF_UNIX:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
