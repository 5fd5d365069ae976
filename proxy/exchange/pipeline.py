"""The stages of one route, built at start and at each reload. They hold no state of requests."""

from typing import NamedTuple

from proxy.clock import Clock
from proxy.exchange.attempts import Attempts
from proxy.exchange.cache import Cache
from proxy.exchange.claims import Claiming
from proxy.exchange.joining import Joining
from proxy.exchange.leaving import Leaving
from proxy.exchange.opening import Opening
from proxy.exchange.ports import Ports
from proxy.exchange.recorder import Recorder
from proxy.exchange.recovery import Recovery
from proxy.exchange.responder import Responder
from proxy.policy.routing import Route


class RoutePipeline:
    """The stages that process the requests of one route."""

    __slots__ = (
        "attempts", "cache", "claims", "clock", "joining", "leaving", "opening", "recorder", "recovery", "responder",
        "route",
    )  # fmt: skip

    def __init__(
        self, route: Route, opening: Opening, joining: Joining, claims: Claiming, cache: Cache, attempts: Attempts,
        recovery: Recovery, recorder: Recorder, responder: Responder, leaving: Leaving, clock: Clock,
    ) -> None:  # fmt: skip
        self.route = route
        self.opening = opening
        self.joining = joining
        self.claims = claims
        self.cache = cache
        self.attempts = attempts
        self.recovery = recovery
        self.recorder = recorder
        self.responder = responder
        self.leaving = leaving
        self.clock = clock


class Stages(NamedTuple):
    """The class of each stage; `silent`: responses get no fields of the sidecar."""

    opening: type[Opening] = Opening
    joining: type[Joining] = Joining
    claims: type[Claiming] = Claiming
    cache: type[Cache] = Cache
    attempts: type[Attempts] = Attempts
    recovery: type[Recovery] = Recovery
    silent: bool = False


REAL = Stages()


def pipeline(route: Route, ports: Ports, stages: Stages) -> RoutePipeline:
    """Build the stages of a route from its settings."""
    wiring = ports.wired(route)
    joining, cache = stages.joining(route, wiring, ports), stages.cache(route, wiring, ports)
    attempts, recorder = stages.attempts(route, wiring, ports), Recorder(route, wiring, ports)
    responder = Responder(route, wiring, ports, recorder, silent=stages.silent)
    return RoutePipeline(
        route, stages.opening(route, ports), joining, stages.claims(route, wiring, ports), cache, attempts,
        stages.recovery(route, wiring, ports, attempts, cache), recorder, responder,
        Leaving(ports, joining, attempts, recorder, responder), ports.clock,
    )  # fmt: skip
