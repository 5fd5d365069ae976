"""Decide which requests share an upstream request. This module decides; the exchange waits."""

from collections.abc import Callable, Iterable
from enum import Enum
from math import inf
from typing import Final, NamedTuple

from proxy.http.headers import NEVER_SHARED
from proxy.http.message import (
    BodyStream,
    Failure,
    Request,
    Response,
)
from proxy.http.problems import Reason, Refusal
from proxy.policy.cache_control import directives
from proxy.policy.claim_rules import Acquired, Claim
from proxy.policy.credentials import sets_known_cookies
from proxy.policy.invalidation import Invalidations
from proxy.policy.recovery_plan import Result
from proxy.policy.request_key import Identity
from proxy.policy.routing import Coalesce, Route
from proxy.runtime.enums import FastStrEnum


class Role(FastStrEnum):
    """A request's role in its flight; the three add up to all requests."""

    LED = "led"
    JOINED = "joined"
    ALONE = "alone"


ALONE: Final = Role.ALONE  # module constant: an Enum member look-up costs 0.1 µs in Python 3.11
JOINED: Final = Role.JOINED
LED: Final = Role.LED
_OFF: Final = Coalesce.OFF
_SUBJECT: Final = Coalesce.SUBJECT


class FlightStage(Enum):
    """A flight's states: OPEN -> LANDED, or OPEN -> ABANDONED when its last caller left a safe request.

    A streamed flight is OPEN -> STREAMING -> LANDED: requests can join while the beginning of its body is kept, its
    deadline has not passed and no write has begun.
    """

    OPEN = "open"
    STREAMING = "streaming"
    LANDED = "landed"
    ABANDONED = "abandoned"


_OPEN: Final = FlightStage.OPEN
_LANDED: Final = FlightStage.LANDED
MAX_ELECTIONS = 2  # new leaders of one flight that was lost or late
APART_S = 30.0  # seconds for which a key is not coalesced after a response that could not be shared
MAX_APART = 4096

Landing = Callable[[Result | None], None]
Owners = Callable[[Request], Iterable[bytes]]


class Flight:
    """One upstream request with one or more callers.

    The leader's task sends the request; followers register a callback. The flight belongs to the sidecar, not to the
    leader's client: it is deserted only when its last caller leaves.
    """

    __slots__ = (
        "_waiting", "callers", "followers", "held", "id", "identity", "key", "late", "lead", "safe", "stage", "stamp",
        "streaming", "strict", "subject", "until", "when_deserted",
    )  # fmt: skip

    def __init__(self, id_: str, identity: Identity, subject: str | None, safe: bool, stamp: int) -> None:
        self.id = id_
        self.key = identity.key
        self.identity = identity  # equal for all its callers
        self.subject = subject
        self.safe = safe
        self.stamp = stamp
        self.stage = _OPEN
        self.callers = 1
        self.followers = 0
        self.strict = False  # the route honours no-store
        self.late = False  # it landed after its deadline
        self.until = inf  # its own deadline: a stream that lasts longer cannot be joined
        self.streaming: Result | None = None  # given to a late follower at once
        self.lead: Request | None = None  # the request that was sent
        self.held: list[tuple[Claim, Acquired]] = []  # its followers' claims; its landing settles them
        self._waiting: dict[int, tuple[Landing, Request]] = {}
        self.when_deserted: Callable[[], None] | None = None  # called when the last caller leaves before the landing

    def wait(self, land: Landing, request: Request) -> int:
        """Add a follower, whose `land` is called once with the result; return its ticket for `leave`."""
        self.callers += 1
        self.followers += 1
        self._waiting[self.followers] = land, request
        return self.followers

    def leave(self, ticket: int | None = None) -> None:
        """Remove one caller (None: the leader's client)."""
        if ticket is not None and self._waiting.pop(ticket, None) is None:
            return
        self.callers -= 1
        if self.callers == 0 and self.stage is FlightStage.OPEN and self.when_deserted is not None:
            self.when_deserted()

    def take_on(self) -> Result | None:
        """Add a late follower to a streaming flight, and return the result; None if it has not landed."""
        if self.streaming is not None:
            self.followers += 1
        return self.streaming

    def landed(self, result: Result | None, leader: Request) -> bool:
        """Give the result to every waiting follower (None: not shareable); tell whether all got it."""
        self.when_deserted = None  # break the reference cycle with the leader
        if not self._waiting:
            return result is not None
        waiting, self._waiting = self._waiting, {}
        names = varied_by(result) if self.safe else ()
        rejected = rejects_token(result)
        for_all = result is not None
        for land, request in waiting.values():
            fits = alike(names, request, leader) and (not rejected or shows_same_token(request, leader))
            land(result if fits else None)
            for_all = for_all and fits
        return for_all

    def __repr__(self) -> str:
        return f"<Flight {self.id} {self.stage.name} callers={self.callers} followers={self.followers}>"


