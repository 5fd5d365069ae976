"""The stages of one route, built once at start and at each reload. They hold no request's state."""

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
    """What a request of one route goes through, stage by stage."""

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
    """Which class each stage is of; `silent`: answers get no fields of the sidecar's own."""

    opening: type[Opening] = Opening
    joining: type[Joining] = Joining
    claims: type[Claiming] = Claiming
    cache: type[Cache] = Cache
    attempts: type[Attempts] = Attempts
    recovery: type[Recovery] = Recovery
    silent: bool = False


REAL = Stages()


def pipeline(route: Route, parts: Ports, stages: Stages) -> RoutePipeline:
    """Return the stages of a route as its settings ask for them."""
    wiring = parts.wired(route)
    joining, cache = stages.joining(route, wiring, parts), stages.cache(route, wiring, parts)
    attempts, recorder = stages.attempts(route, wiring, parts), Recorder(route, wiring, parts)
    responder = Responder(route, wiring, parts, recorder, silent=stages.silent)
    return RoutePipeline(
        route, stages.opening(route, parts), joining, stages.claims(route, wiring, parts), cache, attempts,
        stages.recovery(route, wiring, parts, attempts, cache), recorder, responder,
        Leaving(parts, joining, attempts, recorder, responder), parts.clock,
    )  # fmt: skip
