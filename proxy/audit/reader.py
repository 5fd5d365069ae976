"""What a trail says: its records one at a time, filtered or summed up, in memory that does not grow with the trail."""

import os
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from proxy.audit.files import Line, Record, Trail, lines, parse, reading


def records(trail: Trail, on_damage: Callable[[Line], None]) -> Iterator[Record]:
    """Yield the records of a trail, unverified; `on_damage` gets each line that holds none. Raises TrailError."""
    for line in lines(trail.files):
        record = parse(line)
        if record is not None:
            yield record
        else:
            on_damage(line)


@dataclass(frozen=True, slots=True)
class Query:
    """Which records are wanted: every filter set must hold. Times are text as in the record, `until` excluded."""

    report_id: str | None = None
    operation: str | None = None
    correlation_id: str | None = None
    failures: bool = False
    since: str | None = None
    until: str | None = None

    def matches(self, fields: dict[str, object]) -> bool:
        """Tell whether a record is wanted; the marks of gaps and torn lines only pass on their time."""
        return (
            (self.report_id is None or fields.get("subject") == self.report_id)
            and (self.operation is None or fields.get("operation") == self.operation)
            and (self.correlation_id is None or fields.get("correlation_id") == self.correlation_id)
            and (not self.failures or fields.get("success") is False)
            and self._in_time(str(fields.get("ts", "")))
        )

    def _in_time(self, ts: str) -> bool:
        return (self.since is None or ts >= self.since) and (self.until is None or ts < self.until)


def tail(file: Path, wanted: Query, count: int, wait: Callable[[], None] | None) -> Iterator[list[Record]]:
    """Yield the last `count` wanted records of a file, then, given a `wait`, what was added after each."""
    with reading(file) as stream:
        yield list(deque(_grown(stream, file, wanted), maxlen=count))
        while wait:
            wait()
            yield list(_grown(stream, file, wanted))


def _grown(stream: BinaryIO, file: Path, wanted: Query) -> Iterator[Record]:
    """Yield the wanted records up to the stream's end for now; an unfinished line is left for the next time."""
    while (data := stream.readline()).endswith(b"\n"):
        record = parse(Line(file, 0, data))
        if record is not None and wanted.matches(record.fields):
            yield record
    if data:
        stream.seek(-len(data), os.SEEK_CUR)


class Summary(NamedTuple):
    """The seed's statistics of one operation. `p95_ms` is exact to three significant digits."""

    operation: str
    total: int
    success_rate: float
    mean_ms: float
    p95_ms: float


@dataclass(slots=True)
class _Tally:
    total: int = 0
    successes: int = 0
    sum_ms: float = 0.0
    durations: Counter[float] = field(default_factory=Counter)

    def add(self, success: bool, ms: float) -> None:
        self.total += 1
        self.successes += success
        self.sum_ms += ms
        self.durations[float(f"{ms:.3g}")] += 1  # 900 values a decade at most: flat memory, half a per cent

    def summary(self, operation: str) -> Summary:
        rate, mean = self.successes / self.total, self.sum_ms / self.total
        return Summary(operation, self.total, round(rate, 4), round(mean, 3), self._p95())

    def _p95(self) -> float:
        """Return the smallest duration that 95 % do not exceed."""
        wanted = -(-self.total * 95 // 100)
        for ms in sorted(self.durations):
            wanted -= self.durations[ms]
            if wanted <= 0:
                return ms
        return 0.0


@dataclass(frozen=True, slots=True)
class Stats:
    """The sums over a trail: one row for everything, one for each operation by name, and the records known lost."""

    overall: Summary | None
    operations: tuple[Summary, ...]
    lost: int


def stats(found: Iterable[Record]) -> Stats:
    """Sum up records by operation."""
    everything = _Tally()
    by_operation: defaultdict[str, _Tally] = defaultdict(_Tally)
    lost = 0
    for record in found:
        match record.fields:
            case {"gap": int(gap)}:
                lost += gap
            case {"success": bool(success), "duration_ms": float() | int() as ms, **others}:
                everything.add(success, ms)
                by_operation[str(others.get("operation"))].add(success, ms)
    rows = tuple(by_operation[name].summary(name) for name in sorted(by_operation))
    return Stats(everything.summary("all") if everything.total else None, rows, lost)
