"""Play runs in a child process that ends without cleaning up.

A killed sidecar leaves coroutines and threads that wait for ever. If they were collected, their `finally` blocks would
run in the middle of another run. So nothing of a run is collected: the child keeps it, and ends after a few runs.
"""

import gc
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


LONGEST_S = 300  # of real time, after which a child is killed


class BrokenRunError(Exception):
    """The child ended without a result: a mistake of the simulation itself."""


def quiet() -> None:
    """Write nothing to standard error: a worker whose runs are not wanted any more would report a broken pipe."""
    sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the worker ends


def apart(call: Callable[[], T]) -> T:
    """Return what the call returns in a forked child. Raise BrokenRunError with its traceback if it raises."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _answer(call, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as result:
        told = result.read()
    os.waitpid(child, 0)
    if not told:
        raise BrokenRunError(f"the child was killed, or did not end within {LONGEST_S} s")
    ended, value = pickle.loads(told)
    if not ended:
        raise BrokenRunError(value)
    return value  # type: ignore[no-any-return]


def _answer(call: Callable[[], object], writing: int) -> None:
    """Write the result to the parent and end at once, without `finally` blocks and collections."""
    gc.disable()
    signal.alarm(LONGEST_S)  # its default action ends the process
    try:
        told = pickle.dumps((True, call()))
    except BaseException:
        told = pickle.dumps((False, traceback.format_exc()))
    with os.fdopen(writing, "wb") as result:
        result.write(told)
    sys.stderr.flush()
    os._exit(0)
