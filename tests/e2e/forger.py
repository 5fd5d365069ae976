"""The other processes of tests.e2e.forgeries: `python -m tests.e2e.forger backend`, or `forger load` with an order.

`backend` prints its port and rejects what `/forged` asks. `load` reads an order from its standard input, sends requests
at a steady rate, and prints what became of them.
"""

import asyncio
import hashlib
import hmac
import json
import sys
from base64 import urlsafe_b64encode
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from statistics import median
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

from proxy.clock import SystemClock

CONNECTIONS = 64  # of the load, each from an address of its own
TICK_S = 0.001
PATIENCE_S = 60.0  # for the last answers
HEAD_END = b"\r\n\r\n"
ACCEPTED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
REJECTED = b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
_clock = SystemClock()


class Backend(asyncio.Protocol):
    """Reject what `/forged` asks, and accept everything else. It looks at no token."""

    def __init__(self) -> None:
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(HEAD_END)) >= 0:
            self._transport.write(REJECTED if self._data.startswith(b"GET /forged") else ACCEPTED)
            self._data = self._data[end + 4 :]


@dataclass
class Sent:
    """What became of a load: statuses, and when each request was due, in seconds, with its latency in ms."""

    statuses: Counter[int] = field(default_factory=Counter)
    taken: list[tuple[float, float]] = field(default_factory=list)
    seconds: float = 0.0
    kept: int = 0  # answers that came from the cache

    def quantile(self, share: float) -> float:
        """Return a quantile of the latencies."""
        return quantile([ms for _, ms in self.taken], share)

    def in_a_second(self, share: float) -> float:
        """Return the median of each second's quantile: what else the machine did in some seconds changes it little."""
        seconds: dict[int, list[float]] = {}
        for due, ms in self.taken:
            seconds.setdefault(int(due), []).append(ms)
        return median([quantile(each, share) for each in seconds.values()])


def quantile(values: Sequence[float], share: float) -> float:
    """Return a quantile."""
    return sorted(values)[int(share * (len(values) - 1))]


class Line(asyncio.Protocol):
    """A kept-alive connection with one request under way."""

    def __init__(self, sent: Sent, free: "deque[Line]") -> None:
        self._sent = sent
        self._free = free
        self._answer = b""
        self._meant = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._free.append(self)

    def ask(self, request: bytes, meant: float) -> None:
        """Send a request whose latency counts from `meant`."""
        self._answer, self._meant = b"", meant
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if self._answer.endswith(b"{}"):  # no head ends so: the body is here
            self._sent.taken.append((self._meant, (_clock.now() - self._meant) * 1000))
            self._sent.statuses[int(self._answer[9:12])] += 1
            self._sent.kept += b"; hit" in self._answer
            self._free.append(self)

    def close(self) -> None:
        """Close the connection."""
        self._transport.abort()


async def send(
    url: str, requests: Iterator[bytes], rate: float, seconds: float, sources: Sequence[str] = ("127.0.0.1",) * 16
) -> Sent:
    """Send requests at a steady rate from these addresses, and wait for the answers.

    A request that finds no free connection waits, and its latency counts from when it was due.
    """
    loop, sent, address = asyncio.get_running_loop(), Sent(), urlsplit(url)
    free: deque[Line] = deque()
    lines: list[Line] = []
    for source in sources:
        made = loop.create_connection(
            lambda: Line(sent, free), address.hostname or "", address.port or 0, local_addr=(source, 0)
        )
        lines.append((await made)[1])
    began, total, begun = _clock.now(), int(rate * seconds), 0
    due: deque[float] = deque()
    while (begun < total or due or len(free) < len(lines)) and _clock.now() < began + seconds + PATIENCE_S:
        now = _clock.now()
        new = min(total, int((now - began) * rate) + 1) - begun
        due.extend([now] * new)
        begun += new
        while due and free:
            free.popleft().ask(next(requests), due.popleft())
        await _clock.sleep(TICK_S)
    sent.seconds = _clock.now() - began
    for line in lines:
        line.close()
    return sent


def asking(path: str, tokens: Iterator[bytes]) -> Iterator[bytes]:
    """Yield requests, each for another thing, with these tokens."""
    for number in count():
        yield b"GET /%b/%d HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n\r\n" % (
            path.encode(), number, next(tokens),
        )  # fmt: skip


def segment(document: Mapping[str, Any] | bytes) -> bytes:
    """Return a part of a token."""
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return urlsafe_b64encode(raw).rstrip(b"=")


class Forger:
    """Makes tokens that are not the issuer's, none like another. It knows the issuer's keys, as everybody does."""

    def __init__(self, jwks: Mapping[str, Any], claims: Mapping[str, Any]) -> None:
        (self._key,) = jwks["keys"]
        self._claims = claims
        self._claimed = segment(claims)
        self._kid = self._key["kid"]

    def tokens(self) -> Iterator[bytes]:
        """Yield forgeries of each kind in turn."""
        kinds: tuple[Callable[[int], bytes], ...] = (
            self._unsigned_by_the_key, self._of_an_unknown_key, self._without_algorithm, self._by_mac,
            self._with_a_duplicate, self._with_own_keys, self._expired,
        )  # fmt: skip
        for number in count():
            yield kinds[number % len(kinds)](number)

    def _header(self, **more: Any) -> bytes:
        return segment({"alg": "RS256", "kid": self._kid, "typ": "JWT", **more})

    def _signed(self, text: bytes, number: int) -> bytes:
        return text + b"." + segment(b"%032d" % number * 8)

    def _unsigned_by_the_key(self, number: int) -> bytes:
        return self._signed(self._header() + b"." + self._claimed, number)

    def _of_an_unknown_key(self, number: int) -> bytes:
        return self._signed(self._header(kid=f"k{number}") + b"." + self._claimed, number)

    def _without_algorithm(self, number: int) -> bytes:
        return self._signed(self._header(alg="none") + b"." + self._claimed, number)

    def _by_mac(self, number: int) -> bytes:
        text = self._header(alg="HS256", n=number) + b"." + self._claimed
        return text + b"." + segment(hmac.new(self._key["n"].encode(), text, hashlib.sha256).digest())

    def _with_a_duplicate(self, number: int) -> bytes:
        twice = json.dumps(self._claims)[:-1] + ', "sub": "eve"}'
        return self._signed(self._header() + b"." + segment(twice.encode()), number)

    def _with_own_keys(self, number: int) -> bytes:
        address = f"http://127.0.0.1:9/{number}"
        return self._signed(self._header(jku=address, x5u=address) + b"." + self._claimed, number)

    def _expired(self, number: int) -> bytes:
        return self._signed(self._header() + b"." + segment({**self._claims, "exp": 1}), number)


def tokens_of(order: Mapping[str, Any]) -> Iterator[bytes]:
    """Return what an order sends: the given tokens over and over, or forgeries."""
    given = [token.encode() for token in order["tokens"]]
    if given:
        return (given[number % len(given)] for number in count())
    return Forger(order["jwks"], order["claims"]).tokens()


async def load(order: Mapping[str, Any]) -> None:
    """Carry out an order, and print what became of it."""
    sources = [f"127.0.1.{number + 1}" for number in range(CONNECTIONS)]
    sent = await send(order["url"], asking(order["path"], tokens_of(order)), order["rate"], order["seconds"], sources)
    print(json.dumps({"statuses": dict(sent.statuses), "seconds": sent.seconds}), flush=True)


async def serve() -> None:
    """Be the backend, on a free port."""
    server = await asyncio.get_running_loop().create_server(Backend, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve() if sys.argv[1] == "backend" else load(json.load(sys.stdin)))
