"""A measured process: started on its core, awaited, measured, and ended by its id."""

import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter, sleep
from typing import NamedTuple

import psutil

from tests.benchmarks.backend import SMALL_TARGET
from tests.benchmarks.machine import pinned

READY_WITHIN_S = 30.0
STOPPED_WITHIN_S = 10.0
ANSWERED_WITHIN_S = 10.0
PROBE_EVERY_S = 0.002
PROBE = f"GET {SMALL_TARGET % (0, 0)} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
COUNT = b"GET /count HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


class Memory(NamedTuple):
    """MiB of a process and all its children."""

    pss: float  # pages that several processes share count once
    rss: float


class Program:
    """A server on a port, and every process it starts."""

    def __init__(self, name: str, port: int, process: subprocess.Popen[bytes], said: Path) -> None:
        self.name = name
        self.port = port
        self.ready_s = 0.0
        self._process = process
        self._said = said

    @classmethod
    def start(
        cls, name: str, command: tuple[str, ...], port: int, *, core: int, folder: Path, environment: Mapping[str, str]
    ) -> "Program":
        """Start it and wait until it answers a request with 200. Raises `RuntimeError` with its last words."""
        said = folder / "said.log"
        began = perf_counter()
        with said.open("ab") as out:
            process = subprocess.Popen(
                pinned(core, command), cwd=folder, env=environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        program = cls(name, port, process, said)
        try:
            while not program._answers():
                if process.poll() is not None or perf_counter() - began > READY_WITHIN_S:
                    raise RuntimeError(f"{name} did not start: {program.last_words()}")
                sleep(PROBE_EVERY_S)
        except BaseException:
            program.stop()
            raise
        program.ready_s = perf_counter() - began
        return program

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def counted(self) -> tuple[int, float]:
        """Return how many requests the backend has answered so far, and its clock when it said so."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=ANSWERED_WITHIN_S) as asker:
            asker.sendall(COUNT)
            count, at = asker.recv(65536).partition(b"\r\n\r\n")[2].split()
        return int(count), float(at)

    def cpu_s(self) -> float:
        """Return the CPU seconds, of user and system, that it has used."""
        return sum(sum(process.cpu_times()[:2]) for process in self._tree())

    def memory(self) -> Memory:
        """Return what it occupies now."""
        full = [process.memory_full_info() for process in self._tree()]
        return Memory(sum(info.pss for info in full) / 2**20, sum(info.rss for info in full) / 2**20)

    def last_words(self) -> str:
        """Return the end of what it said."""
        return self._said.read_text(errors="replace")[-500:].strip()

    def stop(self) -> None:
        """End it, kindly at first."""
        self._process.terminate()
        try:
            self._process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)  # it leads a session of its own
            self._process.wait()

    def _tree(self) -> list[psutil.Process]:
        root = psutil.Process(self._process.pid)
        return [root, *root.children(recursive=True)]

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as probe:
                probe.sendall(PROBE)
                return probe.recv(65536).startswith(b"HTTP/1.1 200 ")
        except OSError:
            return False
