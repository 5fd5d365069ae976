"""Cached responses: which, how long, for which callers, and their age."""

from email.utils import formatdate
from typing import Any

import pytest

from proxy.http.fields import Fields
from proxy.http.message import (
    Framing,
    Peer,
    Request,
    Response,
)
from proxy.policy import response_cache
from proxy.policy.recovery_plan import RecoveryKind, Result
from proxy.policy.response_cache import CachedResponse, Keep
from proxy.policy.routing import Route
from tests.settings import recovery_rules
from tests.unit.policy.samples import OPEN, RESET, WALL, Endless, request, response, route

REUSED = route(reuse_s=2.0)
STALE = route(recovery=recovery_rules(stale_if_error_s=600.0))


@pytest.mark.parametrize(
    ("on", "asked", "may"),
    [
        (REUSED, request(), True),
        (REUSED, request("HEAD"), True),
        (REUSED, request(Cache_Control="max-age=60"), True),
        (REUSED, request("POST"), False),
        (route(), request(), False),
        (STALE, request(), False),
        (REUSED, request(Cache_Control="no-cache"), False),
        (REUSED, request(Cache_Control="No-Store"), False),
        (REUSED, request(Cache_Control="max-age=0"), False),
        (REUSED, request(Pragma="no-cache"), False),
    ],
)
def test_who_may_read_a_kept_answer(on: Route, asked: Request, may: bool) -> None:
    """Only on a route that says `reuse`, only what is safe, and never a reload in any of its forms."""
    assert response_cache.may_read(on, asked) is may


@pytest.mark.parametrize("on", [REUSED, STALE])
def test_a_whole_success_is_kept(on: Route) -> None:
    """Where answers are read again, soon or in an outage, a 2xx is kept as it came."""
    answer = response(200, b"x", Cache_Control="no-store")
    assert response_cache.judge(on, request(), Result(answer), anonymous=False) is Keep.STORE


@pytest.mark.parametrize(
    ("on", "asked", "result"),
    [
        (route(), request(), Result(response())),
        (REUSED, request("POST"), Result(response())),
        (REUSED, request(), Result(response(302))),
        (REUSED, request(), Result(response(503))),
        (REUSED, request(), Result(RESET)),
        (REUSED, request(), Result(response(Set_Cookie="a=b"))),
        (REUSED, request(), Result(response(), RecoveryKind.FALLBACK)),
        (REUSED, request(), Result(response(), RecoveryKind.STALE)),
        (REUSED, request(), Result(Response(200, b"", Fields(()), Endless(), Framing.CHUNKED))),
        (REUSED, request(), Result(response(206))),
        (REUSED, request(Range="bytes=0-1"), Result(response())),
        (REUSED, request(Cache_Control="no-store"), Result(response())),
        (REUSED, request(), Result(response(500))),
        (REUSED, request(), Result(response(304, b""))),
    ],
)
def test_what_is_not_kept(on: Route, asked: Request, result: Result) -> None:
    """Neither failures, errors, redirects, cookies, streams, parts nor anything the sidecar made.

    Nor what a request forbids to store (RFC 9111 section 5.2.1.5). What is kept already is left.
    """
    assert response_cache.judge(on, asked, result, anonymous=False) is Keep.LEAVE


STRICT = route(reuse_s=2.0, honour_no_store=True)


