"""Count and log what is told about tokens and keys: nothing of a token but names of claims."""

import structlog

from proxy.observe.logging import Throttle
from proxy.observe.metrics import Metrics

_log = structlog.get_logger("backstay.principals")


class PrincipalLog:
    """The observer of all `[principal.NAME]` tables. `failures` and `splits` limit how often a line is written."""

    def __init__(self, metrics: Metrics, splits: Throttle, failures: Throttle) -> None:
        self._metrics = metrics
        self._splits = splits
        self._failures = failures

    def judged(self, principal: str, result: str) -> None:
        """Count a token that was judged."""
        self._metrics.principal_tokens.counts[principal, result] += 1

    def split(self, principal: str, claims: tuple[str, ...]) -> None:
        """Count a token that differs from an earlier one of its subject, and name the claims."""
        self._metrics.principal_splits.counts[principal,] += 1
        if self._splits.admit(principal) is not None:
            cure = "if that is no difference between callers, add it to volatile_claims"
            _log.warning("principal_split", principal=principal, claims=list(claims[:8]), detail=cure)

    def keys_read(self, principal: str, count: int) -> None:
        """Log new keys."""
        _log.info("principal_keys", principal=principal, keys=count)

    def keys_failed(self, principal: str, detail: str) -> None:
        """Log that keys could not be read."""
        if self._failures.admit(principal) is not None:
            _log.warning("principal_keys_failed", principal=principal, detail=detail, cure="the known keys stay in use")
