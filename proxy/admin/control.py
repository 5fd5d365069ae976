"""The control plane's view of the sidecar. It has no state of its own: each value is a callback."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from proxy.config.effective import EffectiveSetting
from proxy.observe.metrics import Metrics
from proxy.observe.statistics import Statistics
from proxy.policy.breaker import CircuitBreaker, CircuitMode
from proxy.policy.restoration import Restorations
from proxy.policy.routing import Route
from proxy.principals.registry import PrincipalView
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
    route_circuits: Mapping[str, CircuitBreaker]  # the routes' own, by CIRCUIT:ROUTE
    newest: Collection[bytes]  # audit records as JSON, oldest first
    token: Callable[[], str | None]  # None or "": changes and exports are refused
    now: Callable[[], float]
    ready: Callable[[], bool]  # True except while starting or draining
    switches: Callable[[], Mapping[str, bool]]
    switch: Callable[[str, bool], None]
    drain: Callable[[], None]  # starts the drain and returns
    export_format: Callable[[], str]  # of records, if the request names none
    erase: Callable[[str], Awaitable[Erased]]  # erases the stored data of a subject
    config: Callable[[], Iterable[EffectiveSetting]]  # without secrets; may be consumed in a thread
    principals: Callable[[], Iterable[PrincipalView]] = tuple

    @property
    def shown_circuits(self) -> Iterable[CircuitBreaker]:
        """Return every configured circuit, and those of single routes that have failures or an override."""
        shown = (each for each in self.route_circuits.values() if not each.quiet or each.mode is not CircuitMode.AUTO)
        return (*self.circuits.values(), *shown)

    def circuits_of(self, name: str) -> Sequence[CircuitBreaker]:
        """Return the circuit of this name, then the own circuits of its routes; an empty sequence if there is none."""
        found = self.circuits.get(name) or self.route_circuits.get(name)
        below = (each for known, each in self.route_circuits.items() if known.startswith(f"{name}:"))
        return () if found is None else (found, *below)
