"""The session backend of the demo: the seed document's endpoints, in memory, with faults on command."""

import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web
from pydantic import ValidationError

from proxy.clock import SystemClock
from proxy.demo.faults import (
    ORDER,
    Fault,
    FaultKind,
    Faults,
    Reset,
)
from proxy.demo.page import PAGE

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds of simulated work per operation, at most a quarter of the seed document's figures."""

    create: float = 0.06
    load: float = 0.04
    update: float = 0.04
    status: float = 0.04
    history: float = 0.06
    event: float = 0.25


@dataclass(slots=True)
class Session:
    """One report's session, and the idempotency key of the request that created it."""

    report_id: str
    view: str
    key: str | None
    session_id: str = field(default_factory=lambda: secrets.token_hex(8))
    created_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    data: dict[str, Any] = field(default_factory=dict)

    def messages(self) -> list[dict[str, str]]:
        """Return the conversation so far."""
        return [
            {"role": "assistant", "text": f"Let us begin report {self.report_id}."},
            {"role": "user", "text": "Revenue was 4.2 million."},
        ]

    def json(self) -> dict[str, Any]:
        """Return the session as a client sees it."""
        return {
            "sessionId": self.session_id,
            "reportId": self.report_id,
            "view": self.view,
            "createdAt": self.created_at,
            "data": self.data,
        }


