"""A real browser in two tabs: fetch, EventSource and WebSocket through the sidecar."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.clients.conftest import Origin
from tests.e2e.sidecar import Child

LOADED_WITHIN_S = 45.0
SAID = {"fetched": "from fetch", "events": ["0", "1", "2"], "echo": "from a socket"}


@pytest.mark.timeout(90)
async def test_two_tabs_fetch_listen_and_talk(backend: Origin, child: Child, tmp_path: Path) -> None:
    """The first tab opens the second; each reports what it got, and both got everything."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    browser = await asyncio.create_subprocess_exec(
        *(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
        *("--disable-popup-blocking", f"--user-data-dir={tmp_path}/profile", f"{child.url}/page?tab=1"),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(LOADED_WITHIN_S):
            reports = dict([await backend.reports.get(), await backend.reports.get()])
    finally:
        browser.terminate()
        await browser.wait()
    assert {tab: json.loads(said) for tab, said in reports.items()} == {"tab=1": SAID, "tab=2": SAID}
