"""A session backend that speaks HTTP/1.1 through h11: sessions with versions, and what a plan makes it do.

A read tells the version at its arrival; a write takes effect before its answer. A write to a report changes it for
everybody, and the list of its user; a touch changes all that its user sees. Where the backend honours keys, a key that
has taken effect takes none again.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import h11

from tests.simulation.whole.loop import Process, SimulatedLoop
from tests.simulation.whole.network import FAR
from tests.simulation.whole.plan import Behaviour, Plan

LARGE = 300_000  # bytes of a response that is streamed,
PIECE, PIECE_S = 60_000, 0.002  # and how it comes
MOST_SHOWN = 100  # bytes of a document in the conversation
REFUSALS = ("503", "429", "404", "401", "500", "409")  # kinds without an effect
ADDRESS, PORT = "10.0.3.1", 8000


@dataclass(slots=True)
class Call:
    """One request that the backend got, and whether it took effect.

    `by` is the sidecar's process, `until` the loop's time at which it had its answer or its connection had ended.
    """

    number: int
    at: float
    by: str
    method: str
    target: str
    fields: dict[bytes, bytes]
    body: bytes
    behaviour: Behaviour
    effects: int = 0
    told: bytes = b""
    answer: bytes = b""  # what was sent of that
    until: float = FAR

    def field(self, name: bytes) -> str:
        """Return a field's value."""
        return self.fields.get(name, b"").decode()

    @property
    def id(self) -> str:
        """Return the correlation id."""
        return self.field(b"x-correlation-id")

    @property
    def key(self) -> str:
        """Return the idempotency key."""
        return self.field(b"idempotency-key")

    @property
    def user(self) -> str:
        """Return whose request it is."""
        return self.field(b"authorization") or self.field(b"cookie").rpartition("=")[2]

    @property
    def about(self) -> str | None:
        """Return the report that it is about; lists and touches are about none."""
        if self.target in ("/api/lists", "/api/touch"):
            return None
        return str(json.loads(self.body)["reportId"]) if self.method == "POST" else self.target.rpartition("/")[2]


