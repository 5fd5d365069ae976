"""The control plane's connections: how many there are, how long each may take, and who gives way to a newcomer.

A probe that finds no place has the pod killed, so that a newcomer always gets one: the connection that has waited
longest, of the address that has most of them, is cut.
"""

import asyncio
import logging
import socket
from collections import Counter
from typing import Final, cast

from aiohttp import web

from proxy.admin.admin_limits import AdminLimits
from proxy.admin.responses import Handler, problem, raw_problem
from proxy.errors import IllegalMove
from proxy.runtime.enums import FastEnum
from proxy.transport.flow_control import FlowControl

LINGER_S = 2.0  # for a body that nobody reads, after its answer
_log = logging.getLogger("backstay.admin")


class AdminPhase(FastEnum):
    """What a connection waits for."""

    FRESH = "the first byte"
    HEAD = "the rest of a request's head"
    ANSWERING = "its answer"
    KEPT = "a next request"


FRESH: Final = AdminPhase.FRESH
HEAD: Final = AdminPhase.HEAD
ANSWERING: Final = AdminPhase.ANSWERING
KEPT: Final = AdminPhase.KEPT

MOVES: Final[dict[AdminPhase, tuple[AdminPhase, ...]]] = {
    FRESH: (HEAD,),
    HEAD: (ANSWERING,),
    ANSWERING: (KEPT, HEAD),
    KEPT: (HEAD, ANSWERING),  # ANSWERING: it had come whole while the one before it was answered
}


class AdminConnection(web.RequestHandler):
    """One connection. aiohttp reads and answers; this keeps its time and answers what is no HTTP."""

    __slots__ = ("_flow", "_more", "_others", "_transport", "address", "phase", "since")

    def __init__(self, server: web.Server, others: "AdminConnections") -> None:
        loop = asyncio.get_running_loop()
        super().__init__(server, loop=loop, access_log=None, lingering_time=LINGER_S)  # type: ignore[arg-type]
        self._others = others
        self._transport: asyncio.Transport | None = None
        self._flow = FlowControl(loop, others.tick)
        self._more = False  # bytes came while a request was being answered
        self.address = ""
        self.phase: AdminPhase = FRESH
        self.since = others.tick  # the coarse time of the last change of phase

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
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if data and self.phase is ANSWERING:
            self._more = True
        elif data and self.phase is not HEAD:
            self._become(HEAD)
        try:
            super().data_received(data)
        except Exception as error:  # a target or a field that its parser does not expect, such as "http://[::1"
            _log.debug("not HTTP: %r", error)
            self._end_with(400, "The request is not HTTP.")

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what is no HTTP without a traceback: it is no error of ours."""
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        _log.debug("not HTTP: %r", exc)
        answer = problem(status, "The request is not HTTP.")
        answer.force_close()
        return answer

    def began(self) -> None:
        """Take note that a request is whole and is being answered."""
        self._more = False
        self._become(ANSWERING)

    def answered(self) -> None:
        """Take note that its answer is made; what of it is not taken yet still counts as stalled."""
        if self.phase is ANSWERING:
            self._become(HEAD if self._more else KEPT)

    @property
    def is_gone(self) -> bool:
        """Tell whether nobody is there any more."""
        return self._transport is None or self._transport.is_closing()

    @property
    def unwritten(self) -> int:
        """Return the bytes that the other side has not taken, but for those that the system holds."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def keep_little(self, size: int) -> None:
        """Have the system hold about `size` bytes for the other side, so that one that reads nothing is seen soon."""
        transport = self._transport
        raw = None if transport is None else transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def sweep(self, now: float) -> None:
        """End what has waited too long at `now`."""
        transport, rules = self._transport, self._others.rules
        if transport is None:
            return
        if self._flow.stalled_s(transport, now) > rules.idle_timeout_s:
            self.abort()
        elif transport.get_write_buffer_size():  # an answer is being taken
            self.since = now
        elif self.phase is HEAD and now - self.since > rules.head_timeout_s:
            self._end_with(408, "The request head did not arrive in time.")
        elif (self.phase is FRESH and now - self.since > rules.head_timeout_s) or (
            self.phase is KEPT and now - self.since > rules.keepalive_timeout_s
        ):
            self.force_close()

    def _end_with(self, status: int, detail: str) -> None:
        """Answer and close; where an answer is under way already, only close."""
        if self._transport is not None and self.phase is not ANSWERING and not self._transport.is_closing():
            self._transport.write(raw_problem(status, detail))
        self.force_close()


@web.middleware
async def timed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell the connection when a request is whole, and when its answer is made."""
    connection = request.protocol
    if not isinstance(connection, AdminConnection):
        return await handler(request)
    connection.began()
    try:
        return await handler(request)
    finally:
        connection.answered()


class AdminConnections:
    """All of them. `tick` is the coarse time in the loop's seconds, moved by `sweep`."""

    def __init__(self, rules: AdminLimits, tick: float) -> None:
        self.rules = rules
        self.tick = tick
        self._open: dict[AdminConnection, None] = {}  # in the order in which they came

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, connection: AdminConnection) -> None:
        """Take in a connection."""
        self._open[connection] = None

    def leave(self, connection: AdminConnection) -> None:
        """Forget a connection."""
        self._open.pop(connection, None)

    def make_room(self, beginning: int) -> bool:
        """Cut whoever has to give way to another connection; return False if nobody can.

        `beginning`: how many were accepted and have not entered yet.
        """
        while len(self._open) + beginning >= self.rules.max_connections:
            idle = [one for one in self._open if one.phase is not ANSWERING]
            if not idle:
                return False
            held = Counter(one.address for one in idle)
            going = min(idle, key=lambda one: (-held[one.address], one.since))
            self.leave(going)
            going.abort()
        return True

    def sweep(self, now: float) -> None:
        """Move the coarse time and end what has waited too long."""
        self.tick = now
        for connection in tuple(self._open):
            connection.sweep(now)