@pytest.mark.parametrize(
    ("on", "anonymous", "answer"),
    [
        (STRICT, False, response(Cache_Control="private, No-Store")),
        (REUSED, False, response(Cache_Control="no-cache")),
        (REUSED, False, response(Cache_Control='no-cache="set-cookie, x"')),
        (REUSED, False, response(Cache_Control="must-revalidate")),
        (REUSED, False, response(Cache_Control="max-age=0, Must-Revalidate")),
        (REUSED, False, response(Cache_Control="max-age=-1, proxy-revalidate")),
        (REUSED, False, response(Cache_Control="s-maxage=0, max-age=60")),
        (REUSED, True, response(Cache_Control="private, max-age=60")),
        (REUSED, False, response(Vary="*")),
        (REUSED, False, response(Vary="Accept, *")),
        (REUSED, False, response(Vary=", ".join(f"X-{n}" for n in range(response_cache.MOST_VARIED + 1)))),
        (REUSED, False, response(404)),
        (REUSED, False, response(403)),
        (STALE, False, response(410)),
    ],
)
def test_what_is_not_kept_replaces_what_is(on: Route, anonymous: bool, answer: Response) -> None:
    """The backend forbids every use without it, or says that there is nothing: the older answer is true no more."""
    assert response_cache.judge(on, request(), Result(answer), anonymous=anonymous) is Keep.DROP


@pytest.mark.parametrize(
    ("said", "after_s", "given"),
    [
        ("max-age=60", 599, True),
        ("private", 599, True),
        ("no-store", 599, True),
        ("public, immutable", 599, True),
        ("max-age=60, must-revalidate", 59, True),
        ("max-age=60, must-revalidate", 60, False),
        ("max-age=60, proxy-revalidate", 60, False),
        ("max-age=90, s-maxage=30", 29, True),
        ("max-age=90, s-maxage=30", 30, False),
        ("max-age=60, max-age=300, must-revalidate", 60, False),
        ('max-age="60", must-revalidate', 59, True),
    ],
)
def test_an_answer_that_must_be_revalidated_is_not_given_stale(said: str, after_s: float, given: bool) -> None:
    """RFC 9111 sections 4.2.4, 5.2.2.2, 5.2.2.8 and 5.2.2.10: not after its own lifetime, outage or not."""
    on = route(reuse_s=600.0, recovery=recovery_rules(stale_if_error_s=600.0))
    entry = CachedResponse(response(Cache_Control=said), WALL, 0)
    assert (response_cache.stale(on, request(), entry, OPEN, WALL + after_s) is not None) is given
    assert (response_cache.reread(on, request(), entry, WALL + after_s) is not None) is given


def test_expires_is_a_lifetime_too() -> None:
    """RFC 9111 section 4.2.1: Expires less Date, where nothing else says it; what is no date is over."""
    fields = {"Date": "Sun, 06 Nov 1994 08:49:37 GMT", "Cache_Control": "must-revalidate"}
    for expires, given in (
        ("Sun, 06 Nov 1994 08:50:37 GMT", True),
        ("0", False),
        ("Sun, 06 Nov 1994 08:49:00 GMT", False),
    ):
        entry = CachedResponse(response(Expires=expires, **fields), WALL, 0)  # type: ignore[arg-type]
        assert (response_cache.stale(STALE, request(), entry, OPEN, WALL + 30) is not None) is given


def test_the_upstreams_own_age_counts() -> None:
    """An answer that came from a cache behind the sidecar had lived for a while."""
    entry = CachedResponse(response(Cache_Control="max-age=60, must-revalidate", Age="50"), WALL, 0)
    assert response_cache.stale(STALE, request(), entry, OPEN, WALL + 9) is not None
    assert response_cache.stale(STALE, request(), entry, OPEN, WALL + 10) is None


