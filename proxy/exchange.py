"""THE PAGE: the life of one request, in the eleven steps of the README. It orchestrates; the policies decide."""

import asyncio
import logging
from collections.abc import Awaitable

from proxy.answering import opened
from proxy.bag import LEFT, LOST, OUT_OF_TIME
from proxy.claiming import Claiming
from proxy.errors import BrokenBody, Problem, Reason, Refusal, refused
from proxy.message import Failure, Outcome, Request, Response, answer_in, discard
from proxy.policy import answers, coalescing, correlation, idempotency, kept, recovery, summary, trace_context
from proxy.policy.attempts import Attempt, ladder_outcome
from proxy.policy.classify import SUCCESS, classify
from proxy.policy.coalescing import ALONE, JOINED, Flight, Joined, Overflow, Role
from proxy.policy.deadline import callers_budget, remaining
from proxy.policy.recovery import Create, LoadExisting, Recovered, Result, UseStale
from proxy.policy.retry import DONE, Again
from proxy.policy.routing import subject_of

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
            streamed = self._answer(await self._obtain() if self.deadline > self.started else OUT_OF_TIME)
            if streamed is not None:
                await self._relay(streamed)
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
            if self.role is JOINED:  # nobody's answer waits for the records of those who landed before him
                self._record_later()
            else:
                self._record()
            self.task = None  # it holds this exchange: a cycle would be the collector's work

    def refuse(self, refusal: Refusal) -> None:
        """Answer with the refusal of the rest of the body, and end; too late where an answer has begun."""
        if not self.answered:
            self._say(refused(refusal))
            self.abandon(mid_upload=True)

    def abandon(self, *, mid_upload: bool = False) -> None:
        """Take note that the client left. Nothing ends that somebody else waits for (C5).

        `mid_upload`: the rest of the request's body will never come. Then the request ends, for it cannot be done.
        """
        if self.gone:
            return
        self.gone = True
        if mid_upload and self.task is not None:
            self.task.cancel()
        elif self._needed and self._led is not None:
            self._led.leave()
        elif self._needed:
            self._deserted()
        elif self._begun and self.task is not None:
            self.task.cancel()

    # 3. Open: ids, and the one instant that covers everything

    def _open(self) -> None:
        parts, route, request, fields = self._parts, self.route, self.request, self.request.fields
        self.started, self.started_wall = parts.clock.now(), parts.clock.wall()
        sent = fields.get(b"x-correlation-id")
        self.correlation = correlation.correlate(route.operation, sent, self.started_wall, parts.random)
        if self.gone:
            raise asyncio.CancelledError
        if b"traceparent" in fields or b"tracestate" in fields:
            self._find_parent()
        if parts.tracer is not None:
            self.span = parts.tracer.begin(self)
        if route.host is not None:
            request.fields = request.fields.with_line(b"Host", route.host)
        self.subject = subject_of(self.match, request)
        self.deadline = self.started + route.total_timeout_s
        if parts.deadline_field in fields and (own := callers_budget(fields[parts.deadline_field])) is not None:
            self.deadline = min(self.deadline, self.started + own)
        self._until = self.deadline
        if b"idempotency-key" in fields:
            self.key = idempotency.accepted(route, request)

    def _find_parent(self) -> None:
        request = self.request
        request.fields, self.parent = trace_context.vetted(request.fields)
        if self.parent is not None:
            self.trace_id = self.parent.trace_id

    # 4. Join: lead, follow or go alone

    def _obtain(self) -> Awaitable[Result]:
        """Return the one thing to wait for; a plain request has its place at once."""
        if self.route.store_required or self.key is not None:
            return self._stored_or_obtained()
        return self._placed(self._join(self.started))

    async def _stored_or_obtained(self) -> Result:
        stored = await self._replayed()
        return await self._placed(self._join(self.started)) if stored is None else stored

    def _placed(self, place: Joined) -> Awaitable[Result]:
        return self._follow_or_lead(place) if place.role is JOINED else self._lead(place.flight, self.started)

    async def _follow_or_lead(self, place: Joined) -> Result:
        elections, began = 0, self.started
        while place.role is JOINED and (flight := place.flight) is not None:
            result = await self._follow(flight)
            if result is None and flight.safe:  # it may not be shared: everybody asks for himself
                return await self._lead(None, began)
            began = self._parts.clock.now()
            if result is None:  # it sets the cookie of a caller whom nothing names: each asks for itself, in turn (C7)
                result = await self._replayed()  # the key was the flight's to settle; now it is claimed again
                if result is not None:
                    return result
            elif coalescing.elects(flight, result, elections, remaining(self.deadline, began)):
                elections += 1
            else:
                return result
            place = self._join(began)
        return await self._lead(place.flight, began)

    def _join(self, now: float) -> Joined:
        parts, route, request, subject = self._parts, self.route, self.request, self.subject.value
        alone = parts.flights.alone(route, request, subject)
        whole_question = alone is None or route.keeps
        if whole_question or not self.request.safe:
            self.identity = self._wiring.identifier.identify(request, subject, whole_question=whole_question)
        if alone is None:
            place = parts.flights.join(
                route, request, subject, self.identity, self._wiring.identifier.owners, now
            )  # fmt: skip
        else:
            place = Joined(ALONE, reason=alone)
        if isinstance(place, Overflow):
            raise place.refusal
        self.flight, self.alone_because = place.flight, place.reason
        if self.role is None:
            self._take(place.role)
        if self.held and place.role is JOINED and place.flight is not None:
            place.flight.held += self.held
            self.held = []
        return place

    def _take(self, role: Role) -> None:
        """Count the request's role, once, where it is decided (C12)."""
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
        own_time = loop.call_later(remaining(self.deadline, self._parts.clock.now()), land, OUT_OF_TIME)
        try:
            return await landing
        finally:
            own_time.cancel()
            flight.leave(ticket)
            self._parts.flights.left()

    async def _lead(self, flight: Flight | None, began: float) -> Result:
        result = LOST
        self._needed, self._led, self._until = True, flight, self._latest(began)
        own_time = None if self.deadline >= self._until else self._limit_own_wait()
        if flight is not None:
            flight.when_deserted = self._deserted
        try:
            if not self.request.safe:
                self._begin_write()
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
            if flight is not None and flight.held:
                self._let_claims_go(flight.held, asked=result is LOST)
            self._land(flight, result)
        return result

    def _latest(self, began: float) -> float:
        """Return the deadline of what is asked: the route's. A caller's own shorter one ends that caller's wait."""
        return began + self.route.total_timeout_s

    def _limit_own_wait(self) -> asyncio.TimerHandle | None:
        """Have a caller whose own deadline comes first answered in time; a body that streams has its own pace."""
        if not isinstance(self.request.body, bytes):
            return None
        own_s = remaining(self.deadline, self._parts.clock.now())
        return asyncio.get_running_loop().call_later(own_s, self._out_of_time)

    def _out_of_time(self) -> None:
        if self.gone:
            return
        self.result = OUT_OF_TIME
        self._say(answers.problem_of(Failure(Reason.RESPONSE_TIMEOUT, sent=True)))
        self.abandon()

    def _deserted(self) -> None:
        """End what nobody waits for. A write that is under way runs to its end; a read may go on as a probe."""
        if self._permit is not None and not (self.request.safe and self.attempts[-1].safe):
            return
        if self._led is not None:
            self._parts.flights.abandon(self._led)
        if self._goes_on():
            self._end_early()
        elif self.task is not None:
            self.task.cancel()

    # 5. Claim: one key for all attempts; a kept answer saves asking

    def _mint(self) -> None:
        parts, subject = self._parts, self.subject.value
        if self.key is None:
            self.key = idempotency.minted(self.route, self.request, subject, self.started_wall, parts.random)

    async def _kept(self) -> Result | None:
        found = await self._look()
        if found is None or not self._fresh(found.stamp) or not kept.may_read(self.route, self.request):
            return None
        return kept.reread(self.route, self.request, found, self._parts.clock.wall())

    async def _ask(self) -> Result:
        keeps = self.route.keeps
        stamp = self._stamp() if keeps else 0
        self._wiring.budget.deposit()
        outcome = await self._climb(self.request)
        if classify(outcome) is SUCCESS:
            result = Result(outcome)
        else:
            if kept.ends_session(outcome):
                self._parts.flights.seals.end_session(self.owners, self.request.client)
            result = await self._recover(outcome)
        if keeps:
            await self._keep(result, stamp)
        return result

    # 6. Admit, 7. Send, 8. Retry

    async def _climb(self, request: Request) -> Outcome:
        """Run one ladder of attempts."""
        parts, attempts, first, waited_s = self._parts, self.attempts, len(self.attempts), 0.0
        if parts.witness is not None and not request.safe and not await self._intended(parts.witness):
            return Failure(Reason.UNRECORDED, sent=False)
        while True:
            attempt = Attempt(len(attempts) + 1, waited_s, safe=request.safe)
            attempts.append(attempt)
            now = parts.clock.now()
            permit = self._admit(attempt, now)
            if permit is not None:
                self._permit, self._sent, self._sent_at, outcome = permit, request, now, attempt.outcome
                try:
                    outcome = await self._send(request, attempt, now)
                finally:
                    self._permit = None
                    self._settle(request, attempt, outcome, permit, now)
                if self._probing:
                    raise asyncio.CancelledError
            if attempt.verdict is SUCCESS:
                attempt.why = DONE.reason
                return attempt.outcome
            decision = self._explain(attempt, self._decide(request, attempt, len(attempts) - first))
            if not isinstance(decision, Again):
                return ladder_outcome(attempts[first:])
            discard(attempt.outcome)
            waited_s = decision.delay_s
            await parts.clock.sleep(waited_s)

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
            flight.late = remaining(self._until, now) < self.route.min_attempt_s
            self._parts.flights.land(flight, result, self.request, now)

    def _record(self) -> None:
        if self._recorded:
            return
        self._recorded = True
        if self.role is None:  # refused before it could join
            self._take(ALONE)
        parts, route, status = self._parts, self.route, self.status
        seconds = self.duration_s or self._stop_the_clock()
        refused_here = self.problem is not None and self.problem.error is Reason.REQUEST_ERROR
        self.ending = summary.ending(self.result, self.answered, refused=refused_here, truncated=self.truncated)
        if route.target is not None:
            self.level = route.target.level(seconds)
        if len(self.attempts) > 1:
            parts.meter.retried_request(route.operation, self.succeeded)
        parts.meter.finished(route.operation, self.request.method, status, self.ending, seconds, self.level)
        parts.ledger.record(self)

    # 11. Answer, with this caller's own correlation

    def _answer(self, result: Result) -> Response | None:
        """Give the client its answer, or return the one that is relayed as it comes."""
        if self.gone:
            return None
        self.result, outcome = result, result.outcome
        response = answer_in(outcome)
        if response is None:
            self._say(answers.problem_of(outcome), answers.retry_after_s(outcome))
        elif isinstance(response.body, bytes):
            self.answered = response.status
            self.bytes_out = len(response.body)
            self._give(response, self._beside(self._stop_the_clock()))
        else:
            self.answered = response.status
            return response
        return None

    async def _relay(self, response: Response) -> None:
        assert not isinstance(response.body, bytes)
        more, witness = self._beside(self._parts.clock.now() - self.started), self._parts.witness
        reader = self._reader or response.body.open()
        if witness is not None and not await witness.opening(self):
            reader.close()
            self.answered = 0
            self._answer(Result(answers.WITHHELD))
            return
        if reader.lost and self.request.safe:  # too slow for the others before it was told anything: it asks alone (W8)
            self.answered, self._reader = 0, None
            again = self._answer(await self._lead(None, self._parts.clock.now()))
            if again is not None:
                await self._relay(again)
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
        self._stop_the_clock()
        response, more = self._own(problem, retry_after_s)
        self.bytes_out = len(response.body) if isinstance(response.body, bytes) else 0
        self._give(response, more)
