"""Measure how fast the peer reads what is written to it, on both legs."""

import asyncio


class FlowControl:
    """Whether a writer must wait, and how long the peer has read nothing. `now` is the leg's coarse time in seconds.

    The only measure that both event loops offer is the transport's buffer: while it shrinks, the peer is only slow.
    """

    __slots__ = ("_loop", "_unwritten", "moved_at", "writable")

    def __init__(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        self._loop = loop
        self._unwritten = 0
        self.moved_at = now  # the last time at which the buffer shrank or was empty
        self.writable: asyncio.Future[None] | None = None  # pending while the peer is behind

    def pause(self, now: float) -> None:
        """Record that the write buffer is full."""
        self.writable = self._loop.create_future()
        self.moved_at = now
        self._unwritten = 0

    def resume(self) -> None:
        """Record that the write buffer has drained."""
        self.wake()
        self.writable = None

    def wake(self) -> None:
        """Wake the waiting writer."""
        if self.writable is not None and not self.writable.done():
            self.writable.set_result(None)

    def stalled_s(self, transport: asyncio.Transport, now: float) -> float:
        """Return for how many seconds the peer has read nothing of the buffer; 0 if the buffer is empty."""
        unwritten = transport.get_write_buffer_size()
        if unwritten < self._unwritten or not self._unwritten:
            self.moved_at = now
        self._unwritten = unwritten
        return now - self.moved_at