class Joined:
    """A request's place: it leads `flight`, follows it, or is not coalesced (no flight) for `reason`."""

    __slots__ = ("flight", "reason", "role")

    def __init__(self, role: Role, flight: Flight | None = None, *, reason: str = "") -> None:
        self.role = role
        self.flight = flight
        self.reason = reason

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Joined) and (self.role, self.flight, self.reason) == (
            other.role,
            other.flight,
            other.reason,
        )


class Overflow(NamedTuple):
    """There is no place, and sending the request alone could duplicate a write: refuse it."""

    refusal: Refusal


_ALONE_METHODS: Final = frozenset({"CONNECT", "TRACE"})


def never_shared(request: Request) -> str | None:
    """Return why a request of this kind is never shared, or None."""
    fields = request.fields
    if request.method in _ALONE_METHODS:
        return "method"
    if not fields.keys().isdisjoint(NEVER_SHARED):
        return next(name.decode() for name in NEVER_SHARED if name in fields)
    if not isinstance(request.body, bytes):
        return "body_over_replay_limit"
    accept = fields.get(b"accept")
    if accept is not None and accept.lower().find(b"text/event-stream") >= 0:
        return "event_stream"
    return None


def shareable(result: Result, in_person: bool, strict: bool = False) -> bool:
    """Tell whether the response to a safe request may go to callers with an equal request key.

    `in_person`: a cookie that it sets is for one connection. `strict` is the route's `honour_no_store`: apply RFC 9111
    as a shared cache would.
    """
    outcome = result.outcome
    if not isinstance(outcome, Response):
        return True
    fields = outcome.fields
    if strict and b"no-store" in directives(fields):
        return False
    content_type = fields.get(b"content-type")
    if content_type is not None and content_type[:17].lower() == b"text/event-stream":
        return False
    if b"vary" in fields and b"*" in fields.tokens(b"vary"):
        return False
    return b"set-cookie" not in fields or not in_person


def given_in_person(result: Result, identity: Identity, request: Request) -> bool:
    """Tell whether the response sets a cookie that only one connection may get: it identifies the caller from then on.

    For an anonymous caller that is any cookie; for one who is known by a guess, or by a token's claims on several
    connections, a cookie that the request lacks.
    """
    if not isinstance(result.outcome, Response) or b"set-cookie" not in result.outcome.fields:
        return False
    if identity.anonymous:
        return True
    several = identity.guessed or identity.verified
    return several and not sets_known_cookies(request.fields, result.outcome.fields)


def varied_by(result: Result | None) -> tuple[bytes, ...]:
    """Return the fields in Vary. Requests with equal keys may differ in them if they are neutral."""
    if result is None or not isinstance(result.outcome, Response) or b"vary" not in result.outcome.fields:
        return ()
    return tuple(result.outcome.fields.tokens(b"vary"))


def alike(names: Iterable[bytes], one: Request, other: Request) -> bool:
    """Tell whether two requests have equal values of these fields."""
    return all(one.forwarded_values(name) == other.forwarded_values(name) for name in names)


def rejects_token(result: Result | None) -> bool:
    """Tell whether the upstream rejects the credentials of the request that was sent."""
    return result is not None and isinstance(result.outcome, Response) and result.outcome.status == 401


def shows_same_token(one: Request, other: Request) -> bool:
    """Tell whether two requests of one principal show the same bytes where a verified token was.

    One token of a principal may be rejected and another accepted: it was renewed, or revoked.
    """
    standing = one.standing
    if standing is None or standing.caller is None:
        return True
    return all(one.fields.all(field) == other.fields.all(field) for field, _ in standing.caller.places)


def stream_of(result: Result) -> BodyStream | None:
    """Return the streamed body, if there is one."""
    response = result.outcome
    return None if not isinstance(response, Response) or isinstance(response.body, bytes) else response.body