class Backend:
    """A session service on a real socket.

    `stop` closes the port. `restart` opens the same port again and keeps sessions, calls and faults. `calls` counts the
    received requests by "METHOD /path", including those that a fault then dropped or refused.
    """

    def __init__(self, latency: Latency | None = None) -> None:
        self.calls: Counter[str] = Counter()
        self.faults = Faults()
        self._latency = latency or Latency()
        self._sessions: dict[str, Session] = {}
        self._clock = SystemClock()
        self._runner: web.AppRunner | None = None
        self._address = ("127.0.0.1", 0)

    def __repr__(self) -> str:
        state = "up" if self._runner else "down"
        return f"<Backend {self.url} {state} sessions={len(self._sessions)} calls={self.calls.total()}>"

    @property
    def url(self) -> str:
        """The base URL, without a slash at the end."""
        host, port = self._address
        return f"http://{host}:{port}"

    @property
    def port(self) -> int:
        """The port it listens on, or last listened on."""
        return self._address[1]

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen on `host` and `port`, 0 meaning any free one; raise OSError if it is taken."""
        # handler_cancellation ends a hanging handler with its client's connection, so that stop() does not wait for it.
        runner = web.AppRunner(self._application(), access_log=None, handler_cancellation=True, shutdown_timeout=0.01)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self._address = (host, int(runner.addresses[0][1]))

    async def stop(self) -> None:
        """Close the port and every connection."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def restart(self) -> None:
        """Close every connection and listen on the same port again."""
        await self.stop()
        await self.start(*self._address)

    def seed(self, report_id: str) -> None:
        """Add a session for `report_id`, as if it had been created long ago."""
        self._sessions[report_id] = Session(report_id, "manual", key=None)

    def forget(self) -> None:
        """Delete sessions, calls and faults."""
        self._sessions.clear()
        self.calls.clear()
        self.faults.reset()

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self._apply_fault])
        app.add_routes(
            [
                web.get("/", self._page),
                web.post("/api/sessions", self._create),
                web.get("/api/sessions/{report_id}", self._load),
                web.patch("/api/sessions/{report_id}", self._update),
                web.post("/api/sessions/{report_id}/view", self._switch_view),
                web.get("/api/conversations/{report_id}/status", self._status),
                web.get("/api/conversations/{report_id}/history", self._history),
                web.get("/api/events", self._events),
                web.get("/api/ws", self._echo),
                web.post("/_demo/faults", self._arm),
                web.get("/_demo/calls", self._send_calls),
            ]
        )
        return app

    @web.middleware
    async def _apply_fault(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count the call and apply its fault before the request is processed."""
        if request.path.startswith("/_demo/"):
            return await handler(request)
        self.calls[f"{request.method} {request.path}"] += 1
        fault = self.faults.take(request.path)
        refusal = await self._misbehave(request, fault) if fault else None
        return refusal or await handler(request)

    async def _misbehave(self, request: web.Request, fault: Fault) -> web.Response | None:
        """Return the response of the fault, or `None` to continue with the handler."""
        match fault.kind:
            case FaultKind.SLOW:
                await self._clock.sleep(fault.seconds)
                return None
            case FaultKind.FAIL:
                return _json({"error": "a fault of the demo"}, fault.status)
            case FaultKind.RATE_LIMIT:
                headers = {"Retry-After": fault.retry_after} if fault.retry_after is not None else None
                return _json({"error": "too many requests"}, 429, headers)
            case FaultKind.HANG:
                await self.faults.released.wait()
                return _hang_up(request)
            case FaultKind.DROP:
                return _hang_up(request)

    async def _create(self, request: web.Request) -> web.Response:
        """Create one session per report. The same idempotency key gets it again, any other caller gets 409."""
        body = await _object(request)
        report_id = body.get("reportId")
        if not isinstance(report_id, str) or not report_id:
            return _json({"error": "reportId is missing"}, 400)
        key = request.headers.get("Idempotency-Key")
        known = self._sessions.get(report_id)
        # Stored before the work begins: of two concurrent creates one must fail, as with a unique index.
        session = known or self._sessions.setdefault(
            report_id, Session(report_id, str(body.get("view", "manual")), key)
        )
        await self._clock.sleep(self._latency.create)
        if known is None:
            return _json(session.json(), 201)
        if key is not None and key == known.key:
            return _json(known.json())
        return _json({"error": "a session exists", "reportId": report_id}, 409)

    async def _load(self, request: web.Request) -> web.Response:
        await self._clock.sleep(self._latency.load)
        return _json(self._session(request).json())

    async def _update(self, request: web.Request) -> web.Response:
        changes = await _object(request)
        await self._clock.sleep(self._latency.update)
        session = self._session(request)
        session.data |= changes
        return _json(session.json())

    async def _switch_view(self, request: web.Request) -> web.Response:
        body = await _object(request)
        await self._clock.sleep(self._latency.update)
        session = self._session(request)
        session.view = str(body.get("view", session.view))
        return _json(session.json())

    async def _status(self, request: web.Request) -> web.Response:
        """Return whether there is a conversation to restore. An unknown report has none, which is no error."""
        await self._clock.sleep(self._latency.status)
        report_id = request.match_info["report_id"]
        return _json({"reportId": report_id, "exists": report_id in self._sessions})

    async def _history(self, request: web.Request) -> web.Response:
        await self._clock.sleep(self._latency.history)
        session = self._sessions.get(request.match_info["report_id"])
        return _json({"messages": session.messages() if session else []})

    async def _page(self, _request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Send a numbered event every quarter of a second until the client disconnects."""
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await stream.prepare(request)
        number = 0
        while True:
            number += 1
            await stream.write(b"data: %d\n\n" % number)
            await self._clock.sleep(self._latency.event)

    async def _echo(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    async def _arm(self, request: web.Request) -> web.Response:
        """Arm the fault in the body, or `{"kind": "reset"}`."""
        try:
            order = ORDER.validate_json(await request.read())
        except ValidationError as error:
            return web.Response(body=error.json(include_url=False), status=400, content_type="application/json")
        if isinstance(order, Reset):
            self.faults.reset()
        else:
            self.faults.add(order)
        return _json({"ok": True})

    async def _send_calls(self, _request: web.Request) -> web.Response:
        return _json(self.calls)

    def _session(self, request: web.Request) -> Session:
        session = self._sessions.get(request.match_info["report_id"])
        if session is None:
            raise web.HTTPNotFound(text='{"error":"no such session"}', content_type="application/json")
        return session


def _hang_up(request: web.Request) -> web.Response:
    """Close the connection. The returned response can no longer be written."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, headers=headers, content_type="application/json")


async def _object(request: web.Request) -> dict[str, Any]:
    """Return the request's JSON object. Raise 400 for anything else."""
    try:
        value = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise web.HTTPBadRequest(text=str(error)) from error
    if not isinstance(value, dict):
        raise web.HTTPBadRequest(text="the body must be a JSON object")
    return value
