"""SIGTERM under load: every accepted request gets a response, and the process exits cleanly in time."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.wire.kit import Backend, Line, soon, until

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
HI = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CLIENTS = 8


class Visitor:
    """A keep-alive client that asks one thing after the other, and comes again when it was told to go."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.answered = 0
        self.lost: list[str] = []
        self.refused = False

    async def visit(self) -> None:
        """Ask until nobody is let in any more. A connection closed before it was asked lost nothing."""
        while not self.refused:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except ConnectionRefusedError:
                self.refused = True
                return
            await self._converse(reader, writer)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(GET % self.answered)
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(2) == b"hi"
            except (OSError, EOFError) as error:
                self.lost.append(repr(error))
                return
            assert head.startswith(b"HTTP/1.1 200 ")
            self.answered += 1
            if b"Connection: close" in head:
                return


async def answer_all(backend: Backend) -> None:
    """Answer whatever comes, each connection in a task of its own."""

    async def serve(line: Line) -> None:
        try:
            while (asked := await line.message()).start:
                if asked.start.startswith(b"GET /events"):
                    line.say_at_once(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
                else:
                    line.say_at_once(HI)
        except (OSError, EOFError, TimeoutError):
            line.close()

    async with asyncio.TaskGroup() as tasks:
        while True:
            tasks.create_task(serve(await backend.arrival()))


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    """Run a backend that answers everything."""
    backend = await Backend(split=False).start()
    serving = asyncio.get_running_loop().create_task(answer_all(backend))
    yield backend
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    await backend.close()


@pytest.fixture
async def sidecar(backend: Backend, tmp_path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a sidecar as a user does."""
    config = tmp_path / "config.toml"
    config.write_text(
        '[listen]\naddress = "127.0.0.1:0"\ndrain_delay = "500ms"\ndrain_timeout = "5s"\n'
        f'[admin]\naddress = "127.0.0.1:0"\n[audit]\npath = "{tmp_path}/audit.jsonl"\n'
        f'[upstreams.b]\nurl = "http://127.0.0.1:{backend.port}"\n[defaults]\nreplay_limit = "4"\n'
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", "run", "--config", str(config)),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    yield process
    if process.returncode is None:
        process.kill()
        await process.wait()


async def test_nothing_that_was_accepted_is_lost(sidecar: asyncio.subprocess.Process) -> None:
    """Keep-alive clients, an upload in flight and an open stream: then SIGTERM."""
    assert sidecar.stdout is not None
    port = int((await sidecar.stdout.readline()).split()[3].rpartition(b":")[2])
    reader, upload = await asyncio.open_connection("127.0.0.1", port)
    upload.write(b"PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234")
    events, stream = await asyncio.open_connection("127.0.0.1", port)
    stream.write(b"GET /events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n")
    await soon(events.readuntil(b"data: 1\n\n"))
    visitors = [Visitor(port) for _ in range(CLIENTS)]
    visits = asyncio.gather(*(visitor.visit() for visitor in visitors))
    await until(lambda: all(visitor.answered > 10 for visitor in visitors))

    sidecar.send_signal(signal.SIGTERM)
    await soon(visits)
    upload.write(b"56789")
    assert (await soon(reader.readuntil(b"\r\n\r\nhi"))).startswith(b"HTTP/1.1 200 ")
    assert await soon(sidecar.wait()) == 0
    assert [visitor.lost for visitor in visitors] == [[]] * CLIENTS
    with pytest.raises(ConnectionResetError):  # the stream is cut at the deadline, so that nobody takes it for whole
        await soon(events.read())
    for writer in (upload, stream):
        writer.close()
