"""Connections of the control plane: their number, their timeouts, and which one is closed for a new one.

Kubernetes kills a pod whose probe gets no connection, so a new connection is always accepted. To make room, the
connection that has waited longest is closed, among those of the address with the most connections.
"""

import asyncio
import logging
import socket
from collections import Counter
from typing import Final, cast

from aiohttp import StreamReader, web

from proxy.admin.read_ahead import READ_AHEAD, ReadAhead, Turns
from proxy.admin.responses import problem, raw_problem, without_frames
from proxy.config.settings import Admin
from proxy.errors import IllegalMove
from proxy.runtime.enums import FastEnum
from proxy.transport.flow_control import FlowControl

LINGER_S = 2.0  # seconds for an unread body, after its response
MAX_HEAD = 16 * 1024  # bytes of a request's head
_log = logging.getLogger("backstay.admin")


class AdminPhase(FastEnum):
    """What a connection waits for."""

    FRESH = "the first byte"
    HEAD = "the rest of a request's head, or of a body that nobody reads"
    RESPONDING = "its response"
    SENDING = "its response to be written"
    KEPT = "a next request"


FRESH: Final = AdminPhase.FRESH
HEAD: Final = AdminPhase.HEAD
RESPONDING: Final = AdminPhase.RESPONDING
SENDING: Final = AdminPhase.SENDING
KEPT: Final = AdminPhase.KEPT

MOVES: Final[dict[AdminPhase, tuple[AdminPhase, ...]]] = {
    FRESH: (HEAD,),
    HEAD: (RESPONDING, KEPT),  # to KEPT when a body has ended
    RESPONDING: (SENDING,),
    SENDING: (KEPT,),
    KEPT: (HEAD,),
}


