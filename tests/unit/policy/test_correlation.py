"""Which correlation ids are accepted, and what replaces the others."""

import re
from random import Random

import pytest

from proxy.policy.correlation import Correlation, correlate
from tests.unit.policy.samples import WALL


@pytest.mark.parametrize("sent", [b"a", b"session-create-a7f3e2c1-1765751234", b"A.b_c-9", b"x" * 128])
def test_a_clients_own_id_is_kept(sent: bytes) -> None:
    """What matches the alphabet and the length is the request's id."""
    assert correlate("load", sent, WALL, Random(1)) == Correlation(sent.decode())


@pytest.mark.parametrize(
    "sent", [b"", b"x" * 129, b"a b", b"a\r\nSet-Cookie: x", b"a\n", b"<script>", b"\xc3\xa4", b"a/b", b"a,b"]
)
def test_any_other_id_is_replaced_and_noted(sent: bytes) -> None:
    """A rejected value is replaced, noted, and appears nowhere."""
    made = correlate("load", sent, WALL, Random(1))
    assert made.replaced
    assert re.fullmatch(r"load-[0-9a-f]{8}-1765751234", made.id)


def test_a_minted_id_is_not_a_replaced_one() -> None:
    """A client that sent none gets `{operation}-{8 hex}-{unix seconds}`."""
    made = correlate("session-create", None, WALL + 0.9, Random(1))
    assert not made.replaced
    assert re.fullmatch(r"session-create-[0-9a-f]{8}-1765751234", made.id)


def test_two_minted_ids_differ() -> None:
    """Two requests in one second have two ids."""
    random = Random(1)
    assert len({correlate("load", None, WALL, random).id for _ in range(1000)}) == 1000
