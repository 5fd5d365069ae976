"""Summarise the rounds: one row for each case and proxy, and which promises Backstay's rows miss.

Counts are the worst round's and times the median one's, but whether followers came in time the best one says.
"""

from collections import Counter
from statistics import median
from typing import NamedTuple

from tests.benchmarks.sharing.cases import Case
from tests.benchmarks.sharing.clients import Result

BEHIND_MS = 15.0  # followers behind their leader, at the median
COLUMNS = ("case", "proxy", "calls", "p50 ms", "max ms", "leader ms", "behind ms", "best", "statuses", "wrong user")


class Row(NamedTuple):
    """All rounds of one case with one proxy."""

    case: Case
    proxy: str
    rounds: list[Result]

    @property
    def calls(self) -> int:
        """The most that any round made."""
        return max(result.calls for result in self.rounds)

    @property
    def wrong(self) -> int:
        """The most answers of any round that were another user's."""
        return max(result.wrong for result in self.rounds)

    @property
    def p50_ms(self) -> float:
        """The median round's median."""
        return median(result.p50_ms for result in self.rounds)

    @property
    def max_ms(self) -> float:
        """The longest that any client of any round waited."""
        return max(result.max_ms for result in self.rounds)

    @property
    def leader_ms(self) -> float | None:
        """The median round's; None where leaders leave."""
        return _median([result.leader_ms for result in self.rounds])

    @property
    def behind_ms(self) -> float | None:
        """The median round's. None where nobody followed."""
        return _median([result.behind_ms for result in self.rounds])

    @property
    def best_behind_ms(self) -> float | None:
        """The best round's: whoever else works on the machine can only lengthen it."""
        return min((result.behind_ms for result in self.rounds if result.behind_ms is not None), default=None)

    @property
    def statuses(self) -> Counter[str]:
        """Of all rounds together."""
        return sum((result.statuses for result in self.rounds), Counter())

    def cells(self) -> tuple[str, ...]:
        """Return it as text, in the order of COLUMNS."""
        statuses = ", ".join(f"{count} × {status}" for status, count in sorted(self.statuses.items()))
        times = (_ms(self.p50_ms), _ms(self.max_ms), _ms(self.leader_ms))
        behind = (_ms(self.behind_ms, 1), _ms(self.best_behind_ms, 1))
        return self.case.name, self.proxy, str(self.calls), *times, *behind, statuses, str(self.wrong)

    def missed(self) -> list[str]:
        """Return what it shows that Backstay promises not to happen."""
        case, found = self.case, []
        if self.calls > case.most_calls:
            found.append(f"{self.calls} calls, not {case.most_calls}")
        if self.best_behind_ms is None or self.best_behind_ms > BEHIND_MS:
            found.append(f"followers {_ms(self.best_behind_ms, 1)} ms behind, not {BEHIND_MS:g}")
        if self.wrong:
            found.append(f"{self.wrong} answers to a wrong user")
        if any(len(result.statuses) > 1 for result in self.rounds) or self.statuses.keys() - case.seen:
            found.append(f"statuses {dict(self.statuses)}, not {sorted(case.seen)} for all")
        return [f"{case.name}: {what}" for what in found]


def markdown(rows: list[Row]) -> str:
    """Return the table, aligned so that it can be read as it is."""
    lines = [COLUMNS, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)


def summary(tables: dict[int, list[Row]]) -> str:
    """Return one line a case, one column a proxy: calls and the median client's wait, for each number of clients."""
    sizes = list(tables)
    proxies = list(dict.fromkeys(row.proxy for row in tables[sizes[0]]))
    by = {(size, row.case.name, row.proxy): row for size, rows in tables.items() for row in rows}
    names = dict.fromkeys(row.case.name for row in tables[sizes[0]])
    lines = [("case", *proxies), ("---",) * (1 + len(proxies))]
    lines += [(name, *(_cell([by[size, name, proxy] for size in sizes]) for proxy in proxies)) for name in names]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(rows: list[Row]) -> str:
    calls = " / ".join(str(row.calls) for row in rows)
    waits = " / ".join(_ms(row.p50_ms) for row in rows)
    wrong = " / ".join(str(row.wrong) for row in rows)
    return f"{calls} calls, {waits} ms" + (f", **{wrong} to the wrong user**" if any(row.wrong for row in rows) else "")


def _ms(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