@pytest.mark.parametrize("said", ["no-cache", "must-revalidate", "proxy-revalidate", "s-maxage=0", "private"])
def test_a_route_may_set_a_directive_aside(said: str) -> None:
    """`ignore_directives`: frameworks send them on everything, and the operator knows better."""
    names = frozenset({said.partition("=")[0].encode()})
    on = route(reuse_s=60.0, recovery=recovery_rules(stale_if_error_s=600.0), ignored_directives=names)
    answer = response(Cache_Control=said)
    assert response_cache.judge(on, request(), Result(answer), anonymous=True) is Keep.STORE
    assert response_cache.reread(on, request(), CachedResponse(answer, WALL, 0), WALL + 30) is not None
    assert response_cache.stale(on, request(), CachedResponse(answer, WALL, 0), OPEN, WALL + 30) is not None


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        ("max-age=10", True),
        ("max-age=9", False),
        ("min-fresh=50", True),
        ("min-fresh=51", False),
        ("max-age=x", False),
        (f"max-age={'9' * 5_000}", True),
        (f"min-fresh={'9' * 5_000}", False),
    ],
)
def test_a_request_may_want_a_younger_one(wanted: str, given: bool) -> None:
    """RFC 9111 sections 5.2.1.1 and 5.2.1.3."""
    entry = CachedResponse(response(), WALL, 0)
    asked = request(Cache_Control=wanted)
    assert (response_cache.reread(route(reuse_s=60.0), asked, entry, WALL + 10) is not None) is given


def fits(vary: str, one: Request, other: Request) -> bool:
    """Tell whether an answer to one request, that varies so, fits the other."""
    answer = response(Vary=vary)
    return CachedResponse(answer, WALL, 0, response_cache.varied(answer, one)).fits(other)


@pytest.mark.parametrize(
    ("vary", "one", "other", "fitting"),
    [
        ("Referer", request(Referer="/a"), request(Referer="/a"), True),
        ("Referer", request(Referer="/a"), request(Referer="/b"), False),
        ("referer", request(Referer="/a"), request(), False),
        ("Referer", request(), request(referer=""), False),
        ("Accept, Referer", request(Referer="/a"), request(Referer="/b"), False),
        ("Accept,, ACCEPT", request(Referer="/a"), request(Referer="/b"), True),
        ("X-Forwarded-For", request(), request(peer=Peer("10.0.0.2", 1)), False),
        ("X-Forwarded-For", request(), request(peer=Peer("10.0.0.1", 2)), True),
    ],
)
def test_an_answer_fits_where_the_request_says_the_same(vary: str, one: Request, other: Request, fitting: bool) -> None:
    """RFC 9111 section 4.1: in every field that Vary names, as the backend is told it. Before, Vary was not read."""
    assert fits(vary, one, other) is fitting


def test_values_cannot_be_confused() -> None:
    """Two lines are not one; a value does not become a name."""
    one, two = request(), request()
    one.fields = Fields(((b"X-A", b"1"), (b"X-A", b"2")))
    two.fields = Fields(((b"X-A", b"12"),))
    assert not fits("X-A", one, two)
    one.fields, two.fields = Fields(((b"X-A", b"b"),)), Fields(((b"X-A", b""), (b"B", b"")))
    assert not fits("X-A, B", one, two)


HAS_IT = request(If_None_Match='"v1"')


def test_a_client_that_has_it_gets_the_304_that_it_asked_for() -> None:
    """RFC 9111 section 4.3.2: soon, and in an outage too, with its age."""
    entry = CachedResponse(response(200, b"x", ETag='"v1"', Content_Type="text/plain"), WALL, 0)
    on = route(reuse_s=60.0, recovery=recovery_rules(stale_if_error_s=600.0))
    soon, later = (
        response_cache.reread(on, HAS_IT, entry, WALL + 5),
        response_cache.stale(on, HAS_IT, entry, OPEN, WALL + 5),
    )
    for result in (soon, later):
        assert result is not None
        assert isinstance(result.outcome, Response)
        assert (result.outcome.status, result.outcome.body, result.outcome.framing) == (304, b"", Framing.NONE)
        assert result.outcome.fields == {b"etag": b'"v1"', b"age": b"5"}
    assert later is not None
    assert later.recovery is RecoveryKind.STALE
    other = response_cache.stale(on, request(If_None_Match='"v2"'), entry, OPEN, WALL + 5)
    assert other is not None
    assert isinstance(other.outcome, Response)
    assert (other.outcome.status, other.outcome.body) == (200, b"x")


