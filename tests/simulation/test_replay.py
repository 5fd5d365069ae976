"""Idempotency keys that the sidecar stores for backends that do not: sequences of requests with one key."""

from dataclasses import replace
from typing import cast

import orjson
import pytest

from proxy.exchange.ports import Claims
from proxy.http.fields import Fields
from proxy.http.message import Framing, Response
from proxy.policy.claim_rules import Acquired, Claim, ClaimState, HeldByOther, Orphaned
from proxy.policy.routing import Coalesce, Idempotency, Route
from proxy.transport.broadcast import Broadcast
from tests.settings import changed, recovery_rules
from tests.simulation.scripted import ScriptedStream, Step, answers, fails
from tests.simulation.virtual import simulated
from tests.simulation.world import CREATE, NO_RETRIES, SharedClaims, Visitor, World, finish

REPLAY = replace(CREATE, idempotency=Idempotency.REPLAY, honours_idempotency=False)
ALONE = replace(REPLAY, coalesce=Coalesce.OFF)
DAY_MS = 24 * 3_600_000


def bug() -> None:
    """Fail as no backend does."""
    raise RuntimeError("a bug")


def world(*script: Step, route: Route = REPLAY) -> World:
    """Return a world whose create replays."""
    return World(script, routes=(route,))


def told(visitor: Visitor) -> tuple[int, bytes, bytes | None]:
    """Return what a client was told: status, body, and whether it was a replay."""
    client = visitor.client
    return client.status, client.body, client.fields.get(b"idempotent-replayed")


@simulated
async def test_a_key_that_comes_again_gets_the_stored_answer() -> None:
    """Same status, same body, marked as a replay; the backend hears of it once."""
    w = world(answers(201, b"s1", Location="/api/sessions/r1"))
    first = await w.create(Idempotency_Key="k1").finish()
    again = await w.create(Idempotency_Key="k1").finish()
    assert (told(first), told(again)) == ((201, b"s1", None), (201, b"s1", b"true"))
    assert again.client.fields.get(b"location") == b"/api/sessions/r1"
    assert again.client.fields.get(b"cache-status") == b"backstay; hit; ttl=86400"
    assert (w.roles(), len(w.upstream.calls)) == ((1, 0, 1), 1)
    assert w.meter.counts["idempotency", "replayed"] == 1
    assert w.at_rest()


@simulated
async def test_a_key_is_remembered_for_a_day() -> None:
    """24 h later the key is free again."""
    w = world(answers(201, b"s1"), answers(201, b"s2"))
    await w.create(Idempotency_Key="k1").finish()
    await w.until_ms(DAY_MS - 1000)
    before = await w.create(Idempotency_Key="k1").finish()
    await w.until_ms(DAY_MS + 1000)
    after = await w.create(Idempotency_Key="k1").finish()
    assert (told(before), told(after)) == ((201, b"s1", b"true"), (201, b"s2", None))


@simulated
async def test_a_key_for_another_request_is_refused() -> None:
    """The same key with another body is 422, also while the first is under way; nobody else notices."""
    w = world(answers(201, b"s1", after_s=0.3))
    first = w.create("r1", Idempotency_Key="k1")
    await w.until_ms(100)
    during = await w.create("r2", Idempotency_Key="k1").finish()
    await first.finish()
    after = await w.create("r2", Idempotency_Key="k1").finish()
    assert (during.status, after.status, first.status) == (422, 422, 201)
    assert w.meter.counts["bad_request", "idempotency_key_reused"] == 2
    assert "Idempotency-Key was used for another request" in orjson.loads(during.client.body)["detail"]
    assert len(w.upstream.calls) == 1


@simulated
async def test_a_key_belongs_to_its_principal() -> None:
    """Nobody is told that another's key exists."""
    w = world(answers(201, b"ada's"), answers(201, b"bob's"))
    ada = await w.create("r1", user="ada", Idempotency_Key="k1").finish()
    bob = await w.create("r2", user="bob", Idempotency_Key="k1").finish()
    assert (told(ada), told(bob)) == ((201, b"ada's", None), (201, b"bob's", None))


@simulated
async def test_a_key_in_flight_is_joined() -> None:
    """Never a 409 of our own; the second is answered with the first, as one of its flight."""
    w = world(answers(201, b"s1", after_s=0.3))
    first, second = w.create(Idempotency_Key="k1"), w.create(Idempotency_Key="k1")
    await finish(first, second)
    assert (told(first), told(second)) == ((201, b"s1", None), (201, b"s1", None))
    assert (w.roles(), len(w.upstream.calls)) == ((1, 1, 0), 1)


