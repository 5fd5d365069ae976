"""The list of planted mistakes fits the source, and the runner tells found, survived and broken runs apart."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.sidecar import ROOT
from tests.planted.__main__ import chosen
from tests.planted.mistake import Mistake, OutOfStepError
from tests.planted.mistakes import MISTAKES
from tests.planted.runner import BadRunError, Tree

ADDS = "def total(one, other):\n    return one + other\n"
MINUS = Mistake("minus", "It subtracts.", "adds.py", "one + other", "one - other", "test_adds.py")
TEST = "from adds import total\n\n\ndef test_it_adds():\n    assert total(2, {other}) == {sum}\n"


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_an_entry_fits_the_source(mistake: Mistake) -> None:
    """Its old text is there once, the file compiles with the new one, and its tests exist."""
    mistake.mutated()
    assert mistake.test_files
    assert [name for name in mistake.test_files if not (ROOT / name).is_file()] == []
    assert mistake.says.endswith(".")


def test_names_are_distinct() -> None:
    assert [name for name, times in Counter(mistake.name for mistake in MISTAKES).items() if times > 1] == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("one * other", "one", "has its old text 0 times"),
        ("one", "two", "has its old text 2 times"),
        ("one + other", "one + other", "are equal"),
        ("one + other", "one +", "does not compile"),
    ],
)
def test_an_entry_that_does_not_fit_is_an_error(tmp_path: Path, old: str, new: str, said: str) -> None:
    (tmp_path / "adds.py").write_text(ADDS)
    with pytest.raises(OutOfStepError, match=said):
        MINUS._replace(old=old, new=new).mutated(tmp_path)


def test_a_sample_is_the_same_for_the_same_seed() -> None:
    """Without those that no test can find."""
    mistakes = [MINUS._replace(name=f"{number}", equivalent="x" * (number % 2)) for number in range(20)]
    first, again, other = (chosen(mistakes, (), 3, seed) for seed in ("a", "a", "b"))
    assert first == again != other
    assert len(first) == 3
    assert chosen(mistakes, (), None, "") == mistakes[::2]
    assert chosen(mistakes, ("3",), None, "") == [mistakes[3]]


def test_the_first_test_that_fails_has_found_a_mistake(tmp_path: Path) -> None:
    """One that passes with the mistake has not, tests that cannot run say nothing, and the tree is mended."""
    (tmp_path / "adds.py").write_text(ADDS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "tests").mkdir()
    for name, other, result in (("strong", 2, 4), ("weak", 0, 2)):
        (tmp_path / "tests" / f"test_{name}.py").write_text(TEST.format(other=other, sum=result))
    tree = Tree(tmp_path)
    with tree.mistaken(MINUS):
        assert tree.test(["tests/test_weak.py", "tests/test_strong.py"]) == "tests/test_strong.py::test_it_adds"
        assert tree.test(["tests/test_weak.py"]) == ""
    assert tree.test(["tests/test_strong.py"]) == ""
    assert (tmp_path / "adds.py").read_text() == ADDS
    with pytest.raises(BadRunError, match="status 4"):
        tree.test(["tests/test_none.py"])
    with pytest.raises(BadRunError, match=r"longer than 0\.01 s"):
        tree.test(["tests/test_weak.py"], limit_s=0.01)


def test_the_command_lists_every_mistake() -> None:
    """And names one that does not exist."""
    command = [sys.executable, "-m", "tests.planted"]
    listed = subprocess.run([*command, "--list"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert len(listed.splitlines()) == len(MISTAKES)
    unknown = subprocess.run([*command, "--only", "no-such"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (unknown.returncode, "no mistake no-such" in unknown.stderr) == (2, True)
