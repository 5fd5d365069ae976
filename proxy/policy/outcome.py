"""How an exchange ended, in one word that stands alike in the record and in the metric."""

from typing import Final

from proxy.http.message import Failure
from proxy.policy.recovery_plan import Result
from proxy.runtime.enums import FastStrEnum


class RequestOutcome(FastStrEnum):
    """The bounded values of `outcome`; a failure of the sidecar's own making is its RFC 9209 error type instead."""

    ANSWERED = "answered"
    REJECTED = "rejected"  # 4xx from upstream
    FAILED = "failed"  # 5xx from upstream
    RECOVERED = "recovered"
    REUSED = "reused"
    REFUSED = "refused"  # the request itself was at fault
    TRUNCATED = "truncated"  # the answer broke off, and the client was made to see it
    CANCELLED = "cancelled"  # the client left first


_ANSWERED: Final = RequestOutcome.ANSWERED
GOOD: Final = frozenset({RequestOutcome.ANSWERED, RequestOutcome.RECOVERED, RequestOutcome.REUSED})
"""The client got what it asked for (a recovered answer is a success)."""


def ending(result: Result, status: int, *, refused: bool, truncated: bool) -> str:
    """Return the word for it; `status` is what went out, 0 if nothing did."""
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
        return _ANSWERED
    return RequestOutcome.REJECTED if status < 500 else RequestOutcome.FAILED
