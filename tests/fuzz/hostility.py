"""The acts of hostile clients and a hostile backend over real sockets, beside an honest pair.

The hostile pair has an upstream of its own. So whatever the honest pair does not get as it was said came from the
sidecar, and not from a backend that answered where nobody asked.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from random import Random

from proxy.clock import SystemClock
from tests.fuzz.ends import Notes, Peer
from tests.fuzz.mutation import Mutator
from tests.fuzz.opinions import Message, h11_answer, h11_request
from tests.fuzz.scripts import ANSWERS, JUNK, LARGE, NOISE, REQUESTS, SMALL, Request, tagged
from tests.fuzz.targets import TARGETS

QUIET_S = 0.1  # a hostile client waits so long for more, and leaves
PATIENCE_S = 120.0  # the honest client waits so long for what must come
_LATE_S = 0.02  # at most, between two pieces of a hostile answer
_PER_CONNECTION, _PAUSE_S = 50, 0.1  # honest requests, and between two of their connections
_SILENT = 0.05  # of the questions get no answer
_START = re.compile(rb"([A-Z]+) (\S+) HTTP/1.1\r\n")
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n")
_PATHS = (b"/again/7", b"/kept/7", b"/keyed", b"/subject/7", b"/honest/hostile")
_clock = SystemClock()


class _Inputs:
    """Heads and chunked bodies of one leg, first those of the corpora."""

    def __init__(self, mutators: dict[str, Mutator]) -> None:
        self._heads, self._chunks, self._trailers = (mutator.inputs() for mutator in mutators.values())
        self._turn = False

    def head(self) -> bytes:
        return next(self._heads)

    def body(self) -> bytes:
        """Return chunks and, in turn, trailers."""
        self._turn = not self._turn
        return next(self._chunks)[1:] if self._turn else b"5\r\nhello\r\n0\r\n" + next(self._trailers)


def _mutators(heads: str, seed: str) -> dict[str, Mutator]:
    names = {"heads": heads, "chunks": "chunked-bodies", "trailers": "trailers"}
    return {kind: Mutator(TARGETS[name], seed) for kind, name in names.items()}


class Sayings:
    """Bytes made from the corpora and the scripts: from a seed, but in the order in which peers ask for them."""

    def __init__(self, seed: str) -> None:
        self.random = Random(f"legs:{seed}")
        asking, answering = (_mutators(name, seed) for name in ("request-heads", "response-heads"))
        asking["heads"].known += [
            *NOISE, *(b"".join(make(1).pieces) for make in REQUESTS), *(_on_a_route(path) for path in _PATHS),
        ]  # fmt: skip
        answering["heads"].known += [b"\0" + junk for junk in JUNK]
        self._requests, self._learns = _Inputs(asking), asking["heads"].learn
        self._answers = _Inputs(answering)
        self._count = 0

    def learn(self, data: bytes, status: int) -> None:
        """Make more of requests whose answer was new."""
        self._learns(data, status)

    def request(self) -> tuple[bytes, ...]:
        """Return the pieces of what a client says: mostly a request, or several, or none."""
        self._count += 1
        match self.random.randrange(6):
            case 0 | 3 | 4:
                return self.random.choice(REQUESTS)(self._count).pieces
            case 1:
                return self._cut(self._requests.head() + self._requests.body())
            case 2:
                return self._cut(_POST + self._requests.body())
            case _:
                return self._cut(self._requests.head())

    def answer(self, to: Request) -> tuple[bytes, ...]:
        """Return the pieces of what the backend says: mostly an answer."""
        match self.random.randrange(5):
            case 0 | 1:
                return self.random.choice(ANSWERS)(to).pieces
            case 2:
                return self._cut(self._answers.head()[1:])
            case 3:
                return self._cut(_CHUNKED + self._answers.body())
            case _:
                return (self.random.choice(JUNK),)

    def _cut(self, data: bytes) -> tuple[bytes, ...]:
        """Return the data in one to four pieces."""
        places = sorted(self.random.randint(0, len(data)) for _ in range(self.random.randrange(4)))
        pieces = (data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True))
        return tuple(piece for piece in pieces if piece)


_POST = b"POST /keyed HTTP/1.1\r\nHost: a\r\nIdempotency-Key: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def _on_a_route(path: bytes) -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: a\r\nX-Request-Deadline-Ms: 100\r\nCache-Control: max-age=1\r\n\r\n" % path


class Received:
    """What the clients count."""

    def __init__(self) -> None:
        self.said = 0  # conversations of hostile clients
        self.answers: Counter[int] = Counter()  # final statuses that hostile clients heard, one a conversation
        self.honest = 0  # requests that were answered as they must be
        self.problems: list[str] = []


class _Listener(Peer):
    """An end that can wait for what comes next."""

    def __init__(self) -> None:
        super().__init__(Notes())
        self._news = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._news.set()

    def eof_received(self) -> bool:
        self._news.set()
        return super().eof_received()

    async def receive(self, patience_s: float) -> bool:
        """Wait for more; tell whether anything came."""
        if self.ended:
            return False
        self._news.clear()
        try:
            async with asyncio.timeout(patience_s):
                await self._news.wait()
        except TimeoutError:
            return False
        return True


async def connect(port: int) -> _Listener:
    """Open a client's connection."""
    client = _Listener()
    await asyncio.get_running_loop().create_connection(lambda: client, "127.0.0.1", port)
    return client


