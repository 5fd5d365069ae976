"""Threads of the product as greenlets: each runs at a scheduled virtual instant, and waits in virtual time.

A thread waits only where the product calls a queue, an event, a semaphore or the disk. At each of these the greenlet
gives the control back to the loop, and a timer of its process resumes it. So a paused or killed process has paused or
killed threads, and the same seed gives the same order.
"""

import asyncio
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, Generic, TypeVar
from unittest.mock import patch

from greenlet import getcurrent, greenlet

from tests.simulation.whole.loop import this_process

T = TypeVar("T")
MODULES = ("proxy.audit.writer", "proxy.audit.retention", "proxy.runtime.threads")  # of the product, with threads


class _Sleeper:
    """A greenlet that waits for a wake-up or a timeout, whichever is first."""

    def __init__(self, timeout_s: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = getcurrent()
        self._woken = False
        self._timer = None if timeout_s is None else self._loop.call_later(timeout_s, self._resume)
        self._over = False

    def sleep(self) -> bool:
        """Wait; tell whether it was woken."""
        assert self._thread.parent is not None, "only a thread may wait"
        self._thread.parent.switch()
        return self._woken

    def wake(self) -> None:
        """Resume the greenlet, a moment later: the kernel schedules it."""
        if self._over or self._woken:
            return
        self._woken = True
        if self._timer is not None:
            self._timer.cancel()
        self._loop.call_later(this_process().lag(), self._resume)

    def _resume(self) -> None:
        self._over = True
        self._thread.parent = getcurrent()
        self._thread.switch()


def pause_thread(seconds: float) -> None:
    """Let a thread wait; do nothing on the loop, which never waits."""
    if seconds > 0 and getcurrent().parent is not None:
        _Sleeper(seconds).sleep()


class Thread:
    """`threading.Thread`, as far as the product uses it."""

    def __init__(
        self, *, target: Callable[..., object], args: tuple[Any, ...] = (), name: str = "", daemon: bool = True
    ) -> None:
        self._target = target
        self._args = args
        self.name = name

    def start(self) -> None:
        """Begin a moment later."""
        process = this_process()
        thread = greenlet(self._run)
        thread.gr_context = process.context.copy()
        process.threads.append(thread)
        asyncio.get_running_loop().call_later(process.lag(), self._begin, thread)

    @staticmethod
    def _begin(thread: greenlet) -> None:
        thread.parent = getcurrent()
        thread.switch()

    def _run(self) -> None:
        self._target(*self._args)


class Event:
    """`threading.Event`."""

    def __init__(self) -> None:
        self._set = False
        self._waiting: list[_Sleeper] = []

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        waiting, self._waiting = self._waiting, []
        for sleeper in waiting:
            sleeper.wake()

    def wait(self, timeout: float | None = None) -> bool:
        if not self._set:
            sleeper = _Sleeper(timeout)
            self._waiting.append(sleeper)
            sleeper.sleep()
        return self._set


class Semaphore:
    """`threading.Semaphore`."""

    def __init__(self, value: int = 1) -> None:
        self._value = value
        self._waiting: deque[_Sleeper] = deque()

    def acquire(self) -> bool:
        while not self._value:
            sleeper = _Sleeper(None)
            self._waiting.append(sleeper)
            sleeper.sleep()
        self._value -= 1
        return True

    def release(self) -> None:
        self._value += 1
        if self._waiting:
            self._waiting.popleft().wake()


class SimpleQueue(Generic[T]):
    """`queue.SimpleQueue` with one reader."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._reader: _Sleeper | None = None

    def put(self, item: T) -> None:
        self._items.append(item)
        if self._reader is not None:
            self._reader.wake()

    def get(self, timeout: float | None = None) -> T:
        if not self._items:
            self._reader = _Sleeper(timeout)
            self._reader.sleep()
            self._reader = None
        if not self._items:
            raise queue.Empty
        return self._items.popleft()


_THREADING = SimpleNamespace(Thread=Thread, Event=Event, Semaphore=Semaphore)
_QUEUE = SimpleNamespace(SimpleQueue=SimpleQueue, Empty=queue.Empty)


@contextmanager
def simulated_threads() -> Iterator[None]:
    """Let the modules of the product that use threads use these."""
    patches = [patch(f"{module}.threading", _THREADING) for module in MODULES]
    with all_of([*patches, patch("proxy.audit.writer.queue", _QUEUE)]):
        yield


@contextmanager
def all_of(patches: Iterable[AbstractContextManager[object]]) -> Iterator[None]:
    """Enter all of these."""
    with ExitStack() as stack:
        for each in patches:
            stack.enter_context(each)
        yield
