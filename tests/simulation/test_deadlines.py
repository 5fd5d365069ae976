"""A caller's own shorter deadline ends that caller's wait, and nothing else."""

from dataclasses import replace

import orjson
import pytest

from tests.settings import breaker_settings
from tests.simulation.scripted import answers, fails, hangs
from tests.simulation.virtual import simulated
from tests.simulation.world import NO_RETRIES, ROUTES, Visitor, World, finish

ALONE = {"patch": {}, "range": {"Range": "bytes=0-"}, "event stream": {"Accept": "text/event-stream"}}  # go alone


def hasty(world: World, kind: str, own_ms: int, report: str = "r1") -> Visitor:
    """Let a client ask that goes alone, with so little time of its own."""
    method = "PATCH" if kind == "patch" else "GET"
    fields = {"X_Request_Deadline_Ms": str(own_ms), **ALONE[kind]}
    return world.visit(method, f"/api/sessions/{report}", b"", "ada", **fields)


@simulated
async def test_a_followers_own_deadline() -> None:
    """A follower with 200 ms gets its own 504 after 200 ms; leader and flight go on undisturbed."""
    world = World([answers(after_s=0.5)])
    leader = world.get()
    hasty = world.get(X_Request_Deadline_Ms="200")
    await finish(leader, hasty)
    assert (hasty.status, hasty.waited_ms) == (504, 200)
    assert (leader.status, leader.waited_ms) == (200, 500)
    assert len(world.upstream.calls) == 1
    assert world.at_rest()


@pytest.mark.parametrize("kind", [None, *ALONE])
@simulated
async def test_a_caller_cannot_extend_its_routes_deadline(kind: str | None) -> None:
    """The route's total_timeout is 2 s: who claims to have a minute gets its 504 then, alone, leading or following."""
    world = World([hangs()], routes=tuple(replace(route, retry=NO_RETRIES) for route in ROUTES))
    patient = [world.get(X_Request_Deadline_Ms="60000") for _ in range(2)] if kind is None else []
    patient += [hasty(world, kind, 60_000)] if kind is not None else []
    await finish(*patient)
    assert {(each.exchange.status, each.waited_ms) for each in patient} == {(504, 2000)}
    assert {each.client.hung_up for each in patient} == {kind == "event stream"}  # which gets no 5xx of the sidecar
    assert world.at_rest()


@simulated
async def test_a_leaders_own_deadline() -> None:
    """A leader with 200 ms gets its own 504 after 200 ms; the follower waits on for the same call's answer."""
    world = World([answers(after_s=0.5)])
    hasty = world.get(X_Request_Deadline_Ms="200")
    follower = world.get()
    await finish(hasty, follower)
    assert (hasty.status, hasty.waited_ms) == (504, 200)
    assert (follower.status, follower.waited_ms) == (200, 500)
    assert len(world.upstream.calls) == 1
    assert (hasty.exchange.status, hasty.exchange.ending) == (504, "http_response_timeout")
    assert round(hasty.exchange.duration_s, 6) == 0.2


@simulated
async def test_a_leaders_own_deadline_with_nobody_else() -> None:
    """Nobody else waits for the call, and its client's record says timeout, not that the client left."""
    world = World([hangs()])
    hasty = await world.get(X_Request_Deadline_Ms="200").finish()
    assert (hasty.status, hasty.waited_ms) == (504, 200)
    await hasty.rest()
    assert world.upstream.calls[0].ended in ("cancelled", "timed out")
    (record,) = world.ledger.records
    assert (record.status, record.ending) == (504, "http_response_timeout")
    (attempt,) = record.attempts
    assert (attempt.result, attempt.why) == ("http_response_timeout", "client_deadline")
    assert attempt.verdict.error_type == "TimeoutError"
    assert "the client's own deadline" in orjson.loads(hasty.client.body)["detail"]
    assert world.at_rest()


@simulated
async def test_a_creates_own_deadline() -> None:
    """A create's client gets its 504 in time, and the create that was sent runs to its end."""
    world = World([answers(201, after_s=0.5)])
    hasty = await world.create(X_Request_Deadline_Ms="200").finish()
    assert (hasty.status, hasty.waited_ms, hasty.client.answers) == (504, 200, 1)
    assert world.upstream.calls[0].ended == "done"
    (record,) = world.ledger.records
    assert (record.status, record.ending, record.attempts[0].status) == (504, "http_response_timeout", 201)


