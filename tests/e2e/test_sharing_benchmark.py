"""The sharing benchmark distinguishes proxies that share responses from those that do not."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.benchmarks.sharing.backend import Backend, backend
from tests.benchmarks.sharing.cases import CASES
from tests.benchmarks.sharing.clients import Result, play
from tests.benchmarks.sharing.peers import backstay
from tests.benchmarks.sharing.table import Row, markdown, summary

CLIENTS = 6
SLOW = tuple(  # so that all clients have come before the first is answered, on a busy machine too
    case._replace(takes_s=1.5, leaves_after_s=case.leaves_after_s and 0.75) for case in CASES
)


async def test_backstay_keeps_every_promise(tmp_path: Path) -> None:
    """One call for all, the same status for all, nobody's answer for another."""
    async with backend(SLOW) as scripted, backstay(tmp_path, scripted.url, total_timeout="60s") as port:
        rows = await _rows(scripted, port)
    assert [what for row in rows for what in row.missed() if "behind" not in what] == []  # a small machine may be busy
    assert [row.calls for row in rows] == [1, 1, 1, 4, 1, 1, 2]
    assert [sum(row.statuses.values()) for row in rows] == [6, 6, 6, 6, 5, 6, 6]
    assert all(row.best_behind_ms is not None for row in rows)


async def test_no_proxy_misses_them() -> None:
    """Each client's call reaches the backend, and there is nobody to follow: every row says so."""
    async with backend(SLOW) as scripted:
        rows = await _rows(scripted, scripted.port)
    assert [row.calls for row in rows] == [CLIENTS] * len(CASES)
    for row in rows:
        assert row.missed()[:2] == [
            f"{row.case.name}: 6 calls, not {row.case.most_calls}",
            f"{row.case.name}: followers - ms behind, not 15",
        ]


async def _rows(scripted: Backend, port: int) -> list[Row]:
    """Play all cases at once. The proxy has answered before: a cold one is so slow that clients come too late."""
    await play(SLOW[0], scripted, port, CLIENTS, "warm")
    results = await asyncio.gather(*(play(case, scripted, port, CLIENTS, "1") for case in SLOW))
    return [Row(case, "any", [result]) for case, result in zip(SLOW, results, strict=True)]


GOOD = Result(1, 300.0, 310.0, 300.0, 3.0, Counter({"200": 6}), 0)
LATE = GOOD._replace(behind_ms=16.0)
MIXED = Counter({"200": 5, "cut": 1})


@pytest.mark.parametrize(
    ("rounds", "missed"),
    [
        ([GOOD], []),
        ([LATE, GOOD], []),
        ([LATE, LATE], ["followers 16.0 ms behind, not 15"]),
        ([GOOD, GOOD._replace(calls=2)], ["2 calls, not 1"]),
        ([GOOD, GOOD._replace(wrong=1)], ["1 answers to a wrong user"]),
        ([GOOD._replace(statuses=MIXED)], ["statuses {'200': 5, 'cut': 1}, not ['200'] for all"]),
        ([GOOD._replace(statuses=Counter({"500": 6}))], ["statuses {'500': 6}, not ['200'] for all"]),
    ],
)  # fmt: skip
def test_what_is_missed_is_said(rounds: list[Result], missed: list[str]) -> None:
    """Counts are the worst round's; followers are in time if they were in the best one."""
    row = Row(CASES[0], "Backstay", rounds)
    assert row.missed() == [f"cacheable GET: {what}" for what in missed]
    assert row.cells()[0] in markdown([row])
    assert f"{row.calls} calls, 300 ms" in summary({6: [row]})
