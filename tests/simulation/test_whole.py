"""The simulation of whole sidecars over some seeds: a seed decides everything, and what fails is shown and shortened.

More seeds are in a lane of their own: `scripts/test schedules`.
"""

import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.simulation.whole import verdict
from tests.simulation.whole.invariants import Violation
from tests.simulation.whole.plan import Plan, plan_of
from tests.simulation.whole.verdict import Verdict, conversation, shortened

SEEDS = 24


@pytest.fixture(autouse=True)
def _source(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--compiled"):
        pytest.skip("the simulation replaces functions of the product, which compiled callers would not look up")


def run_of(hash_seed: int, *options: str) -> tuple[int, list[str]]:
    """Return the exit status and the lines of the command, which forks, in a process of its own."""
    command = [sys.executable, "-m", "tests.simulation", *options]
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()


@pytest.mark.timeout(300)  # seconds, for a busy machine: it takes a few
def test_every_invariant_holds_and_a_seed_decides_everything() -> None:
    """In several processes and in one, with other hash seeds: equal counts, and every byte at the same instant."""
    status, first = run_of(1, "--runs", str(SEEDS), "--jobs", "2")
    assert status == 0, "\n".join(first)
    _, second = run_of(2, "--runs", str(SEEDS), "--jobs", "1")
    assert first[-1].startswith("digest of all deliveries")
    counts = [[line for line in lines if " runs in " not in line] for lines in (first, second)]
    assert counts[0] == counts[1]


def test_a_run_is_shown_as_a_conversation() -> None:
    """Who said what, and when, in virtual milliseconds; the same alone as among others."""
    status, lines = run_of(3, "--replay", "2")
    assert status == 0
    assert lines[0].startswith("seed 2: ")
    assert any("asks for" in line for line in lines)
    assert lines[-1] == "every invariant holds"


def test_a_plan_is_shortened_to_what_breaks_the_invariant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two events of many are enough; a run that breaks another invariant only does not count."""
    plan = plan_of(7)
    needed = {plan.events[3], plan.events[-2]}

    def judged(tried: Plan) -> Verdict:
        broken = "one_answer" if needed <= set(tried.events) else "no_bug"
        return Verdict(tried, (Violation(broken, "q1"),), "", (), Counter())

    monkeypatch.setattr(verdict, "judge", judged)
    found = shortened(judged(plan))
    assert set(found.plan.events) == needed
    assert conversation(found).endswith("BROKEN one_answer: q1")
