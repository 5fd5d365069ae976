"""One id traces a request end to end (X1, X2). This file accepts or mints it; it never echoes what it rejects."""

import re

from proxy.chance import Chance

_ACCEPTED = re.compile(rb"[A-Za-z0-9._-]{1,128}")
# W3C Trace Context level 1, section 3.2.2: version ff is invalid, and so are all-zero ids
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


class Correlation:
    """The id a request runs under; `replaced` tells that the client sent one that was not acceptable."""

    __slots__ = ("id", "replaced")

    def __init__(self, id_: str, *, replaced: bool = False) -> None:
        self.id = id_
        self.replaced = replaced

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Correlation) and (self.id, self.replaced) == (other.id, other.replaced)


def correlate(operation: str, sent: bytes | None, wall: float, random: Chance) -> Correlation:
    """Return the client's own id if it matches `[A-Za-z0-9._-]{1,128}`, else `{operation}-{8 hex}-{unix seconds}`."""
    if sent is not None and _ACCEPTED.fullmatch(sent):
        return Correlation(sent.decode("ascii"))
    return Correlation(f"{operation}-{random.getrandbits(32).to_bytes(4).hex()}-{int(wall)}", replaced=sent is not None)


def trace_id(traceparent: bytes | None) -> str | None:
    """Return the trace id of a valid `traceparent`, None where it is absent or invalid (then `tracestate` goes too)."""
    if traceparent is None:
        return None
    valid = _TRACEPARENT.fullmatch(traceparent)
    if valid is None or (traceparent.startswith(b"00") and valid.group(2)):
        return None
    return valid.group(1).decode("ascii")
