"""Malformed requests, unreadable configurations, and a start that cannot succeed are refused."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from proxy.clock import SystemClock
from tests.e2e.raw import Client, Origin, answer, ask, request
from tests.e2e.sidecar import Child, Ended, backstay, sidecar
from tests.ports import reserved_port

CLOCK = SystemClock()
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def child(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Child]:
    """Run a sidecar without a configuration."""
    origin.on("/", answer(b"fine"))
    async with sidecar(tmp_path_factory.mktemp("bad"), origin.url) as child:
        yield child


HOST = b"Host: a\r\n"
MALFORMED = {
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "nonsense": b"please\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\n" + HOST * 2 + b"\r\n",
    "no host name": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "length and chunked": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
    "two lengths": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "signed length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +3\r\n\r\nabc",
    "length of letters": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: three\r\n\r\nabc",
    "bad chunk size": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "chunk too long": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    "folded field": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: b\r\n c\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\nHost: a\n\n",
    "space before the colon": b"GET / HTTP/1.1\r\n" + HOST + b"X-A : b\r\n\r\n",
    "NUL in a field": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: b\x00c\r\n\r\n",
    "bytes in the target": b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    "fragment in the target": b"GET /#top HTTP/1.1\r\n" + HOST + b"\r\n",
    "chunked HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n",
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_request_is_refused_and_its_connection_closed(
    child: Child, origin: Origin, sent: bytes
) -> None:
    """400 and the end, also of whatever was smuggled behind it; the backend hears nothing, nothing is echoed."""
    before = len(origin.calls)
    async with await Client.connect(child.url) as client:
        client.send(sent + request("GET", "/smuggled"))
        refused = await client.answer()
        assert refused.status == 400
        assert refused.header("connection") == "close"
        assert refused.header("content-type") == "application/problem+json"
        assert await client.rest() == b""
    assert len(origin.calls) == before


OTHERS = {
    501: b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    505: b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    414: request("GET", "/" + "x" * 20_000),
    431: request("GET", "/", X_Long="x" * 70_000),
    417: request("POST", "/", b"x", Expect="a-miracle"),
}


@pytest.mark.parametrize(("status", "sent"), OTHERS.items(), ids=map(str, OTHERS))
async def test_what_is_too_much_or_unknown_has_a_status_of_its_own(child: Child, status: int, sent: bytes) -> None:
    """CONNECT, unknown versions and expectations, and oversized heads, are refused by name, and the connection ends."""
    async with await Client.connect(child.url) as client:
        client.send(sent)
        refused = await client.answer()
        assert (refused.status, refused.header("connection")) == (status, "close")


async def test_a_refused_pipeline_first_gets_its_earlier_answers(child: Child) -> None:
    """Good requests that stand before a malformed one are answered, in order; then comes the 400, then the end."""
    async with await Client.connect(child.url) as client:
        client.send(request("GET", "/") * 2 + b"oops\r\n\r\n")
        assert [(await client.answer()).status for _ in range(3)] == [200, 200, 400]
        assert await client.rest() == b""


async def test_refusals_are_counted_and_recorded_apart_from_requests(origin: Origin, tmp_path: Path) -> None:
    """A refusal is in backstay_bad_requests_total and in the trail, and is no request; the sidecar serves on."""
    async with sidecar(tmp_path, origin.url) as child:
        for sent in MALFORMED.values():
            assert (await ask(child.url, sent)).status == 400
        assert (await ask(child.url, request("GET", "/"))).status == 200
        counted = await child.settled()
    assert counted.total("backstay_bad_requests_total") == len(MALFORMED)
    assert counted.total("backstay_requests_total") == 1
    refusals = [line for line in child.lines() if line["operation"] == "bad-request"]
    assert [line["status"] for line in refusals] == [400] * len(MALFORMED)
    assert len(child.lines()) == len(MALFORMED) + 1


RUN = ("run", "--upstream", "http://127.0.0.1:1")
BROKEN_CONFIG = """
[listen]
adress = "127.0.0.1:0"
[upstreams.sessions]
url = "ftp://127.0.0.1"
[defaults]
total_timeout = "2 parsecs"
[[routes]]
operation = "load"
match = "/api/sessions"
colour = "blue"
"""
MISTAKES = ("listen.adress", "upstreams.sessions.url", "defaults.total_timeout", "routes[0].match", "colour")


@pytest.mark.parametrize("command", [("run", "--config"), ("check",)])
async def test_every_mistake_of_a_configuration_is_one_line(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Exit 2, a line for each mistake with its key path, no traceback and nothing else."""
    (tmp_path / "bad.toml").write_text(BROKEN_CONFIG)
    ended = await backstay(*command, "bad.toml", cwd=tmp_path)
    assert (ended.status, ended.out) == (2, "")
    lines = ended.err.splitlines()
    for mistake in MISTAKES:
        assert sum(mistake in line for line in lines) == 1, (mistake, lines)
    assert len(lines) == len(MISTAKES)
    assert "write address" in next(line for line in lines if "listen.adress" in line)


