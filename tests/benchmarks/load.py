"""The load generator, on the core of the backend. Numbers increase across runs: no target is requested twice."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from math import nan
from pathlib import Path
from statistics import quantiles
from time import sleep
from typing import NamedTuple

from tests.benchmarks.backend import LARGE_TARGET, MIB, SMALL_TARGET
from tests.benchmarks.machine import found, pinned
from tests.benchmarks.running import Memory, Program
from tests.e2e.sidecar import environment

SCRIPT = Path(__file__).parent / "numbered.lua"
TIMEOUT_S = 60.0  # of a load program beyond its own time
PATIENCE = "10s"  # of wrk, for one answer
MANY = 1_000  # connections; so many take another second to open
LONG_S = 60  # longer than any turn


class Throughput(NamedTuple):
    """What wrk measured."""

    answered: int
    per_second: float
    p99_ms: float
    failed: int  # refused, broken off, or not answered in time


class Steady(NamedTuple):
    """What a program did while so many connections stood."""

    per_second: float
    cpu_us: float  # of one request
    memory: Memory
    failed: int


class Latency(NamedTuple):
    """What the open loop measured, in ms from the time at which each request was meant to be sent."""

    p50: float
    p99: float
    p999: float
    failed: int


class Crowd(NamedTuple):
    """Connections that stand, and how they came in."""

    answered: int
    took_ms: float  # from the first SYN to the last answer
    count_open: Callable[[], int]  # ends the visit


class Load:
    """Loads a program."""

    def __init__(self, core: int) -> None:
        self._core = core
        self._number = 0

    def wrk(
        self, program: Program, seconds: float, *, connections: int = 32, target: str = SMALL_TARGET, upload: int = 0
    ) -> Throughput:
        """Ask as fast as answers come."""
        with self._wrk(program, seconds, connections, 1_000, target, upload) as process:
            return self._told(process, connections)

    def crowded(
        self, program: Program, backend: Program, seconds: float, *, connections: int, subjects: int = 1_000
    ) -> Steady:
        """Ask as fast as answers come, and look at it only once all connections stand: the backend counts."""
        settle_s = 2 if connections >= MANY else 1
        with self._wrk(program, LONG_S, connections, subjects, SMALL_TARGET, 0) as process:
            sleep(settle_s)
            (before, began), cpu_s = backend.counted(), program.cpu_s()
            sleep(seconds)
            (after, ended), cpu_s = backend.counted(), program.cpu_s() - cpu_s
            memory = program.memory()
            process.send_signal(signal.SIGINT)  # then it ends and tells
            failed = self._told(process, connections).failed
        count = after - before
        return Steady(count / (ended - began), cpu_s / count * 1e6 if count else nan, memory, failed)

    def download(self, program: Program, seconds: float) -> Throughput:
        """Fetch bodies of one MiB."""
        return self.wrk(program, seconds, connections=8, target=LARGE_TARGET)

    def upload(self, program: Program, seconds: float) -> Throughput:
        """Send bodies of one MiB."""
        return self.wrk(program, seconds, connections=8, target=LARGE_TARGET, upload=MIB)

    def steady(self, program: Program, rate: float, seconds: float) -> Latency:
        """Ask at a fixed rate, whatever comes back."""
        command = self._python("open_loop", program.port, rate, seconds, self._number)
        with self._running(command) as process:
            said, _ = process.communicate(timeout=seconds + TIMEOUT_S)
        asked = int(rate * seconds)
        self._number += asked
        taken = json.loads(said) if process.returncode == 0 else []
        if len(taken) < 2:
            return Latency(nan, nan, nan, asked)
        cut = quantiles(taken, n=1000, method="inclusive")
        return Latency(cut[499], cut[989], cut[998], asked - len(taken))

    @contextmanager
    def crowd(self, program: Program, count: int, at_once: int) -> Iterator[Crowd]:
        """Open so many connections, ask once on each, and keep them until the block ends."""
        with self._running(self._python("crowd", program.port, count, at_once)) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            told = json.loads(process.stdout.readline())

            def count_open() -> int:
                return int(json.loads(process.communicate("\n", timeout=TIMEOUT_S)[0])["here"])

            yield Crowd(told["answered"], told["took_ms"], count_open)

    def _wrk(
        self, program: Program, seconds: float, connections: int, subjects: int, target: str, upload: int
    ) -> AbstractContextManager[subprocess.Popen[str]]:
        return self._running(
            (
                str(found("wrk")), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", PATIENCE,
                "-s", str(SCRIPT), program.url, "--", str(self._number), str(subjects), target, str(upload),
            )
        )  # fmt: skip

    def _told(self, process: subprocess.Popen[str], connections: int) -> Throughput:
        """Wait for wrk, and return what the script says at its end."""
        said, _ = process.communicate(timeout=TIMEOUT_S)
        if process.returncode != 0:  # nobody listens
            return Throughput(0, nan, nan, 1)
        told = json.loads(said.splitlines()[-1])
        self._number += told["answered"] + connections
        failed = told["refused"] + told["broken"] + told["late"]
        good = told["answered"] - told["refused"]
        return Throughput(good, good / told["seconds"], told["p99_ms"], failed)

    def _python(self, module: str, *arguments: object) -> tuple[str, ...]:
        return (sys.executable, "-m", f"tests.benchmarks.{module}", *map(str, arguments))

    @contextmanager
    def _running(self, command: tuple[str, ...]) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            pinned(self._core, command), env=environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=TIMEOUT_S)
