"""The client's end of a connection after a 101: bytes in both directions, each closed by itself."""

import asyncio
from collections.abc import Awaitable

from proxy.exchange.state import Exchange
from proxy.server.response_writer import ResponseWriter
from proxy.transport.tunnel import Tunnel


class ClientTunnel:
    """Forward client data to the backend until the client closes; data from the backend is a stream."""

    __slots__ = ("_exchange", "_hung_up", "_tunnel", "_writer")

    def __init__(self, tunnel: Tunnel, exchange: Exchange, writer: ResponseWriter) -> None:
        self._tunnel = tunnel
        self._exchange = exchange
        self._writer = writer
        self._hung_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # set when the client ends

    def send(self, data: bytes) -> None:
        """Forward data from the client."""
        self._tunnel.send(data)
        self._exchange.bytes_in += len(data)

    def hang_up(self) -> None:
        """Record that the client sends no more."""
        self._tunnel.hang_up()
        if not self._hung_up.done():
            self._hung_up.set_result(None)

    async def run(self, backend: Awaitable[int]) -> int:
        """Relay data from the backend until both sides have closed; return its bytes."""
        transport = self._writer.transport
        assert transport is not None
        try:
            size = await backend
            if transport.can_write_eof() and not self._hung_up.done():
                transport.write_eof()
                await self._hung_up
        finally:
            self._tunnel.hang_up()  # a client that was cut off sends no more either
        self._writer.end()
        transport.close()
        return size
