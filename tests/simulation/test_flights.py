"""Many callers with equal requests: which share, which wait, which leave, and the response of each."""

from dataclasses import replace

import pytest

from proxy.exchange.state import Exchange
from proxy.http.fields import Fields
from proxy.http.message import Framing, Request, Response
from proxy.http.problems import Reason
from proxy.policy.routing import Coalesce
from tests.simulation.scripted import ScriptedStream, Step, answers, fails, hangs
from tests.simulation.virtual import simulated
from tests.simulation.world import CREATE, LOAD, UPDATE, World, finish


def streams(stream: ScriptedStream, after_s: float = 0.0, **fields: str) -> Step:
    """Answer with a body that comes piece by piece."""
    lines = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in fields.items())
    return Step(Response(200, b"", Fields(lines), stream, Framing.CHUNKED), after_s)


@simulated
async def test_fifty_creates_are_one_call() -> None:
    """Fifty tabs create the same session, each with its own key: one call, fifty equal answers, fifty ids."""
    world = World([answers(201, b"made", after_s=0.3)])
    tabs = [world.create(Idempotency_Key=f"tab-{number}") for number in range(50)]
    await finish(*tabs)
    assert [call.said for call in world.upstream.calls] == ["POST /api/sessions"]
    assert {(tab.status, tab.client.body, tab.waited_ms) for tab in tabs} == {(201, b"made", 300)}
    assert len({tab.client.fields.get(b"x-correlation-id") for tab in tabs}) == 50
    assert world.roles() == (1, 49, 0)
    leaders = [record for record in world.ledger.records if record.role == "led"]
    flights = {record.flight.id for record in world.ledger.records if record.flight is not None}
    assert (len(world.ledger.records), len(leaders), len(flights)) == (50, 1, 1)
    assert leaders[0].flight is not None
    assert leaders[0].flight.followers == 49
    assert world.at_rest()


@simulated
async def test_no_followers_answer_waits_for_anothers_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """All fifty are answered before the first follower's record is made, and that says when he was answered."""
    world, answered = World([answers(after_s=0.3)]), []
    tabs = [world.get() for _ in range(50)]
    record = world.ledger.record

    def recording(exchange: Exchange) -> None:
        answered.append(sum(tab.client.answers for tab in tabs))
        record(exchange)

    monkeypatch.setattr(world.ledger, "record", recording)
    await finish(*tabs)
    assert answered[1:] == [50] * 49
    assert {round(exchange.duration_s, 6) for exchange in world.ledger.records} == {0.3}
    assert world.at_rest()


@simulated
async def test_followers_are_told_that_they_followed() -> None:
    """RFC 9211: a follower of a read is `fwd=miss; collapsed`, of a create `fwd=method`; a leader gets no such line."""
    world = World([answers(after_s=0.1)])
    leader, follower = world.get(), world.get()
    maker, second = world.create(), world.create()
    await finish(leader, follower, maker, second)
    assert leader.client.fields.get(b"cache-status") is None
    assert follower.client.fields.get(b"cache-status") == b"backstay; fwd=miss; collapsed"
    assert maker.client.fields.get(b"cache-status") is None
    assert second.client.fields.get(b"cache-status") == b"backstay; fwd=method; collapsed"


@simulated
async def test_the_leaders_client_leaves() -> None:
    """The leader's client leaves in mid-call; its two followers are answered from the same call, at its time."""
    world = World([answers(after_s=0.3)])
    leader, one, two = world.get(), world.get(), world.get()
    await world.until_ms(100)
    leader.leave()
    await finish(leader, one, two)
    assert world.upstream.times_ms == [0]
    assert [(one.status, one.waited_ms), (two.status, two.waited_ms)] == [(200, 300)] * 2
    assert (leader.client.answers, leader.exchange.status, leader.exchange.ending) == (0, 499, "cancelled")
    assert world.at_rest()


@simulated
async def test_the_leaders_client_leaves_in_mid_ladder() -> None:
    """The ladder goes on for the followers when the leader's client leaves during a backoff."""
    world = World([fails(), fails(), answers()])
    leader, follower = world.get(), world.get()
    await world.until_ms(150)
    leader.leave()
    await finish(leader, follower)
    assert world.upstream.times_ms == [0, 100, 300]
    assert follower.status == 200


@simulated
async def test_the_last_waiter_leaves_a_read() -> None:
    """When leader and follower are gone, the call upstream is cancelled and the flight is nobody's any more."""
    world = World([hangs()])
    world.ports.probes.close()  # else this one would go on as the circuit's probe
    leader, follower = world.get(), world.get()
    await world.until_ms(100)
    leader.leave()
    await world.until_ms(200)
    assert world.upstream.calls[0].ended == "under way"
    follower.leave()
    await finish(leader, follower)
    assert world.upstream.calls[0].ended == "cancelled"
    assert [record.status for record in world.ledger.records] == [499, 499]
    assert world.at_rest()