class Backend:
    """The sessions, which every connection shares."""

    def __init__(self, plan: Plan, loop: SimulatedLoop, tell: Callable[[str, str], None]) -> None:
        self._plan = plan
        self._loop = loop
        self._tell = tell
        self.process = Process("backend", plan.generator("backend"))
        self.calls: list[Call] = []
        self.created: list[Call] = []
        self._versions: Counter[str] = Counter()
        self._touched: Counter[str] = Counter()
        self._keys: dict[str, bytes] = {}

    def take(self, connection: "_Connection", request: Any, body: bytes) -> None:
        """Do what the plan says with a request."""
        number = len(self.calls)
        behaviour = self._plan.behaviours[number % len(self._plan.behaviours)]
        call = Call(
            number, self._loop.time(), connection.client, request.method.decode(), request.target.decode(),
            dict(request.headers), body, behaviour,
        )  # fmt: skip
        self.calls.append(call)
        connection.call = call
        call.told = self._told(call)
        self._tell("backend", f"gets {call.method} {call.target} of {call.user} as {call.id}: {behaviour.kind}")
        if call.method != "GET" and behaviour.kind not in REFUSALS:
            late_s = 0.5 if behaviour.kind == "late" else 0.0
            self._loop.call_later(late_s + behaviour.after_ms / 1000 * behaviour.takes_effect, self._effect, call)
        if behaviour.kind != "hang":
            self._loop.call_later(behaviour.after_ms / 1000 + 1e-6, self._answer, connection, call)

    def _effect(self, call: Call) -> None:
        known = f"{call.user} {call.key}"
        if call.key and self._plan.honours and known in self._keys:
            call.told = self._keys[known]
            return
        about = call.about
        if call.method == "POST" and about is not None:
            if self._plan.unique and any((made.user, made.about) == (call.user, about) for made in self.created):
                call.behaviour = call.behaviour._replace(kind="409")
                return
            self.created.append(call)
        call.effects += 1
        if about is None:
            self._touched[call.user] += 1
        else:
            self._versions[about] += 1
            self._versions[f"list of {call.user}"] += 1
        call.told = self._keys[known] = self._told(call)
        self._tell("backend", f"has done {call.id}: {call.told[:MOST_SHOWN].decode()}")

    def _told(self, call: Call) -> bytes:
        version = self._versions[call.about or f"list of {call.user}"]
        told = {"user": call.user, "version": version, "touched": self._touched[call.user]}
        if call.behaviour.kind == "large":
            told["more"] = f"{call.number:04}" * (LARGE // 4)
        return json.dumps(told).encode()

    def _answer(self, connection: "_Connection", call: Call) -> None:
        call.answer = call.told
        call.until = self._loop.time()
        match call.behaviour.kind:
            case "reset" | "late":
                connection.reset()
            case "half":
                connection.answer(200, call.told, half=True)
            case "stream":
                connection.answer(200, call.told, chunked=True)
            case "close":
                connection.answer(200, call.told, closes=True)
            case "ok":
                connection.answer(200, call.told)
            case "large":
                connection.answer_in_pieces(call.told, self._loop)
            case status:
                connection.answer(int(status), b'{"problem": true}')


class _Connection(asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._http = h11.Connection(h11.SERVER)
        self._request: Any = None
        self._body = b""
        self._transport: Any = None
        self._paused = False
        self.call: Call | None = None  # the newest
        self.client = ""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.client = transport.peer.process.name

    def connection_lost(self, exc: Exception | None) -> None:
        if self.call is not None:
            self.call.until = min(self.call.until, asyncio.get_running_loop().time())

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data)
        self._read()

    def _read(self) -> None:
        while True:
            match self._http.next_event():
                case h11.Request() as request:
                    self._request, self._body = request, b""
                case h11.Data() as data:
                    self._body += bytes(data.data)
                case h11.EndOfMessage():
                    self._backend.take(self, self._request, self._body)
                case _:
                    return

    def answer(
        self, status: int, body: bytes, *, chunked: bool = False, closes: bool = False, half: bool = False
    ) -> None:
        """Answer the request, unless the sidecar has left."""
        if self._transport.is_closing() or self._http.our_state is not h11.SEND_RESPONSE:
            return
        fields = [(b"Content-Type", b"application/json")]
        fields.append((b"Transfer-Encoding", b"chunked") if chunked else (b"Content-Length", b"%d" % len(body)))
        fields += [(b"Connection", b"close")] if closes else []
        said = self._http.send(h11.Response(status_code=status, headers=fields)) or b""
        if half:
            self._transport.write(said + body[: len(body) // 2])
            self.reset()
            return
        said += self._http.send(h11.Data(data=body)) or b""
        self._transport.write(said + (self._http.send(h11.EndOfMessage()) or b""))
        if closes:
            self._transport.close()
        else:
            self._http.start_next_cycle()
            self._read()

    def answer_in_pieces(self, body: bytes, loop: SimulatedLoop) -> None:
        """Answer with a body that comes piece by piece, as fast as it is read."""
        if self._transport.is_closing() or self._http.our_state is not h11.SEND_RESPONSE:
            return
        fields = [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body))]
        self._transport.write(self._http.send(h11.Response(status_code=200, headers=fields)) or b"")
        self._next_piece(body, 0, loop)

    def _next_piece(self, body: bytes, at: int, loop: SimulatedLoop) -> None:
        if self._transport.is_closing():
            return
        if at >= len(body):
            self._transport.write(self._http.send(h11.EndOfMessage()) or b"")
            self._http.start_next_cycle()
            self._read()
            return
        if not self._paused:
            self._transport.write(self._http.send(h11.Data(data=body[at : at + PIECE])) or b"")
            at += PIECE
        loop.call_later(PIECE_S, self._next_piece, body, at, loop)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False

    def reset(self) -> None:
        """Reset the connection."""
        self._transport.get_extra_info("socket").lingers = False
        self._transport.abort()


def serve(backend: Backend, network: Any) -> None:
    """Listen."""
    network.name(ADDRESS, "backend")
    network.listen(ADDRESS, PORT, backend.process, partial(_Connection, backend))
