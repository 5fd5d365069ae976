"""Responses that replace a failure: the existing session, a created one, a stale one, the fallback."""

from dataclasses import replace

import orjson
import pytest

from proxy.http.fields import Fields
from proxy.http.message import Framing, Request, Response
from proxy.policy.recovery_plan import FallbackDocument, RequestTemplate
from tests.settings import recovery_rules
from tests.simulation.scripted import ScriptedStream, Step, answers, fails, hangs
from tests.simulation.virtual import simulated
from tests.simulation.world import CREATE, HISTORY, LOAD, NO_RETRIES, UPDATE, World, finish

MISSING = recovery_rules(on_missing=RequestTemplate("POST", "/api/sessions", {"reportId": "{subject}"}))
STALE = recovery_rules(stale_if_error_s=600.0, fallback=FallbackDocument(200, {"messages": []}))


@simulated
async def test_a_conflict_becomes_the_existing_session() -> None:
    """A 409 on a create loads what exists: 200, with the status that was received, a success in the record."""
    world = World([answers(409, b"conflict"), answers(200, b"existing")])
    ada = await world.create("r 1").finish()
    assert world.upstream.said == ["POST /api/sessions", "GET /api/sessions/r%201"]
    assert (ada.status, ada.client.body) == (200, b"existing")
    assert ada.client.fields.get(b"proxy-status") == b"backstay; received-status=409"
    (record,) = world.ledger.records
    assert (record.ending, record.succeeded) == ("recovered", True)
    assert world.meter.counts["recovered", "existing_session"] == 1
    assert b"retries" not in (
        ada.client.fields.get(b"server-timing") or b"retries"
    )  # before, the load counted as a retry
    assert not any("retried" in str(key[0]) for key in world.meter.counts)


@simulated
async def test_a_conflict_with_nothing_to_load_stays_a_conflict() -> None:
    """Where nothing exists after all, the 409 goes out as it came."""
    world = World([answers(409, b"conflict"), answers(404)])
    ada = await world.create().finish()
    assert (ada.status, ada.client.body, ada.client.fields.get(b"proxy-status")) == (409, b"conflict", None)


@simulated
async def test_followers_of_a_conflict_share_its_recovery() -> None:
    """Fifty creates that meet a 409 cost one create and one load."""
    world = World([answers(409, b"", after_s=0.1), answers(200, b"existing", after_s=0.1)])
    tabs = [world.create() for _ in range(50)]
    await finish(*tabs)
    assert len(world.upstream.calls) == 2
    assert {(tab.status, tab.client.body) for tab in tabs} == {(200, b"existing")}
    assert {tab.client.fields.get(b"proxy-status") for tab in tabs} == {b"backstay; received-status=409"}


@simulated
async def test_the_recovery_has_a_ladder_of_its_own() -> None:
    """The load after a 409 is retried like any read, inside the same deadline."""
    world = World([answers(409), fails(), answers(200, b"existing")])
    ada = await world.create().finish()
    assert (ada.status, world.upstream.times_ms) == (200, [0, 0, 100])


@simulated
async def test_what_is_missing_is_created() -> None:
    """A 404 on a restoring read creates the session and answers with it, as 200."""
    world = World([answers(404), answers(201, b"made", Location="/x")], routes=(replace(LOAD, recovery=MISSING),))
    ada = await world.get("r1").finish()
    assert world.upstream.said == ["GET /api/sessions/r1", "POST /api/sessions"]
    assert orjson.loads(_body(world, 1)) == {"reportId": "r1"}
    assert (ada.status, ada.client.body, ada.client.fields.get(b"location")) == (200, b"made", None)
    assert ada.client.fields.get(b"proxy-status") == b"backstay; received-status=404"


@simulated
async def test_what_somebody_else_creates_meanwhile_is_loaded() -> None:
    """The create meets a 409, so the first question is asked once more."""
    world = World([answers(404), answers(409), answers(200, b"theirs")], routes=(replace(LOAD, recovery=MISSING),))
    ada = await world.get().finish()
    assert [call.request.method for call in world.upstream.calls] == ["GET", "POST", "GET"]
    assert (ada.status, ada.client.body) == (200, b"theirs")


