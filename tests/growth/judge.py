"""Judge every function and every message: its worst input, the cost, and how the cost grows."""

from functools import partial
from typing import NamedTuple

from tests.growth.case import Case
from tests.growth.inputs import FILLINGS, LARGE, SMALL, filled
from tests.growth.measure import MOST_TIMES, RUNS, Growth, growth, seconds
from tests.growth.messages import SIZE, Message, Stage


class Verdict(NamedTuple):
    """The worst input of a function, and how the work grows with it."""

    name: str
    filling: str
    before: bytes
    growth: Growth


def judged(case: Case, enough_s: float) -> Verdict:
    """Return the worst of all inputs: one that grows too fast, or else the one that takes longest."""
    worst = (0.0, 0.0, "", b"", b"", b"")
    for around in case.around:
        for name in case.fillings:
            small, large = (filled(around, FILLINGS[name], size // case.times) for size in (SMALL, LARGE))
            took = seconds(partial(case.run, large), 1)
            times = 0.0
            if took > enough_s and took > MOST_TIMES * seconds(partial(case.run, small), 2):
                times = seconds(partial(case.run, large), RUNS) / seconds(partial(case.run, small), RUNS)
            worst = max(worst, (float(times > MOST_TIMES), took, name, around.before, small, large))
    _, _, name, before, small, large = worst
    return Verdict(case.name, name, before[-24:], growth(partial(case.run, small), partial(case.run, large), enough_s))


# Of whole messages, what a list, a path, a query, a cookie, a body or a chunk is made of; functions get all fillings.
IN_MESSAGES = (
    "spaces", "commas", "semicolons", "zeros", "CRLFs", "slashes", "percents", "escapes", "parameters", "wanted pairs",
    "members", "fields", "addresses", "one-byte chunks", "extensions", "objects", "lists",
)  # fmt: skip


class Cost(NamedTuple):
    """The most costly filling of a message, in seconds of the loop."""

    message: Message
    filling: str
    seconds: float


async def costed(stage: Stage, message: Message, enough_s: float) -> Cost:
    """Return the most costly filling; one that takes too long is tried again, and the least time counts."""
    worst = Cost(message, "", 0.0)
    for name in IN_MESSAGES:
        data = filled(message.around, FILLINGS[name], SIZE)
        took = await stage.cost(data, answers=message.answers)
        for _ in range(RUNS if took > enough_s else 0):
            took = min(took, await stage.cost(data, answers=message.answers))
        worst = max(worst, Cost(message, name, took), key=lambda cost: cost.seconds)
    return worst
