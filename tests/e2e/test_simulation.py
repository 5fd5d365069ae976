"""The simulation of whole sidecars finds planted mistakes: a sample of `python -m tests.simulation --planted`."""

import pytest

from tests.simulation.whole.planted import FOUND, checked

SAMPLE = ("dialling-not-counted",)


@pytest.mark.timeout(300)  # seconds, for a busy machine: it takes a few
@pytest.mark.parametrize("name", SAMPLE)
def test_a_planted_mistake_breaks_its_invariant(name: str) -> None:
    """With the seed of the table; without the mistake, the same seed breaks none."""
    ((_, found),) = checked([name])
    assert found == FOUND[name]
