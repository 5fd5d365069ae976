"""Callers that verified tokens name: a refreshed token finds what was cached, and nobody else does."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.settings import StoreTable
from proxy.policy.coalescing import Flights
from proxy.policy.principals import RoutePrincipals, TokenJudge
from proxy.policy.routing import Idempotency
from proxy.principals.key_source import AT_MOST_EVERY_S, KeySource, KeysPlace
from proxy.store.disk.disk_bundle import DiskBundle
from proxy.store.disk.disk_invalidations import DiskInvalidations
from tests.settings import changed, recovery_rules
from tests.simulation.scripted import Step, answers, fails
from tests.simulation.virtual import WALL, VirtualClock, now_ms, simulated
from tests.simulation.world import HISTORY, NO_RETRIES, UPDATE, Visitor, World
from tests.tokens import LIFETIME_S, SHAPES, Issuer, Told, a_judge, claims, rules, segment, table

T = TypeVar("T")

ISSUED, FORGER = Issuer("k1"), Issuer("k1", first=7)
DOWN = fails()
RULES = rules()
STALE = recovery_rules(stale_if_error_s=7200.0)
OFFLINE = changed(HISTORY, recovery=STALE, retry=NO_RETRIES, principal=("user",), verified=(RULES,))
LIST = changed(OFFLINE, operation="list", template="/api/list", subject=None)
KEPT = changed(UPDATE, retry=NO_RETRIES, principal=("user",), verified=(RULES,))
ADD = changed(KEPT, operation="add", method="POST", template="/api/list", subject=None)
ORDER = changed(ADD, operation="order", template="/api/orders", idempotency=Idempotency.REPLAY)


def world(*script: Step, judge: TokenJudge | None = None) -> World:
    """Return a world whose routes verify tokens: two seconds of reuse, two hours of stale responses."""
    w = World(script, routes=(OFFLINE, LIST, KEPT, ADD, ORDER))
    judge = judge or a_judge(ISSUED)
    wiring = {name: replace(wired, principals=RoutePrincipals([judge])) for name, wired in w.ports.wiring.items()}
    w.ports = replace(w.ports, wiring=wiring)
    return w


def bearer(at: float = WALL, of: Issuer = ISSUED, **more: Any) -> str:
    """Return a new token as a client sends it."""
    return "Bearer " + of.token(claims(at, **more)).decode()


def told(visitor: Visitor) -> tuple[int, bytes, str]:
    """Return what a client was told, and how that came."""
    return visitor.status, visitor.client.body, visitor.exchange.ending


@simulated
async def test_a_refreshed_token_finds_what_was_cached() -> None:
    """While it is fresh, and in an outage. Its principal has neither token's bytes."""
    w = world(answers(200, b"a"), DOWN)
    await w.history(user=bearer(jti="1")).finish()
    assert told(await w.history(user=bearer(jti="2")).finish()) == (200, b"a", "reused")
    await w.until_ms(300_000)
    assert told(await w.history(user=bearer(WALL + 299, jti="3")).finish()) == (200, b"a", "recovered")


@pytest.mark.parametrize("name", SHAPES)
def test_tokens_of_four_providers(name: str) -> None:
    """A refresh keeps cached responses; a changed role separates, in an outage too."""
    shape, said, other = SHAPES[name]

    def asked(at: float, refresh: int, **more: Any) -> str:
        return "Bearer " + ISSUED.token(shape(at, refresh, **more)).decode()

    @simulated
    async def play() -> None:
        judge = a_judge(ISSUED, issuer=shape(0)["iss"], **said)
        w = world(answers(200, b"reader"), answers(200, b"writer"), DOWN, judge=judge)
        await w.history(user=asked(WALL, 1)).finish()
        assert told(await w.history(user=asked(WALL, 2)).finish()) == (200, b"reader", "reused")
        changed_role = "Bearer " + ISSUED.token({**shape(WALL, 3), **other}).decode()
        assert told(await w.history(user=changed_role).finish()) == (200, b"writer", "answered")
        await w.until_ms(60_000)
        assert told(await w.history(user=asked(WALL + 60, 4)).finish()) == (200, b"reader", "recovered")

    play()


