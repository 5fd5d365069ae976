"""Mistakes of `tests.planted` that the simulation of the whole finds, each with a seed and the invariant that breaks.

`python -m tests.simulation --planted` plants each in a copy of the source and plays its seed; with `--search` it looks
for a new seed. A change of the plans or of the product may move a seed.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tests.planted.mistake import Mistake
from tests.planted.mistakes import MISTAKES
from tests.planted.runner import BadRunError, copied

_BROKEN = re.compile(r"^seed (\d+): (\w+): ", re.MULTILINE)


class Found(NamedTuple):
    """A seed, and an invariant that it breaks."""

    seed: int
    invariant: str


FOUND: dict[str, Found] = {
    "claim-of-another-taken": Found(13, "one_sender"),
    "lease-never-renewed": Found(77, "one_sender"),
    "invalidation-not-sent": Found(3, "read_your_writes"),
    "own-deadline-not-watched": Found(3, "within_the_deadline"),
    "dialling-not-counted": Found(18, "within_the_deadline"),
    "store-asked-after-the-deadline": Found(152, "within_the_deadline"),
    "post-repeated-on-stale": Found(47, "written_once"),
    "retry-post-that-was-sent": Found(44, "written_once"),
    "join-finished-flight": Found(0, "nothing_left"),
    "torn-line-stays": Found(37, "unbroken_chain"),
    "short-write-repeated-whole": Found(46, "one_record"),
    "written-again-behind-itself": Found(66, "one_record"),
    "flush-without-sync": Found(31, "one_record"),
}


def named(names: Iterable[str]) -> list[Mistake]:
    """Return the mistakes with these names. Raise KeyError for an unknown one."""
    known = {mistake.name: mistake for mistake in MISTAKES}
    return [known[name] for name in names]


def played(mistake: Mistake, seeds: range) -> Found | None:
    """Play seeds in a copy of the source with a mistake until one fails; return it, None if none does."""
    with copied() as tree, tree.mistaken(mistake):
        options = ["--seed", str(seeds.start), "--runs", str(len(seeds)), "--jobs", "1", "--first"]
        done = subprocess.run(
            [sys.executable, "-m", "tests.simulation", *options], cwd=tree.root,
            env={**os.environ, "PYTHONPATH": str(tree.root)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if found := _BROKEN.search(done.stdout):
        return Found(int(found[1]), found[2])
    if done.returncode:
        raise BadRunError(f"{mistake.name}: the simulation ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    return None


def checked(names: Iterable[str]) -> Iterator[tuple[str, Found | None]]:
    """Yield for each mistake of the table what its own seed shows."""
    for mistake in named(names):
        seed = FOUND[mistake.name].seed
        yield mistake.name, played(mistake, range(seed, seed + 1))


def searched(names: Iterable[str], runs: int) -> Iterator[tuple[str, Found | None]]:
    """Yield for each mistake the first seed that finds it, among so many."""
    for mistake in named(names):
        yield mistake.name, played(mistake, range(runs))
