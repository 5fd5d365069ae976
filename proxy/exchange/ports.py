"""What the exchange needs from components that do I/O, as Protocols. `app` provides them; tests provide scripts."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, NamedTuple, Protocol

from proxy.clock import Clock
from proxy.http.fields import Lines
from proxy.http.message import (
    BodyReader,
    Outcome,
    Request,
    Response,
)
from proxy.policy.bounded import ANYBODY, Holder
from proxy.policy.breaker import CircuitBreaker
from proxy.policy.claim_rules import (
    Acquired,
    Claim,
    ClaimState,
    HeldByOther,
    Orphaned,
)
from proxy.policy.coalescing import Flights
from proxy.policy.cors import CorsMemory
from proxy.policy.principals import RoutePrincipals
from proxy.policy.probing import Probes
from proxy.policy.recovery_plan import Result
from proxy.policy.request_key import Identifier
from proxy.policy.response_cache import CachedResponse
from proxy.policy.retry import RetryBudget, RetryPolicy
from proxy.policy.route_circuit import RouteCircuit
from proxy.policy.routing import Route, Router
from proxy.policy.spans import Span

if TYPE_CHECKING:
    from proxy.exchange.state import Exchange


OnDurable = Callable[[bool], None]
Interim = Callable[[Response], None]


class Client(Protocol):
    """The downstream end of one exchange."""

    def interim(self, response: Response) -> None:
        """Write an interim response (1xx), unless the client is HTTP/1.0."""
        ...

    def write(self, response: Response, more: Lines) -> None:
        """Write a complete response at once; do nothing if the client has left."""
        ...

    def hang_up(self) -> None:
        """Close the connection instead of a response, after all responses before it."""
        ...

    async def relay(self, response: Response, reader: BodyReader, more: Lines) -> int:
        """Relay a streamed response; return its body's bytes. Raise BrokenBody if the client was cut off."""
        ...


class Upstream(Protocol):
    """One session backend."""

    @property
    def has_healthy_address(self) -> bool:
        """Tell whether an address without failures is left; then a failure is not the whole upstream's."""
        ...

    @property
    def last_address(self) -> str:
        """Return the address of the outcome that `send` returned last, for logs; read it before the next await."""
        ...

    async def send(self, request: Request, more: Lines, timeout_s: float, interim: Interim) -> Outcome:
        """Return the outcome at most `timeout_s` seconds after the request's last byte was received and sent.

        `interim` gets each interim response (1xx except 101).
        """
        ...


Mark = tuple[bytes, ...] | None


class Scope(NamedTuple):
    """The subject and the owners of a response: a write to either invalidates it. `holder` is charged for it."""

    subject: str | None
    owners: Iterable[bytes]
    holder: Holder = ANYBODY


class Look(NamedTuple):
    """The cached response, if any, and a mark of all writes before the look-up."""

    cached: CachedResponse | None
    mark: Mark = None


class Store(Protocol):
    """Cached responses. An unavailable store behaves as an empty one, and delays a request by at most 50 ms."""

    @property
    def up(self) -> bool:
        """Tell whether the store is available."""
        ...

    async def look(self, key: bytes, scope: Scope) -> Look:
        """Return what is cached under `key`, unless another replica's write has invalidated it."""
        ...

    async def put(self, key: bytes, cached: CachedResponse, ttl_s: float, scope: Scope, mark: Mark) -> None:
        """Cache a response for at most `ttl_s` seconds; `mark` is from the look-up before the request was sent."""
        ...

    async def drop(self, key: bytes) -> None:
        """Remove what is cached under `key`."""
        ...

    def forget(self, beginning: bytes) -> None:
        """Drop what this process caches under keys with this prefix. Never waits."""
        ...


class Claims(Protocol):
    """Claims decide which caller sends a request. With a shared store they span all replicas."""

    @property
    def spans_replicas(self) -> bool:
        """Tell whether other replicas see the claims, so that a flight should claim."""
        ...

    async def claim(self, claim: Claim, within_s: float = 0.0) -> ClaimState:
        """Take the claim if it is free; return its state. Wait up to `within_s` seconds for a store that reconnects."""
        ...

    async def alone(self, claim: Claim) -> ClaimState:
        """Take the claim in this process only, if the store is unavailable; return its state here."""
        ...

    async def wait(self, claim: Claim, held: HeldByOther, within_s: float) -> ClaimState | None:
        """Wait for the claim's holder; return the new state, None if the time ran out."""
        ...

    async def take_over(self, claim: Claim, orphan: Orphaned) -> ClaimState:
        """Take over a claim whose owner died, unless another replica did so first."""
        ...

    async def settle(self, claim: Claim, mine: Acquired, result: Result | None, *, keep: bool) -> None:
        """Give the result to all waiters (None: not shareable); keep it for later requests, or free the claim."""
        ...

    def settle_soon(self, claim: Claim, mine: Acquired, result: Result | None, *, keep: bool) -> None:
        """Do the same in the background."""
        ...

    def release(self, claim: Claim, mine: Acquired, *, sent: bool) -> None:
        """Release a claim at once; if the request was sent, when the claim's lease expires. Never wait."""
        ...


