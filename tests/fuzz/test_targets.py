"""A short run of every fuzz target: bounded by the number of inputs, with the same inputs every time."""

from pathlib import Path

import pytest

from tests.fuzz.engine import mutate
from tests.fuzz.mutation import Mutator
from tests.fuzz.target import CORPUS, Target
from tests.fuzz.targets import TARGETS

INPUTS = 250  # of each target, beside its corpus
SLOW = {"configuration": 60, "records": 60, "trails": 60, "admin": 60, "peers": 60}


@pytest.mark.parametrize("name", TARGETS)
def test_a_short_run_finds_nothing(name: str) -> None:
    """The corpus, which holds what was found before, and inputs made from it."""
    target = TARGETS[name]
    count = len(target.inputs()) + SLOW.get(name, INPUTS)
    assert mutate(target, "a short run", count=count, note=lambda _: None) == count


def test_every_target_has_a_corpus() -> None:
    """The command finds the targets' names in the corpus, before it imports any."""
    assert sorted(TARGETS) == sorted(folder.name for folder in CORPUS.iterdir())


def test_a_seed_repeats_its_inputs() -> None:
    """Outcomes steer the mutator, and nothing else does."""

    def made(seed: str) -> list[bytes]:
        mutator, found = Mutator(TARGETS["fields"], seed), []
        for data, _ in zip(mutator.inputs(), range(200), strict=False):
            mutator.learn(data, len(data) % 7)
            found.append(data)
        return found

    assert made("one") == made("one")
    assert made("one") != made("two")


def test_a_finding_is_noted_as_small_as_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is told again without all that it does not need."""

    def check(data: bytes) -> int:
        assert b"\xff" not in data, "found"
        return len(data)

    monkeypatch.setattr("tests.fuzz.target.CORPUS", tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "one").write_bytes(b"some bytes and \xff more")
    noted: list[bytes] = []
    with pytest.raises(AssertionError, match="found"):
        mutate(Target("mine", check), "1", count=1, note=noted.append)
    assert noted == [b"some bytes and \xff more", b"\xff"]
