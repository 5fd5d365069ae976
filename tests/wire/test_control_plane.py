"""The control plane has the data plane's protections: against slow clients, invalid requests and other host names."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.admin import status
from proxy.admin.admin_listener import AdminListener, start_admin
from proxy.admin.connections import AdminConnection
from proxy.app import Sidecar as Running
from proxy.cli.circuits import health
from proxy.config.load import load
from tests.settings import admin_settings
from tests.unit.admin.sidecar import TOKEN, Sidecar
from tests.wire.kit import Line, soon, until

ALIVE = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:9901\r\n\r\n"
WATCH = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"
HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"


class Plane:
    """A control plane that listens, and its clients."""

    def __init__(self, listener: AdminListener, began: float) -> None:
        self.listener = listener
        self.began = began
        self.lines: list[Line] = []

    async def client(self, address: str = HERE, buffer: int | None = None) -> Line:
        """Connect from an address of the loopback; `buffer` is how many bytes the system reads ahead."""
        raw = socket.socket()
        if buffer is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        raw.bind((address, 0))
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", self.listener.port))
        reader, writer = await asyncio.open_connection(sock=raw)
        self.lines.append(Line(reader, writer, split=False))
        return self.lines[-1]

    @property
    def only_connection(self) -> AdminConnection:
        """Return its connection, of which there is one."""
        (connection,) = self.listener._connections._open
        return connection

    async def ask(self, request: bytes, address: str = HERE) -> int:
        """Return the status of the answer to a request on a connection of its own."""
        client = await self.client(address)
        await client.send(request)
        return (await client.head()).status

    async def holding(self, count: int, said: bytes = b"", address: str = HERE) -> list[Line]:
        """Open connections, each after the one before is taken in, and say something on each."""
        lines = []
        for number in range(count):
            lines.append(await self.client(address))
            await until(lambda number=number: self.open > min(number, self.most - 1))  # type: ignore[misc]
            await lines[-1].send(said)
        return lines

    @property
    def open(self) -> int:
        """Return how many connections it has."""
        return len(self.listener._connections)

    @property
    def most(self) -> int:
        return self.listener._connections.rules.max_connections

    def let_pass(self, seconds: float) -> None:
        """Let its coarse clock be so many seconds after the start."""
        self.listener.sweep(self.began + seconds)


Begin = Callable[..., Awaitable[Plane]]


@pytest.fixture
async def begin() -> AsyncIterator[Begin]:
    """Open control planes with limits of their own."""
    planes: list[Plane] = []

    async def begun(sidecar: Sidecar | None = None, **rules: Any) -> Plane:
        control = (sidecar or Sidecar()).control()
        listener = await start_admin(control, admin_settings(**rules))
        planes.append(Plane(listener, asyncio.get_running_loop().time()))
        planes[-1].let_pass(0.0)
        return planes[-1]

    yield begun
    for plane in planes:
        for line in plane.lines:
            line.drop()
        await plane.listener.close()
        await until(lambda plane=plane: not plane.open)  # type: ignore[misc]


def request(host: bytes, path: bytes = b"/healthz", more: bytes = b"") -> bytes:
    """Return a request for `host`."""
    return b"GET %b HTTP/1.1\r\nHost: %b\r\n%bConnection: close\r\n\r\n" % (path, host, more)


# by whom it may be called


@pytest.mark.parametrize(
    "host",
    [
        b"127.0.0.1", b"127.0.0.1:9901", b"10.1.2.3:9901", b"[::1]:9901", b"[fd00::7]", b"localhost:9901", b"LocalHost",
        b"localhost.", b"backstay:9901", b"status.localhost:80", b"backstay.internal:9901", b"BACKSTAY.internal.",
    ],
)  # fmt: skip
async def test_who_asks_by_an_address_or_an_own_name_is_answered(begin: Begin, host: bytes) -> None:
    """Probes and scrapers ask by the pod's address, people by localhost, and everybody by what is allowed."""
    plane = await begin(allowed_hosts=("backstay.internal",))
    for path in (b"/healthz", b"/readyz", b"/metrics"):
        assert await plane.ask(request(host, path)) == 200


