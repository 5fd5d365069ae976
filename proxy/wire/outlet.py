"""The writing half of a downstream connection: what goes out, and how fast the client takes it."""

import asyncio

from proxy.wire.gate import Gate, reset


class Outlet:
    """Whole answers go out at the end of the loop's turn, everything else at once; order is kept between them."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self._writable: asyncio.Future[None] | None = None  # while the client is behind
        self._unsent = b""  # whole answers, until the end of the turn
        self._unwritten = 0
        self._blocked_since = 0.0

    def pause_writing(self) -> None:
        """Take note that the client is behind."""
        self._writable = self._loop.create_future()
        self._blocked_since = self._gate.tick
        self._unwritten = 0

    def resume_writing(self) -> None:
        """Take note that it has caught up."""
        self._wake()
        self._writable = None

    def _wake(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def _write(self, data: bytes) -> None:
        self._unsent += data
        self.flush()

    def flush(self) -> None:
        """Write what waits now, at the latest at the end of the loop's turn."""
        unsent, self._unsent = self._unsent, b""
        if unsent and self.transport is not None and not self.transport.is_closing():
            self.transport.write(unsent)

    def _sweep_reader(self, now: float) -> None:
        """Drop a client that takes nothing of its answer; one that takes little is only slow."""
        assert self.transport is not None
        unwritten = self.transport.get_write_buffer_size()
        if unwritten < self._unwritten or not self._unwritten:
            self._blocked_since = now
        self._unwritten = unwritten
        if now - self._blocked_since > self._gate.rules.idle_timeout_s:
            self.abort()

    def abort(self) -> None:
        """Drop the connection."""
        if self.transport is not None:
            reset(self.transport)
