"""A client's end of a connection that changed its protocol (101): bytes both ways, each direction ends by itself."""

import asyncio
from collections.abc import Awaitable

from proxy.exchange.state import Exchange
from proxy.server.response_writer import ResponseWriter
from proxy.transport.tunnel import Tunnel


class ClientTunnel:
    """What the client says goes to the backend until the client hangs up; what the backend says is a stream."""

    __slots__ = ("_exchange", "_hung_up", "_tunnel", "_writer")

    def __init__(self, tunnel: Tunnel, exchange: Exchange, writer: ResponseWriter) -> None:
        self._tunnel = tunnel
        self._exchange = exchange
        self._writer = writer
        self._hung_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # the client says no more

    def say(self, data: bytes) -> None:
        """Pass on what the client says."""
        self._tunnel.say(data)
        self._exchange.bytes_in += len(data)

    def hang_up(self) -> None:
        """Pass on that the client will say no more."""
        self._tunnel.hang_up()
        if not self._hung_up.done():
            self._hung_up.set_result(None)

    async def run(self, backend: Awaitable[int]) -> int:
        """Pass on what the backend says until both sides have hung up; return its bytes."""
        transport = self._writer.transport
        assert transport is not None
        try:
            size = await backend
            if transport.can_write_eof() and not self._hung_up.done():
                transport.write_eof()
                await self._hung_up
        finally:
            self._tunnel.hang_up()  # a client that was cut says no more either
        self._writer.end()
        transport.close()
        return size
