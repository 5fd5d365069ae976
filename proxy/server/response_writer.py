"""The writing half of a downstream connection: what goes out, how fast the client takes it, and how it ends."""

import asyncio

from proxy.errors import IllegalMove
from proxy.server.connection_states import (
    ANSWERING_MOVES,
    CLOSED,
    FREE,
    LINGERING,
    TUNNEL,
    WriteState,
)
from proxy.server.server_state import ServerState, reset
from proxy.transport.flow_control import FlowControl

LINGER_IDLE_S = 5.0  # a client that goes on sending after its last answer is read until it was silent for so long,
LINGER_S = 30.0  # and no longer than this
LINGER_IN_DRAIN_S = 1.0


class ResponseWriter:
    """Whole answers go out at the end of the loop's turn, everything else at once; order is kept between them."""

    def __init__(self, gate: ServerState) -> None:
        self._gate = gate
        self._loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.answering: WriteState = FREE
        self.flow = FlowControl(self._loop, gate.tick)
        self.heard_at = 0.0  # gate time of the last byte from the client
        self._unsent = b""  # whole answers, until the end of the turn
        self._lingers_since = 0.0

    def _become(self, answering: WriteState) -> None:
        if answering not in ANSWERING_MOVES[self.answering]:
            raise IllegalMove(self.answering, answering)
        self.answering = answering

    def pause_writing(self) -> None:
        """Take note that the client is behind."""
        self.flow.pause(self._gate.tick)

    def resume_writing(self) -> None:
        """Take note that it has caught up."""
        self.flow.resume()

    def write_now(self, data: bytes) -> None:
        """Write, after all that waits for the end of the turn."""
        self._unsent += data
        self.flush()
        if self.answering is TUNNEL:  # it idles while neither side says anything
            self.heard_at = self._gate.tick

    def flush(self) -> None:
        """Write what waits now, at the latest at the end of the loop's turn."""
        unsent, self._unsent = self._unsent, b""
        if unsent and self.transport is not None and not self.transport.is_closing():
            self.transport.write(unsent)

    def _unwritten(self) -> int:
        """Return the bytes that wait until the client takes them."""
        buffered = 0 if self.transport is None else self.transport.get_write_buffer_size()
        return len(self._unsent) + 2 * buffered  # behind it as much waits in a relay

    def _finish(self, *, linger: bool) -> None:
        """Write nothing more. A client that may still send is read for a while, lest a reset takes its answer away."""
        transport = self.transport
        assert transport is not None
        self.flush()
        if not linger:
            self._become(CLOSED)
            transport.close()
            return
        self._become(LINGERING)
        self.heard_at = self._lingers_since = self._gate.tick
        if transport.can_write_eof():
            transport.write_eof()

    def _end(self) -> None:
        """Write nothing more, whatever the state is."""
        if self.answering is not CLOSED:
            self._become(CLOSED)

    def _sweep_ending(self, now: float) -> None:
        """Drop a connection whose last answer is written, once nobody takes it or nothing comes any more."""
        transport = self.transport
        assert transport is not None
        stalled = self.flow.stalled_s(transport, now) > self._gate.rules.idle_timeout_s
        if stalled or (self.answering is LINGERING and not transport.get_write_buffer_size() and self._is_silent(now)):
            transport.abort()

    def _is_silent(self, now: float) -> bool:
        idle_s = LINGER_IN_DRAIN_S if self._gate.draining else LINGER_IDLE_S
        return now - self.heard_at > idle_s or now - self._lingers_since > LINGER_S

    def abort(self) -> None:
        """Drop the connection."""
        if self.transport is not None:
            reset(self.transport)
