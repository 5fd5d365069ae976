"""Hostile peers: clients and a backend around one sidecar that may do anything at any time, and the invariants.

A `Stage` is one play of it. What anybody hears is tagged with the target that it answers, so it shows whose it is.
"""

import asyncio
import re
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

import orjson

from proxy.app import Sidecar
from proxy.audit.newest import Newest
from proxy.config.load import load
from proxy.policy.breaker import CircuitState
from tests.fuzz.ends import Client, Line, Notes, Peer
from tests.fuzz.opinions import Message, h11_request
from tests.fuzz.scripts import ANSWERS, JUNK, NOISE, REQUESTS, UNREQUESTED, Request
from tests.loop import CheckedLoop

P = TypeVar("P", bound=Peer)
PATIENCE_S = 30.0  # for what must come; nothing is slow by itself
QUIET = 8  # turns of the loop in which nothing moved
MOST_CLIENTS = 4
MOST_RECORDS = 10_000
_OTHERS = re.compile(rb"</[a-z/]+\d*>")
_CONFIG = """
[listen]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[audit]
path = "{folder}/audit.jsonl"
[upstreams.b]
url = "http://127.0.0.1:{port}"
connect_timeout = "30s"
[upstreams.b.breaker]
failure_threshold = 1000000
[defaults]
replay_limit = "64"
total_timeout = "60s"
[defaults.retry]
initial_delay = "1ms"
max_delay = "2ms"
[[routes]]
match = "GET /again/{{n}}"
operation = "again"
upstream = "b"
"""


class World:
    """One sidecar and its backend's port, for many plays."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-peers-")
        self.runner = asyncio.Runner(loop_factory=CheckedLoop)
        self.stage: Stage | None = None
        self.runner.run(self._start(Path(self._folder.name)))

    async def _start(self, folder: Path) -> None:
        self.server = await asyncio.get_running_loop().create_server(self._arrive, "127.0.0.1", 0)
        file = folder / "config.toml"
        file.write_text(_CONFIG.format(folder=folder, port=self.server.sockets[0].getsockname()[1]))
        self.sidecar = Sidecar(load(file, environ={}))
        await self.sidecar.start()

    def _arrive(self) -> Line:
        assert self.stage is not None
        line = Line(self.stage.notes)
        self.stage.lines.append(line)
        return line

    def run(self, doing: Awaitable[None]) -> None:
        """Do something on the sidecar's loop."""

        async def done() -> None:
            await doing

        self.runner.run(done())

    def close(self) -> None:
        """End it all."""

        async def end() -> None:
            self.server.close()
            await self.sidecar.stop(delay_s=0.0)

        self.runner.run(end())
        self.runner.close()
        self._folder.cleanup()


@cache
def world() -> World:
    """Make the one world of this process."""
    return World()


