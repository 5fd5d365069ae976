"""Steps 6 to 8 in small: how one attempt is admitted, sent, settled and judged. The page makes the ladder of them."""

from collections.abc import Awaitable

from proxy.answering import Answering
from proxy.bag import LEFT
from proxy.errors import Reason
from proxy.fields import Lines
from proxy.message import Failure, Outcome, Request, Response, discard
from proxy.parts import Witness
from proxy.policy import disclosure
from proxy.policy.attempts import Attempt, attempt_timeout
from proxy.policy.breaker import Permit, Refused
from proxy.policy.classify import FAILURES, tells
from proxy.policy.deadline import remaining
from proxy.policy.retry import Again, Decision, Question


class Attempting(Answering):
    """What an exchange does for one attempt, in the order in which it does it."""

    __slots__ = ()

    async def _intended(self, witness: Witness) -> bool:
        return await witness.intent(self, remaining(self._until, self._parts.clock.now()))

    def _admit(self, attempt: Attempt, now: float) -> Permit | None:
        breaker = self._wiring.breaker
        permit = breaker.admit(now)
        if not isinstance(permit, Refused):
            return permit
        self._parts.meter.rejected(breaker.name)
        attempt.ended(Failure(Reason.CIRCUIT_OPEN, sent=False, retry_after_s=permit.retry_after_s))
        return None

    def _send(self, request: Request, attempt: Attempt, now: float) -> Awaitable[Outcome]:
        timeout_s = remaining(self._until, now) if isinstance(request.body, bytes) else self.route.total_timeout_s
        more = self._to_upstream(request, attempt, timeout_s)
        if self.route.attempt_timeout_s is not None:
            timeout_s = self._timeout(request, timeout_s)
        return self._wiring.upstream.send(request, more, timeout_s, self._interim)

    def _interim(self, response: Response) -> None:
        """Pass on what comes before the answer, to the leader's own client while it waits (W7)."""
        if not self.gone and not self.answered:
            self._client.interim(response)

    def _to_upstream(self, request: Request, attempt: Attempt, remaining_s: float) -> Lines:
        key = self.key if request is self.request else None  # recovery's own requests carry their own
        parts = self._parts
        lines = disclosure.to_upstream(self.correlation.id, key, attempt.n, remaining_s, parts.deadline_header)
        tracer = parts.tracer
        return lines if tracer is None else (*lines, tracer.attempt(self, parts.clock.wall()))

    def _timeout(self, request: Request, remaining_s: float) -> float:
        if not self._parts.retry.repeats_timeouts(self.route.retry, self._question(request)):
            return remaining_s
        return attempt_timeout(self.route, self.attempts, remaining_s)

    def _question(self, request: Request) -> Question:
        minted = request is self.request and self.key is not None
        return Question.of(self.route, request, minted=minted)

    def _settle(self, request: Request, attempt: Attempt, outcome: Outcome, permit: Permit, began: float) -> None:
        """Report the attempt, whatever became of it."""
        if self._probing:
            self._settle_probe(request, outcome, permit)
            return
        parts, wiring, route, now = self._parts, self._wiring, self.route, self._parts.clock.now()
        took_s = now - began
        attempt.ended(outcome, took_s)
        self._tell_circuit(request, attempt, permit, took_s, now)
        parts.meter.attempted(route.upstream, route.operation, attempt.result, took_s)
        if b"origin" in request.fields and isinstance(outcome, Response):
            wiring.cors.learn(request, outcome, parts.router.scope(request))

    def _goes_on(self) -> bool:
        """Let the attempt that is under way go on as its circuit's probe, if it can tell anything and none does yet.

        One that waits in line for a connection tells nothing, and others would wait longer for it.
        """
        breaker, permit, task, sent = self._wiring.breaker, self._permit, self.task, self._sent
        if permit is None or task is None or self._failure_counted or sent.queued or not sent.replayable:
            return False
        return breaker.counts(permit) and self._parts.probes.take(breaker.name, task.cancel)

    def _end_early(self) -> None:
        """End the request while its attempt goes on: its record is written, and nothing more is done for anybody."""
        attempt = self.attempts[-1]
        attempt.ended(attempt.outcome, self._parts.clock.now() - self._sent_at)
        self._probing, attempt.why = True, "probe"
        if self.problem is None:
            self.result = LEFT
        self._record()

    def _settle_probe(self, request: Request, outcome: Outcome, permit: Permit) -> None:
        """Report what a probe brought, and let go of it: its request is on record already."""
        parts, probe, now = self._parts, Attempt(0, 0.0, safe=True), self._parts.clock.now()
        parts.probes.give_back(self._wiring.breaker.name)
        took_s = now - self._sent_at
        probe.ended(outcome, took_s)
        self._tell_circuit(request, probe, permit, took_s, now)
        parts.meter.attempted(self.route.upstream, self.route.operation, probe.result, took_s)
        discard(outcome)

    def _tell_circuit(self, request: Request, attempt: Attempt, permit: Permit, took_s: float, now: float) -> None:
        """Report what an attempt says of the backend as a whole; a flight counts one failure at the most."""
        breaker, verdict = self._wiring.breaker, attempt.verdict
        if verdict in FAILURES and (self._wiring.upstream.standing or not tells(attempt.outcome, verdict)):
            breaker.give_back(permit)
            return
        # how long an upload takes is the client's doing
        held_s = took_s if isinstance(request.body, bytes) else None
        breaker.report(permit, verdict, now, took_s=held_s, counted=not self._failure_counted)
        if verdict in FAILURES:
            self._failure_counted = True

    def _decide(self, request: Request, attempt: Attempt, number: int) -> Decision:
        parts, wiring, now = self._parts, self._wiring, self._parts.clock.now()
        return parts.retry.decide(
            self.route.retry, self._question(request), attempt.outcome, number, remaining(self._until, now),
            wiring.budget, now, parts.clock.wall(), wanted=self.wanted, refused_s=wiring.breaker.refuses_for(now),
        )  # fmt: skip

    def _explain(self, attempt: Attempt, decision: Decision) -> Decision:
        attempt.why = decision.reason
        if isinstance(decision, Again):
            self._parts.meter.retried(self.route.operation, decision.reason)
        elif decision.denied:
            self._parts.meter.retry_denied(self.route.operation, decision.reason)
        return decision
