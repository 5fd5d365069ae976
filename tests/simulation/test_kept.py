"""Cached responses (RFC 9111): for which caller, for how long, and for which variant of a request."""

from dataclasses import replace

import pytest

from proxy.policy.recovery_plan import FallbackDocument
from tests.settings import recovery_rules
from tests.simulation.scripted import Step, answers, fails
from tests.simulation.virtual import simulated
from tests.simulation.world import HISTORY, NO_RETRIES, UPDATE, Visitor, World

OFFLINE = replace(HISTORY, recovery=recovery_rules(stale_if_error_s=600.0), retry=NO_RETRIES)
KEPT = replace(UPDATE, retry=NO_RETRIES)
DOWN = fails()


def world(*script: Step) -> World:
    """Return a world whose history is kept for two seconds, and for ten minutes of an outage."""
    return World(script, routes=(OFFLINE, KEPT))


def told(visitor: Visitor) -> tuple[int, bytes, str]:
    """Return what a client was told, and how that came."""
    return visitor.status, visitor.client.body, visitor.exchange.ending


@simulated
async def test_a_kept_answer_is_found_by_those_alone_who_say_the_same() -> None:
    """RFC 9111 section 4.1: Vary names a field that makes no other question; before, anybody was given the answer."""
    w = world(answers(200, b"a", Vary="Referer"), answers(200, b"b", Vary="Referer"), DOWN)
    await w.history(Referer="/a").finish()
    assert told(await w.history(Referer="/a").finish()) == (200, b"a", "reused")
    assert told(await w.history(Referer="/b").finish()) == (200, b"b", "answered")
    await w.until_ms(3000)
    assert told(await w.history(Referer="/b").finish()) == (200, b"b", "recovered")
    assert (await w.history(Referer="/a").finish()).status == 502


@simulated
async def test_what_varies_by_everything_is_not_kept() -> None:
    """RFC 9111 section 4.1: `Vary: *` never matches."""
    w = world(answers(200, b"one", Vary="*"), answers(200, b"two", Vary="*"), DOWN)
    assert told(await w.history().finish()) == (200, b"one", "answered")
    assert told(await w.history().finish()) == (200, b"two", "answered")
    assert (await w.history().finish()).status == 502


@simulated
async def test_a_revalidating_browser_is_answered_in_an_outage() -> None:
    """RFC 9111 section 4.3.2: 304 if it has the answer, else the answer. Before, it got the error.

    Its question has a field more, and the answer was looked for by that.
    """
    w = world(answers(200, b"x", ETag='"v1"'), DOWN)
    await w.history().finish()
    await w.until_ms(3000)
    same = await w.history(If_None_Match='W/"v1"').finish()
    other = await w.history(If_None_Match='"v0"').finish()
    plain = await w.history().finish()
    assert told(same) == (304, b"", "recovered")
    assert (same.client.fields.get(b"etag"), same.client.fields.get(b"age")) == (b'"v1"', b"3")
    assert same.client.fields.get(b"cache-status") == b"backstay; hit; ttl=-1"
    assert told(other) == told(plain) == (200, b"x", "recovered")


@simulated
async def test_a_revalidating_browser_costs_no_call_while_the_answer_is_fresh() -> None:
    """In normal times too; and an answer that came to a conditional question is found by a plain one."""
    w = world(answers(200, b"x", ETag='"v1"', Last_Modified="Sun, 06 Nov 1994 08:49:37 GMT"))
    await w.history(If_None_Match='"v0"').finish()
    assert told(await w.history(If_None_Match='"v1"').finish()) == (304, b"", "reused")
    assert told(await w.history(If_Modified_Since="Sun, 06 Nov 1994 08:49:37 GMT").finish()) == (304, b"", "reused")
    assert told(await w.history(If_None_Match='"v0"').finish()) == (200, b"x", "reused")
    assert told(await w.history().finish()) == (200, b"x", "reused")
    assert len(w.upstream.calls) == 1


@simulated
async def test_other_conditions_ask_the_backend() -> None:
    """If-Match and Range are the backend's to judge: nothing kept answers them, in normal times or in an outage."""
    w = world(answers(200, b"x", ETag='"v1"'), answers(412), answers(206, b"part"), DOWN)
    await w.history().finish()
    assert (await w.history(If_Match='"v0"').finish()).status == 412
    assert (await w.history(Range="bytes=0-3").finish()).status == 206
    assert (await w.history(Range="bytes=0-3").finish()).status == 502
    assert told(await w.history().finish()) == (200, b"x", "reused")