async def attack(port: int, sayings: Sayings, heard: Received) -> None:
    """Hold one conversation as a hostile client."""
    client, pieces = await connect(port), sayings.request()
    for piece in pieces:
        client.send(piece)
        if sayings.random.random() < 0.3:
            await client.receive(0.0)
    match sayings.random.randrange(10):
        case 0:
            client.reset()
        case 1:
            client.close()
        case 2:
            client.read(False)
            await _clock.sleep(QUIET_S)
        case 3:
            client.finish()
    while not client.left and await client.receive(QUIET_S):
        pass
    heard.said += 1
    _note(client.heard, b"".join(pieces), sayings, heard)
    (client.reset if sayings.random.random() < 0.5 else client.close)()


def _note(answer: bytes, said: bytes, sayings: Sayings, heard: Received) -> None:
    """Count the first final answer. What a client hears begins with an answer, whatever it said."""
    while answer:
        status = _STATUS.match(answer)
        if status is None:
            heard.problems.append(f"a client that said {said[:200]!r} heard {answer[:200]!r}")
            return
        code = int(status[1])
        if code >= 200 or code == 101:
            heard.answers[code] += 1
            sayings.learn(said, code)
            return
        answer = answer.partition(b"\r\n\r\n")[2]


class Backend:
    """What the connections to both backends have in common."""

    def __init__(self, sayings: Sayings) -> None:
        self.sayings = sayings
        self.lines: set[Peer] = set()
        self.ended = False

    def end(self) -> None:
        """Let the hostile one reset every connection, and each that comes later when it asks."""
        self.ended = True
        for line in tuple(self.lines):
            if isinstance(line, HostileLine):
                line.reset()


class _Line(Peer):
    """A connection to a backend, which ends when the sidecar ends it."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(Notes())
        self._backend = backend

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._backend.lines.add(self)

    def eof_received(self) -> bool:
        super().eof_received()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._backend.lines.discard(self)


class HostileLine(_Line):
    """A connection to the hostile backend: to each head it says something, at some time, and may hang up."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self._sayings, self._busy = backend.sayings, False

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        random = self._sayings.random
        if self._backend.ended:
            self.reset()
        elif not self._busy and b"\r\n\r\n" in self.heard:
            asked, self.heard = _START.match(self.heard), b""  # None: the rest of an upload
            if random.random() >= _SILENT:
                self._busy = True
                to = Request(asked[1].decode(), asked[2]) if asked else Request("GET", b"/")
                self._say_on(list(self._sayings.answer(to)), random.randrange(8))

    def _say_on(self, pieces: list[bytes], ending: int) -> None:
        """Say the next piece now and the others later, and end as it was drawn: mostly not at all."""
        if pieces:
            self.send(pieces.pop(0))
            delay = self._sayings.random.choice((0.0, 0.0, self._sayings.random.random() * _LATE_S))
            asyncio.get_running_loop().call_later(delay, self._say_on, pieces, ending)
            return
        self._busy = False
        if ending < 2:
            (self.close, self.reset)[ending]()


class HonestLine(_Line):
    """A connection to the honest backend: it answers whole requests with their target."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        while isinstance(message := h11_request(self.heard), Message) and message.after is not None:
            method, target = message.start
            body = _body(target, len(message.body))
            self.heard = message.after
            self.send(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), b"" if method == b"HEAD" else body)
            )


def _body(target: bytes, asked: int) -> bytes:
    """Return a body that shows whose it is, and how much was asked with."""
    return b"%d" % asked + tagged(target, LARGE if target.endswith(b"0") else SMALL)


async def be_honest(port: int, heard: Received, over: Callable[[], bool]) -> None:
    """Ask one request after another until it is over: each is answered with its own body."""
    number = 0
    while not over():
        client = await connect(port)
        for _ in range(_PER_CONNECTION):
            number += 1
            if over() or not await _ask(client, number, heard):
                break
        client.close()
        await _clock.sleep(_PAUSE_S)


async def _ask(client: _Listener, number: int, heard: Received) -> bool:
    target, upload = b"/honest/%d" % number, b"x" * (number % 7 * 100)
    method = ("GET", "HEAD", "POST")[number % 3]
    framing = b"Content-Length: %d\r\n" % len(upload) if method == "POST" else b""
    client.heard = b""
    client.send(b"%b %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (method.encode(), target, framing))
    client.send(upload if method == "POST" else b"")
    answer = h11_answer(client.heard, method)
    while not isinstance(answer, Message) and await client.receive(PATIENCE_S):
        answer = h11_answer(client.heard, method)
    body = b"" if method == "HEAD" else _body(target, len(upload) if method == "POST" else 0)
    if not isinstance(answer, Message) or (answer.start, answer.body) != ((b"200",), body):
        heard.problems.append(f"the honest {method} {target.decode()} heard {client.heard[:300]!r}")
        return False
    heard.honest += 1
    return True