@pytest.mark.parametrize(
    "user",
    [
        bearer(of=FORGER), bearer(role="admin"), bearer(sub="eve"), bearer()[:-8] + "AAAAAAAA", bearer(exp=None),
        bearer(aud="other"), bearer(WALL + 3_000), "Bearer opaque", "Basic YWRhOnB3", None,
    ],
)  # fmt: skip
def test_nobody_else_finds_it(user: str | None) -> None:
    """Forged, another role or subject, without an expiry, of another audience, not yet valid, no token at all."""

    @simulated
    async def play() -> None:
        w = world(answers(200, b"ada's"), answers(200, b"own"), DOWN)
        await w.history(user=bearer()).finish()
        assert told(await w.history(user=user).finish()) == (200, b"own", "answered")
        await w.until_ms(3_000)
        assert (await w.history(user=bearer(WALL, role="other")).finish()).status == 502

    play()


@simulated
async def test_what_was_refused_gets_no_stale_response_not_even_its_own() -> None:
    """The backend's answer was cached under the token's bytes; in an outage nothing says that it is still valid."""
    w, forged = world(answers(200, b"a"), answers(200, b"b"), DOWN), bearer(of=FORGER)
    await w.history(user=forged).finish()
    assert told(await w.history(user=forged).finish()) == (200, b"a", "reused")
    await w.history(user="Basic YWRhOnB3").finish()
    await w.until_ms(3_000)
    assert (await w.history(user=forged).finish()).status == 502
    assert told(await w.history(user="Basic YWRhOnB3").finish()) == (200, b"b", "recovered")


@simulated
async def test_an_expired_token_gets_stale_responses_alone_and_for_a_time() -> None:
    """Its principal's, not a fresh one; the backend judges it first. `max_offline` is an hour."""
    w = world(answers(200, b"a"), answers(401, b"expired"), DOWN)
    user, ends_ms = bearer(WALL - LIFETIME_S + 10), 10_000
    await w.history(user=user).finish()
    await w.until_ms(ends_ms + 31_000)
    assert told(await w.history(user=user).finish())[:2] == (401, b"expired")
    assert told(await w.history(user=user).finish()) == (200, b"a", "recovered")
    assert told(await w.history(user=bearer(WALL + 41, jti="new")).finish()) == (200, b"a", "recovered")
    await w.until_ms(ends_ms + 3_600_001)
    assert (await w.history(user=user).finish()).status == 502


@simulated
async def test_a_field_that_varies_by_the_token_is_compared_by_its_caller() -> None:
    """`Vary: Authorization` holds a principal's responses together, and separates others'."""
    w = world(answers(200, b"a", Vary="Authorization"), answers(200, b"b", Vary="Authorization"))
    await w.history(user=bearer(jti="1")).finish()
    assert told(await w.history(user=bearer(jti="2")).finish()) == (200, b"a", "reused")
    assert told(await w.history(user=bearer(sub="bo")).finish()) == (200, b"b", "answered")


@simulated
async def test_two_tokens_of_a_principal_share_a_flight() -> None:
    """One call; with a claim that differs it is two."""
    w = world(answers(200, b"a", after_s=1.0), answers(200, b"b", after_s=1.0))
    visits = [w.history(user=bearer(jti=str(n))) for n in range(3)]
    other = w.history(user=bearer(role="admin"))
    for visit in (*visits, other):
        await visit.finish()
    assert [visit.client.body for visit in visits] == [b"a"] * 3
    assert (other.client.body, len(w.upstream.calls)) == (b"b", 2)


@simulated
async def test_a_rejected_token_is_its_own_callers_affair() -> None:
    """A 401 is shared by those who show the same token; a follower with another one of the principal asks itself."""
    w = world(answers(401, b"no", after_s=1.0), answers(200, b"yes"))
    token = bearer(jti="1")
    visits = [w.history(user=token), w.history(user=token), w.history(user=bearer(jti="2"))]
    for visit in visits:
        await visit.finish()
    assert [visit.status for visit in visits] == [401, 401, 200]
    assert len(w.upstream.calls) == 2