@simulated
async def test_a_key_in_flight_is_waited_for_where_nothing_is_coalesced() -> None:
    """Replays need no coalescing: the claim itself is what the second waits for."""
    w = world(answers(201, b"s1", after_s=0.3), route=ALONE)
    first, second = w.create(Idempotency_Key="k1"), w.create(Idempotency_Key="k1")
    await finish(first, second)
    assert (told(first), told(second)) == ((201, b"s1", None), (201, b"s1", None))
    assert (second.waited_ms, len(w.upstream.calls)) == (300, 1)
    assert w.at_rest()


class SlowReplicas:
    """Other replicas, which hear of an invalidation after 40 ms."""

    def __init__(self, told: World) -> None:
        self._world = told

    async def flushed(self) -> None:
        await self._world.clock.sleep(0.04)


@simulated
async def test_replicas_know_what_is_invalid_before_who_waits_for_the_key_has_its_answer() -> None:
    """Whoever waited for the claim may read through another replica at once: nothing from before is left there."""
    w = world(answers(201, b"s1", after_s=0.3), route=ALONE)
    w.ports = replace(w.ports, replicas=SlowReplicas(w))
    first, second = w.create(Idempotency_Key="k1"), w.create(Idempotency_Key="k1")
    await finish(first, second)
    assert (told(first), told(second)) == ((201, b"s1", None), (201, b"s1", None))
    assert [first.waited_ms, second.waited_ms] == [340, 340]


@simulated
async def test_the_keys_of_a_lost_flight_are_free_again() -> None:
    """The leader's task ended with a bug: a follower's key would otherwise be waited for until each deadline."""
    w = world(Step(Response(201, b"", Fields(()), b""), 0.3, effect=bug), answers(201, b"s2"))
    leader, follower = w.create(Idempotency_Key="k1"), w.create(Idempotency_Key="k2")
    await finish(leader, follower)
    assert leader.status == 500
    assert len(w.claims) == 0
    assert told(await w.create(Idempotency_Key="k2").finish()) == (201, b"s2", None)


class DeadOwner:
    """Claims of a replica that died after it had sent the request with the key `first`."""

    spans_replicas = False

    def __init__(self) -> None:
        self.settled: list[Claim] = []

    async def claim(self, claim: Claim, within_s: float = 0.0) -> ClaimState:
        return Orphaned(claim.fingerprint, "first", "them-1")

    async def take_over(self, claim: Claim, orphan: Orphaned) -> ClaimState:
        return Acquired("us-1")

    async def settle(self, claim: Claim, mine: Acquired, result: object, *, keep: bool) -> None:
        self.settled.append(claim)


@simulated
async def test_a_dead_owners_request_is_sent_again_with_its_own_key() -> None:
    """The backend recognises only that one: with another key it would execute the request twice."""
    w = world(answers(201, b"s1"), route=replace(REPLAY, honours_idempotency=True))
    claims = DeadOwner()
    w.ports = replace(w.ports, claims=cast(Claims, claims))
    told_ = await w.create(Idempotency_Key="k1").finish()
    (call,) = w.upstream.calls
    assert (told_.status, call.request.fields.all(b"idempotency-key")) == (201, [b"first"])
    assert call.field(b"idempotency-key") is None
    assert w.meter.counts["idempotency", "taken_over"] == 1
    assert len(claims.settled) == 1


@simulated
async def test_landing_settles_the_keys_of_all_who_joined() -> None:
    """Each tab mints a key of its own; each of them is replayed afterwards."""
    w = world(answers(201, b"s1", after_s=0.3))
    tabs = [w.create(Idempotency_Key=key) for key in ("k1", "k2", "k3")]
    await finish(*tabs)
    again = [await w.create(Idempotency_Key=key).finish() for key in ("k1", "k2", "k3")]
    assert {told(visitor) for visitor in again} == {(201, b"s1", b"true")}
    assert len(w.upstream.calls) == 1


@simulated
async def test_the_key_of_a_follower_who_left_is_settled_too() -> None:
    """It asked, and what it asked was done."""
    w = world(answers(201, b"s1", after_s=0.3))
    first, left = w.create(Idempotency_Key="k1"), w.create(Idempotency_Key="k2")
    w.later(100, left.leave)
    await finish(first, left)
    again = await w.create(Idempotency_Key="k2").finish()
    assert told(again) == (201, b"s1", b"true")


