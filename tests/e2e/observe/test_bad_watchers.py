"""Odd, early or excessive requests to the control plane get a correct response and affect no other client."""

import asyncio
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.clock import SystemClock
from tests.e2e.observe.stage import TOKEN, stage
from tests.e2e.sidecar import PATIENCE, Child
from tests.ports import reserved_port

UNKNOWN = 1000
_clock = SystemClock()


async def series(child: Child) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """Return every time series that a scrape sees."""
    return set((await child.scrape()).samples)


async def test_a_thousand_unknown_paths_make_three_series(tmp_path: Path) -> None:
    """Labels are bounded by the configuration: a scanner's paths, methods and ids make no series of their own."""
    async with stage(tmp_path) as scene:
        before = await series(scene.child)
        for start in range(0, UNKNOWN, 50):
            await asyncio.gather(
                *(scene.get(f"/unknown/{n}?id={n}", X_Tenant=f"t{n}") for n in range(start, start + 50))
            )
        await scene.child.settled()
        new = await series(scene.child) - before
        assert {name for name, _ in new} <= {
            "backstay_requests_total", "backstay_upstream_attempts_total", "backstay_target_total",
        }  # fmt: skip
        # a busy machine answers some of them at another level of the target
        without_level = {(name, frozenset(pair for pair in labels if pair[0] != "level")) for name, labels in new}
        assert len(without_level) <= 3, new


async def test_a_scrape_during_start_up_is_refused_or_whole(tmp_path: Path) -> None:
    """From the first moment that the listener answers, it answers with every family."""
    address = f"127.0.0.1:{reserved_port()}"
    first = asyncio.create_task(_first_scrape(f"http://{address}/metrics"))  # noqa: TID251 - a test's own task
    async with stage(tmp_path, admin__address=address) as scene:
        status, text = await first
        later = (await scene.child.ask_admin("/metrics")).out
    assert status == 200
    names = [{family.name for family in text_string_to_metric_families(scrape)} for scrape in (text, later)]
    assert names[0] == names[1]


async def _first_scrape(url: str) -> tuple[int, str]:
    async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as session:
        while True:
            with suppress(aiohttp.ClientConnectionError):  # not listening yet
                async with session.get(url) as got:
                    return got.status, await got.text()
            await _clock.sleep(0.002)


@pytest.mark.parametrize(("method", "path"), [("GET", "/restorations/val_1"), ("GET", "/audit"), ("POST", "/drain")])
async def test_without_the_token_nothing_is_told_or_done(tmp_path: Path, method: str, path: str) -> None:
    """A wrong or missing token is a 401 that says how to ask."""
    async with stage(tmp_path) as scene, aiohttp.ClientSession(scene.child.admin) as session:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
            async with session.request(method, path, headers=headers) as got:
                assert (got.status, got.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert await scene.get("/api/conversations/val_1/status") == 200


async def test_one_users_restoration_is_found_from_its_id(tmp_path: Path) -> None:
    """State and time stand in the metric, in the record and at /restorations, and lead to each other by the id."""
    async with stage(tmp_path) as scene:
        await scene.create("val_1")
        await scene.restore("val_1")
        record = await scene.child.recorded("history-val_1-0")
        told = await scene.child.ask_admin("/restorations/val_1", token=TOKEN)
        scrape = await scene.child.scrape()
    assert record["metadata"]["restoration"] == "Restored"
    assert record["metadata"]["restoration_ms"] > record["duration_ms"]
    assert '"state":"Restored"' in told.out
    assert '"correlation_ids":["status-val_1-0","history-val_1-0"]' in told.out
    assert scrape.total("backstay_restorations_total", outcome="restored") == 1
    assert scrape.total("backstay_restoration_seconds_count") == 1
