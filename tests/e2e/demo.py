"""Run `backstay demo --serve` for tests, and read its promises."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.e2e.sidecar import environment

BROKEN = re.compile(r"^  BROKEN  (.*): ", re.MULTILINE)
ABOUT_TIME = {  # promises that a slow or busy machine breaks, whatever the sidecar does
    "after the waits of 100 and 200 ms", "after the waits of 200 and 400 ms",
    "in under 1 ms at the median, on the wire", "refused in under 1 ms, in the record too", "the tour takes under 30 s",
}  # fmt: skip


@asynccontextmanager
async def touring() -> AsyncIterator[asyncio.subprocess.Process]:
    """Run it, with what it says in `stdout`, and see that it is gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", "demo", "--serve"), env=environment(),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.communicate()


async def line_of(process: asyncio.subprocess.Process, wanted: str) -> tuple[re.Match[str], str]:
    """Read what it prints up to a line that has `wanted`; return the match and all that was read."""
    assert process.stdout is not None
    printed = ""
    while line := (await process.stdout.readline()).decode():
        printed += line
        if found := re.search(wanted, line):
            return found, printed
    raise AssertionError(f"it never said {wanted}: {printed}")


def broken(printed: str) -> set[str]:
    """Return the promises that were broken and are not about time."""
    return set(BROKEN.findall(printed)) - ABOUT_TIME
