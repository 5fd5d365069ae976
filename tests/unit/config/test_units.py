"""Durations and sizes, as users write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.objections import Objection
from proxy.config.units import format_duration, parse_duration, parse_milliseconds, parse_size, parse_timeout


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("300ms", 0.3), ("2s", 2), ("1.5s", 1.5), ("10m", 600), ("24h", 86400), ("7d", 604800), ("0s", 0)],
)
def test_a_duration_is_seconds(text: str, seconds: float) -> None:
    """Every unit reads as seconds, without a rounding error of its own."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("value", "message", "cure"),
    [
        (2, "2 has no unit", '"2ms" or "2s"'),
        (0.5, "0.5 has no unit", '"0.5ms" or "0.5s"'),
        ("2", "2 has no unit", '"2ms" or "2s"'),
        ("5 Seconds", '"5 Seconds" is not a duration', '"5s"'),
        ("500msec", '"500msec" is not a duration', '"500ms"'),
        ("1h30m", '"1h30m" is not a duration', '"90m"'),
        ("5 fortnights", '"5 fortnights" is not a duration', '"2s" (or "500ms", "10m", "24h")'),
        ("2 weeks", '"2 weeks" is not a duration', '"2s" (or "500ms", "10m", "24h")'),
        ("-1s", '"-1s" is not a duration', '"2s" (or "500ms", "10m", "24h")'),
        ("", '"" is not a duration', '"2s" (or "500ms", "10m", "24h")'),
        (True, "true is not a duration", '"2s" (or "500ms", "10m", "24h")'),
    ],
)
def test_what_is_no_duration_is_refused_with_a_cure(value: object, message: str, cure: str) -> None:
    """A bare number, an unknown unit, a sign and another type each say what to write."""
    with pytest.raises(Objection) as refused:
        parse_duration(value)
    assert (refused.value.message, refused.value.cure) == (message, cure)


def test_a_timeout_of_nothing_is_refused() -> None:
    """A timeout is more than 0: with 0 nothing could ever end in time."""
    assert parse_timeout("1ms") == 0.001
    with pytest.raises(Objection, match="it must be more than 0"):
        parse_timeout("0s")


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("64KiB", 65536),
        ("1MiB", 1 << 20),
        ("1GiB", 1 << 30),
        ("1.5KiB", 1536),
        ("10KB", 10_000),
        ("7B", 7),
        (9, 9),
        ("9", 9),
    ],
)
def test_a_size_is_bytes(value: object, size: int) -> None:
    """Binary and decimal units and plain numbers read as whole bytes."""
    assert parse_size(value) == size


@pytest.mark.parametrize("value", ["64kib", "1.0001KiB", "x", -1, True, 1.5, "12s"])
def test_what_is_no_size_is_refused(value: object) -> None:
    """Wrong letters, fractions of a byte, signs and other types are refused."""
    with pytest.raises(Objection, match="is not a size"):
        parse_size(value)


@given(st.integers(min_value=0, max_value=10**12))
def test_a_formatted_duration_reads_back_as_itself(milliseconds: int) -> None:
    """Formatting loses nothing of any whole number of milliseconds."""
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000


@given(st.integers(0, 10**6), st.sampled_from([("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)]))
def test_a_size_is_its_number_times_its_unit(number: int, unit: tuple[str, int]) -> None:
    """No size is rounded, however large."""
    assert parse_size(f"{number}{unit[0]}") == number * unit[1]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "500ms"), (2, "2s"), (90, "90s"), (600, "10m"), (3600, "1h"), (86400, "1d"), (0, "0ms")]
)
def test_a_duration_is_shown_in_its_largest_whole_unit(seconds: float, text: str) -> None:
    """Messages show durations as a person would write them."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("text", "read"), [("30000", "30000ms"), (" 100 ", "100ms"), ("2s", "2s"), ("abc", "abc")])
def test_the_seed_documents_bare_numbers_are_milliseconds(text: str, read: str) -> None:
    """A number alone gets the unit it always had; everything else is left to the reading of durations."""
    assert parse_milliseconds(text) == read
