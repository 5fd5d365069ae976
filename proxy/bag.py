"""What one exchange knows: the values its steps fill in, and what follows from them. The steps are in exchange.py."""

import asyncio
from collections.abc import Iterator
from typing import Final

from proxy.eager import EagerTask
from proxy.errors import Problem, Reason
from proxy.message import Failure, Reader, Request
from proxy.parts import Client, Mark, Parts
from proxy.policy import idempotency
from proxy.policy.attempts import Attempt
from proxy.policy.bounded import Holder
from proxy.policy.breaker import Permit
from proxy.policy.claims import Claim, Mine
from proxy.policy.coalescing import Flight, Role
from proxy.policy.correlation import Correlation
from proxy.policy.identity import Identity
from proxy.policy.kept import Kept
from proxy.policy.recovery import Result
from proxy.policy.restoration import Restoration
from proxy.policy.routing import NO_SUBJECT
from proxy.policy.summary import GOOD
from proxy.policy.trace_context import Parent
from proxy.policy.tracing import Span

LOST: Final = Result(Failure(Reason.INTERNAL, sent=True))  # what followers get if their leader's task dies of a bug
LEFT: Final = Result(Failure(Reason.CANCELLED, sent=True))
OUT_OF_TIME = Result(Failure(Reason.RESPONSE_TIMEOUT, sent=True))
NOBODY: Final = Identity(b"", b"")
_UNNAMED: Final = Correlation("")


class Bag:
    """Everything about one client request, typed; the record, the metrics and the answer are made from it."""

    __slots__ = (
        "_begun", "_client", "_failure_counted", "_found", "_led", "_mark", "_needed", "_parts", "_permit",
        "_probing", "_reader", "_recorded", "_sent", "_sent_at", "_until", "_wiring", "alone_because", "answered",
        "attempts", "bytes_in", "bytes_out", "correlation", "deadline", "duration_s", "ending", "flight", "gone",
        "held", "identity", "key", "level", "match", "parent", "problem", "record_id", "request", "restoration",
        "result", "role", "route", "span", "started", "started_wall", "subject", "task", "trace_id", "truncated",
        "would",
    )  # fmt: skip

    def __init__(self, parts: Parts, request: Request, client: Client) -> None:
        """Take a request whose head is here; its body may arrive until `run` starts."""
        self._parts = parts
        self._client = client
        self.request = request
        self.record_id = ""  # the ledger's
        self.match = match = parts.router.match(request)  # 2. Route: a body's limits are its route's
        self.route = route = match.route
        self._wiring = parts.wiring[route.operation]
        self.task: EagerTask | asyncio.Task[None] | None = None
        self.started = self.started_wall = self.duration_s = 0.0
        self.correlation = _UNNAMED
        self.parent: Parent | None = None  # its caller's span
        self.trace_id: str | None = None
        self.span: Span | None = None
        self.subject = NO_SUBJECT
        self.identity = NOBODY
        self.key: idempotency.Key | None = None
        self.deadline = self._until = 0.0
        self.role: Role | None = None
        self.alone_because = ""
        self.flight: Flight | None = None
        self.attempts: list[Attempt] = []
        self.held: list[tuple[Claim, Mine]] = []  # what it claimed and has not settled; a flight's are the flight's
        self.result = LOST
        self.problem: Problem | None = None
        self.answered = 0  # the status that went out; 0: none did
        self.bytes_in = self.bytes_out = 0
        self.gone = self.truncated = False
        self.ending = ""  # how it ended, in one bounded word: known with its record
        self.level = ""  # the target level of its duration, "" for a route without a target
        self.would: list[str] | None = None  # in a dry run: what was only noted
        self.restoration: Restoration | None = None  # the one that it was part of; the observer's
        self._reader: Reader | None = None
        self._found: Kept | None = None  # what was kept when it asked
        self._mark: Mark = None  # of what was written before it asked; the store's
        self._led: Flight | None = None  # the flight it asks for now; a follower that had to ask for itself has none
        self._begun = self._needed = self._failure_counted = self._recorded = False
        self._permit: Permit | None = None  # of the attempt that is under way
        self._sent = request  # what that attempt asks, and when it began
        self._sent_at = 0.0
        self._probing = False  # the request has ended, and only its attempt goes on

    @property
    def wanted(self) -> bool:
        """Tell whether any caller still waits for what this exchange brings home."""
        return not self.gone if self._led is None else self._led.callers > 0

    @property
    def status(self) -> int:
        """Return the status the client got, or the one that stands for its having left."""
        return self.answered or Reason.CANCELLED.status

    @property
    def principal(self) -> bytes:
        """Return who asks, told now where nothing needed to know it before."""
        if self.identity is not NOBODY:
            return self.identity.principal
        return self._wiring.identifier.identify(self.request, self.subject.value, whole_question=False).principal

    @property
    def owners(self) -> Iterator[bytes]:
        """Yield what shows whose request it is, for seals."""
        return self._wiring.identifier.owners(self.request)

    @property
    def holder(self) -> Holder:
        """Return for whom a store keeps what this request brings home."""
        return Holder(self.request.client, next(iter(self.owners), b""))

    @property
    def succeeded(self) -> bool:
        """Tell whether the client got what it asked for."""
        return self.ending in GOOD
