"""Run the simulation of the whole: `python -m tests.simulation --runs 1000`, or `--replay SEED`."""

import argparse
import math
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Generator
from contextlib import closing
from hashlib import blake2b
from itertools import chain

from tests.simulation.whole.apart import quiet
from tests.simulation.whole.plan import plan_of
from tests.simulation.whole.planted import FOUND, checked, searched
from tests.simulation.whole.verdict import Told, conversation, judge, judge_seeds, shortened

AT_ONCE = 20  # seeds that a child plays before it ends: each leaves some 10 MB
EVERY_S = 5.0  # between two lines of progress
MOST_SHOWN, MOST_LINES = 20, 3  # seeds that failed, and lines of each


def say(text: str) -> None:
    """Print a line now."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def judged(seeds: range, jobs: int) -> Generator[Told, None, None]:
    """Yield what each seed showed, from several processes."""
    lots = [seeds[at : at + AT_ONCE] for at in range(0, len(seeds), AT_ONCE)]
    if jobs == 1:
        yield from chain.from_iterable(map(judge_seeds, lots))
        return
    with multiprocessing.get_context("spawn").Pool(jobs, quiet) as pool:
        yield from chain.from_iterable(pool.imap_unordered(judge_seeds, lots))


class Summary:
    """What many runs showed: the seeds that failed, what happened, and the digests of what was delivered."""

    def __init__(self) -> None:
        self.failed: list[int] = []
        self._counts = Counter[str]()
        self._digests: dict[int, str] = {}

    def take(self, told: Told) -> None:
        """Add a run, and print what it broke."""
        self._counts.update(told.counts)
        self._digests[told.seed] = told.digest
        if told.broken:
            self.failed.append(told.seed)
            for line in told.broken[: MOST_LINES if len(self.failed) <= MOST_SHOWN else 0]:
                say(f"seed {told.seed}: {line}")

    @property
    def digest(self) -> str:
        """Return the digest of all runs, whatever the order in which they ended."""
        return blake2b(repr(sorted(self._digests.items())).encode(), digest_size=8).hexdigest()

    def show(self) -> None:
        """Print the counts."""
        for name, count in sorted(self._counts.items()):
            say(f"{count:9}  {name}")
        say(f"digest of all deliveries: {self.digest}")
        if self.failed:
            say(f"to see one: python -m tests.simulation --replay {min(self.failed)} --shorten")


def run(seeds: range, jobs: int, *, first: bool = False, within_s: float = math.inf) -> int:
    """Run these seeds, or those that fit into the time, or until the first that fails; return how many failed.

    Print the progress and a summary.
    """
    began = told_at = time.perf_counter()
    summary = Summary()
    with closing(judged(seeds, jobs)) as runs:
        for number, told in enumerate(runs, start=1):
            summary.take(told)
            now = time.perf_counter()
            if now - told_at >= EVERY_S or number == len(seeds) or now - began > within_s:
                told_at = now
                speed = f"{number / (now - began):.1f} a second"
                say(f"{number} of {len(seeds)} runs in {now - began:.0f} s, {speed}, {len(summary.failed)} failed")
            if (first and told.broken) or now - began > within_s:
                break
    summary.show()
    return len(summary.failed)


def plant(names: list[str], runs: int | None) -> int:
    """Plant mistakes, and print the seed and the invariant that find each; return the exit status."""
    survived = 0
    for name, found in checked(names) if runs is None else searched(names, runs):
        survived += found is None
        say(f"{name:<40} " + ("SURVIVED" if found is None else f"{found.invariant} in seed {found.seed}"))
    say(f"{len(names) - survived} of {len(names)} found")
    return 1 if survived else 0


def main() -> int:
    """Do what the arguments say; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="how many seeds to run")
    parser.add_argument("--seed", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes; default: one a core")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so many minutes")
    parser.add_argument("--first", action="store_true", help="stop at the first seed that fails")
    parser.add_argument("--replay", type=int, metavar="SEED", help="print this run as a conversation")
    parser.add_argument("--shorten", action="store_true", help="with --replay: leave out events that are not needed")
    parser.add_argument("--planted", nargs="*", metavar="MISTAKE", help="plant these mistakes, or all of the table")
    parser.add_argument("--search", action="store_true", help="with --planted: look for the first seed that finds each")
    said = parser.parse_args()
    if said.planted is not None:
        return plant(said.planted or list(FOUND), said.runs if said.search else None)
    if said.replay is None:
        seeds = range(said.seed, said.seed + said.runs)
        return 1 if run(seeds, said.jobs, first=said.first, within_s=said.minutes * 60) else 0
    verdict = judge(plan_of(said.replay))
    if said.shorten and verdict.violations:
        verdict = shortened(verdict)
    say(conversation(verdict))
    return 1 if verdict.violations else 0


if __name__ == "__main__":
    sys.exit(main())
