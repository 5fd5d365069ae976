"""A sidecar without sockets: the real handler and policies between a scripted backend and recording clients."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from random import Random
from typing import Any

import orjson

from proxy.config.settings import Breaker
from proxy.exchange.handler import RequestHandler
from proxy.exchange.handler_factory import HandlerFactory
from proxy.exchange.ports import (
    Look,
    Mark,
    Ports,
    Scope,
    Wiring,
)
from proxy.exchange.state import Exchange
from proxy.http.fields import Fields, Lines
from proxy.http.message import (
    BodyReader,
    Peer,
    Request,
    Response,
)
from proxy.policy.breaker import CircuitBreaker
from proxy.policy.coalescing import Flights
from proxy.policy.cors import CorsMemory
from proxy.policy.invalidation import Invalidations
from proxy.policy.recovery_plan import FallbackDocument, RequestTemplate
from proxy.policy.request_key import Identifier
from proxy.policy.response_cache import CachedResponse
from proxy.policy.retry import RetryPolicy
from proxy.policy.route_circuit import RouteCircuit, counts_timeouts, own_circuits
from proxy.policy.routing import Coalesce, Idempotency, Route, Router, SubjectRule
from proxy.runtime.eager_task import EagerTask
from tests.settings import (
    DEADLINE_HEADER,
    DEFAULTS,
    OWN_FIELDS,
    a_route,
    breaker_settings,
    local_claims,
    recovery_rules,
    retry_budget,
    retry_settings,
)
from tests.simulation.scripted import Play, ScriptedUpstream, Step
from tests.simulation.virtual import VirtualClock, now_ms

EXACT = retry_settings(jitter=False)  # the ladder's nominal waits
NO_RETRIES = retry_settings(jitter=False, max_retries=0)

CREATE = a_route(
    "create", "POST", "/api/sessions", "sessions", "sessions",
    subject=SubjectRule("body", "/reportId"), coalesce=Coalesce.SUBJECT, idempotency=Idempotency.INJECT,
    honours_idempotency=True, retry=EXACT,
    recovery=recovery_rules(on_conflict=RequestTemplate("GET", "/api/sessions/{subject}")),
)  # fmt: skip
LOAD = a_route(
    "load", "GET", "/api/sessions/{report_id}", "sessions", "sessions",
    subject=SubjectRule("path", "report_id"), retry=EXACT,
)  # fmt: skip
UPDATE = replace(LOAD, operation="update", method="PATCH")
HISTORY = replace(
    LOAD, operation="history", template="/api/history/{report_id}", reuse_s=2.0,
    recovery=recovery_rules(fallback=FallbackDocument(200, {"messages": [], "degraded": True})),
)  # fmt: skip
ROUTES = (CREATE, LOAD, UPDATE, HISTORY)
CATCH_ALL = a_route("passthrough", "*", "*", "sessions", "sessions", resend=False, total_timeout_s=30.0, retry=EXACT)


class RecordingClient:
    """A downstream end that writes down what it is given."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self.fields = Fields(())
        self.at_ms = 0.0
        self.answers = 0
        self.hung_up = False
        self.when_answered: Callable[[], None] | None = None

    def interim(self, response: Response) -> None:
        raise AssertionError(f"no script sends an interim answer: {response}")

    def write(self, response: Response, more: Lines) -> None:
        assert isinstance(response.body, bytes)
        self._take(response, more)
        self.body = response.body

    def hang_up(self) -> None:
        self.hung_up, self.at_ms = True, now_ms()

    async def relay(self, response: Response, reader: BodyReader, more: Lines) -> int:
        self._take(response, more)
        try:
            while piece := await reader.read():
                self.body += piece
        finally:
            reader.close()
        return len(self.body)

    def _take(self, response: Response, more: Lines) -> None:
        self.answers += 1
        self.status, self.at_ms = response.status, now_ms()
        self.fields = Fields(response.fields.lines + more)
        if self.when_answered is not None:
            self.when_answered()


