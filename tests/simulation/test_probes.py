"""A hanging backend is noticed even if every client leaves early: one attempt for each circuit continues."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from proxy.policy.recovery_plan import RequestTemplate
from tests.settings import breaker_settings
from tests.simulation.scripted import Step, answers, fails, hangs
from tests.simulation.virtual import now_ms, simulated
from tests.simulation.world import HISTORY, LOAD, NO_RETRIES, Visitor, World, finish

OWN_MS = 200
CREATES = RequestTemplate("POST", "/api/sessions", {"reportId": "{subject}"})
Leaving = Callable[[World, str], Visitor]


def by_deadline(world: World, report: str) -> Visitor:
    """Ask, and be answered 504 by one's own deadline."""
    return world.get(report, X_Request_Deadline_Ms=str(OWN_MS))


def by_closing(world: World, report: str) -> Visitor:
    """Ask, and close the connection."""
    visitor = world.get(report)
    world.later(OWN_MS, visitor.leave)
    return visitor


def by_closing_alone(world: World, report: str) -> Visitor:
    """Ask for a range, which takes part in no flight, and close the connection."""
    visitor = world.get(report, Range="bytes=0-")
    world.later(OWN_MS, visitor.leave)
    return visitor


either = pytest.mark.parametrize("leaving", [by_deadline, by_closing, by_closing_alone])


async def come(world: World, leaving: Leaving, count: int, every_ms: float) -> list[Visitor]:
    """Let clients ask one after another, each of which leaves early; return when the last of them has left."""
    visitors, began = list[Visitor](), now_ms()
    for number in range(count):
        await world.until_ms(began + number * every_ms)
        visitors.append(leaving(world, f"r{number}"))
    await finish(*visitors)
    return visitors


@either
@simulated
async def test_a_hung_backend_is_seen(leaving: Leaving) -> None:
    """Fifteen clients in fifteen seconds, each gone after 200 ms: every two seconds one attempt has timed out."""
    world = World([hangs()])
    visitors = await come(world, leaving, 15, every_ms=1000)
    assert (world.transitions_of("load"), world.transitions) == (["OPEN"], [])
    assert [call.ended for call in world.upstream.calls].count("timed out") == 5
    assert len(world.ledger.records) == sum(world.roles()) == len(visitors) == 15
    for visitor in visitors:
        await visitor.rest()
    assert len(world.ledger.records) == 15
    assert world.at_rest()


@either
@simulated
async def test_one_attempt_at_a_time_goes_on(leaving: Leaving) -> None:
    """Of fifteen that leave together one goes on for its route's two seconds, and counts once."""
    world = World([hangs()])
    visitors = [leaving(world, f"r{number}") for number in range(15)]
    await finish(*visitors)
    assert now_ms() == OWN_MS
    ended = [call.ended for call in world.upstream.calls]
    assert (ended.count("under way"), ended.count("cancelled"), len(world.ports.probes)) == (1, 14, 1)
    await world.until_ms(1999)
    assert (world.route_breakers["load"].failures, len(world.ports.probes)) == (0, 1)
    await world.until_ms(2001)
    assert (world.route_breakers["load"].failures, len(world.ports.probes)) == (1, 0)
    assert len(world.ledger.records) == 15
    assert world.at_rest()


@either
@simulated
async def test_a_healthy_but_slow_backend_opens_nothing(leaving: Leaving) -> None:
    """It answers in a second, its route waits two: the probes prove it well, and forgive what failed before."""
    world = World([fails(), answers(after_s=1.0)], routes=(replace(LOAD, retry=NO_RETRIES),))
    await world.get("before").finish()
    assert world.breaker.failures == 1
    for visitor in await come(world, leaving, 30, every_ms=300):
        await visitor.rest()
    assert (world.breaker.failures, world.transitions) == (0, [])
    assert {call.ended for call in world.upstream.calls[1:]} == {"done", "cancelled"}
    assert world.at_rest()


@simulated
async def test_what_a_probe_brings_is_nobodys() -> None:
    """A route keeps its answers for two seconds and learns CORS fields: of a probe's answer it takes neither."""
    world = World([answers(after_s=1.0, Access_Control_Allow_Origin="https://app.example"), answers(body=b"new")])
    left = world.history(Origin="https://app.example")
    world.later(OWN_MS, left.leave)
    await left.finish()
    await world.until_ms(1100)
    assert (world.store.cached, left.client.answers, len(world.ports.probes)) == ({}, 0, 0)
    assert world.cors.lines(left.exchange.request) == ()
    assert (await world.history().finish()).client.body == b"new"


