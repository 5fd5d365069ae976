"""`dry_run = true`: every policy is asked, and nothing done. It only forwards, and notes what would have been."""

from proxy.bag import LOST
from proxy.errors import Refusal
from proxy.exchange import Exchange
from proxy.fields import Lines
from proxy.message import Outcome, Request
from proxy.parts import Client, Parts
from proxy.policy import recovery
from proxy.policy.attempts import Attempt
from proxy.policy.breaker import Permit, State
from proxy.policy.coalescing import Flight, Joined, Role
from proxy.policy.disclosure import Story
from proxy.policy.recovery import Honest, Result
from proxy.policy.retry import Again, Decision, Stop

PATIENCE_S = 30.0  # as for requests that no route matches: a dry run cuts nobody short


class DryRun(Exchange):
    """An exchange that forwards once, unchanged. `would` tells what the real one would have done, in its order."""

    __slots__ = ("_notes",)

    def __init__(self, parts: Parts, request: Request, client: Client) -> None:
        super().__init__(parts, request, client)
        self._notes: list[str] = []
        self.would = self._notes

    def _open(self) -> None:
        try:
            super()._open()
        except Refusal as refusal:
            self._notes.append(f"refuse: {refusal.status} {refusal.metric}")
        self.deadline = self.started + PATIENCE_S

    def _latest(self, began: float) -> float:
        return self.deadline

    def _join(self, now: float) -> Joined:
        place = super()._join(now)
        self.flight = None
        if place.role is Role.JOINED and place.flight is not None:
            self._parts.flights.left()
            self._notes.append(f"join {place.flight.id}")
            return Joined(Role.ALONE, reason="dry_run")
        return place

    async def _lead(self, flight: Flight | None, began: float) -> Result:
        try:
            return await super()._lead(None, began)
        finally:
            if flight is not None:
                # nobody waits: it only showed who would have
                self._parts.flights.land(flight, LOST, self.request, began)

    def _mint(self) -> None:
        super()._mint()
        if self.key is not None and self.key.source == "minted":
            self._notes.append("inject an idempotency key")
            self.key = None

    async def _replayed(self) -> Result | None:
        return None  # a claim would keep a real one from asking

    async def _asked_elsewhere(self, flight: Flight | None) -> Result | None:
        return None

    async def _kept(self) -> Result | None:
        if await super()._kept() is not None:
            self._notes.append("reuse a kept answer")
        return None

    def _goes_on(self) -> bool:
        return False  # it does nothing that its client does not wait for

    def _admit(self, attempt: Attempt, now: float) -> Permit | None:
        if self._wiring.breaker.state is State.OPEN:
            self._notes.append("fast-fail: the circuit is open")
        return super()._admit(attempt, now)

    def _explain(self, attempt: Attempt, decision: Decision) -> Decision:
        if isinstance(decision, Again):
            self._notes.append(f"retry: {decision.reason}")
            return super()._explain(attempt, Stop("dry_run"))
        return super()._explain(attempt, decision)

    async def _recover(self, outcome: Outcome) -> Result:
        plan = recovery.plan(self.route.recovery, outcome, self.match.names, self.subject.value)
        if not isinstance(plan, Honest):
            self._notes.append(f"recover: {type(plan).__name__}")
        return Result(outcome)

    def _to_upstream(self, request: Request, attempt: Attempt, remaining_s: float) -> Lines:
        tracer = self._parts.tracer  # it took the caller's line, so the backend is told of this attempt instead
        return () if tracer is None else (tracer.attempt(self, self._parts.clock.wall()),)

    def _in_short(self, total_ms: float, upstream_ms: float) -> Lines:
        return ()

    def _to_client(self, story: Story) -> Lines:
        return ()
