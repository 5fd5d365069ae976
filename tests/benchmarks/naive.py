"""A proxy in twenty lines of aiohttp: `python -m tests.benchmarks.naive PORT BACKEND`."""

import logging
import sys
from collections.abc import AsyncIterator
from uuid import uuid4

from aiohttp import ClientSession, TCPConnector, web

DROPPED = {"connection", "keep-alive", "transfer-encoding", "date", "server"}
UPSTREAM = web.AppKey("UPSTREAM", ClientSession)


async def upstream(app: web.Application) -> AsyncIterator[None]:
    """Keep connections to the backend for as long as the proxy runs."""
    connector = TCPConnector(limit=0)
    async with ClientSession(f"http://127.0.0.1:{sys.argv[2]}", connector=connector, auto_decompress=False) as session:
        app[UPSTREAM] = session
        yield


async def forward(request: web.Request) -> web.StreamResponse:
    """Ask the backend the same, and hand on what it answers."""
    headers = {name: value for name, value in request.headers.items() if name.lower() not in DROPPED}
    headers["X-Request-ID"] = str(uuid4())
    body = request.content if request.can_read_body else None
    async with request.app[UPSTREAM].request(request.method, request.rel_url, headers=headers, data=body) as got:
        kept = {name: value for name, value in got.headers.items() if name.lower() not in DROPPED}
        return web.Response(status=got.status, headers=kept, body=await got.read())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    app = web.Application(client_max_size=2**30)
    app.cleanup_ctx.append(upstream)
    app.router.add_route("*", "/{rest:.*}", forward)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), backlog=4096, print=None)
