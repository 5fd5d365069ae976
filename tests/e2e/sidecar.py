"""Run `backstay` as a user does, in its own process, and read its addresses, output and files."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import orjson
from prometheus_client.parser import text_string_to_metric_families

from proxy.clock import SystemClock
from proxy.demo.sidecar_process import COMMAND, SETTINGS
from tests.reference.metrics import is_documented

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config.example.toml"
READY = re.compile(r"backstay ready: proxy (\S+) admin (http://\S+)")
PATIENCE = 200.0  # seconds until a test gives up on what should happen at once: a hang, on any machine
READY_WITHIN = STOPPED_WITHIN = PATIENCE
PATIENT = {  # so long that only a test which says otherwise meets them: a busy machine makes every step late
    "defaults__total_timeout": "60s", "audit__max_wait": "60s",
}  # fmt: skip
_clock = SystemClock()


class Scrape(NamedTuple):
    """One reading of /metrics."""

    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of every series of `name` that has these labels."""
        wanted = labels.items()
        return sum(value for (series, has), value in self.samples.items() if series == name and wanted <= has)


class Ended(NamedTuple):
    """What a command that ended had to say."""

    status: int | None
    out: str
    err: str


def environment(**settings: str) -> dict[str, str]:
    """Return our environment without any of the sidecar's settings but these; `listen__address` is written so."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    ours["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), ours.get("PYTHONPATH"))))
    given = {f"BACKSTAY_{name.upper()}" if name.islower() else name: value for name, value in settings.items()}
    return ours | given


async def backstay(*arguments: str, cwd: Path, **settings: str) -> Ended:
    """Run a command that ends by itself."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, cwd=cwd, env=environment(**settings),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(READY_WITHIN):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ended(process.returncode, out.decode(), err.decode())


class Child:
    """A running `backstay run`."""

    def __init__(self, process: asyncio.subprocess.Process, ready: re.Match[str], folder: Path) -> None:
        self.process = process
        self.url, self.admin = ready[1], ready[2]
        self.audit = folder / "audit.jsonl"
        self._said = folder / "stderr.log"

    async def scrape(self) -> Scrape:
        """Read /metrics. Every value of a label must be on the page of metrics, which is made from the source."""
        text = (await self.ask_admin("/metrics")).out
        families = text_string_to_metric_families(text)
        samples = [sample for family in families for sample in family.samples]
        ours = (sample for sample in samples if sample.name.startswith("backstay_"))
        assert [(each.name, each.labels) for each in ours if not is_documented(each.name, each.labels)] == []
        return Scrape({(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples})

    async def ask_admin(self, path: str, method: str = "GET", token: str | None = None) -> Ended:
        """Ask the control plane; the answer's status and text."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession(self.admin) as session, session.request(method, path, headers=headers) as got:
            return Ended(got.status, await got.text(), "")

    async def until(self, true: Callable[[Scrape], bool]) -> Scrape:
        """Read /metrics until it says so."""
        async with asyncio.timeout(PATIENCE):
            while not true(scrape := await self.scrape()):
                await _clock.sleep(0.005)
        return scrape

    async def settled(self) -> Scrape:
        """Read /metrics until every request that took part in something has ended."""
        return await self.until(
            lambda m: m.total("backstay_requests_total") == m.total("backstay_coalesced_total")
            and not m.total("backstay_flights")
        )  # fmt: skip

    @property
    def log(self) -> str:
        """What it said on stderr."""
        return self._said.read_text()

    async def logged(self, text: str, times: int = 1) -> None:
        """Wait until it has said `text` on stderr, so many times."""
        async with asyncio.timeout(PATIENCE):
            while self.log.count(text) < times:
                await _clock.sleep(0.005)

    def send(self, what: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(what)

    async def stop(self) -> int:
        """Ask it to stop with SIGTERM, and return its exit status."""
        if self.process.returncode is None:
            self.send(signal.SIGTERM)
        async with asyncio.timeout(STOPPED_WITHIN):
            return await self.process.wait()

    def lines(self) -> list[dict[str, Any]]:
        """Return every whole line of the trail; complete once stopped."""
        lines = self.audit.read_bytes().splitlines(keepends=True)
        return [orjson.loads(line) for line in lines if line.endswith(b"\n")]

    def records(self) -> list[dict[str, Any]]:
        """Return the records of requests; complete once stopped."""
        return [line for line in self.lines() if "method" in line]

    async def recorded(self, correlation_id: str) -> dict[str, Any]:
        """Wait for the record of one request."""
        async with asyncio.timeout(PATIENCE):
            while not (found := [line for line in self.lines() if line.get("correlation_id") == correlation_id]):
                await _clock.sleep(0.01)
        assert len(found) == 1
        return found[0]


@asynccontextmanager
async def sidecar(
    folder: Path, upstream: str, config: Path | str | None = None, command: Sequence[str] = COMMAND, **settings: str
) -> AsyncIterator[Child]:
    """Run a sidecar on free ports; it must end without a traceback. `config` is a file, or the text of one."""
    arguments = ["run"]
    if isinstance(config, str):
        (folder / "backstay.toml").write_text(config)
        config = folder / "backstay.toml"
    if config is not None:
        arguments += ["--config", str(config)]
    ours = {
        "listen__address": "127.0.0.1:0", "listen__drain_delay": "0s", "admin__address": "127.0.0.1:0",
        "upstreams__sessions__url": upstream, "audit__path": "audit.jsonl",
    }  # fmt: skip
    with (folder / "stderr.log").open("wb") as said:
        given = environment(**PATIENT | ours | settings)
        process = await asyncio.create_subprocess_exec(
            *command, *arguments, cwd=folder, env=given,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=said,
        )  # fmt: skip
    try:
        child = Child(process, await _ready(process, folder), folder)
        yield child
        await child.stop()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert "Traceback" not in child.log, child.log


async def _ready(process: asyncio.subprocess.Process, folder: Path) -> re.Match[str]:
    assert process.stdout is not None
    async with asyncio.timeout(READY_WITHIN):
        line = (await process.stdout.readline()).decode()
    ready = READY.fullmatch(line.rstrip("\n"))
    assert ready is not None, (line, (folder / "stderr.log").read_text())
    return ready
