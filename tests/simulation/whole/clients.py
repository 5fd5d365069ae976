"""Clients that speak HTTP/1.1 through h11, and write down what they saw: one answer, or one visible cut."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h11

from tests.simulation.whole.loop import Process, SimulatedLoop
from tests.simulation.whole.network import FAR, Network
from tests.simulation.whole.plan import Act
from tests.simulation.whole.replica import PORT, Replica

PATIENCE_S = 6.0  # after which a client gives up
MOST_PAUSES = 5  # of a client that reads slowly
LARGE = 100_000  # bytes of a request that is streamed
COOKIES = ("cyd", "dan")  # told apart by a cookie, the others by Authorization


@dataclass(slots=True)
class Seen:
    """What one client saw. Times are the loop's, in seconds.

    `by`: the process that accepted its connection. `head_s`: from the last byte that this process got to the first
    that it wrote. `written`: when it wrote the last one, which a client may read much later. `ended`: answered, cut,
    refused, left or given up.
    """

    act: Act
    id: str
    asked: float = FAR
    by: Process | None = None
    answered: float = FAR
    written: float = FAR
    status: int = 0
    body: bytes = b""
    fields: Any = ()
    head_s: float = 0.0
    ended: str = ""
    endings: int = 0

    @property
    def told(self) -> dict[str, Any] | None:
        """Return what the backend told; None for a document of the sidecar's own."""
        document = json.loads(self.body) if self.ended == "answered" and self.status == 200 and self.body else {}
        return document if "version" in document else None

    @property
    def cached(self) -> bool:
        """Tell whether the sidecar says that it kept the answer."""
        return any(name == b"cache-status" and b"hit" in value for name, value in self.fields)


class Clients:
    """Every client, in one process."""

    def __init__(
        self, loop: SimulatedLoop, network: Network, tell: Callable[[str, str], None], process: Process
    ) -> None:
        self._loop = loop
        self._network = network
        self._tell = tell
        self.process = process
        self.seen: list[Seen] = []
        self._idle: dict[tuple[str, str], list[_Visit]] = {}
        self._tasks: dict[asyncio.Task[None], None] = {}

    def ask(self, act: Act, replica: Replica) -> None:
        """Let a client ask, now."""
        seen = Seen(act, f"q{len(self.seen)}")
        self.seen.append(seen)
        task = self._loop.create_task(self._ask(seen, replica))
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

    async def _ask(self, seen: Seen, replica: Replica) -> None:
        act = seen.act
        what = f"{act.kind} {act.report} as {seen.id} through {replica.name}"
        self._tell(act.user, f"asks for {what}" + (f" with key k{act.intent}" if act.keyed else ""))
        try:
            async with asyncio.timeout(PATIENCE_S):
                visit = self._usable(act.user, replica) or await self._connect(replica)
        except (OSError, TimeoutError) as error:
            self.end(seen, "given up" if isinstance(error, TimeoutError) else "refused")
            return
        visit.begin(seen)
        self._loop.call_later(PATIENCE_S, visit.leave, seen, "given up")
        if act.leaves_ms is not None:
            self._loop.call_later(act.leaves_ms / 1000, visit.leave, seen)

    def _usable(self, user: str, replica: Replica) -> "_Visit | None":
        idle = self._idle.get((user, replica.name), [])
        while idle:
            visit = idle.pop()
            if not visit.transport.is_closing():
                return visit
        return None

    async def _connect(self, replica: Replica) -> "_Visit":
        _, visit = await self._network.connect(self.process, lambda: _Visit(self), replica.address, PORT)
        return visit  # type: ignore[no-any-return]

    def end(self, seen: Seen, how: str) -> None:
        """Write down how a request ended."""
        seen.ended, seen.answered = how, self._loop.time()
        seen.endings += 1
        said = f": {seen.status} {seen.body.decode()[:100]}" if how == "answered" else ""
        self._tell(seen.act.user, f"is {how} as {seen.id}{said}" + (" (kept)" if seen.cached else ""))

    def keep(self, visit: "_Visit", seen: Seen, replica: str) -> None:
        """Keep a connection for the next request of its user."""
        self._idle.setdefault((seen.act.user, replica), []).append(visit)

    @property
    def under_way(self) -> list[Seen]:
        """Return the requests without an end."""
        return [seen for seen in self.seen if not seen.ended]

    def leave(self) -> None:
        """Close every idle connection."""
        for idle in self._idle.values():
            for visit in idle:
                visit.transport.close()


