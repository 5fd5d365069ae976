"""Numbers, lists and fields at their limits raise nothing, in a compiled build as in the source."""

from pathlib import Path

from tests.e2e.extremes import CONFIG, NUMBERS, backend, cases, converse
from tests.e2e.sidecar import sidecar


async def test_extremes_raise_nothing(tmp_path: Path) -> None:
    """Every client hears an answer or a cut, and the trail has a line for each request. A traceback fails the test."""
    async with backend() as (peer, url), sidecar(tmp_path, url, CONFIG.format(url=url)) as child:
        found = await converse(child, peer)
        scrape = await child.settled()
        await child.stop()
    lines = [line for line in child.lines() if line.get("operation", "circuit") != "circuit"]
    counted = scrape.total("backstay_requests_total") + scrape.total("backstay_bad_requests_total")
    counted -= scrape.total("backstay_requests_total", outcome="refused")  # those are in both
    assert len(lines) == counted
    assert len(found) == len(list(cases())) > 60 * len(NUMBERS)