@pytest.mark.parametrize("path", [b"/", b"/events", b"/events?from=1", b"/%65vents", b"http://backstay:9901/events"])
async def test_a_name_without_a_dot_is_none_for_a_browser(begin: Begin, path: bytes) -> None:
    """A resolver may add a domain to it, which may be a stranger's."""
    plane = await begin()
    assert await plane.ask(request(b"backstay:9901", path)) == 421


@pytest.mark.parametrize("path", [b"/healthz", b"/metrics", b"/", b"/events", b"/stats", b"/audit", b"/nothing"])
@pytest.mark.parametrize(
    "host",
    [b"evil.example", b"evil.example:9901", b"127.0.0.1.evil.example", b"localhost.evil.example", b"x.notlocalhost"],
)
async def test_a_name_that_points_here_reads_nothing(begin: Begin, host: bytes, path: bytes) -> None:
    """DNS rebinding: a page of that name would read all of it in its visitor's browser, even with the token."""
    plane = await begin()
    assert await plane.ask(request(host, path, b"Authorization: Bearer %b\r\n" % TOKEN.encode())) == 421


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.0\r\nHost: evil.example\r\n\r\n", 421),
        (b"GET /healthz HTTP/1.1\r\nHost:\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost@evil.example\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\xff\r\n\r\n", 400),
        (b"GET http://localhost:9901/healthz HTTP/1.1\r\nHost: localhost:9901\r\n\r\n", 200),
        (b"GET http://evil.example/healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        (b"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http://localhost/healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", 400),
    ],
)
async def test_a_request_says_once_whom_it_is_for(begin: Begin, said: bytes, status: int) -> None:
    """RFC 9112 section 3.2: one Host field; an absolute target that says something else is no way around it."""
    assert await (await begin()).ask(said) == status


# what is no HTTP