class RecordingMeter:
    """Counters by name and label."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()

    def _count(self, *what: str) -> None:
        self.counts[what] += 1

    def coalesced(self, route: str, role: str) -> None:
        self._count("coalesced", role)

    def attempted(self, upstream: str, route: str, result: str, seconds: float) -> None:
        self._count("attempted", result)

    def retried(self, route: str, reason: str) -> None:
        self._count("retried", reason)

    def retry_denied(self, route: str, reason: str) -> None:
        self._count("retry_denied", reason)

    def retried_request(self, route: str, succeeded: bool) -> None:
        self._count("retried_request", str(succeeded))

    def rejected(self, circuit: str) -> None:
        self._count("rejected", circuit)

    def recovered(self, route: str, kind: str) -> None:
        self._count("recovered", kind)

    def idempotency(self, route: str, result: str) -> None:
        self._count("idempotency", result)

    def bad_request(self, reason: str) -> None:
        self._count("bad_request", reason)

    def withheld(self, route: str) -> None:
        self._count("withheld")

    def streamed(self, route: str, seconds: float) -> None:
        self._count("streamed")

    def finished(self, route: str, method: str, status: int, outcome: str, wait_s: float | None, level: str) -> None:
        self._count("finished", outcome)


class RecordingLedger:
    """The finished exchanges, in the order of their records."""

    def __init__(self) -> None:
        self.records: list[Exchange] = []
        self._awaited: dict[Exchange, asyncio.Future[None]] = {}

    def record(self, exchange: Exchange) -> None:
        self.records.append(exchange)
        if exchange in self._awaited:
            self._awaited.pop(exchange).set_result(None)

    def recorded(self, exchange: Exchange) -> "asyncio.Future[None]":
        """Return what is done once the exchange is on record."""
        done = asyncio.get_running_loop().create_future()
        if exchange in self.records:
            done.set_result(None)
        else:
            self._awaited[exchange] = done
        return done


class DictStore:
    """Kept answers without a bound; whoever reads looks at their age."""

    def __init__(self) -> None:
        self.up = True
        self.cached: dict[bytes, CachedResponse] = {}

    async def look(self, key: bytes, scope: Scope) -> Look:
        return Look(self.cached.get(key))

    async def put(self, key: bytes, cached: CachedResponse, ttl_s: float, scope: Scope, mark: Mark) -> None:
        self.cached[key] = cached

    async def drop(self, key: bytes) -> None:
        self.cached.pop(key, None)

    def forget(self, beginning: bytes) -> None:
        """Keep nothing any more under keys that begin so."""
        self.cached = {key: cached for key, cached in self.cached.items() if not key.startswith(beginning)}


class Visitor:
    """One client request on its way: in a task of asyncio's own, or in an eager one as on the wire.

    An eager task is begun from outside any task, as a transport's callback does.
    """

    def __init__(
        self, handler: RequestHandler, client: RecordingClient, ledger: RecordingLedger, *, eager: bool
    ) -> None:
        self._ledger = ledger
        self._handler = handler
        self.exchange = exchange = handler.exchange
        self.client = client
        self.came_ms = now_ms()
        loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None]
        if eager:
            self.over = loop.create_future()
            exchange.task = task = EagerTask(self._run(self.over), loop)
            task.step()
        else:
            self.over = exchange.task = loop.create_task(handler.run())

    async def _run(self, over: "asyncio.Future[None]") -> None:
        try:
            await self._handler.run()
        except BaseException as error:
            over.set_exception(error)
        else:
            over.set_result(None)

    @property
    def status(self) -> int:
        return self.client.status

    @property
    def waited_ms(self) -> float:
        """Return how long the client waited for its answer."""
        return round(self.client.at_ms - self.came_ms, 3)

    def leave(self) -> None:
        """Close the client's connection."""
        self._handler.abandon()

    async def finish(self) -> "Visitor":
        """Wait until its record is written. An attempt that goes on as a probe is nobody's request any more."""
        recorded = self._ledger.recorded(self.exchange)
        await asyncio.wait((self.over, recorded), return_when=asyncio.FIRST_COMPLETED)
        if self.exchange.lead is None or not self.exchange.lead.probing:
            await self.rest()
        return self

    async def rest(self) -> None:
        """Wait until nothing of it is under way."""
        await asyncio.wait((self.over,))
        assert self.over.cancelled() or self.over.exception() is None


