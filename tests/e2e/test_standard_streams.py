"""A sidecar whose standard streams are unread, full or closed serves and exits normally."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import combinations
from pathlib import Path

import psutil
import pytest

from proxy.clock import SystemClock
from proxy.demo.sidecar_process import COMMAND
from tests.e2e.raw import Client, Origin, answer, ask, request
from tests.e2e.sidecar import PATIENCE, PATIENT, READY_WITHIN, STOPPED_WITHIN, backstay, environment

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOSING = {0: "<&-", 1: ">&-", 2: "2>&-"}
_clock = SystemClock()


class Muted:
    """A sidecar that says nothing to us: its socket is known beforehand, and its admin port is what it listens on."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self.url = f"unix:{folder / 'proxy.sock'}"
        self.admin = ""

    async def started(self) -> None:
        """Wait until it listens."""
        async with asyncio.timeout(READY_WITHIN):
            while not await self._serves():
                assert self.process.returncode is None
                await _clock.sleep(0.02)
        listening = psutil.Process(self.process.pid).net_connections("inet4")
        self.admin = f"http://127.0.0.1:{listening[0].laddr.port}"

    async def _serves(self) -> bool:
        try:
            async with await Client.connect(self.url):
                return True
        except OSError:
            return False

    async def metric(self, name: str) -> float:
        """Return one figure from /metrics."""
        text = (await ask(self.admin, request("GET", "/metrics", Host="localhost"))).body.decode()
        return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])

    async def stop(self) -> int:
        """Ask it to end, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOPPED_WITHIN + PATIENCE):
            return await self.process.wait()


@asynccontextmanager
async def muted(
    folder: Path, upstream: str, out: int, error: int, closed: tuple[int, ...] = (), audit: str = "audit.jsonl"
) -> AsyncIterator[Muted]:
    """Run a sidecar with these for its standard output and error, or without the `closed` ones."""
    settings = {
        "listen__address": f"unix:{folder / 'proxy.sock'}", "listen__drain_delay": "0s",
        "admin__address": "127.0.0.1:0", "upstreams__a__url": upstream, "audit__path": audit,
    }  # fmt: skip
    script = " ".join(('exec "$@"', *(CLOSING[number] for number in closed)))
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", script, "sh", *COMMAND, "run", cwd=folder, env=environment(**PATIENT | settings),
        stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=error,
    )  # fmt: skip
    try:
        sidecar = Muted(process, folder)
        await sidecar.started()
        yield sidecar
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """Give the writing end of a pipe that takes no byte more, and that nobody reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    yield writing
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("unread", [1, 2, 3], ids=["output", "error", "both"])
async def test_nobody_reads(origin: Origin, tmp_path: Path, full_pipe: int, unread: int) -> None:
    """A full pipe blocks whoever writes into it: neither a request, nor a health check, nor the end waits for that."""
    origin.on("/", answer(b"ok"))
    out, error = (full_pipe if unread & 1 else asyncio.subprocess.DEVNULL), full_pipe if unread & 2 else 2
    async with muted(tmp_path, origin.url, out, error) as sidecar:
        for _ in range(3):
            sidecar.process.send_signal(signal.SIGHUP)  # a line each
            assert (await ask(sidecar.url, request("GET", "/"))).status == 200
        assert (await ask(sidecar.admin, request("GET", "/healthz", Host="localhost"))).status == 200
        assert await sidecar.stop() == 0


async def test_nobody_reads_the_trail(origin: Origin, tmp_path: Path, full_pipe: int) -> None:
    """A trail on a standard output that is full: requests are answered, records wait, and the end gives up on them."""
    origin.on("/", answer(b"ok"))
    async with muted(tmp_path, origin.url, full_pipe, asyncio.subprocess.PIPE, audit="-") as sidecar:
        for _ in range(3):
            assert (await ask(sidecar.url, request("GET", "/"))).status == 200
        assert await sidecar.metric("backstay_audit_queue") == 3
        assert await sidecar.stop() == 0
        assert sidecar.process.stderr is not None
        said = (await sidecar.process.stderr.read()).decode()
    assert '"audit_records_lost"' in said
    assert '"gaps": 3' in said.splitlines()[-1]


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
async def test_what_takes_nothing_costs_the_lines_and_is_counted(origin: Origin, tmp_path: Path) -> None:
    """A log on a full disk, or whose reader left: the metric tells, and nothing else."""
    origin.on("/", answer(b"ok"))
    full = os.open("/dev/full", os.O_WRONLY)
    async with muted(tmp_path, origin.url, full, full) as sidecar:
        os.close(full)
        async with asyncio.timeout(PATIENCE):
            while not await sidecar.metric("backstay_log_lines_dropped_total"):
                await _clock.sleep(0.02)
        assert (await ask(sidecar.url, request("GET", "/"))).status == 200
        assert await sidecar.stop() == 0


@pytest.mark.parametrize(
    "closed", [group for size in (1, 2, 3) for group in combinations((0, 1, 2), size)], ids=lambda group: str(group)
)
async def test_closed_descriptors_are_nobody_elses(origin: Origin, tmp_path: Path, closed: tuple[int, ...]) -> None:
    """No socket gets the number of a standard stream: it would be written to, and libuv aborts where it is closed."""
    origin.on("/", answer(b"ok"))
    null = asyncio.subprocess.DEVNULL
    async with muted(tmp_path, origin.url, null, null, closed) as sidecar:
        assert (await ask(sidecar.url, request("GET", "/"))).body == b"ok"
        assert not set(closed) & _sockets(sidecar.process.pid)
        assert await sidecar.stop() == 0


def _sockets(pid: int) -> set[int]:
    return {connection.fd for connection in psutil.Process(pid).net_connections("all")}


async def test_a_trail_cannot_go_to_a_closed_standard_output(tmp_path: Path) -> None:
    """It would be lost without a word: the start is refused, in one line with the cure."""
    script = 'exec "$@" >&-'
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", script, "sh", *COMMAND, "run", "--upstream", "http://127.0.0.1:1", "--listen", "127.0.0.1:0",
        cwd=tmp_path, env=environment(audit__path="-", admin__address="127.0.0.1:0"), stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(READY_WITHIN):
        _, error = await process.communicate()
    assert process.returncode == 1
    assert (
        error.decode() == "backstay: audit trail -: standard output is closed: open it, or set audit.path to a file\n"
    )


async def test_a_command_whose_output_is_closed_fails_at_nothing_else(tmp_path: Path) -> None:
    """`backstay check file >&-` still checks."""
    (tmp_path / "c.toml").write_text('[upstreams.a]\nurl = "http://127.0.0.1:1"\n')
    assert (await backstay("check", "c.toml", cwd=tmp_path)).status == 0
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", 'exec "$@" >&- 2>&-', "sh", *COMMAND, "check", "c.toml", cwd=tmp_path, env=environment()
    )
    async with asyncio.timeout(READY_WITHIN):
        assert await process.wait() == 0
