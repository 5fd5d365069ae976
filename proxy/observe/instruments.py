"""Integer counters, converted to Prometheus families only for a scrape."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

from prometheus_client.core import CounterMetricFamily, Exemplar, HistogramMetricFamily

Key = tuple[str | int, ...]
Row = tuple[str, float] | tuple[str, float, Exemplar]

BOUNDS_S: Final[Sequence[float]] = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""1-2-5 steps: among them the seed document's 200 ms, 500 ms, 1 s and 2 s, so that a target is an exact bucket."""
STREAM_BOUNDS_S: Final[Sequence[float]] = (0.1, 1.0, 10.0, 60.0, 300.0, 1_800.0, 7_200.0, 28_800.0)
"""Up to a working day: an open page keeps its tunnel or event stream."""


class Counter:
    """Count by label values. `counts` is public: `counts[key] += 1` is the whole hot path, 0.1 µs."""

    __slots__ = ("_help", "_labels", "_name", "counts")

    def __init__(self, name: str, help_text: str, labels: Sequence[str]) -> None:
        self._name = name
        self._help = help_text
        self._labels = labels
        self.counts: defaultdict[Key, int] = defaultdict(int)

    def declare(self, *key: str | int) -> None:
        """Start a series at 0, so that its first increment is visible as a rate."""
        self.counts[key] += 0

    def keep_only(self, label: str, values: Collection[str]) -> None:
        """Drop the series with other values of the label; do nothing without such a label."""
        if label in self._labels:
            at = self._labels.index(label)
            for key in [key for key in self.counts if key[at] not in values]:
                del self.counts[key]

    def total(self, *suffix: str) -> int:
        """Return the sum over all series whose last labels are `suffix`."""
        start = len(self._labels) - len(suffix)
        return sum(count for key, count in self.counts.items() if key[start:] == suffix)

    def family(self) -> CounterMetricFamily:
        """Return the current counts as a family, which adds `_total` to the name."""
        family = CounterMetricFamily(self._name, self._help, labels=self._labels)
        for key, count in self.counts.items():
            family.add_metric([str(value) for value in key], count)
        return family


class Series:
    """One distribution: a count for each bucket (the last is +Inf), and the sum of durations in seconds.

    A bucket may have one exemplar: the trace of the newest request in it.
    """

    __slots__ = ("_bounds", "buckets", "exemplars", "total_s")

    def __init__(self, bounds: Sequence[float] = BOUNDS_S) -> None:
        self._bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.total_s = 0.0
        self.exemplars: dict[int, tuple[float, str, float]] = {}

    def observe(self, seconds: float) -> None:
        """Count one duration; an upper bound belongs to its bucket (`le`)."""
        self.buckets[bisect_left(self._bounds, seconds)] += 1
        self.total_s += seconds

    def exemplify(self, seconds: float, trace_id: str, wall: float) -> None:
        """Set the exemplar of an observed duration, with its wall time."""
        self.exemplars[bisect_left(self._bounds, seconds)] = seconds, trace_id, wall

    @property
    def count(self) -> int:
        """Return the number of durations."""
        return sum(self.buckets)

    def cumulative(self) -> list[Row]:
        """Return (upper bound, cumulative count, exemplar or None) for the exposition."""
        running, rows = 0, list[Row]()
        for n, (bound, count) in enumerate(zip((*map(str, self._bounds), "+Inf"), self.buckets, strict=True)):
            running += count
            if n in self.exemplars:
                seconds, trace_id, wall = self.exemplars[n]
                rows.append((bound, float(running), Exemplar({"trace_id": trace_id}, seconds, wall)))
            else:
                rows.append((bound, float(running)))
        return rows


class Histogram:
    """Durations by the value of one label; without a label the only series has the key ""."""

    __slots__ = ("_help", "_labels", "_name", "series")

    def __init__(self, name: str, help_text: str, label: str | None = None, bounds: Sequence[float] = BOUNDS_S) -> None:
        self._name = name
        self._help = help_text
        self._labels = [label] if label else []
        self.series: defaultdict[str, Series] = defaultdict(partial(Series, bounds))
        if label is None:
            self.declare("")

    def declare(self, value: str) -> None:
        """Start an empty series."""
        self.series[value]

    def keep_only(self, label: str, values: Collection[str]) -> None:
        """Drop the series with other values of the label; do nothing without such a label."""
        if label in self._labels:
            for value in [value for value in self.series if value not in values]:
                del self.series[value]

    def family(self) -> HistogramMetricFamily:
        """Return the current distributions as a family."""
        family = HistogramMetricFamily(self._name, self._help, labels=self._labels)
        for value, series in self.series.items():
            family.add_metric([value] if self._labels else [], series.cumulative(), series.total_s)
        return family
