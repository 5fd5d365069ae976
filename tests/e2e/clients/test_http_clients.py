"""Independent HTTP clients work through the sidecar as without it."""

import asyncio
import http.client
import shutil

import aiohttp
import pytest

from tests.e2e.sidecar import Child

LARGE = b"0123456789abcdef" * 131_072  # 2 MiB


async def curl(*arguments: str, said: bytes = b"") -> bytes:
    """Run curl, and return what it printed."""
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed (apt-get install curl)")
    process = await asyncio.create_subprocess_exec(
        *(program, "-sS", "--max-time", "200", *arguments),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate(said)
    assert process.returncode == 0, err
    return out


async def test_curl_gets_and_posts(child: Child) -> None:
    """Small and large, with a length and in chunks, and with the 100 that curl waits for."""
    assert await curl(f"{child.url}/echo", "-d", "small") == b"small"
    assert await curl(f"{child.url}/echo", "--data-binary", "@-", "-H", "Expect: 100-continue", said=LARGE) == LARGE
    assert await curl(f"{child.url}/echo", "-T", "-", "-H", "Transfer-Encoding: chunked", said=LARGE) == LARGE


async def test_curl_speaks_the_old_protocol_and_offers_the_new(child: Child) -> None:
    """HTTP/1.0 gets its answer, and an offer of HTTP/2 in clear text is passed over."""
    assert await curl("--http1.0", f"{child.url}/echo", "-d", "old") == b"old"
    assert await curl("--http2", f"{child.url}/echo", "-d", "new") == b"new"


async def test_curl_reads_events_as_they_come(child: Child) -> None:
    """All of them, and then the end."""
    assert await curl("-N", f"{child.url}/events") == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"


async def test_curl_asks_for_the_head_and_reuses_its_connection(child: Child) -> None:
    """HEAD has no body, and the next request goes out on the same connection."""
    said = await curl(
        "-I", f"{child.url}/echo", "--next", "-sS", "-w", "%{num_connects}", f"{child.url}/echo", "-d", "x"
    )
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert said.endswith(b"x0")


async def test_http_client_keeps_its_connection(child: Child) -> None:
    """Python's own client asks ten times on one connection."""
    host, _, port = child.url.removeprefix("http://").partition(":")

    def converse() -> list[bytes]:
        connection = http.client.HTTPConnection(host, int(port), timeout=200)
        heard = []
        for number in range(10):
            connection.request("POST", "/echo", body=b"%d" % number)
            heard.append(connection.getresponse().read())
        connection.request("POST", "/echo", body=iter([b"in ", b"chunks"]), encode_chunked=True)
        heard.append(connection.getresponse().read())
        connection.close()
        return heard

    assert await asyncio.to_thread(converse) == [*(b"%d" % number for number in range(10)), b"in chunks"]


async def test_aiohttp_asks_many_things_at_once(child: Child) -> None:
    """Uploads, downloads and a WebSocket through one session."""
    async with aiohttp.ClientSession(child.url) as session:

        async def echo(number: int) -> bytes:
            async with session.post("/echo", data=b"%d" % number * 1000) as answer:
                return await answer.read()

        assert await asyncio.gather(*(echo(number) for number in range(50))) == [b"%d" % n * 1000 for n in range(50)]
        async with session.ws_connect("/socket", compress=15) as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"
            await socket.close(code=4321)
            assert socket.close_code == 1000  # what aiohttp's server answers, whatever it was told
