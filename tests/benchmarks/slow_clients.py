"""Measure 10,000 clients that send one byte every ten seconds, beside normal traffic.

`python -m tests.benchmarks.slow_clients [--slow 10000]` prints one table, and exits with 1 if a promise is broken:
normal traffic's p99 at most doubles, memory stays under 200 MiB, every slow client gets its 408 at its time.
"""

import argparse
import asyncio
import json
import resource
import sys
import tempfile
from pathlib import Path
from statistics import quantiles
from time import perf_counter

import psutil
import uvloop

HEAD_TIMEOUT_S = 30.0
BETWEEN_BYTES_S = 10.0
NORMAL_CLIENTS = 4
NORMAL_RATE = 50  # requests a second of each
MEASURED_S = 12.0
EARLY_S = 0.25  # one sweep: connections know the time no finer
LATE_S = 2.0  # of a 408, with a sweep of 250 ms and 10,000 answers at once
MEMORY_MIB = 200
REQUEST = b"GET /normal HTTP/1.1\r\nHost: a\r\n\r\n"
SLOW_HEAD = b"GET /slow HTTP/1.1\r\nHost: a\r\nX-Padding: " + b"x" * 100
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"y" * 100


class Backend(asyncio.Protocol):
    """Answers everything at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(ANSWER * data.count(b"\r\n\r\n"))  # type: ignore[attr-defined]  # a BaseTransport


class SlowClient(asyncio.Protocol):
    """Says one byte, waits, says the next, and takes down when it was answered."""

    def __init__(self, done: asyncio.Queue[tuple[float, bytes]]) -> None:
        self._done = done
        self._said = 0
        self._began = 0.0
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._began = perf_counter()
        self._speak()

    def _speak(self) -> None:
        if self._answer or self._transport.is_closing():
            return
        self._transport.write(SLOW_HEAD[self._said : self._said + 1])  # type: ignore[attr-defined]  # a BaseTransport
        self._said += 1
        asyncio.get_running_loop().call_later(BETWEEN_BYTES_S, self._speak)

    def data_received(self, data: bytes) -> None:
        if not self._answer:
            self._done.put_nowait((perf_counter() - self._began, data[9:12]))
        self._answer += data

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._answer:
            self._done.put_nowait((perf_counter() - self._began, b"cut"))
            self._answer = b"cut"


async def be_slow(port: int, count: int) -> None:
    """Open `count` slow connections, spread over `BETWEEN_BYTES_S`; print how each ended."""
    loop, done = asyncio.get_running_loop(), asyncio.Queue[tuple[float, bytes]]()
    for number in range(count):
        await loop.create_connection(lambda: SlowClient(done), "127.0.0.1", port)
        if number % 50 == 49:
            await asyncio.sleep(50 * BETWEEN_BYTES_S / count)  # noqa: TID251 - a benchmark runs in real time
    print("open", flush=True)
    print(json.dumps([(waited, status.decode()) for waited, status in [await done.get() for _ in range(count)]]))


async def ask(port: int, for_s: float, taken: list[float]) -> None:
    """Ask at a steady rate on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    until = perf_counter() + for_s
    while perf_counter() < until:
        began = perf_counter()
        writer.write(REQUEST)
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(100)
        taken.append(perf_counter() - began)
        await asyncio.sleep(1 / NORMAL_RATE)  # noqa: TID251 - a benchmark runs in real time
    writer.close()


async def normal(port: int) -> tuple[float, float]:
    """Return p50 and p99 of normal traffic in ms."""
    taken: list[float] = []
    await asyncio.gather(*(ask(port, MEASURED_S, taken) for _ in range(NORMAL_CLIENTS)))
    cut = quantiles(taken, n=100)
    return cut[49] * 1000, cut[98] * 1000


async def run(count: int) -> bool:
    """Measure alone, then beside the slow clients, and tell whether every promise was kept."""
    server = await asyncio.get_running_loop().create_server(Backend, "127.0.0.1", 0)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.toml"
        config.write_text(
            f'[listen]\naddress = "127.0.0.1:0"\nhead_timeout = "{HEAD_TIMEOUT_S:g}s"\ndrain_delay = "0s"\n'
            '[admin]\naddress = "127.0.0.1:0"\n[upstreams.b]\n'
            f'url = "http://127.0.0.1:{server.sockets[0].getsockname()[1]}"\n'
        )
        sidecar = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy", "run", "--config", str(config)), stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert sidecar.stdout is not None
        port = int((await sidecar.stdout.readline()).split()[3].rpartition(b":")[2])
        try:
            return await measure(port, psutil.Process(sidecar.pid), count)
        finally:
            sidecar.terminate()
            await sidecar.wait()
            server.close()


async def measure(port: int, sidecar: psutil.Process, count: int) -> bool:
    """Print the table, and tell whether every promise was kept."""
    await normal(port)  # warm
    alone_p50, alone_p99 = await normal(port)
    slow = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.slow_clients", "--be-slow", str(port), "--slow", str(count)),
        stdout=asyncio.subprocess.PIPE, limit=2**24,
    )  # fmt: skip
    assert slow.stdout is not None
    await slow.stdout.readline()
    beside_p50, beside_p99 = await normal(port)
    memory = sidecar.memory_info().rss / 2**20
    open_ = sidecar.num_fds()
    endings = json.loads(await slow.stdout.readline())
    await slow.wait()
    memory = max(memory, sidecar.memory_info().rss / 2**20)
    waits = sorted(waited for waited, _ in endings)
    first, last = HEAD_TIMEOUT_S - EARLY_S, HEAD_TIMEOUT_S + LATE_S
    wrong = [status for waited, status in endings if status != "408" or not first <= waited <= last]
    print(f"normal traffic alone     p50 {alone_p50:6.2f} ms  p99 {alone_p99:6.2f} ms")
    print(f"beside {count} slow clients p50 {beside_p50:6.2f} ms  p99 {beside_p99:6.2f} ms")
    print(f"memory {memory:.0f} MiB, {open_} descriptors")
    print(
        f"408 after {waits[0]:.2f} to {waits[-1]:.2f} s; {len(wrong)} of {count} ended otherwise: {set(wrong) or '-'}"
    )
    return beside_p99 <= 2 * alone_p99 and memory < MEMORY_MIB and not wrong


def main() -> int:
    """Read the command line, raise the limit on descriptors, run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slow", type=int, default=10_000)
    parser.add_argument("--be-slow", type=int, metavar="PORT")
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if arguments.be_slow is not None:
        uvloop.run(be_slow(arguments.be_slow, arguments.slow))
        return 0
    return 0 if uvloop.run(run(arguments.slow)) else 1


if __name__ == "__main__":
    sys.exit(main())
