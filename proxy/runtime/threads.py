"""Blocking calls in threads of their own: for what may hang in the kernel, which a thread pool would wait for."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def in_daemon_thread(call: Callable[[], T]) -> T:
    """Return what `call` returns, or raise what it raises. When cancelled, leave it behind.

    Unlike `asyncio.to_thread`, neither the loop's end nor the process's waits for it: a file on a server that is gone
    must not put off the end.
    """
    outcome: Future[T] = Future()
    outcome.set_running_or_notify_cancel()
    threading.Thread(target=_run, args=(call, outcome), name=f"call-{call!r}"[:40], daemon=True).start()
    return await asyncio.wrap_future(outcome)


def _run(call: Callable[[], T], outcome: "Future[T]") -> None:
    try:
        result = call()
    except BaseException as error:
        outcome.set_exception(error)
    else:
        outcome.set_result(result)
