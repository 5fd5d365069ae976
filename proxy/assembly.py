"""Build the objects that requests share from the settings; a reload rebuilds them and keeps those with state."""

import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random

from proxy.clock import Clock
from proxy.config.routes import Passthrough, RouteSettings, RouteTable
from proxy.config.settings import Breaker, Settings
from proxy.exchange.ports import (
    DurabilityGate,
    Ledger,
    Meter,
    Ports,
    Tracer,
    Upstream,
    Wiring,
)
from proxy.http.headers import OWN_FIELDS
from proxy.policy import route_circuit, route_compiler
from proxy.policy.balancing import AddressHealth, Balancer, EjectionRules
from proxy.policy.breaker import CircuitBreaker, CircuitMode, CircuitState
from proxy.policy.coalescing import Flights
from proxy.policy.cors import CorsMemory
from proxy.policy.probing import Probes
from proxy.policy.request_key import Identifier
from proxy.policy.retry import RetryBudget, RetryPolicy
from proxy.policy.route_circuit import RouteCircuit
from proxy.policy.routing import Route, Router
from proxy.principals.registry import Principals
from proxy.route_changes import RouteChanges
from proxy.store.bundle import StoreBundle
from proxy.upstream.balancer import BalancedUpstream
from proxy.upstream.connector import BackendAddress
from proxy.upstream.forwarding import Forwarding
from proxy.upstream.pool import HttpUpstream, UpstreamPool
from proxy.upstream.pool_limits import PoolLimits

Table = RouteTable | Passthrough
_Holder = tuple[str, str | None]  # an upstream's name, and an operation with its own budget
_Place = tuple[str, BackendAddress]  # an upstream's name, and one of its addresses
Contexts = Mapping[str, ssl.SSLContext]  # by upstream
_Addresses = Mapping[str, frozenset[BackendAddress]]  # by upstream, or by circuit
OnTransition = Callable[[CircuitBreaker, CircuitState, float], None]


