"""Times that a person or a query gives: the same instant in any form selects the same records."""

import pytest

from proxy.audit.instants import instant, instant_or_age

NOON = "2026-11-30T12:00:00.000000Z"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2026-11-30T12:00:00Z", NOON),
        ("2026-11-30T12:00:00", NOON),
        ("2026-11-30 12:00", NOON),
        ("2026-11-30t12:00:00z", NOON),
        ("20261130T120000Z", NOON),
        ("2026-W49-1T12:00Z", NOON),
        ("2026-11-30T14:00:00+02:00", NOON),
        ("2026-11-30T07:00:00-0500", NOON),
        ("2026-12-01T00:00+12", NOON),
        ("2026-11-30T12:00:00.5Z", "2026-11-30T12:00:00.500000Z"),
        ("2026-11-30T12:00:00,123456789Z", "2026-11-30T12:00:00.123456Z"),
        ("2026-11-30", "2026-11-30T00:00:00.000000Z"),
        ("20261130", "2026-11-30T00:00:00.000000Z"),
        ("0999-01-01", "0999-01-01T00:00:00.000000Z"),
        ("1969-12-31T23:59:59.9Z", "1969-12-31T23:59:59.900000Z"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59-05:00", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_an_instant_is_written_as_in_the_records(text: str, written: str) -> None:
    """Any form and offset of ISO 8601 becomes the one form whose text sorts by time."""
    assert instant(text) == instant_or_age(text, 0.0) == written


@pytest.mark.parametrize(
    "text",
    [
        "", "garbage", "yesterday", "10", "1764504000", "2026", "2026-13-45", "2026-02-29", "2026-11-30T25:00",
        "2026-11-30T12:00:00 02:00", "2026-11-30+02:00", "2026-11-30-15:00", "2026-11-30x12:00", "2026-11-30T",
        "2026-11-30T12:00:00Z ", "2026-11-30T12:00+99:99", "2026-11-30T12:00Zulu", "٢٠٢٦-11-30", "2026-11-30T12:00\n",
        "-1d", "1w", "12345678901s", "\ud800", "9" * 5_000,
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused_with_the_cure(text: str) -> None:
    """A typing error must not look like a result."""
    for read in (instant, lambda said: instant_or_age(said, 0.0)):
        with pytest.raises(
            ValueError, match=r"is not a time: write 2026-11-23T15:00:00Z, or an offset .*%2B"
        ) as refused:
            read(text)
        assert len(str(refused.value)) < 300


def test_an_age_is_counted_back_from_now() -> None:
    """Seconds, minutes, hours and days, never before 1970."""
    day = 86_400.0
    assert instant_or_age("90s", day) == "1970-01-01T23:58:30.000000Z"
    assert instant_or_age("10m", day) == "1970-01-01T23:50:00.000000Z"
    assert instant_or_age("2h", day) == "1970-01-01T22:00:00.000000Z"
    assert instant_or_age("999999999d", day) == "1970-01-01T00:00:00.000000Z"
