"""Decimal numbers of fields, with any number of digits."""

import pytest

from proxy.http.authority import names_host
from proxy.http.numbers import LARGEST, saturated


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (b"0", 0),
        (b"999999999", 999_999_999),
        (b"2147483647", 2**31 - 1),
        (b"2147483648", LARGEST),
        (b"2147483649", LARGEST),
        (b"9999999999", LARGEST),
        (b"99999999999", LARGEST),
        (b"9" * 65_536, LARGEST),
        (b"0" * 65_536, 0),
        (b"0" * 65_536 + b"7", 7),
        (b"", None),
        (b"-1", None),
        (b"+1", None),
        (b" 1", None),
        (b"1_0", None),
        (b"1.0", None),
        ("٣".encode(), None),
        ("²".encode("latin-1"), None),
    ],
)
def test_digits_of_any_length_saturate(value: bytes, number: int | None) -> None:
    """RFC 9111 section 1.2.2: too large counts as 2**31, and never as absent. Python converts 4,300 digits."""
    assert saturated(value) == number


@pytest.mark.parametrize(
    ("port", "valid"),
    [(b"", True), (b"80", True), (b"65535", True), (b"65536", False), (b"0" * 30 + b"80", True), (b"9" * 5_000, False)],
)
def test_a_port_may_have_leading_zeros(port: bytes, valid: bool) -> None:
    """RFC 3986 section 3.2.3: a port is any number of digits; beyond 65,535 there is none."""
    assert names_host(b"a:" + port) is valid
    assert names_host(b"[::1]:" + port) is valid
