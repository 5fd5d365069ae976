"""Log failures: in each interval one line per operation and error, with the number of suppressed lines.

Not each request has a line, so that an outage cannot fill a disk. The audit trail has each of them.
"""

import structlog

from proxy.exchange.state import Exchange
from proxy.observe.logging import Throttle
from proxy.policy.attempt_facts import Attempt
from proxy.policy.classify import Verdict
from proxy.policy.outcome import RequestOutcome


class FailureLog:
    """Log failed attempts and truncated responses at warning, once per operation, error and interval of `throttle`.

    A failed attempt is logged even if a retry or a recovery followed it with success.
    """

    __slots__ = ("_log", "_throttle")

    def __init__(self, throttle: Throttle) -> None:
        self._log = structlog.get_logger("backstay.failures")
        self._throttle = throttle

    def report(self, x: Exchange) -> None:
        """Log the failures of a finished exchange, unless the interval has a line for them."""
        for attempt in x.attempts:
            if _has_failed(attempt):
                self._report(x, attempt.result, attempt)
        if x.ending is RequestOutcome.TRUNCATED:
            self._report(x, RequestOutcome.TRUNCATED, x.attempts[-1] if x.attempts else None)

    def _report(self, x: Exchange, error: str, attempt: Attempt | None) -> None:
        suppressed = self._throttle.admit(f"{x.route.operation} {error}")
        if suppressed is None:
            return
        details: dict[str, object] = {"suppressed": suppressed} if suppressed else {}
        if attempt is not None and attempt.address:
            details["address"] = attempt.address
        self._log.warning(
            "failure",
            operation=x.route.operation,
            error=str(error),
            upstream=x.route.upstream,
            status=x.status,
            outcome=str(x.ending),
            correlation_id=x.correlation.id,
            **details,
        )


def _has_failed(attempt: Attempt) -> bool:
    """Tell whether an attempt got no response or a 5xx. It does not count if its client left."""
    status = attempt.status
    return attempt.verdict is not Verdict.CANCELLED if status is None else status >= 500