class Flights:
    """All flights that may be joined. Each method is synchronous: nothing runs between look-up and change."""

    __slots__ = ("_apart", "_count", "_name", "_open", "enabled", "followers", "invalidations")

    def __init__(self, invalidations: Invalidations, name: str = "flight") -> None:
        self._open: dict[bytes, Flight] = {}
        self._name = name  # unique to this process, so that a flight's id is unique in the audit trail
        self._count = 0
        self._apart: dict[int, float] = {}
        self.invalidations = invalidations
        self.enabled = True
        self.followers = 0

    def __len__(self) -> int:
        return len(self._open)

    def join(
        self, route: Route, request: Request, subject: str | None, identity: Identity, owners: Owners, now: float
    ) -> Joined | Overflow:
        """Return the request's place. A flight that a write has closed is left to its callers and replaced."""
        key = identity.key
        if self._apart and self._is_apart(key, now):
            return Joined(ALONE, reason="unshareable")
        found = self._open.get(key)
        if found is not None and self._joinable(found, request, owners, now):
            if found.followers < route.max_followers:
                self.followers += 1
                return Joined(JOINED, found)
            return self._beyond(route, request, "max_followers")
        if len(self._open) >= route.max_flights:
            return self._beyond(route, request, "max_flights")
        self._count += 1
        flight_id, stamp = f"{self._name}-{hex(self._count)[2:]}", self.invalidations.stamp()
        flight = Flight(flight_id, identity, subject, request.safe, stamp)
        flight.strict, flight.until = route.honour_no_store, now + route.total_timeout_s
        self._open[key] = flight
        return Joined(LED, flight)

    def has(self, key: bytes) -> bool:
        """Tell whether a flight with this key is open."""
        return key in self._open

    def alone(self, route: Route, request: Request, subject: str | None) -> str | None:
        """Return why the request joins no flight, None if it may."""
        mode = route.coalesce
        if mode is _OFF or (mode is None and not request.safe):
            return "off"
        if mode is _SUBJECT and subject is None:
            return "no_subject"
        if not self.enabled:
            return "switched_off"
        if route.no_cache_leads and b"no-cache" in directives(request.fields):
            return "no_cache"
        return never_shared(request)

    def land(self, flight: Flight, result: Result, request: Request, now: float) -> None:
        """Publish the result and remove the flight in one step: no request joins a finished flight."""
        if flight.stage is not _OPEN:
            return
        flight.stage = _LANDED
        self._remove(flight)
        response = result.outcome if isinstance(result.outcome, Response) else None
        sets_cookie = response is not None and b"set-cookie" in response.fields
        in_person = sets_cookie and given_in_person(result, flight.identity, request)
        if not flight.safe:
            flight.landed(None if in_person else result, request)
        elif not flight.landed(result if shareable(result, in_person, flight.strict) else None, request):
            self._set_apart(flight.key, now)
        elif response is not None and not isinstance(response.body, bytes) and now < flight.until:
            self._offer(flight, result, request, response.body)

    def _offer(self, flight: Flight, result: Result, request: Request, stream: BodyStream) -> None:
        """Let requests join a streaming flight as long as the beginning of its body is kept."""
        if self._open.setdefault(flight.key, flight) is flight:
            flight.stage, flight.streaming, flight.lead = FlightStage.STREAMING, result, request
            stream.offer(lambda: self._over(flight))

    def _over(self, flight: Flight) -> None:
        """Remove a flight that no request can join any more."""
        flight.stage, flight.streaming = FlightStage.LANDED, None
        self._remove(flight)

    def abandon(self, flight: Flight) -> None:
        """Remove a flight whose last caller left."""
        if flight.stage is FlightStage.OPEN:
            flight.stage = FlightStage.ABANDONED
            flight.when_deserted = None  # break the reference cycle with the leader
            self._remove(flight)

    def left(self) -> None:
        """Count a follower out, however its wait ended."""
        self.followers -= 1

    def _joinable(self, flight: Flight, request: Request, owners: Owners, now: float) -> bool:
        fresh = not flight.safe or self.invalidations.joinable(flight.stamp, flight.subject, owners(request))
        streaming, lead = flight.streaming, flight.lead
        if streaming is None or lead is None:
            return fresh
        joinable = fresh and now < flight.until and alike(varied_by(streaming), request, lead)
        if joinable and rejects_token(streaming):
            joinable = shows_same_token(request, lead)
        if not joinable and (stream := stream_of(streaming)) is not None:
            stream.withdraw()
            self._over(flight)
        return joinable

    def _set_apart(self, key: bytes, now: float) -> None:
        """Bypass coalescing for this key: its response was not shareable."""
        self._apart[hash(key)] = now + APART_S  # a hash collision costs a shared flight, nothing else
        if len(self._apart) > MAX_APART:
            del self._apart[next(iter(self._apart))]

    def _is_apart(self, key: bytes, now: float) -> bool:
        until = self._apart.get(hash(key))
        if until is not None and now >= until:
            del self._apart[hash(key)]
        return until is not None and now < until

    def _beyond(self, route: Route, request: Request, limit: str) -> Joined | Overflow:
        if route.coalesce is Coalesce.SUBJECT and not request.safe:
            detail = f"the limit on {limit} is reached; try again shortly"
            return Overflow(Refusal(503, limit, detail, closes=False))
        return Joined(Role.ALONE, reason=limit)

    def _remove(self, flight: Flight) -> None:
        if self._open.get(flight.key) is flight:
            del self._open[flight.key]


def elects(flight: Flight, result: Result, elections: int, remaining_s: float) -> bool:
    """Tell whether a follower becomes the leader: the flight was lost or late, the request is safe, time is left."""
    outcome = result.outcome
    if not isinstance(outcome, Failure):
        return False
    lost = outcome.reason is Reason.INTERNAL or (flight.late and outcome.reason is Reason.RESPONSE_TIMEOUT)
    return lost and flight.safe and elections < MAX_ELECTIONS and remaining_s > 0
