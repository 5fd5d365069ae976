"""The added header fields, byte for byte: RFC 9211, RFC 9209 and Server-Timing."""

from typing import Any

import pytest

from proxy.http.fields import Fields
from proxy.http.problems import Reason
from proxy.policy.added_headers import (
    ResponseInfo,
    explanation,
    response_info,
    to_client,
    to_upstream,
)
from proxy.policy.attempt_facts import Attempt
from proxy.policy.coalescing import Role
from proxy.policy.idempotency import IdempotencyKey
from proxy.policy.recovery_plan import RecoveryKind, Result
from tests.unit.policy.samples import RESET, request, response, route


def said(name: bytes, expose: bool = True, **changes: Any) -> bytes | None:
    """Return what stands under a lower-case `name` for a story with these changes."""
    lines = to_client(ResponseInfo("mine-1", 12.34, 10.0)._replace(**changes), expose=expose)
    values = Fields(lines).all(name)
    assert len(values) < 2
    return values[0] if values else None


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({}, None),
        ({"collapsed": True}, b"backstay; fwd=miss; collapsed"),
        ({"collapsed": False}, b"backstay; fwd=miss; collapsed=?0"),
        ({"collapsed": True, "unsafe": True}, b"backstay; fwd=method; collapsed"),
        ({"ttl_s": 1}, b"backstay; hit; ttl=1"),
        ({"ttl_s": 0}, b"backstay; hit; ttl=0"),
        ({"ttl_s": 1, "collapsed": True}, b"backstay; hit; ttl=1"),
        ({"ttl_s": -8, "recovered": True, "received_status": 503}, b"backstay; hit; ttl=-8"),
        ({"ttl_s": -8, "recovered": True, "error": Reason.CIRCUIT_OPEN}, b"backstay; hit; ttl=-8"),
        ({"error": Reason.CIRCUIT_OPEN}, None),
        ({"error": Reason.RESPONSE_TIMEOUT, "collapsed": True}, None),
    ],
)
def test_cache_status(changes: dict[str, Any], value: bytes | None) -> None:
    """RFC 9211: followers, kept and stale answers say so; what the sidecar made itself never does."""
    assert said(b"cache-status", **changes) == value


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({}, None),
        ({"collapsed": True}, None),
        ({"error": Reason.CIRCUIT_OPEN}, b"backstay; error=destination_unavailable"),
        ({"error": Reason.RESPONSE_TIMEOUT}, b"backstay; error=http_response_timeout"),
        ({"recovered": True, "received_status": 409}, b"backstay; received-status=409"),
        ({"recovered": True, "error": Reason.CONNECTION_REFUSED}, b"backstay; error=connection_refused"),
    ],
)
def test_proxy_status(changes: dict[str, Any], value: bytes | None) -> None:
    """RFC 9209: `error` on the sidecar's own answers, `received-status` on recovered ones if one was received."""
    assert said(b"proxy-status", **changes) == value


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({}, b"backstay;dur=2.3, upstream;dur=10.0"),
        ({"retries": 2}, b'backstay;dur=2.3, upstream;dur=10.0, retries;desc="2"'),
        ({"upstream_ms": 0.0}, b"backstay;dur=12.3, upstream;dur=0.0"),
        ({"upstream_ms": 13.0}, b"backstay;dur=0.0, upstream;dur=13.0"),
    ],
)
def test_server_timing(changes: dict[str, Any], value: bytes) -> None:
    """A person sees in the network panel what was whose time; it is never negative."""
    assert said(b"server-timing", **changes) == value


def test_unexposed_answers_keep_only_what_clients_need() -> None:
    """`expose = false` drops the extra fields, not the correlation id."""
    full = ResponseInfo("mine-1", 12.0, 10.0, 2, collapsed=True)
    assert to_client(full, expose=False) == ((b"X-Correlation-ID", b"mine-1"),)


def test_the_order_of_the_lines() -> None:
    """The correlation id comes first, the timing last."""
    full = ResponseInfo("mine-1", 12.0, 10.0, ttl_s=-1, recovered=True, received_status=503)
    assert [name for name, _ in to_client(full, expose=True)] == [
        b"X-Correlation-ID", b"Cache-Status", b"Proxy-Status", b"Server-Timing",
    ]  # fmt: skip


