"""The tour's browser: what a user's tab would see, and when. Nothing is retried here, so that each call counts."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

from proxy.clock import Clock

USER = {"Authorization": "Bearer demo-user"}
"""All tabs belong to one user: answers are never shared between two."""


class NetworkError(Exception):
    """The connection was refused, or broke before a whole answer came."""


async def once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Raise NetworkError for a broken connection; aiohttp by itself would send a GET again, unseen and uncounted."""
    try:
        return await send(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise NetworkError(str(error)) from error


@dataclass(frozen=True, slots=True)
class BrowserAnswer:
    """What one request came to, in milliseconds; `status` is 0 when there was no answer, and `error` says why."""

    status: int
    ms: float
    body: bytes = b""
    headers: Mapping[str, str] | None = None
    error: str = ""

    def __str__(self) -> str:
        return str(self.status or self.error)

    def words(self) -> str:
        """Return what a user would be shown: "429 Too Many Requests"."""
        return f"{self.status} {HTTPStatus(self.status).phrase}" if self.status else self.error

    def header(self, name: str) -> str:
        """Return the named field's value, or an empty string."""
        return (self.headers or {}).get(name.lower(), "")


def tally(answers: Iterable[BrowserAnswer]) -> str:
    """Return how often which answer came: "1 x 201, 49 x 409"."""
    return ", ".join(f"{times} x {answer}" for answer, times in sorted(Counter(map(str, answers)).items()))


def status_of(report_id: str) -> str:
    """Return the path of the first half of a restoration."""
    return f"/api/conversations/{report_id}/status"


def history_of(report_id: str) -> str:
    """Return the path of the second half."""
    return f"/api/conversations/{report_id}/history"


class Browser:
    """Ask `base` as one user would; requests share nothing, not even a connection, and end after `patience` seconds.

    `sent` counts the requests, so that they can be compared with the audit records.
    """

    __slots__ = ("_base", "_clock", "_patience", "_session", "sent")

    def __init__(self, base: str, clock: Clock, patience: float) -> None:
        self._base = base
        self._clock = clock
        self._patience = patience
        self.sent = 0

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            self._base,
            headers=USER,
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=self._patience),
            middlewares=[once],
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.close()

    async def get(self, path: str) -> BrowserAnswer:
        """GET `path`."""
        return await self._ask("GET", path)

    async def get_all(self, paths: Iterable[str]) -> list[BrowserAnswer]:
        """GET all `paths` at once."""
        return await asyncio.gather(*(self.get(path) for path in paths))

    async def create(self, report_id: str, key: str) -> BrowserAnswer:
        """Create the report's session, as one tab with its own idempotency key."""
        asked = {"reportId": report_id, "view": "manual"}
        return await self._ask("POST", "/api/sessions", json=asked, headers={"Idempotency-Key": key})

    async def _ask(self, method: str, path: str, **extra: Any) -> BrowserAnswer:
        self.sent += 1
        began = self._clock.now()
        try:
            async with self._session.request(method, path, **extra) as answer:
                body = await answer.read()
        except (NetworkError, aiohttp.ClientError):
            return BrowserAnswer(0, self._ms(began), error="network error")
        except TimeoutError:
            return BrowserAnswer(0, self._ms(began), error="no answer")
        return BrowserAnswer(answer.status, self._ms(began), body, answer.headers)

    def _ms(self, began: float) -> float:
        return (self._clock.now() - began) * 1000


async def ask_on_one_connection(base: str, paths: Iterable[str], clock: Clock, patience: float) -> list[BrowserAnswer]:
    """GET `paths` one after the other on one raw kept-alive socket: a measure without a client library's own cost.

    Ends early, with the reason as the last answer, when the connection breaks or `patience` seconds have passed.
    """
    answers: list[BrowserAnswer] = []
    address = urlsplit(base)
    try:
        async with asyncio.timeout(patience), _connection(address.hostname, address.port) as connection:
            for path in paths:
                answers.append(await _ask_raw(*connection, path, address.netloc, clock))  # noqa: PERF401 - kept on error
    except TimeoutError:
        answers.append(BrowserAnswer(0, patience * 1000, error="no answer"))
    except (NetworkError, EOFError, OSError):
        answers.append(BrowserAnswer(0, 0, error="network error"))
    return answers


@asynccontextmanager
async def _connection(
    host: str | None, port: int | None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _ask_raw(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, host: str, clock: Clock
) -> BrowserAnswer:
    fields = "".join(f"{name}: {value}\r\n" for name, value in USER.items())
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode()
    began = clock.now()
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").rstrip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    if "content-length" not in headers:
        raise NetworkError("an answer of unknown length")
    body = await reader.readexactly(int(headers["content-length"]))
    return BrowserAnswer(int(status_line.split()[1]), (clock.now() - began) * 1000, body, headers)
