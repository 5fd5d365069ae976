"""What the example's page sees in two tabs while its backend is killed and started again."""

import re
from collections import Counter
from typing import Any

from tests.e2e.examples.stage import Stage

PAGE = "/?report=val_1"
UPLOAD = 32 << 20  # bytes: more than all socket buffers on the way
_CORRELATION_ID = re.compile(r" \w[^(]*\([\w-]+\)$")


class Tab:
    """One tab of the browser, as the script in the first one reaches it: `window` or `other`."""

    def __init__(self, stage: Stage, window: str) -> None:
        self._page = stage.page
        self._window = window

    async def ask(self, expression: str) -> Any:
        """Return the value of an expression in this tab."""
        return await self._page.ask(f"{self._window}.{expression}")

    async def until(self, condition: str) -> None:
        """Wait until a condition, of this tab's `document`, is true."""
        await self._page.until(f"(document => {condition})({self._window}.document)")

    async def saw(self, text: str, times: int = 1) -> None:
        """Wait until the tab saw something so many times."""
        seen = "[...document.querySelectorAll('#seen li')]"
        await self.until(f"{seen}.filter(item => item.textContent === '{text}').length >= {times}")

    async def seen(self) -> list[tuple[str, str]]:
        """Return everything that the tab saw: of what, and which result."""
        text = "document.querySelectorAll('#seen li')"
        lines = await self._page.ask(f"[...{self._window}.{text}].map(item => item.textContent)")
        return [(what, result) for what, _, result in (line.partition(": ") for line in lines)]

    async def last(self, what: str) -> str:
        """Return the newest result of one kind."""
        return [result for kind, result in await self.seen() if kind == what][-1]

    async def restored(self) -> str:
        """Wait for the page to load its conversation; return what became of it."""
        await self.until("document.readyState === 'complete' && /conversation: /.test(document.body?.innerText)")
        shown = await self.ask("document.querySelectorAll('#conversation li').length")
        return f"the page with {shown} messages"


class Scenario:
    """One run. `rows` maps each event to what the page saw of it."""

    def __init__(self, stage: Stage) -> None:
        self.rows: dict[str, str] = {}
        self._stage = stage
        self._page = stage.page
        self._first, self._second = Tab(stage, "window"), Tab(stage, "other")

    async def play(self) -> dict[str, str]:
        """Play all acts."""
        await self._two_tabs()
        await self._reload()
        await self._kill()
        await self._outage()
        await self._restart()
        return self.rows

    async def _two_tabs(self) -> None:
        await self._page.open(self._stage.url + PAGE)
        await self._first.saw("socket: open")
        opening = f"window.other = window.open('{PAGE}'); undefined"
        await self._page.call("Runtime.evaluate", expression=opening, userGesture=True)
        await self._second.saw("socket: open")
        first, second = await self._first.last("create"), await self._second.last("create")
        self.rows["two tabs create one session"] = f"{first}, then {second}"
        await self._page.ask("say('one')")
        await self._page.ask("socket.send('two')")
        for tab in (self._first, self._second):
            await tab.saw("event: two")

    async def _reload(self) -> None:
        """Reload the second tab; before the backend goes the sidecar has what an outage needs."""
        shown = await self._reloaded()
        while not await self._stage.keeps("page", "conversation"):
            shown = await self._reloaded()
        self.rows["reload"] = shown
        await self._second.saw("socket: open")

    async def _reloaded(self) -> str:
        await self._page.ask("other.left = true, other.location = location.href, undefined")
        await self._page.until(_ARRIVED)
        if not await self._page.ask(_IS_A_PAGE):
            return "the browser's error page"
        return await self._second.restored()

    async def _kill(self) -> None:
        """Kill the backend with an EventSource, a WebSocket and an upload under way."""
        self._stage.backend.freeze()
        await self._page.ask(f"upload('report.pdf', new Blob([new Uint8Array({UPLOAD})]))")
        await self._first.until("document.querySelector('progress').value > 0")
        await self._stage.backend.kill()
        await self._first.until("/upload: /.test(document.body.innerText)")
        upload = await self._first.last("upload")
        self.rows["killed: upload"] = _CORRELATION_ID.sub(", the reason and a correlation id", upload)
        await self._first.until("/socket: closed/.test(document.body.innerText)")
        seen = dict(await self._first.seen())
        self.rows["killed: WebSocket"] = next(r for what, r in seen.items() if what == "socket")
        await self._first.until(_TRIED_AGAIN)
        self.rows["killed: EventSource"] = await self._first.last("events")

    async def _outage(self) -> None:
        await self._page.ask("window.sent = say('three'), undefined")
        self.rows["down: load the conversation"] = (await self._page.ask("load()"))["result"]
        self.rows["down: reload"] = await self._reloaded()

    async def _restart(self) -> None:
        opened = Counter(await self._first.seen())
        await self._stage.backend.start()
        self.rows["down: send a message"] = (await self._page.ask("sent"))["result"]
        await self._first.saw("socket: open", opened["socket", "open"] + 1)
        await self._page.ask("say('four')")
        await self._first.until("/event: four|ended for ever/.test(document.body.innerText)")
        stored = self._stage.backend.stored()
        events = [text for what, text in await self._first.seen() if what == "event"]
        self.rows["back: EventSource"] = f"{await self._first.last('events')}, {_compared(events, stored)}"
        self.rows["back: WebSocket"] = "open, by the page's own script"
        self.rows["back: the message of the outage"] = f"stored {_times(stored.count('three'))}"


_IS_A_PAGE = "(() => { try { return other.document.title === 'Session' } catch { return false } })()"
# Once by the kill, once by an attempt to connect again.
_TRIED_AGAIN = """document.body.innerText.match(/events: interrupted/g)?.length >= 2
  || document.body.innerText.includes('ended for ever')"""
# A tab that has left its page has a window without the mark; an error page's may not be looked at.
_ARRIVED = """(() => { try {
  return !other.left && other.document.readyState === 'complete' && other.location.href !== 'about:blank'
} catch { return true } })()"""


def _compared(events: list[str], stored: list[str]) -> str:
    return "each message once" if events == stored else f"{events} of {stored}"


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count} times")