class Stage:
    """One play: what anybody may do, and `rest`, which says what must hold at its end.

    `pick` chooses among those who could do it: whoever it is then, the play is the same for the same picks.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.notes = Notes()
        self.clients: list[Client] = []
        self.lines: list[Line] = []
        self.wild: set[bytes] = set()  # targets whose answers the backend spoilt
        self._asked: dict[bytes, Request] = {}
        self._count = 0
        self._resting = False
        self._begun = world.sidecar.server_state.begun
        world.sidecar.audit.newest = Newest(MOST_RECORDS)
        world.stage = self

    # clients

    async def connect(self) -> None:
        """Open a client's connection."""
        if len(self.clients) < MOST_CLIENTS:
            loop, client = asyncio.get_running_loop(), Client(self.notes)
            self.clients.append(client)
            await loop.create_connection(lambda: client, "127.0.0.1", int(self.world.sidecar.url.rpartition(":")[2]))

    async def ask(self, pick: int, kind: int, pieces: int) -> None:
        """Begin a request, and say so many pieces of it."""
        if (client := _one([c for c in self.clients if not c.left and not c.unsaid], pick)) is not None:
            self._count += 1
            request = REQUESTS[kind % len(REQUESTS)](self._count)
            self._asked[request.target] = request
            client.asked.append(request)
            client.unsaid = list(request.pieces)
            for _ in range(pieces):
                client.go_on()

    async def ask_on(self, pick: int) -> None:
        """Say the next piece of a request."""
        if (client := _one([c for c in self.clients if c.unsaid], pick)) is not None:
            client.go_on()

    async def make_noise(self, pick: int, kind: int) -> None:
        """Say what is no request."""
        if (client := _one([c for c in self.clients if not c.left and not c.unsaid], pick)) is not None:
            client.noisy = True
            client.send(NOISE[kind % len(NOISE)])

    async def leave(self, pick: int, how: int) -> None:
        """Let a client finish, hang up, reset, or stop reading and go on."""
        if (client := _one([c for c in self.clients if not c.left], pick)) is not None:
            (client.finish, client.close, client.reset, lambda: client.read(False), lambda: client.read(True))[
                how % 5
            ]()

    # the backend

    async def answer(self, pick: int, kind: int, pieces: int) -> None:
        """Begin an answer, and say so many pieces of it."""
        waiting = [line for line in self._open() if line.answer is None and not line.spent and line.current()]
        if (line := _one(waiting, pick)) is not None and (current := line.current()) is not None:
            line.answer = ANSWERS[kind % len(ANSWERS)](current[0])
            line.unsaid = list(line.answer.pieces)
            for _ in range(min(pieces, len(line.unsaid))):
                line.go_on()

    async def answer_on(self, pick: int) -> None:
        """Say the next piece of an answer."""
        if (line := _one([line for line in self._open() if line.answer is not None], pick)) is not None:
            line.go_on()

    async def say_junk(self, pick: int, kind: int) -> None:
        """Say what is no answer, to a request or into one's own answer."""
        if (line := _one([line for line in self._open() if line.current() and not line.spent], pick)) is not None:
            if (current := line.current()) is not None and line.answer is not None:
                self.wild.add(current[0].target)  # it may stand in a body
                line.spliced = True
            line.answer = None
            line.spend()
            line.send(JUNK[kind % len(JUNK)])

    async def send_unrequested(self, pick: int) -> None:
        """Answer where nobody asked: the sidecar must hang up, unless it has asked at that moment."""
        if (line := _one([line for line in self._open() if not line.current() and not line.spent], pick)) is not None:
            line.send(UNREQUESTED)
            await self._until(lambda: line.ended or line.current() is not None, "a stray answer ends its connection")
            if (current := line.current()) is not None:  # it asked before it could have seen it
                self.notes.whole[current[0].target].add((200, b"STRAY"))
            line.spend()

    async def hang_up(self, pick: int, how: int) -> None:
        """Let a connection of the backend end."""
        if (line := _one(self._open(), pick)) is not None:
            (line.end, line.reset)[how % 2]()

    async def pass_time(self) -> None:
        """Let whatever waits too long be over."""
        self.world.sidecar.sweep(asyncio.get_running_loop().time() + 1000.0)

    def _open(self) -> list[Line]:
        return [line for line in self.lines if line.transport is not None and not line.left and not line.ended]

    # what must hold

    async def settle(self) -> None:
        """Wait until nothing moves."""
        quiet, before = 0, self.notes.moved
        while quiet < QUIET:
            await asyncio.sleep(0)  # noqa: TID251 - a bare turn: no time passes
            quiet = quiet + 1 if self.notes.moved == before else 0
            before = self.notes.moved

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    if self._resting:
                        self._serve()
                    await asyncio.sleep(0)  # noqa: TID251 - a bare turn: no time passes
        except TimeoutError:
            raise AssertionError(f"{what}: {self.clients} {self.lines}") from None

    async def rest(self) -> None:
        """End the play: everybody says the rest, gets an answer or a cut, and leaves nothing behind."""
        for client in self.clients:
            client.read(True)
            while client.unsaid and not client.left:
                client.go_on()
        for line in self._open():
            if line.answer is not None or line.spent:
                line.reset()
        self._resting = True
        await self._until(lambda: all(c.served for c in self.clients), "every request has an answer or a cut")
        for client in self.clients:
            self._check(client)
        for line in self.lines:
            self._check_uploads(line)
        await self._leave_nothing()
        self._check_records()

    def _serve(self) -> None:
        """Answer every whole request as a good backend does."""
        for line in self._open():
            current = line.current()
            if current is not None and current[1] is not None:
                answer = ANSWERS[0](current[0])
                line.answer, line.unsaid = answer, [b"".join(answer.pieces)]
                line.go_on()

    def _check(self, client: Client) -> None:
        """Check what a client heard: its own answers in their order, each whole one as the backend said it."""
        own = {b"<%b>" % request.target for request in client.asked}
        strangers = set(_OTHERS.findall(client.heard)) - own
        assert not strangers, (strangers, client.heard)
        found, rest = client.answers()
        assert len(found) <= len(client.asked) + client.noisy, client.heard
        for request, answer in zip(client.asked, found, strict=False):
            told = dict(answer.lines).get(b"x-for")
            status = int(answer.start[0])
            if request.target in self.wild:
                continue
            if (status, answer.body) == (200, b"STRAY") and (200, b"STRAY") in self.notes.whole[request.target]:
                continue  # nobody could tell that it came before the question
            assert told in (None, request.target), (request, answer)
            if told is not None:
                assert (status, answer.body) in self.notes.whole[request.target], (request, answer)
            else:
                assert status >= 400, (request, answer)
        assert b"STRAY" not in client.heard or any((200, b"STRAY") in self.notes.whole[r.target] for r in client.asked)
        assert rest == b"" or client.ended or client.left or client.noisy, rest

    def _check_uploads(self, line: Line) -> None:
        """Check what the backend heard: whole requests are as they were sent, and no line is used once it is spent."""
        at, most = 0, len(line.heard) if line.spent_at is None or line.spliced else line.spent_at
        while isinstance(message := h11_request(line.heard[at:]), Message) and message.after is not None:
            assert at < most, line.heard
            method, target = message.start
            asked = self._asked[target]
            assert (method.decode(), message.body) == (asked.method, asked.body), message
            at = len(line.heard) - len(message.after)
        assert at < most or at == len(line.heard), line.heard

    async def _leave_nothing(self) -> None:
        sidecar = self.world.sidecar
        for client in self.clients:
            client.close()
        await self._until(lambda: not sidecar.server_state.connections, "no client's connection is left")
        await self._until(lambda: not sidecar.running, "every exchange has its record")
        await self._until(self._no_connection_left, "no connection is left in a pool")
        await self._until(lambda: len(asyncio.all_tasks()) == 1, "no task is left")
        assert (len(sidecar._flights), sidecar._flights.followers) == (0, 0)
        for breaker in sidecar._assembly.breakers.values():
            assert (breaker.state, breaker._leases) == (CircuitState.CLOSED, {}), breaker

    def _no_connection_left(self) -> bool:
        """Close every connection of the backend. An attempt that goes on as a probe may still open one."""
        for line in self.lines:
            line.close()
        return all(pool.empty for pool in self.world.sidecar._assembly.pools.values())

    def _check_records(self) -> None:
        """Check that every exchange left one record, and every request at most one."""
        said = map(orjson.loads, self.world.sidecar.audit.newest)
        paths = Counter(record["path"].encode() for record in said if record.get("path"))
        assert sum(paths.values()) == self.world.sidecar.server_state.begun - self._begun, paths
        asked = Counter(request.target for client in self.clients for request in client.asked)
        assert not paths - asked, (paths, asked)


def _one(among: list[P], pick: int) -> P | None:
    return among[pick % len(among)] if among else None