@simulated
async def test_a_create_that_fails_leaves_the_404() -> None:
    """Recovery's own requests are never recovered themselves."""
    world = World([answers(404, b"none"), answers(500)], routes=(replace(LOAD, recovery=MISSING),))
    ada = await world.get().finish()
    assert (ada.status, ada.client.body, len(world.upstream.calls)) == (404, b"none", 2)


@simulated
async def test_a_sent_create_of_recoverys_own_is_not_repeated() -> None:
    """Recovery's own requests are sent again as little as others: a create that broke off is asked once."""
    world = World([answers(404), fails()], routes=(replace(LOAD, recovery=MISSING),))
    ada = await world.get().finish()
    assert (ada.status, len(world.upstream.calls)) == (404, 2)


@simulated
async def test_recoverys_own_create_has_one_key() -> None:
    """Whatever key the first request had, the create that recovers it carries exactly one, its own."""
    route = replace(UPDATE, recovery=MISSING, idempotency=CREATE.idempotency)
    world = World([answers(404), answers(201)], routes=(route,))
    await world.patch().finish()
    first, second = world.upstream.calls
    keys = [*second.request.fields.all(b"idempotency-key"), second.field(b"idempotency-key")]
    assert len([key for key in keys if key is not None]) == 1
    assert first.field(b"idempotency-key") not in keys


@pytest.mark.parametrize("step", [fails(), hangs(), answers(502), answers(503), answers(504), answers(429)])
@simulated
async def test_an_outage_gives_the_stale_answer(step: Step) -> None:
    """In an outage the route's kept answer serves, past its reuse, with its true Age and a negative ttl."""
    world = World([answers(200, b"kept", after_s=0.0), step], routes=(replace(HISTORY, recovery=STALE),))
    await world.history().finish()
    await world.until_ms(10_000)
    ada = await world.history().finish()
    assert (ada.status, ada.client.body) == (200, b"kept")
    assert int(ada.client.fields.get(b"age") or b"0") >= 10
    assert (ada.client.fields.get(b"cache-status") or b"").startswith(b"backstay; hit; ttl=-")
    assert (ada.exchange.ending, ada.exchange.succeeded) == ("recovered", True)


@simulated
async def test_a_write_drops_the_stale_answer_too() -> None:
    """What a write made old serves in no outage; the fallback does."""
    world = World([answers(200, b"kept"), answers(204), fails()], routes=(UPDATE, replace(HISTORY, recovery=STALE)))
    await world.history().finish()
    await world.patch().finish()
    assert (await world.history().finish()).client.body == b'{"messages":[]}'


@pytest.mark.parametrize("step", [fails(), hangs(), answers(503), answers(429)])
@simulated
async def test_an_outage_gives_the_fallback(step: Step) -> None:
    """The route's document of last resort is a success with a reason."""
    world = World([step])
    ada = await world.history().finish()
    assert (ada.status, orjson.loads(ada.client.body)) == (200, {"messages": [], "degraded": True})
    assert ada.client.fields.get(b"cache-status") is None
    assert ada.exchange.ending == "recovered"
    assert ada.waited_ms <= 2005


@simulated
async def test_a_follower_of_a_fallback_is_told_nothing_of_caches() -> None:
    """Cache-Status never stands on an answer that the sidecar made itself, a follower's neither."""
    world = World([answers(503, after_s=0.1)])
    leader, follower = world.history(), world.history()
    await finish(leader, follower)
    assert follower.client.body == leader.client.body
    assert follower.client.fields.get(b"cache-status") is None


@simulated
async def test_an_open_circuit_gives_the_fallback_at_once() -> None:
    """With the circuit open the fallback costs no call and no time."""
    world = World([fails()])
    await finish(*[world.get(f"r{number}") for number in range(5)])
    calls = len(world.upstream.calls)
    await world.clock.sleep(1)
    ada = await world.history().finish()
    assert (ada.status, ada.waited_ms, len(world.upstream.calls)) == (200, 0, calls)
    assert ada.client.fields.get(b"proxy-status") == b"backstay; error=destination_unavailable"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 500])
