"""Forged tokens without end, for a sidecar of its own: `python -m tests.e2e.forgeries [seconds] [rate]`.

A backend, an issuer and a sidecar run on free ports. Live users send 500 requests a second with verified tokens: alone,
beside `rate` requests a second (10,000) of verified users, and for `seconds` (30) beside as many forgeries, none like
another. The command prints how often keys were fetched, the sidecar's memory and CPU time, and the live users' latency.
It fails if forgeries made keys be fetched more than once, or if the 99th percentile of the median second is above 1.5
times that beside verified tokens. Run nothing else meanwhile: it takes both cores.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import orjson
import psutil
import uvloop

from proxy.build import COMPILED
from proxy.clock import SystemClock
from proxy.policy.token_rules import TokenFault
from tests.e2e.forger import Sent, asking, send
from tests.e2e.sidecar import Child, sidecar
from tests.issuer_site import IssuerSite
from tests.tokens import Issuer, claims

CONFIG = """
[principal.user]
issuer = "https://id.example"
audience = "sessions"
jwks = "{url}"

[defaults]
principal = ["user"]

[[routes]]
operation = "live"
match = "GET /live/{{id}}"

[[routes]]
operation = "forged"
match = "GET /forged/{{id}}"

[[routes]]
operation = "kept"
match = "GET /kept/{{id}}"
reuse = "1h"
"""
LIVE_RATE, LIVE_USERS = 500.0, 100
LONGEST_RATIO = 1.5
_clock = SystemClock()


class Scene(NamedTuple):
    """What runs."""

    child: Child
    site: IssuerSite
    issuer: Issuer

    def token(self, **more: Any) -> bytes:
        """Return a new token that is good for an hour."""
        now = _clock.wall()
        return self.issuer.token({**claims(now, **more), "exp": int(now) + 3_600})

    async def view(self) -> dict[str, Any]:
        """Return what the status page shows of the table."""
        async with aiohttp.ClientSession(self.child.admin) as session, session.get("/events") as events:
            line = await events.content.readline()
        (view,) = orjson.loads(line.removeprefix(b"data: "))["principals"]
        return dict(view)

    async def results(self) -> dict[str, float]:
        """Return how tokens were judged so far, by result."""
        scrape, results = await self.child.scrape(), ("verified", *TokenFault)
        return {each: scrape.total("backstay_principal_tokens_total", result=each) for each in results}

    async def ask_kept(self, token: bytes, number: int) -> Sent:
        """Ask once for what the cache may have."""
        request = b"GET /kept/%d HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n\r\n" % (number, token)
        return await send(self.child.url, iter([request]), 1.0, 1.0, ("127.0.0.1",))

    def order(self, rate: float, seconds: float, *, forged: bool) -> dict[str, Any]:
        """Return an order for the load's process: of forgeries, or of as many requests of verified users."""
        tokens = [] if forged else [self.token(sub=f"load{n}").decode() for n in range(64)]
        return {
            "url": self.child.url, "path": "forged", "rate": rate, "seconds": seconds, "tokens": tokens,
            "jwks": json.loads(self.issuer.jwks()), "claims": claims(_clock.wall(), sub="u0"),
        }  # fmt: skip


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process of tests.e2e.forger; end it at the end."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.e2e.forger", *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**24,
    )  # fmt: skip
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    """Run a backend, an issuer and a sidecar that knows the issuer's keys."""
    issuer = Issuer("k1", algorithm="RS256")
    site = await IssuerSite(issuer.jwks()).start()
    try:
        async with process("backend") as backend:
            assert backend.stdout is not None
            url = f"http://127.0.0.1:{int(await backend.stdout.readline())}"
            async with sidecar(folder, url, CONFIG.format(url=site.url)) as child:
                yield Scene(child, site, issuer)
    finally:
        await site.close()


async def loaded(order: dict[str, Any]) -> Sent:
    """Carry out an order in a process of its own."""
    async with process("load") as running:
        out, _ = await running.communicate(json.dumps(order).encode())
    told = json.loads(out)
    sent = Sent(seconds=told["seconds"])
    sent.statuses.update({int(status): number for status, number in told["statuses"].items()})
    return sent


def turns(tokens: list[bytes]) -> Iterator[bytes]:
    """Yield these tokens over and over."""
    return (tokens[number % len(tokens)] for number in count())


