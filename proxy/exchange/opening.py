"""Step 3: ids, trace context, whom verified tokens name, subject, key, and the deadline."""

import asyncio

from proxy.exchange.ports import Ports
from proxy.exchange.state import Exchange
from proxy.policy import correlation, idempotency, trace_context
from proxy.policy.deadline import callers_budget
from proxy.policy.routing import Route, subject_of


class Opening:
    """Determine a request's facts before anything is done for it."""

    __slots__ = ("_clock", "_deadline_field", "_principals", "_random", "_route", "_tracer")

    def __init__(self, route: Route, ports: Ports) -> None:
        self._route = route
        self._clock = ports.clock
        self._random = ports.random
        self._tracer = ports.tracer
        self._principals = ports.wired(route).principals
        self._deadline_field = ports.deadline_field

    def open(self, x: Exchange) -> None:
        """Fill in the request's facts and deadline. Raise CancelledError if the client left, Refusal for a bad key."""
        route, request, fields = self._route, x.request, x.request.fields
        x.started, x.started_wall = self._clock.now(), self._clock.wall()
        x.correlation = correlation.correlate(
            route.operation, fields.get(b"x-correlation-id"), x.started_wall, self._random
        )
        if x.gone:
            raise asyncio.CancelledError
        if b"traceparent" in fields or b"tracestate" in fields:
            self._find_parent(x)
        if self._tracer is not None:
            x.span = self._tracer.begin(x)
        if route.host is not None:
            request.fields = request.fields.with_line(b"Host", route.host)
        if self._principals is not None:
            request.standing = self._principals.standing(fields, request.client, x.started_wall, x.started)
        x.subject = subject_of(x.match, request)
        x.deadline = x.started + route.total_timeout_s
        if self._deadline_field in fields and (own := callers_budget(fields[self._deadline_field])) is not None:
            x.deadline = min(x.deadline, x.started + own)
        if b"idempotency-key" in fields:
            x.key = idempotency.accepted(route, request)

    def _find_parent(self, x: Exchange) -> None:
        x.request.fields, x.parent = trace_context.vetted(x.request.fields)
        if x.parent is not None:
            x.trace_id = x.parent.trace_id
