"""Four of the seed document's failure modes. Each is played twice and has promises. The fifth is in `outage.py`."""

import asyncio
from typing import Any

from proxy.demo.client import (
    Browser,
    BrowserResponse,
    history_of,
    status_of,
    tally,
)
from proxy.demo.stage import (
    DemoStage,
    FailureMode,
    Played,
    Promise,
)

TABS = 50
REMOUNTS = 10


async def concurrent_creation(stage: DemoStage) -> FailureMode:
    """Two tabs, then 50 tabs, create the session of one report at the same moment."""

    async def two(browser: Browser) -> list[BrowserResponse]:
        return await _create_in_tabs(browser, "val_two", 2)

    async def fifty(browser: Browser) -> list[BrowserResponse]:
        return await _create_in_tabs(browser, "val_fifty", TABS)

    pair_without, pair = await stage.both(two)
    burst_without, burst = await stage.both(fifty)
    responses = pair.value + burst.value
    same = f"{_bodies(pair)} session for 2 tabs, {_bodies(burst)} for {TABS}"
    ids = {response.header("X-Correlation-ID") for response in responses}
    return FailureMode(
        "1. Concurrent creation",
        _added(pair_without, burst_without).side(_tabs(pair_without, burst_without)),
        _added(pair, burst).side(_tabs(pair, burst)),
        (
            Promise("two tabs make one backend call", pair.calls == 1, _calls(pair)),
            Promise(f"{TABS} tabs make one backend call", burst.calls == 1, _calls(burst)),
            Promise("every tab sees 201, none a 409", all(a.status == 201 for a in responses), tally(responses)),
            Promise("all tabs get the same session", _bodies(pair) == _bodies(burst) == 1, same),
            Promise("each tab keeps its own correlation id", len(ids) == len(responses), f"{len(ids)} ids"),
        ),
    )


async def _create_in_tabs(browser: Browser, report_id: str, tabs: int) -> list[BrowserResponse]:
    return await asyncio.gather(*(browser.create(report_id, f"tab-{tab}-of-{tabs}") for tab in range(tabs)))


def _added(
    first: Played[list[BrowserResponse]], second: Played[list[BrowserResponse]]
) -> Played[list[BrowserResponse]]:
    return Played(first.value + second.value, first.calls + second.calls, first.ms + second.ms)


def _tabs(pair: Played[list[BrowserResponse]], burst: Played[list[BrowserResponse]]) -> str:
    return f"2 tabs: {tally(pair.value)}; {TABS} tabs: {tally(burst.value)}"


def _bodies(played: Played[list[BrowserResponse]]) -> int:
    return len({response.body for response in played.value if response.status == 201})


def _calls(played: Played[Any]) -> str:
    return "1 call" if played.calls == 1 else f"{played.calls} calls"


async def network_glitch(stage: DemoStage) -> FailureMode:
    """The first two connections break during the restoration of a conversation."""

    async def scene(browser: Browser) -> BrowserResponse:
        stage.backend.seed("val_glitch")
        stage.backend.faults.drop(2)
        return await browser.get(history_of("val_glitch"))

    without, through = await stage.both(scene)
    response = through.value
    return FailureMode(
        "2. Network glitch",
        without.side(without.value.words()),
        through.side("200 OK, unaware" if response.status == 200 else response.words()),
        (
            Promise("the user sees 200", response.status == 200, str(response)),
            Promise("after the waits of 100 and 200 ms", 300 <= response.ms < 600, f"{response.ms:.0f} ms"),
            Promise("in three attempts", through.calls == 3, _calls(through)),
        ),
    )


async def rate_limiting(stage: DemoStage) -> FailureMode:
    """The backend responds with 429 twice, then with 200."""

    async def scene(browser: Browser) -> BrowserResponse:
        stage.backend.seed("val_limited")
        stage.backend.faults.rate_limit(2, retry_after="0")
        return await browser.get(history_of("val_limited"))

    without, through = await stage.both(scene)
    response = through.value
    return FailureMode(
        "4. Rate limiting",
        without.side(without.value.words()),
        through.side(response.words()),
        (
            Promise("the user sees 200", response.status == 200, str(response)),
            Promise("after the waits of 200 and 400 ms", 600 <= response.ms < 1000, f"{response.ms:.0f} ms"),
            Promise("in three attempts", through.calls == 3, _calls(through)),
        ),
    )


async def tracking_loss(stage: DemoStage) -> FailureMode:
    """A view is mounted again and again, and each time restores status and history."""

    async def scene(browser: Browser) -> list[BrowserResponse]:
        stage.backend.seed("val_remount")
        restore = (status_of("val_remount"), history_of("val_remount"))
        return [await browser.get(path) for _ in range(REMOUNTS) for path in restore]

    without, through = await stage.both(scene)
    responses = through.value
    restored = sum(response.status == 200 for response in responses)
    bodies = len({response.body for response in responses})
    return FailureMode(
        "5. Session tracking loss",
        without.side(f"{REMOUNTS} restorations, {tally(without.value)}"),
        through.side(f"{REMOUNTS} restorations, {tally(responses)}"),
        (
            Promise("every restoration succeeds", restored == 2 * REMOUNTS, f"{restored} responses of {2 * REMOUNTS}"),
            Promise("one backend round for all of them", through.calls == 2, _calls(through)),
            Promise("all see the same conversation", bodies == 2, f"{bodies} different bodies, status and history"),
        ),
    )
