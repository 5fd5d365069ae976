"""Read a trail: its records, filtered or summed up, in constant memory."""

import os
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import orjson

from proxy.audit.chain import MAX_LINE, VERSION
from proxy.audit.files import (
    NoTrailError,
    Record,
    Trail,
    TrailLine,
    lines,
    opened,
    parse,
    trails,
)
from proxy.audit.values import as_text

_KNOWN = b'{"v":%d,' % VERSION
_STEP = 50_000  # lines between progress reports


def records(
    trail: Trail,
    on_damage: Callable[[TrailLine], None],
    wanted: "Query | None" = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[Record]:
    """Yield the wanted records of a trail, unverified; `on_damage` gets each line without a record.

    Lines that lack the text of a filter are not parsed, which makes a narrow query three times as fast. `on_progress`
    gets the lines and bytes read so far. Raise TrailError.
    """
    needles, size = () if wanted is None else wanted.needles(), 0
    for count, line in enumerate(lines(trail.files), start=1):
        size += len(line.data)
        if on_progress is not None and not count % _STEP:
            on_progress(count, size)
        if needles and _is_another(line.data, needles):
            continue
        record = parse(line)
        if record is None:
            on_damage(line)
        elif wanted is None or wanted.matches(record.fields):
            yield record


def _is_another(data: bytes, needles: tuple[bytes, ...]) -> bool:
    """Tell whether an apparently complete line cannot match; a damaged line is still parsed."""
    return not all(needle in data for needle in needles) and data.startswith(_KNOWN) and data.endswith(b'"}\n')


@dataclass(frozen=True, slots=True)
class Query:
    """A filter: all given conditions must hold. Times are text as in the record; `until` is exclusive."""

    report_id: str | None = None
    operation: str | None = None
    correlation_id: str | None = None
    failures: bool = False
    since: str | None = None
    until: str | None = None

    def needles(self) -> tuple[bytes, ...]:
        """Return byte strings that every matching line contains, because lines have one canonical form."""
        filters = (
            ("subject", self.report_id),
            ("operation", self.operation),
            ("correlation_id", self.correlation_id),
        )
        texts = tuple(b'"%b":%b' % (name.encode(), orjson.dumps(value)) for name, value in filters if value is not None)
        return (*texts, b'"success":false') if self.failures else texts

    def matches(self, fields: dict[str, object]) -> bool:
        """Tell whether a record matches; gap and torn records match by time only."""
        return (
            (self.report_id is None or fields.get("subject") == self.report_id)
            and (self.operation is None or fields.get("operation") == self.operation)
            and (self.correlation_id is None or fields.get("correlation_id") == self.correlation_id)
            and (not self.failures or fields.get("success") is False)
            and self._in_time(as_text(fields.get("ts", "")))
        )

    def _in_time(self, ts: str) -> bool:
        return (self.since is None or ts >= self.since) and (self.until is None or ts < self.until)


def tail(trail: Trail, wanted: Query, count: int, wait: Callable[[], None] | None) -> Iterator[list[Record]]:
    """Yield the last `count` matching records of the newest file, and with a `wait` the records added after each.

    The path is followed through rotation: first the rest of the old file, then the new one.
    """
    follower = _Follower(trail, wanted)
    try:
        yield list(deque(follower.grown(), maxlen=count))
        while wait:
            wait()
            yield list(follower.grown())
    finally:
        follower.stream.close()


class _Follower:
    """A reader's position in a trail that grows and is rotated."""

    def __init__(self, trail: Trail, wanted: Query) -> None:
        self._path = trail.path
        self._file = trail.files[-1]
        self._wanted = wanted
        self._seq = 0
        self.stream = opened(self._file)

    def grown(self) -> Iterator[Record]:
        """Yield the matching records up to the current end, including all files created meanwhile."""
        moved = self._moved()
        yield from self._rest()
        if moved:
            for file in self._newer():
                try:
                    stream = opened(file)
                except FileNotFoundError:
                    return  # was just gzipped: the next call finds it
                self.stream.close()
                self._file, self.stream = file, stream
                yield from self._rest()

    def _moved(self) -> bool:
        with suppress(FileNotFoundError):
            return not os.path.samestat(self._path.stat(), os.fstat(self.stream.fileno()))
        return False

    def _newer(self) -> Iterator[Path]:
        """Yield the files that begin after the last record seen; a file may be gzipped or removed meanwhile."""
        with suppress(NoTrailError):
            (trail,) = trails(self._path)
            yield from (file for file in trail.files if trail.first_seq(file) > self._seq)

    def _rest(self) -> Iterator[Record]:
        """Yield the matching records of the rest of this file; leave an unfinished line, unless it is too long."""
        while (data := self.stream.readline(MAX_LINE)).endswith(b"\n") or len(data) == MAX_LINE:
            record = parse(TrailLine(self._file, 0, data))
            if record is None:
                continue
            seq = record.fields.get("seq")
            self._seq = seq if isinstance(seq, int) else self._seq
            if self._wanted.matches(record.fields):
                yield record
        if data:
            self.stream.seek(-len(data), os.SEEK_CUR)


class Summary(NamedTuple):
    """Statistics of one operation (seed document). `p95_ms` is exact to three significant digits."""

    operation: str
    total: int
    success_rate: float
    mean_ms: float
    p95_ms: float


@dataclass(slots=True)
class _Tally:
    total: int = 0
    successes: int = 0
    timed: int = 0
    sum_ms: float = 0.0
    durations: Counter[float] = field(default_factory=Counter)

    def add(self, success: bool, ms: float | None) -> None:
        self.total += 1
        self.successes += success
        if ms is not None:
            self._time(ms)

    def _time(self, ms: float) -> None:
        self.timed += 1
        self.sum_ms += ms
        self.durations[float(f"{ms:.3g}")] += (
            1  # at most 900 values a decade: bounded memory, with an error of half a per cent
        )

    def include(self, other: "_Tally") -> None:
        self.total += other.total
        self.successes += other.successes
        self.timed += other.timed
        self.sum_ms += other.sum_ms
        self.durations.update(other.durations)

    def summary(self, operation: str) -> Summary:
        rate, mean = self.successes / self.total, self.sum_ms / (self.timed or 1)
        return Summary(operation, self.total, round(rate, 4), round(mean, 3), self._p95())

    def _p95(self) -> float:
        """Return the smallest duration that at least 95 % do not exceed."""
        wanted = -(-self.timed * 95 // 100)
        for ms in sorted(self.durations):
            wanted -= self.durations[ms]
            if wanted <= 0:
                return ms
        return 0.0


@dataclass(frozen=True, slots=True)
class Stats:
    """The sums of a trail: the total, one row for each operation, and the number of lost records."""

    overall: Summary | None
    operations: tuple[Summary, ...]
    lost: int


def _wait_ms(metadata: object, duration_ms: float) -> float | None:
    """Return the client's wait: for the head of a streamed response, None for a tunnel or an event stream."""
    if not isinstance(metadata, dict):
        return duration_ms
    head_ms = metadata.get("head_ms")
    if metadata.get("endless") is True:
        return None
    return head_ms if isinstance(head_ms, float | int) else duration_ms


def stats(found: Iterable[Record]) -> Stats:
    """Sum up records by operation."""
    by_operation: defaultdict[str, _Tally] = defaultdict(_Tally)
    lost = 0
    for _, fields in found:
        success, ms = fields.get("success"), fields.get("duration_ms")
        if isinstance(success, bool) and isinstance(ms, float | int):
            by_operation[as_text(fields.get("operation"))].add(success, _wait_ms(fields.get("metadata"), ms))
        elif isinstance(gap := fields.get("gap"), int):
            lost += gap
    everything = _Tally()
    for tally in by_operation.values():
        everything.include(tally)
    rows = tuple(by_operation[name].summary(name) for name in sorted(by_operation))
    return Stats(everything.summary("all") if everything.total else None, rows, lost)
