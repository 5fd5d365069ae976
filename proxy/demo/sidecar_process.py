"""The sidecar of the tour: its own process, started with the command and a file that a user would write."""

import asyncio
import os
import re
import secrets
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import orjson

import proxy
from proxy.clock import Clock

COMMAND = (sys.executable, "-m", "proxy")
READY = re.compile(r"\Abackstay ready: proxy (http://\S+) admin (http://\S+)")
READY_WITHIN = 20.0  # seconds; a cold start on a small, busy machine takes about 2 s
STOPPED_WITHIN = 10.0

SETTINGS = ("BACKSTAY_", "CIRCUIT_BREAKER_", "RETRY_", "PERFORMANCE_", "REQUEST_DEDUP_", "AUDIT_TRAIL_")
"""Prefixes of the environment variables that take precedence over the tour's configuration file."""

CONFIG = """\
[listen]
address = "127.0.0.1:{port}"
drain_delay = "0s"

[admin]
address = "127.0.0.1:0"
token_file = {token}

[audit]
path = {audit}

[upstreams.sessions]
url = {upstream}

[upstreams.sessions.breaker]
failure_threshold = 5
reset_timeout = "2s"        # usually 30 s; the tour is shorter
success_threshold = 2

[defaults]
total_timeout = "2s"

[defaults.retry]
max_retries = 3
initial_delay = "100ms"
max_delay = "2s"
jitter = false              # so that the waits can be recognised

[[routes]]
operation = "session-create"
match = "POST /api/sessions"
upstream = "sessions"
subject = "body:/reportId"
coalesce = "subject"
idempotency = "inject"
upstream_honours_idempotency = true
on_conflict = "GET /api/sessions/{{subject}}"

[[routes]]
operation = "status"
match = "GET /api/conversations/{{report_id}}/status"
upstream = "sessions"
circuit = "status"
subject = "path:report_id"
coalesce = "identical"
reuse = "2s"
restoration = "status"
total_timeout = "500ms"     # so that five hanging requests fit a tour

[routes.retry]
max_retries = 0

[[routes]]
operation = "history"
match = "GET /api/conversations/{{report_id}}/history"
upstream = "sessions"
circuit = "history"
subject = "path:report_id"
coalesce = "identical"
reuse = "2s"
restoration = "history"
"""

DURABLE = """\
stale_if_error = "1h"       # a key of the route above

[store]
url = {folder}
"""


class SidecarError(Exception):
    """The sidecar ended or timed out before it was ready. The text is its standard error."""


class DemoSidecar:
    """A running `backstay run`: its two addresses, the admin token, and its audit file."""

    __slots__ = ("_process", "admin", "audit", "token", "url")

    def __init__(self, process: asyncio.subprocess.Process, url: str, admin: str, token: str, audit: Path) -> None:
        self._process = process
        self.url = url
        self.admin = admin
        self.token = token
        self.audit = audit

    @classmethod
    async def start(
        cls, folder: Path, upstream: str, port: int = 0, command: Sequence[str] = COMMAND, *, durable: bool = False
    ) -> "DemoSidecar":
        """Start the sidecar with its files in `folder` and wait until it is ready. Raise SidecarError.

        `durable`: what it keeps is in `folder`, too.
        """
        config, audit, log = folder / "backstay.toml", folder / "audit.jsonl", folder / "stderr.log"
        token, token_file = secrets.token_urlsafe(12), folder / "token"
        token_file.touch(mode=0o600)
        token_file.write_text(token)
        config.write_text(
            CONFIG.format(port=port, audit=_toml(audit), upstream=_toml(upstream), token=_toml(token_file))
            + (DURABLE.format(folder=_toml(f"sqlite://{folder / 'kept'}")) if durable else "")
        )
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *(*command, "run", "--config", str(config)),
                cwd=folder,
                env=_environment(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,  # Ctrl-C goes to the tour, which then stops the sidecar
            )
        ready = None
        try:
            ready = await _ready(process)
        finally:
            if ready is None:  # also on cancellation: no process may be left behind
                await _end(process)
        if ready is None:
            raise SidecarError(f"the sidecar did not become ready: {log.read_text(errors='replace').strip()[-2000:]}")
        return cls(process, ready[1], ready[2], token, audit)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def stop(self) -> int:
        """Send SIGTERM and return the exit status; a negative one is the signal that ended the process."""
        return await _end(self._process)

    async def kill(self) -> None:
        """End the process with SIGKILL, as a crash does."""
        self._process.kill()
        await self._process.wait()

    async def written(self, clock: Clock) -> None:
        """Wait until everything that is kept is on the disk."""
        async with aiohttp.ClientSession() as session:
            waiting = True
            while waiting:
                async with session.get(f"{self.admin}/metrics") as response:
                    waiting = "\nbackstay_store_waiting 0.0" not in await response.text()
                await clock.sleep(0.01)

    def records(self) -> list[dict[str, Any]]:
        """Return the audit records of requests that are on disk."""
        lines = self.audit.read_bytes().splitlines(keepends=True) if self.audit.exists() else []
        records = [orjson.loads(line) for line in lines if line.endswith(b"\n")]
        return [record for record in records if "method" in record]


async def _ready(process: asyncio.subprocess.Process) -> re.Match[str] | None:
    """Return the match of the ready line, or `None` if the process ends or prints something else first."""
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_WITHIN):
            line = await process.stdout.readline()
    except TimeoutError:
        return None
    return READY.search(line.decode())


async def _end(process: asyncio.subprocess.Process) -> int:
    """Send SIGTERM, and kill the process if it does not end in time."""
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOPPED_WITHIN):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()


def _environment() -> dict[str, str]:
    """Return this process's environment without settings of the sidecar, and with this package first on the path."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    package = str(Path(proxy.__file__).parents[1])
    known = variables.get("PYTHONPATH")
    return variables | {"PYTHONPATH": f"{package}{os.pathsep}{known}" if known else package}


def _toml(value: Path | str) -> str:
    """Return `value` as a TOML basic string, which has the same escapes as a JSON string."""
    return orjson.dumps(str(value)).decode()