@simulated
async def test_a_newcomer_never_joins_an_abandoned_flight() -> None:
    """Who comes in the same instant as the last waiter leaves asks for himself."""
    world = World([hangs(), answers(200, b"new")])
    first = world.get()
    await world.until_ms(100)
    first.leave()
    second = world.get()
    await finish(first, second)
    assert (second.status, second.client.body, len(world.upstream.calls)) == (200, b"new", 2)


@simulated
async def test_the_last_waiter_leaves_a_create() -> None:
    """A create that was sent runs to its end and is recorded, though nobody waits for it."""
    world = World([answers(201, after_s=0.3)])
    maker = world.create()
    await world.until_ms(100)
    maker.leave()
    await maker.finish()
    assert world.upstream.calls[0].ended == "done"
    (record,) = world.ledger.records
    assert (record.status, record.attempts[0].status) == (499, 201)
    assert world.at_rest()


@simulated
async def test_a_create_that_nobody_waits_for_is_not_retried() -> None:
    """A create whose client left runs to its end once; its failure starts no ladder."""
    world = World([fails(after_s=0.3)])
    maker = world.create()
    await world.until_ms(100)
    maker.leave()
    await maker.finish()
    assert len(world.upstream.calls) == 1
    assert world.ledger.records[0].attempts[0].why == "nobody_waits"


@simulated
async def test_a_create_left_in_mid_backoff_is_not_sent_again() -> None:
    """Nothing is under way during a backoff, so leaving then ends it there."""
    world = World([fails(sent=False), answers(201)])
    maker = world.create()
    await world.until_ms(50)
    maker.leave()
    await maker.finish()
    assert len(world.upstream.calls) == 1
    assert world.at_rest()


@simulated
async def test_a_second_tab_finds_the_create_that_the_first_left() -> None:
    """The create runs on without its first client, and a second tab that comes meanwhile gets its answer."""
    world = World([answers(201, b"made", after_s=0.3)])
    first = world.create()
    await world.until_ms(100)
    first.leave()
    await world.until_ms(200)
    second = world.create()
    await finish(first, second)
    assert (second.status, second.client.body, second.waited_ms, len(world.upstream.calls)) == (201, b"made", 100, 1)


@simulated
async def test_one_failure_and_one_ladder_for_all() -> None:
    """Fifty callers of a dead backend run one ladder of four calls and share its failure."""
    world = World([fails(Reason.CONNECTION_REFUSED, sent=False)])
    visitors = [world.get() for _ in range(50)]
    await finish(*visitors)
    assert world.upstream.times_ms == [0, 100, 300, 700]
    assert {(visitor.status, visitor.waited_ms) for visitor in visitors} == {(502, 700)}
    assert len(world.ledger.records) == 50


@simulated
async def test_ladder_of_timeouts_is_shared_too() -> None:
    """A ladder that ends in attempt timeouts before the flight's deadline is final: a late follower starts none."""
    world = World([hangs()], routes=(replace(LOAD, attempt_timeout_s=0.2),))
    leader = world.get()
    await world.until_ms(1000)
    follower = world.get()
    await finish(leader, follower)
    assert len(world.upstream.calls) == 3
    assert [(leader.status, leader.waited_ms), (follower.status, follower.waited_ms)] == [(504, 1700), (504, 700)]


@simulated
async def test_a_follower_leads_again_after_the_flights_deadline() -> None:
    """The flight's two seconds are over, one follower has time left: it leads again, once, for all that wait."""
    world = World([hangs(), answers(after_s=0.1)])
    leader = world.get()
    await world.until_ms(1500)
    followers = [world.get() for _ in range(5)]
    await finish(leader, *followers)
    assert (leader.status, leader.waited_ms) == (504, 2000)
    assert world.upstream.times_ms == [0, 2000]
    assert {(follower.status, follower.waited_ms) for follower in followers} == {(200, 600)}
    assert world.roles() == (1, 5, 0)
    assert world.at_rest()


@simulated
async def test_a_create_is_never_led_again() -> None:
    """The flight of a create passed its deadline, its outcome is unknown: followers are told, nobody asks again."""
    world = World([hangs()], routes=(replace(CREATE, honours_idempotency=False),))
    leader = world.create()
    await world.until_ms(1500)
    follower = world.create()
    await finish(leader, follower)
    assert len(world.upstream.calls) == 1
    assert (leader.status, follower.status, follower.waited_ms) == (504, 504, 500)


