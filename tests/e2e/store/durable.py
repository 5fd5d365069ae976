"""Run a sidecar with a durable store, end it with SIGKILL, and start it again on the same folder."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from proxy.demo.sidecar_process import COMMAND
from tests.e2e.sidecar import Child, sidecar

ROUTES = """
[upstreams.sessions.breaker]
failure_threshold = 1000

[defaults.retry]
max_retries = 0

[[routes]]
operation = "load"
match = "GET /api/sessions/{report_id}"
subject = "path:report_id"
reuse = "1h"
stale_if_error = "24h"

[[routes]]
operation = "update"
match = "PATCH /api/sessions/{report_id}"
subject = "path:report_id"
total_timeout = "5s"

[[routes]]
operation = "create"
match = "POST /api/sessions"
subject = "body:/reportId"
idempotency = "replay"

[[routes]]
operation = "logout"
match = "DELETE /api/login"
ends_session = true
"""


def folder_of(tmp_path: Path) -> Path:
    """Return the folder of the store."""
    return tmp_path / "kept"


@asynccontextmanager
async def durable(
    tmp_path: Path, upstream: str, config: str = ROUTES, command: Sequence[str] = COMMAND, **settings: str
) -> AsyncIterator[Child]:
    """Run a sidecar whose store is a folder in `tmp_path`."""
    url = f"sqlite://{folder_of(tmp_path)}"
    async with sidecar(tmp_path, upstream, config, command, **{"store__url": url} | settings) as child:
        yield child


async def killed(child: Child) -> None:
    """End the process as a crash does, and wait until it has ended."""
    child.process.kill()
    await child.process.wait()


async def written(child: Child) -> None:
    """Wait until everything that is kept so far is on the disk."""
    await child.until(lambda scrape: not scrape.total("backstay_store_waiting"))


def bytes_of(folder: Path) -> bytes:
    """Return every byte of every file in the folder."""
    return b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())
