"""Steps 6 to 8: admit, send, retry. One retry schedule within one deadline, with each attempt reported."""

import asyncio
from collections.abc import Awaitable
from typing import Final

from proxy.exchange.ports import DurabilityGate, Ports, Wiring
from proxy.exchange.state import LEFT, Exchange, Lead
from proxy.http import problem_response
from proxy.http.fields import Lines
from proxy.http.message import (
    Failure,
    Outcome,
    Request,
    Response,
    discard,
)
from proxy.http.problems import Reason
from proxy.policy import added_headers
from proxy.policy.attempt_facts import Attempt, attempt_timeout, schedule_outcome
from proxy.policy.breaker import Permit, Refused
from proxy.policy.classify import FAILURES, SUCCESS, is_elapsed, is_evidence, label
from proxy.policy.deadline import remaining
from proxy.policy.latency_target import is_endless
from proxy.policy.retry import (
    DONE,
    Again,
    Decision,
    RetryRequest,
)
from proxy.policy.route_circuit import Admission, AttemptOutcome
from proxy.policy.routing import Route

_ANSWERED: Final = DONE.reason
_ROUTE_OPEN = "requests of this route timed out repeatedly: none is sent until its circuit probes the backend again"


class Attempts:
    """Send a route's requests upstream, retry them, and report each attempt to the circuit breaker."""

    __slots__ = (
        "_breaker",
        "_budget",
        "_circuit",
        "_clock",
        "_cors",
        "_deadline_header",
        "_durability_gate",
        "_meter",
        "_own",
        "_probes",
        "_retry",
        "_route",
        "_router",
        "_tracer",
        "_upstream",
    )  # fmt: skip

    def __init__(self, route: Route, wiring: Wiring, ports: Ports) -> None:
        self._route = route
        self._circuit = wiring.circuit
        self._breaker = wiring.circuit.shared
        self._own = wiring.circuit.own
        self._budget = wiring.budget
        self._upstream = wiring.upstream
        self._cors = wiring.cors
        self._router = ports.router
        self._retry = ports.retry
        self._probes = ports.probes
        self._meter = ports.meter
        self._tracer = ports.tracer
        self._durability_gate = ports.durability_gate
        self._clock = ports.clock
        self._deadline_header = ports.deadline_header

    async def run(self, x: Exchange, lead: Lead, request: Request) -> Outcome:
        """Return the outcome of one retry schedule. Raise CancelledError after a pure probe."""
        attempts, first, waited_s = x.attempts, len(x.attempts), 0.0
        if not first:  # each request deposits into the retry budget once
            self._budget.deposit()
        gate = self._durability_gate
        if gate is not None and not request.safe and not await self._intended(x, lead, gate):
            return problem_response.NOT_ASKED
        while True:
            attempt = Attempt(len(attempts) + 1, waited_s, request.safe)
            attempts.append(attempt)
            now = self._clock.now()
            permit = self.admit(x, attempt, now)
            if permit is not None:
                lead.permit, lead.sent, lead.sent_at, outcome = permit, request, now, attempt.outcome
                try:
                    outcome = await self._send(x, lead, attempt)
                finally:
                    lead.permit = None
                    self._settle(x, lead, attempt, outcome, permit)
                if lead.probing:
                    raise asyncio.CancelledError
            if attempt.verdict is SUCCESS:
                attempt.why = _ANSWERED
                return attempt.outcome
            decision = self.explain(x, attempt, self._decide(x, lead, request, attempt, len(attempts) - first))
            if not isinstance(decision, Again):
                return schedule_outcome(attempts[first:])
            discard(attempt.outcome)
            waited_s = decision.delay_s
            await self._clock.sleep(waited_s)

    def admit(self, x: Exchange, attempt: Attempt, now: float) -> Permit | Admission | None:
        """Return the circuits' permit, None if one of them refuses, which ends the attempt."""
        shared = self._breaker
        if shared.quiet and self._own.quiet:  # the usual case
            return shared.permit
        within_s = self._route.total_timeout_s
        decided = self._circuit.decide(shared.admit(now, within_s), now, within_s)
        if not isinstance(decided, Refused):
            return decided
        self._meter.rejected(decided.circuit)
        detail = "" if decided.circuit == self._breaker.name else _ROUTE_OPEN
        attempt.ended(Failure(Reason.CIRCUIT_OPEN, sent=False, detail=detail, retry_after_s=decided.retry_after_s))
        return None

    def explain(self, x: Exchange, attempt: Attempt, decision: Decision) -> Decision:
        """Record why another attempt follows, or not, and return the decision."""
        attempt.why = decision.reason
        if isinstance(decision, Again):
            self._meter.retried(self._route.operation, decision.reason)
        elif decision.denied:
            self._meter.retry_denied(self._route.operation, decision.reason)
        return decision

    def added(self, x: Exchange, request: Request, attempt: Attempt, remaining_s: float) -> Lines:
        """Return the lines that the sidecar adds to the request."""
        key = x.key if request is x.request else None  # recovery's own requests have their own key
        lines = added_headers.to_upstream(x.correlation.id, key, attempt.n, remaining_s, self._deadline_header)
        return lines if self._tracer is None else (*lines, self._tracer.attempt(x, self._clock.wall()))

    def goes_on(self, x: Exchange, lead: Lead) -> bool:
        """Let a running attempt continue as its circuit's probe, if it can and the circuit has none.

        The request is over: it is recorded, and no caller gets the result. An attempt that still waits for a
        connection is no evidence about the backend, and would delay others.
        """
        permit, task, sent = lead.permit, x.task, lead.sent
        if permit is None or task is None or lead.failure_counted or sent.queued or not sent.replayable:
            return False
        if not self._circuit.counts(permit, lead.sent_at) or not self._probes.take(self._own, task.cancel):
            return False
        attempt = x.attempts[-1]
        attempt.ended(attempt.outcome, self._clock.now() - lead.sent_at)
        lead.probing, attempt.why = True, "probe"
        if x.problem is None:
            x.result = LEFT
        return True

    async def _intended(self, x: Exchange, lead: Lead, durability_gate: DurabilityGate) -> bool:
        return await durability_gate.intent(x, remaining(lead.deadline, self._clock.now()))

    def _send(self, x: Exchange, lead: Lead, attempt: Attempt) -> Awaitable[Outcome]:
        route, request = self._route, lead.sent
        whole = isinstance(request.body, bytes)
        timeout_s = remaining(lead.deadline, lead.sent_at) if whole else route.total_timeout_s
        more = self.added(x, request, attempt, timeout_s)
        if route.attempt_timeout_s is not None and self._retry.repeats_timeouts(
            route.retry, self._retry_request(x, request)
        ):
            timeout_s = attempt_timeout(route, x.attempts, timeout_s)

        def interim(response: Response) -> None:
            """Forward an interim response to the leader's client while it waits."""
            if not x.gone and not x.answered:
                x.client.interim(response)

        return self._upstream.send(request, more, timeout_s, interim)

    def _retry_request(self, x: Exchange, request: Request) -> RetryRequest:
        return RetryRequest.of(self._route, request, minted=request is x.request and x.key is not None)

    def _settle(self, x: Exchange, lead: Lead, attempt: Attempt, outcome: Outcome, permit: Permit | Admission) -> None:
        """Report the attempt, whatever its outcome. A probe's request is already recorded."""
        route, request, now = self._route, lead.sent, self._clock.now()
        took_s = now - lead.sent_at
        if lead.probing:
            self._probes.give_back(self._own)
            attempt = Attempt(0, 0.0, safe=True)
        succeeded = attempt.ended(outcome, took_s) is SUCCESS
        if not succeeded:
            attempt.address = self._upstream.last_address
        if not (succeeded and self._breaker.quiet and self._own.quiet):  # then a success changes nothing
            self._report_to_circuit(lead, attempt, permit, took_s, now)
        self._meter.attempted(route.upstream, route.operation, label(outcome), took_s)
        if lead.probing:
            discard(outcome)
        elif b"origin" in request.fields and isinstance(outcome, Response):
            self._cors.learn(request, outcome, self._router.scope(request))

    def _report_to_circuit(
        self, lead: Lead, attempt: Attempt, permit: Permit | Admission, took_s: float, now: float
    ) -> None:
        """Report an attempt's result to the circuits; a flight counts at most one failure."""
        verdict = attempt.verdict
        failed = verdict is not SUCCESS and verdict in FAILURES
        if failed and (self._upstream.has_healthy_address or not is_evidence(attempt.outcome, verdict)):
            self._circuit.give_back(permit)
            return
        timed = self._breaker.rules.slow_call is None or _is_timed(lead.sent, attempt.outcome)
        counted_s = took_s if timed else None
        if failed:
            self._circuit.note(f"{label(attempt.outcome)} at {attempt.address}")
        elapsed, counted = is_elapsed(attempt.outcome), not lead.failure_counted
        self._circuit.report(permit, AttemptOutcome(verdict, elapsed, lead.sent_at, now, counted_s, counted))
        lead.failure_counted = lead.failure_counted or failed

    def _decide(self, x: Exchange, lead: Lead, request: Request, attempt: Attempt, number: int) -> Decision:
        now = self._clock.now()
        wanted = not x.gone if lead.flight is None else lead.flight.callers > 0
        return self._retry.decide(
            self._route.retry, self._retry_request(x, request), attempt.outcome, number, remaining(lead.deadline, now),
            self._budget, now, self._clock.wall(), wanted=wanted, refused_s=self._circuit.refuses_for(now),
        )  # fmt: skip


def _is_timed(request: Request, outcome: Outcome) -> bool:
    """Tell whether the duration depends on the backend alone: not for an upload, a tunnel or an event stream."""
    return isinstance(request.body, bytes) and not (isinstance(outcome, Response) and is_endless(outcome))
