"""Data that a backend sent over TLS before a reset is read, even if the loop had not read it."""

import asyncio
import socket
import ssl
import struct
from contextlib import suppress
from pathlib import Path

from proxy.transport.leftover import Remainder, remainder
from proxy.transport.tls import TlsFiles, client_context
from tests.wire.kit import soon, turn
from tests.wire.test_tls import issue

ANSWER = b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno"


class Sender(asyncio.Protocol):
    """Reads nothing, and at the end all that is left."""

    def __init__(self) -> None:
        self.read = b""
        self.ended: bool | None = None
        self.rest: Remainder | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "pause_reading")
        self.transport = transport  # type: ignore[assignment]  # uvloop's does not inherit from it
        self.rest = remainder(self.transport)

    def data_received(self, data: bytes) -> None:
        raise AssertionError("it does not read")

    def connection_lost(self, exc: Exception | None) -> None:
        assert self.rest is not None
        self.read = b"".join(self.rest.read())
        self.ended = self.rest.ended
        self.rest.close()


def refuse(server: socket.socket, context: ssl.SSLContext, *, whole: bool) -> None:
    """Answer one connection without reading what it sends, end TLS where `whole`, and reset it."""
    with server.accept()[0] as plain:
        plain.settimeout(60)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line = context.wrap_socket(plain, server_side=True, suppress_ragged_eofs=False)
        line.recv(1)
        line.sendall(ANSWER)
        if whole:
            line.setblocking(False)
            with suppress(OSError):  # the other side's own end does not come
                line.unwrap()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.close()


async def said(folder: Path, *, whole: bool) -> Sender:
    """Return what was heard of a backend that refuses."""
    certificate = issue(folder, "backend")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        refusing = loop.run_in_executor(None, lambda: refuse(server, context, whole=whole))
        connecting = loop.create_connection(
            Sender, "127.0.0.1", server.getsockname()[1], server_hostname="localhost",
            ssl=client_context(TlsFiles(authorities=str(certificate))),
        )  # fmt: skip
        transport, sender = await soon(connecting)
        transport.pause_reading()
        transport.write(b"x")
        await soon(refusing)
    while sender.ended is None:
        transport.write(bytes(65_536))
        await turn()
    return sender


async def test_what_is_left_of_a_reset_connection_is_deciphered(tmp_path: Path) -> None:
    """The descriptor that the loop had is closed by then, and how TLS ended is not known: it may have been cut."""
    sender = await said(tmp_path, whole=False)
    assert (sender.read, sender.ended) == (ANSWER, False)


async def test_the_end_of_tls_is_seen(tmp_path: Path) -> None:
    """Then an answer without a length is whole."""
    sender = await said(tmp_path, whole=True)
    assert (sender.read, sender.ended) == (ANSWER, True)
