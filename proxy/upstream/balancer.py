"""Balance attempts over several addresses of one session backend; try the next if an address is unreachable."""

import asyncio
from collections.abc import Sequence

from proxy.exchange.ports import Interim
from proxy.http.fields import Lines
from proxy.http.message import Outcome, Request
from proxy.policy.balancing import Balancer
from proxy.upstream.pool import HttpUpstream


class BalancedUpstream:
    """Send each attempt to one of several addresses. The request remembers which were tried."""

    def __init__(self, addresses: Sequence[HttpUpstream], balancer: Balancer) -> None:
        self._addresses = tuple(addresses)
        self._balancer = balancer
        self.last_address = ""  # the address of the outcome that was returned last

    @property
    def has_healthy_address(self) -> bool:
        """Tell whether an address without failures is left, so that a failure is not the whole upstream's."""
        return self._balancer.has_healthy_address

    async def send(self, request: Request, more: Lines, timeout_s: float, interim: Interim) -> Outcome:
        """Return the outcome of the chosen address, or of the next one if nothing could be sent."""
        now = asyncio.get_running_loop().time  # ejections last seconds: the loop's millisecond resolution suffices
        until = now() + timeout_s
        while True:
            index = self._balancer.choose(request.tried, now())
            request.tried |= {index}
            outcome = await self._addresses[index].send(request, more, timeout_s, interim)
            self._balancer.report(index, outcome, now())
            timeout_s = until - now()
            if timeout_s <= 0 or not self._balancer.passes_on(outcome, request.tried):
                self.last_address = self._addresses[index].last_address
                return outcome
