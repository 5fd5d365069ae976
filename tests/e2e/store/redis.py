"""A real Redis for one test, which can be stopped in every way."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from proxy.clock import SystemClock
from tests.e2e.sidecar import PATIENCE
from tests.ports import reserved_port

PROGRAM = shutil.which("redis-server")
needs_redis = pytest.mark.skipif(PROGRAM is None, reason="redis-server is not installed")
_clock = SystemClock()


class RedisServer:
    """One redis-server that keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self.port = reserved_port()

    @property
    def url(self) -> str:
        """Return what a sidecar is told."""
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        """Start it, or start it again, empty; return once it answers."""
        self._process = await asyncio.create_subprocess_exec(
            str(PROGRAM), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
            cwd=self._folder, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(PATIENCE), self.client() as client:
            while True:
                try:
                    await client.ping()
                except (RedisError, OSError):
                    await _clock.sleep(0.01)
                else:
                    return

    @asynccontextmanager
    async def client(self) -> AsyncIterator["Redis"]:
        """Look inside."""
        client = Redis(host="127.0.0.1", port=self.port)
        try:
            yield client
        finally:
            await client.aclose()

    async def configure(self, **settings: str) -> None:
        """Change settings while it runs; a name is written with underscores."""
        async with self.client() as client:
            for name, value in settings.items():
                await client.config_set(name.replace("_", "-"), value)

    async def hang_up(self, kind: str) -> None:
        """Close every connection of a kind, `normal` or `pubsub`, as Redis does with those that are idle."""
        async with self.client() as client:
            await client.client_kill_filter(_type=kind, skipme=True)

    def pause(self) -> None:
        """Let it hang: connections stay, nothing is answered."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    async def kill(self) -> None:
        """End it at once."""
        self._send(signal.SIGKILL)
        assert self._process is not None
        await self._process.wait()
        self._process = None

    def _send(self, what: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(what)

    async def close(self) -> None:
        """End it if it runs."""
        if self._process is not None:
            await self.kill()


@asynccontextmanager
async def redis_server(folder: Path) -> AsyncIterator[RedisServer]:
    """Run a Redis."""
    server = RedisServer(folder)
    try:
        await server.start()
        yield server
    finally:
        await server.close()
