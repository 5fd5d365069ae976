"""Open many connections with one request each: `python -m tests.benchmarks.crowd PORT COUNT AT_ONCE`.

Opens COUNT connections, never more than AT_ONCE of them unanswered, and says how it went. They stay open until a line
comes on standard input; then it says how many still are.
"""

import asyncio
import json
import sys
from time import perf_counter
from typing import cast

import uvloop

from tests.benchmarks.backend import BODY, SMALL_TARGET
from tests.benchmarks.machine import raise_file_limit

PATIENCE_S = 30.0  # for all answers together


class Guest(asyncio.Protocol):
    """Asks once and stays."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._said = b""
        self.answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.here = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)  # uvloop's own are no subclasses
        self.here = True
        target = SMALL_TARGET % (self._number, self._number)
        self.transport.write(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer anna\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self._said += data
        if BODY in self._said and not self.answered.done():
            self.answered.set_result(self._said.startswith(b"HTTP/1.1 200 "))

    def connection_lost(self, exc: Exception | None) -> None:
        self.here = False
        if not self.answered.done():
            self.answered.set_result(False)


async def enter(port: int, number: int, server_state: asyncio.Semaphore, until: float) -> Guest | None:
    """Connect and ask; return the guest if it was answered in time."""
    async with server_state:
        try:
            async with asyncio.timeout_at(until):
                loop = asyncio.get_running_loop()
                _, guest = await loop.create_connection(lambda: Guest(number), "127.0.0.1", port)
                return guest if await guest.answered else None
        except (OSError, TimeoutError):
            return None


async def run(port: int, count: int, at_once: int) -> None:
    """Enter, tell, wait, tell."""
    server_state, began, until = (
        asyncio.Semaphore(at_once),
        perf_counter(),
        asyncio.get_running_loop().time() + PATIENCE_S,
    )
    entered = await asyncio.gather(*(enter(port, number, server_state, until) for number in range(count)))
    took_ms = (perf_counter() - began) * 1000
    guests = [guest for guest in entered if guest is not None]
    print(json.dumps({"answered": len(guests), "took_ms": took_ms}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print(json.dumps({"here": sum(guest.here for guest in guests)}), flush=True)


if __name__ == "__main__":
    raise_file_limit()
    uvloop.run(run(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
