"""What is still open when everything ends: a test is told of it, and the control plane waits for no reader."""

import asyncio
import socket

import pytest

from tests.loop import CheckedLoop
from tests.wire.kit import until
from tests.wire.test_control_plane import Begin, begin

__all__ = ["begin"]
MORE_THAN_FITS = b"x" * 64 * 1024 * 1024  # bytes, into the system's buffers


def test_a_loop_that_closes_names_the_transports_that_are_open() -> None:
    """uvloop closes them itself, but not where its warning of them is an error: then it waited forever."""

    async def write() -> asyncio.BaseTransport:
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, ours)
        transport.write(MORE_THAN_FITS)
        return transport

    ours, theirs = socket.socketpair()
    loop = CheckedLoop()
    transport = loop.run_until_complete(write())  # held, so that nobody else closes it
    with pytest.raises(AssertionError, match="unclosed"):
        loop.close()
    assert repr(transport).startswith("<UnixTransport closed=True")
    theirs.close()


async def test_a_response_that_nobody_reads_is_cut_when_the_control_plane_ends(begin: Begin) -> None:
    """Its connection was left open, for whoever closed the loop."""
    plane = await begin()
    client = await plane.client(buffer=4096)
    client.stop_reading()
    connection = plane.only_connection
    connection.keep_little(4096)
    client.say_at_once(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
    await until(lambda: connection.unwritten > 0)
    await plane.listener.close()
    await until(lambda: not plane.open)
