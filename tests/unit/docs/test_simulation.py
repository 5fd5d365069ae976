"""The page about the simulation has each invariant with its paragraph, and each seed that finds a planted mistake."""

import pytest

from tests.e2e.sidecar import ROOT
from tests.simulation.whole.invariants import INVARIANTS
from tests.simulation.whole.planted import FOUND, named

PAGE = (ROOT / "docs/simulation.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda invariant: invariant.__name__)
def test_every_invariant_has_its_paragraph(invariant: object) -> None:
    """It is the docstring of the function that checks it."""
    name, paragraph = getattr(invariant, "__name__", ""), " ".join((invariant.__doc__ or "").split())
    assert f"| `{name}` | {paragraph} |" in PAGE


def test_every_planted_mistake_has_its_seed() -> None:
    """The table in the code says which; `python -m tests.simulation --planted` proves it."""
    assert {mistake.name for mistake in named(FOUND)} == set(FOUND)
    rows = [f"| `{name}` | {found.seed} | `{found.invariant}` |" for name, found in FOUND.items()]
    assert [row for row in rows if row not in PAGE] == []
