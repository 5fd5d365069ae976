"""TLS handshakes count as connections from their start, and end in time."""

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from proxy.app import Sidecar
from proxy.server.acceptor import Acceptor
from tests.wire.kit import Backend, Line, exposition, soon, until
from tests.wire.test_tls import GET, issue, settings

HI = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
Begin = Callable[[str], Awaitable["Scene"]]


class Scene:
    """A sidecar whose clients speak TLS, and its backend."""

    def __init__(self, sidecar: Sidecar, backend: Backend, certificate: Path) -> None:
        self.sidecar, self.backend, self.certificate = sidecar, backend, certificate
        self.port = int(sidecar.url.rpartition(":")[2])
        self.lines: list[Line] = []

    async def silent(self) -> Line:
        """Connect, and say nothing."""
        return self._line(*await soon(asyncio.open_connection("127.0.0.1", self.port)))

    async def client(self) -> Line:
        """Connect, and shake hands."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        connecting = asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname="localhost")
        return self._line(*await soon(connecting))

    def _line(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Line:
        self.lines.append(Line(reader, writer, split=False))
        return self.lines[-1]

    async def is_served(self, client: Line) -> None:
        """Check that a client that has shaken hands gets an answer."""
        await client.send(GET)
        line = await self.backend.connection()
        await line.head()
        await line.send(HI)
        assert (await client.message()).body == b"hi"

    @property
    def shaking(self) -> int:
        """Return the handshakes under way."""
        return self.sidecar._listener.handshakes

    def failed(self, reason: str) -> bool:
        """Tell whether the metric counts a handshake that ended so."""
        return f'backstay_tls_handshakes_failed_total{{reason="{reason}"}}' in exposition(self.sidecar)


@pytest.fixture
async def begin(tmp_path: Path) -> AsyncIterator[Begin]:
    """Start sidecars with these settings of the listener."""
    scenes: list[Scene] = []
    backends: list[Backend] = []

    async def begun(listen: str) -> Scene:
        certificate = issue(tmp_path, "front")
        backend = await Backend(split=False).start()
        backends.append(backend)
        tls = f'tls_certificate = "{certificate}"\n{listen}'
        sidecar = Sidecar(settings(tmp_path, f"http://127.0.0.1:{backend.port}", tls))
        await sidecar.start()
        scenes.append(Scene(sidecar, backend, certificate))
        return scenes[-1]

    yield begun
    for scene in scenes:
        for line in scene.lines:
            line.close()
        await scene.sidecar.stop(delay_s=0.0)
    for backend in backends:  # else the loop waits for its listener when it closes, for ever
        await backend.close()


async def test_handshakes_count_and_who_comes_beyond_the_limit_is_closed(begin: Begin) -> None:
    """Before, they counted in no limit: a stranger opened as many as the machine had descriptors."""
    scene = await begin('max_connections = 3\nhead_timeout = "60s"')
    silent = [await scene.silent() for _ in range(3)]
    await until(lambda: scene.shaking == 3)
    assert await (await scene.silent()).ending() in ("fin", "reset")
    assert scene.shaking == 3
    assert scene.failed("limit")
    silent[0].close()
    await until(lambda: scene.shaking == 2)
    await scene.is_served(await scene.client())


async def test_a_connection_counts_once_after_its_handshake(begin: Begin) -> None:
    """The last place is for one whose handshake is done; established ones leave none to handshakes."""
    scene = await begin("max_connections = 1")
    client = await scene.client()
    await until(lambda: not scene.shaking and len(scene.sidecar.server_state.connections) == 1)
    assert await (await scene.silent()).ending() in ("fin", "reset")
    await scene.is_served(client)


@pytest.mark.parametrize("hello", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"], ids=["silent", "begun"])
async def test_a_handshake_that_is_not_done_in_time_ends(begin: Begin, hello: bytes) -> None:
    """The time of a head is the time of a handshake, too, whatever part of it has come."""
    scene = await begin('head_timeout = "50ms"')
    client = await scene.silent()
    await client.send(hello)
    assert await client.ending() in ("fin", "reset")
    await until(lambda: not scene.shaking)
    assert scene.failed("timeout")
    assert not scene.sidecar.server_state.connections


async def test_what_is_no_handshake_is_refused(begin: Begin) -> None:
    """Plain HTTP on a TLS port ends, is counted, and leaves nothing behind."""
    scene = await begin("")
    client = await scene.silent()
    await client.send(GET)
    assert await client.ending() in ("fin", "reset")
    await until(lambda: not scene.shaking)
    assert scene.failed("refused")


async def test_without_memory_no_handshake_begins(begin: Begin) -> None:
    """A handshake is work and memory: there is none for it."""
    scene = await begin("")
    scene.sidecar.server_state.crowded = True
    assert await (await scene.silent()).ending() in ("fin", "reset")


def backlog(port: int) -> int:
    """Return how many connections to a port wait to be accepted, as the kernel lists them."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(int(row[4].partition(":")[2], 16) for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A")


async def test_a_drain_waits_for_no_silent_handshake_in_front_of_another(begin: Begin) -> None:
    """Those who wait to be accepted shake hands side by side: before, one after another."""
    scene = await begin('head_timeout = "60s"')
    listener = scene.sidecar._listener
    acceptor = listener._open[0]
    assert isinstance(acceptor, Acceptor)
    acceptor._loop.remove_reader(acceptor._listening.fileno())  # busy: nobody is accepted
    silent = await scene.silent()
    connecting = asyncio.ensure_future(scene.client())
    await until(lambda: backlog(scene.port) == 2)
    await listener.drain_backlog()
    await scene.is_served(await soon(connecting))
    silent.close()


async def test_handshakes_under_way_end_with_the_sidecar(begin: Begin) -> None:
    """They are given the drain's time, and cut then."""
    scene = await begin('head_timeout = "60s"')
    silent = await scene.silent()
    await until(lambda: scene.shaking == 1)
    await scene.sidecar.stop(delay_s=0.0)
    assert await silent.ending() in ("fin", "reset")
    await until(lambda: not scene.shaking)


async def test_a_backend_that_never_shakes_hands_is_left_in_time(tmp_path: Path) -> None:
    """The other leg: connecting takes as long as it may, and the handshake is a part of it."""
    mute = await Backend(split=False).start()
    sidecar = Sidecar(settings(tmp_path, f"https://127.0.0.1:{mute.port}", more='connect_timeout = "50ms"'))
    await sidecar.start()
    reader, writer = await soon(asyncio.open_connection("127.0.0.1", int(sidecar.url.rpartition(":")[2])))
    writer.write(GET)
    said = await soon(reader.read())
    assert said.startswith(b"HTTP/1.1 504 ")
    assert b"connection_timeout" in said
    writer.close()
    await sidecar.stop(delay_s=0.0)
    await mute.close()


async def test_an_acceptor_without_descriptors_rests_and_goes_on() -> None:
    """A listening socket that cannot be emptied stays readable: it is not asked again at once."""
    taken: list[socket.socket] = []
    asked = 0

    def accept(listening: socket.socket) -> socket.socket:
        nonlocal asked
        asked += 1
        if asked <= 2:
            raise OSError(errno.EMFILE, "Too many open files")
        return listening.accept()[0]

    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    acceptor = Acceptor(listening, taken.append, accept)
    with socket.create_connection(listening.getsockname()):
        await until(lambda: bool(taken))
    assert asked <= 4  # twice without a descriptor, the connection, and perhaps that there is no other
    acceptor.close()
    acceptor.close()
    for each in taken:
        each.close()
