"""A backend without a unique index: every create makes a session, unless its idempotency key made one before."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
from aiohttp import web

from proxy.clock import SystemClock
from tests.e2e.sidecar import PATIENCE

_clock = SystemClock()


class KeyedBackend:
    """Sessions by report. `created` has more than one for a report where somebody was careless."""

    def __init__(self, latency_s: float) -> None:
        self.calls = 0
        self.latency_s = latency_s
        self.created: defaultdict[str, list[str]] = defaultdict(list)
        self.heard: list[str] = []
        self.asked = asyncio.Condition()
        self._by_key: dict[str, str] = {}
        self._data: dict[str, int] = defaultdict(int)
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def until_calls(self, calls: int) -> None:
        """Wait until so many creates have arrived."""
        async with self.asked, asyncio.timeout(PATIENCE):
            await self.asked.wait_for(lambda: self.calls >= calls)

    @property
    def duplicates(self) -> dict[str, list[str]]:
        """Return the reports that have more than one session."""
        return {report: sessions for report, sessions in self.created.items() if len(sessions) > 1}

    def bodies(self) -> list[bytes]:
        """Return what the creates of every session were answered."""
        return [_body(session) for sessions in self.created.values() for session in sessions]

    def written(self, report: str) -> int:
        """Return how many writes of a report were carried out."""
        return self._data[report]

    async def _create(self, request: web.Request) -> web.Response:
        report = (await request.json())["reportId"]
        key = request.headers.get("Idempotency-Key", "")
        self.heard.append(f"{report} {key} {request.headers.get('X-Correlation-ID')}")
        async with self.asked:
            self.calls += 1
            self.asked.notify_all()
        session = self._by_key.get(key) if key else None
        if session is None:
            session = f"{report}/{len(self.created[report])}"
            self.created[report].append(session)
            self._by_key[key] = session
        await _clock.sleep(self.latency_s)
        return web.Response(body=_body(session), status=201, content_type="application/json")

    async def _load(self, request: web.Request) -> web.Response:
        self.calls += 1
        return web.json_response({"version": self._data[request.match_info["report_id"]]})

    async def _leave(self, request: web.Request) -> web.Response:
        return web.Response(status=204)

    async def _update(self, request: web.Request) -> web.Response:
        if (status := request.headers.get("X-Refuse")) is not None:
            return web.Response(status=int(status))
        if "X-Slow" in request.headers:
            async with self.asked:
                self.calls += 1
                self.asked.notify_all()
            await _clock.sleep(self.latency_s)
        self._data[request.match_info["report_id"]] += 1
        return web.Response(status=204)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Answer in two pieces, the second of as many bytes as are asked for."""
        self.calls += 1
        response = web.StreamResponse(status=201)
        await response.prepare(request)
        await response.write(b"first,")
        await _clock.sleep(0.05)
        await response.write(bytes(int(request.query["size"])))
        return response

    async def start(self) -> None:
        """Listen on a free port."""
        app = web.Application()
        app.add_routes(
            [
                web.post("/api/sessions", self._create),
                web.post("/api/streams", self._stream),
                web.get("/api/sessions/{report_id}", self._load),
                web.delete("/api/login", self._leave),
                web.patch("/api/sessions/{report_id}", self._update),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def stop(self) -> None:
        """Close every connection."""
        assert self._runner is not None
        await self._runner.cleanup()


def _body(session: str) -> bytes:
    return orjson.dumps({"session": session})


@asynccontextmanager
async def keyed_backend(latency_s: float) -> AsyncIterator[KeyedBackend]:
    """Run one."""
    backend = KeyedBackend(latency_s)
    await backend.start()
    try:
        yield backend
    finally:
        await backend.stop()
