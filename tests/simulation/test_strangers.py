"""Anonymous callers: sequences of requests to a backend that gives each caller a session."""

from dataclasses import replace
from typing import Any

import pytest

from proxy.http.message import Request
from proxy.policy.routing import Coalesce, Idempotency, Route
from tests.settings import changed
from tests.simulation import strangers
from tests.simulation.scripted import Step, answers
from tests.simulation.virtual import simulated
from tests.simulation.world import CREATE, LOAD, Visitor, World, finish

# What first-time visitors show: nothing, or something that names nobody.
NOTHING: list[dict[str, str]] = [
    {}, {"Cookie": ""}, {"Cookie": "lang=en"}, {"Cookie": "sid"}, {"Cookie": "sid="}, {"Authorization": ""},
    {"Authorization": "Bearer"}, {"Authorization": "Bearer null"}, {"Authorization": "Bearer undefined"},
    {"Authorization": "Basic Og=="}, {"Authorization": "Bearer null", "Cookie": "theme=dark; lang=en"},
]  # fmt: skip
NARROW = ("authorization", "cookie:sid")
PAY = replace(CREATE, idempotency=Idempotency.REPLAY, honours_idempotency=False, recovery=LOAD.recovery)


def session(request: Request, number: int) -> Step:
    """Give each caller a session of its own."""
    return answers(200, b"token %d" % number, after_s=0.1, Set_Cookie=f"sid={number}")


def given(visitor: Visitor) -> tuple[bytes, bytes | None]:
    """Return what a visitor was given that is its own."""
    return visitor.client.body, visitor.client.fields.get(b"set-cookie")


def routes(**changes: Any) -> tuple[Route, ...]:
    """Return a read, a create and a keyed create with these changes."""
    return tuple(changed(route, **changes) for route in (LOAD, replace(PAY, coalesce=Coalesce.SUBJECT)))


@pytest.mark.parametrize("shown", NOTHING, ids=str)
@pytest.mark.parametrize("principal", [None, NARROW], ids=["usual", "narrow"])
@pytest.mark.parametrize("address", ["10.0.0.2", "10.0.0.1"], ids=["elsewhere", "here"])
@simulated
async def test_two_visitors_are_given_two_sessions(
    shown: dict[str, str], principal: tuple[str, ...] | None, address: str
) -> None:
    """Read and create alike, at one moment: before, `Cookie: lang=en` or `Bearer null` gave both one session."""
    world = World(session, routes(principal=principal))
    reads, creates = [world.get(user=None, **shown)], [world.create(user=None, **shown)]
    world.address = address
    reads, creates = [*reads, world.get(user=None, **shown)], [*creates, world.create(user=None, **shown)]
    await finish(*reads, *creates)
    assert len({given(visitor) for visitor in (*reads, *creates)}) == 4
    assert world.at_rest()


@pytest.mark.parametrize("shown", NOTHING, ids=str)
@pytest.mark.parametrize("principal", [None, NARROW], ids=["usual", "narrow"])
@simulated
async def test_a_visitors_key_is_not_anothers(shown: dict[str, str], principal: tuple[str, ...] | None) -> None:
    """At another address the same key is a new one, with the same body or another: no replay, and no 422."""
    world = World(session, routes(principal=principal))
    first = await world.create(user=None, Idempotency_Key="1", **shown).finish()
    world.address = "10.0.0.2"
    second = await world.create(user=None, Idempotency_Key="1", **shown).finish()
    world.address = "10.0.0.3"
    third = await world.create("r2", user=None, Idempotency_Key="1", **shown).finish()
    assert [visitor.status for visitor in (first, second, third)] == [200] * 3
    assert len({given(visitor) for visitor in (first, second, third)}) == 3


@simulated
async def test_without_the_named_cookie_other_cookies_keep_visitors_apart() -> None:
    """One address, two browsers: a cookie that the route's `principal` does not name still is a difference."""
    world = World(session, routes(principal=NARROW))
    one = world.create(user=None, Idempotency_Key="1", Cookie="_ga=one")
    two = world.create("r2", user=None, Idempotency_Key="1", Cookie="_ga=two")
    await finish(one, two)
    assert (one.status, two.status) == (200, 200)


@simulated
async def test_a_session_that_was_given_is_not_replayed_on_another_connection() -> None:
    """An answer with a cookie for a caller whom nothing names goes out once; its key stays used, so it is done once."""
    world = World(session, routes())
    first = await world.create(user=None, Idempotency_Key="1").finish()
    again = await world.create(user=None, Idempotency_Key="1").finish()
    assert (first.status, again.status) == (200, 504)
    assert b"outcome unknown" in again.client.body
    assert given(again)[1] is None
    assert len(world.upstream.calls) == 1


@simulated
async def test_a_key_that_waits_for_a_session_is_asked_once() -> None:
    """The same key twice at one moment: before, the second was asked without a claim once the first had its cookie."""
    world = World(session, routes())
    first, second = world.create(user=None, Idempotency_Key="1"), world.create(user=None, Idempotency_Key="1")
    await finish(first, second)
    assert ((first.status, second.status), len(world.upstream.calls)) == ((200, 504), 1)
    assert world.at_rest()