@simulated
async def test_a_flight_lost_to_a_bug_is_led_again_by_one() -> None:
    """The leader's call raises; it gets our 500, and one follower asks again for the others."""

    def bug_at_first(request: object, number: int) -> Step:
        if number == 1:
            raise ValueError("a bug in the wire")
        return answers(after_s=0.1)

    world = World(bug_at_first)
    leader, one, two = world.get(), world.get(), world.get()
    await finish(leader, one, two)
    assert leader.status == 500
    assert leader.client.fields.get(b"proxy-status") == b"backstay; error=proxy_internal_error"
    assert (one.status, two.status, len(world.upstream.calls)) == (200, 200, 2)
    assert world.at_rest()


@simulated
async def test_nobody_gets_a_finished_flight() -> None:
    """Who comes in the instant after the landing asks anew."""
    world = World([answers(200, b"old", after_s=0.1), answers(200, b"new", after_s=0.1)])
    first = world.get()
    await first.finish()
    second = await world.get().finish()
    assert (first.client.body, second.client.body) == (b"old", b"new")


@simulated
async def test_two_users_never_share() -> None:
    """Two users of one URL get their own answers, though both are under way at once."""
    world = World(lambda request, number: answers(200, request.fields.get(b"authorization") or b"", after_s=0.1))
    visitors = {user: world.get(user=user) for user in ("ada", "bob", "eve")}
    again = {user: world.get(user=user) for user in visitors}
    await finish(*visitors.values(), *again.values())
    assert len(world.upstream.calls) == 3
    for user in visitors:
        assert visitors[user].client.body == again[user].client.body == user.encode()


@simulated
async def test_a_cookie_for_nobody_is_not_shared() -> None:
    """A cookie set for a caller without credentials is the leader's alone; the others ask in parallel."""
    world = World(lambda request, number: answers(200, f"visit {number}".encode(), after_s=0.1, Set_Cookie="sid=x"))
    leader, one, two = (world.get(user=None) for _ in range(3))
    await finish(leader, one, two)
    assert {visitor.client.body for visitor in (leader, one, two)} == {b"visit 1", b"visit 2", b"visit 3"}
    assert world.upstream.times_ms == [0, 100, 100]
    assert one.client.fields.get(b"cache-status") == b"backstay; fwd=miss; collapsed=?0"
    assert world.roles() == (1, 2, 0)
    assert world.at_rest()


@simulated
async def test_nobody_waits_twice_for_what_is_never_shared() -> None:
    """After one answer that could not be shared the same question goes alone, at once and counted so."""
    world = World([answers(after_s=0.1, Vary="*")])
    await finish(world.get(), world.get())
    late = [world.get() for _ in range(3)]
    await finish(*late)
    assert world.upstream.times_ms == [0, 100, 200, 200, 200]
    assert world.roles() == (1, 1, 3)
    assert {visitor.exchange.alone_because for visitor in late} == {"unshareable"}
    assert world.at_rest()


@simulated
async def test_strangers_creates_go_one_after_another() -> None:
    """The first stranger's create sets his cookie; the others write in turn, and each meets the conflict.

    Before, every follower was given the leader's cookie.
    """

    def play(request: Request, number: int) -> Step:
        if request.method == "GET":
            return answers(200, b"existing", after_s=0.01, Set_Cookie=f"sid={number}")
        return answers(201 if number == 1 else 409, after_s=0.1, Set_Cookie=f"sid={number}")

    world = World(play)
    visitors = [world.create(user=None) for _ in range(4)]
    await finish(*visitors)
    assert world.upstream.said == ["POST /api/sessions", *["POST /api/sessions", "GET /api/sessions/r1"] * 3]
    assert world.upstream.times_ms == [0, 100, 200, 210, 310, 320, 420]
    assert [visitor.status for visitor in visitors] == [201, 200, 200, 200]
    assert len({visitor.client.fields.get(b"set-cookie") for visitor in visitors}) == 4
    assert world.roles() == (1, 3, 0)
    assert world.at_rest()


@simulated
async def test_a_stranger_whose_turn_does_not_come_is_told_in_time() -> None:
    """Waiting for one's turn ends with one's own deadline, and nothing is sent for who was told."""
    world = World(lambda request, number: answers(201, after_s=0.9, Set_Cookie=f"sid={number}"))
    visitors = [world.create(user=None) for _ in range(4)]
    await finish(*visitors)
    assert [visitor.status for visitor in visitors] == [201, 201, 504, 504]
    assert {visitor.waited_ms for visitor in visitors[2:]} == {2000}
    assert world.upstream.times_ms == [0, 900, 1800]
    assert world.at_rest()


@simulated
async def test_a_cookie_for_somebody_is_shared() -> None:
    """With credentials the callers are one principal, and its cookie may go to all of its tabs."""
    world = World([answers(200, b"x", after_s=0.1, Set_Cookie="sid=x")])
    visitors = [world.get() for _ in range(3)]
    await finish(*visitors)
    assert len(world.upstream.calls) == 1
    assert [visitor.client.fields.get(b"set-cookie") for visitor in visitors] == [b"sid=x"] * 3


