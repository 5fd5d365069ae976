"""X1 and X2: which ids are accepted, and what takes the place of the others."""

import re
from random import Random

import pytest

from proxy.policy.correlation import Correlation, correlate, trace_id
from tests.unit.policy.samples import WALL

TRACE = b"0af7651916cd43dd8448eb211c80319c"
SPAN = b"b7ad6b7169203331"


@pytest.mark.parametrize("sent", [b"a", b"session-create-a7f3e2c1-1765751234", b"A.b_c-9", b"x" * 128])
def test_a_clients_own_id_is_kept(sent: bytes) -> None:
    """X1: what matches the alphabet and the length is the request's id."""
    assert correlate("load", sent, WALL, Random(1)) == Correlation(sent.decode())


@pytest.mark.parametrize(
    "sent", [b"", b"x" * 129, b"a b", b"a\r\nSet-Cookie: x", b"a\n", b"<script>", b"\xc3\xa4", b"a/b", b"a,b"]
)
def test_any_other_id_is_replaced_and_noted(sent: bytes) -> None:
    """X1: a rejected value is replaced, noted, and appears nowhere."""
    made = correlate("load", sent, WALL, Random(1))
    assert made.replaced
    assert re.fullmatch(r"load-[0-9a-f]{8}-1765751234", made.id)


def test_a_minted_id_is_not_a_replaced_one() -> None:
    """X1: a client that sent none gets `{operation}-{8 hex}-{unix seconds}`."""
    made = correlate("session-create", None, WALL + 0.9, Random(1))
    assert not made.replaced
    assert re.fullmatch(r"session-create-[0-9a-f]{8}-1765751234", made.id)


def test_two_minted_ids_differ() -> None:
    """X1: two requests in one second have two ids."""
    random = Random(1)
    assert len({correlate("load", None, WALL, random).id for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "value",
    [
        b"00-" + TRACE + b"-" + SPAN + b"-01",
        b"00-" + TRACE + b"-" + SPAN + b"-00",
        b"01-" + TRACE + b"-" + SPAN + b"-01",
        b"cc-" + TRACE + b"-" + SPAN + b"-01-what-comes-later",
    ],
)
def test_a_valid_traceparent_names_its_trace(value: bytes) -> None:
    """X2: version 00 exactly, a later version with or without more after it."""
    assert trace_id(value) == TRACE.decode()


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"00-" + TRACE + b"-" + SPAN,
        b"00-" + TRACE + b"-" + SPAN + b"-01-more",
        b"ff-" + TRACE + b"-" + SPAN + b"-01",
        b"00-" + b"0" * 32 + b"-" + SPAN + b"-01",
        b"00-" + TRACE + b"-" + b"0" * 16 + b"-01",
        b"00-" + TRACE.upper() + b"-" + SPAN + b"-01",
        b"00-" + TRACE[:-1] + b"-" + SPAN + b"-01",
        b"cc-" + TRACE + b"-" + SPAN + b"-01more",
        b"00-" + TRACE + b"-" + SPAN + b"-01\n",
        b" 00-" + TRACE + b"-" + SPAN + b"-01",
    ],
)
def test_an_invalid_traceparent_names_none(value: bytes | None) -> None:
    """X2: anything the W3C format does not allow is as if it were absent."""
    assert trace_id(value) is None
