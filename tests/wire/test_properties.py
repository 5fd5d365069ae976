"""Any legal message is forwarded unchanged; any bytes at all crash nothing and leave nothing behind."""

import asyncio
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from proxy.app import Sidecar
from proxy.config.load import load
from tests.loop import CheckedLoop
from tests.wire.kit import Backend, Wire, until

TOKEN = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
OURS = {  # what the sidecar frames, adds or answers itself, and what changes whom is asked
    "host", "connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade", "content-length",
    "expect", "via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "x-correlation-id",
    "x-request-deadline-ms", "x-attempt-count", "x-backstay-explain", "traceparent", "tracestate", "idempotency-key",
    "date", "server-timing", "cache-status", "proxy-status", "http2-settings", "trailer", "retry-after",
}  # fmt: skip
names = st.text(TOKEN, min_size=1, max_size=20).filter(lambda name: name.lower() not in OURS).map(str.encode)
middles = st.binary(max_size=30).map(lambda raw: bytes(b for b in raw if b >= 32 and b != 127)).map(bytes.strip)
fields = st.lists(st.tuples(names, middles), max_size=8)
targets = st.text([chr(c) for c in range(33, 127) if chr(c) != "#"], max_size=40).map(lambda text: b"/" + text.encode())
bodies = st.binary(max_size=300)
methods = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"PROPFIND"])
statuses = st.integers(200, 999).filter(lambda status: status not in (204, 304))


class World:
    """One sidecar and its backend, for many examples: each example has connections of its own."""

    def __init__(self, folder: Path) -> None:
        self.runner = asyncio.Runner(loop_factory=CheckedLoop)
        self.wire = self.runner.run(self._start(folder))

    async def _start(self, folder: Path) -> Wire:
        backend = await Backend(split=False).start()
        file = folder / "config.toml"
        file.write_text(
            f'[listen]\naddress = "127.0.0.1:0"\n[admin]\naddress = "127.0.0.1:0"\n'
            f'[audit]\npath = "{folder}/audit.jsonl"\n[upstreams.b]\nurl = "http://127.0.0.1:{backend.port}"\n'
            "[upstreams.b.breaker]\nfailure_threshold = 1000000\n[defaults.retry]\nmax_retries = 0\n"
        )
        sidecar = Sidecar(load(file, environ={}))
        await sidecar.start()
        return Wire(sidecar, backend, split=False)

    def close(self) -> None:
        """End it all."""
        self.runner.run(self.wire.close())
        self.runner.close()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Run one sidecar for all examples."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        yield world
        world.close()


many = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def encoded(start: bytes, lines: list[tuple[bytes, bytes]], body: bytes, pieces: list[int] | None) -> bytes:
    """Return a message, with a length, or in chunks of these sizes."""
    head = start + b"\r\n" + b"".join(name + b": " + value + b"\r\n" for name, value in lines)
    if pieces is None:
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    chunks, rest = b"", body
    for size in [*pieces, len(body) + 1]:
        if piece := rest[:size]:
            chunks += b"%x\r\n" % len(piece) + piece + b"\r\n"
        rest = rest[size:]
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def decoded(answer_body: bytes) -> bytes:
    """Return what is in the chunks."""
    body, rest = b"", answer_body
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if int(size, 16) == 0:
            return body
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]


sizes = st.none() | st.lists(st.integers(1, 90), max_size=4)


@many
@given(methods, targets, fields, bodies, sizes, statuses, fields, bodies, sizes)
def test_whatever_is_legal_crosses_unchanged(
    world: World,
    method: bytes,
    target: bytes,
    asked: list[tuple[bytes, bytes]],
    upload: bytes,
    upload_pieces: list[int] | None,
    status: int,
    answered: list[tuple[bytes, bytes]],
    download: bytes,
    download_pieces: list[int] | None,
) -> None:
    """Method, target, field lines and body arrive as they were said, and so does the answer."""

    async def conversation() -> None:
        wire = world.wire
        client = await wire.client()
        request = encoded(method + b" " + target + b" HTTP/1.1\r\nHost: a", asked, upload, upload_pieces)
        await client.send(request)
        backend = await wire.backend.connection()
        heard = await backend.message()
        assert heard.start == method + b" " + target + b" HTTP/1.1"
        assert heard.lines[1 : 1 + len(asked)] == [name + b": " + value for name, value in asked]
        assert (heard.body if upload_pieces is None else decoded(heard.body)) == upload
        await backend.send(encoded(b"HTTP/1.1 %d So" % status, answered, download, download_pieces))
        answer = await client.message()
        assert answer.start == b"HTTP/1.1 %d So" % status
        assert answer.lines[: len(answered)] == [name + b": " + value for name, value in answered]
        assert (answer.body if download_pieces is None else decoded(answer.body)) == download
        client.close()
        backend.close()
        await until(lambda: not wire.sidecar.server_state.connections and not wire.sidecar.running)

    world.runner.run(conversation())


PARTS = [
    b"GET ", b"POST ", b"/", b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\r\n\r\n", b"Host: a", b"Content-Length: 5",
    b"Transfer-Encoding: chunked", b"5\r\nhello\r\n", b"0\r\n\r\n", b"Expect: 100-continue", b"Connection: Upgrade",
    b"Upgrade: websocket", b"HTTP/1.1 ", b"200 OK", b"101 S", b"103 E", b"304 N", b"\0", b"\n", b"\r", b":", b" ",
]  # fmt: skip
noise = st.lists(st.sampled_from(PARTS) | st.binary(max_size=6), max_size=14).map(b"".join)


@many
@given(noise)
@example(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
def test_no_request_leaves_anything_behind(world: World, caplog: pytest.LogCaptureFixture, said: bytes) -> None:
    """Any bytes at all, and the client leaves: no error is logged, no connection and no exchange is left."""

    async def conversation() -> None:
        client = await world.wire.client()
        client.say_at_once(said)
        client.finish()
        assert b"Traceback" not in await client.rest()
        await until(lambda: not world.wire.sidecar.server_state.connections and not world.wire.sidecar.running)
        assert len(asyncio.all_tasks()) == 1

    with caplog.at_level(logging.WARNING):
        world.runner.run(conversation())
        forget(world)
    assert not caplog.records


@many
@given(noise)
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
def test_no_answer_leaves_anything_behind(world: World, caplog: pytest.LogCaptureFixture, said: bytes) -> None:
    """Any bytes at all for an answer, and the backend leaves: the client gets an answer or a cut, and nothing stays."""

    async def conversation() -> None:
        client = await world.wire.client()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        backend = await world.wire.backend.connection()
        await backend.head()
        backend.say_at_once(said)
        backend.close()
        await client.ending()
        assert client.heard.startswith(b"HTTP/1.1 ")
        assert b"Traceback" not in client.heard
        await until(lambda: not world.wire.sidecar.server_state.connections and not world.wire.sidecar.running)

    with caplog.at_level(logging.WARNING):
        world.runner.run(conversation())
        forget(world)
    assert not caplog.records


def forget(world: World) -> None:
    """Let the next example find no connection that waits for it."""

    async def hang_up() -> None:
        while not world.wire.backend._arrived.empty():
            world.wire.backend._arrived.get_nowait()
        for line in world.wire.backend.lines:
            line.close()
        world.wire.backend.lines.clear()

    world.runner.run(hang_up())
