"""Run blocking calls that may hang in the kernel in daemon threads, which no exit waits for."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def in_daemon_thread(call: Callable[[], T]) -> T:
    """Return what `call` returns, or raise what it raises. When cancelled, abandon the thread.

    Unlike `asyncio.to_thread`, neither the loop's nor the process's exit waits for it: a file on an unreachable server
    must not delay the exit.
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
