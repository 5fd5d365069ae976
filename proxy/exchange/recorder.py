"""Step 10: metrics and exactly one audit record for every request, however it ended."""

import asyncio
from typing import Final

from proxy.exchange.ports import Ports, Wiring
from proxy.exchange.state import NO_IDENTITY, RECORDED, Exchange
from proxy.http.problems import Reason
from proxy.policy import outcome
from proxy.policy.attempt_facts import retries
from proxy.policy.coalescing import ALONE, JOINED
from proxy.policy.routing import Route

LEFT_STATUS: Final = Reason.CANCELLED.status


class Recorder:
    """Makes the record and the counters from the facts of an exchange, once."""

    __slots__ = ("_clock", "_identifier", "_ledger", "_meter", "_route")

    def __init__(self, route: Route, wiring: Wiring, ports: Ports) -> None:
        self._route = route
        self._identifier = wiring.identifier
        self._meter = ports.meter
        self._ledger = ports.ledger
        self._clock = ports.clock

    def record(self, x: Exchange) -> None:
        """Leave the exchange's one record; nothing where it has one."""
        if x.phase is RECORDED:
            return
        x.phase = RECORDED
        if x.role is None:  # refused before it could join
            x.role = ALONE
            self._meter.coalesced(self._route.operation, ALONE)
        route, seconds = self._route, x.duration_s or self.stop_the_clock(x)
        refused_here = x.problem is not None and x.problem.error is Reason.REQUEST_ERROR
        x.status = x.answered or LEFT_STATUS
        x.ending = outcome.ending(x.result, x.answered, refused=refused_here, truncated=x.truncated)
        if route.target is not None:
            x.level = route.target.level(seconds)
        if route.restoration is not None and x.identity is NO_IDENTITY:  # nothing needed to know it before
            x.identity = self._identifier.identify(x.request, x.subject.value, with_key=False)
        if len(x.attempts) > 1 and retries(x.attempts):
            self._meter.retried_request(route.operation, x.succeeded)
        self._meter.finished(route.operation, x.request.method, x.status, x.ending, seconds, x.level)
        self._ledger.record(x)

    def finish(self, x: Exchange) -> None:
        """Let go of a request that is over, and leave its record; a follower's after the loop's next work.

        So nobody's answer waits for the records of those who landed before him.
        """
        if x.reader is not None:  # one that nobody reads would hold its sender up
            x.reader.close()
        if x.role is not JOINED:
            self.record(x)
            return
        if not x.duration_s:
            self.stop_the_clock(x)
        asyncio.get_running_loop().call_soon(self.record, x)

    def stop_the_clock(self, x: Exchange) -> float:
        """Take now as the exchange's end; return the seconds that it took."""
        x.duration_s = self._clock.now() - x.started
        return x.duration_s
