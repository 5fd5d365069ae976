"""The benchmark's instruments work: its backend, its loads and its accounting."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from time import sleep

import orjson
import pytest
import pytest_asyncio

from tests.benchmarks import open_loop, principals
from tests.benchmarks.backend import BODY, MIB, Backend
from tests.benchmarks.running import Program
from tests.e2e.sidecar import environment
from tests.ports import reserved_port

RATE = 200.0
STALL_S = 0.2


@pytest_asyncio.fixture
async def port() -> AsyncIterator[int]:
    """Serve the benchmark's backend."""
    server = await asyncio.get_running_loop().create_server(Backend, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


async def send(port: int, *segments: bytes, until: bytes = BODY) -> bytes:
    """Send these segments one by one, and return what comes until `until` has."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2 * MIB)
    for segment in segments:
        writer.write(segment)
        await writer.drain()
        await asyncio.sleep(0.01)  # noqa: TID251 - so that it is a segment of its own
    answer = await reader.readuntil(until)
    writer.close()
    return answer


@pytest.mark.parametrize(
    "segments",
    [
        (b"GET /api/sessions/a?n=1 HTTP/1.1\r\nHost: a\r\n\r\n",),
        (b"GET /api/sess", b"ions/a?n=1 HTTP/1.1\r\nHost: a\r\n\r", b"\n"),
        (b"PUT /files/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345", b"67890"),
        (b"PUT /files/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n", b"0\r\n\r\n"),
    ],
    ids=["whole", "split head", "length", "chunks"],
)
async def test_the_backend_answers_once_the_request_is_whole(port: int, segments: tuple[bytes, ...]) -> None:
    """However the proxy frames or cuts it; and not before."""
    answer = await send(port, *segments)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.count(BODY) == 1


async def test_the_backend_sends_a_mebibyte(port: int) -> None:
    """To a GET of a file."""
    answer = await send(port, b"GET /files/7?n=1 HTTP/1.1\r\nHost: a\r\n\r\n", until=b"x" * MIB)
    assert b"Content-Length: 1048576\r\n" in answer


async def test_the_open_loop_keeps_its_rate(port: int) -> None:
    """So many requests in so many seconds, each with its latency."""
    taken = await asyncio.to_thread(open_loop.run, port, RATE, 0.5, 0)
    assert len(taken) == RATE * 0.5
    assert min(taken) > 0


async def test_a_stall_is_told_by_all_that_were_meant_to_be_sent_in_it(port: int) -> None:
    """Not by the one request that happened to be under way: of 200 ms, 40 requests at 200 a second waited."""
    asyncio.get_running_loop().call_later(0.3, sleep, STALL_S)  # the backend's own loop
    taken = await asyncio.to_thread(open_loop.run, port, RATE, 1.0, 0)
    late = [waited for waited in taken if waited > STALL_S * 1000 / 4]
    assert len(taken) == RATE
    assert len(late) >= RATE * STALL_S / 2
    assert max(late) > STALL_S * 1000 - 5
    assert max(late) - min(late) > STALL_S * 1000 / 4  # each counts from its own time


def test_a_program_is_accounted_for_with_its_children_and_leaves_nobody(tmp_path: Path) -> None:
    """Its start is timed until it answers, its CPU and memory count, and its end is the end of all."""
    port, core = reserved_port(), min(os.sched_getaffinity(0))
    command = (sys.executable, "-m", "tests.benchmarks.backend", str(port))
    program = Program.start("backend", command, port, core=core, folder=tmp_path, environment=environment())
    try:
        assert program.ready_s > 0
        assert program.cpu_s() > 0
        assert 1 < program.memory().pss <= program.memory().rss
    finally:
        program.stop()
    broken = (sys.executable, "-m", "no-such-module")
    with pytest.raises(RuntimeError, match=r"broken did not start: .*no-such-module"):
        Program.start("broken", broken, port, core=core, folder=tmp_path, environment=environment())


@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="the benchmark needs two cores")
async def test_the_command_measures_reports_and_leaves_nothing(tmp_path: Path) -> None:
    """Beside one peer, as quickly as can be; a report and every round are written."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks", "--quick", "--only", "start-up", "throughput", "latency"),
        *("--builds", "plain", "--peers", "naive aiohttp", "--report", "report.md", "--save", "rounds.json"),
        cwd=tmp_path, env=environment(TMPDIR=str(tmp_path)), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    report = await asyncio.to_thread((tmp_path / "report.md").read_text)
    assert "| **Backstay, plain**" in report
    assert "| naive aiohttp" in report
    rounds = orjson.loads(await asyncio.to_thread((tmp_path / "rounds.json").read_bytes))
    assert rounds["figures"]["throughput"]["rounds"]["Backstay, plain"][0] > 0
    assert sorted(os.listdir(tmp_path)) == ["report.md", "rounds.json"]  # noqa: PTH208 - an async function may not


def test_the_cost_of_a_verified_token_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """Each way of a token has its line. How much it says depends on the machine."""
    principals.measure(1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert all(line.endswith(" µs") for line in lines[1:])