@simulated
async def test_what_is_not_final_is_not_stored() -> None:
    """401, 403, 404, 429, 5xx and the sidecar's own answers free the key: the next try is a real one."""
    for bad in (*(answers(status) for status in (401, 403, 404, 429, 500, 503)), fails()):
        w = World((bad, answers(201, b"s1")), routes=(replace(REPLAY, retry=NO_RETRIES),))
        first = await w.create(Idempotency_Key="k1").finish()
        again = await w.create(Idempotency_Key="k1").finish()
        assert first.status != 201
        assert told(again) == (201, b"s1", None)


@simulated
async def test_a_4xx_is_an_answer_and_is_stored() -> None:
    """A 400 is final; repeating the request does not change it."""
    w = world(answers(400, b"bad"), answers(201, b"never"))
    await w.create(Idempotency_Key="k1").finish()
    again = await w.create(Idempotency_Key="k1").finish()
    assert told(again) == (400, b"bad", b"true")


@simulated
async def test_a_claim_of_one_who_left_before_asking_is_free() -> None:
    """A client that leaves during a backoff, nothing sent, leaves its key behind for the next."""
    route = replace(ALONE, recovery=replace(ALONE.recovery, on_conflict=None))
    w = World((fails(sent=False), answers(201, b"s1")), routes=(route,))
    first = w.create(Idempotency_Key="k1")
    w.later(50, first.leave)
    await first.finish()
    again = await w.create(Idempotency_Key="k1").finish()
    assert told(again) == (201, b"s1", None)
    assert len(w.claims) == 1


@simulated
async def test_one_who_waits_has_the_claim_that_was_given_up() -> None:
    """The first leaves with nothing sent: the one who waited for its key asks, and nobody is stuck."""
    w = World((fails(sent=False), answers(201, b"s1")), routes=(ALONE,))
    first = w.create(Idempotency_Key="k1")
    await w.until_ms(10)
    second, third = w.create(Idempotency_Key="k1"), w.create(Idempotency_Key="k1")
    w.later(50, first.leave)
    await finish(first, second, third)
    assert (told(second), told(third)) == ((201, b"s1", None), (201, b"s1", None))
    assert len(w.upstream.calls) == 2


@simulated
async def test_waiting_for_a_key_ends_with_the_callers_own_deadline() -> None:
    """Whoever waits for another's answer waits no longer than it may."""
    w = world(answers(201, b"s1", after_s=1.5), route=ALONE)
    first = w.create(Idempotency_Key="k1")
    hurried = w.create(Idempotency_Key="k1", X_Request_Deadline_Ms="200")
    await finish(first, hurried)
    assert (hurried.status, hurried.waited_ms, first.status) == (504, 200, 201)


@simulated
async def test_without_a_key_of_its_own_a_request_is_not_claimed() -> None:
    """A minted key is nobody's to repeat."""
    w = world(answers(201, b"s1"))
    await w.create().finish()
    await w.create().finish()
    assert (len(w.upstream.calls), len(w.claims)) == (2, 0)


@simulated
async def test_a_route_that_requires_its_store_refuses_without_it() -> None:
    """`store_required`: 503 before anything is asked or joined."""
    w = World((answers(201, b"s1"),), routes=(replace(REPLAY, store_required=True),))
    w.store.up = False
    refused = await w.create(Idempotency_Key="k1").finish()
    assert (refused.status, len(w.upstream.calls)) == (503, 0)
    assert "the store that this route requires" in orjson.loads(refused.client.body)["detail"]
    assert refused.client.fields.get(b"proxy-status") == b"backstay; error=proxy_internal_response"
    assert refused.client.fields.get(b"retry-after") == b"1"
    assert (refused.exchange.ending, w.meter.counts["bad_request", "store"]) == ("refused", 1)


PLAIN = replace(ALONE, recovery=recovery_rules())  # a repetition may not be asked again


def in_pieces(*pieces: bytes, broken: bool = False) -> Step:
    """Answer with a body that came in pieces."""
    return Step(Response(201, b"", Fields(()), ScriptedStream(*pieces, broken=broken), Framing.CHUNKED))


@simulated
async def test_an_answer_that_came_in_pieces_is_replayed() -> None:
    """Before, a repetition was told "outcome unknown", though the first had been given all of it."""
    w = world(in_pieces(b"one", b"two"), route=PLAIN)
    first = await w.create(Idempotency_Key="k1").finish()
    again = await w.create(Idempotency_Key="k1").finish()
    assert (told(first), told(again)) == ((201, b"onetwo", None), (201, b"onetwo", b"true"))
    assert len(w.upstream.calls) == 1


