"""Group commit: all waiters that arrive before an fsync begins share it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

Flush = Callable[[Callable[[bool], None]], None]


class Rounds:
    """Run one flush at a time; waiters that arrive meanwhile share the next.

    `flush` writes all appended lines to the disk and calls its argument, in any thread, with True once they are
    durable.
    """

    def __init__(self, flush: Flush) -> None:
        self._flush = flush
        self._waiting: list[_Promise] = []  # share the next flush
        self._flushing: list[_Promise] = []  # share the running flush
        self._under_way = False
        self._closed = False

    def add(self, on_result: Callable[[bool], None], wait_s: float) -> None:
        """Call `on_result` on the loop with the result of the next flush, or with False after `wait_s` seconds."""
        loop = asyncio.get_running_loop()
        promise = _Promise(on_result)
        promise.timer = loop.call_later(wait_s, promise.keep, False)
        self._waiting.append(promise)
        if not self._under_way:
            self._under_way = True
            loop.call_soon(self._begin)

    def refuse(self) -> None:
        """Resolve all waiters with False."""
        for promise in (*self._flushing, *self._waiting):
            promise.keep(False)

    def close(self) -> None:
        """Start no further flush; `refuse` resolves the waiters."""
        self._closed = True

    def _begin(self) -> None:
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        self._flushing, self._waiting = self._waiting, []
        self._flush(lambda durable: _call_on_loop(loop, self._end, durable))

    def _end(self, durable: bool) -> None:
        for promise in self._flushing:
            promise.keep(durable)
        self._under_way = bool(self._waiting)
        if self._waiting:
            self._begin()


class _Promise:
    """One waiter, which gets one result: whether its record is durable."""

    __slots__ = ("_on_result", "timer")

    def __init__(self, on_result: Callable[[bool], None]) -> None:
        self._on_result: Callable[[bool], None] | None = on_result
        self.timer: asyncio.TimerHandle | None = None

    def keep(self, durable: bool) -> None:
        on_result, self._on_result = self._on_result, None
        if on_result is not None:
            if self.timer is not None:
                self.timer.cancel()
            on_result(durable)


def _call_on_loop(loop: asyncio.AbstractEventLoop, on_loop: Callable[[bool], None], durable: bool) -> None:
    with suppress(RuntimeError):  # the loop is closed, so no waiter is left
        loop.call_soon_threadsafe(on_loop, durable)
