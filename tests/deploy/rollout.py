"""A Service with clients, and a Deployment that is rolled out: each failed request is reported with its reason."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random

from tests.deploy.pod import Pod

LAG_S = 0.6  # from a pod's deletion until no endpoint list names it; the drain delay is longer


class Traffic:
    """Clients with kept-alive connections, each to one pod until the pod closes it, as through kube-proxy."""

    def __init__(self) -> None:
        self.endpoints: list[Pod] = []
        self.answered: Counter[int] = Counter()  # by the pod's port
        self.failed: Counter[str] = Counter()
        self._told = asyncio.Event()  # set by each answer and each failure
        self._over = False

    async def run(self, clients: int, rolling: Callable[[], Awaitable[None]]) -> None:
        """Ask until `rolling` is done."""
        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(self._client(number))
            await rolling()
            self._over = True

    async def _client(self, number: int) -> None:
        random = Random(number)
        while not self._over:
            pod = random.choice(self.endpoints)
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", pod.port)
            except OSError as error:
                self._fail(f"connecting: {error}")
                continue
            for _ in range(random.randint(1, 50)):
                if not await self._ask(pod, reader, writer, random) or self._over:
                    break
            writer.close()

    async def reaches(self, pod: Pod) -> None:
        """Wait until the pod has answered somebody, or somebody was not answered."""
        while not self.answered[pod.port] and not self.failed:
            self._told.clear()
            await self._told.wait()

    def _fail(self, why: str) -> None:
        self.failed[why] += 1
        self._told.set()

    async def _ask(self, pod: Pod, reader: StreamReader, writer: StreamWriter, random: Random) -> bool:
        """Ask once; tell whether the connection may be used again."""
        path = "/slow" if random.random() < 0.01 else f"/things/{random.randrange(10_000)}"
        body = b"{}" if random.random() < 0.3 else b""
        head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: shop\r\nContent-Length: {len(body)}\r\n\r\n"
        try:
            writer.write(head.encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = next(int(line[15:]) for line in answer.split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError) as error:
            self._fail(f"{head.split()[0]}: {error!r}")
            return False
        if answer.startswith(b"http/1.1 200"):
            self.answered[pod.port] += 1
            self._told.set()
        else:
            self._fail(answer.split(b"\r\n")[0].decode())
        return b"connection: close" not in answer


class Deployment:
    """Two pods, replaced one after the other: the next begins while the last still ends."""

    def __init__(self, make: Callable[[], Pod], traffic: Traffic) -> None:
        self.pods: list[Pod] = []
        self.statuses: list[dict[str, int]] = []
        self._make = make
        self._traffic = traffic

    async def scale(self, replicas: int) -> None:
        """Start pods and list them as endpoints."""
        for _ in range(replicas):
            await self._start()

    async def roll(self, times: int) -> None:
        """Replace the oldest pod `times` times, with one more pod meanwhile that serves, and never one less."""
        async with asyncio.TaskGroup() as group:
            for replaced in range(times):
                await self._start()
                await self._traffic.reaches(self.pods[-1])
                group.create_task(self._end(self.pods[replaced]))

    async def _start(self) -> None:
        pod = self._make()
        self.pods.append(pod)
        await pod.start()
        self._traffic.endpoints.append(pod)

    async def _end(self, pod: Pod) -> None:
        ending = asyncio.ensure_future(pod.end())
        await asyncio.sleep(LAG_S)  # noqa: TID251 - endpoint lists are slow to forget
        self._traffic.endpoints.remove(pod)
        self.statuses.append(await ending)