HEADER = b"X-Request-Deadline-Ms"


def test_the_first_attempt_upstream() -> None:
    """The correlation id and the true remaining budget; no count on the first attempt."""
    assert to_upstream("mine-1", None, 1, 1.9996, HEADER) == (
        (b"X-Correlation-ID", b"mine-1"),
        (b"X-Request-Deadline-Ms", b"1999"),
    )


def test_a_later_attempt_upstream() -> None:
    """The same minted key, and which attempt it is; a budget never reads as none."""
    assert to_upstream("mine-1", IdempotencyKey(b"k1", "minted"), 3, 0.0001, HEADER) == (
        (b"X-Correlation-ID", b"mine-1"),
        (b"X-Request-Deadline-Ms", b"1"),
        (b"Idempotency-Key", b"k1"),
        (b"X-Attempt-Count", b"3"),
    )


def test_a_clients_own_key_is_not_written_twice() -> None:
    """It already stands among the client's own fields."""
    names = [name for name, _ in to_upstream("mine-1", IdempotencyKey(b"k1", "client"), 1, 1.0, HEADER)]
    assert b"Idempotency-Key" not in names


def attempt(ms: float, number: int = 1) -> Attempt:
    """Return a finished attempt."""
    made = Attempt(number, 0.1 * (number - 1))
    made.ended(RESET if number == 1 else response(200), ms / 1000)
    made.why = "network" if number == 1 else "answered"
    return made


def test_a_leaders_story() -> None:
    """A leader's upstream time is the sum of its attempts, its retries those after the first."""
    told = response_info("mine-1", Result(response()), Role.LED, [attempt(30), attempt(20, 2)], 0.152, request())
    assert (told.total_ms, told.upstream_ms, told.retries, told.collapsed, told.unsafe) == (152, 50, 1, None, False)


def test_a_recovery_is_no_retry() -> None:
    """Before, the load of an existing session counted as a retry of the request that met the conflict."""
    conflict, load = attempt(30), attempt(20, 2)
    conflict.why = "not_retryable"
    assert response_info("mine-1", Result(response()), Role.LED, [conflict, load], 0.1, request("POST")).retries == 0


@pytest.mark.parametrize(
    ("role", "attempts", "kind", "collapsed"),
    [
        (Role.JOINED, [], None, True),
        (Role.JOINED, [attempt(5)], None, False),
        (Role.JOINED, [], RecoveryKind.EXISTING, True),
        (Role.JOINED, [], RecoveryKind.FALLBACK, None),
        (Role.LED, [attempt(5)], None, None),
        (Role.ALONE, [attempt(5)], None, None),
        (None, [], None, None),
    ],
)
def test_who_was_collapsed(
    role: Role | None, attempts: list[Attempt], kind: RecoveryKind | None, collapsed: bool | None
) -> None:
    """RFC 9211: a follower that got the shared answer, or had to ask after all; never with a document of ours."""
    told = response_info("mine-1", Result(response(), kind), role, attempts, 0.1, request("POST"))
    assert (told.collapsed, told.unsafe, told.recovered) == (collapsed, True, kind is not None)


def test_an_explanation_only_for_who_asks_where_it_is_allowed() -> None:
    """Every decision with its reason in a line, on a route that says `explain` and a request that says 1."""
    attempts = [attempt(30), attempt(20, 2)]
    asked = request(X_Backstay_Explain="1")
    assert explanation(route(explain=True), asked, "", attempts) == (
        "attempt 1 after 0 ms: connection_terminated in 30 ms, network; attempt 2 after 100 ms: 200 in 20 ms, answered"
    )
    assert explanation(route(explain=True), asked, "range", []) == "alone: range"
    assert explanation(route(explain=True), asked, "", []) == "no attempt"
    assert explanation(route(), asked, "", attempts) is None
    assert explanation(route(explain=True), request(), "", attempts) is None
    assert explanation(route(explain=True), request(X_Backstay_Explain="0"), "", attempts) is None
