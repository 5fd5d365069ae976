"""Keyed payments through two replicas and a real Redis, while one caller attacks them: none is executed twice.

`python -m tests.e2e.store.payments --count 10000` pays and repeats so many, and prints what was seen.
"""

import argparse
import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from redis.exceptions import RedisError

from tests.e2e.raw import BROKEN, Call, Client, Origin, answer, request
from tests.e2e.sidecar import Child, sidecar
from tests.e2e.store.redis import RedisServer, redis_server

CONFIG = """
[[routes]]
operation = "pay"
match = "POST /pay"
principal = ["cookie:sid"]
idempotency = "replay"
store_required = true
total_timeout = "30s"
[[routes]]
operation = "order"
match = "POST /order"
idempotency = "replay"
coalesce = "subject"
subject = "body:/id"
[[routes]]
operation = "read"
match = "GET /read"
reuse = "60s"
"""
STRANGER = "127.0.0.9"  # where the attacker comes from
PAYERS = 8
BIG = b"b" * 60_000
FULL_COOKIES = 9_000
BUSY = "local n = 0 for i = 1, tonumber(ARGV[1]) do n = n + i end return n"  # keeps Redis from everybody for a while


class Seen(NamedTuple):
    """What came of it."""

    payments: int
    charged: Counter[str]
    refused: int
    attacks: Counter[str]
    keys: int

    @property
    def doubled(self) -> int:
        """Return how many payments were made more than once."""
        return sum(times > 1 for times in self.charged.values())

    @property
    def missing(self) -> int:
        """Return how many were not made at all."""
        return self.payments - len(self.charged)

    def __str__(self) -> str:
        attacks = ", ".join(f"{times} {name}" for name, times in sorted(self.attacks.items()))
        return (
            f"{self.payments} payments, each repeated: {self.doubled} doubled, {self.missing} missing; "
            f"{self.refused} times refused and sent again; {self.keys} keys in Redis\nattacks: {attacks}"
        )


class Stage(NamedTuple):
    """Two replicas, their Redis and their backend, which counts what was charged by key."""

    replicas: tuple[Child, Child]
    redis: RedisServer
    charged: Counter[str]


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """Run all four."""
    charged: Counter[str] = Counter()

    async def pay(call: Call) -> bytes:
        charged[call.header("idempotency-key")] += 1
        return answer(b"charge %d" % charged.total(), "201 Created")

    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server(folder))
        origin = Origin()
        origin.on("/pay", pay)
        origin.on("/order", answer(BIG, "201 Created"))
        origin.on("/read", answer(BIG))
        origin.on("/x", answer())
        await origin.start()
        stack.push_async_callback(origin.stop)
        children = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            running = sidecar(folder / name, origin.url, CONFIG, store__url=redis.url, store__timeout="1s")
            children.append(await stack.enter_async_context(running))
        yield Stage((children[0], children[1]), redis, charged)


async def pay_and_repeat(on: Stage, numbers: Iterator[int], until: int) -> int:
    """Pay through one replica and repeat it through the other, until it is answered; return the refusals met."""
    refused = 0
    clients = [await Client.connect(child.url) for child in on.replicas]
    while (number := next(numbers)) < until:
        asked = request("POST", "/pay", b"{}", Cookie="sid=victim", Idempotency_Key=f"payment-{number}")
        bodies = []
        for client in clients if number % 2 else reversed(clients):
            while (told := await client.ask(asked)).status != 201:
                assert told.status in (503, 504), told  # the store cannot tell, or the first answer is not settled yet
                refused += 1
            bodies.append(told.body)
        assert bodies[0] == bodies[1], (number, bodies)
    for client in clients:
        client.leave()
    return refused


Attack = Callable[[int], Awaitable[None]]


def attacks(on: Stage, done: asyncio.Event) -> dict[str, Attack]:
    """Return what one caller does, again and again, by name."""

    async def send(data: bytes) -> None:
        for child in on.replicas:
            async with await Client.connect(child.url, STRANGER) as client:
                await client.ask(data)

    async def many_cookies(n: int) -> None:
        cookies = ";".join(f"{n * FULL_COOKIES + pair:x}" for pair in range(FULL_COOKIES))
        await send(request("POST", "/x", b"", Cookie=cookies))

    async def many_keys(n: int) -> None:
        body = b'{"id": "%d%b"}' % (n, b"s" * 50_000)
        await send(request("POST", "/order", body, Idempotency_Key=f"key-{n}", Cookie=f"sid=stranger-{n}"))

    async def many_reads(n: int) -> None:
        await send(request("GET", f"/read?{n}", Cookie=f"sid=stranger-{n}"))

    async def the_victims_keys(n: int) -> None:
        await send(request("POST", "/pay", b"{}", Cookie="sid=stranger", Idempotency_Key=f"theirs-{n}"))

    async def hang_up(n: int) -> None:
        await asyncio.wait({asyncio.ensure_future(done.wait())}, timeout=0.5)
        await on.redis.hang_up(("normal", "pubsub")[n % 2])

    async def be_busy(n: int) -> None:
        async with on.redis.client() as client:
            await client.eval(BUSY, 0, "1000000")

    return {
        "cookies": many_cookies, "keys": many_keys, "reads": many_reads, "foreign keys": the_victims_keys,
        "hang-ups": hang_up, "slow commands": be_busy,
    }  # fmt: skip


async def repeat(attack: Attack, made: Counter[str], name: str, done: asyncio.Event) -> None:
    """Attack until it is over."""
    for n in count():
        if done.is_set():
            return
        try:
            await attack(n)
        except (*BROKEN, OSError, RedisError):
            made[f"{name} that broke"] += 1
        made[name] += 1
        await asyncio.wait({asyncio.ensure_future(done.wait())}, timeout=0.02)


async def run(folder: Path, payments: int) -> Seen:
    """Pay and repeat so many, under every attack at once."""
    made: Counter[str] = Counter()
    async with stage(folder) as on:
        done, numbers = asyncio.Event(), count()
        hostile = [asyncio.ensure_future(repeat(how, made, name, done)) for name, how in attacks(on, done).items()]
        refused = await asyncio.gather(*(pay_and_repeat(on, numbers, payments) for _ in range(PAYERS)))
        done.set()
        await asyncio.gather(*hostile)
        async with on.redis.client() as client:
            keys = int(await client.dbsize())
        charged = Counter({key: times for key, times in on.charged.items() if key.startswith("payment-")})
    return Seen(payments, charged, sum(refused), made, keys)


def main() -> int:
    """Run as a command; 0 if no payment was made twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="payments, each of which is repeated")
    with TemporaryDirectory() as folder:
        seen = asyncio.run(run(Path(folder), parser.parse_args().count))
    print(seen)
    return 0 if not seen.doubled and not seen.missing else 1


if __name__ == "__main__":
    raise SystemExit(main())
