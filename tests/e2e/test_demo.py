"""`backstay demo` as a user runs it: five failure modes, every promise kept, and a playground left running."""

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator

import aiohttp
import pytest

FRONTEND = re.compile(r"frontend\s+(http://\S+)")


@pytest.fixture
async def serving() -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `backstay demo --serve`, and see that it is gone afterwards."""
    command = (sys.executable, "-m", "proxy", "demo", "--serve")
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    yield process
    if process.returncode is None:
        process.terminate()
        await process.communicate()


async def test_the_tour_keeps_its_promises_and_serves_until_interrupted(serving: asyncio.subprocess.Process) -> None:
    """The table is printed, the page comes through the sidecar with a correlation id, and Ctrl-C ends it with 0."""
    assert serving.stdout is not None
    printed = ""
    while not (frontend := FRONTEND.search(printed)):
        line = await serving.stdout.readline()
        assert line, printed
        printed += line.decode()

    async with aiohttp.ClientSession() as session, session.get(frontend[1]) as answer:
        assert answer.status == 200
        assert "X-Correlation-ID" in answer.headers
        assert "Backstay demo" in await answer.text()

    serving.send_signal(signal.SIGINT)
    printed += (await serving.communicate())[0].decode()
    assert serving.returncode == 0, printed
    assert re.search(r"All \d+ promises kept", printed)
    assert all(f"{number}/5" in printed for number in range(1, 6))
