"""A task that starts at once and continues in the same loop iteration that resolves its future.

asyncio's task needs one more loop iteration to start and after each await. With thousands of connections a request is
then resumed three times, each time with a cold processor cache.
"""

import asyncio
from asyncio.tasks import _enter_task, _leave_task  # documented for other implementations of tasks
from collections.abc import Coroutine, Iterator
from typing import Any, Final

from proxy.runtime.immediate_future import ImmediateFuture

_ENDED: Final = object()


class EagerTask:
    """Run one coroutine, as `asyncio.Task` does but without extra loop iterations. It has no waiters and no result.

    `asyncio.timeout` needs `cancel`, `cancelling` and `uncancel`.
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
        """Run the coroutine to its next await or its end. Must not be called while another task runs."""
        coroutine = self._coroutine
        if coroutine is None:
            return
        self._waits_for = None
        _enter_task(self._loop, self)  # type: ignore[arg-type]  # the stub accepts only asyncio's own task
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
        waits_for._asyncio_future_blocking = False  # the protocol between futures and tasks
        self._waits_for = waits_for
        if isinstance(waits_for, ImmediateFuture):
            waits_for.then = self.step
        else:
            waits_for.add_done_callback(self.step)
        if self._must_cancel and waits_for.cancel():
            self._must_cancel = False

    def cancel(self, msg: object = None) -> bool:
        """Raise CancelledError at the current await; tell whether the task had not ended."""
        if self._coroutine is None:
            return False
        self._asked_to_cancel += 1
        if self._waits_for is None or not self._waits_for.cancel():
            self._must_cancel = True
        return True

    def cancelling(self) -> int:
        """Return the number of pending cancel requests."""
        return self._asked_to_cancel

    def uncancel(self) -> int:
        """Take back one cancel request; return the number left."""
        self._asked_to_cancel -= 1
        return self._asked_to_cancel
