"""The demo's status page in a real browser, at the printed address: an outage begins and ends on the screen."""

import re
import signal
from pathlib import Path

import aiohttp
import pytest

from proxy.demo.client import USER, status_of
from tests.e2e.demo import line_of, touring
from tests.e2e.observe.browser import CHROMIUM, browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

WATCH = r"Watch it in a browser: (http://\S+)/ \(token (\S+)\)\n"
STATE = "document.querySelector('#circuits [data-name=status]')?.className"
ROWS = "document.querySelectorAll('#records tbody tr').length"
ID = "document.querySelector('#records tbody tr button')"
THRESHOLD = 5  # failures in a row that open the circuit


async def test_an_outage_is_seen_and_the_tour_searched(tmp_path: Path) -> None:
    """A circuit opens and recovers on screen, the records follow, an id finds its own, nothing is asked elsewhere."""
    async with browser(tmp_path) as page, touring() as demo, aiohttp.ClientSession(headers=USER) as session:
        admin, token = (await line_of(demo, WATCH))[0].groups()
        sidecar, backend = [(await line_of(demo, rf"{name}\s+(http://\S+)"))[0][1] for name in ("sidecar", "backend")]
        await page.open(f"{admin}/")
        await page.ask("document.getElementById('token').focus()")
        await page.type(token)
        await page.press("Enter")
        await page.until(f"{STATE} === 'CLOSED'")

        async def ask() -> None:
            async with session.get(sidecar + status_of("val_1")) as answer:
                await answer.read()

        async with session.post(f"{backend}/_demo/faults", json={"kind": "fail", "times": THRESHOLD}) as ordered:
            assert ordered.status == 200
        for _ in range(THRESHOLD):
            await ask()
        await page.until(f"{STATE} === 'OPEN'")
        await page.until(f"{STATE} === 'CLOSED'", meanwhile=ask)

        await page.until(f"{ROWS} > 10")
        wanted = await page.ask(f"{ID}.innerText")
        await page.ask("document.getElementById('wanted').focus()")
        await page.type(wanted)
        await page.press("Enter")
        await page.until(f"{ROWS} === 1")
        assert await page.ask(f"{ID}.innerText") == wanted

        demo.send_signal(signal.SIGINT)
        rest = (await demo.communicate())[0].decode()
        assert re.search("kept +the sidecar stops cleanly on SIGTERM", rest), rest
        assert page.said == []
        assert all(url.startswith(admin) for url in page.asked), page.asked
