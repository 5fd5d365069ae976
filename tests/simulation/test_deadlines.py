"""A caller's own shorter deadline ends that caller's wait, and nothing else (C6)."""

from tests.simulation.scripted import answers, fails, hangs
from tests.simulation.virtual import simulated
from tests.simulation.world import World, finish


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
    """A lone leader's own deadline cancels the call, and its record says timeout, not that the client left."""
    world = World([hangs()])
    hasty = await world.get(X_Request_Deadline_Ms="200").finish()
    assert (hasty.status, hasty.waited_ms) == (504, 200)
    assert world.upstream.calls[0].ended in ("cancelled", "timed out")
    (record,) = world.ledger.records
    assert (record.status, record.ending) == (504, "http_response_timeout")
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
