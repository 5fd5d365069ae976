"""The numbers of erased entries of one subject, as reported to the operator."""

from typing import NamedTuple


class Erased(NamedTuple):
    """How many values were erased, each counted once however many copies there were.

    `complete` is False where the shared store could not be reached: what is there, and in other replicas, stays.
    """

    cached: int
    idempotent: int
    restorations: int = 0
    complete: bool = True
