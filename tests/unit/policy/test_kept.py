"""Kept answers: which, how long, who may read them, and how old they say they are."""

from typing import Any

import pytest

from proxy.fields import Fields
from proxy.message import Framing, Request, Response
from proxy.policy import kept
from proxy.policy.kept import Kept
from proxy.policy.recovery import Kind, RecoveryRules, Result
from proxy.policy.routing import Route
from tests.unit.policy.samples import OPEN, RESET, WALL, Endless, request, response, route

REUSED = route(reuse_s=2.0)
STALE = route(recovery=RecoveryRules(stale_if_error_s=600.0))


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
    """C10: only on a route that says `reuse`, only what is safe, and never a reload in any of its forms."""
    assert kept.may_read(on, asked) is may


@pytest.mark.parametrize("on", [REUSED, STALE])
def test_a_whole_success_is_kept(on: Route) -> None:
    """Where answers are read again, soon or in an outage, a 2xx is kept as it came."""
    answer = response(200, b"x", Cache_Control="no-store")
    assert kept.to_keep(on, request(), Result(answer)) is answer


@pytest.mark.parametrize(
    ("on", "asked", "result"),
    [
        (route(), request(), Result(response())),
        (REUSED, request("POST"), Result(response())),
        (REUSED, request(), Result(response(404))),
        (REUSED, request(), Result(response(302))),
        (REUSED, request(), Result(response(503))),
        (REUSED, request(), Result(RESET)),
        (REUSED, request(), Result(response(Set_Cookie="a=b"))),
        (REUSED, request(), Result(response(), Kind.FALLBACK)),
        (REUSED, request(), Result(response(), Kind.STALE)),
        (REUSED, request(), Result(Response(200, b"", Fields(()), Endless(), Framing.CHUNKED))),
        (route(reuse_s=2.0, honour_no_store=True), request(), Result(response(Cache_Control="private, No-Store"))),
    ],
)
def test_what_is_not_kept(on: Route, asked: Request, result: Result) -> None:
    """Neither failures, errors, redirects, cookies, streams nor anything the sidecar made; C2 where it is asked for."""
    assert kept.to_keep(on, asked, result) is None


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 0.0),
        ({"reuse_s": 2.0}, 2.0),
        ({"recovery": RecoveryRules(stale_if_error_s=600.0)}, 600.0),
        ({"reuse_s": 700.0, "recovery": RecoveryRules(stale_if_error_s=600.0)}, 700.0),
    ],
)
def test_an_answer_is_kept_as_long_as_anybody_may_read_it(changes: dict[str, Any], seconds: float) -> None:
    """The longer of `reuse` and `stale_if_error`."""
    assert kept.keep_for(route(**changes)) == seconds


def test_a_reread_answer_tells_its_age_and_what_is_left() -> None:
    """RFC 9111 section 4.2.3: the upstream's own Age and the time here, in one line that replaces the old one."""
    entry = Kept(response(200, b"x", age="30"), WALL, 0)
    result = kept.reread(REUSED, entry, WALL + 1.2)
    assert result is not None
    assert isinstance(result.outcome, Response)
    assert result.outcome.fields.all(b"age") == [b"31"]
    assert (result.ttl_s, result.outcome.body, result.recovery) == (0, b"x", None)


@pytest.mark.parametrize(("after_s", "read"), [(0.0, True), (1.999, True), (2.0, False), (-0.001, False)])
def test_a_kept_answer_has_its_time(after_s: float, read: bool) -> None:
    """`reuse`: within its seconds; a clock that was set back reads nothing from the future."""
    assert (kept.reread(REUSED, Kept(response(), WALL, 0), WALL + after_s) is not None) is read


@pytest.mark.parametrize(("age", "told"), [("soon", 5), ("", 5), ("9" * 12, 5), ("-3", 5), ("7", 12)])
def test_an_odd_age_from_upstream_counts_as_none(age: str, told: int) -> None:
    """Only digits, and not endlessly many, are an age."""
    assert Kept(response(age=age), WALL, 0).age_s(WALL + 5.9) == told


def test_a_stale_answer_is_a_recovery_with_a_negative_ttl() -> None:
    """S3, S5: it says why it was given, how old it is, and how long its time has been over (RFC 9211)."""
    on = route(reuse_s=2.0, recovery=RecoveryRules(stale_if_error_s=600.0))
    result = kept.stale(on, Kept(response(200, b"x"), WALL, 0), OPEN, WALL + 10.5)
    assert result is not None
    assert isinstance(result.outcome, Response)
    assert (result.recovery, result.error, result.received_status, result.ttl_s) == (Kind.STALE, OPEN.reason, None, -9)
    assert result.outcome.fields.get(b"age") == b"10"
    received = kept.stale(on, Kept(response(), WALL, 0), response(503), WALL + 10.0)
    assert received is not None
    assert (received.received_status, received.ttl_s) == (503, -8)


def test_too_stale_is_too_stale() -> None:
    """S3: past `stale_if_error` there is none."""
    assert kept.stale(STALE, Kept(response(), WALL, 0), OPEN, WALL + 600.0) is None
    assert kept.stale(REUSED, Kept(response(), WALL, 0), OPEN, WALL + 1.0) is None


def test_a_401_ends_the_session() -> None:
    """C4: the upstream no longer knows who asks; no other answer and no failure says that."""
    assert kept.ends_session(response(401))
    assert not any(kept.ends_session(response(status)) for status in (200, 403, 407, 500))
    assert not kept.ends_session(RESET)
