"""Bodies larger than memory are relayed, and memory stays constant however slowly they are read."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from tests.e2e.flood import MIB, PATIENCE, Memory, Received, backend, checksum, connect, receive, send
from tests.e2e.sidecar import sidecar

GIBIBYTE = 1024  # mebibytes
MORE_THAN_KERNELS_BUFFER = 64  # mebibytes
ALLOWED = 20 * MIB
framings = pytest.mark.parametrize("framing", ["length", "chunked"])


def nothing() -> None:
    """Do nothing."""


@asynccontextmanager
async def between(folder: Path, converse: Callable[[socket.socket], None]) -> AsyncIterator[tuple[str, Memory]]:
    """Run a sidecar in front of one backend conversation; yield its URL and its memory as of now."""
    with backend(converse) as url:
        async with sidecar(folder, url) as child:
            yield child.url, Memory(psutil.Process(child.process.pid))


def whole(framing: str, mebibytes: int) -> Received:
    """Return what must arrive of a body that was sent so."""
    return Received(framing == "chunked", mebibytes * MIB, checksum(mebibytes))


def download(url: str, wait: Callable[[], object] = nothing, look: Callable[[], None] = nothing) -> Received:
    """Ask, wait, look, and only then read."""
    with connect(url, receive_buffer=65536) as client:
        client.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        wait()
        look()
        return receive(client)


@framings
async def test_a_gibibyte_goes_down(tmp_path: Path, framing: str) -> None:
    """A download of 1 GiB arrives whole, framed as it came, and the sidecar grows by less than 20 MiB."""
    memory: list[Memory] = []

    def answer(peer: socket.socket) -> None:
        receive(peer)
        send(peer, "HTTP/1.1 200 OK", framing, GIBIBYTE, memory[0].look, nothing)

    async with between(tmp_path, answer) as (url, its_memory):
        memory.append(its_memory)
        assert await asyncio.to_thread(download, url) == whole(framing, GIBIBYTE)
    assert its_memory.growth < ALLOWED


@framings
async def test_a_gibibyte_goes_up(tmp_path: Path, framing: str) -> None:
    """An upload of 1 GiB arrives whole, framed as it came, and the sidecar grows by less than 20 MiB."""
    arrived: list[Received] = []

    def upload(url: str, look: Callable[[], None]) -> bytes:
        with connect(url) as client:
            send(client, "POST /big HTTP/1.1\r\nHost: a", framing, GIBIBYTE, look, nothing)
            return client.recv(MIB)

    async with between(tmp_path, taking(arrived)) as (url, memory):
        assert (await asyncio.to_thread(upload, url, memory.look)).startswith(b"HTTP/1.1 201 Created\r\n")
    assert arrived == [whole(framing, GIBIBYTE)]
    assert memory.growth < ALLOWED


def taking(arrived: list[Received], wait: Callable[[], object] = nothing) -> Callable[[socket.socket], None]:
    """Return a backend that waits, takes an upload and says 201."""

    def take(peer: socket.socket) -> None:
        wait()
        arrived.append(receive(peer))
        peer.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

    return take


@framings
async def test_a_client_that_does_not_read_stops_its_backend(tmp_path: Path, framing: str) -> None:
    """While a client does not read, the backend cannot send: nothing piles up, and nothing is lost later."""
    stuck = threading.Event()

    def answer(peer: socket.socket) -> None:
        receive(peer)
        send(peer, "HTTP/1.1 200 OK", framing, MORE_THAN_KERNELS_BUFFER, nothing, stuck.set)

    async with between(tmp_path, answer) as (url, memory):
        got = await asyncio.to_thread(download, url, lambda: stuck.wait(PATIENCE), memory.look)
    assert stuck.is_set()
    assert got == whole(framing, MORE_THAN_KERNELS_BUFFER)
    assert memory.growth < ALLOWED


@framings
async def test_a_backend_that_does_not_read_stops_its_client(tmp_path: Path, framing: str) -> None:
    """While a backend does not read, the client cannot send: nothing piles up, and nothing is lost later."""
    stuck, arrived = threading.Event(), list[Received]()

    def upload(url: str, look: Callable[[], None]) -> bytes:
        def look_and_close() -> None:
            look()
            stuck.set()

        with connect(url) as client:
            send(client, "POST /big HTTP/1.1\r\nHost: a", framing, MORE_THAN_KERNELS_BUFFER, nothing, look_and_close)
            return client.recv(MIB)

    async with between(tmp_path, taking(arrived, lambda: stuck.wait(PATIENCE))) as (url, memory):
        assert (await asyncio.to_thread(upload, url, memory.look)).startswith(b"HTTP/1.1 201 Created\r\n")
    assert arrived == [whole(framing, MORE_THAN_KERNELS_BUFFER)]
    assert memory.growth < ALLOWED
