"""A real Prometheus scrapes as documented, has the tour's own figures, and alerts in an outage."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from rich.console import Console

from proxy.clock import SystemClock
from proxy.demo.backend import Backend
from proxy.demo.modes import concurrent_creation, network_glitch
from proxy.demo.outage import backend_down
from proxy.demo.sidecar_process import DemoSidecar
from proxy.demo.stage import DemoStage as TourStage
from proxy.demo.tour import WORK, play
from tests.e2e.demo import ABOUT_TIME
from tests.e2e.observe.stage import stage
from tests.e2e.observe.test_rules import FILES, expressions
from tests.e2e.sidecar import PATIENCE
from tests.ports import reserved_port

PROMETHEUS = shutil.which("prometheus")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SCENES = (("creation", concurrent_creation), ("glitch", network_glitch), ("down", backend_down))
pytestmark = pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed")
_clock = SystemClock()


class Prometheus:
    """A running Prometheus, asked by its query API."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def ask(self, query: str) -> list[dict[str, Any]]:
        """Return the series of an instant query."""
        async with self._session.get(f"{self._url}/api/v1/query", params={"query": query}) as got:
            answer = await got.json()
        assert answer["status"] == "success", (query, answer)
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    async def value(self, query: str) -> float | None:
        """Return the one value of a query, None if there is none yet."""
        series = await self.ask(query)
        return float(series[0]["value"][1]) if series else None

    async def traces(self, metric: str) -> set[str]:
        """Return the trace ids that the exemplars of the last minute carry."""
        now = _clock.wall()
        span = {"query": metric, "start": str(now - 60), "end": str(now + 1)}
        async with self._session.get(f"{self._url}/api/v1/query_exemplars", params=span) as got:
            series = (await got.json())["data"]
        return {exemplar["labels"]["trace_id"] for one in series for exemplar in one["exemplars"]}

    async def until(self, query: str, true: Callable[[float | None], bool]) -> float | None:
        """Ask until the value is as wanted."""
        value = None
        try:
            async with asyncio.timeout(PATIENCE):
                while not true(value := await self.value(query)):
                    await _clock.sleep(0.1)
        except (TimeoutError, aiohttp.ClientError):
            raise AssertionError(f"{query} stays {value}") from None
        return value

    async def firing(self, alert: str, *, wanted: bool) -> None:
        """Wait until an alert fires, or does not."""
        query = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
        await self.until(query, lambda value: bool(value) is wanted)


def hurried(text: str) -> str:
    """Return a configuration or rules in the time of a test: seconds for minutes, five scrapes a second."""
    text = re.sub(r"for: \d+m", "for: 1s", text).replace("[5m]", "[3s]")
    return re.sub(r"(scrape|evaluation)_interval: 15s", r"\1_interval: 200ms", text)


@asynccontextmanager
async def prometheus(folder: Path, admin: str) -> AsyncIterator[Prometheus]:
    """Run Prometheus with the documented files, which only the target's address and the times are changed in."""
    assert PROMETHEUS is not None
    (folder / "rules").mkdir()
    (folder / "rules/backstay.yaml").write_text(hurried((FILES / "rules/backstay.yaml").read_text()))
    documented = hurried((FILES / "prometheus.yaml").read_text())
    (folder / "prometheus.yaml").write_text(documented.replace("127.0.0.1:9901", admin.removeprefix("http://")))
    address = f"127.0.0.1:{reserved_port()}"
    process = await asyncio.create_subprocess_exec(
        PROMETHEUS, f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={address}", "--log.level=error", "--enable-feature=exemplar-storage",
    )  # fmt: skip
    try:
        async with aiohttp.ClientSession() as session:
            asked = Prometheus(f"http://{address}", session)
            await _answering(session, f"http://{address}/-/ready")
            yield asked
    finally:
        process.terminate()
        await process.wait()


async def _answering(session: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(aiohttp.ClientConnectionError):  # not listening yet
                async with session.get(url) as got:
                    if got.status == 200:
                        return
            await _clock.sleep(0.05)


async def test_it_tells_the_tours_figures(tmp_path: Path) -> None:
    """Requests, saved calls, retries and openings are those that the tour's backend and browsers counted."""
    backend = Backend(WORK)
    await backend.start(port=reserved_port())  # each scene stops it and starts it again
    sidecar = await DemoSidecar.start(tmp_path, backend.url)
    try:
        async with prometheus(tmp_path, sidecar.admin) as asked:
            tour = TourStage(backend, sidecar.url, _clock)
            played = await play(Console(quiet=True), tour, SCENES)
            promises = {promise.name: promise for mode in played for promise in mode.promises}
            assert [promise for name, promise in promises.items() if not promise.held and name not in ABOUT_TIME] == []
            await asked.until("sum(backstay_requests_total)", lambda value: value == tour.sent)
            assert await asked.value("sum(backstay_coalesced_total)") == tour.sent
            joined = await asked.value('sum(backstay_coalesced_total{route="session-create",role="joined"})')
            assert joined == 50  # of two tabs and of fifty, all but one each
            assert (await asked.value("sum(backstay_retries_total)") or 0) > 0
            assert await asked.value('backstay_circuit_transitions_total{circuit="status",to="open"}') == 1
            assert await asked.value('backstay_circuit_state{circuit="status"}') == 0
            assert await asked.value("backstay_audit_gaps_total") == 0
            assert await asked.value('up{job="backstay"}') == 1
    finally:
        await sidecar.stop()
        await backend.stop()


async def test_an_outage_calls_somebody_and_its_end_calls_off(tmp_path: Path) -> None:
    """The backend goes away: the circuit's and the restorations' alerts fire; it comes back: they resolve."""
    async with stage(tmp_path) as scene, prometheus(tmp_path, scene.child.admin) as asked:
        await scene.create("val_1")
        await scene.restore("val_1")
        await scene.get("/api/conversations/val_1/status", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
        await asked.until('backstay_restorations_total{outcome="restored"}', lambda value: value == 1)
        async with asyncio.TaskGroup() as group:
            users = group.create_task(_users(scene.restore))
            await _clock.sleep(1)
            await asked.firing("BackstayCircuitOpen", wanted=False)
            await scene.backend.stop()
            await asked.firing("BackstayCircuitOpen", wanted=True)
            await asked.firing("BackstayRestorationsFailing", wanted=True)
            await scene.backend.start("127.0.0.1", scene.backend.port)
            await asked.firing("BackstayCircuitOpen", wanted=False)
            await asked.firing("BackstayRestorationsFailing", wanted=False)
            users.cancel()
        assert await asked.traces("backstay_request_duration_seconds_bucket") == {TRACE}
        for expression in expressions()["backstay.json"]:  # every panel's query is one that Prometheus can answer
            await asked.ask(expression.replace("$__rate_interval", "10s").replace("$job", ".*"))


async def _users(restore: Callable[[str], Any]) -> None:
    """Have users come, one after the other."""
    number = 0
    while True:
        number += 1
        await restore(f"val_{number}")
        await _clock.sleep(0.05)