@pytest.mark.parametrize(("ends_in_s", "kept"), [(300, False), (-5, True)])
def test_a_401_ends_what_its_principal_has_cached_unless_the_token_has_expired(ends_in_s: int, *, kept: bool) -> None:
    """Within the leeway a token is verified, and the backend rejects it for its age alone."""

    @simulated
    async def play() -> None:
        w = world(answers(200, b"a"), answers(401, b"no"), DOWN)
        await w.history(user=bearer()).finish()
        await w.until_ms(3_000)
        user = bearer(WALL + 3 + ends_in_s - LIFETIME_S, jti="2")
        assert (await w.history(user=user).finish()).status == 401
        assert (await w.history(user=bearer(jti="3")).finish()).status == (200 if kept else 502)

    play()


@simulated
async def test_a_401_of_a_strangers_token_ends_nothing() -> None:
    """It names the user as its subject, and its signature is wrong."""
    w = world(answers(200, b"a"), answers(401, b"no"), DOWN)
    await w.history(user=bearer()).finish()
    assert (await w.history(user=bearer(of=FORGER)).finish()).status == 401
    await w.until_ms(3_000)
    assert told(await w.history(user=bearer(jti="2")).finish()) == (200, b"a", "recovered")


@simulated
async def test_a_cookie_that_a_response_sets_is_for_one_connection() -> None:
    """Another token of the principal may be another device."""
    w = world(
        answers(200, b"a", after_s=1.0, Set_Cookie="sid=1"), answers(200, b"b", Set_Cookie="sid=2"),
        answers(200, b"c", Set_Cookie="sid=3"),
    )  # fmt: skip
    visits = [w.history(user=bearer(jti="1")), w.history(user=bearer(jti="2"))]
    for visit in visits:
        await visit.finish()
    assert [visit.client.fields[b"set-cookie"] for visit in visits] == [b"sid=1", b"sid=2"]


