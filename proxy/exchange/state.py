"""The facts of one request (`Exchange`) and of its upstream request (`Lead`): values without behaviour."""

import asyncio
from typing import Final

from proxy.exchange.ports import Client, Mark
from proxy.http.message import BodyReader, Failure, Request
from proxy.http.problems import Problem, Reason
from proxy.policy import idempotency
from proxy.policy.attempt_facts import Attempt
from proxy.policy.breaker import Permit
from proxy.policy.claim_rules import Acquired, Claim
from proxy.policy.coalescing import Flight, Role
from proxy.policy.correlation import Correlation
from proxy.policy.event_source import hangs_up
from proxy.policy.outcome import GOOD
from proxy.policy.recovery_plan import Result
from proxy.policy.request_key import Identity
from proxy.policy.response_cache import CachedResponse
from proxy.policy.restoration import Restoration
from proxy.policy.route_circuit import Admission
from proxy.policy.routing import NO_SUBJECT, Match, Route
from proxy.policy.spans import Span
from proxy.policy.trace_context import Parent
from proxy.runtime.eager_task import EagerTask
from proxy.runtime.enums import FastEnum

LOST: Final = Result(Failure(Reason.INTERNAL, sent=True))  # the followers' result if the leader's task fails with a bug
LEFT: Final = Result(Failure(Reason.CANCELLED, sent=True))
OUT_OF_TIME: Final = Result(Failure(Reason.RESPONSE_TIMEOUT, sent=True))
NO_IDENTITY: Final = Identity(b"", b"")
_UNNAMED: Final = Correlation("")


class Phase(FastEnum):
    """The progress of a request, which only advances."""

    WAITING = "waiting"  # its head is complete, its body may still arrive
    RUNNING = "running"
    RECORDED = "recorded"  # its record is written; a response or a probe may still run


WAITING: Final = Phase.WAITING
RUNNING: Final = Phase.RUNNING
RECORDED: Final = Phase.RECORDED


class Exchange:
    """The facts of one client request. Its record, metrics, span and response are made from them.

    Times are seconds of the sidecar's clock. The comment above each group names the stage that writes it.
    """

    __slots__ = (
        "alone_because", "answered", "attempts", "bytes_in", "bytes_out", "client", "correlation", "deadline",
        "duration_s", "ending", "endless", "flight", "gone", "head_s", "held", "identity", "key", "lead",
        "level", "match", "parent", "phase", "problem", "reader", "record_id", "request", "restoration",
        "result", "role", "route", "span", "started", "started_wall", "status", "subject", "task", "trace_id",
        "truncated", "wait_s", "would",
    )  # fmt: skip

    def __init__(self, request: Request, client: Client, match: Match) -> None:
        """Take a request with a complete head, its client and its route (steps 1 and 2)."""
        # the connection
        self.request = request
        self.client = client
        self.match = match
        self.route: Route = match.route
        self.task: EagerTask | asyncio.Task[None] | None = None
        self.bytes_in = 0
        # handler
        self.phase = WAITING
        self.gone = False  # the client has left
        self.lead: Lead | None = None  # the running upstream request
        # opening
        self.started = self.started_wall = self.deadline = 0.0
        self.correlation = _UNNAMED
        self.parent: Parent | None = None  # the caller's span
        self.trace_id: str | None = None
        self.span: Span | None = None
        self.subject = NO_SUBJECT
        self.key: idempotency.IdempotencyKey | None = None  # attempts adds the minted key, claims the adopted one
        # joining
        self.identity = NO_IDENTITY
        self.role: Role | None = None
        self.alone_because = ""
        self.flight: Flight | None = None
        self.reader: BodyReader | None = None  # of a streamed response, opened at its first byte
        # claims
        self.held: list[tuple[Claim, Acquired]] = []  # unsettled claims; those of a flight are in the flight
        # attempts
        self.attempts: list[Attempt] = []
        # responder
        self.result = LOST
        self.problem: Problem | None = None
        self.answered = 0  # the status that was sent; 0: none
        self.bytes_out = 0
        self.truncated = False
        self.head_s: float | None = None  # of a streamed response: the client's wait for its head, in seconds
        self.endless = False  # a tunnel or server-sent events
        # recorder
        self.duration_s = 0.0
        self.wait_s = 0.0  # the client's wait: for the head of a streamed response, for the whole of any other
        self.status = 0  # the status that the client got, 499 if it left
        self.record_id = ""  # from the ledger
        self.ending = ""  # the bounded outcome
        self.level = ""  # the target level of its duration, "" for a route without a target
        self.restoration: Restoration | None = None  # from the observer
        self.would: list[str] | None = None  # in a dry run: the noted decisions

    @property
    def succeeded(self) -> bool:
        """Tell whether the client got a successful response."""
        return self.ending in GOOD

    @property
    def hung_up(self) -> bool:
        """Tell whether the connection is closed instead of the problem: an EventSource's is.

        A browser's EventSource cannot send a deadline of its own: whoever does gets the 504.
        """
        return (
            self.problem is not None and self.result is not OUT_OF_TIME and hangs_up(self.request, self.problem.status)
        )

    @property
    def unrecorded(self) -> bool:
        """Tell whether the response is the sidecar's own problem about a record that is not on disk in time."""
        problem = self.problem
        return problem is not None and problem.error is Reason.UNRECORDED and not problem.refused

    @property
    def untouched(self) -> bool:
        """Tell whether neither the request nor the one that it waited for was sent to the backend."""
        if any(attempt.sent for attempt in self.attempts):
            return False
        refused = self.problem is not None and self.problem.refused != ""
        return refused or (isinstance(self.result.outcome, Failure) and not self.result.outcome.sent)


class Lead:
    """One upstream request with all its attempts: for a flight, or for its own caller only."""

    __slots__ = (
        "cached", "deadline", "failure_counted", "flight", "known", "mark", "own_time", "permit", "probing", "sent",
        "sent_at", "shown",
    )  # fmt: skip

    def __init__(self, flight: Flight | None, deadline: float, request: Request, shown: Flight | None = None) -> None:
        self.flight = flight  # None for a request that is not coalesced
        self.shown = shown  # a dry run's flight, which counts the requests that would have joined
        self.deadline = deadline  # the route's; a caller's own shorter one ends that caller's wait
        self.own_time: asyncio.TimerHandle | None = None  # at the caller's own deadline, if that is earlier
        self.cached: CachedResponse | None = None  # the cached response when the request was sent
        self.mark: Mark = None  # the store's mark of all earlier writes
        self.failure_counted = False  # a flight counts at most one failure at its circuit
        self.permit: Permit | Admission | None = None  # of the running attempt
        self.sent = request  # the running attempt's request and start
        self.sent_at = 0.0
        self.known = False  # the schedule of attempts has ended: its outcome is known
        self.probing = False  # the request has ended, and its attempt continues as a probe
