"""Read an issuer's keys in the background, at most once a minute. Known keys outlive the issuer's outage."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Any, Final, Protocol, TypeVar

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

from proxy.config.principal_table import PrincipalTable
from proxy.policy.issuer_keys import IssuerKeys
from proxy.principals.keys import KeysError, KeySet, read_keys
from proxy.regular_file import read_regular
from proxy.runtime.threads import in_daemon_thread
from proxy.text import escaped
from proxy.transport.tls import TlsFiles, client_context

AT_MOST_EVERY_S: Final = 60.0  # also for tokens that name an unknown key
REFRESH_S: Final = 300.0  # so soon a withdrawn key is noticed
MOST_BYTES: Final = 256 * 1024  # of a document
_WITHIN_S: Final = 10.0  # for one document, its connection included
_REDIRECTS: Final = range(300, 400)
_HEADERS: Final = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}

T = TypeVar("T")


class KeysObserver(Protocol):
    """What is told about keys. No method raises or waits."""

    def keys_read(self, principal: str, count: int) -> None:
        """Report new keys."""
        ...

    def keys_failed(self, principal: str, detail: str) -> None:
        """Report that keys could not be read; the known ones stay."""
        ...


@dataclass(frozen=True, slots=True)
class KeysPlace:
    """Where the keys of an issuer are, and for which algorithms."""

    url: str | None
    file: str | None
    tls_ca: str | None
    algorithms: tuple[str, ...]

    @classmethod
    def of(cls, table: PrincipalTable) -> "KeysPlace":
        """Return the place in a table."""
        return cls(table.jwks, table.jwks_file, table.tls_ca, table.algorithms)


class KeySource:
    """Keep one issuer's keys current. `sweep` is called often and starts a read when one is due."""

    def __init__(self, name: str, place: KeysPlace, observer: KeysObserver) -> None:
        self.place = place
        self.keys = IssuerKeys()
        self.failure = ""  # why the last read failed
        self.read_at = -inf  # when the keys were last confirmed, in the loop's time
        self._name = name
        self._observer = observer
        self._document = b""
        self._members: frozenset[str] = frozenset()
        self._began_at = -inf
        self._task: asyncio.Task[None] | None = None
        self._blocked: asyncio.Future[Any] | None = None  # a thread, which may hang in the kernel

    def inherit(self, before: "KeySource") -> None:
        """Begin with the document of an earlier source of the same site, for other algorithms.

        The site may be away when the algorithms are changed.
        """
        if replace(before.place, algorithms=self.place.algorithms) == self.place and before._document:
            with suppress(KeysError):
                self.use(before._document, read_keys(before._document, self.place.algorithms))
                self.read_at = before.read_at

    def use(self, document: bytes, keys: KeySet) -> None:
        """Use the keys of a document. The same keys change nothing: every token would be judged again."""
        self._document = document
        if keys.members != self._members:
            self._members = keys.members
            self.keys.replace(keys.check, len(keys))
            self._observer.keys_read(self._name, len(keys))

    def sweep(self, now: float) -> None:
        """Start a read if the keys are old, or missing, and the last read began a minute ago. `now`: seconds."""
        since_s = now - self._began_at
        soon = self.keys.wanted or bool(self.failure) or self.place.file is not None
        if self._is_idle and since_s >= (AT_MOST_EVERY_S if soon else REFRESH_S):
            self._began_at = now
            self._task = asyncio.get_running_loop().create_task(self._refresh(now))

    @property
    def _is_idle(self) -> bool:
        return self._task is None and (self._blocked is None or self._blocked.done())

    async def first_read(self) -> None:
        """Wait for the read that is under way, if the keys have never been read."""
        if self._task is not None and not self.keys.count:
            await asyncio.wait((self._task,))

    async def _refresh(self, now: float) -> None:
        self.keys.wanted = False
        try:
            async with asyncio.timeout(_WITHIN_S):
                document = await self._read()
                keys = await self._in_thread(partial(read_keys, document, self.place.algorithms))
        except Exception as error:  # of the network, its library or the document: the known keys stay in any case
            late = isinstance(error, TimeoutError)
            self._fail(f"no answer within {_WITHIN_S:g} s" if late else str(error) or type(error).__name__)
        else:
            self.failure, self.read_at = "", now
            self.use(document, keys)
        finally:
            self._task = None

    def _fail(self, detail: str) -> None:
        self.failure = escaped(detail[:200])
        self._observer.keys_failed(self._name, self.failure)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        """Return what a blocking call returns. While the thread of one hangs, no further read begins."""
        blocked = asyncio.ensure_future(in_daemon_thread(call))
        self._blocked = blocked
        return await asyncio.shield(blocked)

    async def _read(self) -> bytes:
        if self.place.file is not None:
            return await self._in_thread(partial(read_regular, self.place.file, MOST_BYTES))
        return await self._fetched(self.place.url or "")

    async def _fetched(self, url: str) -> bytes:
        """Return the document at a URL. Raise KeysError for another answer than 200: no redirect is followed."""
        tls: ssl.SSLContext | bool = True
        if url.startswith("https:"):  # it reads the authorities' files
            tls = await self._in_thread(partial(client_context, TlsFiles(None, None, self.place.tls_ca)))
        session = ClientSession(
            connector=TCPConnector(ssl=tls, force_close=True), cookie_jar=DummyCookieJar(), auto_decompress=False,
            timeout=ClientTimeout(total=_WITHIN_S),
        )  # fmt: skip
        async with session, session.get(url, headers=_HEADERS, allow_redirects=False) as response:
            if response.status != 200:
                cure = ": write the URL to which it redirects" if response.status in _REDIRECTS else ""
                raise KeysError(f"the issuer answered {response.status}{cure}")
            document = b""
            while piece := await response.content.read(MOST_BYTES):
                document += piece
                if len(document) > MOST_BYTES:
                    raise KeysError(f"the document has more than {MOST_BYTES} bytes")
            return document

    def close(self) -> None:
        """Stop reading."""
        for running in (self._task, self._blocked):
            if running is not None:
                running.cancel()


def read_key_file(table: PrincipalTable) -> tuple[bytes, KeySet]:
    """Return the document and the keys of `jwks_file`. Raise OSError or KeysError. It blocks."""
    document = read_regular(table.jwks_file or "", MOST_BYTES)
    return document, read_keys(document, table.algorithms)
