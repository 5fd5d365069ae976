"""The third failure mode: the backend hangs, the circuit opens, and the backend recovers."""

from collections.abc import Iterable, Mapping
from math import inf
from statistics import median
from typing import Any

from proxy.demo.client import (
    Browser,
    BrowserResponse,
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
PROBING = 20  # requests that arrive together at the half-open circuit
PROBE_SECONDS = 0.2  # extra duration of a probe, so that all of those requests arrive during a probe
PROBES = 2
LONGEST_WAIT = 5  # seconds; a Retry-After beyond the reset_timeout of 2 s is an error anyway


async def backend_down(stage: DemoStage) -> FailureMode:
    """The backend accepts requests and sends no response; later it recovers."""

    async def scene(browser: Browser) -> list[BrowserResponse]:
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


def _refusals(through: Played[list[BrowserResponse]], refused: list[BrowserResponse]) -> tuple[Promise, ...]:
    """Return the promises for the time in which the backend hangs."""
    first = through.value[:THRESHOLD]
    wait = _retry_after(refused[-1])
    typical = _typical(response.ms for response in refused if response.status == 503)
    return (
        Promise("the first five end at their deadline", _all(first, 504), f"{tally(first)}, {_longest(first):.0f} ms"),
        Promise("only those reach the backend", through.calls == THRESHOLD, f"{through.calls} calls"),
        Promise("every later one is refused", _all(refused, 503), tally(refused)),
        Promise("in under 1 ms at the median, on the wire", typical < 1, f"{typical:.3f} ms"),
        Promise("and has a Retry-After", all(_retry_after(a) for a in refused), f"{wait} s"),
    )


async def _return(
    stage: DemoStage, refusal: BrowserResponse
) -> tuple[Played[list[BrowserResponse]], Played[list[BrowserResponse]]]:
    """End the fault, wait for `Retry-After` of `refusal`, send all requests at once, then one by one."""
    stage.backend.faults.reset()
    stage.backend.faults.slow(PROBE_SECONDS)
    await stage.clock.sleep(min(_retry_after(refusal), LONGEST_WAIT))

    async def at_once(browser: Browser) -> list[BrowserResponse]:
        return await browser.get_all(status_of(f"val_probe_{n}") for n in range(PROBING))

    async def one_by_one(browser: Browser) -> list[BrowserResponse]:
        return [await browser.get(status_of(f"val_back_{n}")) for n in range(THRESHOLD)]

    probing = await stage.again(at_once)
    stage.backend.faults.reset()
    return probing, await stage.again(one_by_one)


def recorded_fast_fails(records: Iterable[Mapping[str, Any]]) -> Promise:
    """Return the promise that the audit records agree with the measured refusals."""
    took = [record["duration_ms"] for record in records if record["path"] in FAST_FAILS]
    typical = _typical(took)
    held = len(took) == len(FAST_FAILS) and typical < 1
    return Promise("refused in under 1 ms, in the record too", held, f"{typical:.3f} ms over {len(took)} records")


def _typical(took: Iterable[float]) -> float:
    """Return the median, or infinity without a measurement."""
    return median([*took] or [inf])


def _all(responses: list[BrowserResponse], status: int) -> bool:
    return all(response.status == status for response in responses)


def _longest(responses: list[BrowserResponse]) -> float:
    return max(response.ms for response in responses)


def _retry_after(response: BrowserResponse) -> int:
    """Return the seconds of `Retry-After`, or 0."""
    value = response.header("Retry-After")
    return int(value) if value.isdecimal() else 0