def test_a_304_refreshes_what_is_kept() -> None:
    """RFC 9111 section 4.3.4: the kept body with the new fields is what is judged and kept."""
    entry = CachedResponse(response(200, b"x", ETag='"v1"', Cache_Control="max-age=1"), WALL, 0)
    fresh = Result(response(304, b"", ETag='"v1"', Cache_Control="max-age=9"))
    merged = response_cache.merged(entry, fresh).outcome
    assert isinstance(merged, Response)
    assert (merged.status, merged.body, merged.fields.get(b"cache-control")) == (200, b"x", b"max-age=9")
    for result in (Result(response(304, b"", ETag='"v2"')), Result(response(200, b"y")), Result(RESET)):
        assert response_cache.merged(entry, result) is result
    assert response_cache.merged(None, fresh) is fresh
    forbidden = response_cache.merged(entry, Result(response(304, b"", ETag='"v1"', Cache_Control="no-cache")))
    assert response_cache.judge(REUSED, request(), forbidden, anonymous=False) is Keep.DROP


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 0.0),
        ({"reuse_s": 2.0}, 2.0),
        ({"recovery": recovery_rules(stale_if_error_s=600.0)}, 600.0),
        ({"reuse_s": 700.0, "recovery": recovery_rules(stale_if_error_s=600.0)}, 700.0),
    ],
)
def test_an_answer_is_kept_as_long_as_anybody_may_read_it(changes: dict[str, Any], seconds: float) -> None:
    """The longer of `reuse` and `stale_if_error`."""
    assert response_cache.keep_for(route(**changes)) == seconds


def test_a_reread_answer_tells_its_age_and_what_is_left() -> None:
    """RFC 9111 section 4.2.3: the upstream's own Age and the time here, in one line that replaces the old one."""
    entry = CachedResponse(response(200, b"x", age="30"), WALL, 0)
    result = response_cache.reread(REUSED, request(), entry, WALL + 1.2)
    assert result is not None
    assert isinstance(result.outcome, Response)
    assert result.outcome.fields.all(b"age") == [b"31"]
    assert (result.ttl_s, result.outcome.body, result.recovery) == (0, b"x", None)


@pytest.mark.parametrize(("after_s", "read"), [(0.0, True), (1.999, True), (2.0, False), (-0.001, False)])
def test_a_kept_answer_has_its_time(after_s: float, read: bool) -> None:
    """`reuse`: within its seconds; a clock that was set back reads nothing from the future."""
    assert (
        response_cache.reread(REUSED, request(), CachedResponse(response(), WALL, 0), WALL + after_s) is not None
    ) is read


@pytest.mark.parametrize(("age", "told"), [
    ("soon", 5), ("", 5), (",", 5), ("-3", 5), ("7", 12), ("9" * 12, 2**31), ("9" * 9_000, 2**31),
    ("2147483648", 2**31), ("4294967296", 2**31), ("2147483642", 2**31 - 1), ("100, 5", 105), ("5, 100", 10),
    ("soon, 7", 5), ("0" * 20 + "7", 12),
])  # fmt: skip
def test_an_age_from_upstream_is_its_first_member(age: str, told: int) -> None:
    """RFC 9111 section 5.1: only digits are an age, others count as none; however many there are (section 1.2.2)."""
    assert CachedResponse(response(age=age), WALL, 0).age_s(WALL + 5.9) == told


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"Date": formatdate(WALL - 100, usegmt=True)}, 100),
        ({"Date": formatdate(WALL - 100, usegmt=True), "Age": "30"}, 100),
        ({"Date": formatdate(WALL - 100, usegmt=True), "Age": "130"}, 130),
        ({"Date": formatdate(WALL + 100, usegmt=True)}, 0),
        ({"Date": "Mon, 01 Jan 1850 00:00:00 GMT"}, 2**31),
        ({"Date": "yesterday"}, 0),
        ({}, 0),
    ],
)
def test_a_response_may_be_old_at_its_arrival(fields: dict[str, Any], told: int) -> None:
    """RFC 9111 section 4.2.3: its age is the larger one of Age and of the time since Date."""
    answer = response(**fields)
    assert CachedResponse(response_cache.with_age(answer, answer, WALL), WALL, 0).age_s(WALL) == told


