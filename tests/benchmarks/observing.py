"""Measure the cost of metrics and traces: `python -m tests.benchmarks.observing [ROUNDS]`.

It wants `wrk`, and makes both builds for the run. Two kinds of load: plain requests, and restorations with traces,
which are the dearest there are. Both sidecars of a build stand before one upstream and take turns, because others use
this machine too; each round measures requests a second and, less shaken by neighbours, requests per second of the
sidecar's own CPU time.
"""

import argparse
import asyncio
import re
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple, cast

import aiohttp
import psutil
import uvloop

from proxy.cli.run import run
from proxy.demo.sidecar_process import READY
from proxy.exchange.state import Exchange
from proxy.observe.metrics import Metrics
from proxy.observe.observer import Observer
from tests.benchmarks import builds
from tests.benchmarks.builds import Build, BuildError

SECONDS = 3
CONNECTIONS = 32
COUNTED = ("coalesced", "attempted", "retried", "retry_denied", "retried_request", "rejected", "recovered", "finished")
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"messages":[1]}'
CONFIG = """\
[[routes]]
operation = "session-load"
match = "GET /api/sessions/{report_id}"
upstream = "sessions"
subject = "path:report_id"
[[routes]]
operation = "history"
match = "GET /api/conversations/{report_id}/history"
upstream = "sessions"
subject = "path:report_id"
restoration = "history"
[[routes]]
operation = "status"
match = "GET /api/conversations/{report_id}/status"
upstream = "sessions"
subject = "path:report_id"
restoration = "status"
"""
LOADS = {
    "plain": """\
local n = 0
request = function()
  n = n + 1
  return wrk.format("GET", "/api/sessions/val_" .. n % 5000, {["Authorization"] = "Bearer anna"})
end
""",
    "restorations": """\
local n = 0
request = function()
  n = n + 1
  local half = n % 2 == 0 and "history" or "status"
  return wrk.format("GET", "/api/conversations/val_" .. math.floor(n / 2) % 5000 .. "/" .. half,
    {["Authorization"] = "Bearer anna", ["traceparent"] = string.format("00-%032x-%016x-01", n, n)})
end
""",
}


class Figure(NamedTuple):
    """One round's throughput, by the clock and by the sidecar's own CPU time."""

    per_second: float
    per_cpu_second: float


class Upstream(asyncio.Protocol):
    """Answer whatever comes, at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's own are no subclasses

    def data_received(self, data: bytes) -> None:
        self._transport.write(ANSWER * data.count(b"\r\n\r\n"))


def serve_unwatched(config: str) -> None:
    """Run a sidecar whose counting does nothing and whose ledger has no observer before it."""
    for name in COUNTED:
        setattr(Metrics, name, lambda *_: None)

    def record(observer: Observer, exchange: Exchange) -> None:
        observer._ledger.record(exchange)

    setattr(Observer, "record", record)  # noqa: B010 - a method is replaced, which an assignment may not say
    sys.exit(run(Path(config), None, None, None))


async def round_of(url: str, process: psutil.Process, script: Path) -> Figure:
    """Load a sidecar for a few seconds."""
    before = process.cpu_times()
    wrk = await asyncio.create_subprocess_exec(
        "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(script), url, stdout=asyncio.subprocess.PIPE
    )
    said = (await wrk.communicate())[0].decode()
    after = process.cpu_times()
    assert "Non-2xx" not in said, said
    count, seconds = re.search(r"(\d+) requests in ([\d.]+)s", said).groups()  # type: ignore[union-attr]  # it says so
    cpu_s = after.user + after.system - before.user - before.system
    return Figure(int(count) / float(seconds), int(count) / cpu_s)


class Running(NamedTuple):
    """A sidecar's process, and where it listens."""

    process: asyncio.subprocess.Process
    url: str
    admin: str


async def compare(build: Build, folder: Path, rounds: int) -> None:
    """Let both sidecars of a build take turns under each load."""
    loop = asyncio.get_running_loop()
    upstream = await loop.create_server(Upstream, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}"
    (folder / "backstay.toml").write_text(CONFIG)
    kinds = {
        "watched": (build.program("backstay"), "run", "--config"),
        "unwatched": (build.program("python"), "-m", "tests.benchmarks.observing", "serve"),
    }
    running = {kind: await _start(build, folder, kind, url, command) for kind, command in kinds.items()}
    for load, text in LOADS.items():
        script = folder / f"{load}.lua"
        script.write_text(text)
        figures: dict[str, list[Figure]] = {kind: [] for kind in kinds}
        for _ in range(rounds):
            for kind, (process, address, _) in running.items():
                figures[kind].append(await round_of(address, psutil.Process(process.pid), script))
        show(f"{build.name}: {load}", figures)
    counted = [await _counts(sidecar.admin) for sidecar in running.values()]
    for process, *_ in running.values():
        process.terminate()
        await process.wait()
    if counted != [True, False]:
        raise BuildError(f"{build.name}: the sidecars are not what they are called: counting is {counted}")


async def _counts(admin: str) -> bool:
    """Tell whether a sidecar's metrics have a request."""
    async with aiohttp.ClientSession() as session, session.get(f"{admin}/metrics") as answer:
        return "\nbackstay_requests_total{" in await answer.text()


def show(load: str, figures: dict[str, list[Figure]]) -> None:
    """Print the medians and their ratios."""
    for field in Figure._fields:
        on, off = (median(getattr(figure, field) for figure in of_kind) for of_kind in figures.values())
        print(f"{load}, {field}: watched {on:,.0f}, unwatched {off:,.0f}, ratio {on / off:.3f}", flush=True)


async def _start(build: Build, folder: Path, kind: str, upstream: str, command: tuple[str, ...]) -> Running:
    own = folder / kind
    await asyncio.to_thread(own.mkdir)
    settings = {
        "listen__address": "127.0.0.1:0", "admin__address": "127.0.0.1:0", "listen__drain_delay": "0s",
        "upstreams__sessions__url": upstream, "audit__path": "/dev/null",
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *command, str(folder / "backstay.toml"), cwd=own, env=build.environment(**settings),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    ready = READY.search((await process.stdout.readline()).decode())
    assert ready is not None
    return Running(process, ready[1], ready[2])


def main() -> int:
    """Compare for so many rounds; `serve FILE` runs the one that counts nothing."""
    if sys.argv[1:2] == ["serve"]:
        serve_unwatched(sys.argv[2])
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.observing", description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=5)
    builds.add_option(parser)
    options = parser.parse_args()
    with TemporaryDirectory(prefix="backstay-bench-") as folder:
        try:
            for build in builds.make(options.builds, Path(folder)):
                with TemporaryDirectory(dir=folder) as own:
                    uvloop.run(compare(build, Path(own), options.rounds))
        except BuildError as error:
            print(f"benchmarks: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
