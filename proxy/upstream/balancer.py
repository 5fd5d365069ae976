"""One session backend behind several addresses: each attempt goes to one, and on to another where it reaches none."""

import asyncio
from collections.abc import Sequence

from proxy.exchange.ports import Interim
from proxy.http.fields import Lines
from proxy.http.message import Outcome, Request
from proxy.policy.balancing import Balancer
from proxy.upstream.pool import HttpUpstream


class BalancedUpstream:
    """Put each attempt to one of several addresses. The request remembers which were tried."""

    def __init__(self, addresses: Sequence[HttpUpstream], balancer: Balancer) -> None:
        self._addresses = tuple(addresses)
        self._balancer = balancer

    @property
    def standing(self) -> bool:
        """Tell whether an address is left that does not fail, so that a failure is not the service's."""
        return self._balancer.standing

    async def send(self, request: Request, more: Lines, timeout_s: float, interim: Interim) -> Outcome:
        """Return the answer of the chosen address, or its failure; of the next one where nothing could be sent."""
        now = asyncio.get_running_loop().time  # ejections last seconds: the loop's millisecond is fine enough
        until = now() + timeout_s
        while True:
            index = self._balancer.choose(request.tried, now())
            request.tried |= {index}
            outcome = await self._addresses[index].send(request, more, timeout_s, interim)
            self._balancer.report(index, outcome, now())
            timeout_s = until - now()
            if timeout_s <= 0 or not self._balancer.passes_on(outcome, request.tried):
                return outcome
