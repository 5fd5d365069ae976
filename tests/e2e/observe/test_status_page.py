"""The status page in a real browser shows the sidecar's state, and loads nothing from other hosts."""

from pathlib import Path

import aiohttp
import pytest

from tests.e2e.observe.browser import CHROMIUM, browser
from tests.e2e.observe.stage import TOKEN, stage
from tests.e2e.sidecar import sidecar

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

STATE = "document.querySelector('#circuits [data-name=restoration]')?.className"
BUTTON = "document.querySelector('#circuits [data-name=restoration] button')"
OVERFLOWS = "document.documentElement.scrollWidth > window.innerWidth"


async def test_an_outage_and_its_end_are_seen_and_searched(tmp_path: Path) -> None:
    """A circuit opens and recovers on screen; a correlation id finds its record; nothing is asked of anybody else."""
    async with stage(tmp_path) as scene, browser(tmp_path) as page:
        await page.resize(1280)
        await page.open(scene.child.admin)
        await page.until(f"{STATE} === 'CLOSED'")
        await page.until("document.getElementById('store-figures').textContent === 'Store available · 0 errors'")
        await page.until("document.getElementById('audit-figures').textContent.endsWith(' · 0 write errors')")
        await page.until(
            "/^\\d+ connections · 0 requests under way$/.test(document.getElementById('load').textContent)"
        )
        await scene.create("val_1", tabs=5)
        await scene.restore("val_1", tabs=3)
        await page.until("document.getElementById('restored').textContent === '1'")

        for n in range(5):  # a 503 is retried: one user's ladder is one failure
            scene.backend.faults.fail(4, prefix=f"/api/conversations/val_down_{n}/history")
            await scene.restore(f"val_down_{n}")
        await page.until(f"{STATE} === 'OPEN'")
        await page.until("document.querySelector('#restorations').innerText.includes('restored error\\n5')")

        await page.ask("document.getElementById('token').focus()")
        await page.type(TOKEN)
        await page.press("Enter")
        await page.until("document.querySelectorAll('#records tbody tr').length > 10")
        await page.ask("document.getElementById('wanted').focus()")
        await page.type("history-val_down_4-0")
        await page.press("Enter")
        await page.until("document.querySelectorAll('#records tbody tr').length === 1")
        assert "RestoredError" in await page.ask("document.querySelector('#records tbody').innerText")

        await page.until("document.querySelector('#circuits').innerText.includes('probes with the next request')")
        await scene.restore("val_1")
        await page.until(f"{STATE} === 'HALF_OPEN'")
        await scene.restore("val_1")
        await page.until(f"{STATE} === 'CLOSED'")

        await scene.child.ask_admin("/circuits/restoration/open", "POST", TOKEN)
        await page.until("document.querySelector('#circuits').innerText.includes('held open by hand')")
        await page.ask(f"{BUTTON}.focus()")
        await page.press("Enter")
        await page.until(f"{STATE} === 'CLOSED'")

        for width in (390, 1280):
            for dark in (False, True):
                await page.resize(width, dark=dark)
                assert not await page.ask(OVERFLOWS), width
        assert page.said == []
        assert all(url.startswith(scene.child.admin) for url in page.asked), page.asked


async def test_a_viewer_who_was_refused_comes_later(tmp_path: Path) -> None:
    """A 503 ends an EventSource for ever; before, the page said that it tried again, and did not."""
    elsewhere = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    live = "document.getElementById('live').textContent"
    async with (
        sidecar(tmp_path, "http://127.0.0.1:1", admin__max_viewers="1") as child,
        aiohttp.ClientSession(child.admin, connector=elsewhere) as session,
        browser(tmp_path) as page,
    ):
        async with session.get("/events") as other:
            await other.content.readline()
            await page.open(child.admin)
            await page.until(f"{live} === 'no connection, trying again'")
        await page.until(f"{live} === 'live'")
