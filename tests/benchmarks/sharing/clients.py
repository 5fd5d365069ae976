"""Many clients that send one request at the same moment, and the result of each."""

import asyncio
import gc
from collections import Counter
from statistics import median
from time import perf_counter
from typing import NamedTuple, cast

from proxy.clock import SystemClock
from tests.benchmarks.sharing.backend import Backend, Call, framed
from tests.benchmarks.sharing.cases import Case

PROMPT_S = 0.015  # from the backend's answer to the first client's
ANSWERED_WITHIN_S = 60.0  # whoever has no answer by then has none
CLOCK = SystemClock()


class Result(NamedTuple):
    """What one round showed, in ms. `behind_ms`: how long after their leader the median follower was answered (where he
    left: after the first of them, or after the backend, if even that one came late); None where nobody followed.
    """

    calls: int
    p50_ms: float
    max_ms: float
    leader_ms: float | None  # None: he left
    behind_ms: float | None
    statuses: Counter[str]
    wrong: int  # answers that were another user's


class Client(asyncio.Protocol):
    """One connection that asks once. `status` is "cut" if it ended without a whole answer, "none" if nothing came."""

    def __init__(self, number: int, user: str) -> None:
        self.number = number
        self.user = user
        self.status = "none"
        self.body = b""
        self.ended = 0.0
        self.done = asyncio.get_running_loop().create_future()
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own are no subclasses

    def ask(self, data: bytes) -> None:
        """Send the request."""
        self._transport.write(data)

    def leave(self) -> None:
        """Hang up."""
        self.status = "left"
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._read += data
        if (message := framed(self._read)) and self.status == "none":
            head, self.body, _ = message
            self._end(head.split(b" ", 2)[1].decode())

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._end(self.status if self.status == "left" else "cut")

    def _end(self, status: str) -> None:
        self.status, self.ended = status, perf_counter()
        self.done.set_result(None)


async def play(case: Case, backend: Backend, port: int, count: int, round_: str) -> Result:
    """Let `count` clients ask a proxy on `port` together."""
    loop = asyncio.get_running_loop()
    clients = [Client(number, case.user(number)) for number in range(count)]
    for client in clients:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]  # its default
    gc.collect()
    gc.disable()  # a pause of ours would be measured as theirs
    try:
        began = perf_counter()
        for client in clients:
            client.ask(case.request(client.number, round_))
        if case.leaves_after_s is not None:
            first = await _first_call(backend, case.target(round_))
            await CLOCK.sleep(first.due - case.takes_s + case.leaves_after_s - perf_counter())
            clients[first.client].leave()
        await asyncio.wait([client.done for client in clients], timeout=ANSWERED_WITHIN_S)
    finally:
        gc.enable()
    result = _result(case, clients, backend.calls[case.target(round_)], began)
    for client in clients:
        client.leave()
    return result


async def _first_call(backend: Backend, target: str) -> Call:
    async with asyncio.timeout(ANSWERED_WITHIN_S):
        while not backend.calls[target]:
            await CLOCK.sleep(0.005)
    return backend.calls[target][0]


def _result(case: Case, clients: list[Client], calls: list[Call], began: float) -> Result:
    stayed = [client for client in clients if client.status != "left"]
    took = [((client.ended or perf_counter()) - began) * 1000 for client in stayed]
    leader = clients[calls[0].client]
    return Result(
        calls=len(calls),
        p50_ms=median(took),
        max_ms=max(took),
        leader_ms=(leader.ended - began) * 1000 if leader in stayed else None,
        behind_ms=_behind(clients, calls),
        statuses=Counter(client.status for client in stayed),
        wrong=sum(client.body.decode() != client.user for client in stayed if client.status == "200"),
    )


def _behind(clients: list[Client], calls: list[Call]) -> float | None:
    """Return by how much the followers, whose requests never reached the backend, came after their user's leader."""
    led = {call.client for call in calls}
    followers = [client for client in clients if client.number not in led and client.ended]
    if not followers:
        return None
    came: dict[str, float] = {}
    for call in reversed(calls):  # so that the first one of each user stands
        leader = clients[call.client]
        came[call.user] = leader.ended if leader.status != "left" else _stand_in(followers, call.due)
    first = came[calls[0].user]
    return median(follower.ended - came.get(follower.user, first) for follower in followers) * 1000


def _stand_in(followers: list[Client], due: float) -> float:
    """Return when a leader who left would have been answered: as the first follower was, unless even he came late."""
    first = min(follower.ended for follower in followers)
    return first if first - due < PROMPT_S else due