@simulated
async def test_a_304_makes_what_is_kept_young_again() -> None:
    """RFC 9111 section 4.3.4: the backend says that it is the same; its time begins anew, with the new fields."""
    w = world(answers(200, b"x", ETag='"v1"', X_Seen="1"), answers(304, b"", ETag='"v1"', X_Seen="2"))
    await w.history().finish()
    await w.until_ms(3000)
    assert told(await w.history(If_None_Match='"v1"').finish()) == (304, b"", "answered")
    await w.until_ms(4000)
    again = await w.history().finish()
    assert told(again) == (200, b"x", "reused")
    assert (again.client.fields.get(b"x-seen"), again.client.fields.get(b"age")) == (b"2", b"1")
    assert len(w.upstream.calls) == 2


@simulated
async def test_a_304_about_another_answer_refreshes_nothing() -> None:
    """The client has a newer one than is kept: what is kept stays as old as it is."""
    w = world(answers(200, b"x", ETag='"v1"'), answers(304, b"", ETag='"v2"'), answers(200, b"y", ETag='"v2"'))
    await w.history().finish()
    await w.until_ms(3000)
    assert (await w.history(If_None_Match='"v2"').finish()).status == 304
    assert told(await w.history().finish()) == (200, b"y", "answered")


@simulated
async def test_a_304_after_a_write_says_that_it_changed_nothing() -> None:
    """A write made it old; the backend, asked after it, says that it is the same."""
    w = world(answers(200, b"x", ETag='"v1"'), answers(204, b""), answers(304, b"", ETag='"v1"'))
    await w.history().finish()
    await w.patch().finish()
    assert (await w.history(If_None_Match='"v1"').finish()).exchange.ending == "answered"
    assert told(await w.history().finish()) == (200, b"x", "reused")


@simulated
async def test_a_304_from_before_a_write_refreshes_nothing() -> None:
    """It was asked before the write was done: what it says is about what was before."""
    script = {
        "GET": [answers(200, b"x", ETag='"v1"'), answers(304, b"", after_s=0.5, ETag='"v1"'), answers(200, b"y")],
        "PATCH": [answers(204, b"")],
    }
    w = World(lambda request, number: script[request.method].pop(0), routes=(OFFLINE, KEPT))
    await w.history().finish()
    await w.until_ms(3000)
    asking = w.history(If_None_Match='"v1"')
    await w.until_ms(3100)
    await w.patch().finish()
    await asking.finish()
    assert told(await w.history().finish()) == (200, b"y", "answered")


@pytest.mark.parametrize("said", ["no-cache", "must-revalidate", "proxy-revalidate", "s-maxage=1", "no-cache, private"])
@pytest.mark.parametrize(("fallback", "status"), [(None, 502), (FallbackDocument(200, {"degraded": True}), 200)])
@simulated
async def test_an_answer_that_must_not_be_given_stale_is_not(
    said: str, fallback: FallbackDocument | None, status: int
) -> None:
    """RFC 9111 section 4.2.4: the backend forbids it, so an outage has its fallback, or its honest error."""
    offline = replace(OFFLINE, recovery=replace(OFFLINE.recovery, fallback=fallback))
    w = World([answers(200, b"x", Cache_Control=said), DOWN], routes=(offline,))
    await w.history().finish()
    await w.until_ms(3000)
    after = await w.history().finish()
    assert after.status == status
    assert after.client.body != b"x"


@simulated
async def test_a_private_answer_is_kept_for_whom_something_names() -> None:
    """RFC 9111 section 5.2.2.7: it is for one user; callers without a credential may be several behind one address."""
    w = world(answers(200, b"mine", Cache_Control="private"))
    await w.history(user="ada").finish()
    assert (await w.history(user="ada").finish()).exchange.ending == "reused"
    await w.history(user=None).finish()
    assert (await w.history(user=None).finish()).exchange.ending == "answered"


@pytest.mark.parametrize(("newer", "status"), [(answers(404), 502), (answers(410), 502), (answers(500), 200)])
@simulated
async def test_a_newer_answer_counts_even_where_it_is_not_kept(newer: Step, status: int) -> None:
    """The backend said that there is nothing any more: in an outage the older answer does not come back."""
    w = world(answers(200, b"x"), newer, DOWN)
    await w.history().finish()
    await w.until_ms(3000)
    await w.history().finish()
    assert (await w.history().finish()).status == status


@simulated
async def test_an_outage_brings_nothing_back_from_before_a_write() -> None:
    """The client has seen its write succeed: a stale answer without it would be a lie. Others keep theirs."""
    w = world(answers(200, b"before"), answers(200, b"of another"), answers(204, b""), DOWN)
    await w.history("r1").finish()
    await w.history("r2").finish()
    await w.patch("r1").finish()
    await w.until_ms(3000)
    assert told(await w.history("r1").finish())[0] == 502
    assert told(await w.history("r2").finish()) == (200, b"of another", "recovered")
