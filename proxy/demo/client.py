"""Send and measure requests as a browser tab does. Never retry, so that each call is one request."""

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
"""All tabs belong to one user, because responses are never shared between users."""


class NetworkError(Exception):
    """The connection was refused, or broke before the whole response arrived."""


async def once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Raise NetworkError for a broken connection. Otherwise aiohttp would repeat a GET, which nothing counts."""
    try:
        return await send(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise NetworkError(str(error)) from error


@dataclass(frozen=True, slots=True)
class BrowserResponse:
    """The result of one request. `ms` is milliseconds; `status` is 0 without a response, and `error` says why."""

    status: int
    ms: float
    body: bytes = b""
    headers: Mapping[str, str] | None = None
    error: str = ""

    def __str__(self) -> str:
        return str(self.status or self.error)

    def words(self) -> str:
        """Return what a user would see: "429 Too Many Requests"."""
        return f"{self.status} {HTTPStatus(self.status).phrase}" if self.status else self.error

    def header(self, name: str) -> str:
        """Return the named field's value, or an empty string."""
        return (self.headers or {}).get(name.lower(), "")


def tally(responses: Iterable[BrowserResponse]) -> str:
    """Return the count of each status: "1 x 201, 49 x 409"."""
    return ", ".join(f"{times} x {response}" for response, times in sorted(Counter(map(str, responses)).items()))


def status_of(report_id: str) -> str:
    """Return the path of the first request of a restoration."""
    return f"/api/conversations/{report_id}/status"


def history_of(report_id: str) -> str:
    """Return the path of the second request of a restoration."""
    return f"/api/conversations/{report_id}/history"


class Browser:
    """Send requests to `base` as one user. Each request has its own connection and a timeout of `patience` seconds.

    `sent` counts the requests, so that they can be compared with the audit records.
    """

    __slots__ = ("_base", "_clock", "_patience", "_session", "sent")

    def __init__(self, base: str, clock: Clock, patience: float) -> None:
        self._base = base
        self._clock = clock
        self._patience = patience
        self.sent = 0

    @property
    def base(self) -> str:
        """Return the URL that the requests go to."""
        return self._base

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

    async def get(self, path: str) -> BrowserResponse:
        """GET `path`."""
        return await self._send("GET", path)

    async def get_all(self, paths: Iterable[str]) -> list[BrowserResponse]:
        """GET all `paths` at once."""
        return await asyncio.gather(*(self.get(path) for path in paths))

    async def create(self, report_id: str, key: str) -> BrowserResponse:
        """Create the report's session with the tab's own idempotency key."""
        body = {"reportId": report_id, "view": "manual"}
        return await self._send("POST", "/api/sessions", json=body, headers={"Idempotency-Key": key})

    async def _send(self, method: str, path: str, **extra: Any) -> BrowserResponse:
        self.sent += 1
        began = self._clock.now()
        try:
            async with self._session.request(method, path, **extra) as response:
                body = await response.read()
        except (NetworkError, aiohttp.ClientError):
            return BrowserResponse(0, self._ms(began), error="network error")
        except TimeoutError:
            return BrowserResponse(0, self._ms(began), error="no response")
        return BrowserResponse(response.status, self._ms(began), body, response.headers)

    def _ms(self, began: float) -> float:
        return (self._clock.now() - began) * 1000


async def get_on_one_connection(
    base: str, paths: Iterable[str], clock: Clock, patience: float
) -> list[BrowserResponse]:
    """GET `paths` one after another on one raw keep-alive connection, to measure without a client library's overhead.

    Stop early if the connection breaks or `patience` seconds have passed. The last response then has the reason.
    """
    responses: list[BrowserResponse] = []
    address = urlsplit(base)
    try:
        async with asyncio.timeout(patience), _connection(address.hostname, address.port) as connection:
            for path in paths:
                responses.append(await _get_raw(*connection, path, address.netloc, clock))  # noqa: PERF401 - kept on error
    except TimeoutError:
        responses.append(BrowserResponse(0, patience * 1000, error="no response"))
    except (NetworkError, EOFError, OSError):
        responses.append(BrowserResponse(0, 0, error="network error"))
    return responses


@asynccontextmanager
async def _connection(
    host: str | None, port: int | None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _get_raw(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, host: str, clock: Clock
) -> BrowserResponse:
    fields = "".join(f"{name}: {value}\r\n" for name, value in USER.items())
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode()
    began = clock.now()
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").rstrip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    if "content-length" not in headers:
        raise NetworkError("a response of unknown length")
    body = await reader.readexactly(int(headers["content-length"]))
    return BrowserResponse(int(status_line.split()[1]), (clock.now() - began) * 1000, body, headers)
