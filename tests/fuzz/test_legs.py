"""A short fuzz run against both legs of a sidecar, and the faults that its judge must find."""

from pathlib import Path

import psutil
import pytest

from proxy.build import COMPILED
from proxy.demo.sidecar_process import COMMAND
from tests.fuzz.hostility import Received
from tests.fuzz.legs import Figures, play, problems

CONVERSATIONS = 150


async def test_a_short_fuzz_of_both_legs_finds_nothing(tmp_path: Path) -> None:
    """Nothing is raised, and the trail has one line for each request that finished or was refused."""
    figures = await play(tmp_path, "a short run", COMMAND, lambda conversations: conversations >= CONVERSATIONS)
    assert problems(figures) == []
    assert figures.heard.said >= CONVERSATIONS
    assert figures.heard.honest
    assert figures.compiled == ("yes" if COMPILED else "no")


async def test_a_sidecar_that_dies_is_a_finding(tmp_path: Path) -> None:
    """And no failure of the fuzzer's own."""
    before = set(psutil.Process().children())

    def kill(conversations: int) -> bool:
        for child in set(psutil.Process().children()) - before if conversations == 20 else ():
            child.kill()
        return False

    found = "\n".join(problems(await play(tmp_path, "a short run", COMMAND, kill)))
    assert "it ended with status -9" in found


def fine() -> Figures:
    """Return figures that are as they must be."""
    heard = Received()
    heard.answers[200] += 5
    heard.honest = 2
    return Figures(heard, 7, 3, 10, 3, 2, "no", 50 << 20, [40 << 20], 0, "whole: 10 records")


def test_fine_figures_are_no_finding() -> None:
    """So the others fail for what was changed in them."""
    assert problems(fine()) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("trail", 9, "9 lines for 10 requests"), ("trail", 11, "11 lines for 10 requests"),
        ("finished", 8, "10 lines for 11 requests"), ("trail_refused", 2, "2 refusals of 3"),
        ("trail_honest", 3, "3 of 2 honest"), ("memory", 300 << 20, "300 MiB"), ("status", -11, "status -11"),
        ("verdict", "edited: audit.jsonl", "the trail is edited"), ("raised", ["Traceback"], "worse than a warning"),
        ("finished", 0, "nothing was finished"),
    ],
)  # fmt: skip
def test_what_is_not_so_is_a_finding(name: str, value: object, said: str) -> None:
    """Each figure alone."""
    figures = fine()
    setattr(figures, name, value)
    assert said in "\n".join(problems(figures))


def test_what_a_client_heard_is_a_finding() -> None:
    """More answers than requests, and what is no answer."""
    figures = fine()
    figures.heard.answers[200] += 10
    figures.heard.problems.append("a client heard what is no answer")
    assert problems(figures) == ["a client heard what is no answer", "clients heard 17 answers to 10 requests"]
