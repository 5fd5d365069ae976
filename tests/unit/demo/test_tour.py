"""The tour's verdict: without a sidecar its promises break, and a broken promise gives the exit status 1."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from proxy.clock import SystemClock
from proxy.demo.backend import Backend
from proxy.demo.modes import concurrent_creation, network_glitch, rate_limiting, tracking_loss
from proxy.demo.outage import FAST_FAILS, backend_down, recorded_fast_fails
from proxy.demo.show import show_comparison, show_promises, show_urls
from proxy.demo.stage import (
    DemoStage,
    FailureMode,
    Promise,
    Side,
)
from proxy.demo.tour import Player, play, verdict

KEPT = Promise("the sun rises", held=True, measured="at 6")
BROKEN = Promise("it never rains", held=False, measured="3 mm")


@pytest.fixture
def console() -> Console:
    """Print into memory, wide enough that nothing wraps."""
    return Console(file=io.StringIO(), width=200)


@pytest.fixture
def no_sidecar(backend: Backend) -> DemoStage:
    """A stage whose way "through the sidecar" is the bare backend."""
    return DemoStage(backend, backend.url, SystemClock(), patience=60.0)


def printed(console: Console) -> str:
    """Return what went to the console."""
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def broken(mode: FailureMode) -> set[str]:
    """Return the names of the promises not held."""
    return {promise.name for promise in mode.promises if not promise.held}


def test_all_kept_exits_0(console: Console) -> None:
    """Kept promises are counted and the status is 0."""
    assert verdict(console, [KEPT, KEPT]) == 0
    assert "All 2 promises kept" in printed(console)


def test_one_broken_exits_1_and_is_listed(console: Console) -> None:
    """One broken promise among kept ones is status 1, named with its figure; the kept one is not."""
    assert verdict(console, [KEPT, BROKEN]) == 1
    assert "it never rains: 3 mm" in printed(console)
    assert "sun" not in printed(console)


def test_no_promise_is_no_success(console: Console) -> None:
    """A tour that judged nothing has not succeeded."""
    assert verdict(console, []) == 1


@pytest.mark.parametrize(
    ("player", "names"),
    [
        (concurrent_creation, {"two tabs make one backend call", "every tab sees 201, none a 409"}),
        (network_glitch, {"the user sees 200", "in three attempts"}),
        (rate_limiting, {"the user sees 200", "in three attempts"}),
        (tracking_loss, {"one backend round for all of them"}),
    ],
)
async def test_without_a_sidecar_promises_break(no_sidecar: DemoStage, player: Player, names: set[str]) -> None:
    """Each mode notices that nobody helped: a tour that cannot fail would prove nothing."""
    assert names <= broken(await player(no_sidecar))


async def test_an_outage_without_a_sidecar_is_noticed_in_time(backend: Backend) -> None:
    """Where nothing fast-fails, the two hundred measured requests end with the first that hangs."""
    mode = await backend_down(DemoStage(backend, backend.url, SystemClock(), patience=0.08))
    assert {"the first five end at their deadline", "every later one is refused"} <= broken(mode)
    assert mode.without.saw.startswith("6 x no response, each after ")


async def test_both_sides_are_told(no_sidecar: DemoStage) -> None:
    """Without a sidecar both columns tell the seed document's story: two tabs, one conflict."""
    mode = await concurrent_creation(no_sidecar)
    assert mode.without.saw == "2 tabs: 1 x 201, 1 x 409; 50 tabs: 1 x 201, 49 x 409"
    assert mode.without.calls == mode.through.calls == 52


async def test_progress_and_results_are_shown(no_sidecar: DemoStage, console: Console) -> None:
    """Each mode reports when it is over, and the table has both sides of it."""
    played = await play(console, no_sidecar, [("network glitch", network_glitch)])
    show_comparison(console, played)
    show_promises(console, played[0].promises, played[0].title)
    text = printed(console)
    assert re.search(r"1/1 network glitch: [01] of 3 promises kept", text)  # a slow machine waits as long as a ladder
    assert text.count("network error") >= 2
    assert text.count("BROKEN") >= 2


def test_the_record_must_tell_of_every_refusal() -> None:
    """All refusals recorded under 1 ms is kept; one missing, or a slow median, is not."""
    fast = [{"path": path, "duration_ms": 0.1} for path in FAST_FAILS]
    slow = [{"path": path, "duration_ms": 1.5} for path in FAST_FAILS]
    other = [{"path": "/api/sessions", "duration_ms": 300.0}]
    assert recorded_fast_fails(fast + other).held
    assert not recorded_fast_fails(fast[1:] + other).held
    assert not recorded_fast_fails(slow).held
    assert not recorded_fast_fails([]).held


def test_the_copied_lines_stay_whole() -> None:
    """A narrow terminal does not break the curl lines."""
    narrow = Console(file=io.StringIO(), width=40)
    show_urls(narrow, "http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3", "t0ken", Path("a.jsonl"))
    assert '-d \'{"reportId": "val_1", "view": "manual"}\'\n' in printed(narrow)


def test_text_is_not_markup(console: Console) -> None:
    """Square brackets in what was measured are printed, not obeyed."""
    mode = FailureMode("m", Side("[red]x[/red]", 1, 1), Side("y", 1, 1500), (Promise("p", held=False, measured="[b]"),))
    show_comparison(console, [mode])
    assert verdict(console, mode.promises) == 1
    assert "[red]x[/red]" in printed(console)
    assert "p: [b]" in printed(console)
    assert "1.50 s" in printed(console)
