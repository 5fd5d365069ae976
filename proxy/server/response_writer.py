"""The writing half of a connection to a client: what goes out, how fast the client takes it, and how it ends."""

import asyncio

from proxy.errors import IllegalMove
from proxy.server.connection_states import ANSWERING_MOVES, CLOSED, FREE, LINGERING, TUNNEL, WriteState
from proxy.server.server_state import ServerState, reset
from proxy.transport.flow_control import FlowControl

LINGER_IDLE_S = 5.0  # a client that goes on sending after its last answer is read until it was silent for so long,
LINGER_S = 30.0  # and no longer than this
LINGER_IN_DRAIN_S = 1.0


class ResponseWriter:
    """Whole answers go out at the end of the loop's turn, everything else at once; order is kept between them."""

    def __init__(self, server: ServerState) -> None:
        self._server = server
        self.transport: asyncio.Transport | None = None
        self.state: WriteState = FREE
        self.flow = FlowControl(asyncio.get_running_loop(), server.tick)
        self.received_at = 0.0  # when the client was last heard, in the server's coarse time
        self.unsent = b""  # whole answers, until the end of the turn
        self._lingers_since = 0.0

    def become(self, state: WriteState) -> None:
        """Go to a state that may follow; raise IllegalMove for any other."""
        if state not in ANSWERING_MOVES[self.state]:
            raise IllegalMove(self.state, state)
        self.state = state

    def pause_writing(self) -> None:
        """Take note that the client is behind."""
        self.flow.pause(self._server.tick)

    def resume_writing(self) -> None:
        """Take note that it has caught up."""
        self.flow.resume()

    def write_now(self, data: bytes) -> None:
        """Write, after all that waits for the end of the turn."""
        self.unsent += data
        self.flush()
        if self.state is TUNNEL:  # it idles while neither side says anything
            self.received_at = self._server.tick

    def flush(self) -> None:
        """Write what waits now, at the latest at the end of the loop's turn."""
        unsent, self.unsent = self.unsent, b""
        if unsent and self.transport is not None and not self.transport.is_closing():
            self.transport.write(unsent)

    def unwritten(self) -> int:
        """Return the bytes that wait until the client takes them."""
        buffered = 0 if self.transport is None else self.transport.get_write_buffer_size()
        return len(self.unsent) + 2 * buffered  # behind it as much waits in a relay

    def finish(self, *, linger: bool) -> None:
        """Write nothing more. A client that may still send is read for a while, lest a reset takes its answer away."""
        transport = self.transport
        assert transport is not None
        self.flush()
        if not linger:
            self.become(CLOSED)
            transport.close()
            return
        self.become(LINGERING)
        self.received_at = self._lingers_since = self._server.tick
        if transport.can_write_eof():
            transport.write_eof()

    def end(self) -> None:
        """Write nothing more, whatever the state is."""
        if self.state is not CLOSED:
            self.become(CLOSED)

    def sweep_ending(self, now: float) -> None:
        """Drop a connection whose last answer is written, once nobody takes it or nothing comes any more."""
        transport = self.transport
        assert transport is not None
        stalled = self.flow.stalled_s(transport, now) > self._server.rules.idle_timeout_s
        if stalled or (self.state is LINGERING and not transport.get_write_buffer_size() and self._is_silent(now)):
            transport.abort()

    def _is_silent(self, now: float) -> bool:
        idle_s = LINGER_IN_DRAIN_S if self._server.draining else LINGER_IDLE_S
        return now - self.received_at > idle_s or now - self._lingers_since > LINGER_S

    def abort(self) -> None:
        """Drop the connection."""
        if self.transport is not None:
            reset(self.transport)
