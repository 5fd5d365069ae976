"""The circuit between real requests and a failing backend."""

from tests.settings import breaker_settings, retry_settings
from tests.simulation.scripted import answers, fails, hangs
from tests.simulation.virtual import simulated
from tests.simulation.world import World, finish


@simulated
async def test_five_failing_requests_open_it() -> None:
    """One request's whole ladder counts once, so the circuit opens with the fifth request, not before."""
    world = World([fails()])
    for number in range(4):
        await world.get(f"r{number}").finish()
    assert (world.breaker.failures, world.transitions) == (4, [])
    fifth = await world.get("r5").finish()
    assert world.transitions == ["OPEN"]
    assert fifth.status == 502


@simulated
async def test_an_open_circuit_answers_at_once() -> None:
    """An open circuit costs no call and no time; the client is told when to come back (RFC 9110's Retry-After)."""
    world = World([fails()])
    await finish(*[world.get(f"r{number}") for number in range(5)])
    calls = len(world.upstream.calls)
    await world.clock.sleep(1)
    late = await world.get("late").finish()
    assert (late.status, late.waited_ms, len(world.upstream.calls)) == (503, 0, calls)
    assert late.client.fields.get(b"proxy-status") == b"backstay; error=destination_unavailable"
    assert 28 <= int(late.client.fields.get(b"retry-after") or b"0") <= 29
    assert world.meter.counts["rejected", "sessions"] >= 1
    attempted = sum(count for (what, *_), count in world.meter.counts.items() if what == "attempted")
    assert attempted == calls  # what was refused is no call


@simulated
async def test_its_opening_ends_the_ladders_under_way() -> None:
    """Five requests fail at once, the circuit opens, and none of them is tried again; each gets its own 502."""
    world = World([fails(after_s=0.01)])
    visitors = [world.get(f"r{number}") for number in range(5)]
    await finish(*visitors)
    assert len(world.upstream.calls) == 5
    assert [visitor.status for visitor in visitors] == [502] * 5
    assert sorted(visitor.waited_ms for visitor in visitors) == [10, 110, 110, 110, 110]  # the one that opened it knows
    assert world.meter.counts["retry_denied", "circuit_open"] == 1


@simulated
async def test_a_failure_is_not_the_upstreams_while_an_address_is_healthy() -> None:
    """Of two addresses one is dead: the balancer ejects it, and the circuit stays as it is."""
    world = World([fails()])
    world.upstream.has_healthy_address = True
    for number in range(10):
        await world.get(f"r{number}").finish()
    assert (world.transitions, world.breaker.failures) == ([], 0)
    assert world.at_rest()


@simulated
async def test_half_open_lets_two_probes_through() -> None:
    """Of ten requests at once on a half-open circuit two are sent, eight are refused, and it closes on the two."""
    world = World(lambda request, number: fails() if number <= 5 else answers(after_s=0.05))
    await finish(*[world.get(f"r{number}") for number in range(5)])
    await world.clock.sleep(30)
    visitors = [world.get(f"p{number}") for number in range(10)]
    await finish(*visitors)
    assert sorted(visitor.status for visitor in visitors) == [200] * 2 + [503] * 8
    assert len(world.upstream.calls) == 7
    assert world.transitions == ["OPEN", "HALF_OPEN", "CLOSED"]
    assert world.at_rest()


@simulated
async def test_a_failed_probe_opens_it_again() -> None:
    """A failed probe costs another 30 s, and nobody gets through meanwhile."""
    world = World([fails()])
    await finish(*[world.get(f"r{number}") for number in range(5)])
    await world.clock.sleep(30)
    await world.get("probe").finish()
    assert world.transitions == ["OPEN", "HALF_OPEN", "OPEN"]
    calls = len(world.upstream.calls)
    await world.clock.sleep(29)
    assert (await world.get("late").finish()).status == 503
    assert len(world.upstream.calls) == calls


@simulated
async def test_a_probe_whose_client_leaves_gives_its_permit_back() -> None:
    """Two probes are cancelled in mid-call; two others take their place and close the circuit."""
    world = World(lambda request, number: fails() if number <= 5 else hangs() if number <= 7 else answers())
    await finish(*[world.get(f"r{number}") for number in range(5)])
    await world.clock.sleep(30)
    leaving = [world.get("p1"), world.get("p2")]
    await world.clock.sleep(0.1)
    for visitor in leaving:
        visitor.leave()
    await finish(*leaving)
    assert (await world.get("p3").finish()).status == 200
    assert (await world.get("p4").finish()).status == 200
    assert world.transitions[-1] == "CLOSED"


@simulated
async def test_leaving_clients_open_nothing() -> None:
    """Twenty clients that leave are no verdict on the backend."""
    world = World([hangs()])
    visitors = [world.get(f"r{number}") for number in range(20)]
    await world.clock.sleep(0.1)
    for visitor in visitors:
        visitor.leave()
    await finish(*visitors)
    assert (world.breaker.failures, world.transitions) == (0, [])
    assert [record.status for record in world.ledger.records] == [499] * 20


@simulated
async def test_fifty_followers_of_a_failure_count_once() -> None:
    """Fifty callers of one failing flight are one failure to the circuit."""
    world = World([fails(after_s=0.01)], rules=breaker_settings(jitter=0.0))
    await finish(*[world.get("same") for _ in range(50)])
    assert (world.breaker.failures, len(world.upstream.calls)) == (1, 1 + retry_settings().max_retries)


@simulated
async def test_event_streams_are_no_slow_calls() -> None:
    """The head of an event stream comes with its first event, so its time is no evidence. A slow page is evidence."""
    slow = breaker_settings(slow_call=1.0, slow_call_window=4)
    events = World([answers(after_s=1.5, content_type="text/event-stream")])
    events.breaker.rules = slow
    for number in range(4):
        await events.get(f"r{number}").finish()
    assert events.transitions == []
    pages = World([answers(after_s=1.5)])
    pages.breaker.rules = slow
    for number in range(4):
        await pages.get(f"r{number}").finish()
    assert pages.transitions == ["OPEN"]
