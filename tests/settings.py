"""Settings for the tests to begin from: the models' defaults, with changes under the names that a policy reads."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from proxy.audit.checkpoint import CheckpointKey, CheckpointRules
from proxy.audit.log_rules import LogRules
from proxy.audit.redaction import Redaction
from proxy.audit.retention import RetentionRules
from proxy.audit.trail_file import RotationRules
from proxy.clock import Clock
from proxy.config.field_types import Section
from proxy.config.routes import Retry, RouteSettings
from proxy.config.settings import Admin, Breaker, Settings
from proxy.http1.head import HeadLimits
from proxy.policy import route_compiler
from proxy.policy.recovery_plan import RecoveryRules
from proxy.policy.retry import RetryBudget, RetryRequest
from proxy.policy.routing import Route, SubjectRule
from proxy.store.local_claims import LocalClaims
from proxy.store.memory_store import MemoryStore
from proxy.upstream.pool_limits import PoolLimits

DEFAULTS = Settings.model_validate(
    {
        "upstreams": {"sessions": {"url": "http://127.0.0.1:1"}},
        "routes": [{"operation": "load", "match": "GET /api/sessions/{report_id}"}],
    }
)
(PLAIN,) = route_compiler.routes(DEFAULTS)
DEADLINE_HEADER = DEFAULTS.listen.deadline_header.encode()
OWN_FIELDS = frozenset({DEADLINE_HEADER.lower()})  # that the sidecar reads itself
M = TypeVar("M", bound=Section)
BOUNDS = {"max_entries": DEFAULTS.store.max_entries, "max_bytes": DEFAULTS.store.max_bytes}
_COMPILED = frozenset(each.name for each in fields(Route) if each.init)


def a_route(
    operation: str = PLAIN.operation,
    method: str = PLAIN.method,
    template: str = PLAIN.template,
    upstream: str = PLAIN.upstream,
    circuit: str = PLAIN.circuit,
    subject: SubjectRule | None = None,
    **changes: Any,
) -> Route:
    """Return a route with the default settings but these."""
    base = replace(
        PLAIN,
        operation=operation,
        method=method,
        template=template,
        upstream=upstream,
        circuit=circuit,
        subject=subject,
    )
    return changed(base, **changes)


def changed(base: Route, **changes: Any) -> Route:
    """Return a route with other settings, each under the name of its attribute in `Route` or else in the model."""
    own = {name: value for name, value in changes.items() if name in _COMPILED}
    others = {name: value for name, value in changes.items() if name not in _COMPILED}
    assert others.keys() <= RouteSettings.model_fields.keys()
    return replace(base, settings=base.settings.model_copy(update=others), **own)


def recovery_rules(**changes: Any) -> RecoveryRules:
    """Return the recovery of a route with the default settings but these."""
    return replace(PLAIN.recovery, **changes)


def retry_settings(**changes: Any) -> Retry:
    """Return the default waits but these, in seconds."""
    return _updated(Retry(), changes)


def breaker_settings(**changes: Any) -> Breaker:
    """Return the default figures of a circuit but these, times in seconds."""
    return _updated(Breaker(), changes)


def admin_settings(address: str = "127.0.0.1:0", **changes: Any) -> Admin:
    """Return the default settings of the control plane but these, on a free port."""
    return _updated(Admin(), {"address": address, **changes})


def head_limits(**changes: Any) -> HeadLimits:
    """Return the default limits of a request head but these."""
    return replace(HeadLimits.of(DEFAULTS.listen), **changes)


def pool_limits(**changes: Any) -> PoolLimits:
    """Return the default limits of an upstream's connections but these."""
    return replace(PoolLimits.of(DEFAULTS.upstreams["sessions"]), **changes)


def log_rules(**changes: Any) -> LogRules:
    """Return the default rules of the audit log but these."""
    return replace(LogRules.of(DEFAULTS.audit), **changes)


def rotation(**changes: Any) -> RotationRules:
    """Return rules that never rotate a file, but for these."""
    return replace(RotationRules(None, None), **changes)


def retention_rules(**changes: Any) -> RetentionRules:
    """Return the default rules of rotated files but these."""
    return replace(log_rules().keeping, **changes)


def checkpoint_rules(path: Path, key: CheckpointKey) -> CheckpointRules:
    """Return rules with the default number of records between two checkpoints."""
    return CheckpointRules(path, key, DEFAULTS.audit.checkpoint_every)


def redaction(**changes: Any) -> Redaction:
    """Return the default redaction but for these."""
    return replace(Redaction.of(DEFAULTS.audit), **changes)


def retryable(method: str, **changes: Any) -> RetryRequest:
    """Return a retry policy's view of a request on a route with the default settings."""
    return RetryRequest(
        method, replayable=True, honours_idempotency=False, rejected_means_unprocessed=False, resend=True,
        min_attempt_s=PLAIN.min_attempt_s, unread=False, conditional=False,
    )._replace(**changes)  # fmt: skip


def retry_budget(**changes: Any) -> RetryBudget:
    """Return a budget with the default share but for these."""
    return RetryBudget(**{"share": PLAIN.retry.budget, **changes})


def local_claims(clock: Clock, **changes: int) -> LocalClaims:
    """Return claims in memory within the default bounds but these."""
    return LocalClaims(clock, **{**BOUNDS, **changes})


def memory_store(clock: Clock, **changes: int) -> MemoryStore:
    """Return a store in memory within the default bounds but these."""
    return MemoryStore(clock, **{**BOUNDS, **changes})


def _updated(model: M, changes: dict[str, Any]) -> M:
    assert changes.keys() <= type(model).model_fields.keys()
    return model.model_copy(update=changes)
