"""Keep-alive connections to one address of a backend, and how a request is sent on them."""

import asyncio
import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable

from proxy.exchange.ports import Interim
from proxy.http.fields import Lines, encoded
from proxy.http.headers import HOP_BY_HOP, hop_only
from proxy.http.message import (
    BY_CHUNKS,
    Failure,
    Outcome,
    Request,
)
from proxy.http.problems import Reason
from proxy.http1.head import encode_head
from proxy.transport.descriptors import lacking
from proxy.transport.write_batch import WriteBatch
from proxy.upstream.connector import BackendAddress, Connector
from proxy.upstream.forwarding import Forwarding
from proxy.upstream.pool_limits import PoolLimits
from proxy.upstream.upstream_connection import UpstreamConnection
from proxy.upstream.upstream_request import STALE, UNSENT

_log = logging.getLogger("backstay.wire")
COMPLAINS_EVERY_S = 10.0  # seconds between log entries about a local shortage, which affects every request
LEAST_S = 0.001  # seconds that a step gets which begins as the time runs out
DIALS = 64  # concurrent dials; in a burst a released connection is available before the thousandth new one


class UpstreamPool:
    """Keep-alive connections to one address, most recent first. No other class opens connections."""

    def __init__(self, address: BackendAddress, rules: PoolLimits, tls: ssl.SSLContext | None = None) -> None:
        """Take an address and the TLS context for its connections."""
        assert (tls is not None) is address.secure
        self.address = address
        self.where = address.path or address.authority.decode("ascii")  # for logs
        self.rules = rules
        self.outgoing = WriteBatch()
        self.tick = 0.0  # coarse time in seconds, updated by `sweep`
        self._retired = False
        self._idle: list[UpstreamConnection] = []
        self._all: dict[UpstreamConnection, None] = {}  # in the order of their dials
        self._taken = 0  # open connections and those being opened
        self._dialing = 0
        self._complains_at = 0.0
        self._waiting: deque[_Place] = deque()
        self._dialer = Connector(address)
        self._dialer.tls = tls

    def take(self, safe: bool) -> UpstreamConnection | None:
        """Return an idle connection for the request, or None."""
        rules, idle = self.rules, self._idle
        while idle:
            connection = idle[-1]
            now = connection.now()
            if now - connection.idle_since > (rules.idle_timeout_s if safe else rules.unsafe_idle_s):
                return None
            idle.pop()
            if connection.usable:
                connection.taken_at = now
                return connection
        return None

    def distrust_idle(self) -> None:
        """Close idle connections: the backend has closed one that was idle for a shorter time."""
        while self._idle:
            self._idle.pop().close()

    async def connect(self, timeout_s: float, request: Request | None = None) -> UpstreamConnection | Failure:
        """Return a new connection, or in a full pool the next released one. On a failure nothing was sent.

        Waiting for a place and dialling share `timeout_s` seconds. `request.queued` is True while the request waits.
        """
        rules = self.rules
        if self._has_room and self._dialing < DIALS:
            self._taken += 1
            return await self._open(timeout_s)
        until = _seconds_until(timeout_s)
        if self._has_room:
            given = await self._wait(timeout_s, request)  # waiting for a connection is no failure of the backend
        elif len(self._waiting) >= rules.queue:
            return _QUEUE_FULL
        else:
            if self._idle:  # too old for this request: replace it
                self._idle.pop(0).close()
            given = await self._wait(min(timeout_s, rules.queue_timeout_s), request)
        if given is None:
            return await self._open(until())
        if isinstance(given, UpstreamConnection) and not given.usable:
            return await self.connect(until(), request)
        return given

    @property
    def _has_room(self) -> bool:
        return not self.rules.max_connections or self._taken < self.rules.max_connections

    async def _wait(self, timeout_s: float, request: Request | None) -> UpstreamConnection | Failure | None:
        """Wait for a place. Return a released connection, None as permission to open one, or a failure."""
        loop = asyncio.get_running_loop()
        place: _Place = loop.create_future()
        self._waiting.append(place)
        timer = loop.call_later(timeout_s, _give, place, _NO_CONNECTION)
        if request is not None:
            request.queued = True
        try:
            return await place
        except asyncio.CancelledError:
            self._give_back(place)
            raise
        finally:
            timer.cancel()
            if request is not None:
                request.queued = False

    def _give_back(self, place: "_Place") -> None:
        """Give a connection or place to the next waiter if its waiter has just left."""
        if place in self._waiting:
            self._waiting.remove(place)
        given = place.result() if place.done() and not place.cancelled() else _NO_CONNECTION
        if isinstance(given, UpstreamConnection):
            self.release(given)
        elif given is None:
            self._free_place()

    def _free_place(self) -> None:
        """Let the next waiter open a connection."""
        while self._waiting:
            if _give(self._waiting.popleft(), None):
                return
        self._taken -= 1

    async def _open(self, timeout_s: float) -> UpstreamConnection | Failure:
        connection: UpstreamConnection | Failure = _NO_CONNECTION
        begun = _Begun(self)
        self._dialing += 1
        try:
            async with asyncio.timeout(min(timeout_s, self.rules.connect_timeout_s)):
                made = await self._dialer.dial(begun.make)
                connection = made if made.usable else Failure(Reason.CONNECTION_TERMINATED, sent=False)
        except OSError as error:
            connection = self._unconnected(error)
            if isinstance(error, TimeoutError) and timeout_s < self.rules.connect_timeout_s:
                connection = connection._replace(cut_short=True)
        finally:
            self._dialing -= 1
            begun.keep_only(connection)
            if isinstance(connection, UpstreamConnection):
                self._all[connection] = None
            else:
                self._free_place()
            self._let_next_dial()
        return connection

    def _unconnected(self, error: OSError) -> Failure:
        """Return the failure for a connection error; log a local shortage from time to time."""
        shortage = lacking(error)
        if shortage is None:
            return _of_the_backend(error)
        if self.tick >= self._complains_at:
            self._complains_at = self.tick + COMPLAINS_EVERY_S
            _log.warning("no connection to %s: %s", self.where, shortage.detail)
        return shortage

    def _let_next_dial(self) -> None:
        """Let the next waiter open a connection, while fewer than `DIALS` are being opened."""
        while self._waiting and self._has_room and self._dialing < DIALS:
            if _give(self._waiting.popleft(), None):
                self._taken += 1
                return

    def release(self, connection: UpstreamConnection) -> None:
        """Take back a connection after a complete response, or give it to the next waiter."""
        if self._retired or not connection.usable or self.tick - connection.born > self.rules.max_age_s:
            connection.close()
            return
        if connection.reading_paused:
            connection.pace(False)
        connection.idle_since = connection.now()
        while self._waiting:
            if _give(self._waiting.popleft(), connection):
                return
        if len(self._idle) >= self.rules.max_idle:
            connection.close()
        else:
            self._idle.append(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """Unregister a closed connection."""
        if connection in self._all:
            del self._all[connection]
            self._free_place()
        if connection in self._idle:
            self._idle.remove(connection)

    def sweep(self, now: float, awake: float) -> None:
        """Close connections that were idle too long at `now`, or silent while the process was awake."""
        self.tick = awake
        while self._idle and now - self._idle[0].idle_since > self.rules.idle_timeout_s:
            self._idle.pop(0).close()
        for connection in tuple(self._all):
            connection.sweep(awake)

    def retire(self) -> None:
        """Close idle connections and keep no others; running requests finish."""
        self._retired = True
        self.distrust_idle()

    @property
    def empty(self) -> bool:
        """Tell whether no connection is open or being opened."""
        return not self._taken

    def close(self) -> None:
        """Close every connection at once."""
        for connection in tuple(self._all):
            connection.close()


class _Begun:
    """The connections that one dial opens: several if a name has several addresses.

    uvloop does not call `connection_lost` for a connection whose dial is cancelled after it was made. The
    connection and its transport would refer to each other until the garbage collector runs.
    """

    __slots__ = ("_all", "_pool")

    def __init__(self, pool: UpstreamPool) -> None:
        self._pool = pool
        self._all: list[UpstreamConnection] = []

    def make(self) -> UpstreamConnection:
        """Make the protocol of a connection."""
        connection = UpstreamConnection(self._pool)
        self._all.append(connection)
        return connection

    def keep_only(self, survivor: UpstreamConnection | Failure) -> None:
        """Close every connection except `survivor`, and release its transport."""
        for connection in self._all:
            if connection is not survivor:
                connection.close()
                connection.transport = None
        self._all.clear()


_Place = asyncio.Future[UpstreamConnection | Failure | None]
_NO_CONNECTION = Failure(
    Reason.CONNECTION_LIMIT, sent=False, detail="no connection became free in time", retry_after_s=1.0
)
_QUEUE_FULL = _NO_CONNECTION._replace(detail="the queue for a connection is full")


def _of_the_backend(error: OSError) -> Failure:
    """Return the failure for an error of the backend or its network."""
    if isinstance(error, TimeoutError):
        return Failure(Reason.CONNECTION_TIMEOUT, sent=False)
    if isinstance(error, socket.gaierror):
        return Failure(Reason.DNS_ERROR, sent=False)
    if isinstance(error, ssl.SSLCertVerificationError):
        return Failure(Reason.TLS_CERTIFICATE, sent=False, detail=error.verify_message)
    if isinstance(error, ssl.SSLError):
        return Failure(Reason.TLS_PROTOCOL, sent=False, detail=error.reason or "")
    return Failure(Reason.CONNECTION_REFUSED, sent=False)


def _seconds_until(timeout_s: float) -> Callable[[], float]:
    """Return a function that returns how much is left of a time that begins now: at least `LEAST_S`."""
    now = asyncio.get_running_loop().time
    until = now() + timeout_s
    return lambda: max(LEAST_S, until - now())


def _give(place: _Place, given: UpstreamConnection | Failure | None) -> bool:
    """Resolve a waiter; tell whether it was still waiting."""
    if place.done():
        return False
    place.set_result(given)
    return True


class HttpUpstream:
    """One address of a session backend, as the exchange sees it."""

    def __init__(self, pool: UpstreamPool, forwarding: Forwarding, own: frozenset[bytes], idle_s: float) -> None:
        """Take the lower-case names of fields that the sidecar sends itself: the client's lines are not forwarded.

        A body without progress for `idle_s` seconds ends its request.
        """
        self._pool = pool
        self._forwarding = forwarding
        self._idle_s = idle_s
        self._dropped = HOP_BY_HOP | own | forwarding.replaced
        self._dropped_whole = self._dropped | {b"expect"}  # the body is complete: 100 Continue was sent

    @property
    def has_healthy_address(self) -> bool:
        """Return False: there is one address, so its failure is the whole upstream's."""
        return False

    @property
    def last_address(self) -> str:
        """Return the only address."""
        return self._pool.where

    async def send(self, request: Request, more: Lines, timeout_s: float, interim: Interim) -> Outcome:
        """Return the response or the failure. Repeat a safe request once if its pooled connection was dead.

        Once in all its attempts: otherwise each retry could be repeated too, which doubles the calls. Any request is
        repeated if the connection ended before a byte of it was written.
        """
        if timeout_s <= 0:
            return Failure(Reason.RESPONSE_TIMEOUT, sent=False, evidence=False)
        head = self._head(request, more)
        connection = self._pool.take(request.safe)
        if connection is None:
            return await self._send_afresh(request, head, timeout_s, interim)
        try:
            outcome = await connection.send(request, head, timeout_s, self._idle_s, interim)
        except asyncio.CancelledError:
            connection.close()
            raise
        if outcome is STALE and request.safe and request.replayable and not request.repeated:
            request.repeated = True
            self._pool.distrust_idle()  # they were idle for longer
        elif outcome is not UNSENT:
            return outcome
        if request.replayable:
            timeout_s = max(LEAST_S, connection.alarm.until - asyncio.get_running_loop().time())
        return await self._send_afresh(request, head, timeout_s, interim)

    async def _send_afresh(self, request: Request, head: bytes, timeout_s: float, interim: Interim) -> Outcome:
        """Send on a new connection. The wait for it counts, except before an upload, which has a pace of its own."""
        left_s = _seconds_until(timeout_s)
        connection = await self._pool.connect(timeout_s, request)
        if isinstance(connection, Failure):
            return connection
        try:
            timeout_s = left_s() if request.replayable else timeout_s
            return await connection.send(request, head, timeout_s, self._idle_s, interim)
        except asyncio.CancelledError:
            connection.close()
            raise

    def _head(self, request: Request, more: Lines) -> bytes:
        if request.upgrade:
            more = (*more, (b"Connection", b"Upgrade"), (b"Upgrade", request.upgrade))
        if request.framing is BY_CHUNKS:
            more = (*more, (b"Transfer-Encoding", b"chunked"))
        start = b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.target)
        return encode_head(start, self._crossing(request), more)

    def _crossing(self, request: Request) -> bytes:
        """Return the client's forwarded lines and the added forwarding lines. Equal fields are encoded once."""
        fields = request.fields
        whose = (self, request.peer, request.authority, request.minor, request.replayable)
        if fields.sent is None or fields.sent[0] != whose:
            staying = hop_only(fields, self._dropped_whole if request.replayable else self._dropped)
            added = self._forwarding.lines(request)
            if b"host" not in fields:
                added = (*added, (b"Host", self._pool.address.authority))
            fields.sent = (whose, encoded([*fields.lines_without(staying), *added]))
        return fields.sent[1]
