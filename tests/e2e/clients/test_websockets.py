"""The websockets package, on both ends of the sidecar: compressed, fragmented, large, and closed with a reason."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.sidecar import Child, sidecar

websockets = pytest.importorskip("websockets", reason="the websockets package is not installed")
from websockets.asyncio.client import connect  # noqa: E402 - only where the package is there
from websockets.asyncio.server import ServerConnection, serve  # noqa: E402 - as above
from websockets.exceptions import ConnectionClosedError  # noqa: E402 - as above
from websockets.frames import CloseCode  # noqa: E402 - as above

LARGE = b"\x00\xff frame " * 1_048_576  # 9 MiB
MOST = 2**25


async def _echo(connection: ServerConnection) -> None:
    async for message in connection:
        if message == "leave":
            await connection.close(4001, "as you wish")
        await connection.send(message)


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    """Run an echo server behind a sidecar, and return where the sidecar listens."""
    async with serve(_echo, "127.0.0.1", 0, max_size=MOST) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with sidecar(tmp_path, f"http://127.0.0.1:{port}") as child:
            yield _of(child)


def _of(child: Child) -> str:
    return child.url.replace("http://", "ws://") + "/chat"


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_messages_come_back_as_they_were(address: str, compression: str | None) -> None:
    """Text, bytes, fragments and nine mebibytes, compressed and not."""
    async with connect(address, compression=compression, max_size=MOST) as client:
        assert bool(client.protocol.extensions) is (compression is not None)
        for message in ("text \N{SNOWMAN}", b"bytes \x00", LARGE):
            await client.send(message)
            assert await client.recv() == message
        await client.send(["frag", "men", "ted"])
        assert await client.recv() == "fragmented"


async def test_pings_are_answered_by_the_other_end(address: str) -> None:
    """The sidecar neither answers nor swallows them."""
    async with connect(address) as client:
        assert await (await client.ping(b"there?")) >= 0


async def test_a_close_code_arrives(address: str) -> None:
    """Both the client's and the server's, with its reason."""
    async with connect(address) as client:
        await client.close(CloseCode.GOING_AWAY, "bye")
    assert (client.close_code, client.close_reason) == (CloseCode.GOING_AWAY, "bye")
    async with connect(address) as client:
        await client.send("leave")
        with pytest.raises(ConnectionClosedError):
            await client.recv()
    assert (client.close_code, client.close_reason) == (4001, "as you wish")
