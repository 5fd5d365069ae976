"""The setup of the observation tests: a demo backend, a sidecar with its routes, and users who restore sessions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from proxy.demo.backend import Backend, Latency
from tests.e2e.sidecar import Child, sidecar
from tests.ports import reserved_port

TOKEN = "open-sesame"
CONFIG = """\
[admin]
token = "open-sesame"
[upstreams.sessions]
url = "http://127.0.0.1:1"
[upstreams.sessions.breaker]
reset_timeout = "1s"
jitter = 0.0
[[routes]]
operation = "session-create"
match = "POST /api/sessions"
subject = "body:/reportId"
coalesce = "subject"
upstream_honours_idempotency = true
idempotency = "inject"
on_conflict = "GET /api/sessions/{subject}"
[[routes]]
operation = "status"
match = "GET /api/conversations/{report_id}/status"
subject = "path:report_id"
restoration = "status"
target = { ideal = "200ms", acceptable = "500ms", slow = "1s" }
[[routes]]
operation = "history"
match = "GET /api/conversations/{report_id}/history"
circuit = "restoration"
subject = "path:report_id"
restoration = "history"
fallback = { status = 200, body = { messages = [], degraded = true } }
"""


@dataclass(frozen=True)
class Stage:
    """A running sidecar before a running backend."""

    backend: Backend
    child: Child
    session: aiohttp.ClientSession

    async def get(self, path: str, **headers: str) -> int:
        """GET `path` through the sidecar as one user; return the status."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.get(self.child.url + path, headers=named) as got:
            await got.read()
            return got.status

    async def create(self, report_id: str, tabs: int = 1) -> list[int]:
        """Create a session from so many tabs at once; return their statuses."""

        async def tab() -> int:
            async with self.session.post(f"{self.child.url}/api/sessions", json={"reportId": report_id}) as got:
                await got.read()
                return got.status

        return await asyncio.gather(*(tab() for _ in range(tabs)))

    async def restore(self, report_id: str, tabs: int = 1) -> None:
        """Load a page that restores its conversation, in so many tabs at once."""
        for half in ("status", "history"):
            path = f"/api/conversations/{report_id}/{half}"
            await asyncio.gather(*(self.get(path, X_Correlation_ID=f"{half}-{report_id}-{n}") for n in range(tabs)))


@asynccontextmanager
async def stage(folder: Path, config: str = CONFIG, **settings: str) -> AsyncIterator[Stage]:
    """Start both on free ports, with the sidecar's files in `folder`."""
    backend = Backend(Latency(create=0.05, load=0.01, status=0.01, history=0.02))
    await backend.start(port=reserved_port())  # some tests stop it and start it again
    try:
        async with (
            sidecar(folder, backend.url, config, **settings) as child,
            aiohttp.ClientSession(headers={"Authorization": "Bearer anna"}) as session,
        ):
            yield Stage(backend, child, session)
    finally:
        await backend.stop()