@pytest.mark.parametrize("step", [in_pieces(b"one", b"two"), answers(201, b"onetwo")])
@simulated
async def test_an_answer_that_is_too_large_says_so(step: Step) -> None:
    """`replay_answer_limit`: it was done, so it is not done again; and the record says why there is no answer."""
    w = world(step, route=changed(PLAIN, replay_answer_limit=5))
    assert (await w.create(Idempotency_Key="k1").finish()).client.body == b"onetwo"
    again = await w.create(Idempotency_Key="k1").finish()
    assert told(again)[0] == 409
    assert "too large to store (replay_answer_limit); load the result" in orjson.loads(again.client.body)["detail"]
    assert again.client.fields.get(b"proxy-status") == b"backstay; error=http_response_body_size"
    assert again.exchange.ending == "http_response_body_size"
    assert w.meter.counts["idempotency", "not_kept"] == 1
    assert len(w.upstream.calls) == 1


@simulated
async def test_a_backend_that_honours_keys_is_asked_for_what_is_too_large() -> None:
    """It knows the key, and has the answer: it is asked again with it."""
    w = world(in_pieces(b"one", b"two"), route=changed(PLAIN, honours_idempotency=True, replay_answer_limit=5))
    for _ in range(2):
        assert (await w.create(Idempotency_Key="k1").finish()).client.body == b"onetwo"
    assert [call.request.fields.get(b"idempotency-key") for call in w.upstream.calls] == [b"k1", b"k1"]


@simulated
async def test_an_answer_that_broke_off_is_not_done_again() -> None:
    """Its head said that it was done; nobody has its body."""
    w = world(in_pieces(b"one", broken=True), answers(201, b"done twice"), route=PLAIN)
    await w.create(Idempotency_Key="k1").finish()
    again = await w.create(Idempotency_Key="k1").finish()
    assert (again.status, len(w.upstream.calls)) == (502, 1)
    assert "its response broke off; load the result" in orjson.loads(again.client.body)["detail"]


@simulated
async def test_who_repeats_while_pieces_come_waits_for_all_of_them() -> None:
    """The first client left in the middle, and the answer goes on: it is the repetition's."""
    relay = Broadcast(lambda pause: None, lambda: None)
    relay.push(b"one")
    w = world(Step(Response(201, b"", Fields(()), relay, Framing.CHUNKED)), route=PLAIN)
    first = w.create(Idempotency_Key="k1")
    await w.until_ms(100)
    first.leave()
    await first.finish()
    again = w.create(Idempotency_Key="k1")
    w.later(200, lambda: relay.push(b"two"))
    w.later(300, relay.finish)
    await again.finish()
    assert (first.client.body, again.client.body, again.waited_ms) == (b"one", b"onetwo", 300)
    assert told(await w.create(Idempotency_Key="k1").finish()) == (201, b"onetwo", b"true")
    assert len(w.upstream.calls) == 1
    assert w.at_rest()


class SlowClaims(SharedClaims):
    """Claims that replicas share, in a store that takes 50 ms for each question."""

    async def claim(self, claim: Claim, within_s: float = 0.0) -> ClaimState:
        """Answer late."""
        await self._clock.sleep(0.05)
        return await self._held.claim(claim, within_s)

    async def wait(self, claim: Claim, held: HeldByOther, within_s: float) -> ClaimState | None:
        """Look once more when the time is over, as is done in Redis."""
        state = await self._held.wait(claim, held, within_s)
        await self._clock.sleep(0.05)
        return state


@pytest.mark.parametrize("eager", [False, True], ids=["ordinary tasks", "eager tasks"])
def test_a_slow_store_does_not_prolong_a_deadline(eager: bool) -> None:
    """Neither a question for a caller's key nor one for a flight's: each caller is answered at its deadline.

    Before: 50 ms and 100 ms later.
    """

    @simulated
    async def play() -> None:
        w = World([answers(201, b"s1", after_s=60.0)], routes=(replace(ALONE, coalesce=Coalesce.SUBJECT),), eager=eager)
        w.ports = replace(w.ports, claims=cast(Claims, SlowClaims(w)))
        visitors: list[Visitor] = []

        def come(**fields: str) -> None:
            visitors.append(w.create(X_Request_Deadline_Ms="20", **fields) if fields else w.create())

        w.later(0, lambda: come(Idempotency_Key="k1"))
        w.later(200, lambda: come())
        w.later(400, lambda: come(Idempotency_Key="k2"))
        await w.until_ms(500)
        hurried, patient, late = visitors
        await finish(*visitors)
        assert [(visitor.status, visitor.waited_ms) for visitor in (hurried, late)] == [(504, 20), (504, 20)]
        assert (patient.status, patient.waited_ms) == (504, 2000)

    play()
