"""The sidecar of the tour: a process of its own, started with the command and the file that a user would write."""

import asyncio
import os
import re
import secrets
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

import proxy

COMMAND = (sys.executable, "-m", "proxy")
READY = re.compile(r"\Abackstay ready: proxy (http://\S+) admin (http://\S+)")
READY_WITHIN = 20.0  # seconds; a cold start on a busy small machine takes about two
STOPPED_WITHIN = 10.0

SETTINGS = ("BACKSTAY_", "CIRCUIT_BREAKER_", "RETRY_", "PERFORMANCE_", "REQUEST_DEDUP_", "AUDIT_TRAIL_")
"""Environment variables that would outrank the tour's own file."""

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
reset_timeout = "2s"        # 30 s in real life; a tour is shorter
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


class SidecarError(Exception):
    """The sidecar ended, or kept silent, instead of getting ready; the text is what it said on stderr."""


class DemoSidecar:
    """A running `backstay run`, its two addresses, the token of the second one, and its audit file."""

    __slots__ = ("_process", "admin", "audit", "token", "url")

    def __init__(self, process: asyncio.subprocess.Process, url: str, admin: str, token: str, audit: Path) -> None:
        self._process = process
        self.url = url
        self.admin = admin
        self.token = token
        self.audit = audit

    @classmethod
    async def start(cls, folder: Path, upstream: str, port: int = 0, command: Sequence[str] = COMMAND) -> "DemoSidecar":
        """Run it with its files in `folder`, in front of `upstream`; return once ready, or raise SidecarError."""
        config, audit, said = folder / "backstay.toml", folder / "audit.jsonl", folder / "stderr.log"
        token, token_file = secrets.token_urlsafe(12), folder / "token"
        token_file.touch(mode=0o600)
        token_file.write_text(token)
        config.write_text(
            CONFIG.format(port=port, audit=_toml(audit), upstream=_toml(upstream), token=_toml(token_file))
        )
        with said.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *(*command, "run", "--config", str(config)),
                cwd=folder,
                env=_environment(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,  # Ctrl-C is for the tour, which then stops the sidecar itself
            )
        ready = None
        try:
            ready = await _ready(process)
        finally:
            if ready is None:  # also when the tour is cancelled meanwhile: no process is left behind
                await _end(process)
        if ready is None:
            raise SidecarError(f"the sidecar did not get ready: {said.read_text(errors='replace').strip()[-2000:]}")
        return cls(process, ready[1], ready[2], token, audit)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    async def stop(self) -> int:
        """Send SIGTERM and return the exit status; negative is the signal that ended it."""
        return await _end(self._process)

    def records(self) -> list[dict[str, Any]]:
        """Return the audit records of requests that are on disk by now."""
        lines = self.audit.read_bytes().splitlines(keepends=True) if self.audit.exists() else []
        records = [orjson.loads(line) for line in lines if line.endswith(b"\n")]
        return [record for record in records if "method" in record]


async def _ready(process: asyncio.subprocess.Process) -> re.Match[str] | None:
    """Return the ready line's match, or None if the process ends or says something else first."""
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_WITHIN):
            line = await process.stdout.readline()
    except TimeoutError:
        return None
    return READY.search(line.decode())


async def _end(process: asyncio.subprocess.Process) -> int:
    """Ask the process to stop, and kill it if it does not."""
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOPPED_WITHIN):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()


def _environment() -> dict[str, str]:
    """Return our environment without the sidecar's settings, and with this very package first on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    package = str(Path(proxy.__file__).parents[1])
    known = kept.get("PYTHONPATH")
    return kept | {"PYTHONPATH": f"{package}{os.pathsep}{known}" if known else package}


def _toml(value: Path | str) -> str:
    """Quote `value` as a TOML basic string, whose escapes are JSON's."""
    return orjson.dumps(str(value)).decode()
