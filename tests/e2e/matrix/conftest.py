"""A sidecar in this process, in front of a scripted backend; everything over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from proxy.app import Sidecar
from proxy.config.load import load
from tests.e2e.matrix.scripted import ScriptedBackend

Record = dict[str, object]


@dataclass
class Running:
    """A sidecar under test and what it left in its trail."""

    sidecar: Sidecar
    audit: Path

    @property
    def port(self) -> int:
        """Return the port that clients use."""
        return int(self.sidecar.url.rpartition(":")[2])

    async def records(self) -> list[Record]:
        """Return the records of requests so far."""
        await self.sidecar.audit.flush()
        records = [json.loads(line) for line in self.audit.read_bytes().splitlines()]
        return [record for record in records if record.get("operation") not in ("circuit", "bad-request", None)]


@dataclass(frozen=True)
class Answer:
    """What a client got."""

    status: int
    fields: dict[str, str]
    body: bytes


async def ask(port: int, method: str, target: str, fields: str = "", body: bytes = b"") -> Answer:
    """Send one request on a connection of its own and read the whole answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    length = f"Content-Length: {len(body)}\r\n" if body or method in ("POST", "PUT", "PATCH") else ""
    writer.write(f"{method} {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{length}{fields}\r\n".encode() + body)
    raw = await reader.read()
    writer.close()
    head, _, rest = raw.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    pairs = (text.partition(": ") for text in lines)
    return Answer(int(line.split()[1]), {name.lower(): value for name, _, value in pairs}, rest)


class Start(Protocol):
    """Starts a sidecar; `top` stands before the configuration's first table."""

    def __call__(self, text: str, top: str = "") -> Awaitable[Running]: ...


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start a sidecar from the text of a configuration; jitter is off unless the text says otherwise."""
    running: list[Sidecar] = []

    async def begin(text: str, top: str = "") -> Running:
        config, audit = tmp_path / "backstay.toml", tmp_path / "audit.jsonl"
        config.write_text(
            f"{top}\n"
            '[listen]\naddress = "127.0.0.1:0"\n[admin]\naddress = "127.0.0.1:0"\ntoken = "secret"\n'
            f'[audit]\npath = "{audit}"\n' + text
        )
        sidecar = Sidecar(load(config, environ={}))
        await sidecar.start()
        running.append(sidecar)
        return Running(sidecar, audit)

    yield begin
    for sidecar in running:
        await sidecar.stop(delay_s=0.0)


@pytest.fixture
async def backend() -> AsyncIterator[ScriptedBackend]:
    """A scripted backend; give it its script before the first call."""
    scripted = ScriptedBackend()
    yield scripted
    await scripted.stop()
