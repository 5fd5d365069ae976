"""Log durations against their targets: ideal at debug, acceptable at info, slow at warning, critical at error."""

import logging

import structlog

from proxy.observe.logging import Throttle
from proxy.policy.latency_target import Level, Target

LOGGER = "backstay.targets"
SEVERITY = {
    Level.IDEAL: logging.DEBUG,
    Level.ACCEPTABLE: logging.INFO,
    Level.SLOW: logging.WARNING,
    Level.CRITICAL: logging.ERROR,
}


class TargetLog:
    """Log durations against their targets, once per operation, level and interval of `throttle`."""

    __slots__ = ("_ideal_is_logged", "_log", "_plain", "_throttle")

    def __init__(self, throttle: Throttle) -> None:
        self._log = structlog.get_logger(LOGGER)
        self._plain = logging.getLogger(LOGGER)
        self._ideal_is_logged = self._plain.isEnabledFor(logging.DEBUG)  # the level changes only with a restart
        self._throttle = throttle

    def hold(self, operation: str, target: Target, seconds: float, correlation_id: str) -> None:
        """Compare a duration with its target; the usual case, met and not logged, takes 0.1 µs."""
        if seconds <= target.ideal_s and not self._ideal_is_logged:
            return
        level = target.level(seconds)
        severity = SEVERITY[level]
        if not self._plain.isEnabledFor(severity):
            return
        suppressed = self._throttle.admit(f"{operation} {level}")
        if suppressed is not None:
            self._say(severity, level, operation, target, seconds, correlation_id, suppressed)

    def _say(
        self, severity: int, level: Level, operation: str, target: Target, seconds: float, correlation_id: str,
        suppressed: int,
    ) -> None:  # fmt: skip
        details: dict[str, object] = {"suppressed": suppressed} if suppressed else {}
        self._log.log(
            severity,
            "target",
            operation=operation,
            reached=level.value,
            took_ms=round(seconds * 1000, 1),
            ideal_ms=round(target.ideal_s * 1000),
            correlation_id=correlation_id,
            **details,
        )
