"""Spans follow the caller's trace and sampling decision, and identify each attempt."""

from random import Random

import pytest

from proxy.policy.spans import begin, new_id
from proxy.policy.trace_context import parse

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(("flags", "sampled"), [("01", True), ("00", False), ("03", True), ("02", False)])
def test_the_caller_decides(flags: str, sampled: bool) -> None:
    """Same trace, a span of our own under the caller's, and its flags go on upstream."""
    span = begin(parse(f"00-{TRACE}-{PARENT}-{flags}".encode()), 0.0, Random(1))
    assert (f"{span.trace_id:032x}", span.parent_id, span.sampled) == (TRACE, int(PARENT, 16), sampled)
    name, line = span.attempt(1000.0)
    (attempt,) = span.attempts
    assert name == b"traceparent"
    assert line.decode() == f"00-{TRACE}-{attempt.span_id:016x}-{flags}"
    assert len({span.span_id, attempt.span_id, span.parent_id}) == 3


def test_a_later_version_is_told_on_as_ours() -> None:
    """W3C Trace Context level 2, section 3.2.4: what is known of it goes on as version 00, unknown flags as zero."""
    span = begin(parse(f"cc-{TRACE}-{PARENT}-ff-more".encode()), 0.0, Random(1))
    (_, line), (sent,) = span.attempt(0.0), span.attempts
    assert line.decode() == f"00-{TRACE}-{sent.span_id:016x}-03"


@pytest.mark.parametrize(("share", "flags"), [(0.0, b"-02"), (1.0, b"-03")])
def test_a_new_trace_says_that_its_id_is_random(share: float, flags: bytes) -> None:
    """W3C Trace Context level 2, section 3.2.2.5.2: whoever makes a random trace id says so."""
    assert begin(None, share, Random(1)).attempt(0.0)[1].endswith(flags)


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.25, 200, 300), (1.0, 1000, 1000)])
def test_a_share_of_new_traces_is_sampled(share: float, least: int, most: int) -> None:
    """Who brings no trace begins one; the trace id alone tells whether it is sampled, as everywhere along its way."""
    random = Random(7)
    spans = [begin(None, share, random) for _ in range(1000)]
    assert least <= sum(span.sampled for span in spans) <= most
    assert {span.parent_id for span in spans} == {None}


def test_every_attempt_has_a_span_of_its_own() -> None:
    """A retry is told apart from what it repeats."""
    span = begin(None, 1.0, Random(1))
    lines = {span.attempt(float(n))[1] for n in range(3)}
    assert len(lines) == 3
    assert [sent.began_wall for sent in span.attempts] == [0.0, 1.0, 2.0]


def test_no_id_is_zero() -> None:
    """W3C calls an id of zeros invalid."""

    class Zero(Random):
        def getrandbits(self, k: int) -> int:
            return 0

    assert new_id(Zero(), 64) == 1
