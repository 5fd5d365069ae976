"""A few planted mistakes are found, other ones for each commit; `python -m tests.planted` plants them all."""

import shutil
import subprocess
from functools import cache

import pytest

from tests.e2e.sidecar import ROOT
from tests.planted.__main__ import chosen
from tests.planted.mistake import Mistake
from tests.planted.mistakes import MISTAKES
from tests.planted.runner import copied, verdicts

SAMPLE = 3
QUICK = [mistake for mistake in MISTAKES if mistake.test_files[0].startswith("tests/unit/policy/")]


@cache
def commit() -> str:
    """Return the commit that is tested; outside of a clone always the same."""
    if shutil.which("git") is None:
        return ""
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return asked.stdout.strip()


@pytest.mark.parametrize("number", range(SAMPLE))
def test_a_planted_mistake_is_found(number: int) -> None:
    """The sample is of mistakes that a unit test of a policy finds: each takes a few seconds."""
    mistake: Mistake = chosen(QUICK, (), SAMPLE, commit())[number]
    with copied() as tree:
        (verdict,) = verdicts(tree, [mistake])
    assert verdict.found_by, f"{mistake.name} survived: python -m tests.planted --only {mistake.name}"
