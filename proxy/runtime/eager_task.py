"""A task that begins at once, and goes on in the very turn of the loop that brings what it waits for.

asyncio's own takes a turn of the loop to begin and one more after each answer. At thousands of connections a request is
then picked up three times, each time long out of the processor's cache; here each leg is one piece of work.
"""

import asyncio
from asyncio.tasks import _enter_task, _leave_task  # documented for other implementations of tasks
from collections.abc import Coroutine, Iterator
from typing import Any, Final

from proxy.runtime.immediate_future import ImmediateFuture

_ENDED: Final = object()


class EagerTask:
    """Runs one coroutine, as `asyncio.Task` does but sooner. Nobody waits for it, and it returns nothing.

    `cancel`, `cancelling` and `uncancel` are what `asyncio.timeout` asks of the current task.
    """

    __slots__ = ("_asked_to_cancel", "_coroutine", "_loop", "_must_cancel", "_steps", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
        self._coroutine: Coroutine[Any, Any, None] | None = coroutine
        self._steps: Iterator[Any] = coroutine.__await__()
        self._loop = loop
        self._waits_for: asyncio.Future[Any] | None = None
        self._must_cancel = False
        self._asked_to_cancel = 0

    def step(self, ready: object = None) -> None:
        """Run it to where it waits next, or to its end. Not from within another task's run."""
        coroutine = self._coroutine
        if coroutine is None:
            return
        self._waits_for = None
        _enter_task(self._loop, self)  # type: ignore[arg-type]  # the stub knows no task but asyncio's own
        try:
            if self._must_cancel:
                self._must_cancel = False
                waits_for = coroutine.throw(asyncio.CancelledError())
            else:
                waits_for = next(self._steps, _ENDED)  # `send` would end with an exception, which costs 0.5 µs
            if waits_for is _ENDED:
                self._coroutine = None
            else:
                self._wait(waits_for)
        except (StopIteration, asyncio.CancelledError):
            self._coroutine = None
        except BaseException:
            self._coroutine = None
            raise
        finally:
            _leave_task(self._loop, self)  # type: ignore[arg-type]

    def _wait(self, waits_for: Any) -> None:
        if waits_for is None:  # a bare yield: asyncio.sleep(0)
            self._loop.call_soon(self.step)
            return
        waits_for._asyncio_future_blocking = False  # as a task says that it has understood
        self._waits_for = waits_for
        if isinstance(waits_for, ImmediateFuture):
            waits_for.then = self.step
        else:
            waits_for.add_done_callback(self.step)
        if self._must_cancel and waits_for.cancel():
            self._must_cancel = False

    def cancel(self, msg: object = None) -> bool:
        """Raise CancelledError where it waits; tell whether it had not ended."""
        if self._coroutine is None:
            return False
        self._asked_to_cancel += 1
        if self._waits_for is None or not self._waits_for.cancel():
            self._must_cancel = True
        return True

    def cancelling(self) -> int:
        """Return how many have asked for its end and not taken that back."""
        return self._asked_to_cancel

    def uncancel(self) -> int:
        """Take back one request for its end; return how many are left."""
        self._asked_to_cancel -= 1
        return self._asked_to_cancel
