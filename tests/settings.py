"""Settings for the tests to begin from: the models' defaults, with changes under the names that a policy reads."""

from dataclasses import fields, replace
from typing import Any, TypeVar

from proxy.config.field_types import Section
from proxy.config.routes import Retry, RouteSettings
from proxy.config.settings import Admin, Breaker, Settings
from proxy.policy import route_compiler
from proxy.policy.recovery_plan import RecoveryRules
from proxy.policy.routing import Route, SubjectRule

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


def _updated(model: M, changes: dict[str, Any]) -> M:
    assert changes.keys() <= type(model).model_fields.keys()
    return model.model_copy(update=changes)
