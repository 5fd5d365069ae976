"""Plant mistakes in a copy of the source, and see that the tests find each: `python -m tests.planted`.

The exit status is 1 if one survives, 2 if an entry does not fit the source or the tests cannot be run.
"""

import argparse
import random
import sys
from collections.abc import Sequence

from tests.planted.mistake import Mistake, OutOfStepError
from tests.planted.mistakes import MISTAKES
from tests.planted.runner import BadRunError, Verdict, copied, verdicts


def chosen(mistakes: Sequence[Mistake], only: Sequence[str], sample: int | None, seed: str) -> list[Mistake]:
    """Return the mistakes to plant: those that are named, or a sample of those that are not equivalent."""
    if only:
        return [mistake for mistake in mistakes if mistake.name in only]
    candidates = [mistake for mistake in mistakes if not mistake.equivalent]
    if sample is None:
        return candidates
    return random.Random(seed).sample(candidates, min(sample, len(candidates)))


def run(mistakes: Sequence[Mistake]) -> list[Verdict[Mistake]]:
    """Print and return the verdict on each mistake. Raise BadRunError, OutOfStepError.

    At the end the tests that found one must pass without any.
    """
    width = max((len(mistake.name) for mistake in mistakes), default=0)
    with copied() as tree:
        told = []
        for verdict in verdicts(tree, mistakes):
            told.append(verdict)
            found_by = verdict.found_by or "SURVIVED"
            print(f"{verdict.mistake.name:<{width}}  {verdict.seconds:5.1f} s  {found_by}", flush=True)
        finders = sorted({verdict.found_by for verdict in told if verdict.found_by})
        if finders and (wrong := tree.test(finders)):
            raise BadRunError(f"{wrong} fails without a mistake too, so it has found none")
    return told


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser("python -m tests.planted", description=__doc__)
    parser.add_argument("--list", action="store_true", help="print every mistake and plant none")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="plant this mistake; repeatable")
    parser.add_argument("--sample", type=int, metavar="N", help="plant N mistakes, chosen by --seed")
    parser.add_argument("--seed", default="0", metavar="S", help="any text")
    options = parser.parse_args(arguments)
    if unknown := set(options.only) - {mistake.name for mistake in MISTAKES}:
        parser.error(f"there is no mistake {', '.join(sorted(unknown))}: --list prints all")
    if options.list:
        for mistake in MISTAKES:
            note = f" Equivalent: {mistake.equivalent}" if mistake.equivalent else ""
            print(f"{mistake.name} ({mistake.file}): {mistake.says}{note}")
        return 0
    try:
        told = run(chosen(MISTAKES, options.only, options.sample, options.seed))
    except (BadRunError, OutOfStepError) as error:
        print(error, file=sys.stderr)
        return 2
    survived = [verdict.mistake.name for verdict in told if not verdict.found_by]
    print(
        f"{len(told) - len(survived)} of {len(told)} found" + (f"; survived: {', '.join(survived)}" if survived else "")
    )
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
