"""Accept or mint the correlation id of a request. A rejected id is never echoed."""

import re

from proxy.runtime.random import RandomSource

_ACCEPTED = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class Correlation:
    """The correlation id of a request; `replaced`: the client's own id was not acceptable."""

    __slots__ = ("id", "replaced")

    def __init__(self, id_: str, replaced: bool = False) -> None:
        self.id = id_
        self.replaced = replaced

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Correlation) and (self.id, self.replaced) == (other.id, other.replaced)


def correlate(operation: str, sent: bytes | None, wall: float, random: RandomSource) -> Correlation:
    """Return the client's id if it matches `[A-Za-z0-9._-]{1,128}`, else `{operation}-{8 hex}-{unix seconds}`."""
    if sent is not None and _ACCEPTED.fullmatch(sent):
        return Correlation(sent.decode("ascii"))
    return Correlation(f"{operation}-{random.getrandbits(32).to_bytes(4).hex()}-{int(wall)}", sent is not None)