class World:
    """One sidecar with one scripted upstream. `eager`: requests run in eager tasks, and must come from outside any."""

    def __init__(
        self,
        script: Iterable[Step] | Play,
        routes: tuple[Route, ...] = ROUTES,
        rules: Breaker | None = None,
        *,
        eager: bool = False,
    ) -> None:
        self.clock = VirtualClock()
        self.upstream = ScriptedUpstream(script)
        self.meter = RecordingMeter()
        self.ledger = RecordingLedger()
        self.store = DictStore()
        self.claims = local_claims(self.clock)
        self.flights = Flights(Invalidations())
        self.transitions: list[str] = []  # of the circuit that all routes share
        self.route_transitions: list[tuple[str, str]] = []
        self.rules = rules or breaker_settings(jitter=0.0)
        self.breaker = CircuitBreaker(
            "sessions", self.rules, Random(7), lambda breaker, state, now: self.transitions.append(state.name)
        )
        self.route_breakers: dict[str, CircuitBreaker] = {}  # by operation
        self.budget = retry_budget()
        self.cors = CorsMemory()
        self.address = "10.0.0.1"  # where clients come from
        self.eager = eager
        self.ports = self._handlers_of = self._ports(routes)
        self._handlers = HandlerFactory(self.ports, dry_run=False)

    def _ports(self, routes: tuple[Route, ...]) -> Ports:
        own = own_circuits((*routes, CATCH_ALL))
        wiring: Mapping[str, Wiring] = {
            route.operation: Wiring(
                Identifier(route, OWN_FIELDS), self._circuit(route, own), self.budget, self.upstream, self.cors
            )
            for route in (*routes, CATCH_ALL)
        }
        return Ports(
            Router(routes, CATCH_ALL), wiring, self.flights, RetryPolicy(Random(7)), self.store, self.claims,
            self.meter, self.ledger, self.clock, Random(7), DEFAULTS.listen.expose, DEADLINE_HEADER,
            DEADLINE_HEADER.lower(),
        )  # fmt: skip

    def _circuit(self, route: Route, own: Mapping[str, str]) -> RouteCircuit:
        if route.operation in own:
            self.route_breakers[route.operation] = CircuitBreaker(
                own[route.operation], self.rules.model_copy(update={"slow_call": None}), Random(7),
                lambda breaker, state, now: self.route_transitions.append((breaker.name, state.name)),
            )  # fmt: skip
        breaker = self.route_breakers.get(route.operation)
        return RouteCircuit(self.breaker, breaker, route.operation, counts_timeouts=counts_timeouts(route))

    def visit(self, method: str, target: str, body: bytes = b"", user: str | None = "ada", **fields: str) -> Visitor:
        """Let a client ask, now. A field's name is written with underscores; `user` is its Authorization."""
        lines = [(b"Host", b"sidecar")]
        lines += [(b"Authorization", user.encode())] if user is not None else []
        lines += [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
        request = Request(
            method, target.encode(), Fields(tuple(lines)), Peer(self.address, 40000), body, authority=b"sidecar"
        )
        return self.send(request)

    def send(self, request: Request) -> Visitor:
        """Let a client send a request as it is, now."""
        client = RecordingClient()
        if self._handlers_of is not self.ports:  # a test may put others in their place
            self._handlers, self._handlers_of = HandlerFactory(self.ports, dry_run=False), self.ports
        return Visitor(self._handlers.open(request, client), client, self.ledger, eager=self.eager)

    def get(self, report: str = "r1", user: str | None = "ada", **fields: str) -> Visitor:
        """Load a session."""
        return self.visit("GET", f"/api/sessions/{report}", b"", user, **fields)

    def create(self, report: str = "r1", user: str | None = "ada", **fields: str) -> Visitor:
        """Create a session, with a key of the client's own where one is given."""
        body = orjson.dumps({"reportId": report})
        return self.visit("POST", "/api/sessions", body, user, Content_Type="application/json", **fields)

    def patch(self, report: str = "r1", body: bytes = b"{}", user: str | None = "ada", **fields: str) -> Visitor:
        """Change a session."""
        return self.visit("PATCH", f"/api/sessions/{report}", body, user, **fields)

    def history(self, report: str = "r1", user: str | None = "ada", **fields: str) -> Visitor:
        """Read a history, which is kept for two seconds."""
        return self.visit("GET", f"/api/history/{report}", b"", user, **fields)

    async def until_ms(self, at_ms: float) -> None:
        """Wait until `at_ms` virtual milliseconds after the beginning."""
        await self.clock.sleep((at_ms - now_ms()) / 1000)

    def later(self, after_ms: float, call: Callable[[], None]) -> None:
        """Have `call` run in `after_ms` virtual milliseconds."""
        asyncio.get_running_loop().call_later(after_ms / 1000, call)

    def transitions_of(self, operation: str) -> list[str]:
        """Return the transitions of a route's own circuit."""
        name = self.route_breakers[operation].name
        return [state for circuit, state in self.route_transitions if circuit == name]

    def at_rest(self) -> bool:
        """Tell whether every permit and every flight came back."""
        probing = len(self.ports.probes)
        leases = [breaker._leases for breaker in (self.breaker, *self.route_breakers.values())]
        return not (probing or len(self.flights) or self.flights.followers or any(leases))

    def roles(self) -> tuple[int, int, int]:
        """Return how many requests led, joined and went alone."""
        counts = self.meter.counts
        return counts["coalesced", "led"], counts["coalesced", "joined"], counts["coalesced", "alone"]


class SharedClaims:
    """A world's claims, as if replicas shared them, for a test to replace some methods."""

    spans_replicas = True

    def __init__(self, world: World) -> None:
        self._held = world.claims
        self._clock = world.clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._held, name)


async def finish(*visitors: Visitor) -> None:
    """Wait until every visitor's record is written."""
    for visitor in visitors:
        await visitor.finish()