MALFORMED = [
    b"GET /%zz%0 \r\n\r\n",
    b"GET http://[::1/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET http://localhost:99999/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET http://localhost:x/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"CONNECT [ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"CONNECT a:b:c HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"G\x00T / HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nbad field\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 1_000 + b"\r\n",
]


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer hunter2\x01\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization : Bearer hunter2\r\n\r\n",
        b"GET /?token=hunter2 HTTQ\r\n\r\n",
        b"GET http://[::1/hunter2 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
async def test_a_debug_log_does_not_quote_a_malformed_request(
    begin: Begin, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Before, the parser's message stood in the log with the line that it refused, the admin token included."""
    caplog.set_level(logging.DEBUG)
    client = await (await begin()).client()
    await client.send(said)
    assert (await client.message()).status == 400
    assert "not HTTP" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("first", [b"", ALIVE], ids=["alone", "behind"])
@pytest.mark.parametrize("said", MALFORMED, ids=range(len(MALFORMED)))
async def test_what_is_no_http_is_a_400_and_no_error_of_ours(
    begin: Begin, said: bytes, first: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of it stands in the log: before, each was a traceback of 2 KiB that a stranger wrote."""
    caplog.set_level(logging.INFO)
    raised: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: raised.append(context))
    plane = await begin()
    client = await plane.client()
    if first:
        await client.send(first)
        assert (await client.message()).status == 200
    await client.send(said)
    answer = await client.message()
    assert (answer.status, answer.get(b"content-type")) == (400, b"application/problem+json")
    assert not caplog.records
    assert not raised


@pytest.mark.parametrize("target", [b"/\xff", b"/%ff", b"/%ed%a0%80", b"/a?\xff=\xfe", b"//[", b"/restorations/%ff"])
async def test_any_byte_in_a_target_gets_an_answer(begin: Begin, target: bytes) -> None:
    """What is no UTF-8 is told as what it is, and is no error of ours."""
    more = b"Authorization: Bearer %b\r\n" % TOKEN.encode()
    assert await (await begin()).ask(request(b"localhost", target, more)) in (200, 400, 404)


# how long each may take


async def test_who_says_nothing_is_let_go(begin: Begin) -> None:
    """A connection has the time of a head to say one; before, it had an hour."""
    plane = await begin(head_timeout=10.0)
    client = (await plane.holding(1))[0]
    plane.let_pass(9.0)
    assert plane.open == 1
    plane.let_pass(11.0)
    assert await client.rest() == b""


async def test_a_slow_head_is_told_so(begin: Begin) -> None:
    """The time runs from its first byte, also on a connection that was answered before."""
    plane = await begin(head_timeout=10.0)
    client = await plane.client()
    await client.send(ALIVE)
    assert (await client.message()).status == 200
    plane.let_pass(20.0)
    await client.send(b"GET /healthz HTTP/1.1\r\nHo")
    await until(lambda: [one.phase.name for one in plane.listener._connections._open] == ["HEAD"])
    plane.let_pass(29.0)
    await client.send(b"st: ")
    plane.let_pass(31.0)
    assert (await client.message()).status == 408
    assert await client.rest() == b""


async def test_a_kept_connection_is_closed_without_a_word(begin: Begin) -> None:
    """Between two requests a scraper may wait longer than for a head."""
    plane = await begin(head_timeout=10.0, keepalive_timeout=75.0)
    client = await plane.client()
    await client.send(ALIVE)
    assert (await client.message()).status == 200
    plane.let_pass(70.0)
    assert plane.open == 1
    plane.let_pass(76.0)
    assert await client.rest() == b""


async def test_a_body_that_never_comes_holds_nothing(begin: Begin) -> None:
    """No path reads one: the answer comes at once, and the connection ends in the time of a head."""
    plane = await begin(head_timeout=10.0, keepalive_timeout=75.0)
    client = await plane.client()
    await client.send(b"POST /drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nab")
    assert (await client.message()).status == 401
    assert await client.rest() == b""


async def test_who_takes_nothing_of_an_answer_is_cut(begin: Begin) -> None:
    """Answers that nobody reads take their bytes no longer than `idle_timeout`."""
    sidecar = Sidecar()
    sidecar.newest.extend(b'{"operation":"%b"}' % (b"x" * 1_000_000) for _ in range(20))
    plane = await begin(sidecar, idle_timeout=10.0)
    client = await plane.client(buffer=4096)
    client.stop_reading()
    await client.send(request(b"localhost", b"/audit", b"Authorization: Bearer %b\r\n" % TOKEN.encode()))
    await until(lambda: any(one.unwritten for one in plane.listener._connections._open))
    plane.let_pass(1.0)
    plane.let_pass(9.0)
    assert plane.open == 1
    plane.let_pass(20.0)
    plane.let_pass(31.0)
    await until(lambda: not plane.open)


# how many there may be


async def test_a_newcomer_takes_the_place_of_who_has_waited_longest(begin: Begin) -> None:
    """A probe that finds no place has the pod killed: silent strangers must not hold them all."""
    plane = await begin(max_connections=4, max_viewers=1)
    silent = await plane.holding(4)
    assert await plane.ask(ALIVE) == 200
    assert plane.open == 4
    assert await silent[0].ending() in ("fin", "reset")


async def test_the_address_that_has_most_gives_way(begin: Begin) -> None:
    """A scraper's kept connection outlives any number of strangers'."""
    plane = await begin(max_connections=4, max_viewers=1)
    scraper = await plane.client(ELSEWHERE)
    await scraper.send(ALIVE)
    assert (await scraper.message()).status == 200
    await plane.holding(20, b"GET / HTTP/1.1\r\nX: ")
    await scraper.send(ALIVE)
    assert (await scraper.message()).status == 200


async def test_where_nobody_can_give_way_the_newcomer_is_told(begin: Begin) -> None:
    """Whose answer is under way keeps its place."""
    plane = await begin(max_connections=2, max_viewers=2)
    for address in (HERE, ELSEWHERE):
        assert await plane.ask(WATCH, address) == 200
    client = await plane.client()
    assert (await client.message()).status == 503
    assert await client.rest() == b""


async def test_viewers_of_one_address_do_not_lock_out_the_others(begin: Begin) -> None:
    """The oldest of that address gives way, also to a newcomer from there."""
    plane = await begin(max_viewers=2)
    watching = []
    for _ in range(2):
        watching.append(await plane.client())
        await watching[-1].send(WATCH)
        assert (await watching[-1].head()).status == 200
    assert await plane.ask(WATCH, ELSEWHERE) == 200
    assert await watching[0].ending() in ("fin", "reset")
    assert await plane.ask(WATCH) == 200
    assert await watching[1].ending() in ("fin", "reset")


async def test_viewers_who_have_one_place_each_keep_it(begin: Begin) -> None:
    """Else those who come again would push out each other for ever."""
    plane = await begin(max_viewers=2)
    assert await plane.ask(WATCH, HERE) == 200
    assert await plane.ask(WATCH, ELSEWHERE) == 200
    assert await plane.ask(WATCH, "127.0.0.3") == 503


async def test_a_viewer_that_reads_nothing_holds_a_bounded_number_of_bytes_and_is_cut(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets no further figures while it is behind, and is cut after `idle_timeout`."""
    monkeypatch.setattr(status, "EVERY_S", 0.0)
    plane = await begin(idle_timeout=10.0)
    client = await plane.client(buffer=4096)
    client.stop_reading()
    await client.send(WATCH)
    await until(lambda: any(one.unwritten > status.BUFFER for one in plane.listener._connections._open))
    before = max(one.unwritten for one in plane.listener._connections._open)
    for _ in range(1_000):
        await asyncio.sleep(0)  # noqa: TID251 - turns in which figures would be sent
    held = max(one.unwritten for one in plane.listener._connections._open)
    assert held <= before <= 2 * status.BUFFER
    plane.let_pass(1.0)
    plane.let_pass(12.0)
    await until(lambda: not plane.open and not len(plane.listener._runner.app[status.VIEWERS]))


# a Unix socket


async def test_the_control_plane_listens_on_a_unix_socket(tmp_path: Path) -> None:
    """Its file is the owner's alone, any name will do there, and it goes with the listener."""
    path = tmp_path / "admin.sock"
    listener = await start_admin(Sidecar().control(), admin_settings(f"unix:{path}"))
    assert listener.url == f"unix:{path}"
    assert path.stat().st_mode & 0o777 == 0o600
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request(b"any.example"))
    assert (await soon(reader.readline())) == b"HTTP/1.1 200 OK\r\n"
    writer.close()
    assert await asyncio.to_thread(health, f"unix:{path}", True) == 0
    await listener.close()
    assert not path.exists()
    assert await asyncio.to_thread(health, f"unix:{path}") == 1


async def test_what_check_accepts_as_an_address_the_sidecar_listens_on(tmp_path: Path) -> None:
    """A Unix socket for the control plane passed the check, and was refused at the start."""
    file = tmp_path / "config.toml"
    file.write_text(
        f'[listen]\naddress = "127.0.0.1:0"\n[admin]\naddress = "unix:{tmp_path}/admin.sock"\n'
        f'[audit]\npath = "{tmp_path}/audit.jsonl"\n[upstreams.b]\nurl = "http://127.0.0.1:1"\n'
    )
    sidecar = Running(load(file, environ={}))
    await sidecar.start()
    assert sidecar.admin_url == f"unix:{tmp_path}/admin.sock"
    assert await asyncio.to_thread(health, sidecar.admin_url, True) == 0
    await sidecar.stop(delay_s=0.0)
