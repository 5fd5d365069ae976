"""The third failure mode: the backend hangs, the circuit opens, and what comes after."""

from collections.abc import Iterable, Mapping
from math import inf
from statistics import median
from typing import Any

from proxy.demo.client import (
    Browser,
    BrowserAnswer,
    status_of,
    tally,
)
from proxy.demo.stage import (
    DemoStage,
    FailureMode,
    Played,
    Promise,
)

THRESHOLD = 5
FAST_FAILS = tuple(status_of(f"val_fast_{n}") for n in range(200))
PROBING = 20  # requests that meet the half-open circuit together
PROBE_SECONDS = 0.2  # how much longer a probe takes, so that all of those come while it is under way
PROBES = 2
LONGEST_WAIT = 5  # seconds; a circuit that asks for more than its reset_timeout of 2 s is broken anyway


async def backend_down(stage: DemoStage) -> FailureMode:
    """The backend accepts and never answers; later it is back."""

    async def scene(browser: Browser) -> list[BrowserAnswer]:
        stage.backend.faults.hang()
        first = await browser.get_all(status_of(f"val_down_{n}") for n in range(THRESHOLD))
        return [*first, await browser.get(status_of("val_down_next"))]

    without, through = await stage.both(scene)
    refused = await stage.on_one_connection(FAST_FAILS)
    probing, recovered = await _return(stage, refused[-1])
    sixth = through.value[-1]
    return FailureMode(
        "3. Backend down",
        without.side(f"{tally(without.value)}, each after {_longest(without.value) / 1000:.1f} s"),
        through.side(f"{tally(through.value[:THRESHOLD])}, then {sixth} after {sixth.ms:.0f} ms"),
        (
            *_refusals(through, refused),
            Promise("two probes at most, no flood", 1 <= probing.calls <= PROBES, f"{probing.calls} of {PROBING}"),
            Promise("the circuit recovers", all(a.status == 200 for a in recovered.value), tally(recovered.value)),
        ),
    )


def _refusals(through: Played[list[BrowserAnswer]], refused: list[BrowserAnswer]) -> tuple[Promise, ...]:
    """Return what is promised while the backend hangs."""
    first = through.value[:THRESHOLD]
    wait = _retry_after(refused[-1])
    typical = _typical(answer.ms for answer in refused if answer.status == 503)
    return (
        Promise("the first five end at their deadline", _all(first, 504), f"{tally(first)}, {_longest(first):.0f} ms"),
        Promise("only those reach the backend", through.calls == THRESHOLD, f"{through.calls} calls"),
        Promise("every later one is refused", _all(refused, 503), tally(refused)),
        Promise("in under 1 ms at the median, on the wire", typical < 1, f"{typical:.3f} ms"),
        Promise("and is told when to come back", all(_retry_after(a) for a in refused), f"{wait} s"),
    )


async def _return(
    stage: DemoStage, refusal: BrowserAnswer
) -> tuple[Played[list[BrowserAnswer]], Played[list[BrowserAnswer]]]:
    """Bring the backend back, wait as long as `refusal` says, and come all at once; then once more, one by one."""
    stage.backend.faults.reset()
    stage.backend.faults.slow(PROBE_SECONDS)
    await stage.clock.sleep(min(_retry_after(refusal), LONGEST_WAIT))

    async def at_once(browser: Browser) -> list[BrowserAnswer]:
        return await browser.get_all(status_of(f"val_probe_{n}") for n in range(PROBING))

    async def one_by_one(browser: Browser) -> list[BrowserAnswer]:
        return [await browser.get(status_of(f"val_back_{n}")) for n in range(THRESHOLD)]

    probing = await stage.again(at_once)
    stage.backend.faults.reset()
    return probing, await stage.again(one_by_one)


def recorded_fast_fails(records: Iterable[Mapping[str, Any]]) -> Promise:
    """Return the promise that the audit records tell the same of the refusals."""
    took = [record["duration_ms"] for record in records if record["path"] in FAST_FAILS]
    typical = _typical(took)
    kept = len(took) == len(FAST_FAILS) and typical < 1
    return Promise("refused in under 1 ms, in the record too", kept, f"{typical:.3f} ms over {len(took)} records")


def _typical(took: Iterable[float]) -> float:
    """Return the median, and infinity where there is nothing to measure."""
    return median([*took] or [inf])


def _all(answers: list[BrowserAnswer], status: int) -> bool:
    return all(answer.status == status for answer in answers)


def _longest(answers: list[BrowserAnswer]) -> float:
    return max(answer.ms for answer in answers)


def _retry_after(answer: BrowserAnswer) -> int:
    """Return the seconds of `Retry-After`, or 0."""
    value = answer.header("Retry-After")
    return int(value) if value.isdecimal() else 0
