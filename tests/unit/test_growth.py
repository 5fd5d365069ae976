"""Time never grows faster than input: every function that takes bytes from outside, and whole messages.

`python -m tests.growth` prints the tables: function, worst input, growth.
"""

import asyncio
from pathlib import Path

import pytest

from tests.growth.case import Case
from tests.growth.functions import CASES
from tests.growth.judge import costed, judged
from tests.growth.measure import growth, yardstick
from tests.growth.messages import messages, staged
from tests.loop import CheckedLoop

ENOUGH_S = yardstick()
MOST_YARDS = 40  # of the loop for a message of 60 kB; the worst takes 6, and 5 ms were 10 where this was written


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_work_grows_no_faster_than_input(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    verdict = judged(case, ENOUGH_S)
    assert verdict.growth.linear, verdict


def test_no_message_holds_the_loop_for_long(tmp_path: Path) -> None:
    async def most() -> list[tuple[float, str, str]]:
        async with staged(tmp_path) as stage:
            costs = [await costed(stage, message, MOST_YARDS * ENOUGH_S) for message in messages()]
        return [(cost.seconds / ENOUGH_S, cost.filling, repr(cost.message)) for cost in costs]

    with asyncio.Runner(loop_factory=CheckedLoop) as runner:
        worst = max(runner.run(most()))
    assert worst[0] <= MOST_YARDS, worst


def test_what_grows_with_the_square_is_seen() -> None:
    def squared(size: int) -> None:
        gathered = b""
        for _ in range(size):
            gathered = gathered + b"x" * 40

    assert not growth(lambda: squared(500), lambda: squared(8_000), 0).linear
    assert growth(lambda: bytes(1_000_000).count(1), lambda: bytes(16_000_000).count(1), 0).linear
