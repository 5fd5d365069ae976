"""The data plane of a real sidecar without sockets: stubs pass whole segments, so that only its own work counts."""

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import httptools

from proxy.app import Sidecar
from proxy.config.load import load
from proxy.exchange import ports
from proxy.exchange.handler import RequestHandler
from proxy.exchange.state import Exchange
from proxy.http.fields import Lines
from proxy.http.message import Request, Response
from proxy.policy.routing import Match, Route
from proxy.runtime.eager_task import EagerTask
from proxy.server.client_connection import ClientConnection
from proxy.server.server_state import ServerState

CONFIG = """\
[listen]
address = "127.0.0.1:0"
drain_delay = "0s"
[admin]
address = "127.0.0.1:0"
[upstreams.sessions]
url = "http://127.0.0.1:9"
[[routes]]
operation = "session-load"
match = "GET /api/sessions/{report_id}"
upstream = "sessions"
subject = "path:report_id"
target = { ideal = "500ms", acceptable = "1s", slow = "2s" }
"""
BODY = b'{"id":"abcdefgh","status":"ok","messages":[]}'
ANSWER = b"\r\n".join((
    b"HTTP/1.1 200 OK", b"Server: nginx/1.22.1", b"Date: Fri, 27 Nov 2026 12:00:00 GMT",
    b"Content-Type: application/json", b"Content-Length: %d" % len(BODY), b"Connection: keep-alive", b"", BODY,
))  # fmt: skip
PLAIN = b"GET /api/sessions/s%d HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
BROWSER = b"\r\n".join((
    b"GET /api/sessions/s%d HTTP/1.1", b"Host: api.example.com", b"Connection: keep-alive",
    b'sec-ch-ua: "Chromium";v="130", "Not?A_Brand";v="99"', b"sec-ch-ua-mobile: ?0", b"Authorization: Bearer anna",
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36",
    b"Accept: application/json", b'sec-ch-ua-platform: "Linux"', b"Origin: https://app.example.com",
    b"Sec-Fetch-Site: same-site", b"Sec-Fetch-Mode: cors", b"Sec-Fetch-Dest: empty",
    b"Referer: https://app.example.com/", b"Accept-Encoding: gzip, deflate, br, zstd", b"Accept-Language: en-GB,en",
    b"", b"",
))  # fmt: skip
NEW = b"X-Request-ID: %d\r\n"  # in a question, and then in its answer: no head is like the one before it
LOADS = {"plain": PLAIN, "browser": BROWSER, "unlike": BROWSER[:-2] + NEW + b"\r\n"}
Lane = Callable[[], asyncio.Protocol]  # something that relays: it makes the protocol at a client's end of it


class Wire(asyncio.Transport):
    """A transport that takes everything; the subclass says what becomes of what is written."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol
        self._soon = asyncio.get_running_loop().call_soon
        self._closed = False
        protocol.connection_made(self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 40_000) if name == "peername" else default

    def is_closing(self) -> bool:
        return self._closed

    def abort(self) -> None:
        if not self._closed:
            self._closed = True
            self._soon(self._protocol.connection_lost, None)

    close = abort


class Backend(Wire):
    """Answers whatever is written, in the loop's next turn, as a socket would."""

    _answers = 0

    def write(self, data: Any) -> None:
        answer = ANSWER
        if b"X-Request-ID: " in data:
            self._answers += 1
            answer = ANSWER.replace(b"\r\n\r\n", b"\r\n" + NEW % self._answers + b"\r\n")
        self._soon(self._protocol.data_received, answer)


class Client(Wire):
    """One client's end: it asks the next question as soon as it has an answer, until all are asked."""

    def __init__(self, make: Lane, load: bytes, questions: "Requests") -> None:
        self._load = load
        self._questions = questions
        super().__init__(make())

    def ask(self) -> None:
        """Ask the next question, if there is one."""
        number = self._questions.next()
        if number:
            self._soon(self._protocol.data_received, self._load % ((number,) * self._load.count(b"%d")))

    def write(self, data: Any) -> None:
        assert (data[:13], data[-len(BODY) :]) == (b"HTTP/1.1 200 ", BODY), data
        self.ask()


class Requests:
    """How many are still to be asked and to be answered. Every number is asked once: equal ones would be shared."""

    def __init__(self) -> None:
        self._number = 0
        self._left = 0
        self._open = 0
        self._done = asyncio.Event()

    def next(self) -> int:
        """Return the next question's number; 0 when all are asked."""
        if self._left:
            self._left -= 1
            self._number += 1
            return self._number
        self._open -= 1
        if not self._open:
            self._done.set()
        return 0

    async def ask(self, clients: list[Client], count: int) -> None:
        """Let `clients` ask `count` questions, and wait for the last answer."""
        self._left, self._open = count, len(clients)
        self._done.clear()
        for client in clients:
            client.ask()
        await self._done.wait()


