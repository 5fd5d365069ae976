"""A sixth mode, the seed document's offline support: the backend is down, and the sidecar is killed as well."""

from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from proxy.demo.client import Browser, BrowserResponse, history_of, tally
from proxy.demo.sidecar_process import DemoSidecar
from proxy.demo.stage import DemoStage, FailureMode, Played, Promise

REPORT = "val_offline"


async def crash_in_an_outage(stage: DemoStage) -> FailureMode:
    """The user reads a conversation; the backend ends; he reads it; the sidecar is killed and started; he reads it."""
    with TemporaryDirectory(prefix="backstay-demo-offline-") as folder:
        return await _played(stage, Path(folder))


async def _played(stage: DemoStage, folder: Path) -> FailureMode:
    backend = stage.backend
    sidecar = await DemoSidecar.start(folder, backend.url, durable=True)
    try:
        own, crashes = DemoStage(backend, sidecar.url, stage.clock), 0

        async def scene(browser: Browser) -> list[BrowserResponse]:
            nonlocal sidecar, crashes
            backend.seed(REPORT)
            online = await browser.get(history_of(REPORT))
            await sidecar.written(stage.clock)
            await backend.stop()
            down = await browser.get(history_of(REPORT))
            if browser.base == own.sidecar:
                await sidecar.kill()
                sidecar = await DemoSidecar.start(folder, backend.url, urlsplit(own.sidecar).port or 0, durable=True)
                crashes += 1
            return [online, down, await browser.get(history_of(REPORT))]

        without, through = await own.both(scene)
    finally:
        await sidecar.stop()
        await backend.restart()
    return _mode(without, through, crashes)


def _mode(without: Played[list[BrowserResponse]], through: Played[list[BrowserResponse]], crashes: int) -> FailureMode:
    online, down, after = through.value
    again, age = crashes == 1 and _same(online, after), after.header("Age")
    return FailureMode(
        "6. Crash in an outage",
        without.side(tally(without.value)),
        through.side(f"{tally(through.value)}, over {crashes} kill -9"),
        (
            Promise("the user reads on while the backend is down", _same(online, down), str(down)),
            Promise("and after the sidecar was killed and started again", again, str(after)),
            Promise("he is told how old it is", age.isdecimal(), f"Age: {age} s"),
            Promise("one backend call in all", through.calls == 1, f"{through.calls} of 3 requests"),
        ),
    )  # fmt: skip


def _same(one: BrowserResponse, other: BrowserResponse) -> bool:
    return one.status == other.status == 200 and one.body == other.body
