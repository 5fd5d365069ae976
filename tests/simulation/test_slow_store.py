"""A store that takes 50 ms for each question: no response waits for it beyond the deadline of its request."""

from dataclasses import replace
from typing import cast

import pytest

from proxy.exchange.ports import Claims, Look, Mark, Replicas, Scope, Store
from proxy.http.fields import Fields
from proxy.http.message import Framing, Response
from proxy.policy.claim_rules import Acquired, Claim
from proxy.policy.recovery_plan import RequestTemplate, Result
from proxy.policy.response_cache import CachedResponse
from proxy.policy.routing import Coalesce, Idempotency
from proxy.transport.broadcast import Broadcast
from tests.settings import recovery_rules
from tests.simulation.scripted import Step, answers, hangs
from tests.simulation.virtual import simulated
from tests.simulation.world import CREATE, HISTORY, LOAD, NO_RETRIES, UPDATE, SharedClaims, World

OFFLINE = replace(HISTORY, recovery=recovery_rules(stale_if_error_s=600.0), retry=NO_RETRIES)
MISSING = replace(LOAD, recovery=recovery_rules(on_missing=RequestTemplate("POST", "/api/sessions", {})))
REPLAY = replace(
    CREATE, idempotency=Idempotency.REPLAY, coalesce=Coalesce.OFF, honours_idempotency=False, retry=NO_RETRIES
)
ROUTES = (OFFLINE, MISSING, REPLAY, replace(UPDATE, retry=NO_RETRIES))
SLOW_S = 0.05
DEADLINE_MS = 2000.0


class SlowStore:
    """Cached responses and replicas, behind a slow network."""

    up = True

    def __init__(self, world: World) -> None:
        self._kept = world.store
        self._clock = world.clock
        self.asked = 0

    async def _wait(self) -> None:
        self.asked += 1
        await self._clock.sleep(SLOW_S)

    async def look(self, key: bytes, scope: Scope) -> Look:
        await self._wait()
        return await self._kept.look(key, scope)

    async def put(self, key: bytes, cached: CachedResponse, ttl_s: float, scope: Scope, mark: Mark) -> None:
        await self._wait()
        await self._kept.put(key, cached, ttl_s, scope, mark)

    async def drop(self, key: bytes) -> None:
        await self._kept.drop(key)  # a command of the queue, which is carried out although nobody waits for it
        await self._wait()

    async def flushed(self) -> None:
        await self._wait()


class SlowClaims(SharedClaims):
    """Claims that replicas share, which are settled after a while."""

    async def settle(self, claim: Claim, mine: Acquired, result: Result | None, *, keep: bool) -> None:
        self._held.settle_soon(claim, mine, result, keep=keep)
        await self._clock.sleep(SLOW_S)


def world(*script: Step) -> tuple[World, SlowStore]:
    """Return a sidecar with a slow store."""
    w = World(script, routes=ROUTES)
    slow = SlowStore(w)
    store, claims = cast(Store, slow), cast(Claims, SlowClaims(w))
    w.ports = replace(w.ports, store=store, claims=claims, replicas=cast(Replicas, slow))
    return w, slow


@simulated
@pytest.mark.parametrize(
    ("method", "path", "script", "status"),
    [
        ("PATCH", "/api/sessions/r1", [hangs()], 504),
        ("PATCH", "/api/sessions/r1", [answers(204, b"", after_s=1.98)], 204),
        ("GET", "/api/sessions/r1", [answers(401, after_s=1.98)], 401),
        ("GET", "/api/sessions/r1", [answers(404), answers(201, after_s=1.98)], 200),
        ("GET", "/api/history/r1", [answers(200, b"new", after_s=1.94)], 200),
        ("GET", "/api/history/r1", [hangs()], 504),
        ("POST", "/api/sessions", [answers(201, after_s=1.98)], 201),
        ("POST", "/api/sessions", [hangs()], 504),
    ],
    ids=[
        "a write that hangs", "a write", "a session that has ended", "a session that is created", "a cached response",
        "a read that hangs", "a settled claim", "a claim without a result",
    ],
)  # fmt: skip
async def test_no_response_waits_for_the_store_beyond_its_deadline(
    method: str, path: str, script: list[Step], status: int
) -> None:
    """What is settled, cached or published at the last moment goes on without the response. Before: 50 ms later."""
    w, _ = world(*script)
    body = b"" if method == "GET" else b'{"reportId": "r1"}'
    visitor = w.visit(method, path, body, Content_Type="application/json", Idempotency_Key="k1")
    await visitor.finish()
    assert (visitor.status, visitor.waited_ms <= DEADLINE_MS) == (status, True), visitor.waited_ms
    assert w.at_rest()