@simulated
async def test_no_fallback_for_what_is_no_outage(status: int) -> None:
    """A 4xx, and a 500, is an answer and goes out as it came."""
    world = World([answers(status, b"as it came")])
    ada = await world.history().finish()
    assert (ada.status, ada.client.body) == (status, b"as it came")


@simulated
async def test_an_oddly_encoded_subject_still_has_its_fallback() -> None:
    """A path that is not UTF-8 fills the fallback's placeholder without breaking it."""
    route = replace(HISTORY, recovery=recovery_rules(fallback=FallbackDocument(200, {"report": "{report_id}"})))
    world = World([fails()], routes=(route,))
    ada = await world.visit("GET", "/api/history/a%ffb").finish()
    assert ada.status == 200
    assert set(orjson.loads(ada.client.body)) == {"report"}


@simulated
async def test_the_sidecars_own_answers_can_be_read_by_the_browser() -> None:
    """What the upstream last allowed this Origin stands on a fallback and on a problem document."""
    origin = "https://app.example"
    script = [answers(200, Access_Control_Allow_Origin=origin, Vary="Origin"), fails()]
    world = World(script)
    await world.get(Origin=origin).finish()
    fallback = await world.history(Origin=origin).finish()
    problem = await world.get("other", Origin=origin).finish()
    stranger = await world.get("third", Origin="https://evil.example").finish()
    for visitor in (fallback, problem):
        assert visitor.client.fields.get(b"access-control-allow-origin") == origin.encode()
    assert (problem.status, stranger.client.fields.get(b"access-control-allow-origin")) == (502, None)


def _body(world: World, call: int) -> bytes:
    body = world.upstream.calls[call].request.body
    assert isinstance(body, bytes)
    return body


@simulated
async def test_a_streamed_answer_that_is_replaced_is_given_up() -> None:
    """Nobody reads it: its connection must not wait for a reader."""
    stream = ScriptedStream(b"busy")
    route = replace(HISTORY, retry=NO_RETRIES)
    world = World([Step(Response(503, b"", Fields(()), stream, Framing.CHUNKED))], routes=(route,))
    ada = await world.history().finish()
    assert (ada.status, ada.exchange.ending) == (200, "recovered")
    assert (stream.discarded, stream.opened) == (True, 0)


@simulated
async def test_a_create_of_recoverys_own_closes_the_flights_before_it() -> None:
    """It is a write: who reads while it is under way does not join a read from before it."""

    def play(request: Request, number: int) -> Step:
        if request.method == "POST":
            return answers(201, b"made", after_s=0.1)
        return answers(404) if request.path == b"/api/sessions/r1" else answers(200, b"history", after_s=0.5)

    world = World(play, routes=(replace(LOAD, recovery=MISSING), HISTORY))
    early = world.history()
    await world.until_ms(10)
    loaded = world.get()
    await world.until_ms(50)
    late = world.history()
    await finish(early, loaded, late)
    assert (loaded.status, loaded.client.body) == (200, b"made")
    assert world.upstream.said.count("GET /api/history/r1") == 2
    assert early.exchange.flight is not late.exchange.flight


@simulated
async def test_a_create_that_ends_with_its_client_is_in_doubt() -> None:
    """It was sent and got no answer, and the client left before it was sent again: it may have been done.

    Before, it made nothing old, because it was not ended as a write.
    """
    route = replace(LOAD, recovery=MISSING, honours_idempotency=True)
    world = World([answers(404), fails(), answers(201, b"made")], routes=(route,))
    ada = world.get()
    await world.until_ms(50)
    assert world.upstream.said == ["GET /api/sessions/r1", "POST /api/sessions"]
    ada.leave()
    await ada.rest()
    assert len(world.upstream.calls) == 2
    assert world.flights.invalidations.uncertain.about("r1", (), world.clock.now())
