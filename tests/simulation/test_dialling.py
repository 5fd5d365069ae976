"""What waits for a connection waits within the request's own time."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from proxy.http.fields import Fields
from proxy.http.message import Failure, Peer, Request
from proxy.http.problems import Reason
from proxy.upstream.connector import BackendAddress, Connector
from proxy.upstream.forwarding import Forwarding
from proxy.upstream.pool import HttpUpstream, UpstreamPool
from tests.settings import pool_limits
from tests.simulation.virtual import VirtualClock, now_ms, simulated

ASKED = Request("GET", b"/", Fields(((b"Host", b"backend"),)), Peer("10.0.0.1", 40000), b"", authority=b"backend")


class Silent(asyncio.Transport):
    """The way to a backend that never answers."""

    def is_closing(self) -> bool:
        return False

    def write(self, data: Any) -> None:
        """Take it."""

    def abort(self) -> None:
        """End."""


def slow_dial(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let each connection to the backend take so long."""

    async def dial(self: Connector, make: Callable[[], Any]) -> Any:
        await VirtualClock().sleep(seconds)
        made = make()
        made.connection_made(Silent())
        return made

    monkeypatch.setattr(Connector, "dial", dial)


def upstream(**limits: Any) -> tuple[HttpUpstream, UpstreamPool]:
    """Return a backend with these limits, and its pool."""
    pool = UpstreamPool(BackendAddress.of("http://127.0.0.1:1"), pool_limits(**limits))
    return HttpUpstream(pool, Forwarding(via=False, style="off"), frozenset(), 60.0), pool


def test_dialling_does_not_prolong_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: a dial of 0.9 s and an answer that never comes took 2.9 s of a deadline of 2 s."""
    slow_dial(monkeypatch, 0.9)

    @simulated
    async def play() -> None:
        backend, _ = upstream()
        outcome = await backend.send(ASKED, (), 2.0, lambda response: None)
        assert isinstance(outcome, Failure)
        assert outcome.reason is Reason.RESPONSE_TIMEOUT
        assert now_ms() == 2000

    play()


def test_waiting_for_a_place_does_not_prolong_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that waits 0.4 s for a place, and then dials, has only the rest of its time for the answer."""
    slow_dial(monkeypatch, 0.3)

    @simulated
    async def play() -> None:
        backend, pool = upstream(max_connections=1)
        first = asyncio.get_running_loop().create_task(backend.send(ASKED, (), 60.0, lambda response: None))
        await VirtualClock().sleep(0.1)
        before = now_ms()
        asyncio.get_running_loop().call_later(0.4, _lose, pool)
        outcome = await backend.send(ASKED, (), 1.0, lambda response: None)
        assert isinstance(outcome, Failure)
        assert outcome.reason is Reason.RESPONSE_TIMEOUT
        assert now_ms() - before == 1000
        assert isinstance(await first, Failure)

    play()


def _lose(pool: UpstreamPool) -> None:
    """Close the pool's connections, and tell them so, as a loop does."""
    for connection in tuple(pool._all):
        connection.close()
        connection.connection_lost(None)