WRITERS = {
    "verified": bearer(jti="w"),
    "another_role": bearer(role="admin"),
    "of_an_unknown_key": "Bearer " + Issuer("k9", first=8).token(claims(WALL)).decode(),
    "expired": bearer(WALL - LIFETIME_S - 60),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_users_write_makes_old_what_another_token_of_the_user_has_cached(writer: str) -> None:
    """Reads without a subject: also if the write's token could not be verified, and the backend accepted it."""

    @simulated
    async def play() -> None:
        w = world(answers(200, b"old"), answers(201, b"done"), answers(200, b"new"))
        await w.visit("GET", "/api/list", user=bearer()).finish()
        assert (await w.visit("POST", "/api/list", b"{}", user=WRITERS[writer]).finish()).status == 201
        assert told(await w.visit("GET", "/api/list", user=bearer(jti="2")).finish()) == (200, b"new", "answered")

    play()


@pytest.mark.parametrize("writer", ["verified", "of_an_unknown_key"])
def test_a_users_write_makes_old_what_was_cached_while_a_token_was_not_verified(writer: str) -> None:
    """The other way round: the read was cached under its bytes, and is found by them again."""

    @simulated
    async def play() -> None:
        w = world(answers(200, b"old"), answers(201, b"done"), answers(200, b"new"))
        reader = "Bearer " + Issuer("k8", first=9).token(claims(WALL)).decode()
        await w.visit("GET", "/api/list", user=reader).finish()
        await w.visit("POST", "/api/list", b"{}", user=WRITERS[writer]).finish()
        assert told(await w.visit("GET", "/api/list", user=reader).finish()) == (200, b"new", "answered")

    play()


@simulated
async def test_a_strangers_write_that_is_refused_takes_nothing_away() -> None:
    """Its token names the user and is forged, so the backend rejects it."""
    w = world(answers(200, b"a"), answers(401, b"no"))
    await w.visit("GET", "/api/list", user=bearer()).finish()
    await w.visit("POST", "/api/list", b"{}", user=bearer(of=FORGER)).finish()
    assert told(await w.visit("GET", "/api/list", user=bearer(jti="2")).finish()) == (200, b"a", "reused")


@pytest.mark.parametrize("writer", ["of_an_unknown_key", "forged"])
def test_a_strangers_write_in_doubt_takes_nothing_away(writer: str) -> None:
    """In an outage a stranger could otherwise make old what any user has cached, by the user's name alone."""

    @simulated
    async def play() -> None:
        w = world(answers(200, b"a"), DOWN)
        user = {**WRITERS, "forged": bearer(of=FORGER)}[writer]
        await w.visit("GET", "/api/list", user=bearer()).finish()
        assert (await w.visit("POST", "/api/list", b"{}", user=user).finish()).status == 502
        assert told(await w.visit("GET", "/api/list", user=bearer(jti="2")).finish()) == (200, b"a", "reused")

    play()


@pytest.mark.parametrize("writer", ["of_an_unknown_key", "forged"])
def test_a_strangers_write_in_doubt_ends_as_it_began(writer: str) -> None:
    """A durable store marks a write as it begins, with the subject that its token claims: the mark must go again."""

    @simulated
    async def play() -> None:
        store = DiskBundle(StoreTable(url="sqlite:///nowhere"), VirtualClock(), lambda operation: None)
        w = world(DOWN)
        w.ports = replace(w.ports, flights=Flights(store.invalidations))
        user = {**WRITERS, "forged": bearer(of=FORGER)}[writer]
        assert (await w.visit("POST", "/api/list", b"{}", user=user).finish()).status == 502
        assert isinstance(store.invalidations, DiskInvalidations)
        assert store.invalidations._under_way == {}

    play()


@simulated
async def test_a_users_own_write_in_doubt_makes_old() -> None:
    """Its token is verified."""
    w = world(answers(200, b"a"), DOWN, answers(200, b"b"))
    await w.visit("GET", "/api/list", user=bearer()).finish()
    assert (await w.visit("POST", "/api/list", b"{}", user=bearer(jti="w")).finish()).status == 502
    assert told(await w.visit("GET", "/api/list", user=bearer(jti="2")).finish()) == (200, b"b", "answered")


@simulated
async def test_a_key_is_replayed_to_a_refreshed_token_and_to_nobody_else() -> None:
    """Another user's, another role's and a forger's request with the same key is their own."""
    w = world(*(answers(201, b"%d" % n) for n in range(5)))

    async def order(user: str | None) -> tuple[bytes, bool]:
        asked = await w.visit("POST", "/api/orders", b"{}", user=user, Idempotency_Key="k1").finish()
        return asked.client.body, b"idempotent-replayed" in asked.client.fields

    assert await order(bearer(jti="1")) == (b"0", False)
    assert await order(bearer(jti="2")) == (b"0", True)
    others = (bearer(sub="bo"), bearer(role="admin"), bearer(of=FORGER), bearer()[:-8] + "AAAAAAAA")
    assert [await order(other) for other in others] == [(b"%d" % n, False) for n in range(1, 5)]


@simulated
async def test_a_token_that_is_not_passed_on_is_told_apart() -> None:
    """`Connection` may list Authorization: the backend then answers somebody without a token."""
    w = world(answers(200, b"ada's"), answers(200, b"nobody's"))
    await w.history(user=bearer()).finish()
    for _ in range(2):
        asked = await w.history(user=bearer(), Connection="Authorization").finish()
        assert asked.client.body == b"nobody's"
    assert (await w.history(user=bearer(jti="2")).finish()).client.body == b"ada's"


CLAIMS = st.dictionaries(
    st.sampled_from(["role", "scope", "azp", "tid", "jti", "sid", "auth_time"]), st.integers(0, 2), max_size=4
)


@settings(max_examples=60, deadline=None)
@given(one=CLAIMS, other=CLAIMS)
def test_two_tokens_share_if_they_differ_in_volatile_claims_alone(one: dict[str, Any], other: dict[str, Any]) -> None:
    """And never otherwise: no flight, and no cached response."""
    left = [{name: value for name, value in each.items() if name not in RULES.volatile} for each in (one, other)]
    bodies = [b"first", b"first" if left[0] == left[1] else b"second"]

    @simulated
    async def play() -> None:
        w = world(answers(200, b"first", after_s=1.0), answers(200, b"second"))
        visits = [w.history(user=bearer(**one)), w.history(user=bearer(**other))]
        for visit in visits:
            await visit.finish()
        assert [visit.client.body for visit in visits] == bodies
        again = [await w.history(user=bearer(**each)).finish() for each in (one, other)]
        assert [visit.client.body for visit in again] == bodies

    play()


class ScriptedSource(KeySource):
    """Reads an issuer's keys from `document`; None: the issuer is away."""

    def __init__(self, document: bytes) -> None:
        super().__init__("user", KeysPlace.of(table()), Told())
        self.document: bytes | None = document
        self.asked: list[float] = []

    async def _read(self) -> bytes:
        self.asked.append(asyncio.get_running_loop().time())
        if self.document is None:
            raise OSError("the issuer is away")
        return self.document

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return call()


async def sweeping(source: KeySource, until_ms: float) -> None:
    """Sweep every second, as the sidecar does."""
    loop = asyncio.get_running_loop()
    while now_ms() < until_ms:
        source.sweep(loop.time())
        await VirtualClock().sleep(1.0)


@simulated
async def test_an_hour_without_issuer_and_backend() -> None:
    """A user reads on: with a valid token, with one from a known key that comes later, and after its token's end.

    A forger and a stranger never do. The issuer is asked once a minute, and its new key is known a minute after.
    """
    source, rotated = ScriptedSource(ISSUED.jwks()), Issuer("k1", "k2")
    w = world(answers(200, b"ada's"), DOWN, judge=TokenJudge(RULES, source.keys, Told()))
    await sweeping(source, 1_000)
    token = bearer()
    assert told(await w.history(user=token).finish()) == (200, b"ada's", "answered")
    source.document = None
    for minute in range(1, 60):
        await sweeping(source, 60_000 * minute)
        assert told(await w.history(user=token).finish()) == (200, b"ada's", "recovered")
        later = bearer(WALL + 60 * minute, jti=str(minute))
        assert told(await w.history(user=later).finish()) == (200, b"ada's", "recovered")
        for other in (bearer(of=FORGER, jti=str(minute)), bearer(WALL + 60 * minute, sub="eve")):
            assert (await w.history(user=other).finish()).status in (502, 503)
    assert (source.keys.count, source.keys.generation, source.failure) == (1, 1, "the issuer is away")
    assert min(b - a for a, b in pairwise(source.asked)) >= AT_MOST_EVERY_S
    source.document = rotated.jwks()
    new = "Bearer " + rotated.signed(
        segment({"alg": "ES256", "kid": "k2"}) + b"." + segment(claims(WALL + 3_540)), "k2"
    ).decode()  # fmt: skip
    await sweeping(source, 60_000 * 60 + 1_000)
    assert told(await w.history(user=new).finish()) == (200, b"ada's", "recovered")


@simulated
async def test_a_token_of_a_new_key_waits_for_it_a_minute_at_most() -> None:
    """Until then it is told apart by its bytes, and gets no stale response."""
    source, rotated = ScriptedSource(ISSUED.jwks()), Issuer("k2", first=1)
    w = world(answers(200, b"ada's"), DOWN, judge=TokenJudge(RULES, source.keys, Told()))
    await sweeping(source, 1_000)
    await w.history(user=bearer()).finish()
    source.document, new = rotated.jwks(), bearer(of=rotated)
    await sweeping(source, 10_000)
    assert (await w.history(user=new).finish()).status == 502
    await sweeping(source, 62_000)
    assert told(await w.history(user=new).finish()) == (200, b"ada's", "recovered")
    assert len(source.asked) == 2
