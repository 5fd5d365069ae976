"""What is known of one request: `Exchange`, and `Lead` for what it asks upstream. Both are values without behaviour."""

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
from proxy.policy.outcome import GOOD
from proxy.policy.recovery_plan import Result
from proxy.policy.request_key import Identity
from proxy.policy.response_cache import CachedResponse
from proxy.policy.restoration import Restoration
from proxy.policy.routing import NO_SUBJECT, Match, Route
from proxy.policy.spans import Span
from proxy.policy.trace_context import Parent
from proxy.runtime.eager_task import EagerTask
from proxy.runtime.enums import FastEnum

LOST: Final = Result(Failure(Reason.INTERNAL, sent=True))  # what followers get if their leader's task dies of a bug
LEFT: Final = Result(Failure(Reason.CANCELLED, sent=True))
OUT_OF_TIME: Final = Result(Failure(Reason.RESPONSE_TIMEOUT, sent=True))
NO_IDENTITY: Final = Identity(b"", b"")
_UNNAMED: Final = Correlation("")


class Phase(FastEnum):
    """How far a request has come. It only goes forward."""

    WAITING = "waiting"  # its head is here, its body may still arrive
    RUNNING = "running"
    RECORDED = "recorded"  # its one record is written; an answer or a probe may still be under way


WAITING: Final = Phase.WAITING
RUNNING: Final = Phase.RUNNING
RECORDED: Final = Phase.RECORDED


class Exchange:
    """The facts of one client request. Its record, its metrics, its span and its answer are made from them.

    Times are seconds of the sidecar's clock. The comment on each group names the one stage that writes it.
    """

    __slots__ = (
        "alone_because", "answered", "attempts", "bytes_in", "bytes_out", "client", "correlation", "deadline",
        "duration_s", "ending", "flight", "gone", "held", "identity", "key", "lead", "level", "match", "parent",
        "phase", "problem", "reader", "record_id", "request", "restoration", "result", "role", "route", "span",
        "started", "started_wall", "status", "subject", "task", "trace_id", "truncated", "would",
    )  # fmt: skip

    def __init__(self, request: Request, client: Client, match: Match) -> None:
        """Take a request whose head is here, its client, and its route (steps 1 and 2)."""
        # the connection
        self.request = request
        self.client = client
        self.match = match
        self.route: Route = match.route
        self.task: EagerTask | asyncio.Task[None] | None = None
        self.bytes_in = 0
        # the page
        self.phase = WAITING
        self.gone = False  # the client has left
        self.lead: Lead | None = None  # what it asks upstream, while it does
        # opening
        self.started = self.started_wall = self.deadline = 0.0
        self.correlation = _UNNAMED
        self.parent: Parent | None = None  # its caller's span
        self.trace_id: str | None = None
        self.span: Span | None = None
        self.subject = NO_SUBJECT
        self.key: idempotency.IdempotencyKey | None = None  # attempts adds the minted key, claims the adopted one
        # joining
        self.identity = NO_IDENTITY
        self.role: Role | None = None
        self.alone_because = ""
        self.flight: Flight | None = None
        self.reader: BodyReader | None = None  # of a streamed answer, opened at its first byte
        # claims
        self.held: list[tuple[Claim, Acquired]] = []  # what it claimed and has not settled; a flight's are the flight's
        # attempts
        self.attempts: list[Attempt] = []
        # responder
        self.result = LOST
        self.problem: Problem | None = None
        self.answered = 0  # the status that went out; 0: none did
        self.bytes_out = 0
        self.truncated = False
        # recorder
        self.duration_s = 0.0
        self.status = 0  # that the client got, or the one that stands for its having left
        self.record_id = ""  # the ledger's
        self.ending = ""  # how it ended, in one bounded word
        self.level = ""  # the target level of its duration, "" for a route without a target
        self.restoration: Restoration | None = None  # the one that it was part of; the observer's
        self.would: list[str] | None = None  # in a dry run: what was only noted

    @property
    def succeeded(self) -> bool:
        """Tell whether the client got what it asked for."""
        return self.ending in GOOD


class Lead:
    """One request to upstream, with all its attempts: for a flight, or for its own caller alone."""

    __slots__ = (
        "cached", "deadline", "failure_counted", "flight", "mark", "own_time", "permit", "probing", "sent", "sent_at",
        "shown",
    )  # fmt: skip

    def __init__(self, flight: Flight | None, deadline: float, request: Request, shown: Flight | None = None) -> None:
        self.flight = flight  # None for who asks for itself
        self.shown = shown  # a dry run's flight: it shows who would have joined
        self.deadline = deadline  # the route's; a caller's own shorter one ends that caller's wait
        self.own_time: asyncio.TimerHandle | None = None  # ends its own caller's wait, where that comes first
        self.cached: CachedResponse | None = None  # what was kept when it asked
        self.mark: Mark = None  # of what was written before it asked; the store's
        self.failure_counted = False  # a flight counts one failure at its circuit at the most
        self.permit: Permit | None = None  # of the attempt that is under way
        self.sent = request  # what that attempt asks, and when it began
        self.sent_at = 0.0
        self.probing = False  # the request has ended, and only its attempt goes on
