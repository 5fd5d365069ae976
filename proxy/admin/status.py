"""The status page at `/` and its live events. It loads nothing from other hosts."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from importlib.resources import files

import orjson
from aiohttp import web

from proxy.admin.connections import AdminConnection
from proxy.admin.responses import CONTROL, Handler, problem
from proxy.admin.snapshot import snapshot

EVERY_S = 1.0
BUFFER = 16 * 1024  # bytes that a viewer has not read, here and in the kernel; beyond this it gets no figures

_PAGES: Mapping[str, tuple[str, str]] = {
    "/": ("status.html", "text/html"),
    "/status.css": ("status.css", "text/css"),
    "/status.svg": ("status.svg", "image/svg+xml"),
    "/status.js": ("status.js", "text/javascript"),
}
_POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


class Viewers:
    """The viewers, at most `most` at once. Beyond that, the address with the most viewers loses one.

    If each address has one, the new viewer is refused: otherwise viewers that reconnect would displace each other
    forever.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.stopping = asyncio.Event()  # set when the listener closes
        self._watching: dict[AdminConnection, None] = {}  # in order of arrival

    def __len__(self) -> int:
        return len(self._watching)

    def enter(self, viewer: AdminConnection) -> bool:
        """Register a viewer; return False if there is no room."""
        if len(self._watching) >= self.most and not self._make_room(viewer.address):
            return False
        self._watching[viewer] = None
        return True

    def leave(self, viewer: AdminConnection) -> None:
        """Unregister a viewer."""
        self._watching.pop(viewer, None)

    def _make_room(self, address: str) -> bool:
        held = Counter([address, *(viewer.address for viewer in self._watching)])
        going = max(self._watching, key=lambda viewer: held[viewer.address])  # the oldest if several are equal
        if held[going.address] == 1:
            return False
        self.leave(going)
        going.abort()
        return True


VIEWERS = web.AppKey("viewers", Viewers)


def add_status(app: web.Application, max_viewers: int) -> None:
    """Add the page and its events to `app`."""
    app[VIEWERS] = Viewers(max_viewers)
    app.on_shutdown.append(_release)
    for path, (name, content_type) in _PAGES.items():
        app.router.add_get(path, _page(name, content_type))
    app.router.add_get("/events", _events)


async def _release(app: web.Application) -> None:
    app[VIEWERS].stopping.set()


def _page(name: str, content_type: str) -> Handler:
    body = files("proxy.admin").joinpath("page", name).read_bytes()

    async def page(request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=headers)

    return page


async def _events(request: web.Request) -> web.StreamResponse:
    """Send the figures every second until the viewer leaves or the listener closes."""
    viewers, viewer = request.app[VIEWERS], request.protocol
    assert isinstance(viewer, AdminConnection)
    if not viewers.enter(viewer):
        return problem(503, f"{viewers.most} viewers are watching already.")
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    try:
        await response.prepare(request)
        viewer.keep_little(BUFFER)
        with suppress(ConnectionError):  # the viewer left
            await _send_figures(response, viewer, request.app)
    finally:
        viewers.leave(viewer)
    return response


async def _send_figures(response: web.StreamResponse, viewer: AdminConnection, app: web.Application) -> None:
    """Send figures, but none to a viewer that is behind; disconnect a viewer that stays behind."""
    stopping = app[VIEWERS].stopping
    while not stopping.is_set():
        if viewer.unwritten <= BUFFER:
            await response.write(b"data: " + orjson.dumps(snapshot(app[CONTROL])) + b"\n\n")
        elif viewer.is_gone:
            raise ConnectionError
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), EVERY_S)
