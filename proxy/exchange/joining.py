"""Steps 4 and 10: lead a flight, follow it or go alone; land the flight for all its callers."""

import asyncio

from proxy.exchange.ports import Ports, Wiring
from proxy.exchange.state import OUT_OF_TIME, Exchange, Lead
from proxy.http.message import BodyReader, Response, discard
from proxy.policy import coalescing
from proxy.policy.coalescing import ALONE, JOINED, Flight, Joined, Overflow
from proxy.policy.deadline import remaining
from proxy.policy.recovery_plan import Result
from proxy.policy.routing import Route


class Joining:
    """Find a request's place among concurrent equal requests."""

    __slots__ = ("_clock", "_flights", "_identifier", "_meter", "_route")

    def __init__(self, route: Route, wiring: Wiring, ports: Ports) -> None:
        self._route = route
        self._identifier = wiring.identifier
        self._flights = ports.flights
        self._meter = ports.meter
        self._clock = ports.clock

    def join(self, x: Exchange, now: float) -> Joined:
        """Return the request's place, which it then occupies. Raise Refusal if too many callers wait."""
        flights, route, request, subject = self._flights, self._route, x.request, x.subject.value
        alone = flights.alone(route, request, subject)
        with_key = alone is None or route.keeps
        if with_key or not request.safe:
            x.identity = self._identifier.identify(request, subject, with_key)
        if alone is None:
            place = flights.join(route, request, subject, x.identity, self._identifier.owners, now)
        else:
            place = Joined(ALONE, reason=alone)
        if isinstance(place, Overflow):
            raise place.refusal
        x.flight, x.alone_because = place.flight, place.reason
        if x.role is None:
            x.role = role = place.role
            self._meter.coalesced(self._route.operation, role)
        if x.held and place.role is JOINED and place.flight is not None:
            place.flight.held += x.held
            x.held = []
        return place

    def lead(self, x: Exchange, flight: Flight | None, began: float) -> Lead:
        """Return the upstream request that starts at `began`, for the flight that this request leads, if any.

        Its deadline is the route's. A caller's own deadline ends only that caller's wait.
        """
        return Lead(flight, began + self._route.total_timeout_s, x.request)

    async def follow(self, x: Exchange, flight: Flight) -> Result | None:
        """Return the flight's result, OUT_OF_TIME at the caller's deadline, None if it may not be shared."""
        if (streaming := flight.take_on()) is not None:  # no await since the join: the beginning is still kept
            x.reader = opened(streaming)
            self._flights.left()
            return streaming
        loop = asyncio.get_running_loop()
        landing: asyncio.Future[Result | None] = loop.create_future()

        def land(result: Result | None) -> None:
            if not landing.done():
                x.reader = opened(result)
                landing.set_result(result)

        ticket = flight.wait(land, x.request)
        own_time = loop.call_later(remaining(x.deadline, self._clock.now()), land, OUT_OF_TIME)
        try:
            return await landing
        finally:
            own_time.cancel()
            flight.leave(ticket)
            self._flights.left()

    def elects(self, x: Exchange, flight: Flight, result: Result, elections: int, now: float) -> bool:
        """Tell whether the followers of a failed flight elect a new leader."""
        return coalescing.elects(flight, result, elections, remaining(x.deadline, now))

    def land(self, x: Exchange, lead: Lead, result: Result) -> None:
        """Publish the result and remove the flight in one step; each caller's reader opens before any reads."""
        x.lead, flight = None, lead.flight
        if lead.own_time is not None:
            lead.own_time.cancel()
        if x.gone and (flight is None or flight.callers == 0):
            discard(result.outcome)
        elif not x.gone:
            x.reader = opened(result)
        if flight is not None:
            now = self._clock.now()
            flight.late = remaining(lead.deadline, now) < self._route.min_attempt_s
            self._flights.land(flight, result, x.request, now)

    def abandon(self, flight: Flight) -> None:
        """Remove a flight without callers, so that no request joins it."""
        self._flights.abandon(flight)


def opened(result: Result | None) -> BodyReader | None:
    """Open a reader at the first byte of a streamed result, before another reader advances."""
    if result is None:
        return None
    outcome = result.outcome
    response = outcome if isinstance(outcome, Response) else outcome.partial
    return None if response is None or isinstance(response.body, bytes) else response.body.open()
