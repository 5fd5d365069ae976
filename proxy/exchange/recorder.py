"""Step 10: metrics and exactly one audit record for every request, however it ended."""

import asyncio
from typing import Final

from proxy.exchange.ports import Ports, Wiring
from proxy.exchange.state import NO_IDENTITY, RECORDED, Exchange
from proxy.http.problems import Reason
from proxy.policy.attempt_facts import retries
from proxy.policy.coalescing import ALONE, JOINED
from proxy.policy.outcome import ending
from proxy.policy.routing import Route

LEFT_STATUS: Final = Reason.CANCELLED.status


class Recorder:
    """Make the record and the metrics of an exchange, once."""

    __slots__ = ("_clock", "_identifier", "_ledger", "_meter", "_route")

    def __init__(self, route: Route, wiring: Wiring, ports: Ports) -> None:
        self._route = route
        self._identifier = wiring.identifier
        self._meter = ports.meter
        self._ledger = ports.ledger
        self._clock = ports.clock

    def record(self, x: Exchange) -> None:
        """Write the exchange's record, unless it has one."""
        if x.phase is RECORDED:
            return
        x.phase = RECORDED
        if x.role is None:  # refused before it could join
            x.role = ALONE
            self._meter.coalesced(self._route.operation, ALONE)
        route, seconds, head_s = self._route, x.duration_s or self.stop_the_clock(x), x.head_s
        refusal = "" if x.problem is None else x.problem.refused
        if refusal:
            self._meter.bad_request(refusal)
        x.status = x.answered or LEFT_STATUS
        x.ending = ending(x.result, x.answered, refusal != "", x.truncated)
        x.wait_s = wait_s = seconds if head_s is None else head_s
        if route.target is not None and not x.endless:
            x.level = route.target.level(wait_s)
        if route.restoration is not None and x.identity is NO_IDENTITY:  # no earlier step needed the identity
            x.identity = self._identifier.identify(x.request, x.subject.value, with_key=False)
        if len(x.attempts) > 1 and retries(x.attempts):
            self._meter.retried_request(route.operation, x.succeeded)
        if head_s is not None:
            self._meter.streamed(route.operation, seconds - head_s)
        timed_s = None if x.endless else wait_s
        self._meter.finished(route.operation, x.request.method, x.status, x.ending, timed_s, x.level)
        self._ledger.record(x)

    def withheld(self) -> None:
        """Count a client that gets 503 instead of the recorded response."""
        self._meter.withheld(self._route.operation)

    def finish(self, x: Exchange) -> None:
        """Release a finished request and write its record; defer a follower's record to the next loop iteration.

        So no caller's response waits for the records of other followers.
        """
        if x.reader is not None:  # an unread reader would pause its sender
            x.reader.close()
        if x.role is not JOINED:
            self.record(x)
            return
        if not x.duration_s:
            self.stop_the_clock(x)
        asyncio.get_running_loop().call_soon(self.record, x)

    def stop_the_clock(self, x: Exchange) -> float:
        """Set the end time of the exchange; return its duration in seconds."""
        x.duration_s = self._clock.now() - x.started
        return x.duration_s
