"""`python -m tests.growth` prints, for every function and message, its worst input and how the work grows."""

import asyncio
import os
import tempfile
from pathlib import Path

from tests.growth.functions import CASES
from tests.growth.judge import costed, judged
from tests.growth.measure import TIMES, yardstick
from tests.growth.messages import SIZE, messages, staged
from tests.loop import CheckedLoop


async def _messages(folder: Path) -> None:
    print(f"\n| message of {SIZE} bytes | worst filling, after | ms of the loop |\n| --- | --- | --- |")
    async with staged(folder) as stage:
        for message in messages():
            cost = await costed(stage, message, yardstick())
            after = message.around.before[-24:]
            print(f"| {message.name} | {cost.filling}, after `{after!r}` | {cost.seconds * 1000:.2f} |", flush=True)


def main() -> None:
    """Print both tables."""
    enough_s = yardstick()
    print(
        f"| function | worst input | ms | time x{TIMES} | lines of Python x{TIMES} |\n| --- | --- | --- | --- | --- |"
    )
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for case in CASES:
            name, filling, before, grown = judged(case, enough_s)
            row = (
                f"{name} | {filling}, after `{before!r}` | {grown.ms:.2f} | {grown.times:.1f} | {grown.steps_times:.1f}"
            )
            print(f"| {row} |", flush=True)
        with asyncio.Runner(loop_factory=CheckedLoop) as runner:
            runner.run(_messages(Path(folder)))
        os.chdir("/")


if __name__ == "__main__":
    main()
