"""A response whose head is written: its body follows, or it is truncated."""

from proxy.exchange.state import Exchange
from proxy.http.message import BodyReader
from proxy.http1.body import chunk, last_chunk
from proxy.server.response_writer import ResponseWriter
from proxy.server.server_state import cut


class StreamedResponse:
    """The body of one response, copied from a reader to a client.

    `chunked`: the body is sent in chunks. `delimited`: the framing shows its end; otherwise closing the connection
    does, and truncation must be a reset.
    """

    __slots__ = ("_chunked", "_delimited", "_exchange", "_reader", "_writer")

    def __init__(
        self, writer: ResponseWriter, exchange: Exchange, reader: BodyReader, *, chunked: bool, delimited: bool
    ) -> None:
        self._writer = writer
        self._exchange = exchange
        self._reader = reader
        self._chunked = chunked
        self._delimited = delimited

    async def run(self) -> int:
        """Write the body to its end; return its bytes. Raise BrokenBody if it was truncated."""
        writer, reader = self._writer, self._reader
        try:
            await self._pump()
        except BaseException:
            if writer.transport is not None and not writer.transport.is_closing():
                cut(writer.transport, plain_end_would_lie=not self._delimited)
            raise
        finally:
            reader.close()
        if self._chunked:
            writer.write_now(last_chunk(reader.trailers))
        return self._exchange.bytes_out

    async def _pump(self) -> None:
        exchange, writer, flow = self._exchange, self._writer, self._writer.flow
        while piece := await self._reader.read():
            exchange.bytes_out += len(piece)
            writer.write_now(chunk(piece) if self._chunked else piece)
            if flow.writable is not None:
                await flow.writable

    def cut(self) -> None:
        """Truncate the response so that the client notices."""
        self._reader.cut()
        self._writer.flow.wake()
