"""The outcome of an exchange, with the same bounded values in the record and the metric."""

from typing import Final

from proxy.http.message import Failure
from proxy.policy.recovery_plan import Result
from proxy.runtime.enums import FastStrEnum


class RequestOutcome(FastStrEnum):
    """The bounded values of `outcome`. A failure of the sidecar itself has its RFC 9209 error type instead."""

    ANSWERED = "answered"
    REJECTED = "rejected"  # 4xx from upstream
    FAILED = "failed"  # 5xx from upstream
    RECOVERED = "recovered"
    REUSED = "reused"
    REFUSED = "refused"  # the request itself was invalid
    TRUNCATED = "truncated"  # the response broke off, and the client could notice it
    CANCELLED = "cancelled"  # the client left first


ANSWERED: Final = RequestOutcome.ANSWERED
GOOD: Final = frozenset({RequestOutcome.ANSWERED, RequestOutcome.RECOVERED, RequestOutcome.REUSED})
"""The client got a successful response, recovered ones included."""


def ending(result: Result, status: int, refused: bool, truncated: bool) -> str:
    """Return the outcome; `status` is the status that was sent, 0 if none."""
    if status == 0:
        return RequestOutcome.CANCELLED
    if refused:
        return RequestOutcome.REFUSED
    if truncated:
        return RequestOutcome.TRUNCATED
    outcome = result.outcome
    if isinstance(outcome, Failure):
        return str(outcome.reason)
    if result.recovery is not None:
        return RequestOutcome.RECOVERED
    if result.ttl_s is not None:
        return RequestOutcome.REUSED
    if status < 400:
        return ANSWERED
    return RequestOutcome.REJECTED if status < 500 else RequestOutcome.FAILED
