"""Log one summary line a minute: the seed document's `logSummary()`."""

import structlog

from proxy.observe.statistics import Statistics

EVERY_S = 60.0


class PeriodicSummary:
    """Log the session metrics every minute, driven by the sidecar's sweep."""

    __slots__ = ("_due", "_log", "_statistics")

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics
        self._due: float | None = None
        self._log = structlog.get_logger("backstay.summary")

    def sweep(self, now: float) -> None:
        """Log the summary if a minute has passed since the last one or the first sweep."""
        if self._due is not None and now >= self._due:
            self._log.info("summary", **self._statistics.summary())
        if self._due is None or now >= self._due:
            self._due = now + EVERY_S
