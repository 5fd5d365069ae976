"""The life of one request, in the eleven steps of docs/architecture.md. Stages act, policies decide."""

import asyncio
from collections.abc import Awaitable

from proxy.exchange.pipeline import RoutePipeline
from proxy.exchange.state import LEFT, LOST, OUT_OF_TIME, RUNNING, Exchange, Lead
from proxy.http.message import Response, discard
from proxy.http.problems import Refusal, refused
from proxy.policy.attempt_facts import effect, effect_of
from proxy.policy.classify import SUCCESS, classify
from proxy.policy.coalescing import JOINED, Flight, Joined
from proxy.policy.recovery_plan import Result, unrecovered
from proxy.runtime.eager_task import EagerTask


class RequestHandler:
    """Process one request from its head to its record.

    The downstream connection creates it (steps 1 and 2), starts it, and calls `abandon` if the client leaves. It never
    cancels the task itself: followers may wait for the result.
    """

    __slots__ = ("exchange", "pipeline")

    def __init__(self, exchange: Exchange, pipeline: RoutePipeline) -> None:
        self.exchange = exchange
        self.pipeline = pipeline

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run in a new eager task."""
        self.exchange.task = task = EagerTask(self.run(), loop)
        task.step()

    async def run(self) -> None:
        """Respond to the request and write exactly one record in every case."""
        x, p = self.exchange, self.pipeline
        x.phase = RUNNING
        try:
            p.opening.open(x)  # step 3
            result = OUT_OF_TIME
            if x.deadline > x.started:  # steps 4 and 5: a plain request joins without an await
                claims = x.key is not None or p.route.store_required
                result = await (self._claim() if claims else self._place())
            streamed = p.responder.respond(x, result)
            while streamed is not None:
                streamed = await self._relay(streamed)
        except Refusal as refusal:
            p.responder.send_problem(x, refused(refusal))
        except asyncio.CancelledError:
            p.leaving.unanswered(x)
            if not x.gone:  # not the client: the sidecar is stopping
                raise
        except Exception:
            p.responder.fail(x)
        finally:
            if x.held:
                p.claims.release_unsettled(x)
            p.recorder.finish(x)
            x.task = None  # the task refers to this exchange: break the reference cycle

    def refuse(self, refusal: Refusal) -> None:
        """Respond with the refusal of the rest of the body, and end; do nothing if a response has begun."""
        self.pipeline.leaving.refuse(self.exchange, refusal)

    def abandon(self, *, mid_upload: bool = False) -> None:
        """Record that the client left; `mid_upload`: the rest of the request body will never arrive."""
        self.pipeline.leaving.abandon(self.exchange, mid_upload=mid_upload)

    async def _claim(self) -> Result:
        return await self.pipeline.claims.replayed(self.exchange) or await self._place()

    def _place(self) -> Awaitable[Result]:
        began = self.exchange.started
        place = self.pipeline.joining.join(self.exchange, began)
        return self._follow(place) if place.role is JOINED else self._lead(place.flight, began)

    async def _follow(self, place: Joined) -> Result:
        """Wait for the leader's response; send an own request if the leader failed or may not share."""
        x, p, elections, began = self.exchange, self.pipeline, 0, self.exchange.started
        while place.role is JOINED and (flight := place.flight) is not None:
            result = await p.joining.follow(x, flight)
            if result is None and flight.safe:  # not shareable: each follower sends its own request
                return await self._lead(None, began)
            began = p.clock.now()
            if result is None:  # it sets a cookie for one connection: followers send one after another
                if (result := await p.claims.replayed(x)) is not None:  # its own key may have the flight's response
                    return result
            elif p.joining.elects(x, flight, result, elections, began):
                elections += 1
            else:
                return result
            place = p.joining.join(x, began)
        return await self._lead(place.flight, began)

    async def _lead(self, flight: Flight | None, began: float) -> Result:  # steps 5 to 10
        x, p, result = self.exchange, self.pipeline, LOST
        lead = p.joining.lead(x, flight, began)
        p.leaving.watch(x, lead)
        try:
            if x.request.safe:
                result = await (self._read(lead) if p.route.keeps else self._send(lead))
            else:
                result = await self._write(lead)
        except asyncio.CancelledError:
            result = LEFT
            raise
        finally:
            if flight is not None and flight.held:
                p.claims.release_flight(flight, sent=result is LOST)
            p.joining.land(x, lead, result)
        return result

    async def _read(self, lead: Lead) -> Result:  # step 5
        return await self.pipeline.cache.fresh(self.exchange, lead) or await self._send(lead)

    async def _write(self, lead: Lead) -> Result:  # step 5
        """Send a write, unless another replica does; settle its claims before any caller gets the response."""
        x, p = self.exchange, self.pipeline
        p.cache.begin_write(x)
        elsewhere: Result | None = None
        try:
            p.claims.mint(x)
            elsewhere = await p.claims.sent_elsewhere(x, lead)
            result = await self._send(lead) if elsewhere is None else elsewhere
        finally:
            changed = p.cache.end_write(x, effect(x.attempts) if elsewhere is None else effect_of(elsewhere.outcome))
        try:
            if changed:
                await p.cache.inform_replicas(lead)
            await p.claims.settle(x, lead, result)
        except asyncio.CancelledError:
            discard(result.outcome)
            raise
        return result

    async def _send(self, lead: Lead) -> Result:  # steps 6 to 9
        x, p = self.exchange, self.pipeline
        stamp = p.cache.stamp(x) if p.route.keeps else 0
        outcome = await p.attempts.run(x, lead, x.request)
        lead.known, result = True, unrecovered(outcome)
        try:
            if classify(outcome) is not SUCCESS:
                result = await p.recovery.run(x, lead, outcome)
            if p.route.keeps:
                await p.cache.store(x, lead, result, stamp)
        except asyncio.CancelledError:  # a streamed body without a reader would hold its connection
            discard(outcome)
            discard(result.outcome)
            raise
        return result

    async def _relay(self, response: Response) -> Response | None:  # step 11
        """Relay a streamed response; return the response that replaces it, if any."""
        assert not isinstance(response.body, bytes)
        x, p = self.exchange, self.pipeline
        began_s, reader = p.clock.now() - x.started, x.reader or response.body.open()
        if await p.responder.may_open(x, reader):
            if reader.lost and x.request.safe:  # too slow before its head was written: send an own request
                x.answered, x.reader = 0, None
                return p.responder.respond(x, await self._lead(None, p.clock.now()))
            await p.responder.relay(x, response, reader, began_s)
        return None
