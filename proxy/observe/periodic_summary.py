"""One line a minute in the log: the seed document's `logSummary()`."""

import structlog

from proxy.observe.statistics import Statistics

EVERY_S = 60.0


class PeriodicSummary:
    """Log the session metrics every minute; the sidecar's coarse sweep is its clock."""

    __slots__ = ("_due", "_log", "_statistics")

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics
        self._due: float | None = None
        self._log = structlog.get_logger("backstay.summary")

    def sweep(self, now: float) -> None:
        """Say the summary if a minute has passed since the last, or since the first sweep."""
        if self._due is not None and now >= self._due:
            self._log.info("summary", **self._statistics.summary())
        if self._due is None or now >= self._due:
            self._due = now + EVERY_S
