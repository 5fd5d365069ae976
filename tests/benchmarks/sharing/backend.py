"""A backend that sends the response of each case after a delay, and records the requests that it received."""

import asyncio
import re
import socket
import struct
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import NamedTuple, cast

from tests.benchmarks.sharing.cases import Case

HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
CLIENT = re.compile(rb"(?i)\r\nx-request-id: *(\d+)")
USER = re.compile(rb"(?i)\r\nauthorization: *bearer (\S+)")
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: close() sends an RST


class Call(NamedTuple):
    """One call: whose it was, and when it was to be answered."""

    client: int
    user: str
    due: float


def framed(data: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Split the first whole message off: head, body and what follows; None while it is not whole."""
    head, end, rest = data.partition(HEAD_END)
    length = LENGTH.search(head)
    size = int(length[1]) if length else 0
    return (head, rest[:size], rest[size:]) if end and len(rest) >= size else None


class Backend:
    """What all connections share: the cases, and the calls by path."""

    def __init__(self, cases: Iterable[Case]) -> None:
        self.port = 0
        self.calls: defaultdict[str, list[Call]] = defaultdict(list)
        self._cases = {case.slug: case for case in cases}

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def case(self, target: str) -> Case | None:
        """Return the case that a path belongs to."""
        return self._cases.get(target.split("/")[1])


class Connection(asyncio.Protocol):
    """One connection: requests one after another, each answered in its case's time."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own are no subclasses

    def data_received(self, data: bytes) -> None:
        self._read += data
        while message := framed(self._read):
            head, _, self._read = message
            self._asked(head)

    def _asked(self, head: bytes) -> None:
        target = head.split(b" ", 2)[1].decode()
        case, client, user = self._backend.case(target), CLIENT.search(head), USER.search(head)
        if case is None or client is None:
            self._transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        call = Call(int(client[1]), user[1].decode() if user else "", perf_counter() + case.takes_s)
        self._backend.calls[target].append(call)
        asyncio.get_running_loop().call_later(case.takes_s, self._answer, case, call)

    def _answer(self, case: Case, call: Call) -> None:
        if self._transport.is_closing():
            return
        if case.resets:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self._transport.abort()
            return
        said = [f"HTTP/1.1 {case.status}", "Content-Type: text/plain", f"Content-Length: {len(call.user)}"]
        if case.cache_control:
            said.append(f"Cache-Control: {case.cache_control}")
        self._transport.write("\r\n".join([*said, "", call.user]).encode())


@asynccontextmanager
async def backend(cases: Iterable[Case]) -> AsyncIterator[Backend]:
    """Run it on a free port, in this process: it does next to nothing."""
    it = Backend(cases)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(it), "127.0.0.1", 0, backlog=1024)
    it.port = server.sockets[0].getsockname()[1]
    try:
        yield it
    finally:
        server.close()
