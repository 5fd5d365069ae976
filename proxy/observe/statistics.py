"""The seed document's `globalSessionMetrics`, computed from the metrics."""

from collections.abc import Iterable

from proxy.http.message import Failure
from proxy.http.problems import Reason
from proxy.observe.instruments import Series
from proxy.observe.metrics import Metrics
from proxy.policy.classify import Verdict, classify

CREATION = "session-create"
"""Operations with one of these prefixes are creations."""

NETWORK_ERRORS = frozenset(str(reason) for reason in Reason if classify(Failure(reason, sent=False)) is Verdict.NETWORK)


class Statistics:
    """Summarise the configured routes since the start. A rate or mean without data is None."""

    __slots__ = ("_metrics",)

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def summary(self) -> dict[str, int | float | None]:
        """Return the figures for JSON: rates from 0 to 1, times in milliseconds."""
        return self._operations() | self._times() | self._errors() | self._savings()

    def _operations(self) -> dict[str, int | float | None]:
        """Count by the client's result: a recovered response is a success."""
        finished = self._metrics.requests.counts
        total = sum(finished.values())
        successful = sum(count for (_, _, status, _), count in finished.items() if int(status) < 400)
        return {
            "successRate": _ratio(successful, total),
            "successfulOperations": successful,
            "failedOperations": total - successful,
        }

    def _times(self) -> dict[str, int | float | None]:
        by_route = self._metrics.request_seconds.series.items()
        creations = [series for route, series in by_route if route.startswith(CREATION)]
        return {
            "avgCreationTime_ms": _mean_ms(creations),
            "avgRestorationTime_ms": _mean_ms(self._metrics.restoration_seconds.series.values()),
        }

    def _errors(self) -> dict[str, int | float | None]:
        """Count failed attempts by cause, even if the client saw none."""
        attempts = self._metrics.attempts
        retried = self._metrics.retried_requests
        succeeded = retried.total("succeeded")
        return {
            "conflictErrors": attempts.total("409"),
            "networkErrors": sum(attempts.total(reason) for reason in NETWORK_ERRORS),
            "totalRetries": retried.total(),
            "retriesSucceeded": succeeded,
            "retrySuccessRate": _ratio(succeeded, retried.total()),
            "circuitOpenCount": self._metrics.transitions.total("open"),
        }

    def _savings(self) -> dict[str, int | float | None]:
        requests = self._metrics.coalesced_requests
        joined = requests.total("joined")
        return {"deduplicatedRequests": joined, "deduplicationRate": _ratio(joined, requests.total())}


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean_ms(distributions: Iterable[Series]) -> float | None:
    known = list(distributions)
    count = sum(series.count for series in known)
    return sum(series.total_s for series in known) * 1000 / count if count else None
