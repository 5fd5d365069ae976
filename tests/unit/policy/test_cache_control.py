"""Cache-Control in every form that backends and clients write."""

import pytest

from proxy.http.fields import Fields
from proxy.policy.cache_control import directives, lifetime_s, seconds
from tests.unit.policy.samples import lines, response


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("", {}),
        (",, ,", {}),
        ("No-Store", {b"no-store": b""}),
        ("max-age=5 , private", {b"max-age": b"5", b"private": b""}),
        ('max-age="5"', {b"max-age": b"5"}),
        ('no-cache="a, must-revalidate, b", max-age=1', {b"no-cache": b"a  must-revalidate  b", b"max-age": b"1"}),
        ('x="unterminated, no-store', {b"x": b"unterminated", b"no-store": b""}),
        ('x="a", y="unterminated, no-store', {b"x": b"a", b"y": b"unterminated", b"no-store": b""}),
        ('x="unterminated, "no-store"', {b"x": b"unterminated", b"no-store": b""}),
        ('x="a\\", no-cache', {b"x": b"a\\", b"no-cache": b""}),
        ('x="a\\\\", no-cache', {b"x": b"a\\\\", b"no-cache": b""}),
        ('x="\\"", no-cache, y="b"', {b"x": b"\\", b"no-cache": b"", b"y": b"b"}),
        ('"no-store", private"', {b"no-store": b"", b"private": b""}),
        ("max-age=5; no-store", {b"max-age": b"5", b"no-store": b""}),
        ("no-cache no-store\tprivate", {b"no-cache": b"", b"no-store": b"", b"private": b""}),
        ("max-age = 5", {b"max-age": b"", b"5": b""}),
        ("max-age=1, MAX-AGE=2", {b"max-age": b"1"}),
        ("=5, a=b=c", {b"a": b"b=c"}),
    ],
)
def test_directives_are_read_one_by_one(value: str, found: dict[bytes, bytes]) -> None:
    """Names have no case, a comma in quotes ends nothing, and of two alike the first counts (RFC 9111 4.2.1)."""
    assert directives(response(Cache_Control=value).fields) == found


def test_several_lines_are_one_list() -> None:
    """RFC 9110 section 5.3."""
    fields = Fields((*lines(Cache_Control="private"), *lines(cache_control="max-age=3")))
    assert directives(fields) == {b"private": b"", b"max-age": b"3"}


def test_a_thousand_open_quotes_take_no_time() -> None:
    """Each opens what never ends: before the first one failed for all, each would be looked at to the end."""
    assert directives(response(Cache_Control='"\\' * 8_000 + ", no-store").fields)[b"no-store"] == b""


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        (b"5", 5),
        (b"", 0),
        (b"-1", 0),
        (b"1.5", 0),
        (b"9" * 9, 999_999_999),
        (b"9" * 11, 2**31),
        (b"9" * 5_000, 2**31),
        (b"0" * 5_000 + b"5", 5),
        ("²".encode(), 0),
    ],
)
def test_what_is_no_number_is_nothing(argument: bytes, told: int) -> None:
    """RFC 9111: invalid freshness information counts as stale (4.2.1), a number that is too large as 2**31 (1.2.2)."""
    assert seconds({b"max-age": argument}, b"max-age") == told
    assert seconds({b"max-age": argument}, b"s-maxage") is None


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, 0),
        ({"Cache_Control": "max-age=5"}, 5),
        ({"Cache_Control": "max-age=5, s-maxage=7"}, 7),
        ({"Expires": "Sun, 06 Nov 1994 08:49:47 GMT"}, 0),
        ({"Expires": "Sun, 06 Nov 1994 08:49:47 GMT", "Date": "Sun, 06 Nov 1994 08:49:37 GMT"}, 10),
        ({"Expires": "Sunday, 06-Nov-94 08:49:47 GMT", "Date": "Sun Nov  6 08:49:37 1994"}, 10),
        ({"Expires": "0", "Date": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0),
        ({"Expires": "Sun, 06 Nov 1994 08:49:47 GMT", "Date": "now", "Cache_Control": "max-age=3"}, 3),
    ],
)
def test_the_backends_own_lifetime(fields: dict[str, str], told: float) -> None:
    """`s-maxage`, `max-age`, Expires less Date: the first that is there."""
    answer = response(**fields)  # type: ignore[arg-type]
    assert lifetime_s(answer.fields, directives(answer.fields)) == told