class AdminConnection(web.RequestHandler):
    """One connection. aiohttp reads and responds; this class applies timeouts and rejects invalid HTTP.

    `reader` is the transport's protocol: it hands over the next request only after the response to the one before. So
    no handler may wait for a body.
    """

    __slots__ = ("_body", "_flow", "_head", "_others", "_transport", "address", "phase", "reader", "since")

    def __init__(self, server: web.Server, others: "AdminConnections") -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            server, loop=loop, access_log=None, lingering_time=LINGER_S, read_bufsize=READ_AHEAD, auto_decompress=False  # type: ignore[arg-type]
        )  # fmt: skip
        self._others = others
        self._transport: asyncio.Transport | None = None
        self._flow = FlowControl(loop, others.tick)
        self._head = 0  # bytes of an unfinished head
        self._body: StreamReader | None = None  # of the last request
        self.reader: ReadAhead | None = ReadAhead(self, self.takes_more, others.turns)
        self.address = ""
        self.phase: AdminPhase = FRESH
        self.since = others.tick  # coarse time of the last change of phase

    def _become(self, phase: AdminPhase) -> None:
        if phase not in MOVES[self.phase]:
            raise IllegalMove(self.phase, phase)
        self.phase = phase
        self.since = self._others.tick

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else ""
        self._others.enter(self)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._others.leave(self)
        if self._task_handler is not None and self._current_request is None:
            self._task_handler.cancel()  # else aiohttp handles a queued request (TypeError) or waits for a body
        super().connection_lost(exc)
        for message, _ in self._messages:  # requests that no handler has started
            without_frames(getattr(message, "exc", None))
        if self._body is not None:
            without_frames(self._body.exception())
        self._transport = self.reader = self._body = None  # break the reference cycles

    def takes_more(self) -> bool:
        """Tell whether bytes may be handed over: no request waits for its response."""
        return self.phase is not RESPONDING and self.phase is not SENDING

    def data_received(self, data: bytes) -> None:
        if data and self.phase is not HEAD:
            self._become(HEAD)
        requests, in_body = self._request_count, self._body is not None and not self._body.is_eof()
        try:
            super().data_received(data)
        except Exception as error:  # a target or a field that aiohttp's parser does not expect, such as "http://[::1"
            _log.debug("not HTTP: %s", type(error).__name__)  # the message quotes the request, token included
            without_frames(error)
            self._end_with(400, "The request is not HTTP.")
            return
        if self._request_count > requests:  # the parser completed or refused a request
            self._head = 0
            self._become(RESPONDING)
        elif in_body:
            self._body_went_on()
        else:
            self._head_went_on(len(data))

    def _body_went_on(self) -> None:
        if self._body is not None and self._body.is_eof() and self.phase is HEAD:
            self._become(KEPT)

    def _head_went_on(self, size: int) -> None:
        """Limit the size of the whole head: aiohttp limits each line, and allows 128 lines."""
        self._head += size
        if self._head > MAX_HEAD:
            self._end_with(431, f"The request head has more than {MAX_HEAD} bytes.")

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write the response, then allow `reader` to hand over the next request."""
        self._become(SENDING)
        _without_cycles(request, resp)
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._become(KEPT)
            if self.reader is not None:
                self._body = request.content
                self.reader.go_on()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Respond to invalid HTTP without a traceback, because it is not an internal error."""
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        _log.debug("not HTTP: %s", type(exc).__name__)
        without_frames(exc)
        response = problem(status, "The request is not HTTP.")
        response.force_close()
        return response

    @property
    def is_gone(self) -> bool:
        """Tell whether the client has left."""
        return self._transport is None or self._transport.is_closing()

    @property
    def unwritten(self) -> int:
        """Return the bytes in the write buffer, without the kernel's."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def keep_little(self, size: int) -> None:
        """Limit the kernel's send buffer to about `size` bytes, so that a stalled client is detected soon."""
        transport = self._transport
        raw = None if transport is None else transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def sweep(self, now: float) -> None:
        """Apply all timeouts at `now`."""
        transport, rules = self._transport, self._others.rules
        if transport is None:
            return
        if self._flow.stalled_s(transport, now) > rules.idle_timeout:
            self.abort()
        elif transport.get_write_buffer_size():  # a response is being read
            self.since = now
        elif self.phase is HEAD and now - self.since > rules.head_timeout:
            self._end_with(408, "The request head did not arrive in time.")
        elif (self.phase is FRESH and now - self.since > rules.head_timeout) or (
            self.phase is KEPT and now - self.since > rules.keepalive_timeout
        ):
            self.force_close()

    def _end_with(self, status: int, detail: str) -> None:
        """Send a response and close; during another response only close."""
        if self._transport is not None and self.takes_more() and not self._transport.is_closing():
            self._transport.write(raw_problem(status, detail))
        self.force_close()


def _without_cycles(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Break the reference cycles that aiohttp leaves when no route matches (404, 405) and when it raises (417)."""
    if isinstance(response, web.HTTPException):
        without_frames(response)
    match = request._match_info if isinstance(request, web.Request) else None
    if match is not None and match.http_exception is not None:
        match.route._handler = web.View  # instead of a bound method, which refers to the route


class AdminConnections:
    """All connections. `tick` is the coarse time of the loop, updated by `sweep`."""

    def __init__(self, rules: Admin, tick: float) -> None:
        self.rules = rules
        self.tick = tick
        self.turns = Turns(asyncio.get_running_loop())
        self._open: dict[AdminConnection, None] = {}  # in order of arrival

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, connection: AdminConnection) -> None:
        """Register a connection."""
        self._open[connection] = None

    def leave(self, connection: AdminConnection) -> None:
        """Unregister a connection."""
        self._open.pop(connection, None)

    def make_room(self, beginning: int) -> bool:
        """Close a connection to make room for another; return False if none may be closed.

        `beginning`: the number of accepted connections that are not registered yet.
        """
        while len(self._open) + beginning >= self.rules.max_connections:
            idle = [one for one in self._open if one.phase is not RESPONDING]
            if not idle:
                return False
            held = Counter(one.address for one in idle)
            going = min(idle, key=lambda one: (-held[one.address], one.since))
            self.leave(going)
            going.abort()
        return True

    def abort(self) -> None:
        """Close all connections at once."""
        for connection in tuple(self._open):
            connection.abort()

    def sweep(self, now: float) -> None:
        """Update the coarse time and apply all timeouts."""
        self.tick = now
        for connection in tuple(self._open):
            connection.sweep(now)
