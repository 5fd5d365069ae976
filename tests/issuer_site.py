"""An issuer's web site with its keys, whose answer a test may change."""

import ssl
from collections.abc import Awaitable, Callable

from aiohttp import web


class IssuerSite:
    """A site on a free port of the loopback."""

    def __init__(self, document: bytes) -> None:
        self.document = document
        self.asked = 0
        self.answer: Callable[[], Awaitable[web.StreamResponse]] = self.keys
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def keys(self) -> web.StreamResponse:
        """Answer as an issuer that is well."""
        return web.Response(body=self.document, content_type="application/json")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        assert "cookie" not in request.headers
        return await self.answer()

    async def start(self, tls: ssl.SSLContext | None = None) -> "IssuerSite":
        """Listen, with TLS where a context is given."""
        app = web.Application()
        app.router.add_get("/keys", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=tls).start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}/keys" if tls is None else f"https://localhost:{port}/keys"
        return self

    async def close(self) -> None:
        """Be away from now on."""
        if self._runner is not None:
            await self._runner.cleanup()
