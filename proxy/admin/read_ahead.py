"""Read a few KiB of each admin connection ahead, and hand over one request in each iteration of the event loop.

The kernel's buffer holds the rest. The data plane's connections are served between two requests of the control plane.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Final, cast

READ_AHEAD: Final = 4096  # bytes
_HEAD_END: Final = re.compile(rb"\n\r?\n")  # RFC 9112 section 2.2: a recipient may accept a line feed alone
_SEAM: Final = 2  # bytes of the end of a head that the previous piece may contain


class Turns:
    """Connections that have bytes to hand over, in order of arrival: one hands them over in each loop iteration."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.buffer = bytearray(READ_AHEAD)  # shared by all reads: each read is copied before the next one
        self._loop = loop
        self._waiting: dict[Callable[[], None], None] = {}
        self._scheduled = False

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, hand_over: Callable[[], None]) -> None:
        """Queue a connection's method `hand_over`, unless it is already queued."""
        self._waiting[hand_over] = None
        self._schedule()

    def leave(self, hand_over: Callable[[], None]) -> None:
        """Remove a connection from the queue."""
        self._waiting.pop(hand_over, None)

    def _schedule(self) -> None:
        if self._waiting and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        self._scheduled = False
        hand_over = next(iter(self._waiting), None)
        if hand_over is not None:
            del self._waiting[hand_over]
            self._schedule()
            hand_over()


class ReadAhead(asyncio.BufferedProtocol):
    """The protocol of one admin connection: it holds at most one read, and reads again after handing that over.

    It passes every other event on to `taker`. While nothing is held, reading continues during a response, to
    detect that the client has closed the connection.
    """

    __slots__ = ("_clogged", "_held", "_seam", "_taker", "_takes_more", "_transport", "_turns")

    def __init__(self, taker: asyncio.Protocol, takes_more: Callable[[], bool], turns: Turns) -> None:
        """`taker` parses and responds, `takes_more` tells whether it accepts bytes, all connections share `turns`."""
        self._taker = taker
        self._takes_more = takes_more
        self._turns = turns
        self._transport: asyncio.Transport | None = None
        self._clogged = False  # the client does not read its responses
        self._held = b""
        self._seam = b""  # the last bytes that were handed over

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._taker.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._turns.leave(self._hand_over)
        self._transport, self._held = None, b""
        self._taker.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._turns.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._held += self._turns.buffer[:nbytes]
        self.go_on()

    def eof_received(self) -> bool | None:
        return self._taker.eof_received()

    def pause_writing(self) -> None:
        self._clogged = True
        self._taker.pause_writing()

    def resume_writing(self) -> None:
        self._clogged = False
        self._taker.resume_writing()
        self.go_on()

    @property
    def _may_hand_over(self) -> bool:
        return self._takes_more() and not self._clogged

    def go_on(self) -> None:
        """Read if nothing is held; otherwise queue the held bytes, unless a response is pending or unread."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if not self._held:
            transport.resume_reading()
            return
        transport.pause_reading()
        if self._may_hand_over:
            self._turns.ask(self._hand_over)

    def _hand_over(self) -> None:
        """Hand over the held bytes up to the first end of a head."""
        if self._may_hand_over:
            size = self._next_size()
            piece, self._held = self._held[:size], self._held[size:]
            self._seam = (self._seam + piece)[-_SEAM:]
            self._taker.data_received(piece)
        self.go_on()

    def _next_size(self) -> int:
        end = _HEAD_END.search(self._seam + self._held)
        return len(self._held) if end is None else max(1, end.end() - len(self._seam))
