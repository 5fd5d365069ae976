"""Histories of many users over a crash: `python -m tests.e2e.store.histories [SUBJECTS]`.

They are cached through a sidecar with a durable store, which is killed with SIGKILL; the backend goes down; the next
sidecar starts. It prints how long that takes until the sidecar is ready and until the first history is there, and
reads every history: its own bytes, and its true Age.
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from proxy.clock import SystemClock
from tests.e2e.raw import Answer, Call, Client, Origin, answer, request
from tests.e2e.store.durable import ROUTES, durable, killed, written

SUBJECTS = 10_000
BODY = 1_500  # bytes of a history
CONNECTIONS = 20
BOUNDS = {"store__max_entries": "20000", "store__max_bytes": "128MiB"}


class Seen(NamedTuple):
    """What a run showed: seconds from the ready line to the first history, and for all; and what was wrong."""

    start_s: float
    first_s: float
    all_s: float
    wrong: list[str]


def history(number: int) -> bytes:
    """Return one user's history."""
    return (b"history of %d " % number).ljust(BODY, b".")


def ask_for(number: int) -> bytes:
    """Return the request of one user."""
    return request("GET", f"/api/sessions/r-{number}", None, Authorization=f"Bearer user-{number:06d}-token")


async def serve(call: Call) -> bytes | None:
    """Answer as the backend."""
    return answer(history(int(call.target.rpartition("-")[2])), Content_Type="text/plain")


async def read_all(url: str, subjects: int) -> tuple[dict[int, Answer], dict[int, float]]:
    """Read every history over some connections; return the answers and when each came, in wall time."""
    clock, answers, at = SystemClock(), dict[int, Answer](), dict[int, float]()

    async def some(first: int) -> None:
        async with await Client.connect(url) as client:
            for number in range(first, subjects, CONNECTIONS):
                answers[number] = await client.ask(ask_for(number))
                at[number] = clock.wall()

    async with asyncio.TaskGroup() as group:
        for first in range(min(CONNECTIONS, subjects)):
            group.create_task(some(first))
    return answers, at


async def run(folder: Path, subjects: int) -> Seen:
    """Play one crash in an empty folder."""
    clock, origin = SystemClock(), Origin()
    for number in range(subjects):
        origin.on(f"/api/sessions/r-{number}", serve)
    await origin.start()
    async with durable(folder, origin.url, ROUTES, **BOUNDS) as child:
        _, cached_at = await read_all(child.url, subjects)
        await written(child)
        await killed(child)
    await origin.stop()
    began = clock.now()
    async with durable(folder, origin.url, ROUTES, **BOUNDS) as child:
        ready = clock.now()
        async with await Client.connect(child.url) as client:
            await client.ask(ask_for(subjects - 1))
        first = clock.now()
        answers, read_at = await read_all(child.url, subjects)
    wrong = [
        f"{number}: {each.status} {each.body[:20]!r} Age {each.header('age')!r}"
        for number, each in answers.items()
        if not _is_right(each, number, read_at[number] - cached_at[number])
    ]
    return Seen(ready - began, first - ready, clock.now() - ready, wrong)


def _is_right(got: Answer, number: int, age_s: float) -> bool:
    """Tell whether this is the user's own history, with an Age that is true to two seconds."""
    return got.status == 200 and got.body == history(number) and abs(int(got.header("age") or -10) - age_s) <= 2


async def main(subjects: int) -> int:
    """Play it once, and print what was seen; return 1 if a history is missing, or the first came after a second."""
    with tempfile.TemporaryDirectory() as folder:
        seen = await run(Path(folder), subjects)
    print(
        f"{subjects} histories: ready {seen.start_s:.2f} s after the start, the first {seen.first_s:.3f} s after that"
    )
    print(f"all read {seen.all_s:.1f} s after ready, {len(seen.wrong)} wrong {seen.wrong[:3]}")
    return int(bool(seen.wrong) or seen.first_s > 1)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else SUBJECTS)))
