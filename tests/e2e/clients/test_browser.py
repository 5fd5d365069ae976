"""A real browser in two tabs: fetch, EventSource and WebSocket through the sidecar."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.e2e.clients.conftest import Origin
from tests.e2e.observe.browser import CHROMIUM, browser
from tests.e2e.sidecar import PATIENCE, Child

SAID = {"fetched": "from fetch", "events": ["0", "1", "2"], "echo": "from a socket"}


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")
async def test_two_tabs_fetch_listen_and_talk(backend: Origin, child: Child, tmp_path: Path) -> None:
    """The first tab opens the second; each reports what it got, and both got everything."""
    async with browser(tmp_path) as page:
        await page.open(f"{child.url}/page?tab=1")
        await page.call("Runtime.evaluate", expression="window.open('/page?tab=2')", userGesture=True)
        async with asyncio.timeout(PATIENCE):
            reports = dict([await backend.reports.get(), await backend.reports.get()])
        assert [said for said in page.said if "favicon" not in said and "404" not in said] == []
    assert {tab: json.loads(said) for tab, said in reports.items()} == {"tab=1": SAID, "tab=2": SAID}
