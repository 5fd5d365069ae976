"""THE PAGE: the life of one request, in the eleven steps of the README. It orchestrates; the policies decide."""

import asyncio
import logging

from proxy.answering import opened
from proxy.bag import LEFT, LOST, OUT_OF_TIME
from proxy.claiming import Claiming
from proxy.errors import BrokenBody, Problem, Reason, Refusal, refused
from proxy.message import Failure, Lines, Outcome, Request, Response, answer_in, discard
from proxy.parts import Witness
from proxy.policy import answers, coalescing, correlation, disclosure, idempotency, kept, recovery
from proxy.policy.attempts import Attempt, attempt_timeout, ladder_outcome
from proxy.policy.breaker import FAILURES, Permit, Refused
from proxy.policy.classify import classify
from proxy.policy.coalescing import Flight, Joined, Overflow, Role
from proxy.policy.deadline import Deadline, callers_budget
from proxy.policy.recovery import Create, LoadExisting, Recovered, Result, UseStale
from proxy.policy.retry import Again, Decision, Question
from proxy.policy.routing import Idempotency, subject_of

_log = logging.getLogger("backstay.exchange")


class Exchange(Claiming):
    """One client request and all that happens while answering it.

    The downstream connection makes it (steps 1 and 2), runs `run` as its one task, and calls `abandon` if the client
    leaves. It never cancels the task itself: followers may wait for what the task brings home.
    """

    __slots__ = ()

    async def run(self) -> None:
        """Answer the request. Whatever happens, it leaves one record."""
        self._begun = True
        try:
            self._open()
            result = await self._obtain()
            await self._answer(result)
        except Refusal as refusal:
            self._say(refused(refusal))
        except asyncio.CancelledError:
            if self.problem is None:  # else its own time was over, and it has been told so
                self.result = LEFT
            if not self.gone:  # not our client's doing: the sidecar is stopping
                raise
        except Exception:
            _log.exception("an exchange failed: %r", self.request)
            self._say(answers.problem_of(Failure(Reason.INTERNAL, sent=True)))
        finally:
            if self._reader is not None:  # one that nobody reads would hold its sender up
                self._reader.close()
            if self.held:
                self._let_claims_go(self.held, asked=any(attempt.sent for attempt in self.attempts))
            if self.role is Role.JOINED:  # nobody's answer waits for the records of those who landed before him
                self._record_later()
            else:
                self._record()
            self.task = None  # it holds this exchange: a cycle would be the collector's work

    def abandon(self) -> None:
        """Take note that the client left. Nothing ends that somebody else waits for (C5)."""
        if self.gone:
            return
        self.gone = True
        if self._needed and self._led is not None:
            self._led.leave()
        elif self._needed:
            self._deserted()
        elif self._begun and self.task is not None:
            self.task.cancel()

    # 3. Open: ids, and the one instant that covers everything

    def _open(self) -> None:
        parts, route, fields = self._parts, self.route, self.request.fields
        self.started, self.started_wall = parts.clock.now(), parts.clock.wall()
        sent = fields.get(b"x-correlation-id")
        self.correlation = correlation.correlate(route.operation, sent, self.started_wall, parts.random)
        if self.gone:
            raise asyncio.CancelledError
        self.trace_id = correlation.trace_id(fields.get(b"traceparent"))
        if self.trace_id is None and b"traceparent" in fields:  # X2
            self.request.fields = fields.without((b"traceparent", b"tracestate"))
        if parts.tracer is not None:
            self.span = parts.tracer.begin(self)
        if route.host is not None:
            self.request.fields = self.request.fields.with_line(b"Host", route.host)
        self.subject = subject_of(self.match, self.request)
        self.deadline = Deadline(self.started + route.total_timeout_s)
        own = callers_budget(fields.get(parts.deadline_field))
        if own is not None:
            self.deadline = self.deadline.no_later_than(self.started + own)
        self._until = self.deadline
        self.key = idempotency.accepted(route, self.request)

    # 4. Join: lead, follow or go alone

    async def _obtain(self) -> Result:
        route = self.route
        store_first = route.store_required or (route.idempotency is Idempotency.REPLAY and self.key is not None)
        if store_first and (stored := await self._replayed()) is not None:
            return stored
        elections, began = 0, self.started
        while True:
            place = self._join(began)
            if place.role is not Role.JOINED or place.flight is None:
                return await self._lead(place.flight, began)
            result = await self._follow(place.flight)
            if result is None and place.flight.safe:  # it may not be shared: everybody asks for himself
                return await self._lead(None, began)
            began = self._parts.clock.now()
            if result is None:  # it sets a stranger's cookie: everybody writes for himself, one after another (C7)
                continue
            if not coalescing.elects(place.flight, result, elections, self.deadline.remaining(began)):
                return result
            elections += 1

    def _join(self, now: float) -> Joined:
        parts, route, request, subject = self._parts, self.route, self.request, self.subject.value
        alone = parts.flights.alone(route, request, subject)
        whole_question = alone is None or route.keeps
        if whole_question or not request.safe:
            self.identity = self._wiring.identifier.identify(request, subject, whole_question=whole_question)
        if alone is None:
            place = parts.flights.join(
                route, request, subject, self.identity.question, self._wiring.identifier.owners, now
            )  # fmt: skip
        else:
            place = Joined(Role.ALONE, reason=alone)
        if isinstance(place, Overflow):
            raise place.refusal
        self.alone_because, self.flight = place.reason, place.flight
        self._take(place.role)
        if place.role is Role.JOINED and place.flight is not None and self.held:
            place.flight.held += self.held
            self.held = []
        return place

    def _take(self, role: Role) -> None:
        """Count the request's role, once, where it is decided (C12)."""
        if self.role is None:
            self.role = role
            self._parts.meter.coalesced(self.route.operation, role)

    async def _follow(self, flight: Flight) -> Result | None:
        if (streaming := flight.take_on()) is not None:  # no await since the join: its beginning is still there
            self._reader = opened(streaming)
            self._parts.flights.left()
            return streaming
        loop = asyncio.get_running_loop()
        landing: asyncio.Future[Result | None] = loop.create_future()

        def land(result: Result | None) -> None:
            if not landing.done():
                self._reader = opened(result)
                landing.set_result(result)

        ticket = flight.wait(land, self.request)
        own_time = loop.call_later(self.deadline.remaining(self._parts.clock.now()), land, OUT_OF_TIME)
        try:
            return await landing
        finally:
            own_time.cancel()
            flight.leave(ticket)
            self._parts.flights.left()

    async def _lead(self, flight: Flight | None, began: float) -> Result:
        self._needed, self._led = True, flight
        self._until = self.deadline if flight is None else Deadline(began + self.route.total_timeout_s)
        own_time = self._limit_own_wait(flight)
        result = LOST
        self._seal()
        try:
            if not self.request.safe:
                self._mint()
                result = await self._ask_once(flight)
            else:
                found = await self._kept() if self.route.keeps else None
                result = await self._ask() if found is None else found
        except asyncio.CancelledError:
            result = LEFT
            raise
        finally:
            self._needed = False
            if own_time is not None:
                own_time.cancel()
            self._seal_again()
            if flight is not None and flight.held:
                self._let_claims_go(flight.held, asked=result is LOST)
            self._land(flight, result)
        return result

    def _limit_own_wait(self, flight: Flight | None) -> asyncio.TimerHandle | None:
        """Let a leader whose own deadline is shorter than its flight's answer in time, and the flight go on (C6)."""
        if flight is None:
            return None
        flight.when_deserted(self._deserted)
        if self.deadline.at >= self._until.at:
            return None
        own_s = self.deadline.remaining(self._parts.clock.now())
        return asyncio.get_running_loop().call_later(own_s, self._out_of_time)

    def _out_of_time(self) -> None:
        self.result = OUT_OF_TIME
        self._say(answers.problem_of(Failure(Reason.RESPONSE_TIMEOUT, sent=True)))
        self.abandon()

    def _deserted(self) -> None:
        """Drop a safe question that nobody waits for; an unsafe one that is under way runs to its end (C5)."""
        if self.request.safe or not self._sending:
            if self._led is not None:
                self._parts.flights.abandon(self._led)
            if self.task is not None:
                self.task.cancel()

    # 5. Claim: one key for all attempts; a kept answer saves asking

    def _mint(self) -> None:
        parts, subject = self._parts, self.subject.value
        if self.key is None:
            self.key = idempotency.minted(self.route, self.request, subject, self.started_wall, parts.random)

    async def _kept(self) -> Result | None:
        parts, route = self._parts, self.route
        found, self._mark = await parts.store.look(self.identity.question, self._scope)
        if found is None or not self._fresh(found.stamp) or not kept.may_read(route, self.request):
            return None
        return kept.reread(route, found, parts.clock.wall())

    async def _ask(self) -> Result:
        stamp = self._stamp()
        self._wiring.budget.deposit()
        outcome = await self._climb(self.request)
        if kept.ends_session(outcome):
            self._parts.flights.seals.drop_owners(self.owners)
        result = await self._recover(outcome)
        await self._keep(result, stamp)
        return result

    # 6. Admit, 7. Send, 8. Retry

    async def _climb(self, request: Request) -> Outcome:
        """Run one ladder of attempts."""
        parts, question, first = self._parts, self._question(request), len(self.attempts)
        if parts.witness is not None and not request.safe and not await self._intend(parts.witness):
            return Failure(Reason.UNRECORDED, sent=False)
        waited_s = 0.0
        while True:
            outcome = await self._attempt(request, waited_s)
            now = parts.clock.now()
            decision = parts.retry.decide(
                self.route.retry, question, outcome, len(self.attempts) - first, self._until.remaining(now),
                self._wiring.budget, now, parts.clock.wall(), wanted=self.wanted,
                refused_s=self._wiring.breaker.refuses_for(now),
            )  # fmt: skip
            decision = self._explain(decision)
            if not isinstance(decision, Again):
                return ladder_outcome(self.attempts[first:])
            discard(outcome)
            waited_s = decision.delay_s
            await parts.clock.sleep(waited_s)

    def _question(self, request: Request) -> Question:
        minted = request is self.request and self.key is not None
        return Question.of(self.route, request, minted=minted)

    async def _intend(self, witness: Witness) -> bool:
        return await witness.intent(self, self._until.remaining(self._parts.clock.now()))

    async def _attempt(self, request: Request, waited_s: float) -> Outcome:
        parts, wiring, now = self._parts, self._wiring, self._parts.clock.now()
        attempt = Attempt(len(self.attempts) + 1, waited_s)
        self.attempts.append(attempt)
        permit = wiring.breaker.admit(now)
        if isinstance(permit, Refused):
            parts.meter.rejected(wiring.breaker.name)
            attempt.outcome = Failure(Reason.CIRCUIT_OPEN, sent=False, retry_after_s=permit.retry_after_s)
            return attempt.outcome
        remaining_s = self._until.remaining(now) if request.replayable else self.route.total_timeout_s
        more = self._to_upstream(request, attempt, remaining_s)
        self._sending = True
        try:
            timeout_s = self._timeout(request, remaining_s)
            attempt.outcome = await wiring.upstream.send(request, more, timeout_s, self._interim)
        finally:
            self._sending = False
            self._settle(attempt, permit, now)
        if isinstance(attempt.outcome, Response):
            wiring.cors.learn(request, attempt.outcome, parts.router.scope(request))
        return attempt.outcome

    def _interim(self, response: Response) -> None:
        """Pass on what comes before the answer, to the leader's own client while it waits (W7)."""
        if not self.gone and not self.answered:
            self._client.interim(response)

    def _to_upstream(self, request: Request, attempt: Attempt, remaining_s: float) -> Lines:
        key = self.key if request is self.request else None  # recovery's own requests carry their own
        lines = disclosure.to_upstream(self.correlation.id, key, attempt.n, remaining_s)
        tracer = self._parts.tracer
        return lines if tracer is None else (*lines, tracer.attempt(self, self._parts.clock.wall()))

    def _timeout(self, request: Request, remaining_s: float) -> float:
        route, repeats = self.route, self._parts.retry.repeats_timeouts
        if route.attempt_timeout_s is None or not repeats(route.retry, self._question(request)):
            return remaining_s
        return attempt_timeout(route, self.attempts, remaining_s)

    def _settle(self, attempt: Attempt, permit: Permit, began: float) -> None:
        """Report the attempt, whatever became of it; a flight counts one failure at the most (B5)."""
        now, verdict = self._parts.clock.now(), classify(attempt.outcome)
        attempt.took(now - began)
        counted = not self._failure_counted
        self._wiring.breaker.report(permit, verdict, now, took_s=now - began, counted=counted)
        self._failure_counted = self._failure_counted or verdict in FAILURES
        self._parts.meter.attempted(self.route.upstream, self.route.operation, attempt.result, now - began)

    def _explain(self, decision: Decision) -> Decision:
        self.attempts[-1].why = decision.reason
        if isinstance(decision, Again):
            self._parts.meter.retried(self.route.operation, decision.reason)
        elif decision.denied:
            self._parts.meter.retry_denied(self.route.operation, decision.reason)
        return decision

    # 9. Recover: the existing session, the fallback, or the honest answer

    async def _recover(self, outcome: Outcome) -> Result:
        rules, names, subject = self.route.recovery, self.match.names, self.subject.value
        plan = recovery.plan(rules, outcome, names, subject)
        if isinstance(plan, LoadExisting):
            found = await self._climb(recovery.own_request(self.request, plan.method, plan.target))
            plan = self._chosen(recovery.after_load(rules, outcome, found, names, subject), found)
        elif isinstance(plan, Create):
            plan = await self._create(plan, outcome)
        elif isinstance(plan, UseStale):
            plan = await self._stale(outcome) or recovery.last_resort(rules, outcome, names, subject)
        recovered = plan if isinstance(plan, Recovered) else self._preflight(outcome)
        if recovered is None:
            return Result(outcome)
        discard(outcome)
        self._parts.meter.recovered(self.route.operation, recovered.kind)
        return recovered.readable(self._wiring.cors.lines(self.request))

    # 10. Land and record

    def _land(self, flight: Flight | None, result: Result) -> None:
        """Publish and take away in the same step; every caller's reader opens before any of them reads."""
        if self.gone and (flight is None or flight.callers == 0):
            discard(result.outcome)
        elif not self.gone:
            self._reader = opened(result)
        if flight is not None:
            now = self._parts.clock.now()
            flight.late = self._until.remaining(now) < self.route.min_attempt_s
            self._parts.flights.land(flight, result, self.request, now)

    def _record(self) -> None:
        if self._recorded:
            return
        self._recorded = True
        self._take(Role.ALONE)  # only those who were refused before they could join
        parts, route = self._parts, self.route
        self._stop_the_clock()
        if len(self.attempts) > 1:
            parts.meter.retried_request(route.operation, self.succeeded)
        parts.meter.finished(
            route.operation, self.request.method, self.status, self.ending, self.duration_s, self.level
        )  # fmt: skip
        parts.ledger.record(self)

    # 11. Answer, with this caller's own correlation

    async def _answer(self, result: Result) -> None:
        if self.gone:
            return
        self.result, outcome = result, result.outcome
        response = answer_in(outcome)
        if response is None:
            self._say(answers.problem_of(outcome), answers.retry_after_s(outcome))
            return
        self.answered = response.status
        more = self._to_client(self._story())
        if isinstance(response.body, bytes):
            self.bytes_out = len(response.body)
            self._give(response, more)
            return
        reader = self._reader or response.body.open()
        if self._parts.witness is not None and not await self._parts.witness.opening(self):
            reader.close()
            self.answered = 0
            await self._answer(Result(answers.WITHHELD))
            return
        if reader.lost and self.request.safe:  # too slow for the others before it was told anything: it asks alone (W8)
            self.answered, self._reader = 0, None
            await self._answer(await self._lead(None, self._parts.clock.now()))
            return
        try:
            self.bytes_out = await self._client.relay(response, reader, more)
        except BrokenBody:
            self.truncated = True

    def _say(self, problem: Problem, retry_after_s: float | None = None) -> None:
        """Answer with a problem of our own, unless the client has left or has an answer already."""
        if self.gone or self.answered:
            return
        self.problem, self.answered = problem, problem.status
        response, more = self._own(problem, retry_after_s)
        self.bytes_out = len(response.body) if isinstance(response.body, bytes) else 0
        self._give(response, more)
        self._stop_the_clock()
