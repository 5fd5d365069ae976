"""The writing half of a client connection: buffering, back-pressure and closing."""

import asyncio

from proxy.errors import IllegalMove
from proxy.server.connection_states import ANSWERING_MOVES, CLOSED, FREE, LINGERING, TUNNEL, WriteState
from proxy.server.server_state import ServerState, reset
from proxy.transport.flow_control import FlowControl

LINGER_IDLE_S = 5.0  # seconds of silence after which a client that still sends after its last response is dropped,
LINGER_S = 30.0  # at the latest after this many seconds
LINGER_IN_DRAIN_S = 1.0


class ResponseWriter:
    """Write complete responses at the end of the loop iteration and everything else at once, in order."""

    def __init__(self, server: ServerState) -> None:
        self._server = server
        self.transport: asyncio.Transport | None = None
        self.state: WriteState = FREE
        self.flow = FlowControl(asyncio.get_running_loop(), server.tick)
        self.received_at = 0.0  # when the client last sent data, in the server's coarse time
        self.unsent = b""  # complete responses, until the end of the loop iteration
        self._lingers_since = 0.0

    def become(self, state: WriteState) -> None:
        """Change the state. Raise IllegalMove for a transition that is not allowed."""
        if state not in ANSWERING_MOVES[self.state]:
            raise IllegalMove(self.state, state)
        self.state = state

    def pause_writing(self) -> None:
        """Record that the write buffer is full."""
        self.flow.pause(self._server.tick)

    def resume_writing(self) -> None:
        """Record that the write buffer has drained."""
        self.flow.resume()

    def write_now(self, data: bytes) -> None:
        """Write after flushing buffered responses."""
        self.unsent += data
        self.flush()
        if self.state is TUNNEL:  # a tunnel is idle if neither side sends
            self.received_at = self._server.tick

    def flush(self) -> None:
        """Write the buffered responses now, at the latest at the end of the loop iteration."""
        unsent, self.unsent = self.unsent, b""
        if unsent and self.transport is not None and not self.transport.is_closing():
            self.transport.write(unsent)

    def unwritten(self) -> int:
        """Return the bytes that the client has not read."""
        buffered = 0 if self.transport is None else self.transport.get_write_buffer_size()
        return len(self.unsent) + 2 * buffered  # a stream's Broadcast holds about as much for this client (HIGH_WATER)

    def finish(self, *, linger: bool) -> None:
        """Write no more. Read on for a while if the client may still send: a reset could destroy the last response."""
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
        """Write no more, in any state."""
        if self.state is not CLOSED:
            self.become(CLOSED)

    def sweep_ending(self, now: float) -> None:
        """Drop a connection after its last response, once the client stops reading or sending."""
        transport = self.transport
        assert transport is not None
        stalled = self.flow.stalled_s(transport, now) > self._server.rules.idle_timeout
        if stalled or (self.state is LINGERING and not transport.get_write_buffer_size() and self._is_silent(now)):
            transport.abort()

    def _is_silent(self, now: float) -> bool:
        idle_s = LINGER_IN_DRAIN_S if self._server.draining else LINGER_IDLE_S
        return now - self.received_at > idle_s or now - self._lingers_since > LINGER_S

    def abort(self) -> None:
        """Close the connection at once."""
        if self.transport is not None:
            reset(self.transport)
