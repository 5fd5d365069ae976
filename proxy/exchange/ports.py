"""What the page needs of the rooms with I/O, as Protocols; `app` plugs the real ones in, tests plug in scripts."""

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
from proxy.policy.deadline import HEADER
from proxy.policy.probing import Probes
from proxy.policy.recovery_plan import Result
from proxy.policy.request_key import Identifier
from proxy.policy.response_cache import CachedResponse
from proxy.policy.retry import RetryBudget, RetryPolicy
from proxy.policy.routing import Route, Router
from proxy.policy.spans import Span

if TYPE_CHECKING:
    from proxy.exchange.state import Exchange


Tell = Callable[[bool], None]
Interim = Callable[[Response], None]


class Client(Protocol):
    """The downstream end of one exchange."""

    def interim(self, response: Response) -> None:
        """Write an interim answer (1xx), if the client can read one."""
        ...

    def write(self, response: Response, more: Lines) -> None:
        """Write a whole answer at once; nothing if the client has left."""
        ...

    async def relay(self, response: Response, reader: BodyReader, more: Lines) -> int:
        """Write a streamed answer as it comes; return its body's bytes. Raise BrokenBody once the client is cut off."""
        ...


class Upstream(Protocol):
    """One session backend."""

    @property
    def standing(self) -> bool:
        """Tell whether, after a failure, an address is left that does not fail: then it was not the service's."""
        ...

    async def send(self, request: Request, more: Lines, timeout_s: float, interim: Interim) -> Outcome:
        """Return the answer, at the latest `timeout_s` after the request's last byte was here and sent.

        `interim` is given every answer that comes before it (1xx, but for 101).
        """
        ...


Mark = tuple[bytes, ...] | None


class Scope(NamedTuple):
    """What an answer is of, and whose: a write to either makes it old. `holder` has it kept."""

    subject: str | None
    owners: Iterable[bytes]
    holder: Holder = ANYBODY


class Look(NamedTuple):
    """What is kept, if anything, and a mark of all that was written before the look."""

    kept: CachedResponse | None
    mark: Mark = None


class Store(Protocol):
    """Answers kept between requests. A store that is down behaves as an empty one, and takes at most 50 ms to."""

    @property
    def up(self) -> bool:
        """Tell whether it answers."""
        ...

    async def look(self, key: bytes, scope: Scope) -> Look:
        """Return what is kept under `key`, unless another replica's write has made it old."""
        ...

    async def put(self, key: bytes, kept: CachedResponse, ttl_s: float, scope: Scope, mark: Mark) -> None:
        """Keep an answer for at most `ttl_s` seconds; `mark` is the one of the look before it was asked for."""
        ...

    async def drop(self, key: bytes) -> None:
        """Keep nothing under `key` any more."""
        ...

    def forget(self, beginning: bytes) -> None:
        """Let go of what this process keeps under keys that begin so. Never waits."""
        ...


class Claims(Protocol):
    """Who asks what. With a shared store every replica sees the same."""

    @property
    def spans_replicas(self) -> bool:
        """Tell whether other replicas claim here too, so that flights are worth a claim."""
        ...

    async def claim(self, claim: Claim, within_s: float = 0.0) -> ClaimState:
        """Take the claim if it is free; return how it stands. A store that blinks is waited for, for `within_s`."""
        ...

    async def alone(self, claim: Claim) -> ClaimState:
        """Take the claim for this process alone, where the store cannot tell; return how it stands here."""
        ...

    async def wait(self, claim: Claim, held: HeldByOther, within_s: float) -> ClaimState | None:
        """Wait for whoever holds it; return how it stands then, None if the time was over first."""
        ...

    async def take_over(self, claim: Claim, orphan: Orphaned) -> ClaimState:
        """Take a dead owner's place, unless somebody was quicker."""
        ...

    async def settle(self, claim: Claim, mine: Acquired, result: Result | None, *, keep: bool) -> None:
        """Give the answer to all who wait (None: it may not be shared); keep it for later ones, or free the claim."""
        ...

    def settle_soon(self, claim: Claim, mine: Acquired, result: Result | None, *, keep: bool) -> None:
        """Do the same without waiting for the store."""
        ...

    def let_go(self, claim: Claim, mine: Acquired, *, asked: bool) -> None:
        """Give a claim up: at once, or where it was asked by letting the lease lapse. Never waits."""
        ...


class Replicas(Protocol):
    """The other sidecars in front of the same backend. A sidecar with a store of its own has none."""

    async def flushed(self) -> None:
        """Wait, for at most 50 ms, until the store knows of every write that was sealed here."""
        ...


class Meter(Protocol):
    """What is counted where it happens. Nothing here raises or waits."""

    def coalesced(self, route: str, role: str) -> None: ...
    def attempted(self, upstream: str, route: str, result: str, seconds: float) -> None: ...
    def retried(self, route: str, reason: str) -> None: ...
    def retry_denied(self, route: str, reason: str) -> None: ...
    def retried_request(self, route: str, succeeded: bool) -> None: ...
    def rejected(self, circuit: str) -> None: ...
    def recovered(self, route: str, kind: str) -> None: ...
    def idempotency(self, route: str, result: str) -> None: ...
    def finished(self, route: str, method: str, status: int, outcome: str, seconds: float, level: str) -> None: ...


class Ledger(Protocol):
    """Where every finished exchange leaves its record."""

    def record(self, exchange: "Exchange") -> None:
        """Take down a finished exchange. Never waits, never raises."""
        ...


class Tracer(Protocol):
    """Who gives requests and attempts their spans. Without one, `traceparent` goes through as it came."""

    def begin(self, exchange: "Exchange") -> Span:
        """Begin a request's span, and take the caller's `traceparent` out of its way."""
        ...

    def attempt(self, exchange: "Exchange", wall: float) -> tuple[bytes, bytes]:
        """Begin an attempt's span; return the line that tells the upstream."""
        ...

    def end(self, exchange: "Exchange") -> None:
        """Take a finished exchange's spans. Never waits, never raises."""
        ...

    def close(self) -> None:
        """Send what is left; blocks for seconds at the most."""
        ...


class DurabilityGate(Protocol):
    """What must be on disk before something may happen. In `batch` mode there is none, and nothing waits."""

    async def intent(self, exchange: "Exchange", within_s: float) -> bool:
        """Return whether an unsafe request may go upstream: in `strict`, once its intent is on disk."""
        ...

    def answer(self, exchange: "Exchange", tell: Tell) -> None:
        """Call `tell` when the exchange's record, which is written, is on disk; with False if that is too late."""
        ...

    async def opening(self, exchange: "Exchange") -> bool:
        """Return whether a streamed answer may begin: once it is on disk that it does."""
        ...


@dataclass(frozen=True, slots=True)
class Wiring:
    """What one route is wired to."""

    identifier: Identifier
    breaker: CircuitBreaker
    budget: RetryBudget
    upstream: Upstream
    cors: CorsMemory
    cached_under: bytes = b""  # what the keys of its kept answers begin with
    cached_since: float = 0.0  # wall time: what is kept and arrived before was another route's


@dataclass(frozen=True, slots=True)
class Ports:
    """What all exchanges share."""

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
    expose: bool = True
    deadline_header: bytes = HEADER.encode()  # as it is written upstream
    deadline_field: bytes = HEADER.lower().encode()  # as it is looked up in a request
    durability_gate: DurabilityGate | None = None
    tracer: Tracer | None = None
    replicas: Replicas | None = None
    probes: Probes = field(default_factory=Probes)

    def wired(self, route: Route) -> Wiring:
        """Return the wiring of a route."""
        return self.wiring[route.operation]
