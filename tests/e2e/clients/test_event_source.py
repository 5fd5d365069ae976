"""What Chromium's EventSource makes of each answer to a lost backend: the table of docs/streaming.md."""

import asyncio
from collections import Counter
from itertools import groupby
from pathlib import Path

import pytest

from tests.e2e.observe.browser import CHROMIUM, Page, browser

HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: %b\r\n%b\r\n"
CORS = b"Access-Control-Allow-Origin: *\r\n"
EMPTY = b"retry: 300\n\n"
ANSWERS = {
    "503": b"HTTP/1.1 503 Away\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
    "json": HEAD % (b"application/json", b"") + b"{}",
    "closed": b"",
    "empty": HEAD % (b"text/event-stream", b"") + EMPTY,
    "elsewhere": HEAD % (b"text/event-stream", b"") + EMPTY,
}
FIRST = HEAD % (b"text/event-stream", CORS) + b"retry: 50\n\n"
EVENT = HEAD % (b"text/event-stream", CORS) + b"data: back\n\n"
LAST = 4  # the number of the connection that gets the event
PAGE = (
    HEAD % (b"text/html", b"")
    + b"""<!doctype html><script>
const logs = {}
function listen(kind, host) {
  const log = logs[kind] = []
  const events = new EventSource(`http://${host}:${location.port}/${kind}`)
  events.onopen = () => log.push('open')
  events.onerror = () => log.push(events.readyState === EventSource.CLOSED ? 'ended' : 'error')
  events.onmessage = () => { log.push('event'); events.close() }
}
const over = () => Object.values(logs).every(log => ['ended', 'event'].includes(log.at(-1)))
</script>"""
)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: Counter[str]) -> None:
    """Answer one request: an open stream that ends, the answer of its kind twice, then the event."""
    head = await reader.read(65_536)
    kind = head[5:].partition(b" ")[0].decode()
    asked[kind] += 1
    if kind in ANSWERS:
        writer.write({1: FIRST, LAST: EVENT}.get(asked[kind], ANSWERS[kind]))
    elif kind == "page":
        writer.write(PAGE)
    await writer.drain()
    writer.close()


async def _seen(page: Page) -> dict[str, list[str]]:
    """Return what each EventSource reported; the same several times in a row counts once."""
    for kind in ANSWERS:
        await page.ask(f"listen('{kind}', '{'localhost' if kind == 'elsewhere' else '127.0.0.1'}')")
    await page.until("over()")
    return {kind: [event for event, _ in groupby(log)] for kind, log in (await page.ask("logs")).items()}


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")
async def test_only_a_closed_connection_is_an_interruption(tmp_path: Path) -> None:
    """A status ends it for ever; an empty stream pretends to be connected, and needs CORS fields elsewhere."""
    asked: Counter[str] = Counter()
    server = await asyncio.start_server(lambda reader, writer: _serve(reader, writer, asked), "127.0.0.1", 0)
    async with server, browser(tmp_path) as page:
        await page.open(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/page")
        seen = await _seen(page)
    ended, interrupted = ["open", "error", "ended"], ["open", "error", "open", "event"]
    assert seen == {
        "503": ended,
        "204": ended,
        "json": ended,
        "closed": interrupted,
        "empty": ["open", "error", "open", "error", "open", "error", "open", "event"],
        "elsewhere": ended,
    }
