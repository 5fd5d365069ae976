"""The FastAPI example in Chromium without and with the sidecar: its README says what the page sees."""

import asyncio
from pathlib import Path

import pytest

from tests.e2e.examples.__main__ import seen, table
from tests.e2e.observe.browser import CHROMIUM
from tests.e2e.sidecar import ROOT


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")
async def test_the_page_sees_what_the_readme_says(tmp_path: Path) -> None:
    """Two tabs, a reload, and a backend that is killed during an upload, an EventSource and a WebSocket."""
    folders = [tmp_path / "without", tmp_path / "with"]
    for folder in folders:
        folder.mkdir()
    without, with_it = await asyncio.gather(
        seen(folders[0], with_sidecar=False), seen(folders[1], with_sidecar=True)
    )  # fmt: skip
    assert table(without, with_it) in (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
