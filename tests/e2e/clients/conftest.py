"""An independent backend, aiohttp's, behind a sidecar in its own process."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web

from tests.e2e.sidecar import Child, sidecar

PAGE = """<!doctype html><script>
const said = {};
const tell = async () => {
  if ("fetched" in said && "events" in said && "echo" in said)
    await fetch("/report" + location.search, {method: "POST", body: JSON.stringify(said)});
};
fetch("/echo", {method: "POST", body: "from fetch"}).then(r => r.text()).then(text => { said.fetched = text; tell(); });
const source = new EventSource("/events"); const events = [];
source.onmessage = event => {
  events.push(event.data);
  if (events.length === 3) { source.close(); said.events = events; tell(); }
};
const socket = new WebSocket("ws://" + location.host + "/socket");
socket.onopen = () => socket.send("from a socket");
socket.onmessage = event => { said.echo = event.data; tell(); };
</script>"""


class Origin:
    """The backend: it echoes, streams events, and takes reports."""

    def __init__(self) -> None:
        self.reports: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        app = web.Application(client_max_size=2**26)
        app.add_routes(
            [
                web.get("/page", self._page), web.post("/report", self._report), web.route("*", "/echo", self._echo),
                web.get("/events", self._events), web.get("/socket", self._socket),
            ]
        )  # fmt: skip
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """End."""
        assert self._runner is not None
        await self._runner.cleanup()

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def _report(self, request: web.Request) -> web.Response:
        self.reports.put_nowait((request.query_string, await request.text()))
        return web.Response()

    async def _echo(self, request: web.Request) -> web.Response:
        return web.Response(body=await request.read(), headers={"X-Method": request.method})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        for number in range(3):
            await stream.write(b"data: %d\n\n" % number)
        return stream

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=2**25)
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
        return socket


@pytest.fixture
async def backend() -> AsyncIterator[Origin]:
    """Run the backend."""
    origin = Origin()
    await origin.start()
    yield origin
    await origin.stop()


@pytest.fixture
async def child(backend: Origin, tmp_path: Path) -> AsyncIterator[Child]:
    """Run a sidecar before it, without a configuration."""
    async with sidecar(tmp_path, backend.url) as child:
        yield child