@simulated
async def test_a_longer_wish_than_the_routes_is_not_granted() -> None:
    """A caller may shorten the route's two seconds, never lengthen them."""
    world = World([hangs()])
    patient = await world.get(X_Request_Deadline_Ms="60000").finish()
    assert (patient.status, patient.waited_ms) == (504, 2000)


@simulated
async def test_an_unreadable_wish_is_ignored() -> None:
    """What is no whole number of milliseconds is no deadline."""
    world = World([answers(after_s=0.1)])
    for wish in ("-1", "1.5", "soon", "", "1e3", "9" * 20):
        assert (await world.get(X_Request_Deadline_Ms=wish).finish()).status == 200


@simulated
async def test_no_time_at_all() -> None:
    """A caller whose time is already over is answered at once."""
    world = World([answers(after_s=0.1)])
    late = await world.get(X_Request_Deadline_Ms="0").finish()
    assert (late.status, late.waited_ms, len(world.ledger.records)) == (504, 0, 1)


@simulated
async def test_a_follower_in_mid_ladder_has_its_own_time() -> None:
    """A follower that joins during a ladder is answered by its own deadline, not by the ladder's end."""
    world = World([fails()])
    leader = world.get()
    await world.until_ms(350)
    hasty = world.get(X_Request_Deadline_Ms="100")
    await finish(leader, hasty)
    assert (hasty.status, hasty.waited_ms) == (504, 100)
    assert (leader.status, leader.waited_ms) == (502, 700)


@pytest.mark.parametrize("own_ms", [0, 1, 19])
@pytest.mark.parametrize("kind", ALONE)
@simulated
async def test_what_a_client_says_of_itself_is_no_failure_of_the_backends(kind: str, own_ms: int) -> None:
    """A healthy backend answers in 20 ms: fifty clients that give it less are told 504, and nobody else notices."""
    world = World([answers(after_s=0.02)], rules=breaker_settings(failure_threshold=1, slow_call=0.5))
    visitors = [hasty(world, kind, own_ms, f"r{number}") for number in range(50)]
    await finish(*visitors)
    assert {(visitor.status, visitor.waited_ms) for visitor in visitors} == {(504, own_ms)}
    assert (world.breaker.failures, world.transitions) == (0, [])
    assert {record.ending for record in world.ledger.records} == {"http_response_timeout"}
    assert (await world.get("victim").finish()).status == 200
    assert world.at_rest()


@simulated
async def test_no_time_at_all_asks_nobody() -> None:
    """A budget of 0 is over when it comes: nothing is sent, joined, sealed or in doubt for it."""
    world = World([answers()])
    stamp = world.flights.invalidations.stamp()
    for kind in ALONE:
        assert (await hasty(world, kind, 0).finish()).status == 504
    assert world.upstream.calls == []
    assert world.flights.invalidations.stamp() == stamp
    assert world.roles() == (0, 0, 3)


@simulated
async def test_a_writes_own_deadline_leaves_no_doubt() -> None:
    """The client of a PATCH is told 504 in time; the PATCH ends by its route's deadline, and its outcome is known."""
    world = World([answers(200, after_s=0.5)])
    told = await hasty(world, "patch", 100).finish()
    assert (told.status, told.waited_ms) == (504, 100)
    assert (world.upstream.calls[0].ended, world.ledger.records[0].attempts[0].status) == ("done", 200)
    assert not world.flights.invalidations.uncertain.about("r1", (), world.clock.now())


@pytest.mark.parametrize("kind", ALONE)
@simulated
async def test_the_backend_is_told_the_routes_deadline(kind: str) -> None:
    """A backend that gives up in the time it is told would fail by a client's word: it is told the route's."""
    world = World([answers(after_s=0.02)])
    await hasty(world, kind, 700).finish()
    assert world.upstream.calls[0].field(b"x-request-deadline-ms") in (b"2000", b"1999")
