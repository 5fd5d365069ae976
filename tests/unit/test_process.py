"""Whatever delays the end of the process does so only for a bounded time."""

import subprocess
import sys

HANGING = """
import asyncio, threading, time
from proxy.process import end_within
from proxy.runtime.threads import in_daemon_thread

async def main():
    end_within({seconds}, 7)
    {what}

asyncio.run(main())
"""


def ended(what: str, seconds: float) -> int:
    """Return the exit status of a process that does this in its loop, and has so many seconds to end."""
    script = HANGING.format(what=what, seconds=seconds)
    return subprocess.run((sys.executable, "-c", script), timeout=50, check=False).returncode


def test_a_loop_or_a_thread_that_hangs_is_cut_off() -> None:
    """A blocking call on the loop, and one in the pool that the loop's own end waits for."""
    assert ended("threading.Event().wait()", 0.1) == 7
    assert (
        ended("await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(time.sleep, 99))], timeout=0.01)", 0.1) == 7
    )


def test_what_is_left_behind_in_a_thread_of_its_own_holds_up_nothing() -> None:
    """The process ends by itself, before it is cut off."""
    waiting = "asyncio.ensure_future(in_daemon_thread(threading.Event().wait))"
    assert ended(f"await asyncio.wait([{waiting}], timeout=0.01)", 60) == 0
