"""The status page at `/` and the events that keep it live. It asks for nothing from anywhere else."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from importlib.resources import files

import orjson
from aiohttp import web

from proxy.admin.answers import CONTROL, Handler, problem
from proxy.admin.control import ControlPlane
from proxy.admin.snapshot import snapshot

EVERY_S = 1.0
VIEWERS = 32  # streams at once; a figure costs 0.2 ms of the event loop, and requests come first

_PAGES: Mapping[str, tuple[str, str]] = {
    "/": ("status.html", "text/html"),
    "/status.css": ("status.css", "text/css"),
    "/status.svg": ("status.svg", "image/svg+xml"),
    "/status.js": ("status.js", "text/javascript"),
}
_POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


class Stopping(asyncio.Event):
    """Set when the listener closes: whoever watches is let go at once, with the number of those who do."""

    def __init__(self) -> None:
        super().__init__()
        self.viewers = 0


STOPPING = web.AppKey("stopping", Stopping)


def add_status(app: web.Application) -> None:
    """Serve the page and its events from `app`."""
    app[STOPPING] = Stopping()
    app.on_shutdown.append(_let_go)
    for path, (name, content_type) in _PAGES.items():
        app.router.add_get(path, _page(name, content_type))
    app.router.add_get("/events", _events)


async def _let_go(app: web.Application) -> None:
    app[STOPPING].set()


def _page(name: str, content_type: str) -> Handler:
    body = files("proxy.admin").joinpath("page", name).read_bytes()

    async def page(request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=headers)

    return page


async def _events(request: web.Request) -> web.StreamResponse:
    """Send the figures every second until the viewer leaves or the listener closes."""
    stopping = request.app[STOPPING]
    if stopping.viewers >= VIEWERS:
        return problem(503, f"{VIEWERS} viewers are watching already.")
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    stopping.viewers += 1
    try:
        await response.prepare(request)
        with suppress(ConnectionError):  # the viewer left
            await _tell(response, request.app[CONTROL], stopping)
    finally:
        stopping.viewers -= 1
    return response


async def _tell(response: web.StreamResponse, control: ControlPlane, stopping: Stopping) -> None:
    while not stopping.is_set():
        await response.write(b"data: " + orjson.dumps(snapshot(control)) + b"\n\n")
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), EVERY_S)
