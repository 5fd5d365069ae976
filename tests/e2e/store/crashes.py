"""Kill a sidecar at each named point of a write, and read from the next: `python -m tests.e2e.store.crashes [TIMES]`.

Each time a response is cached, the backend's state changes by a write, and the sidecar dies at the point. The next
sidecar must not serve a response from before a write that was answered; after most points, not from before a write
that was sent at all.
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from proxy.clock import SystemClock
from proxy.demo.sidecar_process import COMMAND
from tests.e2e.raw import BROKEN, ask
from tests.e2e.sidecar import PATIENCE
from tests.e2e.store.crash_points import ANSWERED, POINTS
from tests.e2e.store.durable import durable, killed, written
from tests.e2e.store.keyed import KeyedBackend, keyed_backend
from tests.e2e.store.requests import LOAD, UPDATE

UNSURE = {  # points at which neither the mark nor the void epoch must be on the disk yet, unless the client is answered
    *("before the mark is queued", "after the mark is queued", "before the mark's commit", "at the backend's answer"),
    *("after the removal is queued", "the disk refuses, before the epoch is void"),
    "before the removal's commit",  # which may have the mark too, where the backend was quick
}
TIMES = 20


class Crash(NamedTuple):
    """What came of one crash: whether the write was answered, what was served after it, and what the backend has."""

    answered: bool
    served: bytes
    present: bytes

    def holds(self, point: str) -> bool:
        """Tell whether nothing older than a completed write was served."""
        return self.served == self.present or (not self.answered and point in UNSURE and self.served == version(0))


def version(number: int) -> bytes:
    """Return what the backend says of itself after so many writes."""
    return b'{"version": %d}' % number


async def crash(folder: Path, point: str) -> Crash:
    """Play one crash in an empty folder."""
    command = (COMMAND[0], "-m", "tests.e2e.store.crash_points", point)
    async with keyed_backend(0.0) as backend:
        async with durable(folder, backend.url, command=command) as child:
            assert (await ask(child.url, LOAD)).body == version(0)
            await written(child)
            answered = await _write(child.url)
            if point.endswith(ANSWERED):
                await killed(child)
            async with asyncio.timeout(PATIENCE):
                await child.process.wait()
        async with durable(folder, backend.url) as child:
            served = (await ask(child.url, LOAD)).body
        return Crash(answered, served, _present(backend))


async def _write(url: str) -> bool:
    try:
        return (await ask(url, UPDATE)).status == 204
    except (*BROKEN, OSError):
        return False


def _present(backend: KeyedBackend) -> bytes:
    return version(backend.written("r-1"))


async def main(times: int) -> int:
    """Play every point so many times; return how many points did not hold."""
    clock, failed = SystemClock(), 0
    for point in POINTS:
        began, seen = clock.now(), list[Crash]()
        for _ in range(times):
            with tempfile.TemporaryDirectory() as folder:
                seen.append(await crash(Path(folder), point))
        bad = [each for each in seen if not each.holds(point)]
        failed += bool(bad)
        answered = sum(each.answered for each in seen)
        verdict = f"FAIL {bad[0]}" if bad else "ok"
        print(f"{verdict:5} {point}: {times} times, {answered} answered, {clock.now() - began:.0f} s", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else TIMES)))