@simulated
async def test_a_newcomer_asks_for_itself() -> None:
    """The flight that was left is over: who asks the same while its attempt goes on gets an answer of its own."""
    world = World([hangs(), answers(body=b"own")])
    left = by_closing(world, "r1")
    await left.finish()
    assert (await world.get("r1").finish()).client.body == b"own"
    assert len(world.upstream.calls) == 2


@pytest.mark.parametrize("step", [hangs(), answers(after_s=1.0), fails(after_s=1.0)])
@simulated
async def test_its_record_is_written_once_when_its_client_leaves(step: Step) -> None:
    """499 after 200 ms, with an attempt that was not finished; what the attempt brings later changes nothing of it."""
    world = World([step])
    left = by_closing(world, "r1")
    await left.finish()
    (record,) = world.ledger.records
    seen = (record.status, record.ending, round(record.duration_s, 6), repr(record.attempts))
    assert seen == (499, "cancelled", 0.2, "[<Attempt 1 cancelled 200.0 ms, probe>]")
    await left.rest()
    assert seen == (record.status, record.ending, round(record.duration_s, 6), repr(record.attempts))
    assert len(world.ledger.records) == 1
    assert world.meter.counts["attempted", "cancelled"] == 0


@simulated
async def test_a_probe_of_a_half_open_circuit_settles_its_permit() -> None:
    """Its client leaves a probe that the circuit let through: it goes on, and its answer is the first success."""
    rules = breaker_settings(failure_threshold=1, jitter=0.0)
    world = World(lambda request, number: fails() if number == 1 else answers(after_s=1.0), rules=rules)
    world.ports.retry.enabled = False
    await world.get("fails").finish()
    await world.clock.sleep(30)
    left = by_closing(world, "r1")
    await left.finish()
    await left.rest()
    assert (world.breaker.successes, world.at_rest()) == (1, True)


@simulated
async def test_an_attempt_that_could_tell_nothing_does_not_go_on() -> None:
    """A flight whose failure has counted, or whose circuit has opened since, is cancelled when it is left."""
    world = World([fails(), hangs()], rules=breaker_settings(failure_threshold=2, jitter=0.0))
    left = world.get("r1")
    await world.until_ms(150)
    left.leave()
    await left.finish()
    assert (world.upstream.calls[1].ended, world.breaker.failures) == ("cancelled", 1)
    early = world.get("r2")
    await world.until_ms(200)
    world.breaker.report(world.breaker.permit, world.ledger.records[0].attempts[0].verdict, world.clock.now())
    early.leave()
    await early.finish()
    assert (world.upstream.calls[2].ended, len(world.ports.probes)) == ("cancelled", 0)


@simulated
async def test_a_drain_ends_it() -> None:
    """The sidecar stops: the attempt is cancelled at once, says nothing of the backend, and none goes on any more."""
    world = World([hangs()])
    left = by_closing(world, "r1")
    await left.finish()
    world.ports.probes.close()
    await left.rest()
    assert (now_ms(), world.upstream.calls[0].ended) == (OWN_MS, "cancelled")
    late = by_closing(world, "r2")
    await late.finish()
    assert (world.upstream.calls[1].ended, world.breaker.failures) == ("cancelled", 0)
    assert world.at_rest()


@simulated
async def test_a_write_that_a_read_has_led_to_runs_to_its_end() -> None:
    """A GET whose session is missing creates it: the client leaves in the middle of that, and the POST is not cut."""
    creating = replace(HISTORY, reuse_s=None, recovery=replace(HISTORY.recovery, fallback=None, on_missing=CREATES))
    world = World([answers(404), answers(201, after_s=1.0)], routes=(creating,))
    left = world.history()
    world.later(OWN_MS, left.leave)
    await left.rest()
    assert [call.ended for call in world.upstream.calls] == ["done", "done"]
    (record,) = world.ledger.records
    assert (record.status, [attempt.status for attempt in record.attempts]) == (499, [404, 201])
    assert world.at_rest()
