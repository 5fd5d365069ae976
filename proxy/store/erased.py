"""The numbers of erased entries of one subject, as reported to the operator."""

from typing import NamedTuple


class Erased(NamedTuple):
    """The numbers of erased values. Copies of one value count once.

    `complete` is False if the shared store was unavailable: its values, and those of other replicas, remain.
    """

    cached: int
    idempotent: int
    restorations: int = 0
    complete: bool = True