class Replicas(Protocol):
    """The other sidecars, or the next process, that must know of a write; None with `memory://`."""

    async def flushed(self) -> None:
        """Wait, for a limited time, until the store has all invalidations of this process."""
        ...


class Meter(Protocol):
    """Counters. No method raises or waits."""

    def coalesced(self, route: str, role: str) -> None: ...
    def attempted(self, upstream: str, route: str, result: str, seconds: float) -> None: ...
    def retried(self, route: str, reason: str) -> None: ...
    def retry_denied(self, route: str, reason: str) -> None: ...
    def retried_request(self, route: str, succeeded: bool) -> None: ...
    def rejected(self, circuit: str) -> None: ...
    def recovered(self, route: str, kind: str) -> None: ...
    def idempotency(self, route: str, result: str) -> None: ...
    def bad_request(self, reason: str) -> None: ...
    def withheld(self, route: str) -> None: ...
    def streamed(self, route: str, seconds: float) -> None: ...
    def finished(
        self, route: str, method: str, status: int, outcome: str, wait_s: float | None, level: str
    ) -> None: ...


class Ledger(Protocol):
    """Records finished exchanges."""

    def record(self, exchange: "Exchange") -> None:
        """Record a finished exchange. Never waits, never raises."""
        ...


class Tracer(Protocol):
    """Makes spans for requests and attempts. Without a tracer, `traceparent` is forwarded unchanged."""

    def begin(self, exchange: "Exchange") -> Span:
        """Start a request's span, and remove the caller's `traceparent`."""
        ...

    def attempt(self, exchange: "Exchange", wall: float) -> tuple[bytes, bytes]:
        """Start an attempt's span; return the field line for the upstream."""
        ...

    def end(self, exchange: "Exchange") -> None:
        """Export a finished exchange's spans. Never waits, never raises."""
        ...

    def close(self) -> None:
        """Send the remaining spans; may block for seconds."""
        ...


class DurabilityGate(Protocol):
    """Waits until a record is on disk. In `batch` mode there is no gate, and nothing waits."""

    async def intent(self, exchange: "Exchange", within_s: float) -> bool:
        """Return whether an unsafe request may be sent: in `strict`, after its intent is on disk."""
        ...

    def when_durable(self, exchange: "Exchange", on_durable: OnDurable) -> None:
        """Call `on_durable` when the exchange's record is on disk; with False if that takes too long."""
        ...

    async def opening(self, exchange: "Exchange") -> bool:
        """Return whether a streamed response may begin: after a note about it is on disk."""
        ...


@dataclass(frozen=True, slots=True)
class Wiring:
    """The shared objects of one route."""

    identifier: Identifier
    circuit: RouteCircuit
    budget: RetryBudget
    upstream: Upstream
    cors: CorsMemory
    cached_under: bytes = b""  # prefix of the keys of its cached responses
    cached_since: float = 0.0  # wall time: an older cached response belonged to another route
    principals: RoutePrincipals | None = None  # judge its tokens; None if its `principal` names no table

    @property
    def breaker(self) -> CircuitBreaker:
        """Return the circuit that the route shares with others."""
        return self.circuit.shared


@dataclass(frozen=True, slots=True)
class Ports:
    """The shared objects of all exchanges."""

    router: Router
    wiring: Mapping[str, Wiring]  # by operation
    flights: Flights
    retry: RetryPolicy
    store: Store
    claims: Claims
    meter: Meter
    ledger: Ledger
    clock: Clock
    random: Random
    expose: bool
    deadline_header: bytes  # its spelling upstream
    deadline_field: bytes  # its name for look-ups in a request
    durability_gate: DurabilityGate | None = None
    tracer: Tracer | None = None
    replicas: Replicas | None = None
    probes: Probes = field(default_factory=Probes)
    cache_clock: Clock | None = None  # the clock of ages, if it is another one

    def wired(self, route: Route) -> Wiring:
        """Return the wiring of a route."""
        return self.wiring[route.operation]
