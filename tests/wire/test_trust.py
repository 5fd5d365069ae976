"""After a reload removed a client authority, no client with its certificate is served."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.app import Sidecar
from tests.wire.kit import Backend, Line, soon, until
from tests.wire.test_tls import issue, settings

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
LAST = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"


class Guarded:
    """A sidecar that asks its clients for a certificate: Ada and Bob vouch for themselves, as long as they may."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.own = issue(folder, "sidecar", "own.pem")
        self.people = {name: issue(folder, name, f"{name}.pem") for name in ("ada", "bob")}
        self.authorities = folder / "authorities.pem"

    async def start(self) -> None:
        """Begin with both."""
        self.trust("ada", "bob")
        self.backend = await Backend(split=False).start()
        listen = f'tls_certificate = "{self.own}"\ntls_client_ca = "{self.authorities}"'
        self._settings = settings(self._folder, f"http://127.0.0.1:{self.backend.port}", listen)
        self.sidecar = Sidecar(self._settings)
        await self.sidecar.start()
        self.port = int(self.sidecar.url.rpartition(":")[2])

    def trust(self, *names: str) -> None:
        """Write the file of authorities."""
        self.authorities.write_text("".join(self.people[name].read_text() for name in names))

    async def reload(self, *names: str) -> None:
        """Reload with these authorities."""
        self.trust(*names)
        await self.sidecar.reload(lambda: self._settings)

    def context(self, name: str) -> ssl.SSLContext:
        """Return the context of somebody's own connections."""
        context = ssl.create_default_context(cafile=str(self.own))
        context.load_cert_chain(self.people[name])
        return context

    async def connect(self, name: str) -> Line:
        """Connect as somebody. Whether the certificate counts shows with the first byte that comes back."""
        reader, writer = await soon(
            asyncio.open_connection("127.0.0.1", self.port, ssl=self.context(name), server_hostname="localhost")
        )
        return Line(reader, writer, split=False)

    async def serves(self, name: str) -> bool:
        """Tell whether somebody who comes anew is served."""
        try:
            line = await self.connect(name)
            await line.send(GET)
            answering = asyncio.get_running_loop().create_task(answer_one(self.backend))
            said = await line.some()
        except (ssl.SSLError, ConnectionError):
            return False
        if not said:
            answering.cancel()
            return False
        await soon(answering)
        line.close()
        return said.startswith(b"HTTP/1.1 200 ")

    async def close(self) -> None:
        """Stop."""
        await self.backend.close()
        await self.sidecar.stop(delay_s=0.0)


async def answer_one(backend: Backend) -> None:
    """Answer the next request that comes on a connection of its own."""
    line = await backend.arrival()
    await line.head()
    await line.send(LAST)
    line.close()


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Guarded]:
    """Run a sidecar that trusts Ada and Bob."""
    stage = Guarded(tmp_path)
    await stage.start()
    yield stage
    await stage.close()


async def test_whom_a_removed_authority_vouches_for_is_not_let_in(guarded: Guarded) -> None:
    """Before, authorities could be added by a reload, and never taken away."""
    assert [await guarded.serves(name) for name in ("ada", "bob")] == [True, True]
    await guarded.reload("bob")
    assert [await guarded.serves(name) for name in ("ada", "bob")] == [False, True]
    await guarded.reload("ada")
    assert [await guarded.serves(name) for name in ("ada", "bob")] == [True, False]


async def test_a_session_ticket_does_not_outlive_its_authority(guarded: Guarded) -> None:
    """A resumed session shows no certificate: its ticket must not be taken. Before a reload it is."""
    context, before = guarded.context("ada"), None

    def visit(session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession | None]:
        """Ask on a connection that resumes a session, and read to the end: tickets come with the answer."""
        plain = socket.create_connection(("127.0.0.1", guarded.port), 60)
        with context.wrap_socket(plain, server_hostname="localhost", session=session) as line:
            line.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert line.recv(65_536).startswith(b"HTTP/1.1 200 ")
            return bool(line.session_reused), line.session

    for expected in (False, True):
        answering = asyncio.get_running_loop().create_task(answer_one(guarded.backend))
        resumed, before = await soon(asyncio.to_thread(visit, before))
        await soon(answering)
        assert resumed is expected
    await guarded.reload("bob")
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        await soon(asyncio.to_thread(visit, before))


