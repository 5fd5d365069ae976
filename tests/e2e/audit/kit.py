"""A backend, a sidecar process and clients for the audit tests, all of which survive a kill -9 of the sidecar."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest

from proxy.audit.checkpoint import read
from proxy.audit.files import lines, trails
from proxy.audit.verify import Finding, Proof, verify
from proxy.clock import SystemClock
from tests.e2e.sidecar import PATIENCE, PATIENT, READY, environment

CLOCK = SystemClock()
PATIENCE_S = PATIENCE
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip a test, by name, where a program is not installed."""
    missing = [program for program in programs if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


class Backend:
    """Answer every request with 200 and two bytes; `/stream` in chunks. It counts what reaches it."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,))
        self._thread.start()
        assert started.wait(PATIENCE_S)

    def close(self) -> None:
        """Stop, and wait for the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self, started: threading.Event) -> None:
        server = self._loop.run_until_complete(self._loop.create_server(lambda: _Answering(self.calls), "127.0.0.1", 0))
        self.url = "http://{}:{}".format(*server.sockets[0].getsockname())
        started.set()
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(server.wait_closed())
        self._loop.close()


class _Answering(asyncio.Protocol):
    def __init__(self, calls: list[bytes]) -> None:
        self._calls = calls
        self._read = b""
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(HEAD_END)) >= 0:
            length = LENGTH.search(self._read[:end])
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._read) < whole:
                return
            request, self._read = self._read[:whole], self._read[whole:]
            self._calls.append(request)
            self._transport.write(CHUNKS if request.startswith(b"GET /stream") else OK)


@dataclass
class Running:
    """A sidecar process."""

    process: subprocess.Popen[str]
    folder: Path
    url: str = ""
    admin: str = ""

    @property
    def trail(self) -> Path:
        """Where it writes."""
        return self.folder / "audit.jsonl"

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it as an operator does, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@contextmanager
def running(folder: Path, backend: Backend, prefix: Sequence[str] = (), **settings: str) -> Iterator[Running]:
    """Run `backstay` with these settings (`audit__durability="strict"`), under a prefix such as strace."""
    ours = {
        "listen__address": "127.0.0.1:0", "listen__drain_delay": "0s", "admin__address": "127.0.0.1:0",
        "upstreams__sessions__url": backend.url, "audit__path": str(folder / "audit.jsonl"),
    }  # fmt: skip
    given = environment(**PATIENT | ours | settings)
    with (folder.parent / f"{folder.name}.stderr").open("ab") as said:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "proxy", "run"], env=given, cwd=folder.parent,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, text=True,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        ready = READY.search(process.stdout.readline())
        assert ready, (folder.parent / f"{folder.name}.stderr").read_text()
        yield Running(process, folder, ready[1], ready[2])
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()


@dataclass
class Client:
    """One keep-alive connection that asks one thing after another; `answered` has each id with its status and time."""

    url: str
    answered: dict[str, tuple[int, float]] = field(default_factory=dict)
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, target: str, ident: str) -> int:
        """Return the status, once the whole answer is here. Raises OSError or EOFError if it never will be."""
        if self._streams is None:
            address = urlsplit(self.url)
            self._streams = await asyncio.open_connection(address.hostname, address.port)
        reader, writer = self._streams
        body = "" if method == "GET" else "Content-Length: 2\r\n"
        head = f"{method} {target} HTTP/1.1\r\nHost: app\r\nX-Correlation-ID: {ident}\r\n{body}\r\n"
        writer.write(head.encode() + (b"{}" if body else b""))
        got = await reader.readuntil(HEAD_END)
        length = LENGTH.search(got)
        await (reader.readexactly(int(length[1])) if length else reader.readuntil(b"0\r\n\r\n"))
        status = int(got[9:12])
        self.answered[ident] = (status, CLOCK.now())
        return status

    def close(self) -> None:
        """Leave."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def load(url: str, connections: int, until: asyncio.Event, name: str) -> dict[str, tuple[int, float]]:
    """Ask over many connections, reads and writes in turn, until told to stop or cut off; return what was answered."""
    answered: dict[str, tuple[int, float]] = {}

    async def one(number: int) -> None:
        client, count = Client(url, answered), 0
        try:
            while not until.is_set():
                count += 1
                method = "POST" if count % 2 else "GET"
                await client.ask(method, f"/api/sessions?n={number}-{count}", f"{name}-{number}-{count}")
        except (OSError, EOFError):
            return  # the sidecar was killed, which is the point
        finally:
            client.close()

    await asyncio.gather(*(one(number) for number in range(connections)))
    return answered


def found(trail: Path) -> Finding:
    """Return what the verifier says of a trail and its rotated files, beside its checkpoints if there are any yet."""
    (whole,) = trails(trail)
    checkpoints = trail.with_name(f"{trail.name}.checkpoints")
    return verify(lines(whole.files), proof=Proof(read(checkpoints) if checkpoints.exists() else ()))


def recorded(trail: Path) -> list[dict[str, object]]:
    """Return the records of requests in a trail and its rotated files; an unfinished last line is none."""
    (whole,) = trails(trail)
    documents = (orjson.loads(line.data) for line in lines(whole.files) if line.data.endswith(b"\n"))
    return [fields for fields in documents if "method" in fields and "note" not in fields]
