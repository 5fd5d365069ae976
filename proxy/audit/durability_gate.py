"""Wait for fsync before a response is sent (`blocking`) or an unsafe request is forwarded (`strict`)."""

import asyncio

from proxy.audit.log import AuditLog
from proxy.audit.record import WITHHELD, Ledger
from proxy.clock import Clock
from proxy.exchange.ports import OnDurable
from proxy.exchange.state import Exchange

INTENT, OPENING = "intent", "opening"


class DurabilityGate:
    """Delay responses, and in `strict` also unsafe requests, until the trail's fsync has returned.

    A streamed response is recorded at its end: a note about its start is durable before its first byte. A response that
    could not be recorded in time is withheld, and a note records that.
    """

    __slots__ = ("_clock", "_ledger", "_log", "_strict")

    def __init__(self, ledger: Ledger, log: AuditLog, clock: Clock, *, strict: bool) -> None:
        self._ledger = ledger
        self._log = log
        self._clock = clock
        self._strict = strict

    async def intent(self, exchange: Exchange, within_s: float) -> bool:
        """Return whether an unsafe request may be sent: in `strict`, after its intent is durable."""
        return not self._strict or await self._noted(exchange, INTENT, within_s)

    def when_durable(self, exchange: Exchange, on_durable: OnDurable) -> None:
        """Call `on_durable` with True when the exchange's record is durable, with False if that takes too long."""

        def on_result(durable: bool) -> None:
            if not durable and not exchange.unrecorded:
                self._note(exchange, WITHHELD)
            on_durable(durable)

        self._log.when_durable(on_result)

    async def opening(self, exchange: Exchange) -> bool:
        """Return whether a streamed response may begin: after a note about it is durable."""
        return await self._noted(exchange, OPENING, None)

    async def _noted(self, exchange: Exchange, note: str, within_s: float | None) -> bool:
        if not self._note(exchange, note):
            return False
        on_disk: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def on_result(durable: bool) -> None:
            if not on_disk.done():
                on_disk.set_result(durable)

        self._log.when_durable(on_result, within_s)
        return await on_disk

    def _note(self, exchange: Exchange, note: str) -> bool:
        return self._ledger.note(exchange, note, self._clock.wall())
