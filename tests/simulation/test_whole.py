"""The invariants of the whole over some seeds, and that a seed decides everything.

More seeds are in a step of the continuous integration: `scripts/test schedules`.
"""

import os
import subprocess
import sys

SEEDS = 40


def run_of(hash_seed: int, *options: str) -> tuple[int, list[str]]:
    """Return the exit status and the lines of the command, which forks, in a process of its own."""
    command = [sys.executable, "-m", "tests.simulation", *options]
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()


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
