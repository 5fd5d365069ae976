"""A control plane over real circuits and metrics, whose actions are recorded instead of executed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

from aiohttp import ClientSession

from proxy.admin.admin_listener import start_admin
from proxy.admin.control import ControlPlane
from proxy.config.effective import effective
from proxy.config.settings import Settings
from proxy.observe.metrics import Metrics
from proxy.observe.statistics import Statistics
from proxy.policy.breaker import CircuitBreaker, Permit
from proxy.policy.classify import Verdict
from proxy.policy.latency_target import Target
from proxy.policy.restoration import Restorations
from proxy.store.erased import Erased
from tests.settings import a_route, admin_settings, breaker_settings

ROUTES = (
    a_route("history", "GET", "/history", "sessions", "restoration", target=Target(0.5, 1.0, 2.0)),
    a_route("passthrough", "*", "*", "sessions", "sessions"),
)
TOKEN = "open-sesame"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@dataclass
class Sidecar:
    """Stand in for the running sidecar: what it has, and what it was told to do."""

    token: str | None = TOKEN
    ready: bool = True
    draining: bool = False
    export_format: str = "json"
    now: float = 100.0
    settings: Settings = field(default_factory=Settings)
    erased: list[str] = field(default_factory=list)
    store_away: bool = False
    switches: dict[str, bool] = field(default_factory=lambda: {"retries": True, "coalescing": True})
    newest: list[bytes] = field(default_factory=list)
    metrics: Metrics = field(default_factory=lambda: Metrics(["history"], ["sessions"]))
    restorations: Restorations = field(default_factory=Restorations)
    circuits: dict[str, CircuitBreaker] = field(
        default_factory=lambda: {
            name: CircuitBreaker(name, breaker_settings(jitter=0.0), Random(1)) for name in ("sessions", "restoration")
        }
    )
    route_circuits: dict[str, CircuitBreaker] = field(
        default_factory=lambda: {
            name: CircuitBreaker(name, breaker_settings(jitter=0.0), Random(1))
            for name in ("sessions:history", "sessions:load")
        }
    )

    def trip(self, name: str) -> None:
        """Open a circuit with as many failures as it takes."""
        circuit = (self.circuits | self.route_circuits)[name]
        for _ in range(circuit.rules.failure_threshold):
            permit = circuit.admit(self.now)
            assert isinstance(permit, Permit)
            circuit.report(permit, Verdict.NETWORK, self.now)

    def drain(self) -> None:
        self.draining = True

    async def erase(self, subject: str) -> Erased:
        self.erased.append(subject)
        return Erased(3, 2, 1, complete=not self.store_away)

    def control(self) -> ControlPlane:
        """Return what the admin listener is given."""
        return ControlPlane(
            metrics=self.metrics,
            statistics=Statistics(self.metrics),
            restorations=self.restorations,
            routes=lambda: ROUTES,
            circuits=self.circuits,
            route_circuits=self.route_circuits,
            newest=self.newest,
            token=lambda: self.token,
            now=lambda: self.now,
            ready=lambda: self.ready,
            switches=lambda: self.switches,
            switch=self.switches.__setitem__,
            drain=self.drain,
            export_format=lambda: self.export_format,
            erase=self.erase,
            config=lambda: effective(self.settings),
        )


@asynccontextmanager
async def client_of(sidecar: Sidecar) -> AsyncIterator[ClientSession]:
    """Open the sidecar's admin listener on a free port, and a client of it."""
    listener = await start_admin(sidecar.control(), admin_settings())
    try:
        async with ClientSession(listener.url) as session:
            yield session
    finally:
        await listener.close()