@simulated
async def test_who_asks_for_itself_after_an_unshareable_answer_may_leave() -> None:
    """A follower that had to go upstream itself leaves, and its call is cancelled at once."""
    script = [answers(after_s=0.1, Set_Cookie="sid=x"), hangs()]
    world = World(script)
    world.ports.probes.close()  # else this one would go on as the circuit's probe
    leader, follower = world.get(user=None), world.get(user=None)
    await world.until_ms(300)
    follower.leave()
    await world.until_ms(350)
    assert world.upstream.calls[1].ended == "cancelled"
    await finish(leader, follower)
    assert (follower.exchange.status, len(world.ledger.records)) == (499, 2)
    assert world.at_rest()


@simulated
async def test_event_streams_are_never_shared() -> None:
    """An event stream is one listener's; the second caller opens its own."""
    one, two = ScriptedStream(b"data: 1\n\n"), ScriptedStream(b"data: 2\n\n")
    world = World([streams(one, 0.1, Content_Type="text/event-stream"), streams(two, Content_Type="text/event-stream")])
    leader, follower = world.get(), world.get()
    await finish(leader, follower)
    assert (leader.client.body, follower.client.body) == (b"data: 1\n\n", b"data: 2\n\n")
    assert (one.opened, one.closed, two.opened, two.closed) == (1, 1, 1, 1)


@simulated
async def test_a_stream_is_shared_from_its_first_byte() -> None:
    """Every caller of a streamed answer reads it whole, and every reader is closed."""
    stream = ScriptedStream(b"one ", b"two")
    world = World([streams(stream, 0.1)])
    visitors = [world.get() for _ in range(3)]
    await finish(*visitors)
    assert [visitor.client.body for visitor in visitors] == [b"one two"] * 3
    assert (stream.opened, stream.closed) == (3, 3)


@simulated
async def test_a_follower_that_leaves_as_the_stream_lands_reads_nothing_and_holds_nothing() -> None:
    """A client that leaves between the landing and its first read leaves no reader behind to hold the stream up."""
    stream = ScriptedStream(b"one")
    world = World([streams(stream, 0.1)])
    leader, follower = world.get(), world.get()
    flight = leader.exchange
    await world.until_ms(50)
    assert flight.flight is not None
    # the last to be told: the follower has its result
    flight.flight._waiting[0] = (lambda result: follower.leave(), follower.exchange.request)
    await finish(leader, follower)
    assert follower.exchange.status == 499
    assert stream.opened == stream.closed


@simulated
async def test_a_broken_stream_is_never_made_to_look_whole() -> None:
    """An answer that breaks off is recorded as truncated, for each of its readers."""
    world = World([streams(ScriptedStream(b"half", broken=True), 0.1)])
    leader, follower = world.get(), world.get()
    await finish(leader, follower)
    assert [record.ending for record in world.ledger.records] == ["truncated"] * 2
    assert [record.succeeded for record in world.ledger.records] == [False] * 2


@simulated
async def test_beyond_max_followers_reads_go_alone_and_creates_are_refused() -> None:
    """Past the limit a read goes upstream by itself; a create could make a duplicate, so it is a 503."""
    routes = (replace(LOAD, max_followers=2), replace(CREATE, max_followers=2))
    world = World([answers(after_s=0.1)], routes=routes)
    readers = [world.get() for _ in range(5)]
    makers = [world.create() for _ in range(5)]
    await finish(*readers, *makers)
    assert [reader.status for reader in readers] == [200] * 5
    assert [maker.status for maker in makers] == [200, 200, 200, 503, 503]
    assert world.upstream.said.count("GET /api/sessions/r1") == 3
    assert world.upstream.said.count("POST /api/sessions") == 1
    assert world.roles() == (2, 4, 4)
    assert world.meter.counts["bad_request", "max_followers"] == 2
    assert world.meter.counts["finished", "refused"] == 2


@simulated
async def test_switched_off_coalescing_lets_everybody_go_alone() -> None:
    """With the run-time switch off, three equal questions are three calls, and counted so."""
    world = World([answers(after_s=0.1)])
    world.flights.enabled = False
    await finish(*[world.get() for _ in range(3)])
    assert (len(world.upstream.calls), world.roles()) == (3, (0, 0, 3))
    assert {record.alone_because for record in world.ledger.records} == {"switched_off"}


@pytest.mark.parametrize("coalesce", [None, Coalesce.OFF])
@simulated
async def test_unsafe_requests_go_alone_by_default(coalesce: Coalesce | None) -> None:
    """Unless the route says otherwise, two equal PATCHes are two calls."""
    world = World([answers(after_s=0.1)], routes=(replace(UPDATE, coalesce=coalesce),))
    await finish(world.patch(), world.patch())
    assert (len(world.upstream.calls), world.roles()) == (2, (0, 0, 2))
