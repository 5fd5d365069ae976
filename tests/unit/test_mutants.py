"""The generator of mutants: what it changes, and what it leaves alone."""

from pathlib import Path

import pytest

from tests.e2e.sidecar import ROOT
from tests.mutants.__main__ import USUAL, mirroring, mutants
from tests.mutants.explained import EXPLAINED
from tests.mutants.operators import changes


@pytest.mark.parametrize(
    ("source", "mutants"),
    [
        ("ok = a < b", {"ok = a <= b"}),
        ("ok = a == (b)", {"ok = a != (b)"}),
        ("ok = a is not None", {"ok = a is None"}),
        ("ok = a in b and c", {"ok = a not in b and c", "ok = a in b or c"}),
        ("ok = not a", {"ok = a"}),
        ("n = a + 7", {"n = a - 7", "n = a + 8", "n = a + 6"}),
        ("n = min(a, b)", {"n = max(a, b)"}),
        ("ok = True", {"ok = False"}),
        ("if a:\n    b.call()", {"if not (a):\n    b.call()", "if a:\n    pass"}),
        ("a.b = c", {"pass"}),
        ("n: 'Literal[1]' = a", set()),
        ("from a import b", set()),
        ('"""Text of 1 < 2."""', set()),
        ("def __repr__(self):\n    return 1 < 2", set()),
        ("ä = 'é' < b", {"ä = 'é' <= b"}),
    ],
)
def test_each_operator_makes_its_mutants(source: str, mutants: set[str]) -> None:
    """Each differs in one place, compiles, and has the rest of the source as it is."""
    assert {change.apply(source) for change in changes(source)} == mutants


def test_a_change_is_shown_on_one_line() -> None:
    """Its line number is not part of it: an explanation outlives an edit above it."""
    source = "\n\nif (\n    a <\n    b\n):\n    pass"
    (shown,) = {change.shown(source) for change in changes(source) if change.what == "comparison"}
    assert shown == "a < b -> a <= b"


def test_a_module_is_tested_by_its_mirror() -> None:
    """Or by its room's tests if it has none of its own."""
    assert mirroring(Path("proxy/policy/retry.py")) == ("tests/unit/policy/test_retry.py",)
    assert "tests/unit/policy/test_retry.py" in mirroring(Path("proxy/policy/no_such_module.py"))
    assert mirroring(Path("proxy/no_such_room/module.py")) == ()


def test_an_explanation_is_of_a_mutant_that_exists() -> None:
    """If the code changes, its explanation must be looked at again."""
    files = {file for file, _ in EXPLAINED}
    known = {(mutant.file, mutant.shown) for mutant in mutants(files)}
    assert [key for key in EXPLAINED if key not in known] == []
    assert (ROOT / USUAL).is_dir()
