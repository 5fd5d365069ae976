"""The demo's own page in a real browser, in two tabs, through the sidecar."""

from pathlib import Path

import pytest

from proxy.demo.backend import Backend
from tests.e2e.observe.browser import CHROMIUM, browser
from tests.e2e.sidecar import sidecar

VALUES = "['fetch', 'events', 'socket'].map(id => {}.getElementById(id)?.value ?? 'waiting').join('; ')"


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")
async def test_the_demos_page_works_in_two_tabs(tmp_path: Path) -> None:
    """Both tabs create a session with fetch, hear an event and are echoed by a WebSocket; no error on the console."""
    backend = Backend()
    await backend.start()
    try:
        async with sidecar(tmp_path, backend.url) as child, browser(tmp_path) as page:
            await page.open(f"{child.url}/")
            await page.call("Runtime.evaluate", expression="window.other = window.open('/')", userGesture=True)
            for where in ("document", "window.other.document"):
                values = VALUES.format(where)
                await page.until(f"{where}.readyState === 'complete' && !({values}).includes('waiting')")
                fetched, event, echoed = str(await page.ask(values)).split("; ")
                assert fetched.startswith("201 val_")
                assert (event.split()[0], echoed) == ("event", "echo hello")
            assert [said for said in page.said if "favicon" not in said and "404" not in said] == []
    finally:
        await backend.stop()
    assert backend.calls["POST /api/sessions"] == 2
