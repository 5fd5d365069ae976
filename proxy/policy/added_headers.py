"""Header fields that the sidecar adds: to a request about the attempt, to a response about its origin.

Cache-Status is RFC 9211, Proxy-Status RFC 9209, Server-Timing the W3C's.
"""

from collections.abc import Sequence
from typing import NamedTuple

from proxy.http.fields import Lines
from proxy.http.message import Request
from proxy.http.problems import Reason
from proxy.policy.attempt_facts import Attempt, retries
from proxy.policy.coalescing import Role
from proxy.policy.idempotency import IdempotencyKey
from proxy.policy.recovery_plan import RecoveryKind, Result
from proxy.policy.routing import Route


def to_upstream(
    correlation_id: str, key: IdempotencyKey | None, attempt: int, remaining_s: float, deadline_header: bytes
) -> Lines:
    """Return the lines for attempt number `attempt` (from 1), with the remaining seconds of the attempts' deadline."""
    lines: tuple[tuple[bytes, bytes], ...] = (
        (b"X-Correlation-ID", correlation_id.encode("ascii")),
        (deadline_header, b"%d" % (remaining_s * 1000 if remaining_s > 0.002 else 1)),
    )
    if key is not None and key.source == "minted":
        lines += ((b"Idempotency-Key", key.value),)
    if attempt > 1:
        lines += ((b"X-Attempt-Count", b"%d" % attempt),)
    return lines


class ResponseInfo(NamedTuple):
    """How a response was produced, as far as its client may know."""

    correlation_id: str
    total_ms: float
    upstream_ms: float
    retries: int = 0
    collapsed: bool | None = None  # None: not a follower; False: it had to send its own request
    unsafe: bool = False
    ttl_s: int | None = None  # of a reused response; negative for a stale one
    error: Reason | None = None  # the sidecar made the response
    received_status: int | None = None  # of the response that was replaced
    recovered: bool = False
    replayed: bool = False
    explanation: str | None = None  # only if requested and allowed by the route


def response_info(
    correlation_id: str,
    result: Result,
    role: Role | None,
    attempts: Sequence[Attempt],
    total_s: float,
    request: Request,
) -> ResponseInfo:
    """Return the facts about a response for one of its callers."""
    upstream_ms = sum(attempt.ms for attempt in attempts)
    no_cache_story = role is not Role.JOINED or result.recovery is RecoveryKind.FALLBACK
    collapsed = None if no_cache_story else not attempts
    return ResponseInfo(
        correlation_id, total_s * 1000, upstream_ms, retries(attempts), collapsed, not request.safe,
        result.ttl_s, result.error, result.received_status, result.recovery is not None, replayed=result.replayed,
    )  # fmt: skip


def explanation(route: Route, request: Request, alone: str, attempts: Sequence[Attempt]) -> str | None:
    """Return the decisions and their reasons in one line, if the client requests it and the route allows it."""
    if not route.explain or request.fields.get(b"x-backstay-explain") != b"1":
        return None
    steps = [f"alone: {alone}"] if alone else []
    steps += [f"attempt {a.n} after {a.waited_ms:.0f} ms: {a.result} in {a.ms:.0f} ms, {a.why}" for a in attempts]
    return "; ".join(steps) or "no attempt"


def of_plain_response(correlation_id: str, total_ms: float, upstream_ms: float, expose: bool) -> Lines:
    """Return the lines for a response after a single attempt, forwarded unchanged."""
    named = (b"X-Correlation-ID", correlation_id.encode("ascii"))
    return (named, (b"Server-Timing", _timing(total_ms, upstream_ms))) if expose else (named,)


def to_client(response_info: ResponseInfo, *, expose: bool) -> Lines:
    """Return the lines to add to this caller's response."""
    lines: list[tuple[bytes, bytes]] = [(b"X-Correlation-ID", response_info.correlation_id.encode("ascii"))]
    if response_info.explanation is not None:
        lines.append((b"X-Backstay-Explain", response_info.explanation.encode("ascii", "replace")))
    if response_info.replayed:
        lines.append((b"Idempotent-Replayed", b"true"))
    if not expose:
        return tuple(lines)
    if (cache := _cache_status(response_info)) is not None:
        lines.append((b"Cache-Status", cache))
    if (proxy := _proxy_status(response_info)) is not None:
        lines.append((b"Proxy-Status", proxy))
    timing = _timing(response_info.total_ms, response_info.upstream_ms)
    lines.append(
        (b"Server-Timing", timing + b', retries;desc="%d"' % response_info.retries if response_info.retries else timing)
    )
    return tuple(lines)


def _timing(total_ms: float, upstream_ms: float) -> bytes:
    own, upstream = int((total_ms - upstream_ms) * 10 + 0.5), int(upstream_ms * 10 + 0.5)
    own = own if own > 0 else 0
    return b"backstay;dur=%d.%d, upstream;dur=%d.%d" % (own // 10, own % 10, upstream // 10, upstream % 10)


def _cache_status(response_info: ResponseInfo) -> bytes | None:
    if response_info.ttl_s is not None:
        return b"backstay; hit; ttl=%d" % response_info.ttl_s
    if response_info.error is not None:
        return None
    if response_info.collapsed is None:
        return None
    forwarded = b"backstay; fwd=method" if response_info.unsafe else b"backstay; fwd=miss"
    return forwarded + (b"; collapsed" if response_info.collapsed else b"; collapsed=?0")


def _proxy_status(response_info: ResponseInfo) -> bytes | None:
    if response_info.error is not None and not response_info.recovered:
        return f"backstay; error={response_info.error}".encode("ascii")
    if response_info.recovered:
        if response_info.received_status is not None:
            return b"backstay; received-status=%d" % response_info.received_status
        return f"backstay; error={response_info.error}".encode("ascii") if response_info.error else b"backstay"
    return None
