"""The seed document's `globalSessionMetrics`, under its own names, from the integers that are counted anyway."""

from collections.abc import Iterable

from proxy.http.message import Failure
from proxy.http.problems import Reason
from proxy.observe.instruments import Series
from proxy.observe.metrics import Metrics
from proxy.policy.classify import Verdict, classify

CREATION = "session-create"
"""Operations that begin so are creations."""

NETWORK_ERRORS = frozenset(str(reason) for reason in Reason if classify(Failure(reason, sent=False)) is Verdict.NETWORK)


class Statistics:
    """Summarise what was counted since the start, of the routes that there are. A rate or a mean of nothing is None."""

    __slots__ = ("_metrics",)

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def summary(self) -> dict[str, int | float | None]:
        """Return the figures, ready for JSON: rates from 0 to 1, times in milliseconds."""
        return self._operations() | self._times() | self._errors() | self._savings()

    def _operations(self) -> dict[str, int | float | None]:
        """Count by what the client saw: a recovered answer is a success."""
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
        """Count by attempt: what the backend or the network did, also where the client never saw it."""
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