class Phase(NamedTuple):
    """What became of live requests, and of those beside them, with the sidecar's CPU time in µs for each."""

    live: Sent
    load: Sent
    cpu_us: float


async def beside(scene: Scene, order: dict[str, Any], live: list[bytes]) -> Phase:
    """Let live users ask while an order is carried out."""
    before = cpu_s(scene.child)
    asked = asyncio.ensure_future(loaded(order))
    sent = await send(scene.child.url, asking("live", turns(live)), LIVE_RATE, order["seconds"])
    load = await asked
    answered = sum(sent.statuses.values()) + sum(load.statuses.values())
    return Phase(sent, load, (cpu_s(scene.child) - before) / answered * 1e6)


def cpu_s(child: Child) -> float:
    """Return the CPU time of the sidecar so far."""
    times = psutil.Process(child.process.pid).cpu_times()
    return float(times.user + times.system)


async def watch(child: Child, seconds: float) -> list[float]:
    """Return the sidecar's memory in MiB, six times in this time."""
    found = []
    for _ in range(6):
        await _clock.sleep(seconds / 6)
        found.append(round(psutil.Process(child.process.pid).memory_info().rss / 2**20, 1))
    return found


async def refresh(scene: Scene, seconds: float) -> tuple[int, int]:
    """Refresh a user's token every second; return how often it found what was cached, and how often it was asked."""
    found = asked = 0
    for number in range(int(seconds)):
        asked += 1
        found += (await scene.ask_kept(scene.token(sub="kept", jti=str(number)), 1)).kept
    return found, asked


def told(name: str, live: Sent, phase: Phase | None = None) -> None:
    """Print the latency of the live users."""
    p50, p99, typical = live.quantile(0.5), live.quantile(0.99), live.in_a_second(0.99)
    print(
        f"{name}: live p50 {p50:.2f} ms, p99 {p99:.2f} ms, of the median second {typical:.2f} ms, {dict(live.statuses)}"
    )
    if phase is not None:
        per_s = sum(phase.load.statuses.values()) / phase.load.seconds
        print(f"  beside {per_s:,.0f} a second, {dict(phase.load.statuses)}; {phase.cpu_us:.0f} µs of CPU a request")
    sys.stdout.flush()


async def flood(on: Scene, seconds: float, rate: float, live: list[bytes]) -> Phase:
    """Send forgeries, and print what they did."""
    fetched, before = on.site.asked, await on.results()
    memory, refreshed, phase = await asyncio.gather(
        watch(on.child, seconds), refresh(on, seconds), beside(on, on.order(rate, seconds, forged=True), live)
    )
    judged = {str(name): int(n - before[name]) for name, n in (await on.results()).items() if n > before[name]}
    told("beside forgeries", phase.live, phase)
    print("  judged:", judged)
    print(f"  fetches of keys: {on.site.asked - fetched}; remembered tokens: {(await on.view())['tokens']}")
    print("  memory over that time, MiB:", *memory)
    print("  a refreshed token found what was cached: {} of {}".format(*refreshed))
    return phase


async def run(seconds: float, rate: float) -> int:
    """Play it, and print what happened."""
    with tempfile.TemporaryDirectory() as folder:
        async with scene(Path(folder)) as on:
            print("build:", "compiled" if COMPILED else "plain")
            live, short = [on.token(sub=f"u{number}") for number in range(LIVE_USERS)], min(seconds, 10.0)
            await on.ask_kept(on.token(sub="kept"), 1)
            await send(on.child.url, asking("live", turns(live)), LIVE_RATE, 2.0)
            alone = await send(on.child.url, asking("live", turns(live)), LIVE_RATE, short)
            told("alone", alone)
            verified = await beside(on, on.order(rate, short, forged=False), live)
            told("beside verified tokens", verified.live, verified)
            fetched = on.site.asked
            forged = await flood(on, seconds, rate, live)
            fetches = on.site.asked - fetched
    p99 = [sent.in_a_second(0.99) for sent in (forged.live, verified.live, alone)]
    print("p99 of the median second beside forgeries, as a ratio:")
    print(f"  {p99[0] / p99[1]:.2f} x beside verified tokens, {p99[0] / p99[2]:.2f} x alone")
    return int(fetches > 1 or p99[0] / p99[1] > LONGEST_RATIO)


if __name__ == "__main__":
    given = [float(word) for word in sys.argv[1:]]
    sys.exit(uvloop.run(run(*(given + [30.0, 10_000.0][len(given) :]))))
