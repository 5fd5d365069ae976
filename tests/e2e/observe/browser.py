"""A real browser, controlled through its protocol (CDP): open a page, evaluate scripts, list its requests."""

import asyncio
import base64
import itertools
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from proxy.clock import SystemClock
from tests.e2e.sidecar import PATIENCE

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0",
)  # fmt: skip
_clock = SystemClock()


class Page:
    """One tab. `asked` are the URLs it requested, `said` what its console said of errors."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.asked: list[str] = []
        self.said: list[str] = []

    async def listen(self) -> None:
        """Take in what the browser says, until it is gone."""
        async for message in self._socket:
            event = message.json()
            if "id" in event:
                self._answers.pop(event["id"]).set_result(event)
            elif event["method"] == "Network.requestWillBeSent":
                self.asked.append(event["params"]["request"]["url"])
            elif event["method"] == "Runtime.exceptionThrown":
                self.said.append(event["params"]["exceptionDetails"]["text"])
            elif event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                self.said.append(event["params"]["entry"]["text"])

    async def call(self, method: str, **params: object) -> dict[str, Any]:
        """Send one command; return its result."""
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(PATIENCE):
            got = await answer
        assert "error" not in got, got
        result: dict[str, Any] = got["result"]
        return result

    async def open(self, url: str) -> None:
        """Go to `url` and wait until its elements are there."""
        for domain in ("Page", "Network", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def ask(self, expression: str) -> Any:
        """Return the value of a JavaScript expression on the page."""
        got = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in got, got
        return got["result"].get("value")

    async def until(self, expression: str, meanwhile: Callable[[], Awaitable[object]] | None = None) -> None:
        """Wait until a JavaScript expression is true, doing something meanwhile again and again."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not await self.ask(expression):
                    await _clock.sleep(0.02)
                    if meanwhile is not None:
                        await meanwhile()
        except TimeoutError:
            text = await self.ask("document.body.innerText")
            raise AssertionError(f"never true: {expression}; the page says: {text}") from None

    async def resize(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Become a window of this size, by day or by night."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def press(self, key: str) -> None:
        """Press and release one key."""
        code = {"Enter": 13, "Tab": 9}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    async def type(self, text: str) -> None:
        """Write into what has the focus."""
        await self.call("Input.insertText", text=text)

    async def screenshot(self, file: Path) -> None:
        """Write the whole page as a PNG."""
        size = (await self.call("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = await self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        await asyncio.to_thread(file.write_bytes, base64.b64decode(shot["data"]))


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Page]:
    """Start Chromium with an empty profile in `folder`; yield its one page."""
    assert CHROMIUM is not None
    profile = folder / "chromium"
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        port = await _port(profile / "DevToolsActivePort")
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(await _first_tab(session, port), max_msg_size=0) as socket,
            asyncio.TaskGroup() as group,
        ):
            page = Page(socket)
            listening = group.create_task(page.listen())
            yield page
            listening.cancel()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _port(file: Path) -> int:
    async with asyncio.timeout(PATIENCE):
        while not (lines := await asyncio.to_thread(_lines, file)):
            await _clock.sleep(0.02)
    return int(lines[0])


async def _first_tab(session: aiohttp.ClientSession, port: int) -> str:
    """Return the address of the first tab's debugger, once there is one."""
    async with asyncio.timeout(PATIENCE):
        while True:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as got:
                for tab in await got.json():
                    if tab["type"] == "page":
                        return str(tab["webSocketDebuggerUrl"])
            await _clock.sleep(0.02)


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
