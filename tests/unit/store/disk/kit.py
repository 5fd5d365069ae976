"""A durable store on a real folder, and what a crash would leave of it."""

import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from proxy.clock import Clock, SystemClock
from proxy.config.settings import StoreTable
from proxy.exchange.ports import Scope
from proxy.http.fields import Fields
from proxy.http.message import Response
from proxy.policy.claim_rules import Claim
from proxy.policy.response_cache import CachedResponse
from proxy.store.disk.disk_bundle import DiskBundle
from proxy.store.disk.disk_writer import DiskWriter
from proxy.store.disk.folder import StoreFolder

ADA, EVE = b"ada-digest", b"eve-digest"
DAY = 86_400.0


class SetClock:
    """A clock whose two times a test sets."""

    def __init__(self, now: float = 100.0, wall: float = 1_000_000.0) -> None:
        self.at, self.wall_at = now, wall

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return self.wall_at

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self.at += seconds
        self.wall_at += seconds

    async def sleep(self, seconds: float) -> None:
        self.pass_(seconds)


@asynccontextmanager
async def opened(
    folder: Path, clock: Clock | None = None, failures: Counter[str] | None = None, **settings: Any
) -> AsyncIterator[DiskBundle]:
    """Run a durable store on a folder."""
    counted = Counter[str]() if failures is None else failures
    table = StoreTable.model_validate({"url": f"sqlite://{folder}", **settings})

    def count(operation: str) -> None:
        counted[operation] += 1

    bundle = DiskBundle(table, clock or SystemClock(), count)
    await bundle.start()
    try:
        yield bundle
    finally:
        await bundle.close()


def trusted(folder: StoreFolder) -> bool:
    """Tell whether the next start trusts the file."""
    return folder.trusted


def crashed(folder: Path) -> Path:
    """Return a copy of the folder as it is now: what a process leaves that is killed at this moment."""
    copy = folder.with_name(f"{folder.name}-after")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    return copy


async def on_disk(bundle: DiskBundle) -> None:
    """Wait until everything that was given to the store so far is on the disk."""
    writer = bundle._writer
    assert isinstance(writer, DiskWriter)
    assert await writer.durable(writer.last, 30.0)


def a_response(body: bytes = b"{}", wall: float = 1_000_000.0, stamp: int = 0) -> CachedResponse:
    """Return a response to keep."""
    return CachedResponse(Response(200, b"OK", Fields(((b"Content-Type", b"text/plain"),)), body), wall, stamp)


async def keep(bundle: DiskBundle, key: bytes, subject: str | None, *owners: bytes, body: bytes = b"{}") -> None:
    """Keep a response for a day."""
    cached = a_response(body, bundle.clock.wall(), bundle.invalidations.stamp())
    await bundle.responses.put(key, cached, DAY, Scope(subject, owners), None)


async def has(bundle: DiskBundle, key: bytes) -> bool:
    """Tell whether a response is kept under a key."""
    return (await bundle.responses.look(key, Scope(None, ()))).cached is not None


def a_claim(name: str = "c-1", fingerprint: str = "f-1", subject: str | None = "r-1") -> Claim:
    """Return a claim on a client's key."""
    return Claim(name, fingerprint, "key-1", DAY, DAY, subject=subject)
