"""The honest client: it sends requests at a steady rate and measures the time of each response.

Its backend answers at once, in the same process: what attacks do to a backend is not measured here.
"""

import asyncio
from typing import NamedTuple
from urllib.parse import urlsplit

from proxy.clock import SystemClock
from tests.e2e.filling.backend import SMALL, answer
from tests.e2e.filling.remote import Handle
from tests.e2e.raw import BROKEN, Client, request

ADDRESS = "127.0.0.2"
CONNECTIONS = 8
RATE = 100  # requests a second
LATE_S = 30.0  # an answer that takes longer has failed; so long that a busy machine is not to blame
_clock = SystemClock()


class Times(NamedTuple):
    """Seconds from the moment at which a request was due to its answer, and how many got none that was theirs."""

    seconds: list[float]
    failed: int


async def start() -> Handle:
    """Start the backend; return what tells where it is, and what asks a sidecar for so many seconds."""
    server = await asyncio.get_running_loop().create_server(_Answering, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def do(what: str, url: str = "", seconds: float = 0.0) -> str | Times:
        return f"http://127.0.0.1:{port}" if what == "where" else await measure(url, seconds)

    return do


class _Answering(asyncio.Protocol):
    """A connection of the backend. Each request comes whole, as one is small and waits for the one before it."""

    def __init__(self) -> None:
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert isinstance(self._transport, asyncio.Transport)
        self._transport.write(answer(SMALL))


async def measure(url: str, seconds: float) -> Times:
    """Ask `RATE` times a second, in turn on some connections; a request waits until its connection is free."""
    assert urlsplit(url).scheme == "http"
    loop, times = asyncio.get_running_loop(), Times([], 0)
    lines = [_Line(url) for _ in range(CONNECTIONS)]
    began = loop.time() + 0.05
    asked = [
        asyncio.ensure_future(lines[n % CONNECTIONS].ask(n, began + n / RATE)) for n in range(int(seconds * RATE))
    ]  # fmt: skip
    for took_s in await asyncio.gather(*asked):
        if took_s is None:
            times = times._replace(failed=times.failed + 1)
        else:
            times.seconds.append(took_s)
    for line in lines:
        line.leave()
    return times


class _Line:
    """One connection of the honest client, made anew where it broke."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._free = asyncio.Lock()
        self._client: Client | None = None

    async def ask(self, n: int, due: float) -> float | None:
        """Ask at the loop's time `due`; return how long it took from then, None where it failed."""
        loop = asyncio.get_running_loop()
        await _clock.sleep(max(0.0, due - loop.time()))
        asked = request("POST", f"/honest/{n}", b"{}", Cookie="sid=0a1b2c3d4e5f60718") if n % 4 == 0 else None
        asked = asked or request("GET", f"/honest/{n}", Cookie="sid=0a1b2c3d4e5f60718")
        async with self._free:
            try:
                async with asyncio.timeout(LATE_S):
                    self._client = self._client or await Client.connect(self._url, ADDRESS)
                    told = await self._client.ask(asked)
            except (*BROKEN, OSError, TimeoutError):
                self.leave()
                return None
        return loop.time() - due if told.status == 200 else None

    def leave(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.leave()
            self._client = None