class _Visit(asyncio.Protocol):
    """One connection of a client: one request at a time."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._http = h11.Connection(h11.CLIENT)
        self._seen: Seen | None = None
        self._pauses = 0  # that a slow client still makes
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def begin(self, seen: Seen) -> None:
        """Send the request."""
        self._seen, self._pauses = seen, MOST_PAUSES
        seen.asked, seen.by = asyncio.get_running_loop().time(), self.transport.peer.process
        method, target, body = _request(seen.act)
        body += b" " * LARGE if seen.act.large else b""
        said = self._http.send(h11.Request(method=method, target=target, headers=_fields(seen, body)))
        said += self._http.send(h11.Data(data=body)) if body else b""
        self.transport.write(said + self._http.send(h11.EndOfMessage()))

    def leave(self, seen: Seen, how: str = "left") -> None:
        """Close the connection, if the request is under way."""
        if self._seen is seen:
            self._seen = None
            self._clients.end(seen, how)
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data)
        if self._seen is not None and self._seen.act.slow_ms and self._pauses:
            self._pauses -= 1
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(self._seen.act.slow_ms / 1000, self.transport.resume_reading)
        self._read()

    def _read(self) -> None:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                self._cut()
                self.transport.abort()
                return
            match event:
                case h11.Response() as response if self._seen is not None:
                    self._seen.status, self._seen.fields = response.status_code, list(response.headers)
                case h11.Data() as data if self._seen is not None:
                    self._seen.body += bytes(data.data)
                case h11.EndOfMessage():
                    self._complete()
                    return
                case _:
                    return

    def _complete(self) -> None:
        seen, self._seen = self._seen, None
        assert seen is not None, "an answer came that nobody asked for"
        other = self.transport.peer
        seen.written = other.last_out
        if other.first_out < FAR:  # otherwise the answer came before the body's end
            seen.head_s = other.first_out - other.last_in
        self._clients.end(seen, "answered")
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._clients.keep(self, seen, other.process.name.partition(".")[0])
        else:
            self.transport.close()

    def eof_received(self) -> None:
        self._http.receive_data(b"")
        self._read()
        self._cut()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cut()

    def _cut(self) -> None:
        seen, self._seen = self._seen, None
        if seen is not None:
            self._clients.end(seen, "cut")


def _request(act: Act) -> tuple[str, str, bytes]:
    match act.kind:
        case "load":
            return "GET", f"/api/sessions/{act.report}", b""
        case "history":
            return "GET", f"/api/history/{act.report}", b""
        case "lists":
            return "GET", "/api/lists", b""
        case "update":
            return "PATCH", f"/api/sessions/{act.report}", b"{}"
        case "touch":
            return "POST", "/api/touch", b"{}"
    return "POST", "/api/sessions", json.dumps({"reportId": act.report}).encode()


def _fields(seen: Seen, body: bytes) -> list[tuple[str, str]]:
    act = seen.act
    fields = [("Host", "sidecar"), ("X-Correlation-ID", seen.id)]
    fields.append(("Cookie", f"sid={act.user}") if act.user in COOKIES else ("Authorization", act.user))
    if body:
        fields += [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    if act.keyed and act.kind == "create":
        fields.append(("Idempotency-Key", f"k{act.intent}"))
    if act.own_ms is not None:
        fields.append(("X-Request-Deadline-Ms", str(act.own_ms)))
    return fields
