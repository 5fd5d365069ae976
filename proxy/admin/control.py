"""The control plane's view of the sidecar. It has no state of its own: each value is a callback."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from proxy.observe.metrics import Metrics
from proxy.observe.statistics import Statistics
from proxy.policy.breaker import CircuitBreaker
from proxy.policy.restoration import Restorations
from proxy.policy.routing import Route
from proxy.store.erased import Erased

Record = dict[str, object]


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """The running sidecar, as an operator may see and change it. Everything is called on the event loop."""

    metrics: Metrics
    statistics: Statistics
    restorations: Restorations
    routes: Callable[[], Iterable[Route]]
    circuits: Mapping[str, CircuitBreaker]
    newest: Collection[bytes]  # audit records as JSON, oldest first
    token: Callable[[], str | None]  # None or "": changes and exports are refused
    now: Callable[[], float]
    ready: Callable[[], bool]  # True except while starting or draining
    switches: Callable[[], Mapping[str, bool]]
    switch: Callable[[str, bool], None]
    drain: Callable[[], None]  # starts the drain and returns
    export_format: Callable[[], str]  # of records, if the request names none
    erase: Callable[[str], Awaitable[Erased]]  # erases the stored data of a subject
