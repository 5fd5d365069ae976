"""The memory budget of the process: requests are refused before the kernel kills it."""

from pathlib import Path

import pytest

from proxy.memory_budget import MemoryBudget, budget_of, resident

MIB = 1 << 20


@pytest.mark.parametrize(
    ("said", "budget"), [("268435456\n", 241591910), ("max\n", None), ("9223372036854771712\n", None), ("", None)]
)
def test_the_budget_follows_the_containers_limit(tmp_path: Path, said: str, budget: int | None) -> None:
    """Nine tenths of it, by either kind of cgroup; none where there is no limit."""
    (tmp_path / "limit").write_text(said)
    assert budget_of((str(tmp_path / "missing"), str(tmp_path / "limit"))) == budget


def test_what_is_kept_to_be_quick_goes_first() -> None:
    """Once a time that it is full; requests are taken again below 95 %, so that it does not flap."""
    held, shed = [90 * MIB], [0]

    def drop() -> None:
        shed[0] += 1

    budget = MemoryBudget(100 * MIB, drop, held=lambda: held[0])
    told = []
    for held[0] in (90 * MIB, 101 * MIB, 99 * MIB, 96 * MIB, 94 * MIB, 99 * MIB, 101 * MIB):
        told.append(budget.look())
    assert told == [False, True, True, True, False, False, True]
    assert shed == [2]


def test_before_it_is_full_the_heaviest_connections_give_way() -> None:
    """Beyond half of the budget connections may hold 8 % of it together."""
    held, asked = [0], list[int]()

    def relieve(most: int) -> int:
        asked.append(most)
        return 1

    budget = MemoryBudget(100 * MIB, lambda: None, relieve, lambda: held[0])
    told = []
    for held[0] in (50 * MIB, 51 * MIB, 72 * MIB, 42 * MIB):
        told.append(budget.look())
    assert told == [False] * 4
    assert asked == [8 * MIB] * 2


def test_without_a_budget_nothing_is_looked_at() -> None:
    """On a machine without a limit the kernel has the last word, as ever."""

    def never() -> int:
        raise AssertionError

    assert not MemoryBudget(None, lambda: None, held=never).look()


def test_the_system_tells_what_the_process_holds() -> None:
    """A Python that has loaded the sidecar holds more than 10 MiB."""
    assert 10 * MIB < resident() < 4096 * MIB
