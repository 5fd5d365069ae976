"""Make the spans of a request and its attempts (W3C Trace Context). This module sends nothing."""

from typing import NamedTuple

from proxy.policy.trace_context import RANDOM, SAMPLED, Parent
from proxy.runtime.random import RandomSource


class Sent(NamedTuple):
    """One attempt's span id, and the Unix time of its start."""

    span_id: int
    began_wall: float


class Span:
    """One request's span, with its attempts' spans in the order of sending."""

    __slots__ = ("_random", "attempts", "flags", "parent_id", "sampled", "span_id", "trace_id")

    def __init__(self, trace_id: int, span_id: int, parent_id: int | None, flags: int, random: RandomSource) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent_id = parent_id
        self.flags = flags
        self.sampled = bool(flags & SAMPLED)
        self._random = random
        self.attempts: list[Sent] = []

    def attempt(self, wall: float) -> tuple[bytes, bytes]:
        """Start the span of one attempt; return the field line for the upstream."""
        sent = Sent(new_id(self._random, 64), wall)
        self.attempts.append(sent)
        return b"traceparent", b"00-%032x-%016x-%02x" % (self.trace_id, sent.span_id, self.flags)


def begin(parent: Parent | None, share: float, random: RandomSource) -> Span:
    """Return a child of the caller's span, with its flags; without a caller, the root of a new trace.

    A share (0 to 1) of new traces is sampled by trace id, as OpenTelemetry's ratio sampler does.
    """
    if parent is None:
        trace_id = new_id(random, 128)
        sampled = (trace_id & (2**64 - 1)) < share * 2**64
        return Span(trace_id, new_id(random, 64), None, RANDOM | (SAMPLED if sampled else 0), random)
    return Span(int(parent.trace_id, 16), new_id(random, 64), int(parent.span_id, 16), parent.flags, random)


def new_id(random: RandomSource, bits: int) -> int:
    """Return a random id that is not zero: zero is invalid."""
    return random.getrandbits(bits) or 1