class Assembly:
    """Build `Ports`, and keep across reloads: breakers, pools, budgets and learnt CORS fields, by name.

    Breakers and budgets describe the failures of a backend's addresses: if a reload replaces all addresses, they start
    again without history. An operator's override of a circuit stays.
    """

    def __init__(
        self, flights: Flights, retry: RetryPolicy, bundle: StoreBundle, meter: Meter, ledger: Ledger, clock: Clock,
        random: Random, on_transition: OnTransition, durability_gate: DurabilityGate | None = None,
        tracer: Tracer | None = None, principals: Principals | None = None,
    ) -> None:  # fmt: skip
        self.breakers: dict[str, CircuitBreaker] = {}
        self.route_breakers: dict[str, CircuitBreaker] = {}  # by the name of a route's own circuit
        self.probes = Probes()
        self.pools: dict[_Place, UpstreamPool] = {}
        self._retired: list[UpstreamPool] = []  # until their running requests complete or time out
        self._balancers: dict[str, tuple[tuple[BackendAddress, ...], Balancer]] = {}
        self._flights = flights
        self._retry = retry
        self._bundle = bundle
        self._meter = meter
        self._ledger = ledger
        self._durability_gate = durability_gate
        self._tracer = tracer
        self._principals = principals
        self._clock = clock
        self._random = random
        self._on_transition = on_transition
        self._upstream_addresses: _Addresses = {}
        self._circuit_addresses: _Addresses = {}
        self._budgets: dict[_Holder, RetryBudget] = {}
        self._cors: dict[str, tuple[tuple[str, ...], CorsMemory]] = {}
        self._changes = RouteChanges()

    def build(self, settings: Settings, tls: Contexts) -> Ports:
        """Build `Ports` from the settings; `tls` has the context of each upstream with TLS."""
        routes, catch_all = route_compiler.routes(settings), route_compiler.passthrough(settings)
        own_circuits = route_circuit.own_circuits((*routes, catch_all))
        self._build_breakers(settings, (*routes, catch_all), own_circuits)
        pools = self._build_pools(settings, tls)
        self._forget(settings, (*routes, catch_all))
        tables: tuple[Table, ...] = (*settings.routes, settings.passthrough)
        wiring, own = dict[str, Wiring](), _own_fields(settings)
        budgets = self._build_budgets(settings, tables)
        for route, table in zip((*routes, catch_all), tables, strict=True):
            budget = budgets[_budget_holder(settings, table)]
            wiring[route.operation] = Wiring(
                Identifier(route, own),
                self._circuit(route, own_circuits.get(route.operation)),
                budget,
                self._upstream(route, pools[route.upstream], settings),
                self._cors_of(route, table, settings),
                self._changes.of(route.operation).cached_under,
                self._changes.of(route.operation).since,
                None if self._principals is None else self._principals.of(route.verified),
            )
        return Ports(
            Router(routes, catch_all), wiring, self._flights, self._retry, self._bundle.responses, self._bundle.claims,
            self._meter, self._ledger, self._clock, self._random, settings.listen.expose,
            settings.listen.deadline_header.encode(), _deadline_field(settings), self._durability_gate,
            None if settings.dry_run else self._tracer, self._bundle.replicas, self.probes, self._bundle.clock,
        )  # fmt: skip

    def _forget(self, settings: Settings, routes: Iterable[Route]) -> None:
        """Drop the state of upstreams and routes that were removed or changed.

        Used idempotency keys stay (`claims`): without its key, a request could be executed twice.
        """
        urls = {name: tuple(table.url) for name, table in settings.upstreams.items()}
        for name in tuple(self._balancers):
            if len(urls.get(name, ())) < 2:  # one address needs no choice
                del self._balancers[name]
        self._cors = {name: known for name, known in self._cors.items() if urls.get(name) == known[0]}
        gone = self._changes.take(routes, _backends(settings), _callers(settings), self._bundle.clock.wall())
        for version in gone:
            self._bundle.responses.forget(version.cached_under)
            if version.upstream in self._cors:
                self._cors[version.upstream][1].forget_preflights()
        if gone:
            self._flights.invalidations.close_flights()

    def _build_budgets(self, settings: Settings, tables: tuple[Table, ...]) -> Mapping[_Holder, RetryBudget]:
        """Return every retry budget with its current balance and the configured share."""
        before, self._budgets = self._budgets, {}
        known, self._upstream_addresses = self._upstream_addresses, _addresses(settings)
        for holder in tuple(before):
            if _all_replaced(known, self._upstream_addresses, holder[0]):
                del before[holder]
        for table in tables:
            holder, share = _budget_holder(settings, table), table.retry.budget
            budget = self._budgets[holder] = before.get(holder) or RetryBudget(share)
            budget.change(share)
        return self._budgets

    def _circuit(self, route: Route, own: str | None) -> RouteCircuit:
        """Return a route's circuits; `own` is the name of its own one."""
        return RouteCircuit(
            self.breakers[route.circuit],
            None if own is None else self.route_breakers[own],
            route.operation,
            counts_timeouts=route_circuit.counts_timeouts(route),
        )

    def _build_breakers(self, settings: Settings, routes: Sequence[Route], own: Mapping[str, str]) -> None:
        """Build the configured circuits, and those of single routes, whose names are in `own` by operation."""
        known, self._circuit_addresses = self._circuit_addresses, _of_circuits(_addresses(settings), routes, own)
        shared = settings.breakers
        # slow calls are judged by the shared circuit, whose setting it is
        rules = {
            own[route.operation]: shared[route.circuit].model_copy(update={"slow_call": None})
            for route in routes
            if route.operation in own
        }
        for breakers, rules_by_name in ((self.breakers, shared), (self.route_breakers, rules)):
            for name in breakers.keys() - rules_by_name.keys():
                del breakers[name]
            for name, each in rules_by_name.items():
                breaker = breakers.get(name)
                if breaker is None or _all_replaced(known, self._circuit_addresses, name):
                    self._begin_anew(breakers, name, each)
                else:
                    breaker.rules = each
                self._observe(breakers[name], only=settings.dry_run)

    def is_current(self, breaker: CircuitBreaker) -> bool:
        """Tell whether new requests ask this breaker: a reload may have removed or replaced it."""
        return breaker in (self.breakers.get(breaker.name), self.route_breakers.get(breaker.name))

    def _begin_anew(self, breakers: dict[str, CircuitBreaker], name: str, rules: Breaker) -> None:
        """Create a circuit's breaker. Running requests report to the previous one, which gets no new requests."""
        before = breakers.get(name)
        breaker = breakers[name] = CircuitBreaker(name, rules, self._random, self._on_transition)
        if before is None:
            return
        breaker.take_mode(before.mode)
        if breaker.shown is not before.shown:
            self._on_transition(breaker, breaker.shown, self._clock.now())

    @staticmethod
    def _observe(breaker: CircuitBreaker, *, only: bool) -> None:
        """In a dry run, let breakers count without refusing; an operator's override stays."""
        if only:
            breaker.take_mode(CircuitMode.OBSERVE)
        elif breaker.mode is CircuitMode.OBSERVE:
            breaker.take_mode(CircuitMode.AUTO)

    def _build_pools(self, settings: Settings, tls: Contexts) -> Mapping[str, Sequence[UpstreamPool]]:
        """Return the pools of each upstream, one for each address."""
        before, self.pools = self.pools, {}
        pools: dict[str, Sequence[UpstreamPool]] = {}
        for name, table in settings.upstreams.items():
            places, rules = [(name, BackendAddress.of(url)) for url in table.url], PoolLimits.of(table)
            pools[name] = [self._pool(before.get(place), place, rules, tls.get(name)) for place in places]
        there = set(self.pools.values())
        for pool in before.values():
            if pool not in there:
                pool.retire()
                self._retired.append(pool)
        return pools

    def _upstream(self, route: Route, pools: Sequence[UpstreamPool], settings: Settings) -> Upstream:
        """Return a route's upstream. Routes share its pools and balancer, and have their own settings."""
        forwarding = Forwarding(settings.listen.via, settings.listen.forwarded)
        own = frozenset[bytes]() if settings.dry_run else OWN_FIELDS | {_deadline_field(settings)}
        each = [HttpUpstream(pool, forwarding, own, route.settings.idle_timeout) for pool in pools]
        if len(each) == 1:
            return each[0]
        return BalancedUpstream(each, self._balancer(route.upstream, tuple(pool.address for pool in pools)))

    def _pool(
        self, before: UpstreamPool | None, place: _Place, rules: PoolLimits, tls: ssl.SSLContext | None
    ) -> UpstreamPool:
        """Return an upstream's existing pool for an address, unless it must be rebuilt.

        Upstreams share no pool: each has its own certificate, authorities and limits. A TLS connection keeps the
        certificate and authorities of its handshake, so a reload, which reads the files again, opens new connections.
        """
        address = place[1]
        if before is None or before.rules != rules or address.secure:
            before = self.pools.get(place) or UpstreamPool(address, rules, tls)  # an address may be listed twice
        return self.pools.setdefault(place, before)

    def _balancer(self, name: str, addresses: tuple[BackendAddress, ...]) -> Balancer:
        known = self._balancers.get(name)
        if known is None or known[0] != addresses:
            learnt = {} if known is None else dict(zip(known[0], known[1].health, strict=True))
            health = [learnt.get(address) or AddressHealth() for address in addresses]
            known = self._balancers[name] = (addresses, Balancer(len(addresses), EjectionRules(), health))
        return known[1]

    def _cors_of(self, route: Route, table: RouteSettings, settings: Settings) -> CorsMemory:
        if table.cors is not None:
            return CorsMemory(tuple(table.cors.allow_origins), credentials=table.cors.allow_credentials)
        urls = tuple(settings.upstreams[route.upstream].url)
        return self._cors.setdefault(route.upstream, (urls, CorsMemory()))[1]

    def sweep(self, now: float, awake: float) -> None:
        """Close connections that were idle or silent for too long; `awake` excludes the time of a suspended process."""
        for pool in (*self.pools.values(), *self._retired):
            pool.sweep(now, awake)
        self._retired = [pool for pool in self._retired if not pool.empty]

    def close(self) -> None:
        """Close every upstream connection at once."""
        for pool in (*self.pools.values(), *self._retired):
            pool.close()