class Dialer:
    """Reaches the stub backend, at once."""

    async def dial(self, make: Callable[[], asyncio.Protocol]) -> asyncio.Protocol:
        """Return a connection's protocol."""
        protocol = make()
        Backend(protocol)
        return protocol


class Plane:
    """A real sidecar, as `backstay run` makes it, whose upstream is a stub."""

    def __init__(self, folder: Path) -> None:
        asyncio.get_running_loop().set_exception_handler(_give_up)
        config = folder / "backstay.toml"
        config.write_text(CONFIG, encoding="utf-8")
        self.sidecar = Sidecar(load(config, {"audit.path": str(folder / "audit.jsonl")}, {}))
        for pool in self.sidecar._assembly.pools.values():
            pool._dialer = cast(Any, Dialer())
        server_state, wired = self.sidecar.server_state, self.sidecar._ports
        self._errands = ServerState(
            server_state.rules,
            server_state.limits,
            server_state.trusted,
            self._stub_exchange,
            server_state._on_refusal,
            server_state._clock,
            server_state._random,
        )
        self._route = wired.router.routes[0]
        self._upstream = wired.wired(self._route).upstream

    def whole(self) -> asyncio.Protocol:
        """Return a connection behind which everything is real."""
        return cast(asyncio.Protocol, ClientConnection(self.sidecar.server_state))

    def wire_only(self) -> asyncio.Protocol:
        """Return a connection whose requests are only carried there and back: both legs, and no policy."""
        return cast(asyncio.Protocol, ClientConnection(self._errands))

    def _stub_exchange(self, request: Request, client: ports.Client) -> RequestHandler:
        return cast(RequestHandler, StubExchange(request, client, self._route, self._upstream))


def _give_up(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """End a measurement in which something failed: its answer would never come."""
    loop.default_exception_handler(context)
    for task in asyncio.all_tasks(loop):
        task.cancel()


class StubExchange:
    """What is left of an exchange if nothing is decided: ask the backend, hand the answer over."""

    TO_UPSTREAM: Lines = ((b"X-Correlation-ID", b"session-load-0f1e2d3c-1700000000"),)
    TO_CLIENT: Lines = (
        (b"X-Correlation-ID", b"session-load-0f1e2d3c-1700000000"),
        (b"Cache-Status", b"backstay; fwd=miss"),
        (b"Server-Timing", b"backstay;dur=0.4, upstream;dur=0.3"),
    )

    def __init__(self, request: Request, client: ports.Client, route: Route, upstream: ports.Upstream) -> None:
        self.exchange = Exchange(request, client, Match(route, {}))
        self._upstream = upstream

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run it in a task of its own, at once."""
        task = EagerTask(self.run(), loop)
        task.step()

    async def run(self) -> None:
        """Carry the request there and its answer back."""
        client = self.exchange.client
        outcome = await self._upstream.send(self.exchange.request, self.TO_UPSTREAM, 2.0, client.interim)
        assert isinstance(outcome, Response), outcome
        client.write(outcome, self.TO_CLIENT)


def bare() -> Lane:
    """Return the yardstick, with idle upstream connections of its own: they belong to one event loop."""
    idle: deque[_BareUpstream] = deque()
    return lambda: Bare(idle)


class Bare(asyncio.Protocol):
    """A relay that parses both heads with httptools, and does nothing else."""

    def __init__(self, idle: deque["_BareUpstream"]) -> None:
        self._idle = idle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._parser: Any = httptools.HttpRequestParser(self)
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None: ...
    def on_header(self, name: bytes, value: bytes) -> None: ...

    def on_message_complete(self) -> None:
        data, self._data = self._data, b""
        if not self._idle:
            Backend(_BareUpstream(self._idle))
        self._idle.pop().ask(self, data)


class _BareUpstream(asyncio.Protocol):
    def __init__(self, idle: deque["_BareUpstream"]) -> None:
        self._idle = idle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._idle.append(self)

    def ask(self, client: Bare, data: bytes) -> None:
        self._client, self._data, self._done = client, b"", False
        self._parser: Any = httptools.HttpResponseParser(self)
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)
        self._data += data
        if self._done:
            self._idle.append(self)
            self._client.transport.write(self._data)

    def on_message_complete(self) -> None:
        self._done = True
