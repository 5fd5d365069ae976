"""The attackers, and the same volume of harmless traffic."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from itertools import count
from urllib.parse import urlsplit

from proxy.clock import SystemClock
from tests.e2e.filling.attacks import ATTACKS, Held, RequestAttack, harmless
from tests.e2e.filling.remote import Handle
from tests.e2e.raw import BROKEN, Client

CONNECTIONS = 8  # of each attack by requests
STOPS_WITHIN_S = 5.0
_clock = SystemClock()
_numbers = {name: count() for name in ATTACKS}  # go on from one turn to the next


async def start() -> Handle:
    """Return what starts and stops attacks."""
    return Crowd().do


class Crowd:
    """Everybody but the honest client."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._done: dict[str, int] = {}

    async def do(self, what: str, url: str = "", names: Sequence[str] = (), share: float = 1.0) -> dict[str, int]:
        """Carry out `attack` or `harmless` at a share of the attacks' rates, or `stop`; return what was done."""
        if what == "stop":
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=STOPS_WITHIN_S)
            self._tasks, done, self._done = [], self._done, {}
            return done
        for name in names:
            attack = ATTACKS[name] if what == "attack" else harmless(ATTACKS[name])
            attack = attack._replace(rate=attack.rate * share)
            self._begin(
                self._ask(url, name, attack) if isinstance(attack, RequestAttack) else self._hold(url, name, attack)
            )
        return {}

    def _begin(self, doing: Coroutine[None, None, None]) -> None:
        self._tasks.append(asyncio.ensure_future(doing))

    async def _ask(self, url: str, name: str, attack: RequestAttack) -> None:
        """Send requests when they are due, on some connections: none faster than it is answered."""
        due = _ticks(attack.rate)
        await asyncio.gather(*[self._ask_on(url, name, attack, due) for _ in range(CONNECTIONS)])

    async def _ask_on(self, url: str, name: str, attack: RequestAttack, due: Iterator[float]) -> None:
        client, loop, numbers = None, asyncio.get_running_loop(), _numbers[name]
        for at in due:
            await _clock.sleep(max(0.0, at - loop.time()))
            n = next(numbers)
            try:
                client = client or await Client.connect(url, f"127.0.1.{1 + n % attack.addresses}")
                self._count(f"{name}: {(await client.ask(attack.made(n))).status}")
            except (*BROKEN, OSError):
                self._count(f"{name}: broken")
                client = None
            if client is not None and attack.addresses > 1:
                client.leave()
                client = None

    def _count(self, what: str) -> None:
        self._done[what] = self._done.get(what, 0) + 1

    async def _hold(self, url: str, name: str, attack: Held) -> None:
        """Open connections at the attack's rate, and say something on each; one that is closed is opened again."""
        loop, held = asyncio.get_running_loop(), set[asyncio.Task[None]]()
        try:
            for at, n in zip(_ticks(attack.rate), _numbers[name], strict=False):
                await _clock.sleep(max(0.0, at - loop.time()))
                while len(held) >= attack.most:
                    await asyncio.wait(held, return_when=asyncio.FIRST_COMPLETED)
                task = asyncio.ensure_future(self._hold_one(url, name, attack, n))
                held.add(task)
                task.add_done_callback(held.discard)
        finally:
            for task in held:
                task.cancel()

    async def _hold_one(self, url: str, name: str, attack: Held, n: int) -> None:
        loop, at = asyncio.get_running_loop(), urlsplit(url)
        gone: asyncio.Future[None] = loop.create_future()
        self._count(f"{name}: held")
        try:
            transport, _ = await loop.create_connection(
                lambda: _Holder(gone), at.hostname or "", at.port or 0, local_addr=(f"127.0.2.{1 + n % 2}", 0)
            )  # fmt: skip
        except OSError:
            self._count(f"{name}: not let in")
            return
        try:
            data = attack.made(n)
            for start in range(0, len(data), attack.piece):
                transport.write(data[start : start + attack.piece])
                if attack.piece < len(data):
                    await _clock.sleep(0.001)
            await gone
        finally:
            transport.abort()


class _Holder(asyncio.Protocol):
    """A connection that reads nothing, until the other side ends it."""

    def __init__(self, gone: asyncio.Future[None]) -> None:
        self._gone = gone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._gone.done():
            self._gone.set_result(None)


def _ticks(rate: float) -> Iterator[float]:
    """Yield when each is due: so many a second, and no more after a time in which there were fewer."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        yield due
        due = max(due + 1 / rate, loop.time())