@simulated
async def test_a_stale_response_at_the_deadline_is_the_one_that_was_there_at_the_start() -> None:
    """The store is not asked again. Before: 50 ms later, after a second question."""
    w, slow = world(answers(200, b"one"), hangs())
    await w.history().finish()
    await w.until_ms(3000)
    slow.asked = 0
    visitor = await w.history().finish()
    assert (visitor.status, visitor.client.body, visitor.waited_ms, slow.asked) == (200, b"one", DEADLINE_MS, 1)


@simulated
async def test_a_write_meanwhile_makes_that_response_unusable() -> None:
    """Read your writes: a write in this process that was carried out while the read hung."""
    w, _ = world(answers(200, b"one"), hangs(), answers(204, b""))
    await w.history().finish()
    await w.until_ms(3000)
    visitor = w.history()
    await w.until_ms(3500)
    await w.patch().finish()
    assert ((await visitor.finish()).status, visitor.waited_ms) == (504, DEADLINE_MS)


@simulated
async def test_what_is_no_longer_valid_is_dropped_at_the_deadline_too() -> None:
    """The backend says at the last moment that there is nothing any more: the store hears it."""
    w, _ = world(answers(200, b"one"), answers(410, after_s=1.94))
    await w.history().finish()
    await w.until_ms(3000)
    visitor = await w.history().finish()
    assert (visitor.status, visitor.waited_ms <= DEADLINE_MS + 1, w.store.cached) == (410, True, {})


@simulated
async def test_a_claim_that_is_settled_in_the_background_is_replayed() -> None:
    """The key's response is there for the next request with it."""
    w, _ = world(answers(201, b"s1", after_s=1.9999))
    await w.create(Idempotency_Key="k1").finish()
    again = await w.create(Idempotency_Key="k1").finish()
    assert (again.status, again.client.body, len(w.upstream.calls)) == (201, b"s1", 1)


@simulated
async def test_a_client_that_leaves_as_its_claim_is_settled_leaves_no_unknown_outcome() -> None:
    """The backend has answered: the next request with the key gets that response. Before: 504, outcome unknown."""
    w, _ = world(answers(201, b"s1"))
    visitor = w.create(Idempotency_Key="k1")
    await w.until_ms(20)
    visitor.leave()
    await visitor.finish()
    again = await w.create(Idempotency_Key="k1").finish()
    assert (again.status, again.client.body, len(w.upstream.calls)) == (201, b"s1", 1)


@simulated
@pytest.mark.parametrize(
    ("method", "path", "status", "leaves_ms"),
    [
        ("PATCH", "/api/sessions/r1", 200, 80),
        ("GET", "/api/sessions/r1", 401, 80),
        ("GET", "/api/history/r1", 503, 130),
    ],
    ids=["a write", "a session that has ended", "an outage"],
)
async def test_a_client_that_leaves_meanwhile_leaves_no_response_that_nobody_reads(
    method: str, path: str, status: int, leaves_ms: int
) -> None:
    """Its backend connection would be held, paused, until the idle timeout of a minute."""
    gone: list[bool] = []
    streamed = Broadcast(lambda paused: None, lambda: gone.append(True))
    w, _ = world(Step(Response(status, b"", Fields(()), streamed, Framing.CHUNKED), 0.06))
    visitor = w.visit(method, path, b"" if method == "GET" else b"{}")
    await w.until_ms(leaves_ms)
    visitor.leave()
    await visitor.finish()
    await w.until_ms(500)
    assert (gone, w.at_rest()) == ([True], True)
