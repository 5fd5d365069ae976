"""Compute statistics of measurements, and the conclusions that they allow. This module measures nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isnan, nan
from statistics import median
from typing import Any, NamedTuple


class Spread(NamedTuple):
    """The middle of some rounds, and how far they were from it."""

    middle: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Summarise at least one value."""
        return cls(median(values), min(values), max(values))


@dataclass
class Figure:
    """One quantity of several peers, in rounds. A round that failed is NaN: it keeps its place and says nothing."""

    title: str
    unit: str
    rounds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """Take down one round of one peer."""
        self.rounds.setdefault(name, []).append(value)

    def spread(self, name: str) -> Spread | None:
        """Return a peer's median and range, or nothing."""
        values = [value for value in self.rounds.get(name, []) if not isnan(value)]
        return Spread.of(values) if values else None

    def middle(self, name: str) -> float | None:
        """Return a peer's median, or nothing."""
        spread = self.spread(name)
        return None if spread is None else spread.middle

    def ratio(self, name: str, to: str) -> Spread | None:
        """Return how many times `to`'s value a peer's is.

        Round is held against round, since what disturbs a machine disturbs neighbours alike; then the median is taken.
        """
        pairs = zip(self.rounds.get(name, []), self.rounds.get(to, []), strict=False)
        ratios = [ours / theirs for ours, theirs in pairs if theirs and not isnan(ours / theirs)]
        return Spread.of(ratios) if ratios else None


@dataclass
class Results:
    """Everything that one run found out."""

    about: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)

    def figure(self, key: str, title: str, unit: str) -> Figure:
        """Return the figure of this key, new or begun."""
        return self.figures.setdefault(key, Figure(title, unit))

    def remark(self, text: str) -> None:
        """Note something that a reader of the figures must know; once."""
        if text not in self.remarks:
            self.remarks.append(text)

    def fail(self, name: str, during: str, count: int) -> None:
        """Take down how many requests a peer did not answer with 200."""
        if count:
            who = f"{name}, {during}"
            self.failures[who] = self.failures.get(who, 0) + count

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> "Results":
        """Return what was written as JSON, which has no NaN."""
        figures = {key: Figure(**figure) for key, figure in raw["figures"].items()}
        for figure in figures.values():
            for name, values in figure.rounds.items():
                figure.rounds[name] = [nan if value is None else value for value in values]
        return cls(raw["about"], raw["versions"], figures, raw["remarks"], raw["failures"])


def bounded_by_load(figure: Figure, direct: str, *, less_is_better: bool = False) -> list[str]:
    """Name the peers that are more than half as fast as no proxy at all: what bounds them is the load generator."""
    without = figure.middle(direct)
    if without is None:
        return []
    middles = {name: middle for name in figure.rounds if name != direct and (middle := figure.middle(name)) is not None}
    return [
        name for name, middle in middles.items() if (middle < without * 2 if less_is_better else middle > without / 2)
    ]