@pytest.mark.parametrize("text", ["[listen", "= 3"])
async def test_what_is_no_toml_is_one_line(tmp_path: Path, text: str) -> None:
    """A file that cannot be parsed is one line that names it."""
    (tmp_path / "bad.toml").write_text(text)
    ended = await backstay("run", "--config", "bad.toml", cwd=tmp_path)
    _assert_one_line(ended, 2, "bad.toml", "not TOML")


async def test_a_missing_file_and_a_missing_upstream_are_one_line(tmp_path: Path) -> None:
    """What was forgotten is named."""
    _assert_one_line(await backstay("run", "--config", "none.toml", cwd=tmp_path), 2, "none.toml")
    _assert_one_line(await backstay("run", cwd=tmp_path), 2, "upstream")


def _assert_one_line(ended: Ended, status: int, *words: str) -> None:
    assert (ended.status, ended.out) == (status, ""), ended
    (line,) = ended.err.splitlines()
    assert all(word in line for word in words), line


async def test_a_taken_proxy_port_is_one_line(tmp_path: Path) -> None:
    """Two sidecars do not share a port: the second says so, and which setting it is about."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = await backstay(*RUN, "--listen", address, "--admin", "127.0.0.1:0", cwd=tmp_path)
    _assert_one_line(ended, 1, f"cannot listen on {address}", "listen.address", "address already in use")


async def test_a_taken_admin_port_is_one_line_and_nothing_is_served(tmp_path: Path) -> None:
    """The control plane comes first: without it no client is let in."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended, served = await _knocked_at(tmp_path, "--admin", address)
    _assert_one_line(ended, 1, f"cannot listen on {address}", "admin.address", "address already in use")
    assert not served


@pytest.mark.parametrize("path", ["no/such/folder/audit.jsonl", "."])
async def test_an_unwritable_trail_is_one_line_and_nothing_is_served(tmp_path: Path, path: str) -> None:
    """A sidecar that could not write its trail does not start."""
    ended, served = await _knocked_at(tmp_path, "--admin", "127.0.0.1:0", audit__path=path)
    _assert_one_line(ended, 1, path)
    assert not served


async def test_a_trail_that_another_sidecar_writes_is_one_line_and_nothing_is_served(
    tmp_path: Path, origin: Origin
) -> None:
    """One file has one writer, or its chain would break."""
    async with sidecar(tmp_path, origin.url):
        ended, served = await _knocked_at(tmp_path, "--admin", "127.0.0.1:0")
    _assert_one_line(ended, 1, "audit.jsonl")
    assert not served


async def _knocked_at(folder: Path, *arguments: str, **settings: str) -> tuple[Ended, bool]:
    """Run a sidecar that cannot start, and knock at its proxy port all the while; tell whether anybody opened."""
    port, served = reserved_port(), False
    running = asyncio.ensure_future(backstay(*RUN, "--listen", f"127.0.0.1:{port}", *arguments, cwd=folder, **settings))
    while not running.done():
        served = await _opens(port) or served
        await CLOCK.sleep(0.002)
    return await running, served


async def _opens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True