def test_a_304_begins_the_age_again() -> None:
    """RFC 9111 section 4.3.4: before, the age of the response that it refreshed went on."""
    old = response(200, b"x", ETag='"v1"', Age="100", Date=formatdate(WALL - 500, usegmt=True))
    fresh = response(304, b"", ETag='"v1"')
    merged = response_cache.merged(CachedResponse(old, WALL - 400, 0), Result(fresh)).outcome
    assert isinstance(merged, Response)
    assert CachedResponse(response_cache.with_age(merged, fresh, WALL), WALL, 0).age_s(WALL) == 0
    told = response(304, b"", ETag='"v1"', Age="7")
    merged = response_cache.merged(CachedResponse(old, WALL - 400, 0), Result(told)).outcome
    assert isinstance(merged, Response)
    assert CachedResponse(response_cache.with_age(merged, told, WALL), WALL, 0).age_s(WALL) == 7


@pytest.mark.parametrize(("least", "read"), [("9", True), ("10", True), ("11", False), ("9" * 11, False), ("x", True)])
def test_min_fresh_of_any_length_counts(least: str, read: bool) -> None:
    """Before, a number too long for a number of seconds asked for nothing (RFC 9111 sections 1.2.2, 5.2.1.3)."""
    asked = request(Cache_Control=f"min-fresh={least}")
    kept, on = CachedResponse(response(), WALL, 0), route(reuse_s=10.0)
    assert (response_cache.reread(on, asked, kept, WALL) is not None) is read


@pytest.mark.parametrize(
    "said",
    ['x="unclosed, no-cache', "no-cache;", "max-age=60; no-cache", "public no-cache", '"no-cache"', 'x="a"no-cache'],
)
def test_a_malformed_cache_control_is_read_strictly(said: str) -> None:
    """What could forbid the reuse forbids it."""
    verdict = response_cache.judge(REUSED, request(), Result(response(Cache_Control=said)), anonymous=False)
    assert verdict is Keep.DROP


def test_a_stale_answer_is_a_recovery_with_a_negative_ttl() -> None:
    """It says why it was given, how old it is, and how long its time has been over (RFC 9211)."""
    on = route(reuse_s=2.0, recovery=recovery_rules(stale_if_error_s=600.0))
    result = response_cache.stale(on, request(), CachedResponse(response(200, b"x"), WALL, 0), OPEN, WALL + 10.5)
    assert result is not None
    assert isinstance(result.outcome, Response)
    assert (result.recovery, result.error, result.received_status, result.ttl_s) == (
        RecoveryKind.STALE,
        OPEN.reason,
        None,
        -9,
    )
    assert result.outcome.fields.get(b"age") == b"10"
    received = response_cache.stale(on, request(), CachedResponse(response(), WALL, 0), response(503), WALL + 10.0)
    assert received is not None
    assert (received.received_status, received.ttl_s) == (503, -8)


def test_too_stale_is_too_stale() -> None:
    """Past `stale_if_error` there is none."""
    assert response_cache.stale(STALE, request(), CachedResponse(response(), WALL, 0), OPEN, WALL + 600.0) is None
    assert response_cache.stale(REUSED, request(), CachedResponse(response(), WALL, 0), OPEN, WALL + 1.0) is None


def test_a_401_ends_the_session() -> None:
    """The upstream no longer knows who asks; no other answer and no failure says that."""
    assert response_cache.ends_session(response(401))
    assert not any(response_cache.ends_session(response(status)) for status in (200, 403, 407, 500))
    assert not response_cache.ends_session(RESET)
