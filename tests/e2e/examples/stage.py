"""Run the FastAPI example in its own process, where it can be killed, without or with its sidecar in front."""

import asyncio
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from proxy.clock import SystemClock
from tests.e2e.observe.browser import Page, browser
from tests.e2e.sidecar import PATIENCE, ROOT, Child, environment, sidecar
from tests.ports import reserved_port

EXAMPLE = ROOT / "examples" / "fastapi"
_HURRIED = ('"30s"', "max_retries = 20")  # a slow machine may need longer to start the backend again
_PATIENT = ('"300s"', "max_retries = 1000")
_clock = SystemClock()


class Backend:
    """The example's own `app.py`, with the command of its README."""

    def __init__(self, folder: Path) -> None:
        self.port = reserved_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._database = folder / "sessions.db"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, also after a kill, and wait until it accepts connections."""
        command = ["-m", "uvicorn", "app:app", "--port", str(self.port), "--log-level", "warning"]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=EXAMPLE, env=environment(DATABASE=str(self._database))
        )
        async with asyncio.timeout(PATIENCE):
            while not await self._accepts():
                assert self._process.returncode is None
                await _clock.sleep(0.02)

    async def _accepts(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except ConnectionRefusedError:
            return False
        writer.close()
        return True

    def freeze(self) -> None:
        """Stop it where it is: what it is sent now is under way until it is killed."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    async def kill(self) -> None:
        """End it with SIGKILL."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def stored(self) -> list[str]:
        """Return every message that it has stored."""
        with closing(sqlite3.connect(self._database)) as database:
            return [text for (text,) in database.execute("SELECT text FROM messages ORDER BY id")]


class Stage:
    """The example's backend, a browser's page, and the sidecar if there is one."""

    def __init__(self, backend: Backend, page: Page, child: Child | None) -> None:
        self.backend = backend
        self.page = page
        self.url = backend.url if child is None else child.url
        self._child = child

    async def keeps(self, *routes: str) -> bool:
        """Tell whether the sidecar has a whole response of each route; without a sidecar nobody keeps any.

        A response whose body comes late is relayed as a stream and not kept.
        """
        if self._child is None:
            return True
        scrape = await self._child.scrape()
        count, streams = "backstay_request_duration_seconds_count", "backstay_stream_seconds_count"
        return all(scrape.total(count, route=route) > scrape.total(streams, route=route) for route in routes)


@asynccontextmanager
async def stage(folder: Path, *, with_sidecar: bool) -> AsyncIterator[Stage]:
    """Start everything, with all files in `folder`."""
    backend = Backend(folder)
    try:
        await backend.start()
        async with browser(folder) as page:
            if not with_sidecar:
                yield Stage(backend, page, None)
                return
            async with sidecar(folder, backend.url, _configuration(), listen__drain_timeout="0s") as child:
                yield Stage(backend, page, child)
    finally:
        await backend.kill()


def _configuration() -> str:
    text = (EXAMPLE / "backstay.toml").read_text(encoding="utf-8")
    for hurried, patient in zip(_HURRIED, _PATIENT, strict=True):
        assert hurried in text
        text = text.replace(hurried, patient)
    return text