async def test_a_handshake_that_a_reload_overtakes_is_not_let_in(guarded: Guarded) -> None:
    """It began with the old authorities, and ends after they are gone."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = guarded.context("ada").wrap_bio(incoming, outgoing, server_hostname="localhost")
    reader, writer = await soon(asyncio.open_connection("127.0.0.1", guarded.port))
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    writer.write(outgoing.read())
    while True:
        incoming.write(await soon(reader.read(65_536)))
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            continue
    await guarded.reload("bob")
    tls.write(GET)
    writer.write(outgoing.read())
    try:
        rest = await soon(reader.read())
    except ConnectionError:
        rest = b""
    writer.close()
    incoming.write(rest)
    incoming.write_eof()
    try:
        said = tls.read()
    except ssl.SSLError:
        said = b""
    assert (said, guarded.backend.lines) == (b"", [])


async def test_kept_connections_end_with_what_is_under_way(guarded: Guarded) -> None:
    """An idle one at once; a busy one with its answer, and what was asked behind that is not begun."""
    idle, busy, uploading = [await guarded.connect("ada") for _ in range(3)]
    await idle.send(GET)
    first = await guarded.backend.connection()
    await first.head()
    await first.send(OK)
    await idle.message()
    await busy.send(GET + GET)
    assert (await first.head()).start == b"GET /x HTTP/1.1"
    await uploading.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + bytes(100_000))
    second = await guarded.backend.connection()
    await second.head()
    await guarded.reload("bob")
    assert await idle.ending() == "fin"
    await first.send(OK)
    answer = await busy.message()
    assert (answer.status, answer.get(b"connection")) == (200, b"close")
    assert await busy.ending() == "fin"
    await uploading.send(bytes(100_000) + GET)
    await second.exactly(200_000)
    await second.send(OK)
    answer = await uploading.message()
    assert (answer.status, answer.get(b"connection")) == (200, b"close")
    assert await uploading.ending() in ("fin", "reset")  # what follows the upload is not read
    assert len(guarded.backend.lines) == 2
    assert not guarded.sidecar.server_state.connections


async def test_what_would_go_on_for_ever_is_cut(guarded: Guarded) -> None:
    """A stream, and a tunnel, have as long as a drain gives them (listen.drain_timeout, here a second)."""
    lines = [await guarded.connect("ada") for _ in range(2)]
    await lines[0].send(GET)
    stream = await guarded.backend.connection()
    await stream.head()
    await stream.send(STREAM)
    await lines[0].head()
    await lines[1].send(GET.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"))
    tunnel = await guarded.backend.connection()
    await tunnel.head()
    await tunnel.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
    await lines[1].head()
    await guarded.reload("bob")
    for line in lines:
        assert await line.ending() in ("fin", "reset")
    await soon(until_empty(guarded))


async def until_empty(guarded: Guarded) -> None:
    """Wait until no connection is left."""
    await until(lambda: not guarded.sidecar.server_state.connections)


async def test_connections_outlive_a_reload_that_takes_no_authority_away(guarded: Guarded) -> None:
    """Certificates are renewed every hour, and clients should not notice."""
    await guarded.reload("bob")
    line = await guarded.connect("bob")
    await line.send(GET)
    backend = await guarded.backend.connection()
    await backend.head()
    await backend.send(OK)
    await line.message()
    issue(guarded.own.parent, "sidecar", "own.pem")
    await guarded.reload("bob", "ada")
    await line.send(GET)
    await backend.head()
    await backend.send(LAST)
    assert (await line.message()).status == 200
    line.close()
    assert await guarded.serves("ada")


async def test_a_reload_that_cannot_read_the_authorities_changes_nothing(guarded: Guarded) -> None:
    line = await guarded.connect("ada")
    guarded.authorities.write_text("no certificate")
    await guarded.sidecar.reload(lambda: guarded.sidecar.settings)
    assert [await guarded.serves(name) for name in ("ada", "bob")] == [True, True]
    line.close()


@pytest.mark.parametrize("broken", ["listener", "upstream"])
async def test_a_reload_with_broken_tls_files_is_refused_as_a_whole(guarded: Guarded, broken: str) -> None:
    """Nothing else of the new configuration applies, and the log says so."""
    before, authorities = guarded.sidecar.settings, guarded.authorities.parent / "of-the-backend.pem"
    authorities.write_text("no certificate")
    secure = {"url": ("https://localhost:1",), "tls_ca": str(authorities)}
    upstreams = {name: table.model_copy(update=secure) for name, table in before.upstreams.items()}
    changed = {"dry_run": True} if broken == "listener" else {"dry_run": True, "upstreams": upstreams}
    if broken == "listener":
        guarded.authorities.write_text("no certificate")
    with capture_logs() as logs:
        await guarded.sidecar.reload(lambda: before.model_copy(update=changed))
    assert [entry["event"] for entry in logs] == ["reload_refused"]
    assert guarded.sidecar.settings is before
    assert await guarded.serves("ada")