@simulated
async def test_a_follower_that_asks_for_itself_claims_its_own_key() -> None:
    """Two keys, one create: each visitor is given its own session, and each key is used up by it."""
    world = World(session, routes())
    one, two = world.create(user=None, Idempotency_Key="1"), world.create(user=None, Idempotency_Key="2")
    await finish(one, two)
    again = [await world.create(user=None, Idempotency_Key=key).finish() for key in "12"]
    assert len({given(one), given(two)}) == 2
    assert ([visitor.status for visitor in again], len(world.upstream.calls)) == ([504, 504], 2)


@simulated
async def test_a_visitors_answer_without_a_cookie_is_replayed_to_it() -> None:
    """What is not given in person is replayed to the same visitor, and to nobody else."""
    world = World(lambda request, number: answers(201, b"%d" % number), routes())
    told = [await world.create(user=None, Idempotency_Key="1").finish() for _ in range(2)]
    world.address = "10.0.0.2"
    told.append(await world.create(user=None, Idempotency_Key="1").finish())
    assert [visitor.client.body for visitor in told] == [b"1", b"1", b"2"]


@simulated
async def test_tabs_of_one_session_share_its_new_cookie() -> None:
    """A caller who shows a session is given its next cookie in every tab."""
    world = World(session, routes())
    cookie = "lang=en; sid=0123456789abcdef0123456789abcdef"
    one, two = world.get(user=None, Cookie=cookie), world.get(user=None, Cookie=cookie)
    await finish(one, two)
    assert given(one) == given(two) == (b"token 1", b"sid=1")


@simulated
async def test_tabs_of_a_session_that_the_route_names_share_its_new_cookie_anywhere() -> None:
    """With `principal` nothing is guessed: the tabs may come from two addresses."""
    world = World(session, routes(principal=NARROW))
    one = world.get(user=None, Cookie="sid=1")
    world.address = "10.0.0.2"
    two = world.get(user=None, Cookie="sid=1")
    await finish(one, two)
    assert given(one) == given(two) == (b"token 1", b"sid=1")


# Values that many callers have alike, and that look like a session id.
COMMON = [
    "release=3f9a1b2c4d5e6f70", "canary=v2-2026-11-30-build1a2b3c", "lang=en; ab=exp12b_ctl7a_new3c9",
    "_optimizely=A1B2C3D4E5F60718", "release=3f9a1b2c4d5e6f70; sid=", "release=3f9a1b2c4d5e6f70; SID=1",
]  # fmt: skip


@pytest.mark.parametrize("cookie", COMMON)
@pytest.mark.parametrize("principal", [None, ("authorization", "cookie")], ids=["usual", "cookie"])
@pytest.mark.parametrize("address", ["10.0.0.2", "10.0.0.1"], ids=["elsewhere", "here"])
@simulated
async def test_visitors_with_a_common_cookie_are_given_two_sessions(
    cookie: str, principal: tuple[str, ...] | None, address: str
) -> None:
    """At one moment and later, keyed and not: before, both were given the same new `sid`."""
    world = World(session, routes(principal=principal, reuse_s=600.0))
    reads = [world.get(user=None, Cookie=cookie)]
    creates = [world.create(user=None, Cookie=cookie), world.create(user=None, Cookie=cookie, Idempotency_Key="1")]
    world.address = address
    reads += [world.get(user=None, Cookie=cookie)]
    creates += [world.create(user=None, Cookie=cookie)]
    await finish(*reads, *creates)
    later = [await world.get(user=None, Cookie=cookie).finish()]
    told = [given(visitor) for visitor in (*reads, *creates, *later)]
    assert len(set(told)) == len(told)
    again = await world.create(user=None, Cookie=cookie, Idempotency_Key="1").finish()
    assert given(again) not in told
    assert again.status == (504 if address == "10.0.0.1" else 200)
    assert world.at_rest()


@simulated
async def test_an_answer_is_kept_for_a_guessed_session_at_one_address_only() -> None:
    """Elsewhere the same cookie is another caller: a kept answer and a key are not met there."""
    world = World(lambda request, number: answers(200, b"%d" % number), routes(reuse_s=600.0))
    cookie: dict[str, Any] = {"user": None, "Cookie": "release=3f9a1b2c4d5e6f70"}
    told = [await world.get(**cookie).finish() for _ in range(2)]
    told += [await world.create(Idempotency_Key="1", **cookie).finish() for _ in range(2)]
    world.address = "10.0.0.2"
    told += [await world.get(**cookie).finish(), await world.create("r2", Idempotency_Key="1", **cookie).finish()]
    assert [visitor.client.body for visitor in told] == [b"1", b"1", b"2", b"2", b"3", b"4"]
    assert [visitor.status for visitor in told] == [200] * 6


def test_generated_strangers_share_nothing() -> None:
    """Twenty thousand pairs who differ in a place or two; `python -m tests.simulation.strangers` makes a million."""
    found = strangers.check(20_000)
    assert min(found) > 4_000
