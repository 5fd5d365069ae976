"""The demo watched in a real browser, from the line that it prints: its own outage comes and goes on the screen."""

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.observe.browser import CHROMIUM, browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

WATCH = re.compile(r"Watch it in a browser: (http://\S+)/ \(token (\S+)\)\n")
STATE = "document.querySelector('#circuits [data-name=status]')?.className"
ROWS = "document.querySelectorAll('#records tbody tr').length"
ID = "document.querySelector('#records tbody tr button')"


@asynccontextmanager
async def touring() -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `backstay demo --serve`, and see that it is gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", "demo", "--serve"), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.communicate()


async def line_of(process: asyncio.subprocess.Process, wanted: re.Pattern[str]) -> re.Match[str]:
    """Read what it prints up to a line."""
    assert process.stdout is not None
    while line := (await process.stdout.readline()).decode():
        if found := wanted.search(line):
            return found
    raise AssertionError(f"it never said {wanted.pattern}")


@pytest.mark.timeout(120)
async def test_the_tours_own_outage_is_seen_and_searched(tmp_path: Path) -> None:
    """A circuit opens and recovers on screen, the records follow, an id finds its own, nothing is asked elsewhere."""
    async with browser(tmp_path) as page, touring() as demo:
        admin, token = (await line_of(demo, WATCH)).groups()
        await page.open(f"{admin}/")
        await page.ask("document.getElementById('token').focus()")
        await page.type(token)
        await page.press("Enter")
        await page.until(f"{STATE} === 'OPEN'")
        await page.until(f"{STATE} === 'CLOSED'")

        await page.until(f"{ROWS} > 10")
        wanted = await page.ask(f"{ID}.innerText")
        await page.ask("document.getElementById('wanted').focus()")
        await page.type(wanted)
        await page.press("Enter")
        await page.until(f"{ROWS} === 1")
        assert await page.ask(f"{ID}.innerText") == wanted

        await line_of(demo, re.compile("frontend"))
        demo.send_signal(signal.SIGINT)
        rest = (await demo.communicate())[0].decode()
        assert re.search("kept +the sidecar stops cleanly on SIGTERM", rest), rest
        assert page.said == []
        assert all(url.startswith(admin) for url in page.asked), page.asked