def _addresses(settings: Settings) -> _Addresses:
    return {name: frozenset(map(BackendAddress.of, table.url)) for name, table in settings.upstreams.items()}


def _of_circuits(addresses: _Addresses, routes: Iterable[Route], own: Mapping[str, str]) -> _Addresses:
    """Return the addresses of each circuit: those of its upstream, or of the upstreams of its routes."""
    found = dict(addresses)
    for route in routes:
        found[route.circuit] = found.get(route.circuit, frozenset()) | addresses[route.upstream]
        if route.operation in own:
            found[own[route.operation]] = addresses[route.upstream]
    return found


def _all_replaced(before: _Addresses, after: _Addresses, name: str) -> bool:
    """Tell whether `name` had addresses and has lost all of them."""
    return name in before and before[name].isdisjoint(after.get(name, frozenset()))


def _budget_holder(settings: Settings, table: Table) -> _Holder:
    """Return the scope of a retry budget: the route, or all routes of the upstream that use `[defaults]`."""
    return table.upstream, table.operation if settings.has_own_budget(table.operation) else None


def _backends(settings: Settings) -> Mapping[str, tuple[str, ...]]:
    """Return for each upstream the settings that select the backend and the sidecar's identity towards it."""
    return {
        name: (*table.url, table.tls_ca or "", table.tls_certificate or "", table.tls_key or "")
        for name, table in settings.upstreams.items()
    }


def _callers(settings: Settings) -> object:
    """Return the listener's settings that distinguish callers, or that determine what the backend learns about them."""
    listen = settings.listen
    return (listen.trusted_proxies, listen.deadline_header, listen.underscores, listen.forwarded)


def _own_fields(settings: Settings) -> frozenset[bytes]:
    """Return the request fields that the sidecar interprets, so their bytes are not part of the request key."""
    client_fields = {b"x-forwarded-for"} if settings.listen.trusted_proxies else set[bytes]()
    return frozenset({_deadline_field(settings), *client_fields})


def _deadline_field(settings: Settings) -> bytes:
    return settings.listen.deadline_header.lower().encode()
