"""Send at a steady rate: `python -m tests.benchmarks.open_loop PORT RATE SECONDS FIRST_NUMBER`.

Each request has its time, and its latency counts from there, not from when it could be sent: a stall delays all that
were meant to be sent in it, and all of them say so. `select` because its timeouts are microseconds; epoll's, and with
it every event loop's, are milliseconds.
"""

import gc
import json
import socket
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path
from select import select
from time import perf_counter

from tests.benchmarks.backend import BODY, SMALL_TARGET

CONNECTIONS = 64  # as many requests may be under way; the others wait, and their clocks run
SUBJECTS = 1_000
PATIENCE_S = 10.0  # for the last answers
CHUNKED_END = b"0\r\n\r\n"  # a proxy may turn a length into chunks


class Connection:
    """A kept-alive connection with at most one request under way."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answer = b""
        self._meant = 0.0

    def fileno(self) -> int:
        """Return what `select` asks for."""
        return self._socket.fileno()

    def close(self) -> None:
        """Let it go."""
        self._socket.close()

    def ask(self, request: bytes, meant: float) -> None:
        """Send a request that was meant to be sent at this time."""
        self._answer, self._meant = b"", meant
        self._socket.sendall(request)

    def waited(self) -> float | None:
        """Read what there is; return the seconds since the request's time once the answer is whole."""
        data = self._socket.recv(65536)
        self._answer += data
        if not data or not self._answer.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"instead of an answer: {self._answer[:100]!r}")
        whole = BODY in self._answer and self._answer.endswith((BODY, CHUNKED_END))
        return perf_counter() - self._meant if whole else None


def run(port: int, rate: float, seconds: float, first: int) -> list[float]:
    """Return the latencies in ms of what was answered; what is missing was not."""
    with ExitStack() as stack:
        connections = [stack.enter_context(closing(Connection(port))) for _ in range(CONNECTIONS)]
        return _ask(deque(connections), rate, seconds, _requests(first))


def _ask(free: deque[Connection], rate: float, seconds: float, requests: Iterator[bytes]) -> list[float]:
    busy: list[Connection] = []
    taken: list[float] = []
    began = perf_counter() + 0.05
    meant = deque(began + number / rate for number in range(int(rate * seconds)))
    gives_up = began + seconds + PATIENCE_S
    while (meant or busy) and perf_counter() < gives_up:
        while free and meant and meant[0] <= perf_counter():
            connection = free.popleft()
            connection.ask(next(requests), meant.popleft())
            busy.append(connection)
        wait = max(0.0, meant[0] - perf_counter()) if free and meant else PATIENCE_S
        for connection in select(busy, (), (), wait)[0]:
            if (waited := connection.waited()) is not None:
                taken.append(waited * 1000)
                busy.remove(connection)
                free.append(connection)
    return taken


def _requests(first: int) -> Iterator[bytes]:
    for number in count(first):
        target = SMALL_TARGET % (number % SUBJECTS, number)
        yield f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer anna\r\n\r\n".encode()


if __name__ == "__main__":
    gc.disable()
    Path("/proc/self/timerslack_ns").write_text("1")  # 50 µs by default
    print(json.dumps(run(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))))
