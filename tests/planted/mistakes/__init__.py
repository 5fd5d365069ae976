"""All planted mistakes, by the room of the product that they are in."""

from typing import Final

from tests.planted.mistake import Mistake
from tests.planted.mistakes import (
    app,
    attempts,
    caching,
    config,
    evidence,
    exchange,
    http1,
    principals,
    requests,
    sharing,
    store,
    trail,
    upstream,
)

MISTAKES: Final[tuple[Mistake, ...]] = tuple(
    mistake
    for room in (
        attempts, requests, sharing, caching, exchange, store, trail, evidence, upstream, http1, config, app,
        principals,
    )
    for mistake in room.MISTAKES
)  # fmt: skip
